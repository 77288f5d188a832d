"""`rszsl batch`: many scenes, in this process or over a Dask cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rszsl.cli.options import (
    ATTRIBUTE_OPTIONS,
    BATCH_OPTIONS,
    CLASS_OPTIONS,
    LABEL_OPTIONS,
    MODEL_OPTIONS,
    OUTPUT_OPTIONS,
    PRECISION_OPTION,
    PROGRESS_OPTIONS,
    SCENE_OPTIONS,
    TILE_OPTIONS,
    TRUST_OPTION,
    VIEWS_OPTION,
    classes_from,
    options_of,
    parse_bands,
    parse_ranges,
)

if TYPE_CHECKING:
    from rszsl.batch.result import BatchResult

OUT_OPTION = (
    click.option(
        "--out",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of results and manifest; the same command again goes on there.",
    ),
)


@click.command("batch")
@click.argument("scenes", metavar="SCENES...", nargs=-1, required=True)
@options_of(
    CLASS_OPTIONS,
    ATTRIBUTE_OPTIONS,
    OUT_OPTION,
    OUTPUT_OPTIONS[2:],
    BATCH_OPTIONS,
    (*MODEL_OPTIONS, PRECISION_OPTION, VIEWS_OPTION, TRUST_OPTION),
    SCENE_OPTIONS,
    TILE_OPTIONS,
    LABEL_OPTIONS[:1],
    PROGRESS_OPTIONS,
)
@click.pass_context
def batch_command(
    context: click.Context,
    /,
    scenes: tuple[str, ...],
    classes: str | None,
    classes_file: Path | None,
    scheduler: str,
    workers: int | None,
    report: Path | None,
    format_name: str,
    bands: str | None,
    value_range: str | None,
    progress: str,
    quiet: bool,
    **options: Any,
) -> None:
    r"""Label the tiles of many SCENES, here or over a Dask cluster.

    SCENES are rasters, globs, folders, lists (.txt: a path a line; .csv: a column scene, path, href or url) or STAC
    items (.json, .geojson, .parquet) with --asset. A large scene is cut into strips that several workers share.

    \b
    rszsl batch "scenes/**/*.tif" --classes "solar farm,quarry" --out maps --scheduler local

    Every scene and strip stands in OUT/manifest.sqlite: the same command again goes on where it stopped. --format
    parquet gives a GeoParquet dataset of tiles, regions and runs. --timeout-s needs a scheduler.
    """
    wanted = classes_from(classes, classes_file)
    options |= {"bands": parse_bands(bands), "value_ranges": parse_ranges(value_range), "format": format_name}

    from rszsl.batch.cluster import connected, performance_report
    from rszsl.batch.mapping import map_scenes
    from rszsl.batch.told import batch_progress_for

    with (
        batch_progress_for(progress, quiet=quiet) as told,
        connected(scheduler, workers, options["device"]) as client,
        performance_report(client, report),
    ):
        result = map_scenes(scenes, wanted, client=client, progress=told, **options)
    if not quiet and progress not in ("json", "none"):
        _summarise(result)
    context.exit(0 if result.clean else 3)


def _summarise(result: "BatchResult") -> None:
    from rszsl.batch.result import print_summary

    print_summary(result)
