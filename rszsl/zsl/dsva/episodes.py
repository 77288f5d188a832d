"""Episodic batches: some classes, some images of each (METHOD B.7)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class EpisodeSampler(Sampler[list[int]]):
    """Batches of `ways` random classes with `shots` random images each, drawn anew each epoch.

    Epoch e of seed s is the same whatever came before, so that a resumed run sees what an unbroken one would have.
    Over several processes, give each its own `rank`: each draws episodes of its own.
    """

    def __init__(
        self, labels: NDArray[np.int64], *, ways: int, shots: int, episodes: int, seed: int, rank: int = 0
    ) -> None:
        """Sort the positions by class.

        Args:
            labels: int64 (n,), class of each position of the data set.
            ways: classes a batch; fewer where there are fewer.
            shots: images a class.
            episodes: batches an epoch.
            seed: of the draws.
            rank: of the process.
        """
        self.by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        self.ways, self.shots, self.episodes, self.seed, self.rank = ways, shots, episodes, seed, rank
        self.epoch = 0

    @property
    def sampler(self) -> "EpisodeSampler":
        """Itself: Lightning calls `set_epoch` of a batch sampler's sampler only."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose episodes come next; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.episodes

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch, self.rank])
        for _ in range(self.episodes):
            chosen = rng.choice(len(self.by_class), size=min(self.ways, len(self.by_class)), replace=False)
            batch = [rng.choice(members, self.shots, replace=len(members) < self.shots)
                     for members in (self.by_class[c] for c in chosen)]  # fmt: skip
            yield np.concatenate(batch).tolist()
