"""Initial weights of the trunk: EfficientNet-lite0 trained on ImageNet, under timm's names."""

from pathlib import Path

import torch
from torch import nn

from rszsl.errors import TrainingError

TRUNK_MEAN = (0.5, 0.5, 0.5)
TRUNK_STD = (0.5, 0.5, 0.5)
"""What the weights were trained with; with ImageNet's own mean and std they recognise half as many airplanes."""


def load_trunk_weights(trunk: nn.Module, path: Path) -> None:
    """Copy weights into timm's `efficientnet_lite0` features.

    Both list the same layers in the same order under other names; every pair must agree in kind ("running_mean")
    and shape. The classifier and the last 1x1 convolution, which the trunk does not have, stand at the end.

    Raises:
        TrainingError: where a pair does not agree.
    """
    source = list(torch.load(path, map_location="cpu", weights_only=True).items())
    target = trunk.state_dict()
    for (theirs, weights), (ours, wanted) in zip(source, target.items(), strict=False):
        if theirs.rpartition(".")[2] != ours.rpartition(".")[2] or weights.shape != wanted.shape:
            raise TrainingError(f"{path}: {theirs} {tuple(weights.shape)} is no {ours} {tuple(wanted.shape)}")
        target[ours] = weights
    trunk.load_state_dict(target)


def load_vit_weights(model: nn.Module, path: Path) -> None:
    """Copy a state dict (safetensors, or a torch file of tensors alone) into a timm vision transformer.

    Raises:
        OSError, RuntimeError: where the file cannot be read or is of another model.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing:
        raise RuntimeError(f"it lacks {missing[0]}" + (f" and has {unexpected[0]}" if unexpected else ""))
