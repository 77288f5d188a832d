"""Batches that fit the memory of the device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from rszsl.errors import ModelError
from rszsl.model.bundle import Model
from rszsl.model.encoder import Encoded, Pixels

NO_MEMORY = ("MPS backend out of memory", "DefaultCPUAllocator")
"""What torch says without CUDA; there it has a type of error for it."""


class FittingEncoder:
    """Shows a model no more tiles at once than its memory holds.

    Args:
        model: that encodes.
        warn: hears of every smaller size.
        encode: how it does; None: `model.encode`.
    """

    def __init__(
        self, model: Model, warn: Callable[[str], None], encode: Callable[[Pixels], Encoded] | None = None
    ) -> None:
        self._model, self._warn, self._encode = model, warn, encode or model.encode
        self._most: int | None = None

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode as the model does; a batch that does not fit is halved, and later ones keep the smaller size.

        Raises:
            ModelError: where not even one tile fits.
        """
        first = most = min(self._most or len(tiles), len(tiles))
        while (encoded := self._try(tiles, max(most, 1))) is None:
            if most <= 1:
                raise ModelError(
                    f"even --batch-size 1 does not fit the memory of {self._model.device}; take a smaller --model, "
                    "--device cpu, or --precision bf16"
                )
            most //= 2
        if most < first:
            self._most = most
            self._warn(f"a batch of {first} did not fit the memory of {self._model.device}; going on with {most}")
        return encoded

    def _try(self, tiles: Pixels, most: int) -> Encoded | None:
        """Encode `most` tiles at once; None where they do not fit."""
        starts = range(0, max(len(tiles), 1), most)
        try:
            parts = [self._encode(tiles[start : start + most]) for start in starts]
        except RuntimeError as err:
            if not isinstance(err, torch.cuda.OutOfMemoryError) and not any(text in str(err) for text in NO_MEMORY):
                raise
            return None
        return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[Encoded]) -> Encoded:
    maps = [part.maps for part in parts if part.maps is not None]
    return Encoded(
        np.concatenate([part.embedding for part in parts]),
        np.concatenate([part.attributes for part in parts]),
        np.concatenate(maps) if maps else None,
    )
