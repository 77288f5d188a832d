"""What the model says of every planned tile, batch by batch: from the scene, or from a cache of it."""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import OptionError
from rszsl.labels.encoded import EncodedTiles
from rszsl.model.bundle import Model
from rszsl.model.threads import model_threads
from rszsl.model.views import many_views
from rszsl.options import MapOptions
from rszsl.output.cache import check_fits, open_cache, write_cache
from rszsl.pipeline.attention import Watch
from rszsl.pipeline.fitting import Asked, FittingEncoder
from rszsl.pipeline.plan import ScenePlan, cache_key
from rszsl.progress import Progress, Silent

if TYPE_CHECKING:
    from rszsl.tiling import TileBatch

EncodedStream = Generator[EncodedTiles, None, None]
LOG = logging.getLogger(__name__)


def encode_tiles(
    plan: ScenePlan,
    model: Model,
    options: MapOptions,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> EncodedStream:
    """Read and encode the planned tiles, in order; what failed or is nodata is not shown to the model.

    Close it where it is not taken to its end: threads read and encode ahead.

    Args:
        plan: of the scene.
        model: that encodes.
        options: of the run.
        progress: hears of batches that do not fit.
        watch: keeps attention maps.

    Raises:
        ModelError: where not even one tile fits the model's memory.
    """
    from rszsl.tiling import load_tiles

    warn = (progress or Silent()).warn
    with closing(load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size)) as batches:
        yield from encode_batches(batches, model, options, warn, watch)


def encode_batches(
    batches: "Iterable[TileBatch]",
    model: Model,
    options: MapOptions,
    warn: Callable[[str], None],
    watch: Watch | None = None,
) -> EncodedStream:
    """Encode batches of tiles, in their order; on a CPU in several threads, a few steps ahead of who takes them.

    Args:
        batches: that were read.
        model: that encodes.
        options: of the run: a tile with too small a share of valid pixels is not shown to the model, the others in
            so many views.
        warn: hears of batches that do not fit.
        watch: keeps attention maps.

    Raises:
        ModelError: as `encode_tiles`.
    """
    read_s, start_s = 0.0, time.monotonic()
    with model_threads(model.device) as threads:
        encode = many_views(watch.encode if watch else model.encode, options.views)
        line = _Line(FittingEncoder(model, warn, encode, threads), options.min_valid, watch)
        for batch in batches:
            read_s += time.monotonic() - start_s
            line.show(batch)
            while line.is_long:
                yield line.take()
            start_s = time.monotonic()
        while line.shown:
            yield line.take()
    LOG.info("%.2f s waiting for reads, %.2f s for the model", read_s, line.waited_s)


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


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """A batch of which the tiles that `shown` (N,) says are shown to the model."""

    batch: "TileBatch"
    shown: NDArray[np.bool_]
    asked: Asked


class _Line:
    """Batches that are shown to the model, and taken in the same order."""

    def __init__(self, encoder: FittingEncoder, min_valid: float, watch: Watch | None) -> None:
        self._encoder, self._min_valid, self._watch = encoder, min_valid, watch
        self.shown: deque[_Shown] = deque()
        self.waited_s = 0.0

    @property
    def is_long(self) -> bool:
        """Whether enough tiles are shown beside those of the first batch."""
        beside = sum(len(one.batch.tile_ids) for one in islice(self.shown, 1, None))
        return bool(self.shown) and beside >= self._encoder.ahead

    def show(self, batch: "TileBatch") -> None:
        enough = (batch.valid_fraction >= self._min_valid) & (batch.valid_fraction > 0)
        shown = enough & np.array([failure is None for failure in batch.failures])
        asked = self._encoder.ask(batch.images if shown.all() else batch.images[shown])
        self.shown.append(_Shown(batch, shown, asked))

    def take(self) -> EncodedTiles:
        """Wait for the first batch."""
        start_s, first = time.monotonic(), self.shown.popleft()
        encoded = self._encoder.take(first.asked)
        self.waited_s += time.monotonic() - start_s
        if self._watch is not None:
            self._watch.keep(first.batch.tile_ids[first.shown], encoded)
        return EncodedTiles(
            tile_ids=first.batch.tile_ids,
            valid_fraction=first.batch.valid_fraction,
            failures=first.batch.failures,
            encoded=first.shown,
            embedding=_spread(encoded.embedding, first.shown),
            attributes=_spread(encoded.attributes, first.shown),
        )


def _spread(rows: NDArray[np.float32], shown: NDArray[np.bool_]) -> NDArray[np.float16]:
    """Put rows (M, D) of the tiles that were shown among zeros for the others: float16 (N, D)."""
    spread = np.zeros((len(shown), rows.shape[1]), dtype="float16")
    spread[shown] = rows
    return spread
