"""What the model says of every planned tile, batch by batch: from the scene, or from a cache of it."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.labels.encoded import EncodedTiles
from rszsl.model.bundle import Model
from rszsl.options import MapOptions
from rszsl.output.cache import check_fits, open_cache, write_cache
from rszsl.pipeline.plan import ScenePlan, cache_key
from rszsl.progress import Progress
from rszsl.tiling import TileBatch, load_tiles

EncodedStream = Generator[EncodedTiles, None, None]


def encode_tiles(plan: ScenePlan, model: Model, options: MapOptions) -> Iterator[EncodedTiles]:
    """Read and encode the planned tiles, in order; what failed or is nodata is not shown to the model."""
    for batch in load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size):
        yield _encode(batch, model, options.min_valid)


def encode_with_cache(plan: ScenePlan, model: Model, options: MapOptions, progress: Progress) -> EncodedStream:
    """As `encode_tiles`, by way of `options.cache`: read from it where it is there, else written to it.

    Raises:
        CacheError: where the cache belongs to something else, or is damaged.
        OutputError: where it cannot be written.
    """
    if options.cache is None:
        yield from encode_tiles(plan, model, options)
        return
    if options.cache.exists():
        cache = open_cache(options.cache)
        check_fits(cache, cache_key(plan, model.card, options))
        yield from cache.batches("attributes")
        return
    yield from encode_into(options.cache, plan, model, options, progress)


def encode_into(cache: Path, plan: ScenePlan, model: Model, options: MapOptions, progress: Progress) -> EncodedStream:
    """As `encode_tiles`, and write a cache; what an interrupted run has encoded of it is not encoded again.

    Close it: until then no other run may write this cache.

    Raises:
        CacheError: where another run is writing it.
        OutputError: where it cannot be written.
    """
    with write_cache(cache, cache_key(plan, model.card, options)) as sink:
        if sink.kept:
            progress.warn(f"{cache}: {sink.kept} tiles of an interrupted run were kept")
        yield from sink.batches()
        rest = plan.sampler.only(plan.sampler.tile_ids[sink.kept :])
        for tiles in encode_tiles(replace(plan, sampler=rest), model, options):
            sink.append(tiles)
            yield tiles


def _encode(batch: TileBatch, model: Model, min_valid: float) -> EncodedTiles:
    enough = (batch.valid_fraction >= min_valid) & (batch.valid_fraction > 0)
    shown = enough & np.array([failure is None for failure in batch.failures])
    encoded = model.encode(batch.images[shown])
    return EncodedTiles(
        tile_ids=batch.tile_ids,
        valid_fraction=batch.valid_fraction,
        failures=batch.failures,
        encoded=shown,
        embedding=_spread(encoded.embedding, shown),
        attributes=_spread(encoded.attributes, shown),
    )


def _spread(rows: NDArray[np.float32], shown: NDArray[np.bool_]) -> NDArray[np.float16]:
    """Put rows (M, D) of the tiles that were shown among zeros for the others: float16 (N, D)."""
    spread = np.zeros((len(shown), rows.shape[1]), dtype="float16")
    spread[shown] = rows
    return spread
