"""Colours as a camera at midday sees them: muted, in 0..1."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def rgb(*values: int) -> Floats:
    """Turn 0-255 display values into a float32 (3,) colour in 0..1."""
    return np.asarray(values, dtype=np.float32) / np.float32(255)


def rgbs(*colours: tuple[int, int, int]) -> Floats:
    """Turn n colours of 0-255 into float32 (n, 3) in 0..1."""
    return np.stack([rgb(*colour) for colour in colours])


GRASS, DRY_GRASS = rgb(112, 120, 82), rgb(146, 138, 102)
SOIL, SAND = rgb(136, 116, 92), rgb(178, 164, 134)
FOREST_FLOOR, REEDS = rgb(68, 68, 48), rgb(116, 118, 78)
BROADLEAF = rgbs((82, 94, 60), (72, 86, 56), (92, 102, 64), (66, 78, 54), (100, 104, 68))
CONIFER = rgbs((66, 78, 56), (58, 70, 52), (72, 82, 58), (62, 74, 52))
SCRUB = rgbs((92, 94, 62), (80, 86, 58), (104, 100, 68))
LAWNS = rgbs((106, 118, 78), (118, 124, 84), (96, 110, 70), (132, 130, 92), (112, 116, 84))

DEEP_WATER, SHALLOW_WATER = rgb(44, 62, 64), rgb(92, 102, 80)
ROCK, ROCK_FACE, RAMP = rgb(190, 180, 158), rgb(122, 112, 96), rgb(210, 202, 184)
OVERBURDEN = rgb(166, 138, 104)
POND, POND_EDGE, POOL = rgb(92, 138, 136), rgb(146, 176, 164), rgb(110, 176, 190)

ASPHALT, OLD_ASPHALT, CONCRETE = rgb(116, 116, 116), rgb(134, 131, 126), rgb(172, 168, 160)
MARKING, MACHINE, WOOD, BOAT = rgb(214, 214, 208), rgb(196, 160, 70), rgb(150, 140, 122), rgb(206, 206, 202)
ROOFS = rgbs((146, 92, 74), (134, 82, 68), (158, 108, 86), (112, 94, 82), (122, 120, 120), (92, 90, 92))
HALLS = rgbs((206, 206, 204), (188, 192, 194), (168, 170, 170), (222, 220, 214), (140, 152, 166), (164, 152, 138))
CARS = rgbs((216, 216, 214), (60, 62, 66), (128, 130, 134), (178, 180, 182), (120, 50, 48), (64, 80, 112))
PANEL, PANEL_LIGHT, FENCE = rgb(50, 58, 80), rgb(84, 96, 124), rgb(96, 98, 90)
