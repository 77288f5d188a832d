"""What the bundled model says of labelled image sets, kept between runs in the system's folder for temporary files."""

import tempfile
from pathlib import Path

import numpy as np

from rszsl.training.data import list_images
from rszsl.training.folds import holdout_mask
from rszsl.training.trunk import plain_view, read_square
from rszsl.zsl.data.folders import data_root

NAMES = {  # folder names that are run together, in plain English
    "baseballdiamond": "baseball diamond",
    "denseresidential": "dense residential",
    "golfcourse": "golf course",
    "mediumresidential": "medium residential",
    "mobilehomepark": "mobile home park",
    "parkinglot": "parking lot",
    "sparseresidential": "sparse residential",
    "storagetanks": "storage tanks",
    "tenniscourt": "tennis court",
    "river lake": "river",
}


KEEP_OUT = 0.1
"""Share of the images that the bundled model's recipe keeps out of its training."""


class ImageSet:
    """Attributes (N, K) float32, class numbers (N,), class names, image files, which of them nothing learnt from."""

    def __init__(self, model, name, limit=None):
        self.root = data_root()
        images = list_images(self.root, [name])[:limit]
        self.files = [image.path for image in images]
        plain = [NAMES.get(image.name, image.name) for image in images]
        self.names = sorted(set(plain))
        self.truth = np.array([self.names.index(n) for n in plain])
        self.kept_out = holdout_mask(images, KEEP_OUT, model.card.raw["training"]["seed"])
        self.attributes = _encoded(model, name, self.files)


def _encoded(model, name, files):
    kept = Path(tempfile.gettempdir()) / "rszsl-benchmarks" / f"{name}-{len(files)}-{model.card.sha256[:16]}.npy"
    if not kept.exists():
        side, parts = model.card.input_px, []
        for start in range(0, len(files), 32):
            tiles = np.stack([plain_view(read_square(path), side).numpy() for path in files[start : start + 32]])
            parts.append(model.encode(tiles).attributes.astype("float16"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate(parts))
    return np.load(kept).astype("float32")
