"""`rszsl attributes`: what the model believes a name looks like."""

import click

from rszsl.cli.options import MODEL_OPTIONS, TRUST_OPTION, options_of


@click.command("attributes")
@click.argument("name")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many, from either end.")
@options_of((*MODEL_OPTIONS[:2], TRUST_OPTION))
def attributes_command(name: str, top: int, model: str, device: str, trust_pickle: bool) -> None:
    """Print the attribute row of NAME: what speaks for it and what speaks against it.

    A tile's similarity is the sum, over all attributes, of what the tile shows times these weights.
    """
    import numpy as np

    from rszsl.classes import parse_classes
    from rszsl.errors import ModelError
    from rszsl.model.checkpoint import load_model

    loaded = load_model(model, device=device, trust_pickle=trust_pickle)
    if not loaded.attribute_names:
        raise ModelError(
            f"{model} names no attributes: it compares whole embeddings; use rszsl annotate with a vocabulary"
        )
    (one,) = parse_classes(name.replace(",", " "))
    rows = loaded.class_rows((one,))
    if rows.notes[0]:
        click.echo(f"warning: {rows.notes[0]}", err=True)
    weights = rows.rows[0]
    order = np.argsort(-weights, kind="stable")
    for i in dict.fromkeys([*order[:top].tolist(), *order[-top:].tolist()]):
        click.echo(f"{weights[i]:+.3f}\t{loaded.attribute_names[i]}")
