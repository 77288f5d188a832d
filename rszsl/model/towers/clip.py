"""The vision tower of a CLIP model in the transformers layout, from a local folder."""

from pathlib import Path
from typing import Any

from torch import Tensor

from rszsl.errors import ModelError
from rszsl.model.towers.tower import Tower, TowerOutput, TowerSpec

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipTower(Tower):
    """`CLIPVisionModelWithProjection`: CLS and patches, and the projected embedding."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPVisionModelWithProjection

        model: Any = CLIPVisionModelWithProjection.from_pretrained(folder)
        self.model = model.float().eval()
        config = model.config
        self.spec = TowerSpec(
            name=folder.name,
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
        aligned: Tensor = self.model.visual_projection(self._norm(tokens))
        return aligned

    def _norm(self, tokens: Tensor) -> Tensor:
        vision = getattr(self.model, "vision_model", self.model)
        normed: Tensor = vision.post_layernorm(tokens)
        return normed


def load_clip(folder: Path) -> ClipTower:
    """Load the tower of a local folder (`config.json`, `model.safetensors`).

    Raises:
        ModelError: where the folder holds no such model.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no CLIP vision tower (no config.json); name a folder in transformers layout")
    try:
        return ClipTower(folder)
    except (OSError, ValueError) as err:
        raise ModelError(f"cannot load the CLIP tower {folder}: {err}") from err
