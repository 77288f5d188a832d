"""Any timm vision transformer as a tower, and our small hybrid of convolutions and a transformer."""

from collections.abc import Mapping
from typing import Any, cast

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from rszsl.errors import ModelError
from rszsl.model.backbone import build_backbone
from rszsl.model.towers.tower import Tower, TowerOutput, TowerSpec

HALF = (0.5, 0.5, 0.5)


class TimmTower(Tower):
    """A timm `VisionTransformer`; tokens are taken before its final norm, which `align` applies."""

    def __init__(self, model: VisionTransformer, spec: TowerSpec, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.spec, self.config = model, spec, config
        self.final_norm = nn.LayerNorm(spec.width) if isinstance(model.norm, nn.Identity) else model.norm
        self.model.norm = nn.Identity()

    def forward(self, pixels: Tensor) -> TowerOutput:
        """Encode normalised pixels (N, 3, P, P)."""
        return TowerOutput(self.model.forward_features(pixels), None)

    def align(self, tokens: Tensor) -> Tensor:
        """Apply the final norm."""
        return cast(Tensor, self.final_norm(tokens))


def build_timm(config: Mapping[str, Any], *, pretrained: bool = False) -> TimmTower:
    """Build a tower of a timm name, as `vit_small_patch16_224`.

    Args:
        config: `name`, `input_px`.
        pretrained: fetch its weights from timm's hub.

    Raises:
        ModelError: where timm has no vision transformer of this name, or its weights cannot be had.
    """
    name, side = config["name"], config["input_px"]
    try:
        model = timm.create_model(name, pretrained=pretrained, img_size=side, num_classes=0)
    except (RuntimeError, TypeError, ValueError, OSError) as err:
        raise ModelError(f"timm cannot build {name!r} for {side} px ({err}); name a vit_* model of timm") from err
    if not isinstance(model, VisionTransformer):
        raise ModelError(f"{name!r} is a {type(model).__name__}, no vision transformer; name a vit_* model of timm")
    grid = model.patch_embed.grid_size
    if grid[0] != grid[1]:
        raise ModelError(f"{name!r} has a grid of {grid} patches; a square one is needed")
    known: Mapping[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    spec = TowerSpec(
        name, side, tuple(known["mean"]), tuple(known["std"]), model.embed_dim, grid[0], model.num_prefix_tokens, 0
    )
    return TimmTower(model, spec, {"kind": "timm", "name": name, "input_px": side})


def build_hybrid(config: Mapping[str, Any]) -> TimmTower:
    """Build the backbone of the bundled model: EfficientNet-lite0 below a small transformer, without CLS.

    Args:
        config: `input_px`, `embed_dim`, `depth`, `heads`.
    """
    sizes = {key: int(config[key]) for key in ("input_px", "embed_dim", "depth", "heads")}
    model = build_backbone(**sizes)
    grid = model.patch_embed.grid_size[0]
    spec = TowerSpec("hybrid", sizes["input_px"], HALF, HALF, sizes["embed_dim"], grid, 0, 0)
    return TimmTower(model, spec, {"kind": "hybrid", **sizes})
