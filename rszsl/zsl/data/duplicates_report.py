"""What a search for near-duplicates says: pairs as CSV, counts as JSON."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.text import unit
from rszsl.zsl.data.check import LEAVE_OUT_COLUMN
from rszsl.zsl.data.duplicates import BINS, Duplicates
from rszsl.zsl.data.folders import ImageSet


def read_vectors(file: Path, images: ImageSet) -> NDArray[np.float32]:
    """Read a row of numbers for each image, less their mean, and give them unit length.

    Raises:
        TrainingError: where the file has no such rows.
    """
    try:
        vectors = np.load(file).astype("float32")
    except (OSError, ValueError) as err:
        raise TrainingError(f"cannot read the vectors {file}: {err}") from err
    if vectors.ndim != 2 or len(vectors) != len(images):
        raise TrainingError(f"{file} is {vectors.shape}, it should have a row for each of {len(images)} images")
    return unit(vectors - vectors.mean(0))


def write_pairs(file: Path, found: Duplicates, a: ImageSet, b: ImageSet) -> None:
    """Write a row for each pair; the column `leave_out` is what `--leave-out` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["a", "b", "similarity", "detail", "view", "class_a", "class_b", LEAVE_OUT_COLUMN])
        for pair in found.pairs:
            row = [a.files[pair.a], b.files[pair.b], f"{pair.similarity:.4f}"]
            row += ["" if pair.detail is None else f"{pair.detail:.4f}", pair.view]
            writer.writerow([*row, a.labels[pair.a], b.labels[pair.b], b.files[pair.b]])


def summary(found: Duplicates, a: ImageSet, b: ImageSet, **settings: Any) -> dict[str, Any]:
    """Give the counts of a search, with what is needed to repeat it; no image content."""
    return {
        "a": {"name": a.name, "images": len(a), "sha256": a.sha256},
        "b": {"name": b.name, "images": len(b), "sha256": b.sha256},
        **settings,
        "alike_in_the_large_only": found.rejected,
        "pairs": len(found.pairs),
        "leave_out": len(found.leave_out),
        "pairs_of_different_classes": sum(a.labels[p.a] != b.labels[p.b] for p in found.pairs),
        "pairs_by_similarity": {f"from {edge:.2f}": n for edge, n in zip(BINS, found.counts, strict=True)},
    }


def add_record(file: Path, entry: dict[str, Any]) -> None:
    """Put a summary into a JSON list, in place of the one of the same command.

    Raises:
        TrainingError: where the file is there but is no such list.
    """
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        if not isinstance(kept, list):
            raise TypeError("no JSON list")
        kept = [one for one in kept if one["command"] != entry["command"]]
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise TrainingError(f"{file} is no record of searches for duplicates ({err}); name another file") from err
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    text = json.dumps([*kept, entry], indent=2) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
