"""`rszsl map`: label scenes in this process."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rszsl.cli.options import (
    ATTENTION_OPTIONS,
    ATTRIBUTE_OPTIONS,
    CACHE_OPTIONS,
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
    map_options,
    options_of,
    parse_names,
)
from rszsl.errors import OptionError, RszslError

if TYPE_CHECKING:
    from rszsl.options import MapOptions


@click.command("map")
@click.argument("scenes", metavar="SCENE...", nargs=-1, required=True)
@options_of(
    CLASS_OPTIONS,
    EXAMPLE_OPTIONS,
    ATTRIBUTE_OPTIONS,
    OUTPUT_OPTIONS,
    (*MODEL_OPTIONS, PRECISION_OPTION, VIEWS_OPTION, TRUST_OPTION),
    SCENE_OPTIONS,
    TILE_OPTIONS,
    LABEL_OPTIONS,
    CACHE_OPTIONS,
    ATTENTION_OPTIONS,
    PROGRESS_OPTIONS,
)
@click.pass_context
def map_command(
    context: click.Context,
    /,
    scenes: tuple[str, ...],
    classes: str | None,
    classes_file: Path | None,
    output: Path | None,
    out: Path | None,
    cache: str | None,
    attention: str | None,
    progress: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Label the tiles of each SCENE and write them as polygons.

    SCENE is anything that rasterio opens: GeoTIFF, COG, VRT, JPEG2000, /vsi…, s3://…, https://….
    """
    wanted = classes_from(classes, classes_file, options["examples"])
    chosen = map_options(attention=parse_names(attention), **options)
    if cache and len(scenes) > 1:
        raise OptionError(f"--cache {cache} names one file for one scene; give --cache alone for several scenes")
    targets = _targets(scenes, output, out, chosen)

    from rszsl.pipeline import map_with
    from rszsl.pipeline.attention import attention_columns
    from rszsl.pipeline.mapping import check_targets, loaded_model
    from rszsl.progress import progress_for

    for path in targets.values():
        check_targets(path, chosen)
    model = loaded_model(None, chosen.model, chosen)
    attention_columns(model, chosen)
    failed = 0
    with progress_for(progress, quiet=quiet) as reporter:
        for scene, path in targets.items():
            try:
                kept = replace(chosen, cache=_cache_of(scene, cache, path.parent))
                failed += map_with(model, scene, wanted, path, kept, reporter).counts.failed
            except RszslError as err:
                if len(scenes) == 1:
                    raise
                failed += 1
                reporter.warn(f"skipped: {err}")
    context.exit(3 if failed else 0)


def _cache_of(scene: str, cache: str | None, folder: Path) -> Path | None:
    """Where the cache of a scene stands: as named, or beside the result; None without `--cache`."""
    from rszsl.pipeline import default_cache

    if cache is None:
        return None
    return Path(cache) if cache else default_cache(scene, folder)


def _targets(scenes: tuple[str, ...], output: Path | None, out: Path | None, options: "MapOptions") -> dict[str, Path]:
    """Where each scene's result goes.

    Raises:
        OptionError: where two scenes would share a file, or `--output` is given for several.
    """
    from rszsl.pipeline import default_output

    if output is not None and (len(scenes) > 1 or out is not None):
        raise OptionError("--output names one file for one scene; give --out DIR for several scenes")
    if output is not None:
        return {scenes[0]: output}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    targets: dict[str, Path] = {}
    for scene in scenes:
        path = default_output(scene, options.format, out or Path())
        if path in targets.values():
            raise OptionError(f"two scenes would be written to {path}; map them apart, each with its --output")
        targets[scene] = path
    return targets
