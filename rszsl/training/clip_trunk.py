"""Initial weights of a ViT trunk: the first blocks of CLIP's image tower, in as few bits as the model is to have."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rszsl.errors import TrainingError
from rszsl.model.packing import NIBBLE, pack_groups, unpack_groups
from rszsl.model.vit import VitTrunk

PREFIX = "vision_model."
NAMES = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
"""Parts of a block, as transformers and as timm call them; query, key and value are one matrix in timm."""


def load_clip_trunk(trunk: VitTrunk, folder: Path) -> Tensor:
    """Copy a tower of the transformers layout into a trunk; its place embeddings are resampled to the trunk's grid.

    Returns:
        its projection, float32 (E, 768), from the normalised first token to an embedding.

    Raises:
        TrainingError: where the folder has no such tower.
    """
    try:
        tower = load_file(folder / "model.safetensors")
        trunk.vit.load_state_dict(_timm_state(trunk, tower))
        return tower["visual_projection.weight"].float()
    except (OSError, SafetensorError, KeyError, RuntimeError) as err:
        raise TrainingError(
            f"cannot take a CLIP ViT-B/16 image tower from {folder} ({err}); name its folder as vision_tower"
        ) from err


def _timm_state(trunk: VitTrunk, tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from timm.layers.pos_embed import resample_abs_pos_embed

    def part(name: str) -> Tensor:
        return tower[PREFIX + name]

    places = part("embeddings.position_embedding.weight")[None]
    # As transformers resamples them, so that what is measured of one is true of the other.
    grid = list(trunk.vit.patch_embed.grid_size)
    state = {
        "cls_token": part("embeddings.class_embedding")[None, None],
        "pos_embed": resample_abs_pos_embed(places, grid, num_prefix_tokens=1, antialias=False),
        "patch_embed.proj.weight": part("embeddings.patch_embedding.weight"),
    }
    for kind in ("weight", "bias"):
        state |= {f"norm_pre.{kind}": part(f"pre_layrnorm.{kind}"), f"norm.{kind}": part(f"post_layernorm.{kind}")}
        for number in range(len(trunk.vit.blocks)):
            theirs, ours = f"encoder.layers.{number}.", f"blocks.{number}."
            state |= {f"{ours}{name}.{kind}": part(f"{theirs}{other}.{kind}") for other, name in NAMES.items()}
            state[f"{ours}attn.qkv.{kind}"] = torch.cat([part(f"{theirs}self_attn.{x}_proj.{kind}") for x in "qkv"])
    return state


@torch.no_grad()
def settle_trunk(trunk: VitTrunk) -> None:
    """Give the weights the values that they have when they are read back: of the blocks' matrices in four bits each."""
    for name, weights in trunk.named_parameters():
        packed = weights.ndim > 1 and name.startswith("vit.blocks.")
        weights.copy_(unpack_groups(pack_groups("", weights, NIBBLE))[""] if packed else weights.half())
