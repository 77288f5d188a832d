"""The vision towers of CLIP and SigLIP in the transformers layout, from a local folder."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from rszsl.errors import ModelError
from rszsl.model.hub.huggingface import preprocess_of, weights_files
from rszsl.model.towers.tower import Tower, TowerOutput, TowerSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
NORMALISATIONS = {"clip": (CLIP_MEAN, CLIP_STD), "siglip": (HALF, HALF)}
"""Mean and std where a folder has no processor that says so, by kind of tower."""
PROCESSOR_FILE = "preprocessor_config.json"

Triple = tuple[float, float, float]


class ClipTower(Tower):
    """`CLIPVisionModelWithProjection`: CLS and patches, and the projected embedding."""

    def __init__(self, model: Any, name: str, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD) -> None:
        super().__init__()
        self.model = model.float().eval()
        self.config = _config("clip", name, model, mean, std)
        self.spec = _spec(name, model.config, mean, std, prefix=1, embedding_dim=model.config.projection_dim)

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P)."""
        out = self.model(pixels)
        return TowerOutput(out.last_hidden_state, out.image_embeds)

    def align(self, tokens: Tensor) -> Tensor:
        """Pass every token through the norm and projection that CLIP applies to the CLS token alone."""
        # transformers 4 keeps the vision model one attribute deeper than 5.
        vision = getattr(self.model, "vision_model", self.model)
        aligned: Tensor = self.model.visual_projection(vision.post_layernorm(tokens))
        return aligned


class SiglipTower(Tower):
    """`SiglipVisionModel`: patches alone, after its final norm.

    Its embedding is made of all patches by a head with attention, so that no single token lies where it lies: the tower
    passes for one without an embedding.
    """

    def __init__(self, model: Any, name: str, mean: Triple = HALF, std: Triple = HALF) -> None:
        super().__init__()
        self.model = model.float().eval()
        self.config = _config("siglip", name, model, mean, std)
        self.spec = _spec(name, model.config, mean, std, prefix=0, embedding_dim=0)

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P)."""
        return TowerOutput(self.model(pixels).last_hidden_state, None)

    def align(self, tokens: Tensor) -> Tensor:
        """Leave them: transformers gives them after the final norm."""
        return tokens


TOWERS: dict[str, type[ClipTower] | type[SiglipTower]] = {"clip": ClipTower, "siglip": SiglipTower}


def load_clip(folder: Path, name: str = "", *, trust_pickle: bool = False) -> ClipTower | SiglipTower:
    """Load the tower of a local folder (`config.json`, `model.safetensors`), of both towers or the vision tower alone.

    Args:
        folder: in transformers layout.
        name: what to call it; empty: the folder's name.
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where the folder holds no such model, or is damaged, or only has a pickle that nobody trusts.
    """
    import transformers

    library: Any = transformers
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no CLIP vision tower (no config.json); name a folder in transformers layout")
    weights = weights_files(folder, trust_pickle=trust_pickle)
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = config.model_type.removesuffix("_vision_model")
        if kind not in NORMALISATIONS:
            raise ModelError(
                f'{folder} holds a "{config.model_type}", whose patch tokens rszsl cannot read; '
                f"give a model of type {' or '.join(NORMALISATIONS)}, or one of open_clip"
            )
        model, report = _classes(kind)[1].from_pretrained(
            folder,
            config=_vision_config(config),
            local_files_only=True,
            use_safetensors=weights[0].suffix == ".safetensors",
            weights_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
        mean, std = _normalisation(folder, kind)
    except UnpicklingError as err:
        raise ModelError(f"{weights[0]} holds more than weights, and is not read; name another model") from err
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as err:
        raise ModelError(f"cannot load the CLIP tower {folder}: {err}; fetch it again") from err
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"the weights in {folder} lack {len(missing)} tensors ({missing[0]}, …); fetch them again")
    return TOWERS[kind](model, name or folder.name, mean, std)


def build_clip(config: Mapping[str, Any]) -> ClipTower | SiglipTower:
    """Build the tower that a `config` describes, with random weights."""
    kind = config["kind"]
    settings, network = _classes(kind)
    mean, std = (tuple(config.get(key, NORMALISATIONS[kind][i])) for i, key in enumerate(("mean", "std")))
    return TOWERS[kind](network(settings(**config["vision"])), config["name"], mean, std)


def _classes(kind: str) -> tuple[Any, Any]:
    """Configuration and network of a kind."""
    import transformers as library

    if kind == "clip":
        return library.CLIPVisionConfig, library.CLIPVisionModelWithProjection
    return library.SiglipVisionConfig, library.SiglipVisionModel


def _vision_config(config: Any) -> Any:
    """The vision half of a configuration; a CLIP keeps the width of its embedding beside both halves."""
    vision = getattr(config, "vision_config", config)
    if vision is not config and hasattr(config, "projection_dim"):
        vision.projection_dim = config.projection_dim
    return vision


def _normalisation(folder: Path, kind: str) -> tuple[Triple, Triple]:
    if not (folder / PROCESSOR_FILE).is_file():
        return NORMALISATIONS[kind]
    import transformers

    library: Any = transformers
    how = preprocess_of(library.AutoImageProcessor.from_pretrained(folder, local_files_only=True))
    return how.mean, how.std


def _config(kind: str, name: str, model: Any, mean: Triple, std: Triple) -> dict[str, Any]:
    vision = {key: value for key, value in model.config.to_diff_dict().items() if key != "transformers_version"}
    return {"kind": kind, "name": name, "vision": vision, "mean": list(mean), "std": list(std)}


def _spec(name: str, config: Any, mean: Triple, std: Triple, *, prefix: int, embedding_dim: int) -> TowerSpec:
    side = config.image_size
    return TowerSpec(name, side, mean, std, config.hidden_size, side // config.patch_size, prefix, embedding_dim)
