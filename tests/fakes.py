"""A model at the seam that we own: attributes are a tile's mean colour, classes are colours."""

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from rszsl.labels.calibrate import Calibrator
from rszsl.model.encoder import ClassRows, Encoded
from rszsl.scene.pixels import as_floats

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}


@contextmanager
def one_model_thread():
    """For models that count what they are shown: with it the tiles come in their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def unit(rows):
    rows = np.asarray(rows, dtype="float32")
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)


class ColourModel:
    """Sees nothing but the mean colour; grey and black are background."""

    attribute_names = ("reddish", "greenish", "bluish")
    background_rows = unit([[1, 1, 1]])
    calibrator = Calibrator(bias=0.0, weight_similarity=0.0, weight_margin=10.0, background_max_cosine=0.9)
    min_confidence = 0.5
    device = "cpu"
    precision = "fp32"
    runtime = "torch"

    def __init__(self, input_px=16, gsd_m=1.0):
        self.card = SimpleNamespace(name="colours", version="1", sha256="0" * 64, input_px=input_px, gsd_m=gsd_m)

    def encode(self, tiles):
        tiles = as_floats(tiles)
        colours = unit(tiles.mean(axis=(2, 3)))
        return Encoded(colours, colours)

    def class_rows(self, classes):
        known = tuple(c.name in COLOURS for c in classes)
        notes = tuple(None if ok else f'no word of "{c.name}" is known' for c, ok in zip(classes, known, strict=True))
        return ClassRows(unit([COLOURS.get(c.name, (1, -1, 1)) for c in classes]), notes, known)


def painted(blocks, side=16):
    """An image of coloured squares: `blocks` names a colour a square."""
    colours = {"r": (250, 5, 5), "g": (5, 250, 5), "b": (5, 5, 250), ".": (90, 90, 90), "0": (0, 0, 0)}
    colours |= {"m": (250, 5, 250), "c": (5, 250, 250)}
    grid = np.array([[colours[c] for c in row] for row in blocks], "uint8")
    return grid.repeat(side, 0).repeat(side, 1).transpose(2, 0, 1)


@dataclass(frozen=True)
class ColourSource:
    """Where a worker finds `ColourModel`; some colours of a tile make its worker misbehave, as a bad scene would.

    Magenta kills the process, cyan hangs it: always, or, with `once` (a folder), the first time only. Workers keep a
    model by its digest, so a mood that they have not met needs a digest of its own.
    """

    digest: str = "colours"
    once: str = ""
    slow_s: float = 0.0
    precision: str = "auto"

    def load(self, device):
        return MoodyModel(self)

    def found(self):
        return self.digest


SLOW = ColourSource(digest="slow colours", slow_s=0.1)


class MoodyModel(ColourModel):
    def __init__(self, source):
        super().__init__()
        self.card.path = Path("colours")
        self.source = source

    def encode(self, tiles):
        time.sleep(self.source.slow_s)
        for tile in as_floats(tiles):
            colour = tile.mean(axis=(1, 2)) > 0.5
            if tuple(colour) == (True, False, True) and self.may("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if tuple(colour) == (False, True, True) and self.may("hang"):
                time.sleep(3600)
        return super().encode(tiles)

    def may(self, what):
        if not self.source.once:
            return True
        mark = Path(self.source.once) / what
        first = not mark.exists()
        mark.touch()
        return first
