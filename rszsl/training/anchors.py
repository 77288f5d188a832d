"""Names with a real ViT-B/16 text vector, gathered from published segmentation code into one table.

The bridge from ViT-B/16 images to ViT-B/32 text rests on names that are known in both text spaces. CLIP's own text
tower is nowhere to be had offline, but segmentation code ships its outputs: SemIVL (Apache-2.0; ADE20K, COCO, and
concepts of VOC and Cityscapes) and ZegCLIP (MIT; COCO-Stuff). The names stand in SemIVL's source, which is parsed,
not run.

    python -m rszsl.training.anchors SEMIVL ZEGCLIP TEXT_VECTORS OUT
"""

import ast
import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.model.text import unit
from rszsl.training.files import save_npz
from rszsl.zsl.rows.vectors import read_coco

Floats = NDArray[np.float32]
NAMES_SOURCE = "model/text_embeddings.py"
VECTORS = "configs/_base_/datasets/text_embedding"
ENSEMBLE = (("zegclip", "coco_multi", "COCO_stuff_classes"),)
"""Repository, file and list of names of vectors that are means over templates."""
SINGLE = (
    ("zegclip", "coco_single", "COCO_stuff_classes"),
    ("semivl", "ade_single", "ADE_classes"),
    ("semivl", "voc12_wbg_concept4_single", "VOC12_wbg_classes_w_concepts4"),
    ("semivl", "cityscapes_concept3_single", "Cityscapes_classes_w_concepts3"),
)
"""Likewise of the one template "a photo of a ...", whose first file is the measure of the others' shift."""


def gather_anchors(semivl: Path, zegclip: Path, text_vectors: Path) -> dict[str, Floats]:
    """Read all files, move each template's vectors to where COCO's 80 are, and average a name's vectors.

    Args:
        semivl: a copy of google-research/semivl.
        zegclip: a copy of ZiqinZhou66/ZegCLIP.
        text_vectors: the table with COCO's 80 names, where the others are moved to.

    Returns:
        float32 (512,) by name, in words.

    Raises:
        TrainingError: where a file is not there, or does not have a vector for each of its names.
    """
    roots = {"semivl": semivl, "zegclip": zegclip}
    lists = _read_lists(semivl / NAMES_SOURCE)
    coco = read_coco(text_vectors)
    found: dict[str, list[Floats]] = {name: [vector] for name, vector in coco.items()}
    for group in (ENSEMBLE, SINGLE):
        sets = [_read_set(roots[root] / VECTORS / f"{file}.npy", lists[names]) for root, file, names in group]
        shared = [name for name in sets[0] if name in coco]
        shift = np.mean([coco[name] - sets[0][name] for name in shared], axis=0)
        for name, vector in chain.from_iterable(vectors.items() for vectors in sets):
            found.setdefault(name, []).append(vector + shift)
    return {name: np.mean(vectors, axis=0).astype("float32") for name, vectors in found.items()}


def _read_lists(source: Path) -> dict[str, list[str]]:
    try:
        tree = ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as err:
        raise TrainingError(f"cannot read the names in {source}: {err}") from err
    wanted = {names for _, _, names in (*ENSEMBLE, *SINGLE)}
    lists: dict[str, Any] = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in wanted
    }
    if missing := sorted(wanted - set(lists)):
        raise TrainingError(f"{source} has no list {', '.join(missing)}; is it another version?")
    # A list of lists holds each class's concepts.
    return {name: [n for item in items for n in ([item] if isinstance(item, str) else item)]
            for name, items in lists.items()}  # fmt: skip


def _read_set(file: Path, names: list[str]) -> dict[str, Floats]:
    try:
        vectors = np.load(file).astype("float32")
    except (OSError, ValueError) as err:
        raise TrainingError(f"cannot read the text vectors {file}: {err}") from err
    if vectors.shape != (len(names), 512):
        raise TrainingError(f"{file} holds {vectors.shape}, not a vector of 512 for each of its {len(names)} names")
    return dict(zip(map(_plain, names), unit(vectors), strict=True))


def _plain(name: str) -> str:
    """Write a label as a name: `"wall-brick"` -> wall brick, `"ground-other"` -> ground."""
    return re.sub("-(other|stuff)$", "", name.strip().lower()).replace("-", " ")


if __name__ == "__main__":
    semivl, zegclip, text_vectors, out = map(Path, sys.argv[1:])
    anchors = gather_anchors(semivl, zegclip, text_vectors)
    save_npz(out, names=np.array(list(anchors)), b16=np.stack(list(anchors.values())))
    print(f"{len(anchors)} names in {out}")
