"""Batches of tiles: pieces of the scene are read ahead by threads, tiles are cut from them while the model works."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import SceneError
from rszsl.scene.blank import blank_tiles
from rszsl.scene.grid import Box
from rszsl.scene.pixels import Pixels
from rszsl.scene.strips import Cut, Piece, Strips, paste
from rszsl.tiling.dataset import SceneDataset
from rszsl.tiling.reads import Read, Reads, read_own
from rszsl.tiling.sampler import TileSampler

T = TypeVar("T")
MOST_THREADS = 4
AHEAD = 3
"""Batches that are cut before the consumer asks for them."""
AHEAD_BYTES = 128_000_000
"""Pieces are read ahead until they fill this: two rows of 512-pixel blocks of an 8-bit scene 40 000 pixels wide. What
the next batch needs is read in any case, so a wider scene takes longer steps, not more of them."""

AHEAD_TILES = 4096
"""Tiles are planned ahead up to this number: those that are nodata hold no pieces, and may be many."""


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """N tiles.

    Attributes:
        tile_ids: int64 (N,), numbers in the grid.
        images: (N, 3, H, W), uint8 of an 8-bit scene, else float32 in 0..1; zeros for a tile that
            could not be read, or need not be: it is nodata.
        valid_fraction: float32 (N,) in 0..1; 0 for a tile that was not read.
        failures: for each tile, why it could not be read, or None.
    """

    tile_ids: NDArray[np.int64]
    images: Pixels
    valid_fraction: NDArray[np.float32]
    failures: tuple[str | None, ...]


def load_tiles(
    dataset: SceneDataset, sampler: TileSampler, *, batch_size: int, threads: int | None = None
) -> Generator[TileBatch, None, None]:
    """Read all tiles of a sampler in its order.

    Tiles are cut from pieces that are read once, a few batches and `AHEAD_BYTES` ahead of the consumer. Where a piece
    cannot be read, its tiles are read one by one, so that only those fail that need the damaged part.

    Args:
        dataset: the scene; with transforms, every tile goes through `dataset[...]`, and images are float32.
        sampler: which tiles, and how large.
        batch_size: tiles in a batch; the last may have fewer.
        threads: that read (default: as many as there are cores, at most 4).
    """
    lanes = threads or min(MOST_THREADS, _cores())
    batches = _batched(_cuts(dataset, sampler, lanes), batch_size)
    with ThreadPoolExecutor(1, "rszsl-cut") as cutter, Reads(dataset, lanes) as reads:
        queue = _Queue(dataset, batches, reads, cutter)
        while queue.fill():
            yield queue.pop()


def _cuts(dataset: SceneDataset, sampler: TileSampler, lanes: int) -> Iterator[Cut]:
    """Say what each tile is cut from; of those that are nodata for certain, nothing is read."""
    grid, tile_ids, alone = sampler.grid, sampler.tile_ids, dataset.transforms is not None
    blank = np.zeros(len(tile_ids), dtype=bool) if alone else blank_tiles(dataset.scene, grid, tile_ids)
    strips = Strips(grid, tile_ids[~blank], sampler.out_px, dataset.scene.layout, lanes=lanes, joined=not alone)
    for tile_id, is_blank in zip(tile_ids.tolist(), blank.tolist(), strict=True):
        yield Cut(tile_id, grid[tile_id].window, Box(0, 0, *sampler.out_px), ()) if is_blank else strips.cut(tile_id)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A batch to be cut, and the reads that it is cut from."""

    cuts: tuple[Cut, ...]
    reads: dict[Piece, Future[Read]]


class _Queue:
    """Batches whose pieces are asked for, and of them those that are being cut."""

    def __init__(
        self, dataset: SceneDataset, batches: Iterator[tuple[Cut, ...]], reads: Reads, cutter: ThreadPoolExecutor
    ) -> None:
        self._dataset, self._batches, self._reads, self._cutter = dataset, batches, reads, cutter
        self._asked: deque[_Job] = deque()
        self._cutting: deque[tuple[_Job, Future[TileBatch]]] = deque()

    def fill(self) -> bool:
        """Ask for as much as may be held, at least for one batch; False where no batch is left."""
        while self._may_ask() or not (self._asked or self._cutting):
            cuts = next(self._batches, None)
            if cuts is None:
                break
            self._asked.append(_Job(cuts, self._reads.ask(p for cut in cuts for p in cut.pieces)))
        while self._asked and len(self._cutting) < AHEAD:
            job = self._asked.popleft()
            self._cutting.append((job, self._cutter.submit(_cut_batch, self._dataset, job)))
        return bool(self._cutting)

    def _may_ask(self) -> bool:
        asked = sum(len(job.cuts) for job in self._asked)
        return self._reads.held_bytes < AHEAD_BYTES and asked < AHEAD_TILES

    def pop(self) -> TileBatch:
        """Wait for the next batch, and let go of what only it was cut from."""
        job, batch = self._cutting.popleft()
        done = batch.result()
        later = [j for j, _ in self._cutting] or list(self._asked)
        self._reads.drop(job.reads, later[0].cuts[0].tile_id if later else None)
        return done


def _cut_batch(dataset: SceneDataset, job: _Job) -> TileBatch:
    n, (height_px, width_px) = len(job.cuts), (job.cuts[0].place.height_px, job.cuts[0].place.width_px)
    as_bytes = dataset.scene.is_bytes and dataset.transforms is None
    images: Pixels = np.zeros((n, 3, height_px, width_px), dtype="uint8" if as_bytes else "float32")
    valid_fraction = np.zeros(n, dtype="float32")
    failures: list[str | None] = [None] * n
    for i, cut in enumerate(job.cuts):
        if not cut.pieces:
            continue
        try:
            valid_fraction[i] = _cut_tile(dataset, cut, job.reads, images[i])
        except SceneError as err:
            failures[i] = str(err)
    tile_ids = np.array([cut.tile_id for cut in job.cuts], dtype="int64")
    return TileBatch(tile_ids, images, valid_fraction, tuple(failures))


def _cut_tile(dataset: SceneDataset, cut: Cut, reads: dict[Piece, Future[Read]], image: Pixels) -> float:
    """Cut a tile into `image` and give its share of valid pixels; where a shared piece is damaged, read it alone."""
    try:
        parts = [(piece.place, *reads[piece].result()) for piece in cut.pieces]
    except SceneError:
        if cut.pieces[0].own:
            raise
        alone = read_own(dataset, cut.window, (cut.place.height_px, cut.place.width_px))
        image[:] = alone.image
        return alone.valid_fraction
    if cut.pieces[0].own:
        _, image[:], valid = parts[0]
        return 1.0 if valid is None else float(valid.mean())
    raw = image if image.dtype == parts[0][1].dtype else np.empty(image.shape, dtype=parts[0][1].dtype)
    mask = None if parts[0][2] is None else np.empty(image.shape[1:], dtype=bool)
    for at, pixels, valid in parts:
        paste(raw, cut.place, pixels, at)
        if mask is not None and valid is not None:
            paste(mask, cut.place, valid, at)
    if mask is None and dataset.scene.is_bytes:
        return 1.0
    tile = dataset.scene.finish(raw, mask)
    image[:] = tile.image
    return tile.valid_fraction


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """`itertools.batched`, which Python 3.11 lacks."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
