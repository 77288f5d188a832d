"""Which model a batch is of: a name that means the same on every machine, and a digest of what lies under it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rszsl.errors import ModelError
from rszsl.model.bundle import Model
from rszsl.model.card import CARD_FILE, WEIGHTS_FILE, read_card
from rszsl.model.checkpoint import MODEL_FOLDERS, check_files, find_model, load_model
from rszsl.model.hub.card import find_card, is_hub_card, read_hub_card
from rszsl.model.hub.source import HubCard, Source, parse_source


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Any model that `load_model` knows, and what it must be.

    Attributes:
        name: as in `--model`; a path is absolute.
        digest: of its card and its weights.
        trust_pickle: read weights that come as a pickle, too.
        precision: as in `--precision`.
    """

    name: str
    digest: str
    trust_pickle: bool = False
    precision: str = "auto"

    def load(self, device: str) -> Model:
        """Load it.

        Raises:
            ModelError: where it cannot be loaded, or is another one.
        """
        model = load_model(self.name, device=device, precision=self.precision, trust_pickle=self.trust_pickle)
        if (found := card_digest(model.card.raw, model.card.files)) != self.digest:
            raise ModelError(f"{model.card.path} is of another model: {found[:12]}…, wanted {self.digest[:12]}…")
        return model

    def found(self) -> str:
        """Digest of what lies under the name here, after a check of its files.

        Raises:
            ModelError: where there is none, or it is damaged.
        """
        return find_digest(self.name, trust_pickle=self.trust_pickle)


def checkpoint_of(name: str, *, trust_pickle: bool = False, precision: str = "auto") -> Checkpoint:
    """Name a model for workers: by its absolute path where it is a folder or a file, else by name.

    Args:
        name: as in `--model`.
        trust_pickle: read weights that come as a pickle, too.
        precision: as in `--precision`.

    Raises:
        ModelError: where there is none, it is damaged, or cannot be fetched.
    """
    lasting = _lasting(name)
    return Checkpoint(lasting, find_digest(lasting, trust_pickle=trust_pickle), trust_pickle, precision)


def name_of(model: Model) -> str:
    """What loads a loaded model again: the folder of its card, else its name."""
    path = model.card.path
    return str(path.parent) if path.name == CARD_FILE else model.card.name


def find_digest(name: str, *, trust_pickle: bool = False) -> str:
    """Hash a model's card and weights as they are on this machine, without loading them.

    Raises:
        ModelError: where it cannot be found or fetched, or its files are not those of its card.
    """
    folder = find_card(name, MODEL_FOLDERS)
    if folder is None and (source := parse_source(name)) is not None:
        return _hub_digest(source, name, None, trust_pickle=trust_pickle)
    file = (folder or find_model(name)) / CARD_FILE
    if is_hub_card(file):
        hub = read_hub_card(file)
        return _hub_digest(hub.source, hub.name, hub, trust_pickle=trust_pickle)
    card = read_card(file)
    check_files(card)
    return card_digest(card.raw, card.files)


def card_digest(raw: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Hash everything that a card says, and the sha256 of the weights, which a hub's card may lack."""
    return hashlib.sha256(json.dumps([raw, files[WEIGHTS_FILE]], sort_keys=True, default=str).encode()).hexdigest()


def _hub_digest(source: Source, name: str, card: HubCard | None, *, trust_pickle: bool) -> str:
    from rszsl.model.hub.load import fetch_checked

    _, sha256 = fetch_checked(source, name, card, trust_pickle=trust_pickle)
    return card_digest(card.raw if card else {}, {WEIGHTS_FILE: sha256})


def _lasting(name: str) -> str:
    folder = find_card(name, MODEL_FOLDERS)
    if folder is not None:
        return str(folder.resolve()) if folder == Path(name) else name
    source = parse_source(name)
    if source is not None and source.folder is not None:
        return str(source.folder)
    return f"open_clip:{source.arch}{source.file}" if source is not None and source.arch and source.file else name
