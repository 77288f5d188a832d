import geopandas as gpd
import shapely

from rszsl.demo.agreement import measure_agreement
from rszsl.demo.scene import CRS, zones


def write_tiles(path, labels):
    points = [zone.representative_point() for zone in zones().values()]
    cells = [shapely.box(p.x - 1, p.y - 1, p.x + 1, p.y + 1) for p in points]
    status = ["nodata" if c is None else "other" if c == "other" else "labelled" for c in labels]
    frame = gpd.GeoDataFrame({"class": labels, "status": status}, geometry=cells, crs=CRS)
    frame.to_file(path, layer="tiles")


def test_right_wrong_other_and_nodata(tmp_path):
    names = list(zones())
    write_tiles(tmp_path / "right.gpkg", names)
    assert (measure_agreement(tmp_path / "right.gpkg").agree, len(names)) == (7, 7)
    write_tiles(tmp_path / "mixed.gpkg", [*names[:3], names[0], "other", None, names[6]])
    mixed = measure_agreement(tmp_path / "mixed.gpkg")
    assert (mixed.tiles, mixed.agree) == (6, 4)
    assert str(mixed) == "4 of 6 tiles agree with what was painted (67%)"
