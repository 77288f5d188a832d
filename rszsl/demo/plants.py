"""Trees: crowns on a jittered lattice, from a closed forest to a hedge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from rszsl.demo.canvas import Canvas
from rszsl.demo.colours import Floats
from rszsl.demo.textures import grain

Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns of n pixels, each (n,)."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How trees stand: metres between trunks, crown radius and height (metres), share of places taken."""

    spacing: float
    radius: float
    height: float
    presence: float
    palette: Floats


@dataclass(frozen=True, slots=True)
class Lattice:
    """Trees on a lattice of one place a cell, all (rows, cols): centre in pixels, radius, height, colour."""

    row: Floats
    col: Floats
    radius: Floats
    height: Floats
    colour: Floats


def sow(shape: tuple[int, int], stand: Stand, gsd: float, where: Floats, rng: np.random.Generator) -> Lattice:
    """Draw the trees of a window: a place is taken by chance, and only where `where` (h, w) is set."""
    step = stand.spacing / gsd
    cells = (int(shape[0] / step) + 3, int(shape[1] / step) + 3)
    jitter = rng.random((2, *cells), dtype=np.float32)
    row = (np.arange(-1, cells[0] - 1, dtype=np.float32)[:, None] + jitter[0]) * np.float32(step)
    col = (np.arange(-1, cells[1] - 1, dtype=np.float32)[None, :] + jitter[1]) * np.float32(step)
    at = tuple(np.clip(c.astype(np.intp), 0, n - 1) for c, n in zip((row, col), shape, strict=True))
    taken = (rng.random(cells, dtype=np.float32) < stand.presence) & (where[at] > 0.5)
    size = 0.7 + 0.55 * rng.random(cells, dtype=np.float32)
    tone = 1 + 0.13 * rng.standard_normal(cells, dtype=np.float32)
    colour = stand.palette[rng.integers(0, len(stand.palette), cells)] * np.clip(tone, 0.65, 1.4)[..., None]
    radius = np.where(taken, size * np.float32(stand.radius / gsd), 0)
    return Lattice(row, col, radius.astype(np.float32), (size * stand.height).astype(np.float32), colour)


def plant(
    canvas: Canvas, shape: BaseGeometry, stand: Stand, rng: np.random.Generator, keep: Floats | None = None
) -> None:
    """Plant `shape` with trees, crowns hanging over its edge.

    Args:
        canvas: What to plant on.
        shape: The ground, in local metres.
        stand: How the trees stand.
        rng: The source of chance.
        keep: float32 (H, W) of the whole canvas; trees stand only where it is above 0.5.
    """
    window = canvas.window(shape, stand.radius * 1.5)
    where = canvas.cover(shape, window)
    if not where.any():
        return
    near = canvas.cover(shape.buffer(stand.radius * 1.3, quad_segs=2), window) > 0
    rows, cols = np.nonzero(near)
    trees = sow(where.shape, stand, canvas.gsd, where if keep is None else where * keep[window], rng)
    rough = grain(where.shape, 0.8, rng)[rows, cols]
    crown, alpha, best = crowns_at((rows, cols), trees, rough, stand.spacing / canvas.gsd)
    leaf = trees.colour.reshape(-1, 3)[best].T * (1 + 0.07 * rough)
    colour, height = canvas.colour[:, *window], canvas.height[window]
    under = colour[:, rows, cols]
    colour[:, rows, cols] = under + (leaf - under) * alpha
    height[rows, cols] += np.where(alpha > 0.5, crown, 0)


def crowns_at(at: Pixels, trees: Lattice, rough: Floats, step: float) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Find the highest crown over each of n pixels.

    Returns:
        Crown height (metres) and coverage, float32 (n,), and the tree as a flat index (n,).
    """
    crown = np.zeros(len(rough), dtype=np.float32)
    alpha, best = np.zeros_like(crown), np.zeros(len(rough), dtype=np.intp)
    width = trees.row.shape[1]
    home = ((at[0] / step).astype(np.intp) + 1) * width + (at[1] / step).astype(np.intp) + 1
    y, x = (axis.astype(np.float32) + np.float32(0.5) for axis in at)
    for shift in (dr * width + dc for dr in (-1, 0, 1) for dc in (-1, 0, 1)):
        tree = home + shift
        away = np.hypot(y - trees.row.ravel()[tree], x - trees.col.ravel()[tree]) * (1 + 0.11 * rough)
        dome, edge = _dome(away, trees.radius.ravel()[tree], trees.height.ravel()[tree])
        best = np.where(dome > crown, tree, best)
        np.maximum(crown, dome, out=crown)
        np.maximum(alpha, edge, out=alpha)
    return crown, alpha, best


def _dome(away: Floats, radius: Floats, height: Floats) -> tuple[Floats, Floats]:
    """Height and coverage (n,) of a round crown `away` pixels from its trunk."""
    edge = np.clip(radius - away + np.float32(0.5), 0, 1) * (radius > 0)
    slope = np.clip(np.float32(1.15) - (away / np.maximum(radius, 0.1)) ** 2, 0, None)
    return np.where(edge > 0, height * np.sqrt(slope), 0).astype(np.float32), edge.astype(np.float32)
