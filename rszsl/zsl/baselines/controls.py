"""Controls: what is left when the class rows say nothing, and when nothing is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.problem import Candidate, Indices, Method, Problem


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A method whose class rows (and class names, where there are any) are dealt to the wrong classes.

    A method that still does well with them does not owe it to the rows.
    """

    method: Method

    @property
    def name(self) -> str:
        """The method's, marked."""
        return f"{self.method.name} (shuffled rows)"

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield what the method does; `seed` also deals the rows."""
        order = derangement(len(problem.table.rows), seed)
        table = replace(problem.table, rows=problem.table.rows[order])
        names = problem.features.names
        features = replace(problem.features, names=None if names is None else names[order])
        yield from self.method.candidates(replace(problem, table=table, features=features), ask, seed)


@dataclass(frozen=True, slots=True)
class Chance:
    """Scores drawn by the seed."""

    name: str = "chance"

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield one candidate of uniform scores."""
        shape = (len(ask), len(problem.table.rows))
        yield Candidate("uniform", np.random.default_rng(seed).random(shape, dtype="float32"))


def derangement(count: int, seed: int) -> Indices:
    """Draw a cyclic permutation of 0..count-1 (Sattolo 1986), which leaves nothing in its place.

    Raises:
        TrainingError: where there are fewer than two.
    """
    if count < 2:
        raise TrainingError(f"{count} class rows cannot be shuffled; name two classes or more")
    rng = np.random.default_rng(seed)
    order = np.arange(count)
    for last in range(count - 1, 0, -1):
        other = int(rng.integers(last))
        order[[last, other]] = order[[other, last]]
    return order
