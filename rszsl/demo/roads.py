"""Roads with verges, markings and traffic."""

import numpy as np
from shapely import LineString, unary_union

from rszsl.demo.canvas import Canvas, heading, put_block
from rszsl.demo.colours import ASPHALT, CARS, GRASS, MARKING, SAND
from rszsl.demo.layout import Plan

MAIN_HALF, SIDE_HALF = 4.8, 3.4
"""Metres from a road's middle to its edge."""


def paint_roads(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint the main road, the side road and the solar farm's access track."""
    verge = unary_union([plan.main_road.buffer(9), plan.side_road.buffer(6)])
    canvas.fill(verge, GRASS * np.float32(1.02), rng, mottle=0.1, opacity=0.9)
    canvas.fill(plan.solar_road.buffer(2.6), SAND, rng, mottle=0.08)
    for line, half in ((plan.side_road, SIDE_HALF), (plan.main_road, MAIN_HALF)):
        canvas.fill(line.buffer(half + 0.9), SAND * np.float32(0.9), rng)
        canvas.fill(line.buffer(half), ASPHALT, rng, mottle=0.04)
        _mark(canvas, line, half, rng)
        _drive(canvas, line, half, rng)


def _mark(canvas: Canvas, line: LineString, half: float, rng: np.random.Generator) -> None:
    """Paint both edge lines and a dashed middle line."""
    edges = [line.offset_curve(side * (half - 0.5)).buffer(0.2) for side in (-1, 1)]
    dashes = [heading(line, at).part(2, 0, 4, 0.5).polygon() for at in np.arange(0, line.length - 4, 12)]
    canvas.fill(unary_union(edges), MARKING, rng, opacity=0.9)
    canvas.fill(unary_union(dashes), MARKING, rng)


def _drive(canvas: Canvas, line: LineString, half: float, rng: np.random.Generator) -> None:
    """Put a car or a lorry on the road every 70-160 m."""
    at = 30.0
    while at < line.length - 10:
        long, wide = (12.0, 2.6) if rng.random() < 0.15 else (4.6, 2.0)
        place = heading(line, at).part(0, rng.choice([-1, 1]) * half * 0.45, long, wide)
        put_block(canvas, place, CARS[rng.integers(len(CARS))], 1.5)
        at += rng.uniform(70, 160)
