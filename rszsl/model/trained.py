"""A model that `rszsl train` wrote: a tower, heads over its tokens, and the rows of the classes that it knows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from rszsl.classes import ClassName
from rszsl.errors import ClassListError
from rszsl.model.bundle import TileModel, maps_of
from rszsl.model.card import TOWER_FILE, WEIGHTS_FILE, Keys, ModelCard
from rszsl.model.encoder import ClassRows, Encoded, Floats
from rszsl.model.heads import DsvaHeads, normal, reported
from rszsl.model.names import name_key, words_of
from rszsl.model.precision import DTYPES
from rszsl.model.preprocess import Preprocess, normalise, short_side_px
from rszsl.model.text import unit
from rszsl.model.towers.build import build_tower
from rszsl.model.towers.tower import Tower

TOWER_PREFIX, HEADS_PREFIX, ROWS_KEY = "tower.", "heads.", "class_rows"


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel(TileModel):
    """A tower with DSVA heads; a `Model`.

    Attributes:
        attribute_names: K names, in the order of every row.
        class_names: C names that have a row.
        rows: float32 (C, K), unit length.
        tower: in evaluation mode on `torch_device`.
        heads: likewise.
        output: which of the heads' outputs is reported.
    """

    attribute_names: tuple[str, ...]
    class_names: tuple[str, ...]
    rows: Floats
    tower: Tower
    heads: DsvaHeads
    output: str

    @property
    def background_rows(self) -> Floats:
        """Rows of every class it knows: what anything may show."""
        return self.rows

    @property
    def preprocess(self) -> Preprocess:
        """How whole images become tiles: as its training showed them, the centre of a slightly larger image."""
        return replace(super(TrainedModel, self).preprocess, resize_px=short_side_px(self.card.input_px))

    def class_rows(self, classes: Sequence[ClassName]) -> ClassRows:
        """Give the mean row of each class's name and synonyms.

        Raises:
            ClassListError: where a name has no row; this model reads no other names.
        """
        rows = [unit(np.mean([self._row(phrase) for phrase in item.phrases], axis=0)) for item in classes]
        return ClassRows(np.stack(rows), (None,) * len(rows))

    def _row(self, phrase: str) -> Floats:
        known = {name_key(name): row for name, row in zip(self.class_names, self.rows, strict=True)}
        if name_key(phrase) not in known:
            names = {" ".join(words_of(name)) for name in self.class_names}
            close = get_close_matches(" ".join(words_of(phrase)), names, n=3, cutoff=0.4) or sorted(names)[:5]
            raise ClassListError(
                f'{self.card.name} has no attribute row of "{phrase}", and no text side to make one; it has '
                f"{len(known)} classes, as {', '.join(close)}. Give its row with --attributes, or take another model"
            )
        return np.asarray(known[name_key(phrase)], dtype="float32")

    def _run(self, pixels: Tensor, columns: Sequence[int] = ()) -> Encoded:
        with torch.inference_mode():
            normalised = normalise(pixels, self.preprocess).to(DTYPES[self.precision])
            tokens = self.tower.tokens(normalised, aligned=self.heads.centred).float()
            out = self.heads(tokens)
            attributes = normal(reported(out, self.output))
            embedding = normal(self.heads.pool(tokens))
            maps = maps_of(self.heads.scaled(out.maps), columns) if columns else None
        return Encoded(embedding.cpu().numpy(), attributes.cpu().numpy(), maps)


def pack(tower: Tower | None, heads: DsvaHeads, rows: Floats) -> dict[str, Tensor]:
    """Collect all weights under the names that `assemble` reads; no tower where the card names it."""
    tensors = {TOWER_PREFIX + name: value for name, value in tower.state_dict().items()} if tower else {}
    tensors |= {HEADS_PREFIX + name: value for name, value in heads.state_dict().items()}
    tensors[ROWS_KEY] = torch.from_numpy(rows)
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def describe(tower: Tower, heads: DsvaHeads, output: str, classes: Sequence[str], attributes: Sequence[str]) -> str:
    """Write what `assemble` needs beside the weights, as JSON."""
    values: dict[str, Any] = {
        "tower": dict(tower.config),
        "heads": {"attributes": len(attributes), "centred": heads.centred, "output": output},
        "classes": list(classes),
        "attributes": list(attributes),
    }
    return json.dumps(values, indent=1) + "\n"


def assemble(card: ModelCard, device: torch.device, precision: str, *, trust_pickle: bool = False) -> TrainedModel:
    """Build a model from the files beside its card, and the tower that the card names where it has none of its own.

    Raises:
        KeyError, ValueError, RuntimeError: where they do not fit each other.
        ModelError: where the tower is not to be had, or is another one.
    """
    folder: Path = card.path.parent
    told: Mapping[str, Any] = json.loads((folder / TOWER_FILE).read_text(encoding="utf-8"))
    tensors = load_file(folder / WEIGHTS_FILE)
    tower = _tower(card, told["tower"], tensors, trust_pickle=trust_pickle)
    centred = bool(told["heads"]["centred"])
    width = tower.width(aligned=centred)
    heads = DsvaHeads(width, told["heads"]["attributes"], tower.spec.prefix, tower.spec.grid, centred=centred)
    heads.load_state_dict(_under(HEADS_PREFIX, tensors))
    for module in (tower, heads):
        module.eval().requires_grad_(False).to(device)
    tower.to(DTYPES[precision])
    return TrainedModel(
        card, device, tuple(told["attributes"]), tuple(told["classes"]), tensors[ROWS_KEY].numpy(),
        tower, heads, told["heads"]["output"], precision=precision,
    )  # fmt: skip


def _tower(card: ModelCard, config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, trust_pickle: bool) -> Tower:
    if packed := _under(TOWER_PREFIX, tensors):
        tower = build_tower(config)
        tower.load_state_dict(packed)
        return tower
    from rszsl.model.towers.hub import TowerOrigin, find_tower

    origin = TowerOrigin(**Keys(card.path, card.raw).table("tower").strings(("source", "revision", "sha256")))
    return find_tower(origin, str(card.path.parent), trust_pickle=trust_pickle)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
