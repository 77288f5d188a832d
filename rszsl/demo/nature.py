"""Forest, lake and quarry."""

import numpy as np
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from rszsl.demo.canvas import Canvas, Frame, Window, put_block
from rszsl.demo.fields import SAND, SOIL
from rszsl.demo.layout import Plan
from rszsl.demo.plants import BROADLEAF, CONIFER, SCRUB, Stand, plant
from rszsl.demo.textures import Blob, Floats, fractal, grain, mix, rgb, smooth_step

FLOOR = rgb(66, 66, 46)
DEEP, SHALLOW = rgb(56, 76, 78), rgb(98, 110, 92)
ROCK, FACE, RAMP = rgb(204, 196, 176), rgb(156, 146, 128), rgb(214, 206, 188)
POND, POND_EDGE = rgb(96, 146, 146), rgb(150, 182, 170)
BENCH_M, BENCHES = 9.0, 4
MACHINE = rgb(196, 160, 70)


def paint_forest(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint the forest floor, a ride and a clearing, and plant broadleaf and conifer stands."""
    window = canvas.window(plan.forest, 10)
    canvas.fill(plan.forest.buffer(4), FLOOR, rng=rng, mottle=0.2)
    left, top, right, bottom = plan.forest.bounds
    ride = LineString([(left, top + (bottom - top) * 0.62), (left + (right - left) * 0.45, top + (bottom - top) * 0.5), (right, top + 20)])
    canvas.fill(ride.buffer(2.5).intersection(plan.forest), SOIL * np.float32(0.9), rng=rng)
    wood = plan.forest.difference(ride.buffer(4.5))
    kind = fractal(canvas.height[window].shape, 260 / canvas.gsd, rng, 3)
    _stand(canvas, wood, Stand(7.4, 5.6, 19, 0.96, BROADLEAF * np.float32(0.9)), kind > -0.12, rng)
    _stand(canvas, wood, Stand(5.2, 3.6, 22, 0.95, CONIFER), kind <= -0.12, rng)


def _stand(canvas: Canvas, wood: BaseGeometry, stand: Stand, where: Floats, rng: np.random.Generator) -> None:
    """Plant one kind of tree where `where` (its own window, margin 10 m) is set."""
    outer, inner = canvas.window(wood, 10), canvas.window(wood, stand.radius * 1.5)
    rows, cols = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    plant(canvas, wood, stand, rng, keep=where[rows, cols].astype(np.float32))


def paint_lake(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint a shore of sand, reeds and trees, and water that darkens and clears with depth."""
    lake = plan.lake
    window = canvas.window(lake.polygon(1.12), 5)
    x, y = canvas.xy(window)
    cloud = fractal((y.size, x.size), 240 / canvas.gsd, rng, 4)
    shore = fractal((y.size, x.size), 40 / canvas.gsd, rng, 3)
    reach = lake.reach(x, y) + np.float32(0.012) * shore
    canvas.paint(window, SAND * 0.97, smooth_step(-np.abs(reach - np.float32(1.0)), -0.035, -0.02) * np.clip(0.7 + shore, 0.15, 1))
    depth = smooth_step(1 - reach + np.float32(0.05) * cloud, 0.0, 0.3)
    water = mix(SHALLOW, DEEP, depth) * (1 + np.float32(0.07) * cloud)
    ripples = grain(water.shape[1:], 1.1, rng) * np.float32(0.02) + np.float32(0.02) * shore
    canvas.paint(window, water * (1 + ripples), smooth_step(-reach, -0.992, -0.98))
    _shore_plants(canvas, lake, window, shore, rng)
    _jetty(canvas, lake, rng)


def _shore_plants(canvas: Canvas, lake: Blob, window: Window, shore: Floats, rng: np.random.Generator) -> None:
    reach = lake.reach(*canvas.xy(window))
    reeds = smooth_step(-np.abs(reach - np.float32(0.975)), -0.02, -0.008) * (shore > 0.15)
    canvas.paint(window, rgb(116, 118, 78), reeds.astype(np.float32) * np.float32(0.85))
    belt = lake.polygon(1.07).difference(lake.polygon(1.025))
    inner = canvas.window(belt, 5.2 * 1.5)
    keep = (fractal(canvas.height[inner].shape, 120 / canvas.gsd, rng, 3) > -0.05).astype(np.float32)
    plant(canvas, belt, Stand(7.5, 5.2, 13, 0.8, BROADLEAF), rng, keep=keep)


def _jetty(canvas: Canvas, lake: Blob, rng: np.random.Generator) -> None:
    """Put three jetties with moored boats on the eastern shore."""
    for angle in (-0.25, -0.05, 0.2):
        outline = lake.polygon(0.965).exterior
        tip = outline.interpolate((angle % 1.0) * 0.15 + (0.0 if angle >= 0 else 0.8), normalized=True)
        put_block(canvas, Frame(tip.x, tip.y, 34, 2.6, 0.2), rgb(150, 140, 122), eave=0.8)
        for side in range(6):
            put_block(canvas, Frame(tip.x - 14 + 5 * side, tip.y + rng.choice([-4, 4]), 2.4, 6.0, 0.2), rgb(206, 206, 202), eave=0.9)


def paint_quarry(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Dig benches into pale rock, with a ramp, a turquoise pond, heaps and machines; scrub around the rim."""
    pit = plan.quarry
    window = canvas.window(pit.polygon(1.1), 5)
    x, y = canvas.xy(window)
    shape = (y.size, x.size)
    rough, fine = fractal(shape, 70 / canvas.gsd, rng, 4), fractal(shape, 9, rng, 3)
    reach = pit.reach(x, y)
    steps = (1 - (reach + np.float32(0.05) * rough)) * np.float32(5.2)
    level, face = _benches(steps)
    canvas.height[window] -= (level * np.float32(BENCH_M) + fine * np.float32(0.5)) * (reach < 1)
    rock = mix(ROCK, FACE, np.clip(face * 0.8 + 0.25 * rough + 0.3 * fine, 0, 1))
    rock *= 1 + np.float32(0.05) * grain(shape, 0.8, rng)
    rock = rock + (SOIL[:, None, None] * np.float32(1.15) - rock) * smooth_step(reach + np.float32(0.12) * rough, 0.84, 0.97) * 0.8
    canvas.paint(window, rock, smooth_step(-reach + np.float32(0.03) * rough, -1.0, -0.97))
    _pond(canvas, pit, window, rough)
    _heaps(canvas, pit, rng)
    _quarry_rim(canvas, plan, rng)


def _benches(steps: Floats) -> tuple[Floats, Floats]:
    """Turn a slope into terraces: how many benches down, and where a face is (0..1), both (h, w)."""
    steps = np.clip(steps, 0, BENCHES)
    whole = np.floor(steps)
    rise = smooth_step(steps - whole, 0.0, 0.2)
    return np.clip(whole - 1 + rise, 0, None).astype(np.float32), (4 * rise * (1 - rise)).astype(np.float32)


def _pond(canvas: Canvas, pit: Blob, window: Window, rough: Floats) -> None:
    pond = Blob(pit.x - pit.radius_x * 0.1, pit.y + pit.radius_y * 0.1, pit.radius_x * 0.27, pit.radius_y * 0.21, pit.phases, 0.14)
    reach = pond.reach(*canvas.xy(window)) + np.float32(0.08) * rough
    alpha = smooth_step(-reach, -1.02, -0.97)
    canvas.paint(window, ROCK * 0.8, smooth_step(-reach, -1.25, -1.0) * np.float32(0.6))
    canvas.paint(window, mix(POND_EDGE, POND, smooth_step(1 - reach, 0, 0.35)), alpha)
    canvas.lift(window, -BENCH_M * BENCHES, alpha > 0.5)


def _heaps(canvas: Canvas, pit: Blob, rng: np.random.Generator) -> None:
    """Pile cones of gravel on the floor, with machines, a crusher and its belts beside them."""
    for _ in range(16):
        turn, out = rng.uniform(0, 6.3), rng.uniform(0.4, 0.8)
        x, y = pit.x + np.cos(turn) * out * pit.radius_x, pit.y + np.sin(turn) * out * pit.radius_y
        size = rng.uniform(7, 14)
        heap = Frame(float(x), float(y), size * 2, size * 2)
        window = canvas.window(heap.polygon(2))
        away = np.hypot(*heap.to_uv(*canvas.xy(window)))
        cone = np.clip(1 - away / np.float32(size), 0, 1)
        canvas.height[window] += cone * np.float32(size * 0.6)
        canvas.paint(window, ROCK * np.float32(rng.uniform(0.85, 1.08)), smooth_step(cone, 0, 0.15))
        if rng.random() < 0.5:
            put_block(canvas, heap.part(size + 5, 0, 7, 3.4, rng.uniform(0, 3)), MACHINE, eave=0.0)
    plant_yard = Frame(pit.x + pit.radius_x * 0.42, pit.y + pit.radius_y * 0.62, 60, 40, 0.4)
    for u, v, long, wide in ((0, 0, 22, 12), (-22, 6, 30, 2.5), (20, -10, 34, 2.5), (16, 12, 12, 9)):
        put_block(canvas, plant_yard.part(u, v, long, wide), rgb(140, 142, 144), eave=0.0)


def _quarry_rim(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Lay the haul road down into the pit and let scrub grow around it."""
    canvas.fill(plan.haul_road.buffer(6), RAMP, rng=rng, mottle=0.06)
    rim = plan.quarry.polygon(1.04).difference(plan.quarry.polygon(0.95)).difference(plan.haul_road.buffer(12))
    plant(canvas, rim, Stand(7.0, 3.6, 5, 0.5, SCRUB), rng)
