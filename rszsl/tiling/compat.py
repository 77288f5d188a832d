"""What differs between torchgeo 0.8.1 (the newest on Python 3.11) and 0.10 (Python 3.12 and later)."""

from typing import Any

import torchgeo.samplers

SamplerBase: Any = getattr(torchgeo.samplers, "SpatialSampler", None) or torchgeo.samplers.GeoSampler
"""Base of spatial samplers. In 0.8.1 `GeoSampler` is one; since 0.10 it is abstract over space and time."""
