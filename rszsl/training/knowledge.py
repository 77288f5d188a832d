"""Everything that is known before the network trains: parts of the data, the teacher's scores, the text side."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.model.text import AttributeText, unit, words_of
from rszsl.training.attributes import (
    ATTRIBUTES_SOURCE,
    AttributeScale,
    class_means,
    fit_scale,
    ridge_projection,
)
from rszsl.training.data import LabelledImage, list_images
from rszsl.training.recipe import Recipe
from rszsl.training.split import Split, concept_of_images, draw_split, holdout_mask
from rszsl.training.teacher import cache_embeddings
from rszsl.training.textside import TextSpace, build_text_side, read_places
from rszsl.zsl.rows.bridge import ImageBridge, fit_bridge
from rszsl.zsl.rows.vectors import phrase_vectors, read_anchors, read_known
from rszsl.zsl.rows.vocabulary import Attribute, read_attributes

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What the network is taught from, for N images.

    Attributes:
        images: in the fixed order of `list_images`.
        concepts: (N,), the concept's name of each image.
        split: which concepts are seen.
        train: (N,), images that are trained on.
        holdout: (N,), images of seen concepts that are not.
        embeddings: (N, 512), the teacher's, unit length.
        attributes: the vocabulary, K of them.
        scores: (N, K), the teacher's attribute scores, standardised over the training images.
        space: the phrase encoder and what was measured of it.
        image_rows: (C, K), unit rows of the seen concepts from their images alone (METHOD A).
        text: names to rows; its taught rows belong to the seen concepts, and are text with some image in them.
    """

    images: list[LabelledImage]
    concepts: NDArray[np.str_]
    split: Split
    train: Flags
    holdout: Flags
    embeddings: Floats
    attributes: tuple[Attribute, ...]
    scores: Floats
    space: TextSpace
    image_rows: Floats
    text: AttributeText

    def of(self, names: tuple[str, ...]) -> Flags:
        """Mark the images of some concepts: (N,)."""
        return np.isin(self.concepts, names)


def gather(recipe: Recipe, data: Path, log: Callable[[str], None]) -> Knowledge:
    """Build or read back all of it."""
    sizes = recipe.split
    split = draw_split(
        list(recipe.concepts), sizes.everyday, test=sizes.test, validation=sizes.validation, seed=recipe.seed
    )
    images = list_images(data, recipe.sets)[: recipe.image_limit]
    concepts = np.array(concept_of_images(images, recipe.concepts))
    seen = np.isin(concepts, split.seen)
    holdout = holdout_mask(images, sizes.seen_holdout, recipe.seed) & seen
    train = seen & ~holdout
    space = build_text_side(recipe, data, [*split.test, *split.validation], log)
    embeddings = cache_embeddings(images, recipe.teachers.vision_tower, recipe.teachers.vision_cache, log=log)
    attributes = read_attributes(ATTRIBUTES_SOURCE)
    known = read_known(recipe.teachers.text_vectors)
    vectors = phrase_vectors([a.phrase for a in attributes], known, space.centre, space.encoder)
    names = phrase_vectors(split.seen, known, space.centre, space.encoder)
    concept_ids = np.array([split.seen.index(c) if c in split.seen else -1 for c in concepts])
    bridge = _bridge(recipe, embeddings[train], concept_ids[train], names)
    raw = bridge(embeddings) @ vectors.T
    scale = fit_scale(raw[train])
    scores = scale(raw)
    image_rows = class_means(scores[train], concept_ids[train], len(split.seen))
    text = _text(recipe, split, space, vectors, scale, image_rows)
    return Knowledge(images, concepts, split, train, holdout, embeddings, attributes, scores, space, image_rows, text)


def _bridge(recipe: Recipe, embeddings: Floats, concept_ids: NDArray[np.int64], names: Floats) -> ImageBridge:
    anchors = read_anchors(recipe.teachers.text_vectors)
    image_mean = embeddings.mean(0)
    means = np.stack([embeddings[concept_ids == c].mean(0) for c in range(len(names))])
    return fit_bridge(
        anchors.b16,
        anchors.b32,
        seen_images=unit(means - image_mean),
        seen_names=unit(names - names.mean(0)),
        image_mean=image_mean,
        ridge=recipe.alignment.ridge,
        seen_weight=recipe.alignment.seen_weight,
    )


def _text(
    recipe: Recipe, split: Split, space: TextSpace, vectors: Floats, scale: AttributeScale, image_rows: Floats
) -> AttributeText:
    # The ridge coefficient of an attribute times the spread of its scores: the dot product of an image's standardised
    # scores with this row is then the image's similarity to the name, as far as the attributes can tell.
    projection = ridge_projection(vectors, recipe.alignment.row_penalty) * scale.std[:, None]
    names = {
        " ".join(words_of(name)): row
        for row, concept in enumerate(split.seen)
        for name in (concept, *recipe.aliases.get(concept, ()))
    }
    text = AttributeText(
        encoder=space.encoder,
        projection=np.asarray(projection, dtype="float32"),
        mean=np.zeros(len(vectors), "float32"),
        taught=names,
        taught_rows=image_rows,
    )
    raw = np.stack([text.projection @ space.encoder.encode(place) for place in read_places()])
    text = replace(text, mean=raw.mean(0))
    # Rows from images alone win over every name that is known by text only; a little of them helps both.
    by_text = np.stack([text.text_row(name) for name in split.seen])
    return replace(text, taught_rows=unit(by_text + recipe.alignment.image_share * image_rows))
