"""Which reads the tiles of a scene are cut from, so that no pixel is decoded and resampled twice.

Resampling the whole scene by `out_px / tile_px` gives a picture that most tiles are plain cut-outs of: those that
begin at a whole pixel of it. The picture is never made whole: it is read in pieces, rolling bands of rows cut into
columns, with edges near those of the file's own blocks. Integers only: nothing is read here.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.scene.grid import Box, Grid, Span

PIECE_PX = (512, 2048)
"""Rows and columns of a piece, as stored, at least: a call into GDAL costs as much as some ten thousand pixels."""
TALLEST_PX = 2048
"""Rows of a piece, as stored, at most: some files are one block."""

MOST_DRIFT, CLOSE = 0.45, 0.02


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file keeps its pixels.

    Attributes:
        block_px: rows and columns of a block, what is decoded at once.
        overviews: how many times smaller each overview is.
        masked: whether masks are read, too; GDAL takes those from an overview sooner (1.2 times, not 1).
        sample_bytes: of one pixel of one band.
    """

    block_px: tuple[int, int] = (256, 256)
    overviews: tuple[int, ...] = ()
    masked: bool = False
    sample_bytes: int = 1

    def overviews_for(self, ratios: Sequence[float]) -> tuple[int, ...]:
        """Overviews that GDAL may read from, where so many scene pixels become one (rows, columns)."""
        slack = (1.001, 1.2) if self.masked else (1.001,)
        best = {max((f for f in self.overviews if f <= ratio * s), default=1) for ratio in ratios for s in slack}
        return tuple(sorted(best - {1}))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One read; there is one object of each.

    Attributes:
        box: scene pixels.
        place: of its pixels in the resampled scene; of a tile's own read, from 0, 0.
        lane: reads with one number belong to one thread, whose block cache holds what they share.
        last_tile: no tile with a higher number is cut from it.
        own: the read of one tile that begins between two pixels of the resampled scene; it may pass the scene's end.
    """

    box: Box
    place: Box
    lane: int
    last_tile: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """One tile: its window, its `place` in the resampled scene, and the pieces that cover it (none: it is nodata)."""

    tile_id: int
    window: Box
    place: Box
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Rows or columns: their spans, which of them are whole in output pixels, and where pieces may end."""

    spans: tuple[Span, ...]
    tile_px: int
    out_px: int
    whole: tuple[bool, ...]
    edges: tuple[int, ...]

    @classmethod
    def of(cls, spans: tuple[Span, ...], out_px: int, step_px: int, overviews: Sequence[int]) -> "_Axis":
        length_px, tile_px = spans[-1].keep1, spans[0].read1 - spans[0].read0
        quantum = math.lcm(tile_px // math.gcd(tile_px, out_px), *overviews)
        fits = tile_px <= length_px and tile_px % quantum == 0
        true_px = min((_true_to(f, length_px, tile_px / out_px) for f in overviews), default=length_px)
        whole = tuple(fits and s.read0 % quantum == 0 and s.read1 <= true_px for s in spans)
        inner = sorted({i * step_px // quantum * quantum for i in range(1, -(-length_px // step_px))} - {0})
        return cls(spans, tile_px, out_px, whole, (0, *inner, length_px))

    def place(self, px: int) -> int:
        """Scene pixel to pixel of the resampled scene."""
        return px * self.out_px // self.tile_px


class Strips:
    """Reads and cuts of a plan.

    Args:
        grid: of the scene.
        tile_ids: int64 (n,), the plan; only an ascending one shares reads.
        out_px: height and width of a tile as the model sees it.
        layout: of the file.
        lanes: how many threads will read.
        joined: False to give every tile a read of its own.
    """

    def __init__(
        self,
        grid: Grid,
        tile_ids: NDArray[np.int64],
        out_px: tuple[int, int],
        layout: Layout,
        *,
        lanes: int = 1,
        joined: bool = True,
    ) -> None:
        self._grid, self._out_px, self._lanes = grid, out_px, lanes
        spans = (grid.rows, grid.cols)
        tile_px = [s[0].read1 - s[0].read0 for s in spans]
        overviews = layout.overviews_for([t / o for t, o in zip(tile_px, out_px, strict=True)])
        steps = _steps(layout, max(overviews, default=1), grid.cols[-1].keep1, lanes)
        self._rows, self._cols = (_Axis.of(s, o, p, overviews) for s, o, p in zip(spans, out_px, steps, strict=True))
        self._joined = joined and bool(np.all(np.diff(tile_ids) > 0))
        self._planned = self._columns_by_row(tile_ids) if self._joined else {}
        self._planned_rows = sorted(self._planned)
        self._bands: dict[int, tuple[Piece, ...]] = {}

    def cut(self, tile_id: int) -> Cut:
        """Say what a planned tile is cut from; ask in the plan's order."""
        row, col = divmod(tile_id, self._grid.shape[1])
        r, c = self._grid.rows[row], self._grid.cols[col]
        window = self._grid[tile_id].window
        if not (self._joined and self._rows.whole[row] and self._cols.whole[col]):
            place = Box(0, 0, *self._out_px)
            return Cut(tile_id, window, place, (Piece(window, place, self._lane(r.read0, c.read0), tile_id, own=True),))
        place = Box(self._rows.place(r.read0), self._cols.place(c.read0), *self._out_px)
        edges = self._rows.edges
        bands = range(bisect_right(edges, r.read0) - 1, bisect_left(edges, r.read1))
        pieces = [p for b in bands for p in self._pieces(b) if p.box.col_px < c.read1 and p.box.end_col_px > c.read0]
        return Cut(tile_id, window, place, tuple(pieces))

    def _columns_by_row(self, tile_ids: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
        """Planned columns, of those that can be cut, in each row that can be cut."""
        rows, cols = np.divmod(tile_ids, self._grid.shape[1])
        keep = np.array(self._rows.whole)[rows] & np.array(self._cols.whole)[cols]
        rows, cols = rows[keep], cols[keep]
        present, starts = np.unique(rows, return_index=True)
        return dict(zip(present.tolist(), np.split(cols, starts[1:]), strict=True)) if len(rows) else {}

    def _lane(self, row_px: int, col_px: int) -> int:
        """Columns by thread where there are enough of them, else every piece to the next thread."""
        n_chunks = len(self._cols.edges) - 1
        chunk = bisect_right(self._cols.edges, col_px) - 1
        band = bisect_right(self._rows.edges, row_px) - 1
        return (chunk if n_chunks >= self._lanes else band * n_chunks + chunk) % self._lanes

    def _pieces(self, band: int) -> tuple[Piece, ...]:
        if band not in self._bands:
            self._bands = {b: p for b, p in self._bands.items() if b >= band - 1 - self._rows.tile_px // PIECE_PX[0]}
            self._bands[band] = tuple(self._make_pieces(band))
        return self._bands[band]

    def _make_pieces(self, band: int) -> list[Piece]:
        """What the planned tiles need of a band of rows, in columns that end near the blocks' edges."""
        first, stop = self._rows.edges[band], self._rows.edges[band + 1]
        spans = self._grid.rows
        touching = [r for r in self._planned_rows if spans[r].read0 < stop and spans[r].read1 > first]
        row0, row1 = max(first, spans[touching[0]].read0), min(stop, spans[touching[-1]].read1)
        columns = np.unique(np.concatenate([self._planned[r] for r in touching]))
        made = []
        for col0, col1 in _cut_at(_merged([self._grid.cols[c] for c in columns.tolist()]), self._cols.edges):
            box = Box(row0, col0, row1 - row0, col1 - col0)
            last_col = bisect_left(self._grid.cols, col1, key=lambda s: s.read0) - 1
            last_tile = touching[-1] * self._grid.shape[1] + last_col
            made.append(Piece(box, self._placed(box), self._lane(row0, col0), last_tile))
        return made

    def _placed(self, box: Box) -> Box:
        row, end_row = self._rows.place(box.row_px), self._rows.place(box.end_row_px)
        col, end_col = self._cols.place(box.col_px), self._cols.place(box.end_col_px)
        return Box(row, col, end_row - row, end_col - col)


def paste(target: NDArray[Any], place: Box, source: NDArray[Any], at: Box) -> None:
    """Copy what two pictures share.

    Args:
        target: (..., H, W), changed; lies at `place` in the resampled scene.
        place: of the target.
        source: (..., h, w), lies at `at`.
        at: of the source.
    """
    row0, row1 = max(place.row_px, at.row_px), min(place.end_row_px, at.end_row_px)
    col0, col1 = max(place.col_px, at.col_px), min(place.end_col_px, at.end_col_px)
    to = (..., slice(row0 - place.row_px, row1 - place.row_px), slice(col0 - place.col_px, col1 - place.col_px))
    target[to] = source[..., row0 - at.row_px : row1 - at.row_px, col0 - at.col_px : col1 - at.col_px]


def _true_to(factor: int, length_px: int, ratio: float) -> int:
    """How many pixels, from the first, lie in the overview where `factor` says.

    An overview of n pixels where `length_px / factor` is not whole is a little too long. GDAL rounds places in it to
    whole pixels, so they are right until it has drifted by half a pixel; without resampling they may never be.
    """
    drift = -length_px % factor / factor  # at the end, in pixels of the overview
    if drift and abs(ratio / factor - 1) < CLOSE:
        return 0
    return length_px if drift < MOST_DRIFT else int(length_px * MOST_DRIFT / drift)


def _steps(layout: Layout, shrink: int, width_px: int, lanes: int) -> tuple[int, int]:
    """Rows and columns between edges, in scene pixels: whole blocks, and as many columns for every lane."""
    block_rows, block_cols = min(layout.block_px[0], TALLEST_PX), layout.block_px[1]
    rows = block_rows * -(-PIECE_PX[0] // block_rows) * shrink
    block_cols *= shrink
    chunks = max(1, -(-width_px // (max(PIECE_PX[1] * shrink, block_cols) * lanes)) * lanes)
    return rows, max(1, round(width_px / chunks / block_cols)) * block_cols


def _merged(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Join what touches or overlaps, in ascending order."""
    joined: list[tuple[int, int]] = []
    for span in spans:
        if joined and span.read0 <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], span.read1))
        else:
            joined.append((span.read0, span.read1))
    return joined


def _cut_at(intervals: Sequence[tuple[int, int]], edges: Sequence[int]) -> list[tuple[int, int]]:
    """Cut intervals at the edges that lie within them."""
    parts: list[tuple[int, int]] = []
    for start, stop in intervals:
        inner = edges[bisect_right(edges, start) : bisect_left(edges, stop)]
        bounds = (start, *inner, stop)
        parts += pairwise(bounds)
    return parts
