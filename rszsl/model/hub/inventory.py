"""What `rszsl models` does with models from elsewhere: see whether they are at hand, fetch them, name them."""

from pathlib import Path

from rszsl.errors import ModelError
from rszsl.model.card import CARD_FILE
from rszsl.model.checkpoint import MODEL_FOLDERS, list_cards
from rszsl.model.hub.card import find_card, is_hub_card, read_hub_card, write_card
from rszsl.model.hub.load import fetch_checked
from rszsl.model.hub.prompts import Prompts
from rszsl.model.hub.source import HubCard, Source, member_names, parse_source
from rszsl.model.hub.store import downloads


def is_at_hand(source: Source, name: str) -> bool:
    """Whether a model was fetched before, or stands in a folder; asks no hub."""
    if source.folder is not None:
        return source.folder.is_dir()
    if source.url:
        return (downloads() / name / Path(source.member).name).is_file()
    if not source.repo:
        return bool(source.file) and Path(source.file).is_file()
    return _is_cached(source)


def pull(name: str, *, trust_pickle: bool) -> list[str]:
    """Fetch a model and check or note its hash.

    Returns:
        lines that say what was done.

    Raises:
        ModelError: where it cannot be had.
    """
    source, card = named_source(name)
    fetched, sha256 = fetch_checked(source, name, card, trust_pickle=trust_pickle)
    vouched = "as its card says" if source.sha256 else "noted at first use"
    lines = [f"{fetched.place}", f"sha256\t{sha256}\t{vouched}"]
    if revision := source.revision or fetched.revision:
        lines.append(f"revision\t{revision}\t{'pinned' if source.revision else 'the newest'}")
    return lines


def add(name: str, source: str, *, gsd_m: float, templates: tuple[str, ...], overwrite: bool) -> str:
    """Write a card for a model from elsewhere.

    Returns:
        the card's path.

    Raises:
        ModelError: where the source cannot be read, the name is taken, or a template has no place for the name.
    """
    parsed = parse_source(source)
    if parsed is None:
        raise ModelError(
            f'"{source}" is no model; give a folder with config.json, hf:owner/name or open_clip:ARCH/weights'
        )
    if find_card(name, MODEL_FOLDERS) is not None and not overwrite:
        raise ModelError(f'there is a model "{name}" already; give another name, or --overwrite')
    if templates:
        Prompts(templates)
    return str(write_card(name, parsed, gsd_m=gsd_m, templates=templates, overwrite=overwrite))


def named_source(name: str) -> tuple[Source, HubCard | None]:
    """Where the model of a name comes from, and its card.

    Raises:
        ModelError: where there is none, or it is bundled.
    """
    folder = find_card(name, MODEL_FOLDERS)
    if folder is not None and is_hub_card(folder / CARD_FILE):
        card = read_hub_card(folder / CARD_FILE)
        return card.source, card
    if folder is not None:
        raise ModelError(f"{name} is bundled: there is nothing to fetch")
    if len(member_names(name)) > 1:
        raise ModelError(f"{name} is an ensemble; name one of its models")
    source = parse_source(name)
    if source is None:
        raise ModelError(
            f'no model "{name}"; give one of {", ".join(list_cards())}, hf:owner/name or open_clip:ARCH/TAG'
        )
    return source, None


def _is_cached(source: Source) -> bool:
    from importlib.util import find_spec

    if find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    names = (source.file,) if source.file else ("model.safetensors", "pytorch_model.bin")
    return any(
        isinstance(try_to_load_from_cache(source.repo, file, revision=source.revision or None), str) for file in names
    )
