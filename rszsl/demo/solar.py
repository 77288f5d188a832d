"""The solar farm: rows of panel tables that face south."""

from itertools import product

import numpy as np

from rszsl.demo.canvas import Canvas, Frame, band_cover, block_cover, put_block
from rszsl.demo.colours import CONCRETE, DRY_GRASS, FENCE, GRASS, PANEL, PANEL_LIGHT, SAND, SCRUB
from rszsl.demo.layout import Plan
from rszsl.demo.plants import Stand, plant
from rszsl.demo.textures import fractal, mix, smooth_step

PITCH, DEPTH, TABLE = 9.6, 6.2, 26.0
"""Metres from row to row, a table's depth seen from above, and its length."""
PANEL_HEIGHT = 1.6
LANE, BLOCKS = 5.0, 3


def paint_solar(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint four blocks of panels over dry grass, with lanes, inverter huts, a fence and its bushes."""
    farm = plan.solar
    window = canvas.window(farm.polygon(6))
    u, v = farm.to_uv(*canvas.xy(window))
    patches = fractal(u.shape, 60 / canvas.gsd, rng, 4)
    grass = mix(DRY_GRASS, GRASS, np.float32(0.5) + np.float32(0.35) * patches)
    canvas.paint(window, grass, block_cover(farm, u, v, canvas.gsd))
    for lane in _lanes(farm):
        canvas.fill(lane.polygon(), SAND * np.float32(0.92), rng, mottle=0.1, opacity=0.8)
    wide, high = (farm.width - 18) / BLOCKS, (farm.height - 18) / BLOCKS
    for col, row in product(range(BLOCKS), repeat=2):
        block = farm.part((col - BLOCKS / 2 + 0.5) * wide, (row - BLOCKS / 2 + 0.5) * high, wide - 14, high - 12)
        _put_panels(canvas, block, rng)
        put_block(canvas, block.part(-wide / 2 + 3.5, 0, 3.2, 9), CONCRETE * np.float32(1.15), 2.8)
    canvas.fill(farm.polygon(-2).exterior.buffer(0.45), FENCE, rng, opacity=0.7)
    plant(canvas, farm.polygon(1).difference(farm.polygon(-1)), Stand(6, 2.4, 2.5, 0.4, SCRUB), rng)


def _lanes(farm: Frame) -> list[Frame]:
    """The service lanes: around the panels and between the blocks."""
    wide, high = farm.width - 18, farm.height - 18
    shares = np.linspace(-0.5, 0.5, BLOCKS + 1)
    lanes = [farm.part(share * wide, 0, LANE, high) for share in shares]
    return lanes + [farm.part(0, share * high, wide, LANE) for share in shares]


def _put_panels(canvas: Canvas, block: Frame, rng: np.random.Generator) -> None:
    """Fill a block with rows of tables, each table of a slightly different blue."""
    window = canvas.window(block.polygon(4))
    u, v = block.to_uv(*canvas.xy(window))
    row, table = v % np.float32(PITCH) - np.float32(PITCH / 2), u % np.float32(TABLE) - np.float32(TABLE / 2)
    alpha = band_cover(row, DEPTH, canvas.gsd) * band_cover(table, TABLE - 1, canvas.gsd)
    alpha *= block_cover(block, u, v, canvas.gsd)
    tones = rng.normal(0, 0.06, (64, 64)).astype(np.float32)
    tone = tones[(v // PITCH).astype(np.intp) % 64, (u // TABLE).astype(np.intp) % 64]
    shine = smooth_step(row, -DEPTH / 2, DEPTH / 2) * np.float32(0.3) + np.float32(0.15) + tone
    joints = band_cover(table % np.float32(6.5) - np.float32(3), 0.2, canvas.gsd)
    frames = (band_cover(row, 0.25, canvas.gsd) + np.float32(0.6) * joints) * np.float32(0.5)
    canvas.paint(window, mix(PANEL, PANEL_LIGHT, (shine + frames).astype(np.float32)), alpha)
    canvas.height[window] += np.where(alpha > 0.5, np.float32(PANEL_HEIGHT), 0)
