"""Images as batches of pixels: read once, kept as bytes, cropped and mirrored as METHOD B.1 has it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from rszsl.model.preprocess import short_side_px
from rszsl.model.towers.tower import TowerSpec
from rszsl.zsl.towers.images import read_rgb

MOST_SIZES = 200
"""Images whose sizes are looked at; they are spread over all."""


class PixelSet(Dataset[tuple[Tensor, int]]):
    """Images with the row of each one's class.

    In training a random crop, mirrored half of the time; else the centre. The crops of a batch depend on nothing but
    which images are in it, so that a resumed run sees what an unbroken one would have.
    """

    def __init__(self, paths: Sequence[Path], rows: NDArray[np.int64], spec: TowerSpec, *, train: bool) -> None:
        self.paths, self.rows, self.spec, self.train = list(paths), rows, spec, train
        self.kept: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, positions: list[int]) -> list[tuple[Tensor, int]]:
        """Read a batch."""
        rng = np.random.default_rng(positions) if self.train else None
        return [self._read(position, rng) for position in positions]

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Read one image: float32 (3, P, P), normalised."""
        return self.__getitems__([position])[0]

    def _read(self, position: int, rng: np.random.Generator | None) -> tuple[Tensor, int]:
        image, side = self._image(position), self.spec.input_px
        free = np.array(image.shape[:2]) - side
        row, col = rng.integers(free + 1) if rng else free // 2
        pixels = torch.from_numpy(image[row : row + side, col : col + side]).permute(2, 0, 1).float() / 255
        if rng and rng.random() < 0.5:
            pixels = pixels.flip(2)
        mean, std = torch.tensor(self.spec.mean)[:, None, None], torch.tensor(self.spec.std)[:, None, None]
        return (pixels - mean) / std, int(self.rows[position])

    def _image(self, position: int) -> NDArray[np.uint8]:
        if position not in self.kept:
            image = read_rgb(self.paths[position])
            scale = short_side_px(self.spec.input_px) / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            self.kept[position] = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        return self.kept[position]


def shrinkage(paths: Sequence[Path], input_px: int) -> float:
    """Give how many of its own pixels an image (the median one) has for each pixel that training shows of it."""
    sides = []
    for path in paths[:: -(-len(paths) // MOST_SIZES)]:
        with Image.open(path) as image:
            sides.append(min(image.size))
    return float(np.median(sides)) / short_side_px(input_px)
