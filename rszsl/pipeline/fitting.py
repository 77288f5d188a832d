"""Batches that fit the memory of the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from rszsl.errors import ModelError
from rszsl.model.bundle import Model
from rszsl.model.encoder import Encoded, Pixels
from rszsl.model.threads import ModelThreads, step_of

NO_MEMORY = ("MPS backend out of memory", "DefaultCPUAllocator", "Failed to allocate memory", "bad allocation")
"""What torch says without CUDA, where it has a type of error for it; and ONNX Runtime."""
STEPS_AHEAD = 2
"""What each thread finds when it is done with a step: the next one, and one more for when the caller is late."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A batch that is shown to the model, or will be.

    Attributes:
        tiles: (N, 3, P, P).
        most: tiles that it sees at once.
        answers: wait for what it says of them, part by part; None where a part does not fit.
    """

    tiles: Pixels
    most: int
    answers: tuple[Callable[[], Encoded | None], ...]


class FittingEncoder:
    """Shows a model no more tiles at once than its memory holds, and no more than are good for its device.

    Args:
        model: that encodes.
        warn: hears of every smaller size.
        encode: how it does; None: `model.encode`.
        threads: show it the parts of a batch at once; None: the caller does, one after another.

    Attributes:
        ahead: tiles that are asked for beside those that are waited for, so that no thread waits; 0 without threads.
    """

    def __init__(
        self,
        model: Model,
        warn: Callable[[str], None],
        encode: Callable[[Pixels], Encoded] | None = None,
        threads: ModelThreads | None = None,
    ) -> None:
        self._model, self._warn, self._encode, self._threads = model, warn, encode or model.encode, threads
        packed = "trunk_depth" in getattr(model.card, "shape", {})  # models of the user's own may say less
        self._most = step_of(model.card.input_px, packed=packed) if threads else None
        self.ahead = STEPS_AHEAD * threads.count * (self._most or 0) if threads else 0

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode as the model does; a batch that does not fit is halved, and later ones keep the smaller size.

        Raises:
            ModelError: where not even one tile fits.
        """
        return self.take(self.ask(tiles))

    def ask(self, tiles: Pixels) -> Asked:
        """Have a batch shown to the model by the threads, where there are any."""
        return self._asked(tiles, max(min(self._most or len(tiles), len(tiles)), 1))

    def take(self, asked: Asked) -> Encoded:
        """Wait for what the model says of a batch, in smaller parts where they do not fit.

        Raises:
            ModelError: where not even one tile fits.
        """
        first = asked.most
        while (encoded := _joined(asked)) is None:
            if asked.most == 1:
                raise ModelError(
                    f"even --batch-size 1 does not fit the memory of {self._model.device}; take a smaller --model, "
                    "--device cpu, or --precision bf16"
                )
            asked = self._asked(asked.tiles, asked.most // 2)
        if asked.most < min(first, self._most or first):
            self._most = asked.most
            device = self._model.device
            self._warn(f"a batch of {first} did not fit the memory of {device}; going on with {asked.most}")
        return encoded

    def _asked(self, tiles: Pixels, most: int) -> Asked:
        parts = (tiles[start : start + most] for start in range(0, max(len(tiles), 1), most))
        return Asked(tiles, most, tuple(self._start(part) for part in parts))

    def _start(self, tiles: Pixels) -> Callable[[], Encoded | None]:
        return self._threads.pool.submit(self._try, tiles).result if self._threads else partial(self._try, tiles)

    def _try(self, tiles: Pixels) -> Encoded | None:
        """Encode at once; None where the tiles do not fit."""
        try:
            return self._encode(tiles)
        except RuntimeError as err:
            if not isinstance(err, torch.cuda.OutOfMemoryError) and not any(text in str(err) for text in NO_MEMORY):
                raise
            return None


def _joined(asked: Asked) -> Encoded | None:
    """Join the answers; None, and no more of them are asked for, where a part does not fit."""
    parts: list[Encoded] = []
    for answer in asked.answers:
        if (part := answer()) is None:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else _concatenated(parts)


def _concatenated(parts: Sequence[Encoded]) -> Encoded:
    maps = [part.maps for part in parts if part.maps is not None]
    return Encoded(
        np.concatenate([part.embedding for part in parts]),
        np.concatenate([part.attributes for part in parts]),
        np.concatenate(maps) if maps else None,
    )
