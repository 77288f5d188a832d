"""SAE, "Semantic autoencoder for zero-shot learning" (Kodirov, Xiang and Gong, CVPR 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rszsl.zsl.baselines.scaling import Scaling, scaled, spectrum, unit
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem


@dataclass(frozen=True, slots=True)
class Sae:
    """A linear autoencoder with tied weights whose code is the class row (equations 3 to 8).

    The settings are lambda, the scaling, and the direction of section 3.3: `V->S` compares the encoded image with the
    rows, `S->V` the image with the decoded rows, both by cosine.
    """

    name: str = "sae"
    lambdas: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    scalings: tuple[Scaling, ...] = ("unit", "centred", "standard")

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every lambda in both directions; `seed` is not used."""
        rows = problem.table.rows
        targets = rows[problem.labels[problem.fit]]
        for scaling in self.scalings:
            learn, asked = scaled(problem, ask, scaling)
            for lam, weights in zip(self.lambdas, sae_maps(learn, targets, self.lambdas), strict=True):
                setting = f"lambda={lam:g} {scaling}"
                yield Candidate(f"{setting} V->S", unit(asked @ weights.T) @ unit(rows).T)
                yield Candidate(f"{setting} S->V", unit(asked) @ unit(rows @ weights).T)


def sae_maps(features: Floats, codes: Floats, lambdas: tuple[float, ...]) -> Iterator[Floats]:
    """Solve the Sylvester equation (S S') W + W (l X X') = (1 + l) S X' (equation 6, columns are images) for each l.

    Both factors are symmetric, so in their eigenvectors the equation is one division for each entry, and the whole grid
    shares two decompositions. Where both eigenvalues vanish the right side does too, and the entry is 0.

    Args:
        features: X', (n, E).
        codes: S', (n, K), the row of each image's class.
        lambdas: above 0.

    Yields:
        W, float32 (K, E); it encodes, its transpose decodes.
    """
    values, vectors = spectrum(features)
    code_values, code_vectors = spectrum(codes)
    moment = code_vectors.T @ (codes.T.astype("float64") @ features) @ vectors
    for lam in lambdas:
        divisor = code_values[:, None] + lam * values[None, :]
        whole = divisor > 1e-9 * divisor.max()
        entries = np.divide((1 + lam) * moment, divisor, out=np.zeros_like(moment), where=whole)
        yield (code_vectors @ entries @ vectors.T).astype("float32")
