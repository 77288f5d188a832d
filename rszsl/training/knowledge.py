"""Everything that is known before the network trains: parts of the data, the teacher's scores, the text side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.model.names import name_key
from rszsl.model.prompts import read_prompts
from rszsl.model.text import AttributeText, unit
from rszsl.training.attributes import (
    ATTRIBUTES_SOURCE,
    PROMPTS_SOURCE,
    AttributeScale,
    class_means,
    fit_scale,
    ridge_projection,
)
from rszsl.training.data import LabelledImage, list_images
from rszsl.training.folds import Flags, Fold, Parts, concept_of_images, part_images
from rszsl.training.recipe import Recipe
from rszsl.training.teacher import teacher_embeddings
from rszsl.training.textside import TextSpace, build_text_side, read_places
from rszsl.zsl.rows.bridge import ImageBridge, fit_bridge
from rszsl.zsl.rows.vectors import phrase_vectors, read_anchors, read_known
from rszsl.zsl.rows.vocabulary import Attribute, read_attributes

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What one network is taught from, for N images.

    Attributes:
        fold: which concepts it is not shown.
        images: of all sets, in the fixed order of `list_images`.
        concepts: (N,), the concept's name of each image.
        seen: names of the concepts that it is shown, sorted.
        parts: what is done with each image.
        embeddings: (N, 512), the teacher's, unit length.
        attributes: the vocabulary, K of them.
        scores: (N, K), the teacher's attribute scores, standardised over the training images.
        space: the phrase encoder and what was measured of it.
        image_rows: (C, K), unit rows of the seen concepts from their images alone (METHOD A).
        text: names to rows; its taught rows belong to the seen concepts, and are text with some image in them.
    """

    fold: Fold
    images: list[LabelledImage]
    concepts: NDArray[np.str_]
    seen: tuple[str, ...]
    parts: Parts
    embeddings: Floats
    attributes: tuple[Attribute, ...]
    scores: Floats
    space: TextSpace
    image_rows: Floats
    text: AttributeText

    def concept_ids(self, wanted: Flags) -> NDArray[np.int64]:
        """Numbers of the seen concepts of some images: (n,)."""
        return np.array([self.seen.index(name) for name in self.concepts[wanted].tolist()])


def gather(recipe: Recipe, fold: Fold, data: Path, log: Callable[[str], None]) -> Knowledge:
    """Build or read back all of it."""
    images = list_images(data, recipe.sets)
    concepts = np.array(concept_of_images(images, recipe.concepts))
    parts = part_images(fold, images, concepts, recipe.keep_out, recipe.seed)
    seen = tuple(sorted(set(concepts[parts.train].tolist())))
    space = build_text_side(recipe, data, held_out_names(recipe) if fold.unseen else (), log)
    embeddings = teacher_embeddings(images, recipe.teachers, log)
    attributes = read_attributes(ATTRIBUTES_SOURCE)
    known = read_known(recipe.teachers.text_vectors)
    vectors = phrase_vectors([a.phrase for a in attributes], known, space.centre, space.encoder)
    names = phrase_vectors(seen, known, space.centre, space.encoder)
    ids = np.array([seen.index(c) for c in concepts[parts.train].tolist()])
    bridge = _bridge(recipe, embeddings[parts.train], ids, names)
    raw = bridge(embeddings) @ vectors.T
    scale = fit_scale(raw[parts.train])
    scores = scale(raw)
    image_rows = class_means(scores[parts.train], ids, len(seen))
    text = _text(recipe, seen, space, vectors, scale, image_rows)
    return Knowledge(fold, images, concepts, seen, parts, embeddings, attributes, scores, space, image_rows, text)


def held_out_names(recipe: Recipe) -> tuple[str, ...]:
    """Every name of every concept that any fold does not see, by `name_key`, sorted.

    The recipe's names of them, and what the prompts give as other names for those. One text side, which knows none of
    them, serves all folds.
    """
    unseen = set(chain.from_iterable(fold.unseen for fold in recipe.folds))
    keys = {name_key(name) for concept in unseen for name in (concept, *recipe.aliases.get(concept, ()))}
    others = read_prompts(PROMPTS_SOURCE).names.items()
    return tuple(sorted(keys | {key for key, meant in others if name_key(meant) in keys}))


def _bridge(recipe: Recipe, embeddings: Floats, concept_ids: NDArray[np.int64], names: Floats) -> ImageBridge:
    anchors = read_anchors(recipe.teachers.text_vectors, recipe.teachers.anchors)
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
    recipe: Recipe, seen: tuple[str, ...], space: TextSpace, vectors: Floats, scale: AttributeScale, image_rows: Floats
) -> AttributeText:
    # The ridge coefficient of an attribute times the spread of its scores: the dot product of an image's standardised
    # scores with this row is then the image's similarity to the name, as far as the attributes can tell.
    projection = ridge_projection(vectors, recipe.alignment.row_penalty) * scale.std[:, None]
    text = AttributeText(
        encoder=space.encoder,
        projection=np.asarray(projection, dtype="float32"),
        mean=np.zeros(len(vectors), "float32"),
        taught=taught_names(seen, recipe.aliases),
        taught_rows=image_rows,
        prompts=read_prompts(PROMPTS_SOURCE),
        concepts=seen,
    )
    text = replace(text, mean=np.stack([text.raw_row(place) for place in read_places()]).mean(0))
    # Rows from images alone win over every name that is known by text only; a little of them helps both.
    by_text = np.stack([text.text_row(name) for name in seen])
    return replace(text, taught_rows=unit(by_text + recipe.alignment.image_share * image_rows))


def taught_names(seen: tuple[str, ...], aliases: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Number the seen concepts' rows by the keys of each of their names."""
    return {name_key(name): row for row, concept in enumerate(seen) for name in (concept, *aliases.get(concept, ()))}
