"""Farmland: grass, fields with their rows and tramlines, hedges and tracks."""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import unary_union
from shapely.geometry.base import BaseGeometry

from rszsl.demo.canvas import Canvas
from rszsl.demo.colours import BROADLEAF, DRY_GRASS, GRASS, SAND, SOIL, Floats, rgb
from rszsl.demo.layout import Plan, parcels
from rszsl.demo.plants import Stand, plant
from rszsl.demo.textures import fractal, grain, mix


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop: its colour, the ground between rows, metres between rows, and how strongly the rows show."""

    colour: Floats
    ground: Floats
    pitch: float
    rows: float


CROPS = (
    Crop(rgb(96, 114, 66), rgb(124, 116, 86), 4.2, 0.55),  # maize
    Crop(rgb(104, 124, 72), rgb(120, 128, 84), 3.4, 0.4),  # young cereals
    Crop(rgb(84, 104, 62), rgb(104, 106, 74), 5.0, 0.6),  # beet
    Crop(rgb(188, 170, 122), rgb(170, 152, 110), 4.6, 0.5),  # ripe wheat
    Crop(rgb(172, 158, 122), rgb(150, 134, 104), 6.0, 0.6),  # stubble
    Crop(rgb(138, 116, 92), rgb(118, 98, 78), 3.8, 0.6),  # ploughed
    Crop(rgb(112, 96, 80), rgb(128, 110, 90), 5.2, 0.45),  # wet soil
    Crop(rgb(116, 126, 78), rgb(110, 120, 76), 9.0, 0.25),  # meadow
    Crop(rgb(162, 158, 92), rgb(140, 140, 84), 3.6, 0.3),  # rape
    Crop(rgb(90, 108, 68), rgb(150, 134, 106), 6.4, 0.75),  # vegetables
)
SHARES = np.asarray([17, 14, 9, 13, 10, 10, 6, 12, 3, 6]) / 100


def paint_fields(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint grass everywhere, then each field with its crop, rows, tramlines and patches."""
    shape = canvas.height.shape
    patches = fractal(shape, 90, rng, 4)
    canvas.colour[:] = mix(GRASS, DRY_GRASS, np.clip(patches * 0.6 + 0.35, 0, 1))
    fields = parcels(plan, rng)
    for field in fields:
        _paint_field(canvas, field, patches, rng)
    canvas.colour[:] *= 1 + np.float32(0.035) * grain(shape, 0.7, rng)
    _paint_hedges(canvas, fields, rng)


def _paint_field(canvas: Canvas, field: BaseGeometry, patches: Floats, rng: np.random.Generator) -> None:
    crop = CROPS[rng.choice(len(CROPS), p=SHARES)]
    window = canvas.window(field, 1)
    alpha = canvas.cover(field.buffer(-1.0), window)
    if not alpha.size:
        return
    along, across = _axes(field, *canvas.xy(window))
    vigour = 0.5 * patches[window] + 0.5 * fractal(alpha.shape, 45, rng, 4)
    pitch = max(crop.pitch, 3 * canvas.gsd)
    wave = np.sin((across + 0.5 * vigour) * np.float32(2 * math.pi / pitch))
    share = np.float32(0.5) - np.float32(crop.rows / 2) * wave + np.float32(0.45) * vigour
    colour = mix(crop.colour, crop.ground, np.clip(share, -0.3, 1.3)) * np.float32(rng.uniform(0.9, 1.1))
    passes = np.sin(across * np.float32(2 * math.pi / 17)) * np.sin(along / np.float32(90))
    colour *= 1 + np.float32(0.09) * vigour + np.float32(0.03) * passes
    _tramlines(colour, across, rng)
    canvas.paint(window, colour, alpha)


def _axes(field: BaseGeometry, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Metres along and across the rows, (h, w) each; rows run along the field's longer side."""
    corners = shapely.get_coordinates(field.minimum_rotated_rectangle)
    sides = np.diff(corners[:3], axis=0)
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    dx, dy = (sides[lengths.argmax()] / lengths.max()).astype(np.float32)
    return x * dx + y * dy, x * dy - y * dx


def _tramlines(colour: Floats, across: Floats, rng: np.random.Generator) -> None:
    """Darken or lighten the tractor's two wheel tracks, every 18-28 m."""
    every = rng.uniform(18, 28)
    offset = np.abs((across + np.float32(rng.uniform(0, every))) % np.float32(every) - np.float32(every / 2))
    track = np.exp(-(((offset - 1.1) / 0.7) ** 2)).astype(np.float32) * np.float32(rng.uniform(0.25, 0.6))
    colour += (SOIL[:, None, None] - colour) * track


def _paint_hedges(canvas: Canvas, fields: list[BaseGeometry], rng: np.random.Generator) -> None:
    """Line some field edges with hedges and trees, and others with a worn track."""
    hedged = [f.boundary for f in fields if rng.random() < 0.16]
    tracks = [f.buffer(3.5).boundary for f in fields if rng.random() < 0.22 and f.area > 9000]
    edges = unary_union([f.buffer(-1) for f in fields])
    wheel = unary_union(tracks).buffer(1.8).difference(edges)
    canvas.fill(wheel, SAND * np.float32(0.94), rng, mottle=0.08, opacity=0.85)
    if hedged:
        hedge = unary_union(hedged).buffer(2.2)
        plant(canvas, hedge, Stand(4.5, 3.2, 5.5, 0.72, BROADLEAF * np.float32(1.05)), rng)
