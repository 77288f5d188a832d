"""Light and camera: sun, cast shadows, haze, blur and noise turn colour and height into pixels."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rszsl.demo.canvas import Canvas
from rszsl.demo.colours import Floats
from rszsl.demo.textures import grain, value_noise

SUN_AZIMUTH = math.radians(148)
SUN_ELEVATION = math.radians(43)
HIGHEST = 30.0
"""Metres: longer shadows are cut."""
SHADE = np.asarray([0.38, 0.41, 0.455], dtype=np.float32)
"""Skylight alone: what a full shadow leaves of red, green and blue."""
HAZE = np.asarray([0.045, 0.055, 0.07], dtype=np.float32)
BLUR_PX = 0.52
NOISE = 0.007
"""Shot noise: the deviation at full brightness; it falls with the root of the brightness."""


def shadow(height: Floats, gsd: float) -> Floats:
    """How much of the sun each pixel misses, from the heights towards the sun.

    Args:
        height: (H, W) in metres.
        gsd: metres a pixel.

    Returns:
        float32 (H, W), 0 (sun) to 1 (shadow), soft over 0.8 m of height.
    """
    rows, cols = height.shape
    reach = HIGHEST / math.tan(SUN_ELEVATION) / gsd
    drop = gsd * math.tan(SUN_ELEVATION)
    edge = np.full_like(height, -1e3)
    for step in range(1, math.ceil(reach) + 1):
        down, right = round(-step * math.cos(SUN_AZIMUTH)), round(step * math.sin(SUN_AZIMUTH))
        if down >= rows or right >= cols:
            break
        target = edge[: rows - down, : cols - right]
        np.maximum(target, height[down:, right:] - np.float32(step * drop), out=target)
    lost: Floats = np.clip((edge - height) / np.float32(0.8), 0, 1)
    return lost


def slope_light(height: Floats, gsd: float) -> Floats:
    """Sunlight on the slopes relative to flat ground, float32 (H, W)."""
    east, south = np.zeros_like(height), np.zeros_like(height)
    east[:, 1:-1] = height[:, 2:] - height[:, :-2]
    south[1:-1] = height[2:] - height[:-2]
    for slope in (east, south):
        np.clip(slope / np.float32(2 * gsd), -1.1, 1.1, out=slope)
    flat = math.cos(SUN_ELEVATION) / math.sin(SUN_ELEVATION)
    away = east * np.float32(flat * math.sin(SUN_AZIMUTH)) - south * np.float32(flat * math.cos(SUN_AZIMUTH))
    light: Floats = np.clip((1 - away) / np.sqrt(1 + east * east + south * south), 0.25, 1.3)
    return light


def expose(canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light the canvas and photograph it.

    Returns:
        uint8 (3, H, W), 1..255: 0 is kept for nodata.
    """
    sun = slope_light(canvas.height, canvas.gsd) * (1 - shadow(canvas.height, canvas.gsd))
    sun *= 1 + np.float32(0.04) * value_noise(sun.shape, 500 / canvas.gsd, rng)
    noise = grain(sun.shape, 0.45, rng)
    picture = np.empty(canvas.colour.shape, dtype=np.uint8)
    for band, albedo in enumerate(canvas.colour):
        shade, haze = SHADE[band], HAZE[band]
        light = albedo * (shade + (1 - shade) * sun) * (1 - haze) + haze
        light = ndimage.gaussian_filter(light, BLUR_PX, truncate=2.5)
        light += noise * np.sqrt(light) * np.float32(NOISE * (0.8 + 0.2 * band))
        picture[band] = np.clip(light * 255 + np.float32(0.5), 1, 255).astype(np.uint8)
    return picture
