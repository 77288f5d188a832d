"""`rszsl models`: what can be given to `--model`."""

import click


@click.group("models")
def models_group() -> None:
    """List and show the models that are at hand."""


@models_group.command("list")
def list_command() -> None:
    """List the bundled models."""
    from rszsl.model.card import read_card
    from rszsl.model.checkpoint import find_model, list_models

    for card in (read_card(find_model(name) / "card.toml") for name in list_models()):
        click.echo(f"{card.name}\t{card.version}\t{card.input_px} px at {card.gsd_m:g} m\t{card.architecture}")


@models_group.command("show")
@click.argument("name")
def show_command(name: str) -> None:
    """Print the card of a bundled model or a model folder."""
    from rszsl.model.checkpoint import find_model

    click.echo((find_model(name) / "card.toml").read_text(encoding="utf-8"), nl=False)
