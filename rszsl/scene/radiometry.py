"""How raw values become 0..1, decided once for a scene so that the same ground looks the same in every tile."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import OptionError

LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0
EIGHT_BIT = "8-bit"


@dataclass(frozen=True, slots=True)
class Radiometry:
    """A linear stretch for each band: `(value - low) / (high - low)`, cut to 0..1.

    Attributes:
        ranges: (low, high) of each chosen band, in raw values.
        source: where they come from: `8-bit`, `percentiles 2-98 of …` or `given`.
    """

    ranges: tuple[tuple[float, float], ...]
    source: str

    @property
    def is_bytes(self) -> bool:
        """Whether raw values are bytes that stay as they are."""
        return self.source == EIGHT_BIT

    def apply(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Stretch raw values (bands, H, W) to float32 0..1; NaN stays NaN."""
        low = np.array([r[0] for r in self.ranges], dtype="float32")[:, None, None]
        high = np.array([r[1] for r in self.ranges], dtype="float32")[:, None, None]
        scaled = (raw.astype("float32") - low) / (high - low)
        clipped: NDArray[np.float32] = np.clip(scaled, 0, 1)
        return clipped

    def to_record(self) -> dict[str, Any]:
        """For the `runs` table."""
        return asdict(self)


def eight_bit(n_bands: int) -> Radiometry:
    """Leave 8-bit values as they are: 0..255."""
    return Radiometry(((0.0, 255.0),) * n_bands, EIGHT_BIT)


def from_sample(sample: NDArray[np.float64], source: str) -> Radiometry:
    """Take the percentiles 2-98 of each band; a constant band becomes 0 everywhere.

    Args:
        sample: float64 (bands, n) of raw values, NaN where invalid.
        source: what the sample is, for the record.
    """
    ranges = []
    for band in sample:
        values = band[np.isfinite(band)]
        low, high = np.percentile(values, [LOW_PERCENT, HIGH_PERCENT]) if values.size else (0.0, 1.0)
        ranges.append((float(low), float(high) if high > low else float(low) + 1.0))
    return Radiometry(tuple(ranges), f"percentiles {LOW_PERCENT:g}-{HIGH_PERCENT:g} of {source}")


def given(ranges: tuple[tuple[float, float], ...], n_bands: int) -> Radiometry:
    """Use the user's ranges, one for all bands or one for each.

    Raises:
        OptionError: where their number fits neither.
    """
    if len(ranges) not in (1, n_bands):
        raise OptionError(f"--range gives {len(ranges)} ranges for {n_bands} bands; give one, or one for each band")
    return Radiometry(ranges * (n_bands if len(ranges) == 1 else 1), "given")
