"""Episodes of MCFA: 5 classes and 5 images of each (METHOD E.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rszsl.zsl.problem import Indices

WAYS = 5
SHOTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Episodes:
    """I episodes.

    Attributes:
        classes: int64 (I, 5), class positions, no two the same in an episode; fewer where there are no five.
        images: int64 (I, 25), image positions, five for each class in the order of `classes`.
    """

    classes: Indices
    images: Indices


def members_of(truth: Indices, rng: np.random.Generator) -> list[Indices]:
    """List the images of each class 0..C-1, in an order drawn once."""
    return [rng.permutation(np.flatnonzero(truth == c)) for c in range(int(truth.max()) + 1)]


def draw_episodes(
    members: Sequence[Indices], iterations: int, same_positions: bool, rng: np.random.Generator
) -> Episodes:
    """Draw episodes.

    Args:
        members: the images of each class.
        iterations: how many.
        same_positions: five places are drawn, and each class gives the images at these places of its own list (as
            published; the places end with the shortest list of the five). Otherwise every class draws by itself.
        rng: of everything.
    """
    ways = min(WAYS, len(members))
    classes = np.argsort(rng.random((iterations, len(members))), axis=1)[:, :ways]
    draw = _same if same_positions else _apart
    images = [draw([members[c] for c in row], rng) for row in classes]
    return Episodes(classes, np.stack(images))


def _same(lists: Sequence[Indices], rng: np.random.Generator) -> Indices:
    places = _places(min(map(len, lists)), rng)
    return np.concatenate([ids[places] for ids in lists])


def _apart(lists: Sequence[Indices], rng: np.random.Generator) -> Indices:
    return np.concatenate([ids[_places(len(ids), rng)] for ids in lists])


def _places(count: int, rng: np.random.Generator) -> Indices:
    return rng.choice(count, SHOTS, replace=count < SHOTS)
