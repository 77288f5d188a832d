"""Arithmetic of the class-attribute matrix (METHOD A): temperature, mean over pictures, centring, length."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

Normalise = Literal["l2", "zscore", "none"]
CLIP_TEMPERATURE = 0.01
"""What CLIP learned."""


def scores_of(shown: Floats, meant: Floats, temperature: float) -> Floats:
    """Similarity of what is shown to what attributes mean, over the temperature.

    Args:
        shown: float32 (N, D), unit rows: pictures, or names of classes.
        meant: float32 (A, D), unit rows: attributes.
        temperature: above 0.

    Returns:
        float32 (N, A).
    """
    return np.asarray(shown @ meant.T / temperature, dtype="float32")


def class_rows(scores: Floats, labels: Indices, classes: int) -> Floats:
    """Mean over the pictures of each class: float32 (C, A); NaN for a class without pictures."""
    rows = np.full((classes, scores.shape[1]), np.nan, dtype="float32")
    for one in np.unique(labels):
        rows[one] = scores[labels == one].mean(axis=0)
    return rows


def centred(rows: Floats, over: NDArray[np.bool_], by_text: NDArray[np.bool_]) -> Floats:
    """Take off each attribute's mean.

    Pictures and texts lie in two parts of the space, so rows from text are centred among themselves.

    Args:
        rows: float32 (C, A).
        over: bool (C,), the classes whose mean is taken off rows from pictures.
        by_text: bool (C,), rows that come from text.
    """
    out = rows.copy()
    for group, base in ((~by_text, over & ~by_text), (by_text, by_text)):
        if base.any():
            out[group] -= rows[base].mean(axis=0)
    return out


def normalised(rows: Floats, how: Normalise) -> Floats:
    """Scale rows (C, A): `l2` each row to unit length, `zscore` each attribute to mean 0 and deviation 1."""
    if how == "l2":
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype="float32")
    if how == "zscore":
        return np.asarray((rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-12), dtype="float32")
    return rows
