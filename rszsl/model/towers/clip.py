"""The vision tower of a CLIP model in the transformers layout, from a local folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rszsl.errors import ModelError
from rszsl.model.towers.tower import Tower, TowerOutput, TowerSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipTower(Tower):
    """`CLIPVisionModelWithProjection`: CLS and patches, and the projected embedding."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model = model.float().eval()
        config = model.config
        self.config = {"kind": "clip", "name": name, "vision": config.to_diff_dict()}
        self.spec = TowerSpec(
            name=name,
            input_px=config.image_size,
            mean=CLIP_MEAN,
            std=CLIP_STD,
            width=config.hidden_size,
            grid=config.image_size // config.patch_size,
            prefix=1,
            embedding_dim=config.projection_dim,
        )

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


def load_clip(folder: Path) -> ClipTower:
    """Load the tower of a local folder (`config.json`, `model.safetensors`).

    Raises:
        ModelError: where the folder holds no such model.
    """
    from transformers import CLIPVisionModelWithProjection

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no CLIP vision tower (no config.json); name a folder in transformers layout")
    try:
        return ClipTower(CLIPVisionModelWithProjection.from_pretrained(folder), folder.name)
    except (OSError, ValueError) as err:
        raise ModelError(f"cannot load the CLIP tower {folder}: {err}") from err


def build_clip(config: Mapping[str, Any]) -> ClipTower:
    """Build the tower that a `config` describes, with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return ClipTower(CLIPVisionModelWithProjection(CLIPVisionConfig(**config["vision"])), config["name"])
