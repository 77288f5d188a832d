"""How fast this machine maps a scene, and which part of the work limits it: `rszsl bench`."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from rszsl.classes import as_classes
from rszsl.errors import OutputError
from rszsl.labels.collect import SceneLabels
from rszsl.model.bundle import Model
from rszsl.model.encoder import Pixels
from rszsl.model.threads import model_threads
from rszsl.model.views import many_views
from rszsl.options import MapOptions
from rszsl.output.writer import FORMATS, write_result
from rszsl.pipeline.encoding import encode_tiles
from rszsl.pipeline.fitting import FittingEncoder
from rszsl.pipeline.labelling import Clock, Job, label_batches, make_result
from rszsl.pipeline.mapping import make_job
from rszsl.pipeline.plan import ScenePlan, plan_scene
from rszsl.progress import Silent
from rszsl.tiling import TileBatch, load_tiles

CLASSES = "forest,river,farmland,industrial area,residential area"
PARTS = ("reading", "model", "writing")
KEPT_BATCHES = 4
"""Batches that stay in memory for the model's own speed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured.

    Attributes:
        scene: path as given.
        model: name and version.
        device: where it ran.
        precision: in which arithmetic.
        runtime: what runs the model, `torch` or `onnxruntime`.
        batch_size: tiles that the model saw at once.
        views: of each tile.
        threads: of torch.
        tiles: how many were read, encoded and written.
        tiles_per_s: of each of `PARTS` alone, and of the whole `map`.
    """

    scene: str
    model: str
    device: str
    precision: str
    runtime: str
    batch_size: int
    views: int
    threads: int
    tiles: int
    tiles_per_s: Mapping[str, float]

    @property
    def limits(self) -> str:
        """The slowest part."""
        return min(PARTS, key=lambda part: self.tiles_per_s[part])

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        speeds = {part: round(speed, 1) for part, speed in self.tiles_per_s.items()}
        return shown | {"tiles_per_s": speeds, "limits": self.limits}


def measure_scene(scene: str, model: Model, options: MapOptions, tiles: int) -> Bench:
    """Measure the first tiles of a scene, with the functions that `map` is made of.

    Args:
        scene: as in `map_scene`.
        model: that encodes.
        options: how the scene is read and tiled.
        tiles: how many, at most.

    Raises:
        RszslError: as `map_scene`.
    """
    whole = plan_scene(scene, model.card, options)
    plan = replace(whole, sampler=whole.sampler.only(whole.sampler.tile_ids[:tiles]))
    with tempfile.TemporaryDirectory(prefix="rszsl-bench-") as folder:
        job = make_job(model, as_classes(CLASSES), Path(folder) / f"map{FORMATS[options.format].suffix}", options)
        seconds = _measure(plan, model, job, options)
    count = len(plan.sampler)
    return Bench(
        scene=scene,
        model=f"{model.card.name} {model.card.version}",
        device=model.device,
        precision=model.precision,
        runtime=model.runtime,
        batch_size=options.batch_size,
        views=options.views,
        threads=torch.get_num_threads(),
        tiles=count,
        tiles_per_s={part: count / spent_s for part, spent_s in seconds.items()},
    )


def write_json(found: Bench, path: Path) -> None:
    """Write the figures.

    Raises:
        OutputError: where that is not possible.
    """
    try:
        path.write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as err:
        raise OutputError(f"cannot write {path}: {err.strerror}; name another --json") from err


def _measure(plan: ScenePlan, model: Model, job: Job, options: MapOptions) -> dict[str, float]:
    """Seconds of each part for all planned tiles, and of the whole."""
    kept = list(islice(_batches(plan, options), KEPT_BATCHES))
    model.encode(kept[0].images)  # the first one makes plans, and fills caches
    reading_s = _seconds(lambda: sum(len(batch.tile_ids) for batch in _batches(plan, options)))
    model_s = _seconds(lambda: _encode(model, kept, len(plan.sampler), options.views))
    start_s = time.perf_counter()
    tiles = encode_tiles(plan, model, options)
    labels = label_batches(tiles, plan.sampler.tile_ids, model, job, Silent(), plan.sampler.grid)
    labelled_s = time.perf_counter() - start_s
    writing_s = _seconds(lambda: _write(plan, labels, model, job))
    return {"reading": reading_s, "model": model_s, "writing": writing_s, "map": labelled_s + writing_s}


def _batches(plan: ScenePlan, options: MapOptions) -> Iterator[TileBatch]:
    return load_tiles(plan.dataset, plan.sampler, batch_size=options.batch_size)


def _encode(model: Model, kept: list[TileBatch], tiles: int, views: int) -> None:
    """Encode so many tiles, from batches that are in memory, as `map` does."""
    with model_threads(model.device) as threads:
        encoder = FittingEncoder(model, Silent().warn, many_views(model.encode, views), threads)
        for asked in [encoder.ask(images) for images in _images(kept, tiles)]:
            encoder.take(asked)


def _images(kept: list[TileBatch], tiles: int) -> Iterator[Pixels]:
    """Give so many tiles, the same ones again and again."""
    missing = tiles
    for batch in cycle(kept):
        yield batch.images[:missing]
        missing -= min(missing, len(batch.images))
        if not missing:
            return


def _write(plan: ScenePlan, labels: SceneLabels, model: Model, job: Job) -> None:
    write_result(make_result(plan.footing, labels, model, job, Clock()), job.path, job.format_name)


def _seconds(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s
