"""Pixels to tokens: a timm VisionTransformer over the feature map of a small convolutional net."""

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from rszsl.model.vit import VitTrunk

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

TRUNK = "efficientnet_lite0"
TRUNK_STRIDE_PX = 32
TRUNK_OUTPUTS = (3, 4)
"""The trunk gives the last maps of strides 16 and 32; tokens are made of the last."""
TRUNK_BN_EPS = 1e-3
"""The trunk's initial weights come from TensorFlow, whose batch norms use this epsilon."""


def build_backbone(
    *, input_px: int, embed_dim: int, depth: int, heads: int, trunk_depth: int = 0
) -> "VisionTransformer":
    """Build the token backbone: (N, 3, input_px, input_px) -> (N, T, embed_dim), without CLS.

    Its weights are random; they come from a checkpoint or from training.

    Args:
        input_px: side of a tile.
        embed_dim: token width.
        depth: transformer blocks after the trunk.
        heads: attention heads of each of these.
        trunk_depth: blocks of a ViT-B/16 as the trunk, T = (input_px / 16)^2; 0 for EfficientNet-lite0,
            T = (input_px / 32)^2.
    """
    # timm and the torchvision that it brings take seconds to import, which ONNX Runtime spares.
    import timm
    from timm.layers.hybrid_embed import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer

    trunk: nn.Module
    if trunk_depth:
        trunk = VitTrunk(input_px, trunk_depth)
    else:
        trunk = timm.create_model(TRUNK, features_only=True, out_indices=TRUNK_OUTPUTS, bn_eps=TRUNK_BN_EPS)
    return VisionTransformer(
        img_size=input_px,
        patch_size=1,  # of the feature map: a token a cell
        num_classes=0,
        global_pool="",
        class_token=False,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=heads,
        mlp_ratio=3.0,
        # The heads normalise for themselves (METHOD B.2: tokens are taken before the final norm).
        final_norm=False,
        embed_layer=partial(HybridEmbed, backbone=trunk),
    )


def trunk_of(backbone: "VisionTransformer") -> nn.Module:
    """Give the part of a backbone that pixels go through first."""
    return cast(nn.Module, backbone.patch_embed.backbone)


def map_widths(backbone: "VisionTransformer") -> list[int]:
    """Give the channels of each map that the trunk gives."""
    trunk = trunk_of(backbone)
    if isinstance(trunk, VitTrunk):
        return list(trunk.map_widths)
    return cast("list[int]", trunk.feature_info.channels())  # type: ignore[operator, union-attr]


def tokens_of(backbone: "VisionTransformer", features: Tensor) -> Tensor:
    """Run what follows the trunk: feature map (N, C, G, G) -> tokens (N, G * G, D)."""
    embedded = backbone.patch_embed.proj(features).flatten(2).transpose(1, 2)
    return cast(Tensor, backbone.blocks(embedded + backbone.pos_embed))


def fold_batch_norms(trunk: nn.Module) -> None:
    """Fold each batch norm into the convolution before it: the same results to 1e-6, in two thirds of the time.

    Only for a trunk that will not be trained any more; its state no longer has the shape of a checkpoint.
    """
    from timm.layers.norm_act import BatchNormAct2d

    for block in trunk.modules():
        children = list(block.named_children())
        for (_, conv), (name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                _fold(conv, norm)
                # What is left of the norm is its activation.
                setattr(block, name, norm.act)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    lift = norm.bias - mean * gain
    conv.weight = nn.Parameter(conv.weight * gain[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(lift if conv.bias is None else lift + conv.bias * gain, requires_grad=False)
