"""A class-attribute matrix as files: tables, the pictures that were used, a heat map, a report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from rszsl.annotate.annotate import Annotation
from rszsl.errors import OutputError

MATRIX, PARQUET, IMAGES, HEAT_MAP, REPORT = (
    "attributes.csv", "attributes.parquet", "images.csv", "heatmap.png", "report.json",
)  # fmt: skip
INCH_A_CELL = 0.16


def write_annotation(annotation: Annotation, folder: Path, *, overwrite: bool) -> Path:
    """Write the five files; the folder appears when all of them are whole.

    Returns:
        the folder.

    Raises:
        OutputError: where it exists already, or cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    temporary = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        table = matrix_table(annotation)
        table.to_csv(temporary / MATRIX, float_format="%.6g")
        table.to_parquet(temporary / PARQUET)
        _images(annotation).to_csv(temporary / IMAGES, index=False)
        _heat_map(annotation, temporary / HEAT_MAP)
        text = json.dumps(annotation.report, indent=2, ensure_ascii=False)
        (temporary / REPORT).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        return temporary.rename(folder)
    except OSError as err:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputError(f"cannot write {folder}: {err}; give another --out") from err


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, before work is done; replace only a folder that looks like one of ours.

    Raises:
        OutputError: where it exists, and is not to be, or cannot be, replaced.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise OutputError(f"{folder} exists; give --overwrite to replace it, or another --out")
    strange = sorted({item.name for item in folder.iterdir()} - {MATRIX, PARQUET, IMAGES, HEAT_MAP, REPORT})
    if strange:
        raise OutputError(f"{folder} also holds {strange[0]}, which is not ours to delete; give another --out")


def matrix_table(annotation: Annotation) -> pd.DataFrame:
    """The matrix: a row a class, a column an attribute, and `source`: `images` or `text`."""
    names = [item.name for item in annotation.attributes]
    table = pd.DataFrame(annotation.rows, index=pd.Index(annotation.classes, name="class"), columns=names)
    table.insert(0, "source", list(annotation.sources))
    return table


def _images(annotation: Annotation) -> pd.DataFrame:
    pictures = annotation.pictures
    classes = [pictures.classes[label] for label in pictures.labels]
    return pd.DataFrame({"class": classes, "file": [str(file) for file in pictures.every]})


def _heat_map(annotation: Annotation, path: Path) -> None:
    from matplotlib.figure import Figure

    rows = annotation.rows
    size = (3 + INCH_A_CELL * rows.shape[1], 2.5 + INCH_A_CELL * rows.shape[0])
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    limit = float(np.abs(rows).max()) or 1.0
    drawn = axes.imshow(rows, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(rows.shape[1]), [item.name for item in annotation.attributes], rotation=90, fontsize=6)
    axes.set_yticks(range(rows.shape[0]), annotation.classes, fontsize=6)
    figure.colorbar(drawn, ax=axes, shrink=0.6)
    figure.savefig(path, dpi=150)
