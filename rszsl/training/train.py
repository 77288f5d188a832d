"""Train the network from cached features, a checkpoint an epoch; a second run goes on where the first one stopped."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, DsvaOutput, join_scores, pool_maps
from rszsl.training.files import save_torch
from rszsl.training.losses import Lesson, total_loss
from rszsl.training.recipe import TrainingRecipe
from rszsl.training.schedule import cosine_factor
from rszsl.training.trunk import run_upper, upper_parameters

Floats = NDArray[np.float32]
WARMUP_STEPS = 100


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """N images to learn from, with V views of each.

    Attributes:
        features: float16 (M, V, C, G, G) or (M, V, T, C), of the lower trunk, of M images.
        rows: int64 (N,), which of them are learnt from.
        lesson: of these N.
    """

    features: Tensor
    rows: Tensor
    lesson: Lesson


def train_network(
    net: Dsva,
    data: TrainingSet,
    recipe: TrainingRecipe,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    measure: Callable[[Dsva], str],
    log: Callable[[str], None],
) -> None:
    """Train `net` in place, and bring it back to the CPU.

    Args:
        net: to be trained.
        data: what from.
        recipe: how.
        folder: takes its checkpoints.
        seed: of order, views and mixtures.
        device: to train on.
        measure: says how well it does after an epoch.
        log: takes one line at a time.
    """
    net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = replace(data, lesson=data.lesson.to(device))
    optimizer = build_optimizer(net, recipe)
    batches = len(data.rows) // recipe.batch_size
    schedule = build_schedule(optimizer, recipe, batches)
    file = folder / "network.pt"
    first = _resume(file, net, optimizer, schedule)
    for epoch in range(first, recipe.epochs):
        # Seeded by the epoch, so that a resumed run sees what an unbroken one would have seen.
        torch.manual_seed(seed + epoch)
        started = time.monotonic()
        loss = train_epoch(net, data, recipe, optimizer, schedule)
        rate = batches * recipe.batch_size / (time.monotonic() - started)
        state = {"epoch": epoch + 1, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
        save_torch(file, {**state, "schedule": schedule.state_dict()})
        log(f"epoch {epoch + 1} of {recipe.epochs}: loss {loss:.4f}, {rate:.0f} images/s; {measure(net)}")
    net.to("cpu").eval()


def build_optimizer(net: Dsva, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """AdamW over two groups: transformer and heads, and the upper trunk; the lower trunk is in neither."""
    trunk = trunk_of(net.backbone)
    trunk.requires_grad_(False)
    upper = upper_parameters(trunk)
    for parameter in upper:
        parameter.requires_grad_(True)
    in_trunk = {id(p) for p in trunk.parameters()}
    rest = [p for p in net.parameters() if id(p) not in in_trunk]
    groups = [{"params": rest, "lr": recipe.lr}, {"params": upper, "lr": recipe.trunk_lr}]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: TrainingRecipe, batches: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Cosine to zero after a linear warm-up; the trunk starts `heads_epochs` later."""
    total = recipe.epochs * batches

    late = recipe.heads_epochs * batches
    starts = [
        lambda step: cosine_factor(step, total, WARMUP_STEPS),
        lambda step: cosine_factor(step - late, total - late, WARMUP_STEPS),
    ]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, starts)


def train_epoch(
    net: Dsva,
    data: TrainingSet,
    recipe: TrainingRecipe,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Show one random view of every image; returns the mean loss."""
    # Batch norm keeps ImageNet's statistics: batches are small, and results must not depend on them.
    net.train()
    trunk_of(net.backbone).eval()
    device, views = data.lesson.rows.device, data.features.shape[1]
    count = len(data.rows)
    order, total = torch.randperm(count), 0.0
    batches = count // recipe.batch_size
    for images in order[: batches * recipe.batch_size].view(batches, recipe.batch_size):
        shown = data.features[data.rows[images], torch.randint(views, (len(images),))].to(device)
        lesson = data.lesson.of(images.to(device))
        if torch.rand(()) < recipe.cutmix:
            shown, lesson = cutmix(shown, lesson)
        loss = total_loss(run_network(net, shown), lesson, recipe.loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
    return total / max(1, batches)


def cutmix(features: Tensor, lesson: Lesson) -> tuple[Tensor, Lesson]:
    """Paste a random box of each image into its neighbour in the batch, and mix what is known by area.

    An image from above has no subject: half a forest and half a harbour is a place that a tile may show, and it
    keeps a few thousand images from being learnt by heart.
    """
    side = features.shape[-1]
    height, width = torch.randint(side // 3, side, (2,)).tolist()
    top, left = int(torch.randint(side - height + 1, ())), int(torch.randint(side - width + 1, ()))
    mixed = features.clone()
    box = (..., slice(top, top + height), slice(left, left + width))
    mixed[box] = features.roll(1, 0)[box]
    share: float = height * width / side**2

    def mix(known: Tensor) -> Tensor:
        return (1 - share) * known + share * known.roll(1, 0)

    return mixed, replace(
        lesson, embedding=mix(lesson.embedding), attributes=mix(lesson.attributes), concept=mix(lesson.concept)
    )


def run_network(net: Dsva, features: Tensor) -> DsvaOutput:
    """Run everything after the lower trunk on its features (N, C, G, G) or (N, T, C); on a GPU the trunk runs in bf16.

    A CPU takes half as long again for the gradients of depthwise convolutions in bf16, so it stays in fp32.
    """
    with torch.autocast(features.device.type, torch.bfloat16, enabled=features.device.type == "cuda"):
        maps = _maps(net, features)
    return net.from_maps([part.float() for part in maps])


def joint_scores(net: Dsva, features: Tensor, rows: Tensor, batch_size: int = 128) -> Floats:
    """Predict what the heads jointly say, (N, K), before it is decorrelated, of the plain views of some images.

    Args:
        net: on any device.
        features: (M, V, C, G, G) or (M, V, T, C).
        rows: int64 (N,), which of the M images.
        batch_size: images at once.
    """
    said = (
        join_scores(out.global_scores, out.local_scores, out.direct_scores)
        for out in _plain_outputs(net, features, rows, batch_size)
    )
    return np.asarray(torch.cat(list(said)).cpu().numpy(), dtype="float32")


def plain_attributes(net: Dsva, features: Tensor, rows: Tensor, batch_size: int = 128) -> Floats:
    """Predict the decorrelated attributes, (N, K) of unit length, of plain views; arguments as of `joint_scores`."""
    said = [out.attributes for out in _plain_outputs(net, features, rows, batch_size)]
    return np.asarray(torch.cat(said).cpu().numpy(), dtype="float32")


def _plain_outputs(net: Dsva, features: Tensor, rows: Tensor, batch_size: int) -> Iterator[DsvaOutput]:
    net.eval()
    device = net.score_mean.device
    for part in torch.split(rows, batch_size):
        with torch.inference_mode():
            yield run_network(net, features[part, 0].to(device))


def pooled_features(net: Dsva, features: Tensor, rows: Tensor, batch_size: int = 32) -> Floats:
    """Pool the upper trunk's maps of all V views of some images, for the direct head: float32 (N, V, D)."""
    net.eval()
    device, views = net.score_mean.device, features.shape[1]
    with torch.inference_mode():
        shown = (features[part].flatten(0, 1).to(device) for part in torch.split(rows, batch_size))
        pooled = torch.cat([pool_maps(_maps(net, part)).cpu() for part in shown])
    return np.asarray(pooled.reshape(len(rows), views, -1).numpy(), dtype="float32")


def _maps(net: Dsva, features: Tensor) -> list[Tensor]:
    features = features.float()
    if features.ndim == 4:
        features = features.contiguous(memory_format=torch.channels_last)
    return run_upper(trunk_of(net.backbone), features)


def _resume(file: Path, net: Dsva, optimizer: torch.optim.Optimizer, schedule: Any) -> int:
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["epoch"])
