"""Rows from a knowledge graph: the class vectors of RSSDIVCS (SR-RSKG), by name."""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.data.names import canonical_name
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table, check_known

VECTORS_FILE, NAMES_FILE = "sr_rskg_70x50.npy", "class_names.txt"
STAND_INS_FILE = Path(__file__).with_name("stand_ins.toml")


def graph_rows(classes: Sequence[str], folder: Path, *, stand_ins: bool = False) -> ClassTable:
    """Give the knowledge-graph vectors of some classes.

    Args:
        classes: canonical names.
        folder: that holds the vectors and their names, `$RSZSL_DATA/rssdivcs`.
        stand_ins: a class that the graph does not have takes the mean vector of its stand-ins (`stand_ins.toml`),
            which the record names.

    Raises:
        TrainingError: where the vectors are not there, a class has none, or two classes would have the same.
    """
    file = folder / VECTORS_FILE
    try:
        vectors = np.load(file)
        names = [canonical_name(line) for line in (folder / NAMES_FILE).read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as err:
        raise TrainingError(f"cannot read the knowledge-graph vectors {file}: {err}") from err
    if len(vectors) != len(names):
        raise TrainingError(f"{file} has {len(vectors)} rows for {len(names)} names")
    meant = {n: [n] if n in names else (_stand_ins().get(n, [n]) if stand_ins else [n]) for n in classes}
    hint = "" if stand_ins else " (stand-ins are not allowed)"
    check_known([one for listed in meant.values() for one in listed], names, f"the knowledge graph{hint}")
    _check_different(meant)
    return build_table(
        list(meant),
        np.stack([vectors[[names.index(one) for one in listed]].mean(0) for listed in meant.values()]),
        [f"dimension {i}" for i in range(vectors.shape[1])],
        {
            "provider": "graph",
            "source_sha256": sha256_of(file),
            "stand_ins": {name: listed for name, listed in meant.items() if listed != [name]},
            "images_per_class": 0,
            "unseen_images_used": False,
        },
    )


def _check_different(meant: dict[str, list[str]]) -> None:
    by_vector: dict[tuple[str, ...], str] = {}
    for name, listed in meant.items():
        if (other := by_vector.setdefault(tuple(sorted(listed)), name)) != name:
            raise TrainingError(f"{other!r} and {name!r} would have one knowledge-graph vector; leave one class out")


@cache
def _stand_ins() -> dict[str, list[str]]:
    return tomllib.loads(STAND_INS_FILE.read_text(encoding="utf-8"))
