"""Options that several commands share, spelt the same in each, and how their text becomes values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rszsl.classes import ClassName, parse_classes, read_classes
from rszsl.errors import OptionError
from rszsl.options import DEFAULT_MODEL, FORMAT_NAMES, MapOptions

Command = TypeVar("Command", bound=Callable[..., Any])

CLASS_OPTIONS = (
    click.option("--classes", metavar="NAMES", help='What to find, comma-separated: "solar farm,quarry".'),
    click.option(
        "--classes-file",
        type=click.Path(path_type=Path),
        help='A class a line: "name" or "name: synonym, synonym"; # starts a comment.',
    ),
)
TRUST_OPTION = click.option(
    "--trust-pickle", is_flag=True, help="Read weights that come as a pickle (weights_only), if you trust their source."
)
MODEL_OPTIONS = (
    click.option(
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        help="A model of `rszsl models list`, a folder, hf:owner/name[@revision] or open_clip:ARCH/TAG.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
    click.option("--batch-size", type=int, default=32, show_default=True, help="Tiles that the model sees at once."),
)
SCENE_OPTIONS = (
    click.option("--bands", metavar="R,G,B", help="Three bands (from 1) as red, green, blue, or one."),
    click.option("--range", "value_range", metavar="LO,HI[;…]", help="Raw values that become black and white."),
    click.option("--crs", metavar="EPSG:N", help="CRS of a scene that names none."),
    click.option("--gsd", "gsd_m", type=float, metavar="M", help="Metres a pixel; measured by default."),
    click.option("--aoi", type=click.Path(path_type=Path), help="Vector file (any CRS): map only what it covers."),
)
TILE_OPTIONS = (
    click.option("--overlap", type=float, default=0.0, show_default=True, help="Fraction of a tile shared."),
    click.option("--min-valid", type=float, default=0.5, show_default=True, help="Below, a tile is nodata."),
)
LABEL_OPTIONS = (
    click.option("--min-confidence", type=float, help="Below, a tile is other; default: the model's own."),
)
OUTPUT_OPTIONS = (
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: SCENE_STEM.rszsl.gpkg."),
    click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for many scenes."),
    click.option("--format", "format_name", type=click.Choice(FORMAT_NAMES), default="gpkg", show_default=True),
    click.option("--overwrite", is_flag=True, help="Replace an existing output."),
)
CACHE_OPTIONS = (
    click.option(
        "--cache",
        is_flag=False,
        flag_value="",
        metavar="[FILE]",
        help="Keep what the model said, to label again at once; default: SCENE_STEM.rszsl-cache.",
    ),
)
PROGRESS_OPTIONS = (
    click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
)


def options_of(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    """Put groups of options on a command, in the order in which `--help` shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed([o for group in groups for o in group]):
            command = option(command)
        return command

    return decorate


def classes_from(classes: str | None, classes_file: Path | None) -> tuple[ClassName, ...]:
    """Take the list from `--classes` or `--classes-file`, whichever is given.

    Raises:
        click.UsageError: where both or neither are given.
        ClassListError: for a bad list.
    """
    if (classes is None) == (classes_file is None):
        raise click.UsageError('Give either --classes "a,b" or --classes-file FILE.')
    return parse_classes(classes) if classes is not None else read_classes(classes_file or Path())


def map_options(*, bands: str | None, value_range: str | None, format_name: str, **same: Any) -> MapOptions:
    """Turn the text of the options into one `MapOptions`.

    Raises:
        OptionError: for a value that cannot be read.
    """
    return MapOptions(bands=parse_bands(bands), value_ranges=parse_ranges(value_range), format=format_name, **same)


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Parse `3,2,1`; an empty text is a choice of no band, which `MapOptions` refuses."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as err:
        raise OptionError(f'--bands "{text}" is no list of band numbers; write it like 3,2,1') from err


def parse_ranges(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """Parse `0,3000` or `0,3000;0,2500;0,2000`."""
    if text is None:
        return None
    try:
        pairs = [tuple(float(v) for v in part.split(",")) for part in text.split(";")]
        return tuple((low, high) for low, high in pairs)
    except ValueError as err:
        raise OptionError(f'--range "{text}" is not LO,HI or LO,HI;LO,HI;LO,HI') from err


def parse_xy(text: str | None) -> tuple[float, float] | None:
    """Parse `691200,5335000`: x, y in the scene's CRS."""
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as err:
        raise OptionError(f'--like "{text}" is not X,Y in the scene\'s CRS') from err
    return x, y
