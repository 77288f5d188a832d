"""What the model says of every planned tile, batch by batch: from the scene, or from a cache of it."""

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import OptionError
from rszsl.labels.encoded import EncodedTiles
from rszsl.model.bundle import Model
from rszsl.options import MapOptions
from rszsl.output.cache import check_fits, open_cache, write_cache
from rszsl.pipeline.attention import Watch
from rszsl.pipeline.fitting import FittingEncoder
from rszsl.pipeline.plan import ScenePlan, cache_key
from rszsl.progress import Progress, Silent
from rszsl.tiling import TileBatch, load_tiles

EncodedStream = Generator[EncodedTiles, None, None]
LOG = logging.getLogger(__name__)


def encode_tiles(
    plan: ScenePlan,
    model: Model,
    options: MapOptions,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Iterator[EncodedTiles]:
    """Read and encode the planned tiles, in order; what failed or is nodata is not shown to the model.

    Args:
        plan: of the scene.
        model: that encodes.
        options: of the run.
        progress: hears of batches that do not fit.
        watch: keeps attention maps.

    Raises:
        ModelError: where not even one tile fits the model's memory.
    """
    encoder = FittingEncoder(model, (progress or Silent()).warn, watch.encode if watch else None)
    waited_s = worked_s = 0.0
    start_s = time.monotonic()
    for batch in load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size):
        read_s = time.monotonic()
        tiles = _encode(batch, encoder, options.min_valid, watch)
        waited_s, worked_s = waited_s + read_s - start_s, worked_s + time.monotonic() - read_s
        yield tiles
        start_s = time.monotonic()
    LOG.info("encoded %d tiles: %.2f s waiting for reads, %.2f s in the model", len(plan.sampler), waited_s, worked_s)


def encode_with_cache(
    plan: ScenePlan, model: Model, options: MapOptions, progress: Progress, watch: Watch | None = None
) -> EncodedStream:
    """As `encode_tiles`, by way of `options.cache`: read from it where it is there, else written to it.

    Raises:
        CacheError: where the cache belongs to something else, or is damaged.
        OutputError: where it cannot be written.
    """
    if options.cache is None:
        yield from encode_tiles(plan, model, options, progress, watch)
        return
    if options.cache.exists():
        cache = open_cache(options.cache)
        check_fits(cache, cache_key(plan, model, options))
        yield from cache.batches("attributes")
        return
    yield from encode_into(options.cache, plan, model, options, progress, watch)


def encode_into(
    cache: Path, plan: ScenePlan, model: Model, options: MapOptions, progress: Progress, watch: Watch | None = None
) -> EncodedStream:
    """As `encode_tiles`, and write a cache; what an interrupted run has encoded of it is not encoded again.

    Close it: until then no other run may write this cache.

    Raises:
        CacheError: where another run is writing it.
        OptionError: where attention maps are asked for, and an interrupted run kept tiles without theirs.
        OutputError: where it cannot be written.
    """
    with write_cache(cache, cache_key(plan, model, options)) as sink:
        if sink.kept and watch is not None:
            raise OptionError(
                f"--attention needs every tile, and {cache} holds {sink.kept} tiles of an interrupted run, without "
                "maps; name another --cache"
            )
        if sink.kept:
            progress.warn(f"{cache}: {sink.kept} tiles of an interrupted run were kept")
        yield from sink.batches()
        rest = plan.sampler.only(plan.sampler.tile_ids[sink.kept :])
        for tiles in encode_tiles(replace(plan, sampler=rest), model, options, progress, watch):
            sink.append(tiles)
            yield tiles


def _encode(batch: TileBatch, encoder: FittingEncoder, min_valid: float, watch: Watch | None) -> EncodedTiles:
    enough = (batch.valid_fraction >= min_valid) & (batch.valid_fraction > 0)
    shown = enough & np.array([failure is None for failure in batch.failures])
    encoded = encoder.encode(batch.images if shown.all() else batch.images[shown])
    if watch is not None:
        watch.keep(batch.tile_ids[shown], encoded)
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
