"""Load a CLIP-like model by the name of a card, a folder, or a place on a hub."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import torch

from rszsl.errors import ModelError
from rszsl.model.card import BACKGROUND_FILE, WEIGHTS_FILE, ModelCard
from rszsl.model.encoder import Floats
from rszsl.model.hub import huggingface, openclip
from rszsl.model.hub.clip import MIN_CONFIDENCE, ClipModel, plain_calibrator
from rszsl.model.hub.fetch import Fetched, fetch
from rszsl.model.hub.prompts import EmbedTexts, PhraseRows, Prompts, default_prompts
from rszsl.model.hub.source import HubCard, Source
from rszsl.model.hub.store import check_hash, sha256_of, text_cache, trust_on_first_use
from rszsl.model.hub.towers import Towers
from rszsl.options import DEFAULT_MODEL

UNKNOWN_GSD_M = 1.0
"""Taken where no card says better; CLIP itself has no ground sample distance."""
LOGIT_SCALE_LIMIT = 100.0
"""CLIP's own limit; a model that was trained without it would give nothing but 0 and 1."""
PACKAGES = {"transformers": "transformers", "open_clip": "open_clip"}


def load_clip(
    source: Source, name: str, card: HubCard | None, device: torch.device, *, trust_pickle: bool
) -> ClipModel:
    """Load a model, fetching it where it is not at hand, after checking its hash.

    Args:
        source: where its files are.
        name: as in `--model`, which loads it again.
        card: ours of it, or None.
        device: where it shall run.
        trust_pickle: read a pickle, too.

    Raises:
        ModelError: where it cannot be had, trusted, or read.
    """
    fetched, sha256 = fetch_checked(source, name, card, trust_pickle=trust_pickle)
    towers = load_towers(source, fetched, device, trust_pickle=trust_pickle)
    phrases = PhraseRows(_embedder(towers), _prompts(card), sha256, text_cache())
    background = phrases.rows(background_phrases())
    scale = min(towers.scale, LOGIT_SCALE_LIMIT)
    return ClipModel(
        card=_model_card(name, card, fetched, sha256, towers, background, scale),
        background_rows=background,
        phrases=phrases,
        towers=towers,
        caution=_caution(name, card),
        torch_device=device,
    )


def fetch_checked(source: Source, name: str, card: HubCard | None, *, trust_pickle: bool) -> tuple[Fetched, str]:
    """Fetch a model and compare its hash with the card's, or with that of its first use.

    Returns:
        its files, and the sha256 of its weights.

    Raises:
        ModelError: where it cannot be had, or differs.
    """
    require(source.library)
    fetched = fetch(source, name, trust_pickle=trust_pickle)
    sha256 = sha256_of(fetched.weights)
    if source.sha256:
        check_hash(name, fetched.weights[0], sha256, source.sha256)
    elif source.repo or source.url or source.tag:
        trust_on_first_use(name, sha256, pinned=source.revision, revision=fetched.revision)
    return fetched, sha256


def require(library: str) -> None:
    """Say how to install a library that is not there.

    Raises:
        ModelError: where it is missing.
    """
    if find_spec(PACKAGES[library]) is None:
        raise ModelError(f'this model needs the package {library}: pip install "rszsl[hub]"')


def load_towers(source: Source, fetched: Fetched, device: torch.device, *, trust_pickle: bool) -> Towers:
    """Read both towers from the files."""
    if source.library == "transformers":
        return huggingface.load_folder(fetched.place, device, trust_pickle=trust_pickle)
    if fetched.place.is_dir():
        return openclip.load_folder(fetched.place, device, trust_pickle=trust_pickle)
    return openclip.load_checkpoint(source.arch, fetched.place, device, tag=source.tag, trust_pickle=trust_pickle)


def background_phrases() -> list[str]:
    """Generic things that anything may show: those of the bundled model."""
    from rszsl.model.checkpoint import find_model

    lines = (find_model(DEFAULT_MODEL) / BACKGROUND_FILE).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


def _embedder(towers: Towers) -> EmbedTexts:
    def embed(sentences: Sequence[str]) -> Floats:
        with torch.inference_mode():
            return np.asarray(towers.texts(sentences).float().cpu().numpy(), dtype="float32")

    return embed


def _prompts(card: HubCard | None) -> Prompts:
    ours = default_prompts()
    if card is None:
        return ours
    return replace(ours, templates=card.templates or ours.templates, synonyms={**ours.synonyms, **card.synonyms})


def _caution(name: str, card: HubCard | None) -> str:
    uncalibrated = f"confidence is not calibrated for the model {name}"
    if card is not None:
        return uncalibrated
    return (
        f"{uncalibrated}, and no card says its ground sample distance: {UNKNOWN_GSD_M:g} m is taken (rszsl models add)"
    )


def _model_card(
    name: str, card: HubCard | None, fetched: Fetched, sha256: str, towers: Towers, background: Floats, scale: float
) -> ModelCard:
    how = towers.preprocess
    if card is not None and card.input_px not in (0, how.input_px):
        raise ModelError(
            f"{card.path} says {card.input_px} px, but the model wants {how.input_px} px; correct the card"
        )
    return ModelCard(
        path=card.path if card else fetched.place,
        name=name,
        version=card.version if card else fetched.revision or "local",
        architecture="clip",
        files={WEIGHTS_FILE: sha256},
        input_px=how.input_px,
        gsd_m=card.gsd_m if card else UNKNOWN_GSD_M,
        bands=("red", "green", "blue"),
        mean=how.mean,
        std=how.std,
        shape={},
        calibrator=plain_calibrator(background, scale),
        min_confidence=MIN_CONFIDENCE,
        raw=card.raw if card else {},
    )
