"""Forest and lake."""

import numpy as np
from shapely import LineString

from rszsl.demo.canvas import Canvas, Frame, Window, put_block
from rszsl.demo.colours import (
    BOAT,
    BROADLEAF,
    CONIFER,
    DEEP_WATER,
    FOREST_FLOOR,
    GRASS,
    REEDS,
    SAND,
    SHALLOW_WATER,
    SOIL,
    WOOD,
    Floats,
)
from rszsl.demo.layout import Plan
from rszsl.demo.plants import Stand, plant
from rszsl.demo.textures import Blob, fractal, grain, mix, smooth_step

OLD_OAKS = Stand(8.4, 6.6, 20, 0.93, BROADLEAF)
YOUNG_BEECH = Stand(6.2, 4.8, 17, 0.95, BROADLEAF * np.float32(0.93))
SPRUCE = Stand(5.2, 3.7, 20, 0.93, CONIFER)
SHORE_TREES = Stand(7.5, 5.2, 11, 0.8, BROADLEAF * np.float32(1.05))
ISLANDS = ((-0.34, -0.2, 42.0), (0.24, 0.28, 55.0), (0.4, -0.34, 30.0))
"""Where islands lie in the lake, as shares of its radii, and their half width in metres."""


def paint_forest(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint the forest floor and a ride through it, and plant stands of old and young trees and of spruce."""
    canvas.fill(plan.forest.buffer(4), FOREST_FLOOR, rng, mottle=0.2)
    left, top, right, bottom = plan.forest.bounds
    bends = [(0.0, 0.62), (0.25, 0.6), (0.45, 0.48), (0.7, 0.3), (1.0, 0.05)]
    ride = LineString([(left + (right - left) * u, top + (bottom - top) * v) for u, v in bends])
    canvas.fill(ride.buffer(2.2).intersection(plan.forest), SOIL * np.float32(0.9), rng)
    wood = plan.forest.difference(ride.buffer(4.5))
    shape = canvas.height.shape
    kind = fractal(shape, 260 / canvas.gsd, rng, 3)
    gaps = fractal(shape, 45 / canvas.gsd, rng, 2) > -0.78
    for stand, where in ((OLD_OAKS, kind > 0.1), (YOUNG_BEECH, np.abs(kind) <= 0.1), (SPRUCE, kind < -0.1)):
        plant(canvas, wood, stand, rng, keep=(where & gaps).astype(np.float32))


def paint_lake(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint a shore of sand, reeds and trees, and water that darkens with depth."""
    lake = plan.lake
    window = canvas.window(lake.polygon(1.12), 5)
    x, y = canvas.xy(window)
    cloud = fractal((y.size, x.size), 240 / canvas.gsd, rng, 4)
    shore = fractal((y.size, x.size), 40 / canvas.gsd, rng, 3)
    reach = lake.reach(x, y) + np.float32(0.012) * shore
    beach = smooth_step(-np.abs(reach - 1), -0.035, -0.02) * np.clip(0.7 + shore, 0.15, 1)
    canvas.paint(window, SAND * np.float32(0.97), beach)
    depth = smooth_step(1 - reach + np.float32(0.07) * cloud, 0.0, 0.2)
    water = mix(SHALLOW_WATER, DEEP_WATER, depth) * (1 + np.float32(0.09) * cloud)
    ripples = np.float32(0.008) * grain(reach.shape, 1.6, rng) + np.float32(0.02) * shore
    canvas.paint(window, water * (1 + ripples), smooth_step(-reach, -0.992, -0.98))
    _paint_shore(canvas, lake, window, shore, rng)
    _put_islands(canvas, lake, rng)
    _put_jetties(canvas, lake, rng)


def _paint_shore(canvas: Canvas, lake: Blob, window: Window, shore: Floats, rng: np.random.Generator) -> None:
    """Grow reeds in the shallows and a broken belt of trees behind the beach."""
    reach = lake.reach(*canvas.xy(window))
    reeds = smooth_step(-np.abs(reach - np.float32(0.975)), -0.02, -0.008) * (shore > 0.15)
    canvas.paint(window, REEDS, reeds * np.float32(0.85))
    belt = lake.polygon(1.07).difference(lake.polygon(1.025))
    keep = np.zeros_like(canvas.height)
    keep[window] = fractal(reach.shape, 120 / canvas.gsd, rng, 3) > -0.05
    plant(canvas, belt, SHORE_TREES, rng, keep=keep)


def _put_islands(canvas: Canvas, lake: Blob, rng: np.random.Generator) -> None:
    """Put three wooded islands with shallow water around them into the lake."""
    for u, v, size in ISLANDS:
        x, y = lake.x + u * lake.radius_x, lake.y + v * lake.radius_y
        island = Blob(x, y, size * 1.4, size, lake.phases[::-1], 0.16)
        window = canvas.window(island.polygon(1.8))
        reach = island.reach(*canvas.xy(window))
        canvas.paint(window, SHALLOW_WATER, smooth_step(-reach, -1.7, -1.0) * np.float32(0.7))
        canvas.paint(window, SAND * np.float32(0.93), smooth_step(-reach, -1.12, -1.0))
        canvas.fill(island.polygon(0.92), GRASS, rng, mottle=0.1)
        plant(canvas, island.polygon(0.8), SHORE_TREES, rng)


def _put_jetties(canvas: Canvas, lake: Blob, rng: np.random.Generator) -> None:
    """Put three jetties with moored boats on the eastern shore."""
    outline = lake.polygon(0.965).exterior
    for share in (0.94, 0.99, 0.04):
        tip = outline.interpolate(share, normalized=True)
        jetty = Frame(tip.x, tip.y, 34, 2.4, 0.2)
        put_block(canvas, jetty, WOOD, 0.8)
        for u in range(-14, 12, 5):
            put_block(canvas, jetty.part(u, rng.choice([-4.2, 4.2]), 2.2, 5.6), BOAT, 0.9)
