"""Towers of models from elsewhere, and how a checkpoint that was trained on one names it instead of keeping a copy."""

from dataclasses import dataclass, replace
from pathlib import Path

from rszsl.errors import ModelError
from rszsl.model.card import CARD_FILE
from rszsl.model.hub.card import find_card, is_hub_card
from rszsl.model.hub.fetch import Fetched, fetch
from rszsl.model.hub.load import fetch_checked, require
from rszsl.model.hub.source import HubCard, Source
from rszsl.model.hub.store import sha256_of
from rszsl.model.towers.tower import Tower


@dataclass(frozen=True, slots=True)
class TowerOrigin:
    """Where a tower comes from, as the card of a model names it.

    Attributes:
        source: as for `--backbone`: `hf:owner/name`, `open_clip:ARCH/TAG`, an absolute path, or the name of a card.
        revision: the commit that its files are of, or "" where it has none.
        sha256: of the file or files of the weights, in hexadecimal.
    """

    source: str
    revision: str
    sha256: str


def load_tower(name: str, *, trust_pickle: bool = False) -> tuple[Tower, TowerOrigin]:
    """Load the image tower of a model from elsewhere, fetching it where it is not at hand.

    Args:
        name: as in `--model`: a model with a card, a folder, `hf:owner/name[@revision]` or `open_clip:ARCH/...`.
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where it cannot be had or trusted, or gives no patch tokens.
    """
    source, card = _named(name)
    fetched, sha256 = fetch_checked(source, name, card, trust_pickle=trust_pickle)
    tower = _read(source, fetched, name, trust_pickle=trust_pickle)
    return tower, TowerOrigin(source_text(source, name), source.revision or fetched.revision, sha256)


def find_tower(origin: TowerOrigin, model: str, *, trust_pickle: bool = False) -> Tower:
    """Load the tower that a model names.

    Args:
        origin: as its card has it.
        model: its name or folder, for messages.
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where it is not there and cannot be fetched, or is not the one that the model was trained on.
    """
    pinned = origin.source.startswith("hf:") and origin.revision
    name = f"{origin.source}@{origin.revision}" if pinned else origin.source
    advice = "or train with --standalone, which packs the tower into the model"
    if Path(origin.source).is_absolute() and not Path(origin.source).is_dir():
        raise ModelError(f"{model} needs its tower {origin.source}, which is not there; put it back, {advice}")
    try:
        source = _named(name)[0]
        source = replace(source, revision=origin.revision or source.revision)
        require(source.library)
        fetched = fetch(source, name, trust_pickle=trust_pickle)
    except ModelError as err:
        raise ModelError(f"{model} needs its tower {name}: {err}; {advice}") from err
    sha256 = sha256_of(fetched.weights)
    if sha256 != origin.sha256:
        raise ModelError(
            f"{model} was trained on another tower than {name} is now: sha256 {sha256[:12]}…, its card says "
            f"{origin.sha256[:12]}…; bring the old weights back, {advice}"
        )
    return _read(source, fetched, name, trust_pickle=trust_pickle)


def _named(name: str) -> tuple[Source, HubCard | None]:
    from rszsl.model.checkpoint import MODEL_FOLDERS
    from rszsl.model.hub.inventory import named_source

    folder = find_card(name, MODEL_FOLDERS)
    if folder is not None and not is_hub_card(folder / CARD_FILE):
        raise ModelError(f"{name} is a model of our own, whose tower is not to be had alone; name a CLIP-like model")
    return named_source(name)


def source_text(source: Source, name: str) -> str:
    """Write a source as `--backbone` takes it; what no such text can say stays the name of its card."""
    if source.folder is not None:
        return str(source.folder.resolve())
    if source.library == "transformers":
        return f"hf:{source.repo}"
    if source.tag:
        return f"open_clip:{source.arch}/{source.tag}"
    return name if source.repo or source.url else f"open_clip:{source.arch}{source.file}"


def _read(source: Source, fetched: Fetched, name: str, *, trust_pickle: bool) -> Tower:
    if source.library == "transformers":
        from rszsl.model.towers.clip import load_clip

        return load_clip(fetched.place, name, trust_pickle=trust_pickle)
    from rszsl.model.towers.openclip import load_open_clip

    return load_open_clip(source.arch, fetched.place, tag=source.tag, name=name, trust_pickle=trust_pickle)
