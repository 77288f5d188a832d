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
from shapely import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

from rszsl.demo.textures import Floats, fractal

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

    def polygon(self, margin: float = 0.0) -> BaseGeometry:
        """Trace the rectangle, grown by `margin`."""
        u, v = self.width / 2 + margin, self.height / 2 + margin
        return MultiPolygon([([self.to_xy(*c) for c in ((-u, -v), (u, -v), (u, v), (-u, v))], [])]).geoms[0]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Colour (3, H, W) in 0..1 and height (H, W) in metres, both float32, with `gsd` metres a pixel."""

    colour: Floats
    height: Floats
    gsd: float

    def window(self, shape: BaseGeometry, margin: float = 0.0) -> Window:
        """The pixels around `shape` and `margin` metres more; empty where it is off the canvas."""
        left, top, right, bottom = shape.bounds if not shape.is_empty else (0.0, 0.0, -margin * 2, -margin * 2)
        rows, cols = self.height.shape
        return (
            slice(*(min(max(round(e), 0), rows) for e in ((top - margin) / self.gsd, (bottom + margin) / self.gsd + 1))),
            slice(*(min(max(round(e), 0), cols) for e in ((left - margin) / self.gsd, (right + margin) / self.gsd + 1))),
        )

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
        fine = Affine.translation(cols.start * self.gsd, rows.start * self.gsd) * Affine.scale(self.gsd / SUPERSAMPLING)
        size = (h * SUPERSAMPLING, w * SUPERSAMPLING)
        burnt: NDArray[np.uint8] = features.rasterize(shapes, out_shape=size, transform=fine, dtype="uint8")
        quarters = burnt[::2, ::2] + burnt[1::2, ::2] + burnt[::2, 1::2] + burnt[1::2, 1::2]
        return quarters * np.float32(1 / SUPERSAMPLING**2)

    def paint(self, window: Window, colour: Floats, alpha: Floats) -> None:
        """Lay `colour`, (3,) or (3, h, w), over `window` with opacity `alpha` (h, w)."""
        part = self.colour[:, *window]
        part += ((colour[:, None, None] if colour.ndim == 1 else colour) - part) * alpha

    def lift(self, window: Window, height: Floats | float, where: NDArray[np.bool_]) -> None:
        """Set the height in metres `where` true."""
        np.copyto(self.height[window], np.float32(height) if isinstance(height, float) else height, where=where)

    def fill(
        self, shape: BaseGeometry, colour: Floats, *, rng: np.random.Generator, mottle: float = 0.05, opacity: float = 1.0
    ) -> None:
        """Paint `shape` in one `colour` (3,), mottled by the share `mottle`."""
        window = self.window(shape, 2)
        alpha = self.cover(shape, window) * np.float32(opacity)
        tone = 1 + np.float32(mottle) * fractal(alpha.shape, 16, rng)
        self.paint(window, colour[:, None, None] * tone, alpha)


def block_cover(frame: Frame, u: Floats, v: Floats, gsd: float) -> Floats:
    """The share of each pixel that the rectangle covers, from its local coordinates."""
    inside_u = np.clip((frame.width / 2 - np.abs(u)) / gsd + 0.5, 0, 1)
    return (inside_u * np.clip((frame.height / 2 - np.abs(v)) / gsd + 0.5, 0, 1)).astype(np.float32)


def put_block(canvas: Canvas, frame: Frame, colour: Floats, *, eave: float, ridge: float = 0.0, ribs: float = 0.0) -> None:
    """Put a building, car or slab down: flat at `eave` metres, or gabled along u up to `ridge` metres.

    `ribs` is the strength of a sheet roof's stripes, 5 m apart.
    """
    window = canvas.window(frame.polygon(canvas.gsd))
    if window[0].start >= window[0].stop or window[1].start >= window[1].stop:
        return
    u, v = frame.to_uv(*canvas.xy(window))
    alpha = block_cover(frame, u, v, canvas.gsd)
    tint = colour[:, None, None]
    if ribs:
        tint = tint * (1 + np.float32(ribs) * np.sign(np.sin(u * np.float32(2 * math.pi / 5)))).astype(np.float32)
    canvas.paint(window, tint if ribs else colour, alpha)
    if eave:
        rise = max(ridge - eave, 0.0) * np.clip(1 - np.abs(v) / (frame.height / 2), 0, 1)
        canvas.lift(window, (eave + rise).astype(np.float32), alpha > 0.5)


def scene_box(canvas: Canvas) -> BaseGeometry:
    """The whole canvas in metres."""
    rows, cols = canvas.height.shape
    return box(0, 0, cols * canvas.gsd, rows * canvas.gsd)
