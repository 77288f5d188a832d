"""`rszsl annotate`: a class-attribute matrix from pictures, without anybody looking at them."""

import sys
from pathlib import Path
from typing import Any

import click

from rszsl.classes import read_classes
from rszsl.cli.options import MODEL_OPTIONS, TRUST_OPTION, options_of


@click.command("annotate")
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--attributes", "vocabulary", required=True, type=click.Path(path_type=Path), help="YAML or TOML.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@click.option("--images-per-class", "per_class", type=int, help="Draw so many of each class; default: all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw and of shuffled controls.")
@click.option("--text-rows", metavar="NAMES", help="Classes described by their name alone, comma-separated.")
@click.option(
    "--names", type=click.Path(path_type=Path), help='Words for folders, a line each: "folder: words, words".'
)
@click.option("--text-only", is_flag=True, help="Describe all classes by their names alone.")
@click.option("--temperature", type=float, default=0.01, show_default=True, help="Similarities are divided by it.")
@click.option("--centre", type=click.Choice(["all", "seen", "none"]), default="all", show_default=True,
              help="Take off each attribute's mean over classes.")  # fmt: skip
@click.option("--normalise", type=click.Choice(["l2", "zscore", "none"]), default="l2", show_default=True)
@click.option("--human", type=click.Path(path_type=Path), help="Human table to compare with: CSV, or FOLDER/NAME.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results.")
@options_of((*MODEL_OPTIONS, TRUST_OPTION))
def annotate_command(
    images: Path,
    vocabulary: Path,
    out: Path,
    text_rows: str | None,
    names: Path | None,
    overwrite: bool,
    model: str,
    device: str,
    trust_pickle: bool,
    **options: Any,
) -> None:
    """Describe the classes of IMAGES, a folder with a folder a class, by attributes.

    Writes attributes.csv and .parquet (a row a class), images.csv (what was looked at), heatmap.png and report.json.
    """
    from rszsl.annotate.annotate import AnnotateOptions, annotate
    from rszsl.annotate.files import check_folder, write_annotation
    from rszsl.annotate.vocabulary import read_vocabulary
    from rszsl.model.checkpoint import load_model

    by_text = tuple(name.strip() for name in text_rows.split(",")) if text_rows else ()
    words = {item.name: item.synonyms for item in read_classes(names)} if names else {}
    chosen = AnnotateOptions(text_rows=by_text, names=words, **options)
    attributes = read_vocabulary(vocabulary)
    check_folder(out, overwrite=overwrite)
    loaded = load_model(model, device=device, trust_pickle=trust_pickle)
    with click.progressbar(length=100, label="pictures", file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.update(100 * done // total - bar.pos)

        found = annotate(images, attributes, loaded, chosen, show)
    for warning in found.report["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{write_annotation(found, out, overwrite=overwrite)}\t{len(found.classes)} classes")
