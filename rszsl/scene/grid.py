"""The tile grid of a scene, in integer scene pixels.

Each tile reads a window and answers for a cell. Cells partition the scene; a window holds its cell. Windows at
the lower and right edge are pulled back inside the scene, so only a scene smaller than a tile is padded.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of scene pixels; `row, col` is its upper left pixel."""

    row_px: int
    col_px: int
    height_px: int
    width_px: int

    @property
    def end_row_px(self) -> int:
        """First row below the box."""
        return self.row_px + self.height_px

    @property
    def end_col_px(self) -> int:
        """First column right of the box."""
        return self.col_px + self.width_px


@dataclass(frozen=True, slots=True)
class GridTile:
    """One tile: `window` is what the model sees, `cell` what the tile answers for."""

    tile_id: int
    window: Box
    cell: Box


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile: it reads `[read0, read1)` and keeps `[keep0, keep1)`."""

    read0: int
    read1: int
    keep0: int
    keep1: int


def spans(length_px: int, tile_px: int, overlap_px: int) -> tuple[Span, ...]:
    """Cut one axis into spans whose kept parts partition `[0, length_px)`.

    The last span is pulled back to end at `length_px`. Neighbours share what they both read half and half, so the
    last cell is no sliver. Where `length_px < tile_px` the only span reads past the end, and the reader pads.

    Raises:
        ValueError: unless `length_px >= 1` and `0 <= overlap_px < tile_px`.
    """
    if length_px < 1 or not 0 <= overlap_px < tile_px:
        raise ValueError(f"bad grid: {length_px=} {tile_px=} {overlap_px=}")
    stride = tile_px - overlap_px
    count = max(1, math.ceil((length_px - overlap_px) / stride))
    reads = [min(i * stride, max(0, length_px - tile_px)) for i in range(count)]
    inner = [(before + tile_px + after) // 2 for before, after in pairwise(reads)]
    keeps = pairwise([0, *inner, length_px])
    return tuple(Span(read0, read0 + tile_px, *keep) for read0, keep in zip(reads, keeps, strict=True))


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of tiles over a scene, numbered row by row from the upper left: `tile_id = row * n_cols + col`."""

    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    @classmethod
    def over(
        cls, height_px: int, width_px: int, *, tile_height_px: int, tile_width_px: int, overlap: float = 0.0
    ) -> "Grid":
        """Lay tiles over a scene.

        Args:
            height_px: rows of the scene.
            width_px: columns of the scene.
            tile_height_px: rows of a window.
            tile_width_px: columns of a window.
            overlap: fraction of a tile that it shares with its neighbour, 0 <= overlap < 1.
        """
        return cls(
            spans(height_px, tile_height_px, math.floor(tile_height_px * overlap)),
            spans(width_px, tile_width_px, math.floor(tile_width_px * overlap)),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return len(self.rows), len(self.cols)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __getitem__(self, tile_id: int) -> GridTile:
        if not 0 <= tile_id < len(self):
            raise IndexError(f"tile {tile_id} of {len(self)}")
        row, col = divmod(tile_id, len(self.cols))
        r, c = self.rows[row], self.cols[col]
        window = Box(r.read0, c.read0, r.read1 - r.read0, c.read1 - c.read0)
        cell = Box(r.keep0, c.keep0, r.keep1 - r.keep0, c.keep1 - c.keep0)
        return GridTile(tile_id, window, cell)

    def __iter__(self) -> Iterator[GridTile]:
        return (self[i] for i in range(len(self)))

    def cell_edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edges between kept cells: row edges (n_rows + 1,) and column edges (n_cols + 1,), in scene pixels."""
        rows = [s.keep0 for s in self.rows] + [self.rows[-1].keep1]
        cols = [s.keep0 for s in self.cols] + [self.cols[-1].keep1]
        return np.array(rows, dtype=np.int64), np.array(cols, dtype=np.int64)
