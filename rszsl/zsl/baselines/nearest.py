"""Nearest class row: attributes by ridge regression, then the class whose row is nearest (DAP-like)."""

from collections.abc import Iterator
from dataclasses import dataclass

from rszsl.zsl.baselines.scaling import Scaling, scaled, spectrum, unit
from rszsl.zsl.problem import Candidate, Floats, Indices, Problem


@dataclass(frozen=True, slots=True)
class NearestRow:
    """Attributes first, class second, as direct attribute prediction (Lampert et al. 2014, section 2.2).

    The attributes are real-valued, so each is regressed (ridge, closed form) and the class of largest cosine wins. The
    settings are the ridge, in units of the mean eigenvalue of X'X so that it means the same for any number of images;
    the scaling of the embeddings; and whether rows are compared as they are or less the mean row of the images.
    """

    name: str = "nearest row"
    ridges: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
    scalings: tuple[Scaling, ...] = ("centred", "standard")

    def candidates(self, problem: Problem, ask: Indices, seed: int) -> Iterator[Candidate]:
        """Yield every ridge, scaling and comparison; `seed` is not used."""
        targets = problem.table.rows[problem.labels[problem.fit]]
        mean = targets.mean(axis=0)
        for scaling in self.scalings:
            learn, asked = scaled(problem, ask, scaling)
            for ridge, weights in zip(self.ridges, ridge_weights(learn, targets - mean, self.ridges), strict=True):
                deviation = asked @ weights
                setting = f"ridge={ridge:g} {scaling}"
                yield Candidate(setting, unit(deviation + mean) @ unit(problem.table.rows).T)
                yield Candidate(f"{setting} less mean", unit(deviation) @ unit(problem.table.rows - mean).T)


def ridge_weights(features: Floats, targets: Floats, ridges: tuple[float, ...]) -> Iterator[Floats]:
    """Solve (X'X + r m I) W = X'T for each ridge r, with m the mean eigenvalue of X'X.

    Args:
        features: X, (n, E).
        targets: T, (n, K).
        ridges: above 0.

    Yields:
        W, float32 (E, K).
    """
    values, vectors = spectrum(features)
    moment = vectors.T @ (features.T.astype("float64") @ targets.astype("float64"))
    for ridge in ridges:
        yield (vectors @ (moment / (values + ridge * values.mean())[:, None])).astype("float32")
