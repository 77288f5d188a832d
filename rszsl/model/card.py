"""The card of a model: what it is, what it wants, what it was taught and how well it does; `card.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rszsl.errors import ModelError
from rszsl.labels.calibrate import Calibrator

CARD_FILE = "card.toml"
WEIGHTS_FILE = "model.safetensors"
ATTRIBUTES_FILE = "attributes.toml"
BACKGROUND_FILE = "background.txt"
WORDS_FILE = "words.txt"
TAUGHT_FILE = "taught.toml"
TOWER_FILE = "tower.json"
PROMPTS_FILE = "prompts.toml"
GRAPH_FILE = "network.onnx"
HASHED_FILES = (WEIGHTS_FILE, ATTRIBUTES_FILE, BACKGROUND_FILE, WORDS_FILE, TAUGHT_FILE, PROMPTS_FILE)
FILES_OF = {"dsva": HASHED_FILES, "dsva-tower": (WEIGHTS_FILE, TOWER_FILE)}
"""The files of a model, by its architecture: the bundled kind, and what `rszsl train` writes."""
MAYBE_FILES = (GRAPH_FILE,)
"""Files that a model may have beside them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's card.

    Attributes:
        path: the card's file; the other files stand beside it.
        name: short name, as in `--model`.
        version: of the model, not of the package.
        architecture: which encoder reads the weights.
        files: sha256 in hexadecimal of each file of the model, by name.
        input_px: side of the square tile that the model wants.
        gsd_m: ground sample distance that it wants, metres a pixel.
        bands: what the three input bands are, in order.
        mean: of each band, taken off pixels in 0..1.
        std: of each band, divided by.
        shape: further numbers that the architecture needs.
        calibrator: constants of the presence probability.
        min_confidence: below this confidence a tile is `other`, unless the user says otherwise.
        raw: the whole card, for showing.
    """

    path: Path
    name: str
    version: str
    architecture: str
    files: Mapping[str, str]
    input_px: int
    gsd_m: float
    bands: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shape: Mapping[str, int]
    calibrator: Calibrator
    min_confidence: float
    raw: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Hash of the weights, which names the model."""
        return self.files[WEIGHTS_FILE]


def read_card(path: Path) -> ModelCard:
    """Read a card.

    Raises:
        ModelError: where it is missing, no TOML, or a key is missing or of a wrong kind.
    """
    raw = read_toml(path)
    card = Keys(path, raw)
    calibrator = card.table("calibrator")
    if (kind := calibrator.get("kind", str)) != "logistic":
        raise ModelError(f'{path}: calibrator kind "{kind}" is unknown to this rszsl (knows: logistic); upgrade rszsl')
    inputs, architecture = card.table("input"), card.get("architecture", str)
    if architecture not in FILES_OF:
        known = ", ".join((*FILES_OF, "clip"))
        raise ModelError(f'{path}: architecture "{architecture}" is unknown to this rszsl (knows: {known})')
    return ModelCard(
        path=path,
        name=card.get("name", str),
        version=card.get("version", str),
        architecture=architecture,
        files=_files(card.table("sha256"), architecture),
        input_px=inputs.get("px", int),
        gsd_m=inputs.number("gsd_m"),
        bands=tuple(inputs.get("bands", list)),
        mean=inputs.triple("mean"),
        std=inputs.triple("std"),
        shape={key: int(value) for key, value in card.get("shape", dict).items()},
        calibrator=_calibrator(calibrator),
        min_confidence=calibrator.number("min_confidence"),
        raw=raw,
    )


def _files(listed: "Keys", architecture: str) -> dict[str, str]:
    return listed.strings((*FILES_OF[architecture], *(name for name in MAYBE_FILES if name in listed)))


def _calibrator(table: "Keys") -> Calibrator:
    return Calibrator(
        bias=table.number("bias"),
        weight_similarity=table.number("weight_similarity"),
        weight_margin=table.number("weight_margin"),
        background_max_cosine=table.number("background_max_cosine"),
        example_gain=table.number("example_gain", 0.0),
        example_shift=table.number("example_shift", 0.0),
        taught=_calibrator(table.table("taught")) if "taught" in table else None,
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Read a card as it stands.

    Raises:
        ModelError: where it is missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ModelError(f"{path.parent} is no model folder: it has no {CARD_FILE}") from err
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ModelError(f"cannot read the model card {path}: {err}; fetch the model again") from err


class Keys:
    """One table of a card, whose reads fail with the key's name."""

    def __init__(self, path: Path, table: Mapping[str, Any], prefix: str = "") -> None:
        self._path, self._table, self._prefix = path, table, prefix

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def get(self, key: str, kind: type[T]) -> T:
        """A value of a kind."""
        if key not in self._table:
            raise ModelError(f"{self._path} lacks {self._prefix}{key}; the model folder is not whole, fetch it again")
        value = self._table[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ModelError(f"{self._path}: {self._prefix}{key} is {value!r}, not {kind.__name__}")
        return value

    def table(self, key: str) -> "Keys":
        """A table within."""
        return Keys(self._path, self.get(key, dict), f"{self._prefix}{key}.")

    def number(self, key: str, default: float | None = None) -> float:
        """A number, whole or not."""
        value = self._table.get(key, default)
        if default is not None and key not in self._table:
            return default
        return float(self.get(key, int)) if isinstance(value, int) else self.get(key, float)

    def triple(self, key: str) -> tuple[float, float, float]:
        """Three numbers."""
        values = self.get(key, list)
        if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
            raise ModelError(f"{self._path}: {self._prefix}{key} is {values!r}, not three numbers")
        return (float(values[0]), float(values[1]), float(values[2]))

    def strings(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Texts by key, all of them there."""
        return {key: self.get(key, str) for key in keys}
