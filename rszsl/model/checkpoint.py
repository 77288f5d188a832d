"""Find, check and load model folders."""

import hashlib
import logging
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rszsl.errors import ModelError
from rszsl.model.backbone import fold_batch_norms, trunk_of
from rszsl.model.bundle import DsvaModel, Model
from rszsl.model.card import (
    ATTRIBUTES_FILE,
    BACKGROUND_FILE,
    CARD_FILE,
    GRAPH_FILE,
    PROMPTS_FILE,
    TAUGHT_FILE,
    WEIGHTS_FILE,
    WORDS_FILE,
    ModelCard,
    read_card,
)
from rszsl.model.device import parse_device
from rszsl.model.dsva import Dsva, Shape
from rszsl.model.encoder import Floats
from rszsl.model.graph import GraphNetwork, graph_weights, prefers_graph
from rszsl.model.hub.card import card_names, find_card, is_hub_card, read_hub_card
from rszsl.model.hub.source import BETWEEN, HubCard, Source, member_names, parse_source
from rszsl.model.memory import keep_freed_memory
from rszsl.model.names import name_key
from rszsl.model.packing import unpack_groups
from rszsl.model.precision import DTYPES, choose_precision
from rszsl.model.prompts import read_prompts
from rszsl.model.text import AttributeText, PhraseEncoder, PhraseTables
from rszsl.model.trained import assemble
from rszsl.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from rszsl.model.hub.clip import ClipModel

Elsewhere = tuple[Source, str, HubCard | None]
"""Where a model from elsewhere is, its name, and our card of it."""
LOG = logging.getLogger(__name__)
RUNTIMES = ("auto", "torch")
NETWORK_PREFIX = "network."
TABLE_PREFIX = "table."
_PACKAGE = Path(__file__).resolve().parents[1]
MODEL_FOLDERS = (_PACKAGE / "bundled_models", _PACKAGE.parent / "models")
"""Where bundled models lie: in an installed wheel, and in a checkout."""


def list_models() -> tuple[str, ...]:
    """Names of the bundled models."""
    return tuple(name for name in list_cards() if not is_hub_card(find_model(name) / CARD_FILE))


def list_cards() -> tuple[str, ...]:
    """Names of all models with a card: bundled, to be fetched, and the user's own."""
    return card_names(MODEL_FOLDERS)


def find_model(name_or_path: str) -> Path:
    """Find the folder of a model's card by the name of a model, or by path.

    Raises:
        ModelError: where there is none.
    """
    if (folder := find_card(name_or_path, MODEL_FOLDERS)) is not None:
        return folder
    if Path(name_or_path).is_dir():
        raise ModelError(
            f"{name_or_path} is no model folder: it has no {CARD_FILE}, config.json or open_clip_config.json"
        )
    known = ", ".join(list_models()) or "none"
    cards = ", ".join(name for name in list_cards() if name not in list_models()) or "none"
    raise ModelError(
        f'no model "{name_or_path}"; give one of the bundled models ({known}), one that can be fetched ({cards}), '
        "a model folder, hf:owner/name or open_clip:ARCH/TAG"
    )


def load_model(
    name_or_path: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "fp32",
    trust_pickle: bool = False,
    runtime: str = "auto",
) -> Model:
    """Load a model, after checking that its files are those that its card names.

    Args:
        name_or_path: a bundled model, a model with a card, a folder (rszsl, transformers or open_clip layout),
            `hf:owner/name[@revision]`, `open_clip:ARCH/TAG` or `open_clip:ARCH/path/to/weights`; or CLIP-like
            ones with + between, whose similarities are then averaged.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `fp32`, whose results do not depend on the machine; `bf16`; or `auto`, as the command line does.
        trust_pickle: read weights that come as a pickle, too.
        runtime: `torch`, or `auto`: ONNX Runtime where the model has a graph for it and the device is a CPU, in fp32.

    Raises:
        ModelError: where it cannot be found or fetched, is damaged, needs a newer rszsl, or the device,
            the precision or the runtime is not there.
    """
    if runtime not in RUNTIMES:
        raise ModelError(f'unknown runtime "{runtime}"; use {" or ".join(RUNTIMES)}')
    torch_device = parse_device(device)
    if torch_device.type == "cpu":
        keep_freed_memory()
    start_s = time.monotonic()
    loaded = _load(name_or_path, torch_device, precision, trust_pickle=trust_pickle, graph=runtime != "torch")
    LOG.info("model %s %s on %s in %s by %s, loaded in %.2f s", loaded.card.name, loaded.card.version, loaded.device,
             loaded.precision, loaded.runtime, time.monotonic() - start_s)  # fmt: skip
    return loaded


def _load(name_or_path: str, torch_device: torch.device, precision: str, *, trust_pickle: bool, graph: bool) -> Model:
    names = (name_or_path,) if find_card(name_or_path, MODEL_FOLDERS) else member_names(name_or_path)
    if len(names) > 1:
        return _load_ensemble(names, torch_device, precision, trust_pickle=trust_pickle)
    found = _find(name_or_path)
    if isinstance(found, Path):
        return _load_own(found, torch_device, precision, trust_pickle=trust_pickle, graph=graph)
    model = _load_hub(found, torch_device, trust_pickle=trust_pickle)
    return replace(model, precision=choose_precision(precision, torch_device, model.card))


def _find(name_or_path: str) -> Path | Elsewhere:
    """Find one model: the folder of one of ours, or where one from elsewhere is, with its name and card."""
    folder = find_card(name_or_path, MODEL_FOLDERS)
    if folder is None and (source := parse_source(name_or_path)) is not None:
        return source, str(source.folder) if source.folder else name_or_path, None
    folder = folder or find_model(name_or_path)
    if is_hub_card(folder / CARD_FILE):
        hub = read_hub_card(folder / CARD_FILE)
        return hub.source, hub.name, hub
    return folder


def _load_hub(place: Elsewhere, device: torch.device, *, trust_pickle: bool) -> "ClipModel":
    from rszsl.model.hub.load import load_clip

    source, name, card = place
    return load_clip(source, name, card, device, trust_pickle=trust_pickle)


def _load_ensemble(names: Sequence[str], device: torch.device, asked: str, *, trust_pickle: bool) -> Model:
    """Load all members in one precision, after none of them turned out to be one that cannot be joined."""
    from rszsl.model.hub.ensemble import join_models

    places = []
    for name in names:
        found = _find(name)
        if isinstance(found, Path):
            raise ModelError(
                f"{name} cannot be part of {BETWEEN.join(names)}: its similarities are of attributes, and cannot be "
                "averaged with others; give CLIP-like models only"
            )
        places.append(found)
    members = [_load_hub(place, device, trust_pickle=trust_pickle) for place in places]
    chosen = {choose_precision(asked, device, member.card) for member in members}
    precision = chosen.pop() if len(chosen) == 1 else "fp32"
    joined = join_models([replace(member, precision=precision) for member in members])
    return replace(joined, precision=precision)


def _load_own(folder: Path, device: torch.device, asked: str, *, trust_pickle: bool, graph: bool) -> Model:
    card = read_card(folder / CARD_FILE)
    check_files(card)
    precision = choose_precision(asked, device, card)
    try:
        if card.architecture == "dsva":
            return _assemble(card, device, precision, graph=graph and prefers_graph(card, device, precision))
        return assemble(card, device, precision, trust_pickle=trust_pickle)
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


def _assemble(card: ModelCard, device: torch.device, precision: str, *, graph: bool) -> DsvaModel:
    folder = card.path.parent
    tensors = load_file(folder / WEIGHTS_FILE)
    names, weights = _attribute_names(folder / ATTRIBUTES_FILE), _network_weights(tensors)
    if graph:
        image_side: Dsva | GraphNetwork = GraphNetwork(folder / GRAPH_FILE, graph_weights(weights))
    else:
        network = _torch_network(card, len(names), weights)
        fold_batch_norms(trunk_of(network.backbone))
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.backbone.to(DTYPES[precision])
        image_side = network
    words = unpack_groups({k: v for k, v in tensors.items() if not k.startswith(NETWORK_PREFIX)})
    text = _text_side(folder, {name: value.float().numpy() for name, value in words.items()})
    phrases = (folder / BACKGROUND_FILE).read_text(encoding="utf-8").splitlines()
    background = np.stack([text.text_row(phrase) for phrase in phrases if phrase.strip()])
    return DsvaModel(card, device, names, background, text, image_side, precision=precision)


def _network_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(NETWORK_PREFIX): v for k, v in tensors.items() if k.startswith(NETWORK_PREFIX)}


def _torch_network(card: ModelCard, attributes: int, weights: dict[str, Tensor]) -> Dsva:
    network = Dsva(Shape(input_px=card.input_px, attributes=attributes, **card.shape))
    # Stored in half precision, run in single unless asked: results then do not depend on the machine's arithmetic.
    network.load_state_dict(unpack_groups(weights))
    return network.eval().requires_grad_(False)


def trained_network(folder: Path) -> tuple[Dsva, dict[str, Tensor]]:
    """Load the image side of a model of the bundled kind as training left it: in torch, batch norms not yet folded.

    Returns:
        the network, and its weights by name as they lie in the file.

    Raises:
        ModelError: where there is no such model, or it is damaged.
    """
    card = read_card(folder / CARD_FILE)
    check_files(card)
    if card.architecture != "dsva":
        raise ModelError(f"{folder} holds a {card.architecture}, no model of the bundled kind (dsva)")
    attributes = len(_attribute_names(folder / ATTRIBUTES_FILE))
    weights = _network_weights(load_file(folder / WEIGHTS_FILE))
    return _torch_network(card, attributes, weights), weights


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
        taught={name_key(name): row for row, concept in enumerate(taught) for name in concept["names"]},
        taught_rows=arrays["text.taught_rows"],
        known=known,
        known_vectors=np.stack([encoder.encode(phrase) for phrase in known]),
        prompts=read_prompts(folder / PROMPTS_FILE),
        concepts=[concept["name"] for concept in taught],
    )


def _known_phrases(folder: Path, taught: list[str]) -> tuple[str, ...]:
    """List what training named: concepts that images taught, attributes, background."""
    attributes = tomllib.loads((folder / ATTRIBUTES_FILE).read_text(encoding="utf-8"))["attribute"]
    background = (folder / BACKGROUND_FILE).read_text(encoding="utf-8").splitlines()
    phrases = [*taught, *(entry["phrase"] for entry in attributes), *(line for line in background if line.strip())]
    return tuple(dict.fromkeys(phrases))
