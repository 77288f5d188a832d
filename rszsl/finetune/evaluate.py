"""Retrieval both ways, and zero-shot accuracy, of a model with two towers."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.classes import ClassName, spoken
from rszsl.finetune.captions import Captioned
from rszsl.model.hub.prompts import PhraseRows, default_prompts
from rszsl.model.hub.towers import Towers
from rszsl.model.preprocess import fit_images, normalise
from rszsl.model.text import unit

Floats = NDArray[np.float32]
CUTS = (1, 5, 10)


def evaluate(
    towers: Towers, pairs: Sequence[Captioned], device: torch.device, batch_size: int = 32
) -> dict[str, float]:
    """Measure retrieval recall at 1, 5 and 10, and zero-shot accuracy where pictures have classes.

    Args:
        towers: in evaluation mode.
        pairs: pictures with captions.
        device: where the towers are.
        batch_size: pictures or captions at once.

    Returns:
        `image_to_text_at_K` (one of the picture's captions is among the K nearest), `text_to_image_at_K`,
        `mean_recall`, and `zero_shot` where there are two classes or more.
    """
    images = image_rows(towers, pairs, device, batch_size)
    captions = [caption for pair in pairs for caption in pair.captions]
    owners = np.repeat(np.arange(len(pairs)), [len(pair.captions) for pair in pairs])
    texts = unit(text_rows(towers, captions, batch_size))
    found = recalls(images @ texts.T, owners)
    labels = sorted({pair.label for pair in pairs} - {""})
    if len(labels) > 1:
        phrases = PhraseRows(lambda s: text_rows(towers, s, batch_size), default_prompts(), "", None)
        rows = phrases.class_rows([ClassName(spoken(label)) for label in labels])
        truth = np.array([labels.index(pair.label) if pair.label else -1 for pair in pairs])
        hits = (images @ rows.T).argmax(axis=1) == truth
        found["zero_shot"] = round(float(hits[truth >= 0].mean()), 4)
    return found


def recalls(similarity: Floats, owners: NDArray[np.int64]) -> dict[str, float]:
    """Recall both ways.

    Args:
        similarity: float32 (N, M), pictures to captions.
        owners: int64 (M,), the picture of each caption.
    """
    found: dict[str, float] = {}
    by_image = owners[np.argsort(-similarity, axis=1, kind="stable")[:, : CUTS[-1]]]
    by_text = np.argsort(-similarity.T, axis=1, kind="stable")[:, : CUTS[-1]]
    for cut in CUTS:
        own = by_image[:, :cut] == np.arange(len(similarity))[:, None]
        found[f"image_to_text_at_{cut}"] = round(float(own.any(axis=1).mean()), 4)
        found[f"text_to_image_at_{cut}"] = round(float((by_text[:, :cut] == owners[:, None]).any(axis=1).mean()), 4)
    return found | {"mean_recall": round(float(np.mean(list(found.values()))), 4)}


def image_rows(towers: Towers, pairs: Sequence[Captioned], device: torch.device, batch_size: int) -> Floats:
    """Embed pictures as the model's processor shows them: float32 (N, D), unit rows."""
    parts = []
    for start in range(0, len(pairs), batch_size):
        pixels = fit_images([pair.pixels() for pair in pairs[start : start + batch_size]], towers.preprocess, device)
        with torch.inference_mode():
            parts.append(towers.images(normalise(pixels, towers.preprocess)).float().cpu().numpy())
    return unit(np.concatenate(parts))


def text_rows(towers: Towers, sentences: Sequence[str], batch_size: int) -> Floats:
    """Embed sentences: float32 (N, D), of any length."""
    with torch.inference_mode():
        parts = [
            towers.texts(sentences[start : start + batch_size]).float().cpu().numpy()
            for start in range(0, len(sentences), batch_size)
        ]
    return np.concatenate(parts)
