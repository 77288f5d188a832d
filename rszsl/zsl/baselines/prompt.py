"""Plain prompt: the similarity of an image to the class names, where the tower has a text side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.baselines.scaling import scaled, unit
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem


@dataclass(frozen=True, slots=True)
class Prompt:
    """Cosine of image and class name (arXiv 2103.00020, section 3.1); nothing is learnt from images.

    Settings: `raw`; `centred`, where images lose the mean of the images to learn from, and names the mean of the names
    that can come, since much of both sides says no more than "a picture" and "a name".
    """

    name: str = "prompt"

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield both settings; `seed` is not used.

        Raises:
            TrainingError: where the features have no class names.
        """
        names = problem.features.names
        if names is None:
            raise TrainingError(
                "the prompt baseline needs the class names in the space of the embeddings, and these features have "
                "none; use a tower with a text side, or leave `prompt` out"
            )
        _, asked = scaled(problem, ask, "unit")
        yield Candidate("raw", unit(asked) @ unit(names).T)
        _, asked = scaled(problem, ask, "centred")
        everyone = np.union1d(problem.seen, problem.unseen)
        yield Candidate("centred", _centred(asked, names, everyone), _centred(asked, names, problem.unseen))


def _centred(asked: Floats, names: Floats, ids: Indices) -> Floats:
    names = unit(names)
    return asked @ unit(names - names[ids].mean(axis=0)).T
