"""Late fusion: nearest class row plus plain prompt, added up; what two simple answers reach together."""

from collections.abc import Iterator
from dataclasses import dataclass

from rszsl.zsl.baselines.nearest import NearestRow
from rszsl.zsl.baselines.prompt import Prompt
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem


@dataclass(frozen=True, slots=True)
class Fusion:
    """Cosine to the class rows plus `weight` times the centred cosine to the class names; each weight is a setting."""

    name: str = "nearest row + prompt"
    weights: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every setting of the nearest row with every weight.

        Raises:
            TrainingError: where the features have no class names.
        """
        names = next(c for c in Prompt().candidates(problem, ask, seed) if c.setting == "centred")
        for rows in NearestRow().candidates(problem, ask, seed):
            for weight in self.weights:
                yield Candidate(
                    f"{rows.setting} + {weight:g} names",
                    rows.scores + weight * names.scores,
                    _alone(rows) + weight * _alone(names),
                )


def _alone(candidate: Candidate) -> Floats:
    return candidate.scores if candidate.among_unseen is None else candidate.among_unseen
