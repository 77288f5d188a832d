"""How fast a network, or its trunk, learns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TuningRecipe:
    """How a ViT trunk is trained.

    Attributes:
        epochs: passes over the images, one turn of each a pass.
        batch_size: images a step.
        lr: peak learning rate; a tenth of the steps leads up to it, and a cosine down to zero.
        watched: concepts that the trunk does not learn from either: how near it comes to the teacher on their images
            says whether it forgets.
    """

    epochs: int
    batch_size: int
    lr: float
    watched: tuple[str, ...]


def cosine_factor(step: int, total: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: up in `warmup` steps, by a cosine to zero at `total`; 0 before 0."""
    if step < 0:
        return 0.0
    warm = min(1.0, (step + 1) / warmup)
    return float(warm * 0.5 * (1 + np.cos(np.pi * min(1.0, step / max(1, total)))))
