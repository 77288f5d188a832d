"""What the model says of every planned tile, batch by batch: from the scene, or from a cache of it."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.errors import ModelError
from rszsl.labels.encoded import EncodedTiles
from rszsl.model.bundle import Model
from rszsl.model.encoder import Encoded, Pixels
from rszsl.options import MapOptions
from rszsl.output.cache import check_fits, open_cache, write_cache
from rszsl.pipeline.plan import ScenePlan, cache_key
from rszsl.progress import Progress, Silent
from rszsl.tiling import TileBatch, load_tiles

NO_MEMORY = ("MPS backend out of memory", "DefaultCPUAllocator")
"""What torch says without CUDA; there it has a type of error for it."""


class FittingEncoder:
    """Shows a model no more tiles at once than its memory holds.

    Args:
        model: that encodes.
        warn: hears of every smaller size.
    """

    def __init__(self, model: Model, warn: Callable[[str], None]) -> None:
        self._model, self._warn = model, warn
        self._most: int | None = None

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode as the model does; a batch that does not fit is halved, and later ones keep the smaller size.

        Raises:
            ModelError: where not even one tile fits.
        """
        first = most = min(self._most or len(tiles), len(tiles))
        while (encoded := self._try(tiles, max(most, 1))) is None:
            if most <= 1:
                raise ModelError(
                    f"even --batch-size 1 does not fit the memory of {self._model.device}; take a smaller --model, "
                    "--device cpu, or --precision bf16"
                )
            most //= 2
        if most < first:
            self._most = most
            self._warn(f"a batch of {first} did not fit the memory of {self._model.device}; going on with {most}")
        return encoded

    def _try(self, tiles: Pixels, most: int) -> Encoded | None:
        """Encode `most` tiles at once; None where they do not fit."""
        starts = range(0, max(len(tiles), 1), most)
        try:
            parts = [self._model.encode(tiles[start : start + most]) for start in starts]
        except RuntimeError as err:
            if not isinstance(err, torch.cuda.OutOfMemoryError) and not any(text in str(err) for text in NO_MEMORY):
                raise
            return None
        if len(parts) == 1:
            return parts[0]
        return Encoded(np.concatenate([p.embedding for p in parts]), np.concatenate([p.attributes for p in parts]))


def encode_tiles(
    plan: ScenePlan, model: Model, options: MapOptions, progress: Progress | None = None
) -> Iterator[EncodedTiles]:
    """Read and encode the planned tiles, in order; what failed or is nodata is not shown to the model.

    Raises:
        ModelError: where not even one tile fits the model's memory.
    """
    encoder = FittingEncoder(model, (progress or Silent()).warn)
    for batch in load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size):
        yield _encode(batch, encoder, options.min_valid)


def encode_with_cache(
    plan: ScenePlan, model: Model, options: MapOptions, progress: Progress | None = None
) -> Iterator[EncodedTiles]:
    """As `encode_tiles`, by way of `options.cache`: read from it where it is there, else written to it.

    Raises:
        CacheError: where the cache belongs to something else, or is damaged.
        OutputError: where it cannot be written.
    """
    if options.cache is None:
        yield from encode_tiles(plan, model, options, progress)
        return
    key = cache_key(plan, model, options)
    if options.cache.exists():
        cache = open_cache(options.cache)
        check_fits(cache, key)
        yield from cache.batches()
        return
    with write_cache(options.cache, key) as sink:
        for tiles in encode_tiles(plan, model, options, progress):
            sink.append(tiles)
            yield tiles


def _encode(batch: TileBatch, encoder: FittingEncoder, min_valid: float) -> EncodedTiles:
    enough = (batch.valid_fraction >= min_valid) & (batch.valid_fraction > 0)
    shown = enough & np.array([failure is None for failure in batch.failures])
    encoded = encoder.encode(batch.images[shown])
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
