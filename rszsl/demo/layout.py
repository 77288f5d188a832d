"""The plan of the demo scene: where its zones, roads and fields lie, in local metres and then in the CRS.

The plan is drawn for 2880 x 2304 m and stretched to other sizes.
"""

import math
from dataclasses import dataclass

import numpy as np
from shapely import LineString, MultiPolygon, Polygon, affinity, box, unary_union
from shapely.geometry.base import BaseGeometry

from rszsl.demo.canvas import Frame
from rszsl.demo.textures import Blob

DEMO_CLASSES = ("solar farm", "forest", "farmland", "lake", "residential area", "quarry", "industrial area")
"""The zones of the scene, by the names to give to `--classes`."""
GSD = 1.2
"""Metres a pixel."""
SIZE_PX = (1920, 2400)
"""Rows and columns of the demo scene."""
CRS = "EPSG:32632"
ORIGIN = (684_320.0, 5_336_760.0)
"""CRS metres (x, y) of the upper left corner."""
PLAN = (2880.0, 2304.0)
MARGIN = 10.0
"""Metres of verge between the fields and a zone."""
FOREST = (
    (0, 0),
    (990, 0),
    (965, 150),
    (1010, 330),
    (960, 520),
    (905, 660),
    (700, 790),
    (430, 745),
    (190, 800),
    (0, 765),
)
MAIN_ROAD = (
    (-60, 1700),
    (380, 1668),
    (760, 1645),
    (1120, 1606),
    (1560, 1574),
    (2060, 1543),
    (2480, 1515),
    (2960, 1500),
)
SIDE_ROAD = (
    (1062, 1612),
    (1070, 1400),
    (1082, 1150),
    (1060, 900),
    (1090, 640),
    (1130, 420),
    (1120, 200),
    (1150, -60),
)
HAUL_ROAD = ((1990, 1548), (1985, 1300), (2010, 1080), (1990, 920), (2080, 800), (2250, 730), (2370, 600))
SOLAR_ROAD = ((2052, 1543), (2056, 1720), (2062, 1840), (2180, 1846))
COLLAR = ((-1, 1860), (470, 2305), (-1, 2305))


@dataclass(frozen=True, slots=True)
class Plan:
    """The zones and lines of one scene, in local metres."""

    extent: BaseGeometry
    collar: BaseGeometry
    """What the camera did not see: nodata."""
    forest: BaseGeometry
    lake: Blob
    quarry: Blob
    town: Frame
    """The street grid; the town fills it as far as `town_limit`."""
    town_limit: BaseGeometry
    works: Frame
    solar: Frame
    main_road: LineString
    side_road: LineString
    haul_road: LineString
    solar_road: LineString

    @property
    def roads(self) -> BaseGeometry:
        """The ground that all roads and tracks take."""
        lines = ((self.main_road, 9.0), (self.side_road, 7.0), (self.haul_road, 8.0), (self.solar_road, 5.0))
        return unary_union([line.buffer(width) for line, width in lines])

    def zones(self) -> dict[str, BaseGeometry]:
        """The true zones by class name, disjoint, in local metres; farmland is what the others leave."""
        seen = self.extent.difference(self.collar)
        zones = {
            "solar farm": self.solar.polygon(),
            "forest": self.forest,
            "lake": self.lake.polygon(),
            "residential area": self.town_limit,
            "quarry": self.quarry.polygon(),
            "industrial area": self.works.polygon(),
        }
        taken = unary_union([z.buffer(MARGIN) for z in zones.values()] + [self.roads.buffer(3.0)])
        zones["farmland"] = seen.difference(taken)
        return {name: zones[name].intersection(seen) for name in DEMO_CLASSES}


def make_plan(size_px: tuple[int, int], seed: int) -> Plan:
    """Lay out a scene of (rows, columns) pixels."""
    rng = np.random.default_rng([seed, 0])
    width, height = size_px[1] * GSD, size_px[0] * GSD
    sx, sy = width / PLAN[0], height / PLAN[1]

    def blob(x: float, y: float, radius_x: float, radius_y: float, wobble: float) -> Blob:
        phases = tuple(float(p) for p in rng.uniform(0, 2 * math.pi, 5))
        return Blob(x * sx, y * sy, radius_x * sx, radius_y * sy, phases, wobble)

    def frame(x: float, y: float, w: float, h: float, degrees: float) -> Frame:
        return Frame(x * sx, y * sy, w * sx, h * sy, math.radians(degrees))

    def line(points: tuple[tuple[float, float], ...]) -> LineString:
        return _smooth(LineString([(x * sx, y * sy) for x, y in points]))

    extent = box(0, 0, width, height)
    town = frame(1510, 1205, 760, 660, -4)
    return Plan(
        extent=extent,
        collar=Polygon([(x * sx, y * sy) for x, y in COLLAR]),
        forest=_ragged(affinity.scale(Polygon(FOREST), sx, sy, origin=(0, 0)), rng).intersection(extent),
        lake=blob(500, 1215, 400, 325, 0.13),
        quarry=blob(2450, 385, 350, 310, 0.11),
        town=town,
        town_limit=blob(1510, 1205, 440, 385, 0.06).polygon().intersection(town.polygon()),
        works=frame(1580, 1935, 770, 620, -3),
        solar=frame(2465, 1915, 690, 620, 2),
        main_road=line(MAIN_ROAD),
        side_road=line(SIDE_ROAD),
        haul_road=line(HAUL_ROAD),
        solar_road=line(SOLAR_ROAD),
    )


def to_crs(shape: BaseGeometry) -> BaseGeometry:
    """Move local metres (y to the south) to `CRS` coordinates (y to the north)."""
    return affinity.affine_transform(shape, [1, 0, 0, -1, *ORIGIN])


def zones(size_px: tuple[int, int] = SIZE_PX, seed: int = 7) -> dict[str, BaseGeometry]:
    """The true zones of the demo scene: what is where, to check a map against.

    Returns:
        A polygon or multipolygon for each of `DEMO_CLASSES`, in the scene's CRS, disjoint.
    """
    return {name: to_crs(shape) for name, shape in make_plan(size_px, seed).zones().items()}


def parcels(plan: Plan, rng: np.random.Generator) -> list[BaseGeometry]:
    """Cut the farmland into fields, with grass strips and field tracks between them."""
    farmland = plan.zones()["farmland"].union(plan.collar.buffer(2))
    width, height = plan.extent.bounds[2:]
    whole = Frame(width / 2, height / 2, width * 1.35, height * 1.45, math.radians(-13))
    cut = [f.polygon().intersection(farmland) for f in _halve(whole, rng, 0)]
    parts = [part for shape in cut for part in (shape.geoms if isinstance(shape, MultiPolygon) else [shape])]
    return [part for part in parts if part.area > 400]


def _halve(frame: Frame, rng: np.random.Generator, depth: int) -> list[Frame]:
    """Split a block across its longer side until it is a field of one to six hectares."""
    area = frame.width * frame.height
    if area < 14_000 or (area < 60_000 and rng.random() < 0.28):
        return [frame]
    gap = 7.0 if depth < 5 else 2.6
    share = rng.uniform(0.36, 0.64)
    along = frame.width > frame.height * rng.uniform(0.6, 1.2)
    side = frame.width if along else frame.height
    first, second = side * share - gap / 2, side * (1 - share) - gap / 2
    halves = []
    for length, middle in ((first, first / 2 - side / 2), (second, side / 2 - second / 2)):
        part = frame.part(middle, 0, length, frame.height) if along else frame.part(0, middle, frame.width, length)
        halves += _halve(part, rng, depth + 1)
    return halves


def _smooth(line: LineString) -> LineString:
    """Round the corners of a polyline (Chaikin, four times)."""
    points = np.asarray(line.coords)
    for _ in range(4):
        near, far = points[:-1] * 0.75 + points[1:] * 0.25, points[:-1] * 0.25 + points[1:] * 0.75
        points = np.vstack([points[:1], np.stack([near, far], axis=1).reshape(-1, 2), points[-1:]])
    return LineString(points)


def _ragged(shape: Polygon, rng: np.random.Generator) -> BaseGeometry:
    """Make an outline uneven by up to 12 m, as the edge of a wood is."""
    points = np.asarray(shape.segmentize(30.0).exterior.coords)[:-1]
    return Polygon(points + rng.uniform(-12, 12, points.shape)).buffer(0)
