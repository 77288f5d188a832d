"""Write a model folder: weights, vocabularies and the card that names and measures them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from rszsl.model.card import (
    ATTRIBUTES_FILE,
    BACKGROUND_FILE,
    CARD_FILE,
    HASHED_FILES,
    PROMPTS_FILE,
    TAUGHT_FILE,
    WEIGHTS_FILE,
    WORDS_FILE,
)
from rszsl.model.checkpoint import NETWORK_PREFIX, TABLE_PREFIX
from rszsl.model.dsva import Dsva
from rszsl.model.packing import pack_groups
from rszsl.training.attributes import ATTRIBUTES_SOURCE, BACKGROUND_SOURCE, PROMPTS_SOURCE
from rszsl.training.knowledge import Knowledge
from rszsl.training.recipe import Recipe
from rszsl.training.trunk import pixel_scale
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.runs.toml import to_toml

HALF = 16
"""Bits of a weight in half precision."""
WORD_TABLES = ("words", "grams")
"""Of the phrase encoder: most of its numbers, and a phrase is a mean over several of their rows."""
VIT_BLOCKS = "backbone.patch_embed.backbone.vit.blocks."


def write_files(folder: Path, net: Dsva, known: Knowledge, aliases: Mapping[str, tuple[str, ...]], bits: int) -> None:
    """Write every file but the card; `aliases` are other names of concepts, `bits` the recipe's."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(pack_tensors(net, known, bits), folder / WEIGHTS_FILE)
    sources = {ATTRIBUTES_FILE: ATTRIBUTES_SOURCE, BACKGROUND_FILE: BACKGROUND_SOURCE, PROMPTS_FILE: PROMPTS_SOURCE}
    for name, source in sources.items():
        (folder / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / WORDS_FILE).write_text("\n".join(known.space.vocabulary) + "\n", encoding="utf-8")
    lines = ["# Concepts whose attribute row images taught, in the order of the rows; the names that lead to each."]
    for concept in known.seen:
        names = sorted((concept, *aliases.get(concept, ())))
        lines += ["", "[[concept]]", f"name = {json.dumps(concept)}", f"names = {json.dumps(names)}"]
    (folder / TAUGHT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def pack_tensors(net: Dsva, known: Knowledge, bits: int) -> dict[str, Tensor]:
    """Collect all weights; matrices in half precision or fewer bits, what is small or has a wide range in single."""
    tensors: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        tensors |= _packed(NETWORK_PREFIX + name, value, bits if name.startswith(VIT_BLOCKS) else HALF)
    for name, array in asdict(known.space.tables).items():
        of_these = bits if name in WORD_TABLES else min(HALF, 2 * bits)
        tensors |= _packed(TABLE_PREFIX + name, torch.from_numpy(array), of_these)
    text = known.text
    for name in ("projection", "mean", "taught_rows"):
        tensors[f"text.{name}"] = torch.from_numpy(getattr(text, name))
    return {name: value.contiguous() for name, value in tensors.items()}


def _packed(name: str, value: Tensor, bits: int) -> dict[str, Tensor]:
    if bits < HALF and value.ndim > 1:
        return pack_groups(name, value, bits)
    # A batch norm's running variance can leave the range of half precision.
    small = not value.is_floating_point() or "running_" in name
    return {name: value if small else value.to(torch.float16)}


def base_card(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Give the parts of the card that follow from recipe and files."""
    sizes = recipe.network
    mean, std = pixel_scale(vit=bool(sizes.trunk_depth))
    widths = {"embed_dim": sizes.embed_dim, "depth": sizes.depth, "heads": sizes.heads, "embedding_dim": 512}
    trunk = {"trunk_depth": sizes.trunk_depth} if sizes.trunk_depth else {}
    return {
        "name": recipe.name,
        "version": recipe.version,
        "architecture": "dsva",
        "licence": "MIT",
        "sha256": {name: sha256_of(folder / name) for name in HASHED_FILES},
        "input": {
            "px": sizes.input_px,
            "gsd_m": sizes.gsd_m,
            "bands": ["red", "green", "blue"],
            "mean": list(mean),
            "std": list(std),
        },
        "shape": {**widths, "direct": 1, **trunk},
        "text": {
            "encoder": "bag of words and character n-grams",
            "space": "CLIP ViT-B/32 text, centred",
            "language": "en",
        },
    }


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card, whole or not at all."""
    temporary = folder / "card.tmp"
    temporary.write_text(to_toml(card), encoding="utf-8")
    temporary.replace(folder / CARD_FILE)
