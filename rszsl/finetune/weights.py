"""Which weights learn, adapters, and how a fine-tuned model is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rszsl.errors import TrainingError

Freeze = Literal["nothing", "image", "text", "towers"]
SCALE = "logit_scale"
TEXT_PARTS = ("text_model.", "text_projection", "transformer.", "token_embedding", "positional_embedding", "ln_final")
IMAGE_PARTS = ("vision_model.", "visual_projection", "visual.")
PROJECTIONS = ("visual_projection", "text_projection", "visual.proj")
LORA_TARGETS = r".*\.(q_proj|v_proj)"


def freeze(network: nn.Module, what: Freeze) -> list[nn.Parameter]:
    """Let weights learn, but for a part of the network.

    Args:
        network: both towers.
        what: `image` or `text` freezes that tower; `towers` both but for their projections.

    Returns:
        the weights that learn.

    Raises:
        TrainingError: where none is left.
    """
    kept_out = {"nothing": (), "image": IMAGE_PARTS, "text": TEXT_PARTS, "towers": (*IMAGE_PARTS, *TEXT_PARTS)}[what]
    for name, weight in network.named_parameters():
        frozen = name.startswith(kept_out) if kept_out else False
        weight.requires_grad_(not frozen or (what == "towers" and name.startswith(PROJECTIONS)))
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    if not learning:
        raise TrainingError(f"--freeze {what} leaves nothing to learn in this model")
    return learning


def add_adapters(network: nn.Module, rank: int) -> Any:
    """Freeze a network of transformers and give its attention low-rank adapters, which learn.

    Raises:
        TrainingError: where peft is missing, or the network has no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as err:
        raise TrainingError('--lora needs the package peft: pip install "rszsl[train]"') from err
    for weight in network.parameters():
        weight.requires_grad_(False)
    try:
        adapted = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_TARGETS), network)
    except ValueError as err:
        raise TrainingError(f"--lora finds no attention layers in this model: {err}") from err
    scale = getattr(network, SCALE)
    scale.requires_grad_(True)
    return adapted


def merge_adapters(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network with its adapters folded in, under the names that it had without them.

    The network itself stays as it is.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for path, module in network.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
            name = f"{path}.base_layer.weight"
            state[name] = state[name] + module.get_delta_weight("default").detach()
    plain = {name.replace(".base_layer.", "."): t for name, t in state.items() if ".lora_" not in name}
    return {name: tensor.contiguous() for name, tensor in plain.items()}


def interpolate(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mix two sets of weights: `(1 - share) * base + share * tuned` (WiSE-FT, arXiv 2109.01903).

    Raises:
        TrainingError: where they are not of one architecture.
    """
    if set(base) != set(tuned) or any(base[name].shape != tuned[name].shape for name in base):
        raise TrainingError("the two models are not of one architecture; interpolate a model and its fine-tuned self")
    return {
        name: torch.lerp(base[name].float(), tuned[name].float(), share).to(base[name].dtype)
        if base[name].is_floating_point()
        else base[name]
        for name in base
    }


def save_state(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors; the file appears when it is whole."""
    temporary = path.with_suffix(".part")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, {"format": "pt"}
    )
    temporary.replace(path)


def load_state(path: Path) -> dict[str, Tensor]:
    """Read safetensors."""
    return load_file(path)
