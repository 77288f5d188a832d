"""Reads by threads: each has its own file handle, and neighbouring pieces go to the same one."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from rszsl.scene.gdal import user_options
from rszsl.scene.grid import Box
from rszsl.scene.pixels import Tile
from rszsl.scene.strips import Piece
from rszsl.tiling.dataset import SceneDataset

Read = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""(3, H, W) and (H, W): of a piece raw pixels and their mask (None: all valid), of a tile's own read the tile."""


class Reads:
    """Pieces that are being read or held.

    Args:
        dataset: the scene.
        lanes: threads.

    Attributes:
        held_bytes: of the pieces that were asked for and not dropped.
    """

    def __init__(self, dataset: SceneDataset, lanes: int) -> None:
        self._dataset = dataset
        self._lanes = [
            ThreadPoolExecutor(1, f"rszsl-read-{i}", initializer=_enter, initargs=(user_options(),))
            for i in range(lanes)
        ]
        self._held: dict[Piece, Future[Read]] = {}
        self.held_bytes = 0

    def __enter__(self) -> "Reads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            lane.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.shutdown(wait=True)

    def ask(self, pieces: Iterable[Piece]) -> dict[Piece, Future[Read]]:
        """Have pieces read, unless they are already; a read that fails raises `SceneError` when its result is taken."""
        asked = {}
        for piece in pieces:
            if piece not in self._held:
                self._held[piece] = self._lanes[piece.lane].submit(self._read, piece)
                self.held_bytes += self._bytes(piece)
            asked[piece] = self._held[piece]
        return asked

    def drop(self, cut: Iterable[Piece], next_tile: int | None) -> None:
        """Let go of what is no longer needed once tiles are cut from `cut` and `next_tile` (None: nothing) is next."""
        own = {piece for piece in cut if piece.own}
        past = {p for p in self._held if not p.own and (next_tile is None or p.last_tile < next_tile)}
        for piece in own | past:
            if self._held.pop(piece, None) is not None:
                self.held_bytes -= self._bytes(piece)

    def _read(self, piece: Piece) -> Read:
        if piece.own:
            tile = read_own(self._dataset, piece.box, (piece.place.height_px, piece.place.width_px))
            return tile.image, tile.valid
        return self._dataset.scene.read_raw(piece.box, (piece.place.height_px, piece.place.width_px))

    def _bytes(self, piece: Piece) -> int:
        layout = self._dataset.scene.layout
        return piece.place.height_px * piece.place.width_px * (3 * layout.sample_bytes + layout.masked)


def read_own(dataset: SceneDataset, window: Box, out_px: tuple[int, int]) -> Tile:
    """Read one tile by itself, through the dataset where that has transforms."""
    height_px, width_px = out_px
    if dataset.transforms is None:
        return dataset.scene.read_pixels(window, height_px=height_px, width_px=width_px)
    sample = dataset[dataset.slices(window, height_px=height_px, width_px=width_px)]
    return Tile(sample["image"].numpy(), sample["valid"].numpy())


def _enter(options: dict[str, Any]) -> None:
    """Give a new thread the `rasterio.Env` of the one that asks for tiles, for as long as the thread lives."""
    if options:
        rasterio.Env(**options).__enter__()
