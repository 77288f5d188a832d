"""The industrial area: halls, yards, car parks, containers and lorries."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from shapely import Point, shortest_line

from rszsl.demo.canvas import Canvas, Frame, put_block
from rszsl.demo.colours import ASPHALT, BROADLEAF, CARS, CONCRETE, GRASS, HALLS, MARKING, OLD_ASPHALT, ROOFS
from rszsl.demo.layout import Plan
from rszsl.demo.plants import Stand, plant

STREET_M = 13.0
EDGE_TREES = Stand(10, 4, 8, 0.5, BROADLEAF)


def paint_works(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint an industrial estate: plots between wide streets, a link to the main road, trees on the edge."""
    works = plan.works
    gate = Point(works.to_xy(0, -works.height / 2 + 5))
    canvas.fill(shortest_line(gate, plan.main_road).buffer(5), OLD_ASPHALT, rng)
    canvas.fill(works.polygon(), OLD_ASPHALT, rng, mottle=0.08)
    cols = _cut(works.width, 250, rng)
    for left, right in pairwise(cols):
        rows = _cut(works.height, 190, rng)
        for top, bottom in pairwise(rows):
            middle = (left + right) / 2, (top + bottom) / 2
            _paint_plot(canvas, works.part(*middle, right - left - STREET_M, bottom - top - STREET_M), rng)
    plant(canvas, works.polygon(2).difference(works.polygon(-6)), EDGE_TREES, rng)


def _cut(length: float, step: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cut `length`, centred on 0, into pieces of about `step` metres."""
    sizes = rng.uniform(0.75, 1.25, max(1, round(length / step)))
    cuts: NDArray[np.float64] = np.concatenate([[0], np.cumsum(sizes)]) / sizes.sum() * length - length / 2
    return cuts


def _paint_plot(canvas: Canvas, plot: Frame, rng: np.random.Generator) -> None:
    """Paint one plot: a verge, a yard, one or two halls, a car park or a store, and lorries at the dock."""
    canvas.fill(plot.polygon(), GRASS, rng, mottle=0.1)
    ground = (ASPHALT, OLD_ASPHALT, CONCRETE)[rng.integers(3)] * np.float32(rng.uniform(0.95, 1.1))
    canvas.fill(plot.polygon(-5), ground, rng, mottle=0.14)
    flip, depth = rng.choice([-1, 1]), plot.height - 20
    if rng.random() < 0.5:
        _put_hall(canvas, plot.part(flip * plot.width * 0.13, -4, plot.width * 0.6, depth * 0.78), rng)
    else:
        for v in (-0.27, 0.27):
            wide = plot.width * rng.uniform(0.45, 0.6)
            _put_hall(canvas, plot.part(flip * plot.width * 0.12, v * depth, wide, depth * 0.4), rng)
    side = plot.part(-flip * plot.width * 0.33, 0, plot.width * 0.24, depth)
    (_paint_car_park if rng.random() < 0.55 else _paint_store)(canvas, side, rng)
    _put_lorries(canvas, plot.part(flip * plot.width * 0.13, plot.height / 2 - 14, plot.width * 0.55, 16), rng)


def _put_hall(canvas: Canvas, hall: Frame, rng: np.random.Generator) -> None:
    """Put a flat-roofed hall down, in one or two builds, with a parapet, roof lights and ventilation."""
    height, share = rng.uniform(8, 12), rng.choice([1.0, 1.0, 0.7, 0.55])
    for part in (share, 1 - share):
        if part > 0:
            middle = (part - 1) / 2 if part == share else (1 - part) / 2
            _put_roof(canvas, hall.part(middle * hall.width, 0, hall.width * part, hall.height), height, rng)
            height -= rng.uniform(1.5, 3)


def _put_roof(canvas: Canvas, roof: Frame, height: float, rng: np.random.Generator) -> None:
    """Put down one flat roof."""
    colour = HALLS[rng.integers(len(HALLS))] * np.float32(rng.uniform(0.88, 1.04))
    put_block(canvas, roof, colour * np.float32(0.82), height + 0.8)
    put_block(canvas, roof.part(0, 0, roof.width - 3, roof.height - 3), colour, height)
    for u in np.arange(6 - roof.width / 2, roof.width / 2 - 4, 6):
        put_block(canvas, roof.part(u, 0, 0.5, roof.height - 3), colour * np.float32(rng.uniform(0.86, 0.97)))
    if rng.random() < 0.75:
        for v in np.arange(9 - roof.height / 2, roof.height / 2 - 6, rng.uniform(12, 20)):
            for u in np.arange(8 - roof.width / 2, roof.width / 2 - 6, 12):
                put_block(canvas, roof.part(u, v, 5.5, 1.9), colour * np.float32(0.76), height + 0.4)
    for _ in range(rng.integers(2, 7)):
        u, v = rng.uniform(-0.4, 0.4, 2) * (roof.width, roof.height)
        put_block(canvas, roof.part(u, v, *rng.uniform(2.5, 6, 2)), HALLS[2] * np.float32(0.9), height + 2.2)


def _paint_car_park(canvas: Canvas, lot: Frame, rng: np.random.Generator) -> None:
    """Paint rows of parked cars on asphalt, 2.7 m a bay."""
    put_block(canvas, lot, ASPHALT)
    for u in np.arange(5 - lot.width / 2, lot.width / 2 - 3, 8.5):
        put_block(canvas, lot.part(u + 2.6, 0, 0.4, lot.height - 6), MARKING * np.float32(0.9))
        for v in np.arange(5 - lot.height / 2, lot.height / 2 - 4, 2.7):
            if rng.random() < 0.65:
                put_block(canvas, lot.part(u, v, 4.5, 1.9), CARS[rng.integers(len(CARS))], 1.4)


def _paint_store(canvas: Canvas, yard: Frame, rng: np.random.Generator) -> None:
    """Paint a concrete yard with stacks of containers and goods."""
    put_block(canvas, yard, CONCRETE * np.float32(0.95))
    for u in np.arange(9 - yard.width / 2, yard.width / 2 - 6, 16):
        for v in np.arange(6 - yard.height / 2, yard.height / 2 - 4, 3.2):
            if rng.random() < 0.5:
                tints = (ROOFS, HALLS, CARS)[rng.integers(3)]
                put_block(canvas, yard.part(u, v, 12, 2.5), tints[rng.integers(len(tints))], 2.6)


def _put_lorries(canvas: Canvas, dock: Frame, rng: np.random.Generator) -> None:
    """Back trailers up to a hall's dock."""
    for u in np.arange(3 - dock.width / 2, dock.width / 2 - 3, 5.2):
        if rng.random() < 0.45:
            trailer = dock.part(u, rng.uniform(-1, 1), 2.7, 13)
            put_block(canvas, trailer, CARS[rng.choice([0, 0, 3, 5])], 3.6)
