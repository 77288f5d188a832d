"""`rszsl embed`, `rszsl relabel`, `rszsl search`: read a scene once, then label or search it without opening it."""

from pathlib import Path
from typing import Any

import click

from rszsl.cli.options import (
    ATTRIBUTE_OPTIONS,
    CLASS_OPTIONS,
    EXAMPLE_OPTIONS,
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
    parse_xy,
)

ONE_OUTPUT = tuple(o for o in OUTPUT_OPTIONS if o is not OUTPUT_OPTIONS[1])
CACHE_ARGUMENT = click.argument("cache", type=click.Path(path_type=Path))
MODEL_OF_CACHE = (
    click.option("--model", help="The model that made the cache; default: the one that it names."),
    MODEL_OPTIONS[1],
    TRUST_OPTION,
)


@click.command("embed")
@click.argument("scene")
@click.option("--cache", type=click.Path(path_type=Path), help="Default: SCENE_STEM.rszsl-cache.")
@click.option("--overwrite", is_flag=True, help="Replace an existing cache.")
@options_of(
    (*MODEL_OPTIONS, PRECISION_OPTION, VIEWS_OPTION, TRUST_OPTION), SCENE_OPTIONS, TILE_OPTIONS, PROGRESS_OPTIONS
)
def embed_command(
    scene: str,
    cache: Path | None,
    bands: str | None,
    value_range: str | None,
    progress: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Encode every tile of SCENE into a cache, for relabel and search."""
    options |= {"bands": parse_bands(bands), "value_ranges": parse_ranges(value_range)}

    from rszsl.pipeline import embed_scene
    from rszsl.progress import progress_for

    with progress_for(progress, quiet=quiet) as reporter:
        embed_scene(scene, cache=cache, progress=reporter, **options)


@click.command("relabel")
@CACHE_ARGUMENT
@options_of(
    CLASS_OPTIONS, EXAMPLE_OPTIONS, ATTRIBUTE_OPTIONS, ONE_OUTPUT, MODEL_OF_CACHE, LABEL_OPTIONS, PROGRESS_OPTIONS
)
@click.pass_context
def relabel_command(
    context: click.Context,
    /,
    cache: Path,
    classes: str | None,
    classes_file: Path | None,
    format_name: str,
    progress: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Label a cached scene again, as a fresh map would, without opening the scene."""
    wanted = classes_from(classes, classes_file, options["examples"])

    from rszsl.pipeline import relabel
    from rszsl.progress import progress_for

    with progress_for(progress, quiet=quiet) as reporter:
        result = relabel(cache, wanted or None, format=format_name, progress=reporter, **options)
    context.exit(3 if result.counts.failed else 0)


@click.command("search")
@CACHE_ARGUMENT
@click.argument("text", required=False)
@click.option(
    "--like",
    multiple=True,
    metavar="X,Y",
    help="Instead of a text: a point whose tile is the example. Repeat it for several: their mean is searched for.",
)
@click.option("--like-crs", metavar="EPSG:N", help="CRS of the points; default: the scene's.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many tiles.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="GeoPackage for the tiles found.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@options_of(ATTRIBUTE_OPTIONS, MODEL_OF_CACHE)
def search_command(cache: Path, text: str | None, like: tuple[str, ...], **options: Any) -> None:
    """List the tiles of a cached scene that are most like TEXT, or like the tiles at some points.

    Prints rank, tile number and similarity, tab-separated.
    """
    points = [parse_xy(point) for point in like]

    from rszsl.pipeline import search

    for rank, (tile_id, similarity) in enumerate(search(cache, text, like_xy=points, **options), start=1):
        click.echo(f"{rank}\t{tile_id}\t{similarity:.4f}")
