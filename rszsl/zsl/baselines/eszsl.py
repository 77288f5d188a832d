"""ESZSL, "An embarrassingly simple approach to zero-shot learning" (Romera-Paredes and Torr, ICML 2015)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from rszsl.zsl.baselines.scaling import Scaling, scaled, seen_positions, spectrum
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem


@dataclass(frozen=True, slots=True)
class Eszsl:
    """A bilinear map in closed form, V = (X'X + g I)^-1 X'Y S (S'S + l I)^-1 (section 3.1, equation 4).

    `gammas` are in units of the mean eigenvalue of X'X, so that a setting means the same for any number of images;
    `lambdas` are the paper's, since rows are of unit length. The scores are x V s.
    """

    name: str = "eszsl"
    gammas: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    lambdas: tuple[float, ...] = (1e-2, 1e-1, 1.0, 10.0)
    scalings: tuple[Scaling, ...] = ("centred", "standard")

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every gamma and lambda; `seed` is not used."""
        rows = problem.table.rows
        signs = np.where(seen_positions(problem)[:, None] == np.arange(len(problem.seen)), 1.0, -1.0)
        grid = list(product(self.gammas, self.lambdas))
        for scaling in self.scalings:
            learn, asked = scaled(problem, ask, scaling)
            maps = eszsl_maps(learn, signs.astype("float32"), rows[problem.seen], grid)
            for (gamma, lam), weights in zip(grid, maps, strict=True):
                yield Candidate(f"gamma={gamma:g} lambda={lam:g} {scaling}", asked @ (weights @ rows.T))


def eszsl_maps(features: Floats, signs: Floats, rows: Floats, grid: Sequence[tuple[float, float]]) -> Iterator[Floats]:
    """Solve for V at each (gamma, lambda).

    Args:
        features: X, (n, E).
        signs: Y, (n, C), 1 for the class of the image and -1 for the others.
        rows: S, (C, K).
        grid: both above 0; gamma in units of the mean eigenvalue of X'X.

    Yields:
        V, float32 (E, K).
    """
    values, vectors = spectrum(features)
    row_values, row_vectors = spectrum(rows)
    moment = vectors.T @ (features.T.astype("float64") @ signs @ rows) @ row_vectors
    for gamma, lam in grid:
        shrunk = moment / np.outer(values + gamma * values.mean(), row_values + lam)
        yield (vectors @ (shrunk @ row_vectors.T)).astype("float32")
