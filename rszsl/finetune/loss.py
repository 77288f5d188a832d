"""The symmetric contrastive loss over all processes, and steps over batches larger than memory."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """CLIP's loss; pairs with the same picture or the same caption are no rivals but share the target.

    Args:
        images: (N, D), unit rows.
        texts: (N, D), unit rows.
        scale: scalar, 1 / temperature.
        same: bool (N, N), symmetric, True on the diagonal: which captions fit which pictures.
    """
    logits = scale * images @ texts.T
    targets = same.to(logits.dtype)
    targets = targets / targets.sum(1, keepdim=True)
    across, down = functional.cross_entropy(logits, targets), functional.cross_entropy(logits.T, targets)
    return (across + down) / 2


def same_pairs(pictures: Tensor, captions: Tensor) -> Tensor:
    """Bool (N, N) from numbers (N,) of pictures and captions: equal in either."""
    return (pictures[:, None] == pictures) | (captions[:, None] == captions)


def gathered(rows: Tensor) -> Tensor:
    """Rows (n, ...) of all processes, (N, ...), ours with their gradient.

    Every process then has the whole loss, and the gradient of its own rows: gradients of weights are to be summed.
    """
    if not _many():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows
    return torch.cat(parts)


def sum_gradients(weights: Sequence[torch.nn.Parameter], shared: Sequence[torch.nn.Parameter]) -> None:
    """Sum gradients over processes; of `shared` weights, that each process saw whole, take the mean."""
    if not _many():
        return
    whole = {id(weight) for weight in shared}
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        dist.all_reduce(weight.grad)
        if id(weight) in whole:
            weight.grad /= dist.get_world_size()


def step_in_parts(
    encode: Callable[[slice], tuple[Tensor, Tensor]],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    count: int,
    part: int,
) -> Tensor:
    """Give the gradients of a whole batch in the memory of a part of it (gradient caching, arXiv 2101.06983).

    The batch is embedded part by part without gradients; the loss of all gives the gradient of each row; then each part
    is embedded again, with them.

    Args:
        encode: a part of the batch -> rows of pictures and texts (n, D).
        loss_of: all rows of this process -> loss; it may gather those of others.
        count: n of the batch of this process.
        part: rows at once; with `count` or more the batch is embedded once.

    Returns:
        the loss, without gradients, which are in the weights.
    """
    if part >= count:
        loss = loss_of(*encode(slice(0, count)))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    slices = [slice(start, min(start + part, count)) for start in range(0, count, part)]
    with torch.no_grad():
        pairs = [encode(one) for one in slices]
    images = torch.cat([pair[0] for pair in pairs]).requires_grad_()
    texts = torch.cat([pair[1] for pair in pairs]).requires_grad_()
    loss = loss_of(images, texts)
    loss.backward()  # type: ignore[no-untyped-call]
    if images.grad is None or texts.grad is None:
        raise RuntimeError("the loss does not depend on the rows")
    for one in slices:
        again = encode(one)
        surrogate = (again[0] * images.grad[one]).sum() + (again[1] * texts.grad[one]).sum()
        if surrogate.requires_grad:
            surrogate.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
