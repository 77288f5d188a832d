"""`rszsl attributes`: what the model believes a name looks like."""

import csv
import sys
from pathlib import Path

import click

from rszsl.cli.options import ATTRIBUTE_OPTIONS, MODEL_OPTIONS, TRUST_OPTION, options_of
from rszsl.errors import OptionError


@click.command("attributes")
@click.argument("name", required=False)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many, from either end.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the whole row as a CSV that --attributes reads.")
@options_of(ATTRIBUTE_OPTIONS, (*MODEL_OPTIONS[:2], TRUST_OPTION))
def attributes_command(
    name: str | None, top: int, as_csv: bool, attributes: Path | None, model: str, device: str, trust_pickle: bool
) -> None:
    """Print the attribute row of NAME: what speaks for it and what speaks against it.

    A tile's similarity is the sum, over all attributes, of what the tile shows times these weights. Without NAME, the
    attributes of the model are listed.
    """
    if name is None and (as_csv or attributes is not None):
        raise OptionError('name a thing for --csv or --attributes, as in rszsl attributes "solar farm" --csv')
    if name is not None and not name.strip():
        raise OptionError('the name is empty; name a thing, as in rszsl attributes "solar farm"')

    import numpy as np

    from rszsl.classes import parse_classes
    from rszsl.errors import ModelError
    from rszsl.model.bundle import DsvaModel
    from rszsl.model.checkpoint import load_model
    from rszsl.pipeline.meaning import find_meaning

    loaded = load_model(model, device=device, trust_pickle=trust_pickle)
    if not loaded.attribute_names:
        raise ModelError(
            f"{model} names no attributes: it compares whole embeddings; use rszsl annotate with a vocabulary"
        )
    if name is None:
        click.echo("\n".join(loaded.attribute_names))
        return
    (one,) = parse_classes(name.replace(",", " "))
    meaning = find_meaning(loaded, (one,), attributes=attributes)
    for warning in meaning.warnings:
        click.echo(f"warning: {warning}", err=True)
    if isinstance(loaded, DsvaModel) and attributes is None:
        for phrase in one.phrases:
            click.echo(loaded.text.origin(phrase), err=True)
    weights = meaning.rows.rows[0]
    if as_csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["class", *loaded.attribute_names])
        table.writerow([one.name, *(f"{weight:.4f}" for weight in weights)])
        return
    order = np.argsort(-weights, kind="stable")
    for i in dict.fromkeys([*order[:top].tolist(), *order[-top:].tolist()]):
        click.echo(f"{weights[i]:+.3f}\t{loaded.attribute_names[i]}")
