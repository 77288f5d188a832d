"""Batches of tiles, read ahead by threads (GDAL releases the GIL) while the model works."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import SceneError
from rszsl.tiling.dataset import SceneDataset
from rszsl.tiling.sampler import TileSampler

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """N tiles.

    Attributes:
        tile_ids: int64 (N,), numbers in the grid.
        images: float32 (N, 3, H, W) in 0..1; zeros for a tile that could not be read.
        valid_fraction: float32 (N,) in 0..1; 0 for a tile that could not be read.
        failures: for each tile, why it could not be read, or None.
    """

    tile_ids: NDArray[np.int64]
    images: NDArray[np.float32]
    valid_fraction: NDArray[np.float32]
    failures: tuple[str | None, ...]


def load_tiles(
    dataset: SceneDataset, sampler: TileSampler, *, batch_size: int, threads: int = 2
) -> Iterator[TileBatch]:
    """Read all tiles of a sampler in its order, at most `threads + 1` batches ahead of the consumer."""
    jobs = zip(_batched(sampler.tile_ids.tolist(), batch_size), _batched(sampler, batch_size), strict=True)
    waiting: deque[Future[TileBatch]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="rszsl-read") as pool:
        try:
            for tile_ids, queries in jobs:
                waiting.append(pool.submit(_read_batch, dataset, tile_ids, queries, sampler.out_px))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_batch(
    dataset: SceneDataset,
    tile_ids: tuple[int, ...],
    queries: tuple[tuple[slice, slice], ...],
    out_px: tuple[int, int],
) -> TileBatch:
    images = np.zeros((len(tile_ids), 3, *out_px), dtype="float32")
    valid_fraction = np.zeros(len(tile_ids), dtype="float32")
    failures: list[str | None] = [None] * len(tile_ids)
    for i, query in enumerate(queries):
        try:
            sample = dataset[query]
        except SceneError as err:
            failures[i] = str(err)
            continue
        images[i] = sample["image"].numpy()
        valid_fraction[i] = float(sample["valid"].numpy().mean())
    return TileBatch(np.array(tile_ids, dtype=np.int64), images, valid_fraction, tuple(failures))


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """`itertools.batched`, which Python 3.11 lacks."""
    rest = iter(items)
    while batch := tuple(islice(rest, size)):
        yield batch
