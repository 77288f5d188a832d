"""What people build: roads, houses and their gardens, warehouses and their yards, and solar farms."""

import math

import numpy as np
from shapely import LineString, MultiLineString, unary_union
from shapely.geometry.base import BaseGeometry

from rszsl.demo.canvas import Canvas, Frame, block_cover, put_block
from rszsl.demo.fields import DRY_GRASS, GRASS, SAND
from rszsl.demo.layout import Plan
from rszsl.demo.plants import BROADLEAF, SCRUB, Stand, plant
from rszsl.demo.textures import Floats, fractal, rgb, smooth_step

ASPHALT, OLD_ASPHALT, CONCRETE = rgb(116, 116, 116), rgb(134, 131, 126), rgb(172, 168, 160)
MARKING = rgb(214, 214, 208)
LAWNS = np.stack([rgb(106, 118, 78), rgb(118, 124, 84), rgb(96, 110, 70), rgb(132, 130, 92), rgb(112, 116, 84)])
ROOFS = np.stack(
    [rgb(146, 92, 74), rgb(134, 82, 68), rgb(158, 108, 86), rgb(112, 94, 82), rgb(122, 120, 120), rgb(92, 90, 92)]
)
HALLS = np.stack(
    [rgb(206, 206, 204), rgb(188, 192, 194), rgb(168, 170, 170), rgb(222, 220, 214), rgb(140, 152, 166), rgb(164, 152, 138)]
)
CARS = np.stack([rgb(216, 216, 214), rgb(60, 62, 66), rgb(128, 130, 134), rgb(178, 180, 182), rgb(120, 50, 48), rgb(64, 80, 112)])
PANEL, PANEL_LIGHT = rgb(50, 58, 80), rgb(84, 96, 124)
POOL = rgb(110, 176, 190)
STREET_M, LOT_M = 64.0, 20.0


def paint_roads(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint the main road, the side road and the access track, with verges and markings."""
    verge = unary_union([plan.main_road.buffer(9), plan.side_road.buffer(6)])
    canvas.fill(verge, GRASS * np.float32(1.02), rng=rng, mottle=0.1, opacity=0.9)
    canvas.fill(plan.solar_road.buffer(2.6), SAND, rng=rng, mottle=0.08)
    for line, half in ((plan.side_road, 3.4), (plan.main_road, 4.8)):
        canvas.fill(line.buffer(half + 0.9), SAND * np.float32(0.9), rng=rng)
        canvas.fill(line.buffer(half), ASPHALT, rng=rng, mottle=0.04)
        edges = unary_union([line.offset_curve(s * (half - 0.5)).buffer(0.2) for s in (-1, 1)])
        canvas.fill(edges, MARKING, rng=rng, opacity=0.9)
        dashes = [line.interpolate(d).buffer(0.01).union(line.interpolate(d + 4)).convex_hull for d in np.arange(0, line.length, 12)]
        canvas.fill(unary_union([d.buffer(0.25) for d in dashes]), MARKING, rng=rng)
        _traffic(canvas, line, half, rng)


def _traffic(canvas: Canvas, line: LineString, half: float, rng: np.random.Generator) -> None:
    """Put a vehicle on the road every 70-160 m."""
    at = 30.0
    while at < line.length - 10:
        here, ahead = line.interpolate(at), line.interpolate(at + 1)
        road = Frame(here.x, here.y, 0, 0, math.atan2(ahead.y - here.y, ahead.x - here.x))
        long, wide = (12.0, 2.6) if rng.random() < 0.15 else (4.6, 2.0)
        colour = CARS[rng.integers(len(CARS))]
        put_block(canvas, road.part(0, rng.choice([-1, 1]) * half * 0.45, long, wide), colour, eave=1.5)
        at += rng.uniform(70, 160)


def paint_town(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint a suburb: curved streets, lots with lawns, gabled houses, drives, hedges and garden trees."""
    town = plan.town
    canvas.fill(town.polygon(), GRASS, rng=rng, mottle=0.12)
    rows = np.arange(STREET_M / 2 - town.height / 2, town.height / 2 - STREET_M / 4, STREET_M)
    crosses = np.linspace(-town.width / 2 + 6, town.width / 2 - 6, max(2, round(town.width / 230) + 1))
    lines = [_street(town, [(u, v) for u in np.linspace(crosses[0], crosses[-1], 60)]) for v in rows]
    lines += [_street(town, [(u, v) for v in np.linspace(rows[0], rows[-1], 40)]) for u in crosses]
    for row in rows:
        for left, right in zip(crosses[:-1], crosses[1:], strict=True):
            for side in (-1, 1):
                _lots(canvas, town, row, (left + 8, right - 8), side, rng)
    streets = MultiLineString([s.coords for s in lines])
    canvas.fill(streets.buffer(4.6), CONCRETE * np.float32(0.92), rng=rng, mottle=0.06)
    canvas.fill(streets.buffer(3.3), OLD_ASPHALT, rng=rng, mottle=0.06)
    _parked(canvas, lines, rng)
    trees = town.polygon(-3).difference(streets.buffer(4.2))
    ground = canvas.height[canvas.window(trees, 4.4 * 1.5)] < 0.5
    plant(canvas, trees, Stand(9.5, 4.4, 8.5, 0.42, BROADLEAF), rng, keep=ground.astype(np.float32))


def _bend(town: Frame, u: float, v: float) -> tuple[float, float]:
    """Move a point of the street grid so that the streets curve gently (local metres)."""
    return u + 7 * math.sin(v / 95), v + 13 * math.sin(u / 120 + v / 400)


def _street(town: Frame, points: list[tuple[float, float]]) -> LineString:
    return LineString([town.to_xy(*_bend(town, u, v)) for u, v in points])


def _lots(canvas: Canvas, town: Frame, row: float, ends: tuple[float, float], side: int, rng: np.random.Generator) -> None:
    """Fill one side of one street block with lots."""
    count = max(1, round((ends[1] - ends[0]) / LOT_M))
    width = (ends[1] - ends[0]) / count
    depth = STREET_M / 2 - 4.5
    for index in range(count):
        u, v = ends[0] + (index + 0.5) * width, row + side * (4.5 + depth / 2)
        turn = math.atan(13 / 120 * math.cos(u / 120 + v / 400))
        _lot(canvas, Frame(*town.to_xy(*_bend(town, u, v)), width, depth, town.angle + turn), side, rng)


def _lot(canvas: Canvas, lot: Frame, side: int, rng: np.random.Generator) -> None:
    """Paint one lot; `side` is where its back garden lies along its v axis (1 or -1)."""
    lawn = LAWNS[rng.integers(len(LAWNS))] * np.float32(rng.uniform(0.9, 1.1))
    put_block(canvas, lot.part(0, 0, lot.width - 0.6, lot.height), lawn, eave=0.0)
    if rng.random() < 0.55:
        put_block(canvas, lot.part(lot.width / 2, 0, 1.5, lot.height - 3), BROADLEAF[1], eave=1.7)
    shift, long, deep = rng.uniform(-2, 2), rng.uniform(10, 14), rng.uniform(8, 10.5)
    street = -side * (lot.height / 2 - 6 - deep / 2)
    drive = lot.width / 2 - 3
    put_block(canvas, lot.part(drive, -side * (lot.height / 2 - 7), 3.2, 14), CONCRETE, eave=0.0)
    put_block(canvas, lot.part(shift - 1.5, street + side * (deep / 2 + 2), 6, 4), CONCRETE * 0.95, eave=0.0)
    put_block(canvas, lot.part(drive, street + side * 4, 3.6, 6.5), ROOFS[4] * 1.1, eave=2.6)
    roof = ROOFS[rng.integers(len(ROOFS))] * np.float32(rng.uniform(0.9, 1.12))
    house = lot.part(shift - 1.5, street, long, deep) if rng.random() < 0.65 else lot.part(shift - 1.5, street, deep, long, math.pi / 2)
    put_block(canvas, house, roof, eave=4.2, ridge=rng.uniform(6.8, 8.2))
    if rng.random() < 0.1:
        put_block(canvas, lot.part(-3, side * (lot.height / 2 - 6), 7.5, 3.8), POOL, eave=0.0)
    elif rng.random() < 0.4:
        put_block(canvas, lot.part(-lot.width / 2 + 3, side * (lot.height / 2 - 3), 3.5, 3), ROOFS[3], eave=2.2)


def _parked(canvas: Canvas, lines: list[LineString], rng: np.random.Generator) -> None:
    """Park cars along the kerbs."""
    for line in lines:
        for at in np.arange(12, line.length - 12, 14):
            if rng.random() < 0.3:
                here, ahead = line.interpolate(at), line.interpolate(at + 1)
                kerb = Frame(here.x, here.y, 0, 0, math.atan2(ahead.y - here.y, ahead.x - here.x))
                colour = CARS[rng.integers(len(CARS))]
                put_block(canvas, kerb.part(0, rng.choice([-2.3, 2.3]), 4.5, 1.9), colour, eave=1.4)


def paint_works(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint an industrial estate: plots of halls, yards and car parks between wide streets."""
    works = plan.works
    canvas.fill(works.polygon(), OLD_ASPHALT, rng=rng, mottle=0.08)
    cols, rows = max(1, round(works.width / 250)), max(1, round(works.height / 200))
    width, height = works.width / cols, works.height / rows
    for row in range(rows):
        for col in range(cols):
            u, v = (col + 0.5) * width - works.width / 2, (row + 0.5) * height - works.height / 2
            _plot(canvas, works.part(u, v, width - 13, height - 13), rng)
    plant(canvas, works.polygon(2).difference(works.polygon(-6)), Stand(10, 4, 8, 0.5, BROADLEAF), rng)


def _plot(canvas: Canvas, plot: Frame, rng: np.random.Generator) -> None:
    """Paint one plot: a verge, a yard, one to three halls, and a car park or lorries and containers."""
    canvas.fill(plot.polygon(), GRASS, rng=rng, mottle=0.1)
    ground = (ASPHALT, OLD_ASPHALT, CONCRETE)[rng.integers(3)]
    canvas.fill(plot.polygon(-5), ground * np.float32(rng.uniform(0.95, 1.1)), rng=rng, mottle=0.12)
    flip = 1 if rng.random() < 0.5 else -1
    depth = plot.height - 20
    if rng.random() < 0.55:
        _hall(canvas, plot.part(flip * plot.width * 0.13, -4, plot.width * 0.6, depth * 0.78), rng)
    else:
        for v in (-0.27, 0.27):
            _hall(canvas, plot.part(flip * plot.width * 0.12, v * depth, plot.width * rng.uniform(0.45, 0.6), depth * 0.4), rng)
    side = plot.part(-flip * plot.width * 0.33, 0, plot.width * 0.24, depth)
    if rng.random() < 0.6:
        _car_park(canvas, side, rng)
    else:
        _storage(canvas, side, rng)
    _lorries(canvas, plot.part(flip * plot.width * 0.13, plot.height / 2 - 14, plot.width * 0.55, 16), rng)


def _hall(canvas: Canvas, hall: Frame, rng: np.random.Generator) -> None:
    """Put a flat-roofed hall down, with a parapet, roof lights and air handling units."""
    height = rng.uniform(8, 12)
    roof = HALLS[rng.integers(len(HALLS))]
    put_block(canvas, hall, roof * np.float32(0.82), eave=height + 0.8)
    put_block(canvas, hall.part(0, 0, hall.width - 3, hall.height - 3), roof, eave=height, ribs=0.03)
    for v in np.arange(-hall.height / 2 + 9, hall.height / 2 - 6, 15):
        if rng.random() < 0.85:
            for u in np.arange(-hall.width / 2 + 8, hall.width / 2 - 6, 12):
                put_block(canvas, hall.part(u, v, 5.5, 1.9), roof * np.float32(0.75) + np.float32(0.02), eave=height + 0.4)
    for _ in range(rng.integers(2, 7)):
        u, v = rng.uniform(-0.4, 0.4, 2) * (hall.width, hall.height)
        put_block(canvas, hall.part(u, v, rng.uniform(3, 7), rng.uniform(2.5, 4)), HALLS[2] * 0.9, eave=height + 2.2)


def _car_park(canvas: Canvas, lot: Frame, rng: np.random.Generator) -> None:
    """Rows of parked cars on asphalt, 2.6 m a bay."""
    put_block(canvas, lot, ASPHALT, eave=0.0)
    for u in np.arange(-lot.width / 2 + 5, lot.width / 2 - 3, 8.5):
        put_block(canvas, lot.part(u + 2.6, 0, 0.4, lot.height - 6), MARKING * 0.9, eave=0.0)
        for v in np.arange(-lot.height / 2 + 5, lot.height / 2 - 4, 2.7):
            if rng.random() < 0.68:
                put_block(canvas, lot.part(u, v, 4.5, 1.9), CARS[rng.integers(len(CARS))], eave=1.4)


def _storage(canvas: Canvas, yard: Frame, rng: np.random.Generator) -> None:
    """Stacks of containers and pallets."""
    put_block(canvas, yard, CONCRETE * np.float32(0.95), eave=0.0)
    for u in np.arange(-yard.width / 2 + 9, yard.width / 2 - 6, 16):
        for v in np.arange(-yard.height / 2 + 6, yard.height / 2 - 4, 3.2):
            if rng.random() < 0.55:
                tint = (ROOFS, HALLS, CARS)[rng.integers(3)]
                put_block(canvas, yard.part(u, v, 12, 2.5), tint[rng.integers(len(tint))], eave=2.6)


def _lorries(canvas: Canvas, dock: Frame, rng: np.random.Generator) -> None:
    """Trailers backed up to a hall's dock."""
    for u in np.arange(-dock.width / 2 + 3, dock.width / 2 - 3, 5.2):
        if rng.random() < 0.5:
            put_block(canvas, dock.part(u, rng.uniform(-1, 1), 2.7, 13), CARS[rng.choice([0, 0, 3, 5])], eave=3.6)


def paint_solar(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint a solar farm: rows of dark panels over dry grass, service lanes, huts, a fence and its track."""
    farm = plan.solar
    window = canvas.window(farm.polygon(6))
    u, v = farm.to_uv(*canvas.xy(window))
    patches = fractal(u.shape, 60 / canvas.gsd, rng, 4)
    grass = (DRY_GRASS + (GRASS - DRY_GRASS) * np.float32(0.45))[:, None, None] * (1 + np.float32(0.12) * patches)
    canvas.paint(window, grass, block_cover(farm, u, v, canvas.gsd))
    lanes = [farm.part(at, 0, 5, farm.height - 16) for at in (-farm.width / 2 + 10, 0, farm.width / 2 - 10)]
    lanes += [farm.part(0, at, farm.width - 16, 5) for at in (-farm.height / 2 + 10, 0, farm.height / 2 - 10)]
    for lane in lanes:
        canvas.fill(lane.polygon(), SAND * np.float32(0.95), rng=rng, mottle=0.1, opacity=0.85)
    for half in (-1, 1):
        for row in (-1, 1):
            block = farm.part(half * farm.width / 4, row * farm.height / 4, farm.width / 2 - 24, farm.height / 2 - 24)
            _panels(canvas, block, rng)
            put_block(canvas, block.part(-half * (block.width / 2 + 7), row * 20, 4, 9), CONCRETE * np.float32(1.15), eave=2.8)
    canvas.fill(farm.polygon(-2).boundary.buffer(0.45), rgb(96, 98, 90), rng=rng, opacity=0.7)
    plant(canvas, farm.polygon(1).difference(farm.polygon(-1)), Stand(6, 2.4, 2.5, 0.5, SCRUB), rng)


def _panels(canvas: Canvas, block: Frame, rng: np.random.Generator) -> None:
    """Fill a block with rows of panels 7.6 m apart, each table 4.4 m deep and 30 m long."""
    window = canvas.window(block.polygon(4))
    u, v = block.to_uv(*canvas.xy(window))
    pitch, depth, table = np.float32(7.6), np.float32(4.4), np.float32(30)
    row = v % pitch - pitch / 2
    gap = np.abs(u % table - table / 2)
    alpha = np.clip((depth / 2 - np.abs(row)) / canvas.gsd + 0.5, 0, 1) * np.clip((table / 2 - 0.5 - gap) / canvas.gsd + 0.5, 0, 1)
    alpha *= block_cover(block, u, v, canvas.gsd)
    tones = rng.normal(0, 0.06, (64, 64)).astype(np.float32)
    tone = tones[(v // pitch).astype(np.intp) % 64, (u // table).astype(np.intp) % 64]
    shine = smooth_step(row / depth, -0.5, 0.6) * np.float32(0.35) + np.float32(0.12) + tone
    colour: Floats = PANEL[:, None, None] + (PANEL_LIGHT - PANEL)[:, None, None] * shine
    canvas.paint(window, colour, alpha.astype(np.float32))
    canvas.height[window] += np.where(alpha > 0.5, np.float32(1.6), 0)
