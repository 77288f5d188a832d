"""The quarry: benches in pale rock, a pond on the floor, heaps, tracks and machines."""

import math

import numpy as np
from shapely import LineString

from rszsl.demo.canvas import Canvas, Frame, Window, put_block
from rszsl.demo.colours import (
    ASPHALT,
    MACHINE,
    OVERBURDEN,
    POND,
    POND_EDGE,
    RAMP,
    ROCK,
    ROCK_FACE,
    SCRUB,
    Floats,
)
from rszsl.demo.layout import Plan
from rszsl.demo.plants import Stand, plant
from rszsl.demo.textures import Blob, fractal, grain, mix, smooth_step

BENCH_M, BENCHES = 9.0, 5
FACE = 0.26
"""The share of a bench that its face takes."""


def paint_quarry(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Dig the pit, colour its rock, and put a pond, tracks, heaps and machines into it and scrub around it."""
    pit = plan.quarry
    window = canvas.window(pit.polygon(1.15), 5)
    reach = pit.reach(*canvas.xy(window))
    rough = fractal(reach.shape, 110 / canvas.gsd, rng, 5)
    steps = (1 - (reach + np.float32(0.1) * rough)) * np.float32(6.2)
    level, face = benches(steps)
    fine = fractal(reach.shape, 14, rng, 4)
    canvas.height[window] -= (level * np.float32(BENCH_M) + fine * (np.float32(0.25) + face)) * (reach < 1)
    edge = smooth_step(-reach + np.float32(0.05) * rough, -1.0, -0.97)
    canvas.paint(window, _rock(reach, rough, fine, face, rng), edge)
    worn = smooth_step(-np.abs(steps % 1 - np.float32(0.66)), -0.13, -0.05) * (steps > 0.9) * (steps < BENCHES)
    canvas.paint(window, RAMP, worn * np.clip(np.float32(0.4) + np.float32(0.4) * rough, 0, 0.7))
    _paint_tracks(canvas, plan, rng)
    _paint_pond(canvas, pit, window, rough)
    _put_heaps(canvas, pit, rng)
    _put_crusher(canvas, pit)
    rim = pit.polygon(1.05).difference(pit.polygon(0.97)).difference(plan.haul_road.buffer(12))
    plant(canvas, rim, Stand(7.0, 3.6, 5, 0.4, SCRUB), rng)


def benches(steps: Floats) -> tuple[Floats, Floats]:
    """Turn a slope into terraces.

    Args:
        steps: float32 (h, w), benches down on an even slope.

    Returns:
        float32 (h, w) each: benches down on the terraces, and where a face is, 0..1.
    """
    steps = np.clip(steps, 0, BENCHES)
    whole = np.floor(steps)
    rise = np.clip((steps - whole) / np.float32(FACE), 0, 1)
    level: Floats = np.clip(whole - 1 + rise, 0, None)
    return level, np.clip(12 * rise * (1 - rise), 0, 1) * (steps >= 1)


def _rock(reach: Floats, rough: Floats, fine: Floats, face: Floats, rng: np.random.Generator) -> Floats:
    """Colour (3, h, w): stained floor, dark streaked faces, brown overburden under the rim."""
    stains = fractal(reach.shape, 80, rng, 5)
    rock = mix(ROCK, ROCK_FACE, np.clip(face * (0.8 + 0.5 * fine) + 0.35 * stains + 0.12 * fine, 0, 1))
    rock *= 1 + np.float32(0.03) * grain(reach.shape, 0.8, rng) + np.float32(0.07) * stains
    top = smooth_step(reach + np.float32(0.12) * rough, 0.80, 0.92) * np.float32(0.85)
    brown: Floats = rock + (OVERBURDEN[:, None, None] * (1 + np.float32(0.1) * fine) - rock) * top
    return brown


def _paint_pond(canvas: Canvas, pit: Blob, window: Window, rough: Floats) -> None:
    """Fill the lowest corner of the floor with turquoise water and a wet margin."""
    x, y = pit.x - pit.radius_x * 0.1, pit.y + pit.radius_y * 0.1
    pond = Blob(x, y, pit.radius_x * 0.25, pit.radius_y * 0.18, pit.phases, 0.14)
    reach = pond.reach(*canvas.xy(window)) + np.float32(0.12) * rough
    canvas.paint(window, ROCK * np.float32(0.72), smooth_step(-reach, -1.3, -1.0) * np.float32(0.7))
    alpha = smooth_step(-reach, -1.02, -0.97)
    canvas.paint(window, mix(POND_EDGE, POND, smooth_step(1 - reach, 0, 0.35)), alpha)
    np.copyto(canvas.height[window], np.float32(-BENCH_M * BENCHES), where=alpha > 0.5)


def _paint_tracks(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Lead the haul road into the pit and on in a spiral, and leave ruts on the benches."""
    pit = plan.quarry
    canvas.fill(plan.haul_road.buffer(5.5), RAMP, rng, mottle=0.08)
    canvas.fill(_arc(pit, (2.1, 5.6), (0.82, 0.42)).buffer(5), RAMP, rng, mottle=0.08, opacity=0.75)
    for tone in (RAMP, ROCK_FACE) * 12:
        start, end = rng.uniform(0.3, 0.85, 2)
        turn = rng.uniform(0, 2 * math.pi)
        wheels = _arc(pit, (turn, turn + rng.uniform(0.3, 1.4)), (start, end)).buffer(2.4).boundary
        canvas.fill(wheels.buffer(0.6), tone, rng, opacity=0.4)


def _arc(pit: Blob, turns: tuple[float, float], out: tuple[float, float]) -> LineString:
    """A curve around the pit's centre, from one angle (radians) and share of the radius to another."""
    turn, share = np.linspace(*turns, 40), np.linspace(*out, 40)
    x = pit.x + np.cos(turn) * share * pit.radius_x
    return LineString(np.stack([x, pit.y + np.sin(turn) * share * pit.radius_y], axis=1))


def _put_heaps(canvas: Canvas, pit: Blob, rng: np.random.Generator) -> None:
    """Pile cones of gravel on the benches, with machines beside them."""
    for _ in range(26):
        turn, out = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 0.85)
        size = rng.uniform(6, 13)
        x, y = pit.x + math.cos(turn) * out * pit.radius_x, pit.y + math.sin(turn) * out * pit.radius_y
        heap = Frame(x, y, size * 2, size * 2)
        window = canvas.window(heap.polygon(2))
        u, v = heap.to_uv(*canvas.xy(window))
        cone = np.clip(1 - np.hypot(u, v) / np.float32(size), 0, 1).astype(np.float32)
        canvas.height[window] += cone * np.float32(size * 0.6)
        canvas.paint(window, ROCK * np.float32(rng.uniform(0.8, 1.12)), smooth_step(cone, 0, 0.15))
        if rng.random() < 0.5:
            put_block(canvas, heap.part(size + 5, 0, 7, 3.4, rng.uniform(0, 3)), MACHINE)


def _put_crusher(canvas: Canvas, pit: Blob) -> None:
    """Put a crusher with its conveyor belts and a shed near the southern rim."""
    yard = Frame(pit.x + pit.radius_x * 0.42, pit.y + pit.radius_y * 0.62, 60, 40, 0.4)
    for u, v, long, wide in ((0, 0, 22, 12), (-22, 6, 30, 2.5), (20, -10, 34, 2.5), (16, 12, 12, 9)):
        put_block(canvas, yard.part(u, v, long, wide), ASPHALT * np.float32(1.2))
