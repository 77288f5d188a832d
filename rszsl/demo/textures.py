"""Noise with the statistics of ground: smooth patches, fine grain, and irregular round outlines."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from shapely import Polygon

from rszsl.demo.colours import Floats


def mix(low: Floats, high: Floats, share: Floats) -> Floats:
    """Blend two colours, float32 (3,), by `share` (h, w) in 0..1 into float32 (3, h, w)."""
    return low[:, None, None] + (high - low)[:, None, None] * share


def smooth_step(values: Floats, low: float, high: float) -> Floats:
    """Ramp from 0 at `low` to 1 at `high` with no kinks."""
    share: Floats = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return share * share * (3 - 2 * share)


def value_noise(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Floats:
    """Random values on a lattice `scale_px` wide, interpolated smoothly.

    Returns:
        float32 `shape`, in -1..1.
    """
    cells = [math.ceil(size / scale_px) + 2 for size in shape]
    lattice = rng.random(cells, dtype=np.float32)
    for axis, size in ((1, shape[1]), (0, shape[0])):  # rows last: copying whole rows is fast
        at = np.arange(size, dtype=np.float32) / np.float32(scale_px)
        base = at.astype(np.intp)
        share = at - base
        share = share * share * (3 - 2 * share)
        share = share[:, None] if axis == 0 else share[None, :]
        left = np.take(lattice, base, axis=axis)
        lattice = left + (np.take(lattice, base + 1, axis=axis) - left) * share
    return lattice * 2 - 1


def fractal(shape: tuple[int, int], scale_px: float, rng: np.random.Generator, octaves: int = 4) -> Floats:
    """Sum `octaves` of value noise, each half as wide and half as strong as the one before.

    Returns:
        float32 `shape`, about -1..1.
    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        total += value_noise(shape, max(scale_px / 2**octave, 1.5), rng) * np.float32(0.5**octave)
    return total / np.float32(1.25)


def grain(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> Floats:
    """White noise blurred by `sigma_px`, scaled to unit deviation, float32 `shape`."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if sigma_px <= 0:
        return noise
    blurred: Floats = ndimage.gaussian_filter(noise, sigma_px, truncate=2.5)
    return blurred * np.float32(2 * math.sqrt(math.pi) * sigma_px)


@dataclass(frozen=True, slots=True)
class Blob:
    """An irregular round outline in metres: an ellipse whose radius wobbles with the angle."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    phases: tuple[float, ...]
    wobble: float = 0.09

    def reach(self, x: Floats, y: Floats) -> Floats:
        """Say how far out each point lies: 0 at the centre, 1 on the outline."""
        dx, dy = (x - np.float32(self.x)) / self.radius_x, (y - np.float32(self.y)) / self.radius_y
        angle = np.arctan2(dy, dx)
        radius = np.ones_like(angle)
        for k, phase in enumerate(self.phases, start=2):
            radius += np.float32(self.wobble * 2 / k) * np.cos(k * angle + np.float32(phase))
        reach: Floats = (np.hypot(dx, dy) / radius).astype(np.float32)
        return reach

    def polygon(self, scale: float = 1.0) -> Polygon:
        """Trace the outline (times `scale`) with 120 points."""
        angle = np.linspace(0, 2 * math.pi, 120, endpoint=False, dtype=np.float32)
        x = np.float32(self.x) + np.float32(self.radius_x) * np.cos(angle)
        y = np.float32(self.y) + np.float32(self.radius_y) * np.sin(angle)
        stretch = np.float32(scale) / self.reach(x, y)
        return Polygon(np.column_stack([self.x + (x - self.x) * stretch, self.y + (y - self.y) * stretch]))
