"""What a benchmark runs over, read from TOML."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rszsl.errors import TrainingError

Side = tuple[str, str]
"""A method and its rows."""
ORACLE = "oracle"
KEYS = frozenset({"results", "seeds", "tower", "text_vectors", "data", "methods", "compare", "beside"})


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """One data set of a benchmark.

    Attributes:
        name: of its layout, which is its folder under the data root; with a `source` any name.
        splits: (seen, unseen) numbers of classes.
        source: a folder of class folders, or a CSV `path,class`; empty: the published set under the data root.
    """

    name: str
    splits: tuple[tuple[int, int], ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class BenchmarkRecipe:
    """A benchmark over frozen features.

    Attributes:
        path: of the recipe.
        results: folder of the result files.
        seeds: of class splits, and of everything random in a run.
        tower: folder of a CLIP vision tower.
        cache: folder of its features, one folder a data set; made where they are missing.
        grid: patches a side that tokens are pooled to.
        text_vectors: table of text vectors, for class and attribute names.
        data: the data sets.
        methods: (name of the method, kinds of rows: `human`, `text`, `annotated`, `graph`, `table:FILE.csv`, or some
            of them joined by `+`).
        compare: pairs of (method, rows) whose accuracies are set against each other, run by run; the second may be
            `("oracle", "")`, the first one's own.
        beside: folder of another benchmark's result files, where the second of a pair is looked for as well.
    """

    path: Path
    results: Path
    seeds: tuple[int, ...]
    tower: Path
    cache: Path
    grid: int
    text_vectors: Path
    data: tuple[DataRecipe, ...]
    methods: tuple[tuple[str, tuple[str, ...]], ...]
    compare: tuple[tuple[Side, Side], ...] = ()
    beside: Path | None = None

    def part(self, name: str) -> DataRecipe:
        """Give a data set by name."""
        return next(data for data in self.data if data.name == name)


def read_recipe(path: Path) -> BenchmarkRecipe:
    """Read a recipe; its paths are relative to the working directory.

    Raises:
        TrainingError: where it is no TOML, or a key is missing, unknown or of a wrong kind.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise TrainingError(f"cannot read the recipe {path}: {err}") from err
    try:
        return _recipe(path, raw)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise TrainingError(f"the recipe {path} has a missing, unknown or wrong key: {err}") from err


def _recipe(path: Path, raw: Mapping[str, Any]) -> BenchmarkRecipe:
    if unknown := sorted(set(raw) - KEYS):
        raise ValueError(f"nothing is called {unknown[0]!r}")
    tower = raw["tower"]
    return BenchmarkRecipe(
        path=path,
        results=Path(raw["results"]),
        seeds=tuple(int(seed) for seed in raw["seeds"]),
        tower=Path(tower["folder"]),
        cache=Path(tower["cache"]),
        grid=int(tower["grid"]),
        text_vectors=Path(raw["text_vectors"]),
        data=tuple(_data(**entry) for entry in raw["data"]),
        methods=tuple((str(name), _kinds(name, kinds)) for name, kinds in raw["methods"].items()),
        compare=tuple((_side(entry["first"]), _side(entry["second"])) for entry in raw.get("compare", ())),
        beside=Path(raw["beside"]) if "beside" in raw else None,
    )


def _side(entry: Sequence[str]) -> Side:
    """Read `["eszsl", "human"]`, or `["oracle"]`."""
    method, rows = entry if len(entry) == 2 else (*entry, "")
    if (method == ORACLE) != (not rows):
        raise ValueError(f'{list(entry)} is neither a method with its rows nor ["{ORACLE}"]')
    return str(method), str(rows)


def _data(name: str, splits: Sequence[tuple[int, int]], source: str = "") -> DataRecipe:
    return DataRecipe(name, tuple((int(seen), int(unseen)) for seen, unseen in splits), source)


def _kinds(method: str, kinds: Any) -> tuple[str, ...]:
    if not isinstance(kinds, list) or not kinds:
        raise ValueError(f'{method!r} needs a list of kinds of rows, as ["human"]')
    return tuple(str(kind) for kind in kinds)
