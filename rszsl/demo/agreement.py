"""How often the labels of the demo agree with what was painted."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd

from rszsl.demo.layout import zones


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `tiles` whose centre lies in a painted zone and that show no nodata, `agree` carry the zone's name."""

    tiles: int
    agree: int

    def __str__(self) -> str:
        return f"{self.agree} of {self.tiles} tiles agree with what was painted ({self.agree / self.tiles:.0%})"


def measure_agreement(gpkg_path: Path, *, seed: int = 7) -> Agreement:
    """Compare the layer `tiles` of a demo result with the zones of the same seed; `other` never agrees."""
    tiles = gpd.read_file(gpkg_path, layer="tiles")
    tiles = tiles[tiles["status"].isin(["labelled", "other"])]
    centres = tiles.geometry.centroid
    agree = judged = 0
    for name, zone in zones(seed=seed).items():
        inside = centres.within(zone)
        judged += int(inside.sum())
        agree += int((tiles["class"][inside] == name).sum())
    return Agreement(judged, agree)
