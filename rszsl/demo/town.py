"""The residential area: curved streets of gabled houses in gardens."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from shapely import LineString, MultiLineString, Point, shortest_line

from rszsl.demo.canvas import Canvas, Frame, heading, put_block
from rszsl.demo.colours import BROADLEAF, CARS, CONCRETE, GRASS, LAWNS, OLD_ASPHALT, POOL, ROOFS
from rszsl.demo.layout import Plan
from rszsl.demo.plants import Stand, plant

STREET_M, LOT_M, BLOCK_M = 64.0, 20.0, 230.0
"""Metres between streets, a lot's width along the street, and between cross streets."""
KERB = 4.5
GARDEN_TREES = Stand(9.5, 4.3, 8.0, 0.42, BROADLEAF * np.float32(1.06))


def paint_town(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint a suburb: lots with houses first, then the streets between them, parked cars and garden trees."""
    canvas.fill(plan.town_limit, GRASS, rng, mottle=0.12)
    rows, crosses = _grid(plan.town)
    for row in rows:
        for left, right in pairwise(crosses):
            for side in (-1, 1):
                _put_lots(canvas, plan, row, (left + 8, right - 8), side, rng)
    streets = _streets(plan, rows, crosses)
    canvas.fill(streets.buffer(KERB), CONCRETE * np.float32(0.92), rng, mottle=0.06)
    canvas.fill(streets.buffer(3.3), OLD_ASPHALT, rng, mottle=0.06)
    _park(canvas, streets, rng)
    gardens = plan.town_limit.buffer(-3).difference(streets.buffer(KERB))
    plant(canvas, gardens, GARDEN_TREES, rng, keep=(canvas.height < 0.5).astype(np.float32))


def _grid(town: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where streets run along u (their v) and cross streets along v (their u), in the town's metres."""
    count = max(1, int(town.height / STREET_M))
    rows = (np.arange(count, dtype=np.float64) - (count - 1) / 2) * STREET_M
    edge = town.width / 2 - 6
    return rows, np.linspace(-edge, edge, max(2, round(town.width / BLOCK_M) + 1))


def _bend(u: float, v: float) -> tuple[float, float]:
    """Move a point of the street grid so that the streets curve."""
    return u + 7 * math.sin(v / 95), v + 13 * math.sin(u / 120 + v / 400)


def _streets(plan: Plan, rows: NDArray[np.float64], crosses: NDArray[np.float64]) -> MultiLineString:
    """All streets inside the town's limit, and the link to the main road."""
    along = [[(u, v) for u in np.linspace(crosses[0], crosses[-1], 60)] for v in rows]
    across = [[(u, v) for v in np.linspace(rows[0], rows[-1], 40)] for u in crosses]
    lines = [LineString([plan.town.to_xy(*_bend(u, v)) for u, v in points]) for points in along + across]
    inside = MultiLineString(lines).intersection(plan.town_limit.buffer(-8))
    exit_point = Point(plan.town.to_xy(*_bend(crosses[len(crosses) // 2], rows[-1])))
    parts = [part for part in getattr(inside, "geoms", [inside]) if part.length > 0]
    return MultiLineString([*parts, shortest_line(exit_point, plan.main_road)])


def _put_lots(
    canvas: Canvas, plan: Plan, row: float, ends: tuple[float, float], side: int, rng: np.random.Generator
) -> None:
    """Fill one side of one street block with lots, as far as the town's limit."""
    count = max(1, round((ends[1] - ends[0]) / LOT_M))
    width, depth = (ends[1] - ends[0]) / count, STREET_M / 2 - KERB
    for index in range(count):
        u, v = ends[0] + (index + 0.5) * width, row + side * (KERB + depth / 2)
        turn = math.atan(13 / 120 * math.cos(u / 120 + v / 400))
        lot = plan.town.part(*_bend(u, v), width, depth, turn)
        if plan.town_limit.contains(lot.polygon()):
            _paint_garden(canvas, lot, side, rng)
            _put_house(canvas, lot, side, rng)


def _paint_garden(canvas: Canvas, lot: Frame, side: int, rng: np.random.Generator) -> None:
    """Paint a lawn, often a hedge, and sometimes a pool or a shed; `side` (1 or -1) is the back along v."""
    lawn = LAWNS[rng.integers(len(LAWNS))] * np.float32(rng.uniform(0.9, 1.1))
    put_block(canvas, lot.part(0, 0, lot.width - 0.6, lot.height), lawn)
    back = side * lot.height / 2
    if rng.random() < 0.55:
        put_block(canvas, lot.part(lot.width / 2, 0, 1.5, lot.height - 3), BROADLEAF[1], 1.7)
    if rng.random() < 0.1:
        put_block(canvas, lot.part(-3, back - side * 6, 7.5, 3.8), POOL)
    elif rng.random() < 0.4:
        put_block(canvas, lot.part(3 - lot.width / 2, back - side * 3, 3.5, 3), ROOFS[3], 2.2)


def _put_house(canvas: Canvas, lot: Frame, side: int, rng: np.random.Generator) -> None:
    """Put a gabled house near the street, with a terrace, a drive and a garage."""
    shift, long, deep = rng.uniform(-3.5, 0.5), rng.uniform(10, 14), rng.uniform(8, 10.5)
    middle, drive = -side * (lot.height / 2 - 6 - deep / 2), lot.width / 2 - 3
    put_block(canvas, lot.part(drive, -side * (lot.height / 2 - 7), 3.2, 14), CONCRETE)
    put_block(canvas, lot.part(shift, middle + side * (deep / 2 + 2), 6, 4), CONCRETE * np.float32(0.95))
    put_block(canvas, lot.part(drive, middle + side * 4, 3.6, 6.5), ROOFS[4] * np.float32(1.1), 2.6)
    house = lot.part(shift, middle, long, deep)
    if rng.random() < 0.35:
        house = lot.part(shift, middle, deep, long, math.pi / 2)
    roof = ROOFS[rng.integers(len(ROOFS))] * np.float32(rng.uniform(0.9, 1.12))
    put_block(canvas, house, roof, 4.2, ridge=rng.uniform(6.8, 8.2))


def _park(canvas: Canvas, streets: MultiLineString, rng: np.random.Generator) -> None:
    """Park cars along the kerbs."""
    for line in streets.geoms:
        for at in np.arange(12, line.length - 12, 14):
            if rng.random() < 0.3:
                place = heading(line, at).part(0, rng.choice([-2.3, 2.3]), 4.5, 1.9)
                put_block(canvas, place, CARS[rng.integers(len(CARS))], 1.4)
