"""Find, check and load model folders."""

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rszsl.errors import ModelError
from rszsl.model.backbone import fold_batch_norms, trunk_of
from rszsl.model.bundle import Model
from rszsl.model.card import (
    ATTRIBUTES_FILE,
    BACKGROUND_FILE,
    CARD_FILE,
    TAUGHT_FILE,
    WEIGHTS_FILE,
    WORDS_FILE,
    ModelCard,
    read_card,
)
from rszsl.model.device import parse_device
from rszsl.model.dsva import Dsva, Shape
from rszsl.model.encoder import Floats
from rszsl.model.text import AttributeText, PhraseEncoder, PhraseTables
from rszsl.options import DEFAULT_MODEL

NETWORK_PREFIX = "network."
TABLE_PREFIX = "table."
_PACKAGE = Path(__file__).resolve().parents[1]
MODEL_FOLDERS = (_PACKAGE / "bundled_models", _PACKAGE.parent / "models")
"""Where bundled models lie: in an installed wheel, and in a checkout."""


def list_models() -> tuple[str, ...]:
    """Names of the bundled models."""
    cards = [card for folder in MODEL_FOLDERS for card in folder.glob(f"*/{CARD_FILE}")]
    return tuple(sorted({card.parent.name for card in cards}))


def find_model(name_or_path: str) -> Path:
    """Find the folder of a model by the name of a bundled one, or by path.

    Raises:
        ModelError: where there is none.
    """
    candidates = [folder / name_or_path for folder in MODEL_FOLDERS] + [Path(name_or_path)]
    for folder in candidates:
        if (folder / CARD_FILE).is_file():
            return folder
    if Path(name_or_path).is_dir():
        raise ModelError(f"{name_or_path} is no model folder: it has no {CARD_FILE}")
    known = ", ".join(list_models()) or "none"
    raise ModelError(f'no model "{name_or_path}"; give one of the bundled models ({known}) or a model folder')


def load_model(name_or_path: str = DEFAULT_MODEL, *, device: str = "auto") -> Model:
    """Load a model, after checking that its files are those that its card names.

    Raises:
        ModelError: where it cannot be found, is damaged, needs a newer rszsl, or the device is not there.
    """
    torch_device = parse_device(device)
    folder = find_model(name_or_path)
    card = read_card(folder / CARD_FILE)
    if card.architecture != "dsva":
        raise ModelError(f'{card.path}: architecture "{card.architecture}" is unknown to this rszsl (knows: dsva)')
    check_files(card)
    try:
        return _assemble(card, torch_device)
    except (KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as err:
        raise ModelError(f"{folder} does not fit this rszsl ({err}); upgrade rszsl or fetch the model again") from err


def check_files(card: ModelCard) -> None:
    """Compare every file with the hash in the card.

    Raises:
        ModelError: naming the first file that is missing or differs.
    """
    for name, expected in card.files.items():
        file = card.path.parent / name
        try:
            actual = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as err:
            raise ModelError(f"cannot read {file}: {err}; fetch the model again") from err
        if actual != expected:
            raise ModelError(
                f"{file} is damaged or was changed: sha256 {actual[:12]}…, the card says {expected[:12]}…; "
                "fetch the model again"
            )


def _assemble(card: ModelCard, device: torch.device) -> Model:
    folder = card.path.parent
    tensors = load_file(folder / WEIGHTS_FILE)
    names = _attribute_names(folder / ATTRIBUTES_FILE)
    shape = Shape(input_px=card.input_px, attributes=len(names), **card.shape)
    network = Dsva(shape)
    # Stored in half precision, run in single: results do not depend on the machine's half-precision arithmetic.
    weights = {k.removeprefix(NETWORK_PREFIX): v for k, v in tensors.items() if k.startswith(NETWORK_PREFIX)}
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    network.eval().requires_grad_(False)
    fold_batch_norms(trunk_of(network.backbone))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    text = _text_side(folder, {k: v.float().numpy() for k, v in tensors.items() if not k.startswith(NETWORK_PREFIX)})
    phrases = (folder / BACKGROUND_FILE).read_text(encoding="utf-8").splitlines()
    background = np.stack([text.text_row(phrase) for phrase in phrases if phrase.strip()])
    return Model(card, names, background, text, network, device)


def _attribute_names(file: Path) -> tuple[str, ...]:
    listed = tomllib.loads(file.read_text(encoding="utf-8"))["attribute"]
    return tuple(entry["name"] for entry in listed)


def _text_side(folder: Path, arrays: dict[str, Floats]) -> AttributeText:
    tables = {k.removeprefix(TABLE_PREFIX): v for k, v in arrays.items() if k.startswith(TABLE_PREFIX)}
    vocabulary = (folder / WORDS_FILE).read_text(encoding="utf-8").splitlines()
    taught = tomllib.loads((folder / TAUGHT_FILE).read_text(encoding="utf-8"))["concept"]
    encoder = PhraseEncoder(vocabulary, PhraseTables(**tables))
    known = _known_phrases(folder, [name for concept in taught for name in concept["names"]])
    return AttributeText(
        encoder=encoder,
        projection=arrays["text.projection"],
        mean=arrays["text.mean"],
        taught={name: row for row, concept in enumerate(taught) for name in concept["names"]},
        taught_rows=arrays["text.taught_rows"],
        known=known,
        known_vectors=np.stack([encoder.encode(phrase) for phrase in known]),
    )


def _known_phrases(folder: Path, taught: list[str]) -> tuple[str, ...]:
    """List what training named: concepts that images taught, attributes, background."""
    attributes = tomllib.loads((folder / ATTRIBUTES_FILE).read_text(encoding="utf-8"))["attribute"]
    background = (folder / BACKGROUND_FILE).read_text(encoding="utf-8").splitlines()
    phrases = [*taught, *(entry["phrase"] for entry in attributes), *(line for line in background if line.strip())]
    return tuple(dict.fromkeys(phrases))
