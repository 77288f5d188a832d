"""Labelled images whose classes are colours and stripes, with attribute rows that say so, and recipes over them."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220), "grey": (120, 120, 120)}
CLASSES = tuple(f"{colour} {pattern}" for colour in COLOURS for pattern in ("rows", "columns"))
ATTRIBUTES = ("colour/red", "colour/green", "colour/blue", "pattern/rows", "pattern/columns")
MEANT = {"red": 0, "green": 1, "blue": 2, "rows": 3, "columns": 4}


def draw(name: str, seed: int, side: int = 40) -> Image.Image:
    """Noisy stripes in the colour of a class, from a place of their own."""
    rng = np.random.default_rng([seed, *name.encode()])
    colour, pattern = name.split()
    stripes = (np.arange(side) + rng.integers(8)) // 4 % 2
    light = 0.4 + 0.6 * (stripes[:, None] if pattern == "rows" else stripes[None, :])
    pixels = np.array(COLOURS[colour]) * np.broadcast_to(light, (side, side))[..., None]
    return Image.fromarray((pixels + rng.normal(0, 8, pixels.shape)).clip(0, 255).astype("uint8"))


def paint_folder(root: Path, images: int = 8, classes=CLASSES) -> Path:
    """Write a folder of class folders."""
    for name in classes:
        folder = root / name.replace(" ", "_")
        folder.mkdir(parents=True)
        for i in range(images):
            draw(name, i).save(folder / f"{i}.png")
    return root


def write_rows(file: Path, classes=CLASSES) -> Path:
    """Write a table of class rows: what each class shows, 0 or 1."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["class", *ATTRIBUTES])
        for name in classes:
            shown = {MEANT.get(word) for word in name.split()}
            writer.writerow([name, *(int(i in shown) for i in range(len(ATTRIBUTES)))])
    return file


def write_recipe(file: Path, folder: Path, rows: Path, /, **parts) -> Path:
    """Write a short training of a small vision transformer; `parts` change its tables."""
    from rszsl.zsl.runs.toml import to_toml

    dsva = {"ways": 3, "shots": 2, "episodes": 3, "epochs": 3, "heads_epochs": 1, "heads_lr": 1e-2, "lr": 1e-3}
    tables = {
        "name": "stripes",
        "seed": 3,
        "output": str(file.parent / "model"),
        "work": str(file.parent / "work"),
        "data": {"source": str(folder), "gsd_m": 1.0},
        "split": {"seen": 6, "unseen": 2, "seed": 1},
        "rows": {"kind": "table", "table": str(rows)},
        "tower": {"kind": "timm", "name": "test_vit", "input_px": 32},
        "dsva": dsva,
        "trainer": {"accelerator": "cpu"},
    }
    for key, value in parts.items():
        tables[key] = {**tables[key], **value} if isinstance(value, dict) else value
    file.write_text(to_toml(tables))
    return file
