"""Map one scene: the picture of docs/ARCHITECTURE.md as code."""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from rszsl.classes import ClassName, as_classes
from rszsl.labels.examples import evidence
from rszsl.model.bundle import Model
from rszsl.model.checkpoint import load_model
from rszsl.model.override import Overrides
from rszsl.options import MapOptions
from rszsl.output.attention import attention_path
from rszsl.output.writer import check_output
from rszsl.pipeline.attention import attention_columns, watching
from rszsl.pipeline.encoding import encode_with_cache
from rszsl.pipeline.examples import Learnt, learn_from_scene
from rszsl.pipeline.labelling import Clock, Job, MapResult, label_batches, summary, write_map
from rszsl.pipeline.meaning import find_meaning
from rszsl.pipeline.plan import default_output, plan_scene
from rszsl.progress import Progress, Silent

LOG = logging.getLogger(__name__)


def map_scene(
    scene: str | Path,
    classes: str | Sequence[str | ClassName] | None = None,
    *,
    output: str | Path | None = None,
    model: str | Model | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> MapResult:
    """Label the tiles of one scene and write them as polygons.

    Args:
        scene: any raster that rasterio opens: a file, `/vsi…`, `s3://…`, `https://…`.
        classes: `"solar farm,quarry"`, a list of names, or `ClassName` objects with synonyms;
            may be left out where `examples` are given: they name the classes then.
        output: the file to write; default `<scene stem>.rszsl.gpkg` in the working directory.
        model: a bundled model's name, a model folder, or a loaded `Model`.
        progress: hears of every batch; default silent.
        **options: fields of `rszsl.options.MapOptions`.

    Raises:
        RszslError: one of its kinds, with a text for the user. Nothing is left under `output` then.
    """
    if isinstance(model, str):
        options["model"] = model
    chosen = MapOptions(**options)
    wanted = as_classes(classes) if classes is not None else ()
    path = Path(output) if output is not None else default_output(str(scene), chosen.format)
    check_targets(path, chosen)
    return map_with(loaded_model(model, chosen.model, chosen), str(scene), wanted, path, chosen, progress or Silent())


def map_with(
    model: Model,
    scene: str,
    classes: tuple[ClassName, ...],
    path: Path,
    options: MapOptions,
    progress: Progress,
) -> MapResult:
    """Map one scene with a loaded model; `map_scene` and the command line both end here."""
    clock = Clock()
    attention_columns(model, options)
    plan = plan_scene(scene, model.card, options)
    job = make_job(model, classes, path, options, learn_from_scene(plan, model, options))
    warnings = (*plan.warnings, *job.warnings)
    planned_s = clock.seconds
    progress.start(scene, len(plan.sampler))
    for warning in warnings:
        progress.warn(warning)
    with (
        watching(plan, model, options, path) as watch,
        closing(encode_with_cache(plan, model, options, progress, watch)) as batches,
    ):
        labels = label_batches(batches, plan.sampler.tile_ids, model, job, progress, plan.sampler.grid)
        beside = (watch.writer.finish(),) if watch else ()
        labelled_s = clock.seconds
        written = write_map(plan.footing, labels, model, job, clock, beside)
    LOG.info("%.2f s to plan, %.2f s to read, encode and label, %.2f s to write", planned_s, labelled_s - planned_s,
             clock.seconds - labelled_s)  # fmt: skip
    result = replace(written, warnings=warnings, attention=attention_path(path) if watch else None)
    progress.done(str(path), summary(result))
    return result


def check_targets(path: Path, options: MapOptions) -> None:
    """Refuse, before any work is done, an output, or what goes beside it, that exists or cannot be written.

    Raises:
        OutputError: naming the path and the way out.
    """
    check_output(path, overwrite=options.overwrite)
    if options.attention is not None:
        check_output(attention_path(path), overwrite=options.overwrite)


def loaded_model(model: str | Model | None, default: str, options: MapOptions) -> Model:
    """Take a loaded model as it is; load one that is named, or the default."""
    if model is None or isinstance(model, str):
        return load_model(
            model or default, device=options.device, precision=options.precision, trust_pickle=options.trust_pickle
        )
    return model


def make_job(
    model: Model,
    classes: tuple[ClassName, ...],
    path: Path,
    options: MapOptions,
    learnt: Learnt | None = None,
    own: Overrides | None = None,
) -> Job:
    """Fill in what the options leave to the model, and what the examples taught.

    Args:
        model: reads the names.
        classes: to be found.
        path: the output.
        options: of the run.
        learnt: from examples.
        own: what `options.attributes` holds, where it was read before.

    Raises:
        ClassListError: as `find_meaning`.
        ExamplesError: as `find_meaning`.
    """
    meaning = find_meaning(model, classes, learnt, own or options.attributes)
    given = options.min_confidence
    threshold = model.min_confidence if given is None else given
    filled = options.to_record() | {
        "min_confidence": threshold,
        "device": model.device,
        "precision": model.precision,
        "runtime": model.runtime,
    }
    if learnt is not None:
        filled["examples_used"] = dict(zip((c.name for c in meaning.classes), meaning.examples, strict=True))
    return Job(
        classes=meaning.classes,
        rows=meaning.rows,
        min_confidence=threshold,
        options=filled,
        path=path,
        format_name=options.format,
        warnings=meaning.warnings,
        refine=options.refine,
        evidence=evidence(meaning.examples),
    )
