"""The vision towers of open_clip: its own vision transformer, and those that it takes from timm."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from rszsl.errors import ModelError
from rszsl.model.hub.openclip import CONFIG_FILE, find_weights
from rszsl.model.hub.weights import read_weights
from rszsl.model.towers.clip import CLIP_MEAN, CLIP_STD
from rszsl.model.towers.timm import TimmTower
from rszsl.model.towers.tower import Tower, TowerOutput, TowerSpec

VISUAL = "visual."
"""What the names of a checkpoint's vision tensors begin with."""
NO_TEXT = {"context_length": 4, "vocab_size": 4, "width": 8, "heads": 1, "layers": 1}
"""The smallest text side: open_clip builds no vision tower without one."""


class OpenClipTower(Tower):
    """open_clip's `VisionTransformer`: CLS and patches before its final norm, and the projected CLS token.

    Where it makes its embedding by a head with attention, no single token lies where that lies: the tower passes for
    one without an embedding.
    """

    def __init__(self, visual: Any, spec: TowerSpec, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.spec, self.config = visual.float().eval(), spec, config

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P)."""
        tokens = self.model.transformer(self.model._embeds(pixels))
        return TowerOutput(tokens, self.align(tokens[:, 0]) if self.spec.embedding_dim else None)

    def align(self, tokens: Tensor) -> Tensor:
        """Pass every token through the norm and projection that open_clip applies to the CLS token."""
        if not self.spec.embedding_dim:
            return tokens
        aligned: Tensor = self.model.ln_post(tokens) @ self.model.proj
        return aligned


def load_open_clip(
    arch: str, place: Path, *, tag: str = "", name: str = "", trust_pickle: bool = False
) -> OpenClipTower | TimmTower:
    """Load the vision tower of a checkpoint, or of a folder in open_clip's own layout.

    Args:
        arch: open_clip's name of the architecture; not needed for a folder.
        place: the weights, or the folder.
        tag: open_clip's name of these weights, which may say more of activation and transform; or "".
        name: what to call it; empty: the name of `place`.
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where the architecture is unknown or gives no patch tokens, or the weights do not fit it or cannot
            be trusted.
    """
    file = find_weights(place) if place.is_dir() else place
    config = {"kind": "open_clip", "name": name or place.name, **_described(arch, place, tag)}
    visual = _visual(config)
    weights = read_weights(file, trust_pickle=trust_pickle)
    try:
        visual.load_state_dict({k.removeprefix(VISUAL): v for k, v in weights.items() if k.startswith(VISUAL)})
    except RuntimeError as err:
        raise ModelError(f"{file} does not fit its architecture: {str(err).splitlines()[0]}; name another") from err
    return _tower(visual, config)


def build_open_clip(config: Mapping[str, Any]) -> OpenClipTower | TimmTower:
    """Build the tower that a `config` describes, with random weights."""
    return _tower(_visual(config), config)


def _visual(config: Mapping[str, Any]) -> Any:
    import open_clip

    return open_clip.CLIP(**config["model"], text_cfg=NO_TEXT).visual


def _tower(visual: Any, config: Mapping[str, Any]) -> OpenClipTower | TimmTower:
    name, own = config["name"], hasattr(visual, "class_embedding")
    trunk: Any = getattr(visual, "trunk", visual)
    if not own and not isinstance(trunk, VisionTransformer):
        raise ModelError(
            f"{name} is a {type(trunk).__name__}, which gives no patch tokens that rszsl can read; "
            "name a model whose image side is a vision transformer, as ViT-B-32"
        )
    grid = visual.grid_size if own else trunk.patch_embed.grid_size
    if grid[0] != grid[1]:
        raise ModelError(f"{name} has a grid of {grid} patches; a square one is needed")
    side, mean, std = _side(config), tuple(config["mean"]), tuple(config["std"])
    if not own:
        return TimmTower(
            trunk, TowerSpec(name, side, mean, std, trunk.embed_dim, grid[0], trunk.num_prefix_tokens, 0), config
        )
    from_token = visual.attn_pool is None and visual.pool_type == "tok" and visual.proj is not None
    width = len(visual.class_embedding)
    return OpenClipTower(
        visual, TowerSpec(name, side, mean, std, width, grid[0], 1, visual.output_dim if from_token else 0), config
    )


def _side(config: Mapping[str, Any]) -> int:
    size = config["model"]["vision_cfg"].get("image_size", 224)
    return int(size[0] if isinstance(size, list | tuple) else size)


def _described(arch: str, place: Path, tag: str) -> dict[str, Any]:
    """What the architecture and its transform are, as JSON values."""
    import open_clip

    if place.is_dir():
        try:
            told = json.loads((place / CONFIG_FILE).read_text(encoding="utf-8"))
            return {"model": _vision_of(told["model_cfg"]), **_normalisation(told.get("preprocess_cfg", {}))}
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise ModelError(f"cannot read {place / CONFIG_FILE}: {err}; fetch the model again") from err
    if arch not in open_clip.list_models():
        near = ", ".join(name for name in open_clip.list_models() if name.startswith("ViT-"))
        raise ModelError(f'open_clip knows no architecture "{arch}"; it knows {near} and others')
    known = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    model = _vision_of(open_clip.get_model_config(arch), quick_gelu=bool(known.get("quick_gelu")))
    return {"model": model, **_normalisation(known)}


def _vision_of(model: Mapping[str, Any], *, quick_gelu: bool = False) -> dict[str, Any]:
    return {
        "embed_dim": model["embed_dim"],
        "vision_cfg": {**model["vision_cfg"], "timm_model_pretrained": False},
        "quick_gelu": quick_gelu or bool(model.get("quick_gelu")),
    }


def _normalisation(known: Mapping[str, Any]) -> dict[str, Any]:
    return {"mean": list(known.get("mean") or CLIP_MEAN), "std": list(known.get("std") or CLIP_STD)}
