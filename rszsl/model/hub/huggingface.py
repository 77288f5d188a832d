"""CLIP and SigLIP of the transformers library, from a local folder."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from rszsl.errors import ModelError
from rszsl.model.hub.weights import check_trusted
from rszsl.model.preprocess import Preprocess

KINDS = ("clip", "siglip")
PICKLE_FILE = "pytorch_model.bin"
INTERPOLATIONS = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers, which processors use."""


class HuggingFaceTowers:
    """`CLIPModel` or `SiglipModel` with its own tokenizer and processor."""

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess, device: torch.device) -> None:
        self._model = model.float().eval().to(device)
        self._tokenizer, self._preprocess, self._device = tokenizer, preprocess, device

    @property
    def preprocess(self) -> Preprocess:
        """What its processor does to an image."""
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
        return _projected(self._model.get_image_features(pixel_values=pixels))

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences -> (N, D); padded to the full length, as SigLIP was trained and CLIP allows."""
        length = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(sentences), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self._device)
        asked = {"input_ids": tokens["input_ids"]}
        if self._model.config.model_type == "clip":
            asked["attention_mask"] = tokens["attention_mask"]
        return _projected(self._model.get_text_features(**asked))


def load_folder(folder: Path, device: torch.device, *, trust_pickle: bool) -> HuggingFaceTowers:
    """Load a folder in the transformers layout, without asking any hub.

    Raises:
        ModelError: where it is no CLIP or SigLIP with both towers, or is damaged, or only has a pickle.
    """
    import transformers

    library: Any = transformers

    weights_files(folder, trust_pickle=trust_pickle)
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in KINDS:
            raise ModelError(
                f'{folder} holds a "{config.model_type}", without the two towers that rszsl needs; '
                f"give a model of type {' or '.join(KINDS)}"
            )
        model, report = library.AutoModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=_has_safetensors(folder),
            weights_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
        tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        processor = library.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except UnpicklingError as err:
        raise ModelError(
            f"{folder / PICKLE_FILE} holds more than weights, and is not read; name another model"
        ) from err
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as err:
        raise ModelError(f"cannot load the model in {folder}: {_first_line(err)}; fetch it again") from err
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"the weights in {folder} lack {len(missing)} tensors ({missing[0]}, …); fetch the model again"
        )
    return HuggingFaceTowers(model, tokenizer, preprocess_of(processor), device)


def weights_files(folder: Path, *, trust_pickle: bool) -> list[Path]:
    """Find the weights that will be read.

    Raises:
        ModelError: where there are none, or only a pickle that nobody trusts.
    """
    if files := sorted(folder.glob("*.safetensors")):
        return files
    pickle = folder / PICKLE_FILE
    if not pickle.is_file():
        raise ModelError(f"{folder} has no weights: neither *.safetensors nor {PICKLE_FILE}; fetch the model again")
    check_trusted(pickle, trust_pickle=trust_pickle)
    return [pickle]


def preprocess_of(processor: Any) -> Preprocess:
    """Take over what an image processor of transformers does.

    Raises:
        ModelError: where it does something that we do not.
    """
    rescale = getattr(processor, "rescale_factor", 1 / 255)
    crop = dict(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
    size = {name: side for name, side in dict(processor.size).items() if side is not None}
    normal = processor.do_normalize
    fine = abs(rescale * 255 - 1) < 1e-6 and processor.do_rescale and crop.get("height") == crop.get("width")
    shortest = set(size) == {"shortest_edge"}
    if not fine or not (shortest or (set(size) == {"height", "width"} and size["height"] == size["width"])):
        raise ModelError(f"rszsl cannot do what this image processor does: {processor.to_dict()}")
    if shortest and not crop:
        raise ModelError(f"this image processor gives images that are not square: {processor.to_dict()}")
    return Preprocess(
        resize=("shortest" if shortest else "squash") if processor.do_resize else "none",
        resize_px=int(size["shortest_edge" if shortest else "height"]),
        crop_px=int(crop["height"]) if crop else None,
        mean=_triple(processor.image_mean) if normal else (0.0, 0.0, 0.0),
        std=_triple(processor.image_std) if normal else (1.0, 1.0, 1.0),
        interpolation=INTERPOLATIONS[int(processor.resample)],
    )


def _projected(out: Any) -> Tensor:
    """The projected vectors; transformers 5 wraps them."""
    found: Tensor = out if isinstance(out, Tensor) else out.pooler_output
    return found


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return (red, green, blue)


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def _first_line(err: Exception) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)
