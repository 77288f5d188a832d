"""Sentence vectors of phrases: the MiniLM encoder that the text side is distilled from, cached on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rszsl.training.files import save_npz

MAX_TOKENS = 16


def embed_phrases(phrases: Sequence[str], folder: Path, cache: Path, *, batch_size: int = 256) -> NDArray[np.float32]:
    """Embed phrases with the sentence encoder in `folder` (transformers layout), keeping them in `cache`.

    Returns:
        float32 (N, 384), rows of unit length: the mean of the tokens' last hidden states, normalised.
    """
    if cache.exists():
        kept = np.load(cache)
        if kept["phrases"].tolist() == list(phrases):
            return np.asarray(kept["vectors"], dtype="float32")
    # Phrases of one length go together, so that no batch is mostly padding.
    order = sorted(range(len(phrases)), key=lambda i: len(phrases[i]))
    vectors = np.zeros((len(phrases), 384), dtype="float32")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        vectors[rows] = _embed_batch([phrases[i] for i in rows], folder)
    save_npz(cache, phrases=np.array(phrases), vectors=vectors.astype("float16"))
    return vectors


_loaded: dict[Path, tuple[object, object]] = {}


def _embed_batch(phrases: list[str], folder: Path) -> NDArray[np.float32]:
    from transformers import AutoModel, AutoTokenizer

    if folder not in _loaded:
        _loaded[folder] = (AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval())
    tokenizer, encoder = _loaded[folder]
    tokens = tokenizer(phrases, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")  # type: ignore[operator]
    with torch.inference_mode():
        hidden = encoder(**tokens).last_hidden_state  # type: ignore[operator]
    mask = tokens["attention_mask"][..., None].float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return np.asarray(torch.nn.functional.normalize(mean, dim=-1).numpy(), dtype="float32")
