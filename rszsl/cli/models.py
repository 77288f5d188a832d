"""`rszsl models`: what can be given to `--model`."""

from pathlib import Path
from typing import Any

import click

from rszsl.cli.options import TRUST_OPTION


@click.group("models")
def models_group() -> None:
    """List, show and fetch models, or give one a name."""


@models_group.command("list")
def list_command() -> None:
    """List all models with a card.

    Columns: name, version, input size and ground sample distance, architecture, whether it is at hand.
    """
    from rszsl.model.card import CARD_FILE, read_card
    from rszsl.model.checkpoint import find_model, list_cards, list_models
    from rszsl.model.hub.card import is_hub_card, read_hub_card
    from rszsl.model.hub.inventory import is_at_hand

    for name in (*list_models(), *(n for n in list_cards() if n not in list_models())):
        path = find_model(name) / CARD_FILE
        if is_hub_card(path):
            hub = read_hub_card(path)
            size = f"{hub.input_px} px at {hub.gsd_m:g} m" if hub.input_px else f"at {hub.gsd_m:g} m"
            there = "fetched" if is_at_hand(hub.source, hub.name) else "to be fetched"
            click.echo(f"{name}\t{hub.version}\t{size}\tclip\t{there}")
        else:
            card = read_card(path)
            size = f"{card.input_px} px at {card.gsd_m:g} m"
            click.echo(f"{card.name}\t{card.version}\t{size}\t{card.architecture}\tbundled")


@models_group.command("show")
@click.argument("name")
@click.option("--mlm", is_flag=True, help="As a STAC Item with the MLM extension (JSON); for models of ours.")
def show_command(name: str, mlm: bool) -> None:
    """Print the card of a model or a model folder."""
    from rszsl.model.checkpoint import find_model

    file = find_model(name) / "card.toml"
    if not mlm:
        click.echo(file.read_text(encoding="utf-8"), nl=False)
        return

    from rszsl.errors import ModelError
    from rszsl.model.card import read_card
    from rszsl.model.hub.card import is_hub_card
    from rszsl.model.mlm import mlm_json

    if is_hub_card(file):
        raise ModelError(
            f"{name} comes from elsewhere, and its weights are not beside its card; --mlm is for our models"
        )
    click.echo(mlm_json(read_card(file)), nl=False)


@models_group.command("pull")
@click.argument("name")
@TRUST_OPTION
def pull_command(name: str, trust_pickle: bool) -> None:
    """Fetch a model, so that it can be used without a network, and note its hash.

    NAME is a model of the list, hf:owner/name[@revision] or open_clip:ARCH/TAG.
    """
    from rszsl.model.hub.inventory import pull

    for line in pull(name, trust_pickle=trust_pickle):
        click.echo(line)


@models_group.command("add")
@click.argument("name")
@click.argument("source")
@click.option("--gsd", "gsd_m", type=click.FloatRange(min=0, min_open=True), required=True, metavar="M",
              help="Ground sample distance that the model expects, metres a pixel.")  # fmt: skip
@click.option("--template", "templates", multiple=True, help='Prompt, as "an aerial photo of {}."; may be repeated.')
@click.option("--overwrite", is_flag=True, help="Replace a card of that name.")
def add_command(name: str, source: str, **options: Any) -> None:
    """Give a model a NAME of its own, with its ground sample distance and prompts.

    SOURCE is a folder, hf:owner/name[@revision], or open_clip:ARCH/TAG or open_clip:ARCH/path/to/weights.
    """
    from rszsl.model.hub.inventory import add

    click.echo(add(name, source, **options))


@models_group.command("interpolate")
@click.argument("base")
@click.argument("tuned", type=click.Path(path_type=Path))
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of TUNED, 0 to 1.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the model.")
def interpolate_command(base: str, tuned: Path, share: float, out: Path) -> None:
    """Mix the weights of BASE and TUNED, its fine-tuned self: fine-tuning loses open vocabulary, a mix keeps some."""
    from rszsl.finetune.run import interpolate_folders

    click.echo(str(interpolate_folders(base, tuned, share, out)))
