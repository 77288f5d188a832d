"""What runs on a worker: the model is loaded once and kept, the scene is opened by path, labels go back."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rszsl.batch.exchange import pack
from rszsl.batch.work import Brief, ModelSource, Outcome, SceneFacts, UnfitWorkerError, Unit, cut_rows
from rszsl.errors import ModelError
from rszsl.model.bundle import Model
from rszsl.output.cache import CacheKey
from rszsl.pipeline.encoding import encode_tiles
from rszsl.pipeline.labelling import Job, label_batches
from rszsl.pipeline.mapping import make_job
from rszsl.pipeline.plan import ScenePlan, cache_key, plan_rows, plan_scene
from rszsl.progress import Silent

Tell = Callable[[int], None]
"""Hears how many tiles of the unit are dealt with."""

STRIP_TILES_CPU, STRIP_TILES_GPU = 256, 4096
"""About 5 seconds of work for either: long against what a unit costs to hand out (docs/DASK.md)."""
OPEN_SCENES = 4
_models: dict[tuple[str, str, str], Model] = {}
_loading = threading.Lock()


def model_of(source: ModelSource, device: str) -> Model:
    """Load a model once in a process, and keep it."""
    with _loading:
        key = (source.digest, source.precision, device)
        if key not in _models:
            _models[key] = source.load(device)
        return _models[key]


def run_unit(brief: Brief, unit: Unit, tell: Tell, worker: str) -> Outcome:
    """Deal with one unit.

    Args:
        brief: of the batch.
        unit: a scene or a strip.
        tell: hears how many tiles are done.
        worker: this worker's address.

    Raises:
        UnfitWorkerError: where this worker is of another rszsl or has not this model.
        RszslError: where the scene cannot be mapped.
    """
    start_s = time.monotonic()
    check_fit(brief)
    os.environ.update(brief.environment)
    model = _fitting_model(brief)
    plan, key = _opened(brief, unit.path)
    facts = None if unit.strip else _facts(plan, key, brief.strip_tiles or _auto_strip_tiles(model.device))
    if unit.strip:
        plan = plan_rows(plan, unit.strip.first_row, unit.strip.stop_row)
    labels = None
    if facts is None or len(facts.strips) == 1:
        sampler, job = plan.sampler, _job(brief)
        with closing(encode_tiles(plan, model, brief.options)) as batches:
            labels = pack(label_batches(batches, sampler.tile_ids, model, job, _Teller(tell), sampler.grid))
    return Outcome(key.fingerprint, worker, model.device, time.monotonic() - start_s, facts, labels)


def check_fit(brief: Brief) -> None:
    """Refuse a brief of another version.

    Raises:
        UnfitWorkerError: naming both.
    """
    if (mine := version("rszsl")) != brief.version:
        raise UnfitWorkerError(f"it has rszsl {mine}, the batch is of {brief.version}; install the same version")


def _fitting_model(brief: Brief) -> Model:
    try:
        return model_of(brief.source, brief.options.device)
    except ModelError as err:
        raise UnfitWorkerError(str(err)) from err


@lru_cache(maxsize=OPEN_SCENES)
def _opened(brief: Brief, path: str) -> tuple[ScenePlan, CacheKey]:
    """Open a scene, and keep it for its next strips."""
    model = _fitting_model(brief)
    plan = plan_scene(path, model.card, brief.options)
    key = cache_key(plan, model, brief.options)
    short = hashlib.blake2b(key.aoi.encode(), digest_size=16).hexdigest() if key.aoi else None
    return plan, replace(key, aoi=short)  # the outline itself may be large, and nobody reads it again


@lru_cache(maxsize=OPEN_SCENES)
def _job(brief: Brief) -> Job:
    return make_job(_fitting_model(brief), brief.classes, Path(), brief.options, own=brief.own_rows)


def _facts(plan: ScenePlan, key: CacheKey, strip_tiles: int) -> SceneFacts:
    grid, tile_ids = plan.sampler.grid, plan.sampler.tile_ids
    tiles_in_row = np.bincount(tile_ids // grid.shape[1], minlength=grid.shape[0])
    planned = None
    if len(tile_ids) < len(grid):
        chosen = np.zeros(len(grid), dtype=bool)
        chosen[tile_ids] = True
        planned = np.packbits(chosen).tobytes()
    return SceneFacts(key, cut_rows(tiles_in_row, strip_tiles), plan.warnings, planned)


def _auto_strip_tiles(device: str) -> int:
    return STRIP_TILES_CPU if device == "cpu" else STRIP_TILES_GPU


class _Teller(Silent):
    """Passes on what the labelling says of its batches."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def advance(self, tiles: int) -> None:
        """Pass on."""
        self._tell(tiles)
