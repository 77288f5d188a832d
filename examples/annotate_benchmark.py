"""Measure annotation by machine against a human table: the bundled model, and real CLIP towers through a bridge.

    python examples/annotate_benchmark.py DATA CACHE TEXT_VECTORS OUT.json

DATA holds `ucm/` and `attributes/`; CACHE the CLIP ViT-B/16 embeddings of DATA/ucm (`embeddings.npy`, rows by sorted
class folder and file name); TEXT_VECTORS the named CLIP text vectors that `rszsl.training` reads. The bridge from B/16
images to B/32 texts is a ridge on the 80 names known in both spaces: it sees no picture and no class of DATA.
"""

import json
import sys
from pathlib import Path

import numpy as np

from rszsl.annotate.annotate import AnnotateOptions, annotate
from rszsl.annotate.human import read_human
from rszsl.annotate.matrix import CLIP_TEMPERATURE, centred, class_rows, normalised, scores_of
from rszsl.annotate.pictures import find_pictures
from rszsl.annotate.quality import agreement, separability
from rszsl.annotate.vocabulary import read_vocabulary
from rszsl.model.checkpoint import load_model
from rszsl.model.text import unit, words_of
from rszsl.training.attributes import fit_bridge
from rszsl.training.phrases import read_anchors, read_known

VOCABULARY = Path(__file__).with_name("annotate_ucm.yaml")
SEED = 0
RIDGE = 0.3


def phrase_rows(attributes, known, centre, encoder):
    """The mean of each attribute's phrases: its real vector, else the bundled model's text side, in CLIP's space."""
    row_of = {name: row for row, name in enumerate(known.names)}
    found, real, asked = [], 0, 0
    for attribute in attributes:
        rows = []
        for phrase in attribute.phrases:
            row = row_of.get(" ".join(words_of(phrase)))
            rows.append(encoder.encode(phrase) if row is None else unit(known.vectors[row] - centre))
            real, asked = real + (row is not None), asked + 1
        found.append(unit(np.mean(rows, axis=0)))
    return np.stack(found), real, asked


def bridged(data, cache, text_vectors, attributes, model):
    """CLIP ViT-B/16 pictures and ViT-B/32 texts."""
    pictures = find_pictures(data / "ucm", per_class=None, seed=SEED)
    images = unit(np.load(cache / "embeddings.npy").astype("float32"))
    known = read_known(text_vectors)
    centre = known.vectors.mean(0)
    b16, b32, names = read_anchors(text_vectors)
    none = np.zeros((0, images.shape[1]), dtype="float32")
    bridge = fit_bridge(
        unit(b16 - b16.mean(0)), unit(b32 - centre), seen_images=none, seen_names=none, image_mean=images.mean(0),
        ridge=RIDGE, seen_weight=0.0,
    )  # fmt: skip
    meant, real, asked = phrase_rows(attributes, known, centre, model.text.encoder)
    scores = scores_of(bridge(images), meant, CLIP_TEMPERATURE)
    by_picture = np.zeros(len(pictures.classes), dtype=bool)
    rows = normalised(centred(class_rows(scores, pictures.labels, len(by_picture)), ~by_picture, by_picture), "l2")
    human = read_human(data / "attributes" / "UCM", pictures.classes, attributes)
    told = agreement(rows, human, [a.family for a in attributes], SEED)
    told["attributes"] = {attributes[a].name: value for a, value in told["attributes"]}
    return {
        "what": f"CLIP ViT-B/16 pictures (dequantised tower), bridged by {len(names)} names to ViT-B/32 texts",
        "phrases_with_real_vector": f"{real} of {asked}",
        "images": len(images),
        "separability": round(separability(scores, pictures.labels), 4),
        "human": told,
    }


def main(data, cache, text_vectors, out):
    """Measure and write."""
    attributes = read_vocabulary(VOCABULARY)
    model = load_model("dsva-small", device="cpu")
    result = {
        "command": "python examples/annotate_benchmark.py DATA CACHE TEXT_VECTORS docs/benchmarks/annotate_ucm.json",
        "data": "UC Merced, 2 100 pictures in 21 classes; human table of ZS-ViDAT (21 x 33)",
        "vocabulary": "examples/annotate_ucm.yaml",
        "seed": SEED,
        "measure": "Spearman over 21 classes of each attribute, mean by family; control: 1000 shuffles of human rows",
        "clip_b16_bridge": bridged(Path(data), Path(cache), Path(text_vectors), attributes, model),
    }
    for k in (5, None):
        options = AnnotateOptions(human=Path(data) / "attributes" / "UCM", seed=SEED, per_class=k)
        found = annotate(Path(data) / "ucm", attributes, model, options)
        quality = found.report["quality"]
        result[f"dsva_small_{k or 'all'}_images"] = {
            "what": "the bundled model, which was trained on pictures of UC Merced, not on human tables",
            "model_sha256": model.card.sha256,
            **{key: quality[key] for key in ("images", "separability", "human")},
        }
    Path(out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
