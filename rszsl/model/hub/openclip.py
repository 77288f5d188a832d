"""Models of the open_clip library, from a checkpoint or a local folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rszsl.errors import ModelError
from rszsl.model.hub.weights import read_weights
from rszsl.model.preprocess import Preprocess

CONFIG_FILE = "open_clip_config.json"
WEIGHT_NAMES = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
TRANSFORM_KEYS = ("mean", "std", "interpolation", "resize_mode")
FORGIVEN = frozenset({"logit_bias", "attn_mask"})
"""Tensors that a checkpoint may have or lack: a bias that only some losses use, a mask that is always the same."""


class OpenClipTowers:
    """A model of open_clip with its tokenizer and transform."""

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess, device: torch.device) -> None:
        self._model = model.float().eval().to(device)
        self._tokenizer, self._preprocess, self._device = tokenizer, preprocess, device

    @property
    def preprocess(self) -> Preprocess:
        """What its transform does to an image."""
        return self._preprocess

    @property
    def scale(self) -> float:
        """1 / temperature."""
        return float(self._model.logit_scale.detach().exp())

    @property
    def network(self) -> nn.Module:
        """Both towers."""
        module: nn.Module = self._model
        return module

    def images(self, pixels: Tensor) -> Tensor:
        """Embed normalised pixels (N, 3, P, P) -> (N, D)."""
        found: Tensor = self._model.encode_image(pixels)
        return found

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences -> (N, D)."""
        found: Tensor = self._model.encode_text(self._tokenizer(list(sentences)).to(self._device))
        return found


def load_checkpoint(
    arch: str, file: Path, device: torch.device, *, tag: str = "", trust_pickle: bool = False
) -> OpenClipTowers:
    """Load a checkpoint of a known architecture.

    Args:
        arch: open_clip's name of it.
        file: the weights.
        device: where it shall run.
        tag: open_clip's name of these weights, which may say more of activation and transform; or "".
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where the architecture is unknown, or the weights do not fit it or cannot be trusted.
    """
    import open_clip

    if arch not in open_clip.list_models():
        near = ", ".join(name for name in open_clip.list_models() if name.startswith("ViT-"))
        raise ModelError(f'open_clip knows no architecture "{arch}"; it knows {near} and others')
    weights = read_weights(file, trust_pickle=trust_pickle)
    known = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    model = open_clip.create_model(
        arch,
        pretrained_text=False,
        force_quick_gelu=bool(known.get("quick_gelu")),
        force_preprocess_cfg={key: known[key] for key in TRANSFORM_KEYS if known.get(key) is not None},
    )
    return _filled(model, weights, open_clip.get_tokenizer(arch), file, device)


def load_folder(folder: Path, device: torch.device, *, trust_pickle: bool) -> OpenClipTowers:
    """Load a local folder in open_clip's own layout (`open_clip_config.json` and weights).

    Raises:
        ModelError: where it is damaged, or cannot be trusted.
    """
    import open_clip

    place = f"local-dir:{folder}"
    file = find_weights(folder)
    weights = read_weights(file, trust_pickle=trust_pickle)
    try:
        model = open_clip.create_model(place, load_weights=False, pretrained_text=False)
        tokenizer = open_clip.get_tokenizer(place)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as err:
        raise ModelError(f"cannot make the model of {folder / CONFIG_FILE}: {err}; fetch it again") from err
    return _filled(model, weights, tokenizer, file, device)


def find_weights(folder: Path) -> Path:
    """Find the weights of a folder, safetensors first.

    Raises:
        ModelError: where there are none.
    """
    found = next((folder / name for name in WEIGHT_NAMES if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder} has no weights: none of {', '.join(WEIGHT_NAMES)}; fetch the model again")
    return found


def tagged_places(arch: str, tag: str) -> tuple[str, tuple[str, ...]]:
    """Where open_clip's own list says that pretrained weights are: a repository, and file names in it, best first.

    Raises:
        ModelError: where it knows no such weights, or has them outside the Hugging Face hub.
    """
    import open_clip

    place = open_clip.get_pretrained_cfg(arch, tag).get("hf_hub", "")
    if not place:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ModelError(f'open_clip has no weights "{tag}" of {arch} on the Hugging Face hub; it knows {tags}')
    owner, name, *file = place.rstrip("/").split("/")
    return f"{owner}/{name}", tuple(file) or WEIGHT_NAMES


def _filled(model: Any, weights: dict[str, Tensor], tokenizer: Any, file: Path, device: torch.device) -> OpenClipTowers:
    try:
        missing, surplus = model.load_state_dict(weights, strict=False)
    except RuntimeError as err:
        raise ModelError(f"{file} does not fit its architecture: {str(err).splitlines()[0]}; name another") from err
    if wrong := [name for name in (*missing, *surplus) if name not in FORGIVEN and "position_ids" not in name]:
        raise ModelError(f"{file} does not fit its architecture: {len(wrong)} tensors, as {wrong[0]}; name another")
    return OpenClipTowers(model, tokenizer, preprocess_of(model), device)


def preprocess_of(model: Any) -> Preprocess:
    """Take over what the transform of an open_clip model does.

    Raises:
        ModelError: where it does something that we do not.
    """
    from open_clip import get_model_preprocess_cfg

    how = get_model_preprocess_cfg(model)
    size = how.get("size", 224)
    sides = {int(side) for side in (size if isinstance(size, list | tuple) else [size])}
    mode = how.get("resize_mode") or "shortest"
    if len(sides) != 1 or mode not in ("shortest", "squash"):
        raise ModelError(f"rszsl cannot do what this open_clip transform does: {json.dumps(how, default=str)}")
    side, squash = sides.pop(), mode == "squash"
    return Preprocess(
        resize="squash" if squash else "shortest",
        resize_px=side,
        crop_px=None if squash else side,
        mean=tuple(how["mean"]),
        std=tuple(how["std"]),
        interpolation=how.get("interpolation") or "bicubic",
        pillow=True,
    )
