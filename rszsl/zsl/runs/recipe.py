"""What `rszsl train` does, read from TOML."""

import hashlib
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rszsl.errors import TrainingError
from rszsl.zsl.dsva.recipe import DsvaRecipe, recipe_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataPart:
    """Which images.

    Attributes:
        source: a published set by name ("ucm", under the data root), a folder of class folders, or a CSV.
        leave_out: file of images to leave out, as `rszsl duplicates` writes it; empty: none.
        gsd_m: ground sample distance of the images, metres a pixel, for the card.
    """

    source: str
    leave_out: str = ""
    gsd_m: float = 1.0


@dataclass(frozen=True, slots=True)
class SplitPart:
    """Which classes are seen: drawn by `seed`, or listed in a file (`file`)."""

    seen: int = 0
    unseen: int = 0
    seed: int = 2014
    file: str = ""


@dataclass(frozen=True, slots=True)
class RowsPart:
    """Class rows.

    Attributes:
        kind: `human`, `text`, `graph`, some of them joined by `+`, or `table` (a CSV).
        table: which human table, or the CSV.
        text_vectors: table of text vectors; empty: the bundled text side reads all names.
    """

    kind: str = "text"
    table: str = ""
    text_vectors: str = ""


@dataclass(frozen=True, slots=True)
class TowerPart:
    """The backbone.

    Attributes:
        kind: `timm`, `hybrid`, or `hub`, the image side of any CLIP-like model.
        name: of timm; for `hub` as in `--model`: a model with a card, a folder, `hf:owner/name@revision` or
            `open_clip:ARCH/TAG`.
        input_px: side of its input; that of a `hub` tower is its own.
        weights: initial weights: a file; `timm` for those of timm's hub; empty: random, or the folder's own.
        frozen: its tokens are computed once and kept, only the heads learn. A `hub` tower is, unless it says false.
        standalone: keep a `hub` tower's weights in the model; else the model names the tower and its sha256.
        trust_pickle: read the weights of a `hub` tower from a pickle, too.
        embed_dim: of a hybrid.
        depth: of a hybrid.
        heads: of a hybrid.
    """

    kind: str
    name: str = ""
    input_px: int = 224
    weights: str = ""
    frozen: bool = False
    standalone: bool = False
    trust_pickle: bool = False
    embed_dim: int = 192
    depth: int = 2
    heads: int = 3


@dataclass(frozen=True, slots=True)
class TrainerPart:
    """How Lightning runs it.

    Attributes:
        precision: as Lightning names it: `32-true`, `bf16-mixed`, `16-mixed`.
        accelerator: `auto`, `cpu`, `gpu`, `mps`.
        devices: how many; each draws episodes of its own.
        accumulate: batches a step.
        patience: epochs without a better validation accuracy before it stops; 0: never.
        workers: processes that read images; 0: none.
    """

    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    accumulate: int = 1
    patience: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """One training.

    Attributes:
        path: of the recipe.
        name: of the model.
        seed: of everything random but the split.
        output: folder of the model.
        work: folder of checkpoints, logs and kept features.
        backbone: the `hub` tower that the command line named instead of the recipe's; empty: none.
    """

    path: Path
    name: str
    seed: int
    output: Path
    work: Path
    data: DataPart
    split: SplitPart
    rows: RowsPart
    tower: TowerPart
    dsva: DsvaRecipe
    trainer: TrainerPart = field(default_factory=TrainerPart)
    backbone: str = ""

    @property
    def command(self) -> str:
        """What does this training again."""
        words = ["rszsl", "train", self.path.as_posix()]
        if self.backbone:
            words += ["--backbone", self.backbone, *(["--standalone"] if self.tower.standalone else [])]
        return shlex.join(words)

    @property
    def key(self) -> str:
        """sha256 of what is trained: the recipe, and the tower where the command line named another."""
        return hashlib.sha256(self.path.read_bytes() + self.backbone.encode()).hexdigest()


def read_train_recipe(path: Path) -> TrainRecipe:
    """Read a recipe; its paths are relative to the working directory.

    Raises:
        TrainingError: where it is no TOML, or a key is missing, unknown or of a wrong kind.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise TrainingError(f"cannot read the recipe {path}: {err}") from err
    try:
        changes = dict(raw.get("dsva", {}))
        return TrainRecipe(
            path=path,
            name=raw["name"],
            seed=int(raw["seed"]),
            output=Path(raw["output"]),
            work=Path(raw["work"]),
            data=_part(DataPart, raw["data"], "data"),
            split=_part(SplitPart, raw["split"], "split"),
            rows=_part(RowsPart, raw.get("rows", {}), "rows"),
            tower=_tower(raw["tower"]),
            dsva=recipe_of(str(changes.pop("mode", "rszsl")), changes),
            trainer=_part(TrainerPart, raw.get("trainer", {}), "trainer"),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise TrainingError(f"the recipe {path} has a missing, unknown or wrong key: {err}") from err


def with_tower(
    recipe: TrainRecipe, backbone: str = "", *, standalone: bool = False, trust_pickle: bool = False
) -> TrainRecipe:
    """Put the tower of the command line in the place of the recipe's.

    Args:
        recipe: as read.
        backbone: as in `--backbone`; empty: the recipe's own tower.
        standalone: keep the tower's weights in the model.
        trust_pickle: read the weights from a pickle, too.

    Raises:
        TrainingError: where there is no `hub` tower to keep.
    """
    tower = TowerPart("hub", backbone, frozen=True) if backbone else recipe.tower
    if (standalone or trust_pickle) and tower.kind != "hub":
        raise TrainingError(
            f'{recipe.path} has a tower of kind "{tower.kind}", which every model keeps: --standalone and '
            "--trust-pickle are for --backbone NAME"
        )
    standalone, trust_pickle = standalone or tower.standalone, trust_pickle or tower.trust_pickle
    return replace(recipe, backbone=backbone, tower=replace(tower, standalone=standalone, trust_pickle=trust_pickle))


def _tower(raw: Mapping[str, Any]) -> TowerPart:
    part = _part(TowerPart, {"frozen": raw.get("kind") == "hub", **raw}, "tower")
    if part.kind == "hub" and not part.frozen and not part.standalone:
        raise TrainingError(
            f"[tower] {part.name} would be trained, and then be no longer the one that the model names; "
            "leave it frozen, or add standalone = true"
        )
    return part


def _part(kind: type[T], raw: Mapping[str, Any], title: str) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(raw) - known):
        raise TrainingError(f"[{title}] has an unknown key {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return kind(**raw)
