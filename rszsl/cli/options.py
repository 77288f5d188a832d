"""Options that several commands share, spelt the same in each, and how their text becomes values."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rszsl.classes import ClassName, parse_classes, read_classes
from rszsl.errors import OptionError
from rszsl.options import DEFAULT_MODEL, FORMAT_NAMES, PRECISIONS, MapOptions

Command = TypeVar("Command", bound=Callable[..., Any])


class _Echo(logging.Handler):
    """Writes to the stderr of the moment, which a progress bar may have taken over."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        click.echo(self.format(record), err=True)


def _log_to_stderr(context: click.Context, _option: click.Parameter, chosen: bool) -> None:
    """Show the library's own log for as long as the command runs."""
    if not chosen:
        return
    logger, handler = logging.getLogger("rszsl"), _Echo()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    @context.call_on_close
    def stop() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)


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
        help="A model of `rszsl models list`, a folder, hf:owner/name[@revision], open_clip:ARCH/TAG; A+B joins two.",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
    click.option("--batch-size", type=int, default=32, show_default=True, help="Tiles that the model sees at once."),
)
PRECISION_OPTION = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Of the model's arithmetic; auto takes bf16 where the device has it and labels stay.",
)
VIEWS_OPTION = click.option(
    "--views",
    type=int,
    default=1,
    show_default=True,
    metavar="1|2|4|8",
    help="Show the model each tile so often, turned and mirrored: mostly better labels, for so many times the work.",
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
EXAMPLE_OPTIONS = (
    click.option(
        "--examples",
        type=click.Path(path_type=Path),
        help="Vector file (any CRS) of points or polygons whose class is known, 1 to 50 tiles a class.",
    ),
    click.option("--class-field", metavar="NAME", help="The column of --examples that holds the class."),
    click.option("--examples-scene", metavar="SCENE", help="The scene under the examples, where it is another one."),
)
ATTRIBUTE_OPTIONS = (
    click.option(
        "--attributes",
        type=click.Path(path_type=Path),
        help="CSV of attribute rows, a class a line, that override what names mean (see: rszsl attributes NAME --csv).",
    ),
)
LABEL_OPTIONS = (
    click.option("--min-confidence", type=float, help="Below, a tile is other; default: the model's own."),
    click.option(
        "--refine/--no-refine",
        default=False,
        show_default=True,
        help="Let the scene's labelled tiles speak for each other: fewer stray labels where most tiles are of a class.",
    ),
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
ATTENTION_OPTIONS = (
    click.option(
        "--attention",
        metavar="NAMES",
        help="Write maps of these attributes, comma-separated, as OUTPUT_STEM.attention.tif (see: rszsl attributes).",
    ),
)
BATCH_OPTIONS = (
    click.option(
        "--scheduler", default="none", show_default=True, help="none (this process), local or tcp://HOST:PORT."
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Of --scheduler local; default: a GPU or core each."),
    click.option("--asset", metavar="KEY", help="The asset that is the scene, for STAC items."),
    click.option("--merge", is_flag=True, help="One GeoPackage for all scenes."),
    click.option("--strip-tiles", type=int, metavar="N", help="Cut large scenes after about so many tiles."),
    click.option("--retries", type=int, default=3, show_default=True, help="Of a scene or strip that fails."),
    click.option("--timeout-s", type=float, metavar="S", help="Retry elsewhere what takes a worker longer."),
    click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Dask's performance report (HTML)."),
)
PROGRESS_OPTIONS = (
    click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_log_to_stderr,
        help="Log the model, the device, the grid, and where the time goes.",
    ),
)


def options_of(*groups: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    """Put groups of options on a command, in the order in which `--help` shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed([o for group in groups for o in group]):
            command = option(command)
        return command

    return decorate


def classes_from(classes: str | None, classes_file: Path | None, examples: Path | None = None) -> tuple[ClassName, ...]:
    """Take the list from `--classes` or `--classes-file`, whichever is given; empty where `--examples` name it.

    Raises:
        click.UsageError: where both or neither are given.
        ClassListError: for a bad list.
    """
    if classes is None and classes_file is None and examples is not None:
        return ()
    if (classes is None) == (classes_file is None):
        raise click.UsageError('Give either --classes "a,b" or --classes-file FILE, or --examples FILE alone.')
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


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Parse `solar panels,water`; an empty text is a choice of no name, which `MapOptions` refuses."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def parse_ranges(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """Parse `0,3000` or `0,3000;0,2500;0,2000`."""
    if text is None:
        return None
    try:
        pairs = [tuple(float(v) for v in part.split(",")) for part in text.split(";")]
        return tuple((low, high) for low, high in pairs)
    except ValueError as err:
        raise OptionError(f'--range "{text}" is not LO,HI or LO,HI;LO,HI;LO,HI') from err


def parse_xy(text: str) -> tuple[float, float]:
    """Parse `691200,5335000`: x, y."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as err:
        raise OptionError(f'--like "{text}" is not X,Y; write it like 691200,5335000') from err
    return x, y
