"""The canvas: colour and height of the ground, and the brushes that every painter of the demo uses.

Places are local metres: x to the east and y to the south of the scene's upper left corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import features
from rasterio.transform import Affine
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from rszsl.demo.colours import Floats
from rszsl.demo.textures import fractal

Window = tuple[slice, slice]
SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle turned about its centre: the local axes (u, v) of a town, a yard, a house."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0
    """Radians, from east towards south."""

    def to_xy(self, u: float, v: float) -> tuple[float, float]:
        """Turn local metres from the centre into scene metres."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos

    def to_uv(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Turn scene metres into local metres from the centre."""
        cos, sin = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        return dx * cos + dy * sin, dy * cos - dx * sin

    def part(self, u: float, v: float, width: float, height: float, turn: float = 0.0) -> "Frame":
        """Place a smaller frame at local (u, v)."""
        return Frame(*self.to_xy(u, v), width, height, self.angle + turn)

    def polygon(self, margin: float = 0.0) -> Polygon:
        """Trace the rectangle, grown by `margin`."""
        u, v = self.width / 2 + margin, self.height / 2 + margin
        return Polygon([self.to_xy(*corner) for corner in ((-u, -v), (u, -v), (u, v), (-u, v))])


@dataclass(frozen=True, slots=True)
class Canvas:
    """Colour (3, H, W) in 0..1 and height (H, W) in metres, both float32, with `gsd` metres a pixel."""

    colour: Floats
    height: Floats
    gsd: float

    def window(self, shape: BaseGeometry, margin: float = 0.0) -> Window:
        """The pixels around `shape` and `margin` metres more; empty where it is off the canvas."""
        if shape.is_empty:
            return slice(0, 0), slice(0, 0)
        left, top, right, bottom = shape.bounds
        rows, cols = self.height.shape
        return self._span(top - margin, bottom + margin, rows), self._span(left - margin, right + margin, cols)

    def _span(self, start: float, stop: float, size: int) -> slice:
        first = min(max(math.floor(start / self.gsd), 0), size)
        return slice(first, min(max(math.ceil(stop / self.gsd), first), size))

    def xy(self, window: Window) -> tuple[Floats, Floats]:
        """Pixel centres of `window` in metres: x (1, w) and y (h, 1)."""
        rows, cols = window
        x = (np.arange(cols.start, cols.stop, dtype=np.float32) + np.float32(0.5)) * np.float32(self.gsd)
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5)) * np.float32(self.gsd)
        return x[None, :], y[:, None]

    def cover(self, shape: BaseGeometry | Sequence[BaseGeometry], window: Window) -> Floats:
        """The share of each pixel of `window` that `shape` covers, float32 (h, w)."""
        rows, cols = window
        h, w = rows.stop - rows.start, cols.stop - cols.start
        shapes = [s for s in ([shape] if isinstance(shape, BaseGeometry) else shape) if not s.is_empty]
        if not shapes or h * w == 0:
            return np.zeros((h, w), dtype=np.float32)
        step = self.gsd / SUPERSAMPLING
        fine = Affine(step, 0, cols.start * self.gsd, 0, step, rows.start * self.gsd)
        size = (h * SUPERSAMPLING, w * SUPERSAMPLING)
        burnt: NDArray[np.uint8] = features.rasterize(shapes, out_shape=size, transform=fine, dtype="uint8")
        quarters = burnt[::2, ::2] + burnt[1::2, ::2] + burnt[::2, 1::2] + burnt[1::2, 1::2]
        return quarters * np.float32(1 / SUPERSAMPLING**2)

    def paint(self, window: Window, colour: Floats, alpha: Floats) -> None:
        """Lay `colour`, (3,) or (3, h, w), over `window` with opacity `alpha` (h, w)."""
        part = self.colour[:, *window]
        part += ((colour[:, None, None] if colour.ndim == 1 else colour) - part) * alpha

    def fill(
        self,
        shape: BaseGeometry,
        colour: Floats,
        rng: np.random.Generator,
        *,
        mottle: float = 0.05,
        opacity: float = 1.0,
    ) -> None:
        """Paint `shape` in one `colour` (3,), mottled by the share `mottle`."""
        window = self.window(shape, 2)
        alpha = self.cover(shape, window) * np.float32(opacity)
        tone = 1 + np.float32(mottle) * fractal(alpha.shape, 16, rng, 2)
        self.paint(window, colour[:, None, None] * tone, alpha)


def block_cover(frame: Frame, u: Floats, v: Floats, gsd: float) -> Floats:
    """The share of each pixel that the rectangle covers, from its local coordinates."""
    return band_cover(u, frame.width, gsd) * band_cover(v, frame.height, gsd)


def band_cover(offset: Floats, width: float, gsd: float) -> Floats:
    """The share of each pixel that a band covers, from the metres to the band's middle."""
    share: Floats = np.clip((np.float32(width / 2) - np.abs(offset)) / np.float32(gsd) + np.float32(0.5), 0, 1)
    return share


def put_block(canvas: Canvas, frame: Frame, colour: Floats, height: float = 0.0, *, ridge: float = 0.0) -> None:
    """Put a building, car or slab down: flat at `height` metres, or gabled along u up to `ridge` metres."""
    window = canvas.window(frame.polygon(canvas.gsd))
    if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
        return
    u, v = frame.to_uv(*canvas.xy(window))
    alpha = block_cover(frame, u, v, canvas.gsd)
    canvas.paint(window, colour, alpha)
    if height:
        rise = max(ridge - height, 0.0) * np.clip(1 - np.abs(v) / np.float32(frame.height / 2), 0, 1)
        np.copyto(canvas.height[window], np.float32(height) + rise.astype(np.float32), where=alpha > 0.5)


def heading(line: LineString, at: float) -> Frame:
    """A frame of no size on `line`, `at` metres from its start, with u along the line."""
    here, ahead = line.interpolate(at), line.interpolate(at + 1)
    return Frame(here.x, here.y, 0, 0, math.atan2(ahead.y - here.y, ahead.x - here.x))
