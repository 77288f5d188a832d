"""From ViT-B/16 images to ViT-B/32 text and back, through nothing but names that are known in both spaces.

CLIP's two towers share a space only within one model. Where the text vectors are another model's, a ridge fitted on
names known in both carries one side over; no image of any class is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.model.text import PhraseEncoder, unit
from rszsl.zsl.rows.vectors import phrase_vectors, read_anchors, read_known

Floats = NDArray[np.float32]
RIDGE = 0.5
"""Penalty on the squared length of the map; a name counts 1. The recipe of the bundled model has the same."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageBridge:
    """Image embeddings (N, 512), ViT-B/16 -> unit vectors in the centred ViT-B/32 text space (N, 512)."""

    image_mean: Floats
    matrix: Floats

    def __call__(self, embeddings: Floats) -> Floats:
        """Carry image embeddings over."""
        return unit((embeddings - self.image_mean) @ self.matrix)


def fit_bridge(
    anchors_b16: Floats,
    anchors_b32: Floats,
    *,
    seen_images: Floats,
    seen_names: Floats,
    image_mean: Floats,
    ridge: float,
    seen_weight: float,
) -> ImageBridge:
    """Fit the bridge on names known in both spaces, with the seen concepts as a small correction.

    With more weight the seen concepts win over every name that was never seen: at `seen_weight` 0.02 the unseen gain
    6 points among themselves, at 0.5 they are hardly ever chosen beside seen ones.

    Args:
        anchors_b16: (n, 512), centred unit text vectors of the names in the teacher's space.
        anchors_b32: (n, 512), centred unit text vectors of the same names in the text side's space.
        seen_images: (C, 512), centred unit mean image of each seen concept.
        seen_names: (C, 512), centred unit text vectors of the seen concepts' names.
        image_mean: (512,), the mean training image in the teacher's space.
        ridge: penalty on the squared length of the matrix; a name counts 1.
        seen_weight: what a seen concept counts.
    """
    x = np.concatenate([anchors_b16, np.sqrt(seen_weight) * seen_images]).astype("float64")
    y = np.concatenate([anchors_b32, np.sqrt(seen_weight) * seen_names]).astype("float64")
    return ImageBridge(image_mean, ridge_map(x, y, ridge))


def bridge_names(
    class_names: Sequence[str], text_vectors: Path, encoder: PhraseEncoder, ridge: float = RIDGE
) -> Floats:
    """Give class names vectors in the image space of ViT-B/16, for a plain prompt: float32 (C, 512), unit length.

    They are compared by cosine with image embeddings off which the mean of the training images is taken.

    Args:
        class_names: as users write them; only the names are used.
        text_vectors: table of real text vectors, with names known in both spaces.
        encoder: reads the names that the table does not have.
        ridge: penalty of the map from text space to image space.

    Raises:
        TrainingError: where the table is not there or lacks an array.
    """
    known, anchors = read_known(text_vectors), read_anchors(text_vectors)
    vectors = phrase_vectors(class_names, known, known.vectors.mean(0), encoder)
    return unit(vectors @ ridge_map(anchors.b32, anchors.b16, ridge))


def ridge_map(x: NDArray[np.floating], y: NDArray[np.floating], penalty: float) -> Floats:
    """Solve the ridge from rows of x (n, D) to rows of y (n, E) in its dual: float32 (D, E)."""
    x, y = x.astype("float64"), y.astype("float64")
    dual = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return np.asarray(x.T @ dual, dtype="float32")
