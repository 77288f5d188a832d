"""Map many scenes: the list, the manifest, the pool and the sink put together."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rszsl.batch.checkpoint import checkpoint_of, name_of
from rszsl.batch.environment import travelling
from rszsl.batch.manifest import MANIFEST_NAME, Manifest
from rszsl.batch.options import BatchOptions
from rszsl.batch.pool import InProcess, Pool
from rszsl.batch.result import BatchResult
from rszsl.batch.runner import Runner
from rszsl.batch.scenes import SceneRef, expand
from rszsl.batch.schema import DONE, LABELLED, SKIPPED
from rszsl.batch.sink import Dataset, FilePerScene, OneFile, Sink
from rszsl.batch.spool import Spool
from rszsl.batch.told import BatchProgress, Quiet
from rszsl.batch.work import Brief, ModelSource
from rszsl.batch.worker import model_of
from rszsl.classes import ClassName, as_classes
from rszsl.errors import AoiError, BatchError, OptionError, OutputError
from rszsl.model.bundle import Model
from rszsl.model.override import Overrides, read_overrides
from rszsl.options import MapOptions
from rszsl.pipeline.labelling import Job
from rszsl.pipeline.mapping import make_job
from rszsl.scene.fingerprint import file_fingerprint

if TYPE_CHECKING:
    from distributed import Client

WORK_NAME = ".rszsl-work"
FREE = ("model", "device", "batch_size", "overwrite", "cache", "trust_pickle", "aoi", "attributes")
"""Options that may differ when a batch goes on: results depend on none of them, or on what is in the file."""


def map_scenes(
    scenes: str | Path | Sequence[str | Path],
    classes: str | Sequence[str | ClassName],
    *,
    out: str | Path,
    client: "Client | None" = None,
    model: str | Model | None = None,
    asset: str | None = None,
    merge: bool = False,
    strip_tiles: int | None = None,
    retries: int = 3,
    timeout_s: float | None = None,
    progress: BatchProgress | None = None,
    **options: Any,
) -> BatchResult:
    """Map many scenes into a folder; the same call again goes on where it stopped.

    Args:
        scenes: paths, URLs, globs, folders, lists (`.txt`, `.csv`) or STAC items (`.json`, `.parquet`).
        classes: as in `map_scene`.
        out: the folder of the results and the manifest.
        client: a `distributed.Client`, of any cluster; default: this process.
        model: as in `map_scene`; workers load it by name or path.
        asset: key of the asset that is the scene, for STAC items.
        merge: one GeoPackage for all scenes.
        strip_tiles: about how many tiles make a strip of a large scene.
        retries: how often a scene or strip is tried again.
        timeout_s: a scene or strip that takes longer is tried elsewhere, and its worker restarted.
        progress: hears of everything; default silent.
        **options: fields of `rszsl.options.MapOptions`; `format="parquet"` gives a GeoParquet dataset of tiles,
            regions and runs.

    Raises:
        RszslError: where the batch cannot begin or go on; scenes that fail do not raise, see `BatchResult.failed`.
            An `OptionError` for `refine`, `examples` and `cache`, which are of one scene.
    """
    if model is not None:
        options["model"] = model if isinstance(model, str) else name_of(model)
    chosen = MapOptions(**options)
    extra = BatchOptions(merge=merge, strip_tiles=strip_tiles, retries=retries, timeout_s=timeout_s)
    listed = expand([str(s) for s in ([scenes] if isinstance(scenes, str | Path) else scenes)], asset)
    source = checkpoint_of(chosen.model, trust_pickle=chosen.trust_pickle, precision=chosen.precision)
    return run_batch(
        listed, as_classes(classes), Path(out), source, chosen, extra, client, progress or BatchProgress(Quiet())
    )


def run_batch(
    scenes: Sequence[SceneRef],
    classes: tuple[ClassName, ...],
    out: Path,
    source: ModelSource,
    options: MapOptions,
    extra: BatchOptions,
    client: "Client | None",
    progress: BatchProgress,
) -> BatchResult:
    """Map many scenes with a model from any source; `map_scenes` and the command line both end here.

    Raises:
        RszslError: as `map_scenes`.
    """
    _check_options(options, extra)
    model = model_of(source, options.device if client is None else "cpu")
    read = read_overrides(options.attributes, model.attribute_names) if options.attributes else None
    job = make_job(model, classes, out, options, own=read)
    own = read.of(classes) if read else None
    _make_folder(out)
    manifest = Manifest(
        out / MANIFEST_NAME, _identity(source, own, classes, options, extra), overwrite=options.overwrite
    )
    try:
        work = out / WORK_NAME
        if options.overwrite:
            shutil.rmtree(work, ignore_errors=True)
        sink = _sink(out, work / "results", model, job, extra, manifest)
        _list_scenes(manifest, scenes, sink, overwrite=options.overwrite)
        brief = _brief(source, own, classes, options, extra)
        with _pool(client, brief, progress) as pool:
            progress.open(manifest.count(), manifest.count(DONE, SKIPPED, LABELLED), _opening(out, client))
            for warning in job.warnings:
                progress.warn(warning)
            Runner(manifest, pool, sink, Spool(work / "strips"), progress, brief.batch, extra).run()
        result = BatchResult(out, tuple(manifest.scenes()))
    finally:
        manifest.close()
    progress.close(str(out), str(result))
    return result


def _check_options(options: MapOptions, extra: BatchOptions) -> None:
    if options.refine:
        raise OptionError(
            "--refine needs all tiles of a scene at once, and a batch cuts scenes into strips; map such scenes with "
            "rszsl map --refine, one by one"
        )
    if options.examples is not None:
        raise OptionError(
            f"--examples {options.examples} is for one scene at a time; map with rszsl map --examples, or put rows of "
            "your own into --attributes"
        )
    if options.cache is not None:
        raise OptionError(f"--cache {options.cache} is for one scene; a batch keeps none")
    if options.attention is not None:
        raise OptionError("--attention is for one scene at a time; map with rszsl map --attention, one by one")
    if extra.merge and options.format != "gpkg":
        raise OptionError(f"--merge makes one GeoPackage; it does not go with --format {options.format}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(f"cannot make the folder {out}: {err.strerror}; name another --out") from err


def _brief(
    source: ModelSource, own: Overrides | None, classes: tuple[ClassName, ...], options: MapOptions, extra: BatchOptions
) -> Brief:
    """What workers, which have another working directory, need to know."""
    there = replace(options, aoi=Path(options.aoi).resolve()) if options.aoi else options
    return Brief(uuid4().hex[:8], source, classes, there, extra.strip_tiles, version("rszsl"), own, travelling())


def _identity(
    source: ModelSource, own: Overrides | None, classes: tuple[ClassName, ...], options: MapOptions, extra: BatchOptions
) -> dict[str, Any]:
    """What must not change when a batch goes on."""
    fixed = {f"options.{k}": v for k, v in options.to_record().items() if k not in FREE}
    return {
        "rszsl": version("rszsl"),
        "model": source.digest,
        "classes": [asdict(c) for c in classes],
        "merge": extra.merge,
        "aoi": _digest(options.aoi) if options.aoi else None,
        "attributes": own.digest if own else None,
        **fixed,
    }


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as err:
        raise AoiError(
            f"cannot read the area of interest {path}: {err.strerror}; give a vector file of polygons"
        ) from err


def _sink(out: Path, stashes: Path, model: Model, job: Job, extra: BatchOptions, manifest: Manifest) -> Sink:
    if extra.merge:
        return OneFile(out, stashes, model, job, manifest)
    if job.format_name == "parquet":
        return Dataset(out, stashes, model, job, manifest)
    return FilePerScene(out, model, job)


def _list_scenes(manifest: Manifest, scenes: Sequence[SceneRef], sink: Sink, *, overwrite: bool) -> None:
    """Put this run's scenes into the manifest, after a look at what would be in the way.

    Raises:
        OutputError: where an output is not this batch's.
        BatchError: where a scene changed after strips of it were labelled.
    """
    try:
        sink.check(manifest.add(scenes), overwrite=overwrite)
        for scene, path, before, strips in manifest.touched():
            if file_fingerprint(Path(path)) == before:
                continue
            if strips:
                raise BatchError(
                    f"{path} changed since the batch began; give another --out, or --overwrite to begin anew"
                )
            manifest.forget(scene)
    except (BatchError, OutputError):
        manifest.rollback()
        raise
    manifest.commit()


@contextmanager
def _pool(client: "Client | None", brief: Brief, progress: BatchProgress) -> Iterator[Pool]:
    if client is None:
        yield InProcess(brief)
        return
    from rszsl.batch.dask_pool import DaskPool
    from rszsl.batch.roster import Roster

    roster = Roster(client, brief, progress)
    roster.open()
    pool = DaskPool(client, brief, roster)
    try:
        yield pool
    finally:
        roster.close()
        pool.close()


def _opening(out: Path, client: "Client | None") -> str:
    return f"writing to {out}" if client is None else f"writing to {out}; dashboard: {client.dashboard_link}"
