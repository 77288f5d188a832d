"""Rasters that are no files, in the real QGIS: from servers on this machine, in memory, virtual, in a GeoPackage."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
from PIL import Image
from qgis_home import LEFT, TOP, UTM, fake, rows

TILE_M = 256 * 2 * 20037508.342789244 / (256 * 2**16)
"""Side of a tile of zoom 16 in EPSG:3857; tile 32768, 32768 hangs south-east of 0, 0."""
CAPABILITIES = """<?xml version="1.0"?>
<WMS_Capabilities version="1.3.0" xmlns="http://www.opengis.net/wms" xmlns:xlink="http://www.w3.org/1999/xlink">
<Service><Name>WMS</Name><Title>t</Title><OnlineResource xlink:href="{url}"/></Service>
<Capability><Request>
<GetCapabilities><Format>text/xml</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}"/></Get></HTTP></DCPType></GetCapabilities>
<GetMap><Format>image/png</Format>
<DCPType><HTTP><Get><OnlineResource xlink:href="{url}"/></Get></HTTP></DCPType></GetMap>
</Request><Exception><Format>XML</Format></Exception>
<Layer queryable="0"><Name>fields</Name><Title>fields</Title><CRS>EPSG:3857</CRS>
<EX_GeographicBoundingBox><westBoundLongitude>-1</westBoundLongitude><eastBoundLongitude>1</eastBoundLongitude>
<southBoundLatitude>-1</southBoundLatitude><northBoundLatitude>1</northBoundLatitude></EX_GeographicBoundingBox>
<BoundingBox CRS="EPSG:3857" minx="-111319" miny="-111325" maxx="111319" maxy="111325"/></Layer>
</Capability></WMS_Capabilities>"""


def fields(x, y):
    """What there is to see at x, y (EPSG:3857), uint8 (..., 3): red and green by column, blue by row."""
    column, row = x // TILE_M % 2, -y // TILE_M % 2
    return np.stack([200 - 150 * column, 50 + 150 * column, 30 + 200 * row], axis=-1).astype("uint8")


def picture(left, top, right, bottom, width, height):
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top - (np.arange(height) + 0.5) * (top - bottom) / height
    sink = io.BytesIO()
    Image.fromarray(fields(*np.meshgrid(x, y))).save(sink, "PNG")
    return sink.getvalue()


class Server(BaseHTTPRequestHandler):
    """Serves the same fields as XYZ tiles and as WMS."""

    def do_GET(self):
        place = urlsplit(self.path)
        query = {name.upper(): values[0] for name, values in parse_qs(place.query).items()}
        if query.get("REQUEST") == "GetCapabilities":
            url = f"http://{self.headers['Host']}/wms?"
            self.answer("text/xml", CAPABILITIES.format(url=url).encode())
        elif query.get("REQUEST") == "GetMap":
            left, bottom, right, top = map(float, query["BBOX"].split(","))
            size = int(query["WIDTH"]), int(query["HEIGHT"])
            self.answer("image/png", picture(left, top, right, bottom, *size))
        else:
            column, row = (int(part) - 32768 for part in place.path.removesuffix(".png").split("/")[2:])
            left, top = column * TILE_M, -row * TILE_M
            self.answer("image/png", picture(left, top, left + TILE_M, top - TILE_M, 256, 256))

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


XYZ = "type=xyz&url={server}/{{z}}/{{x}}/{{y}}.png&zmin=16&zmax=16"
WMS = "contextualWMSLegend=0&crs=EPSG:3857&format=image/png&layers=fields&styles=&url={server}/wms"


@pytest.mark.parametrize("uri", [XYZ, WMS], ids=["xyz", "wms"])
def test_layers_of_a_server_are_exported(qgis, server, tmp_path, uri):
    kept = tmp_path / "kept.tif"
    left, right, bottom, top = 100, 100 + 1.5 * TILE_M, -1.25 * TILE_M, -200
    asked = {
        "URI": uri.format(server=server), "PROVIDER": "wms", "CLASSES": "a", "GSD": 5.0,
        "EXTENT": f"{left},{right},{bottom},{top} [EPSG:3857]", "OUTPUT": str(tmp_path / "o.gpkg"),
    }  # fmt: skip
    answer = qgis.inside("layer_of", asked, **fake(FAKE_KEEP=kept))
    assert "choose an area of interest or an extent" in answer["without_area"]["refused"]
    assert answer.get("fine"), answer
    with rasterio.open(kept) as exported:
        assert exported.crs == "EPSG:3857"
        assert exported.res == pytest.approx((5, 5), rel=0.01)
        assert exported.bounds == pytest.approx((left, bottom, right, top), abs=6)
        for x, y in [(300, -400), (800, -400), (300, -700), (800, -700)]:
            shown = [int(v[0]) for v in exported.read([1, 2, 3], window=_pixel(exported, x, y)).reshape(3, -1)]
            assert shown == fields(np.float64(x), np.float64(y)).tolist(), (x, y)


def _pixel(raster, x, y):
    row, column = raster.index(x, y)
    return rasterio.windows.Window(column, row, 1, 1)


def test_tiles_of_a_server_are_mapped(qgis, server, tmp_path):
    """With the real rszsl."""
    output = tmp_path / "sky.gpkg"
    asked = {
        "URI": XYZ.format(server=server), "PROVIDER": "wms", "CLASSES": "forest", "DEVICE": "cpu", "GSD": 2.0,
        "EXTENT": f"0,{2 * TILE_M},{-TILE_M},0 [EPSG:3857]", "OUTPUT": str(output),
    }  # fmt: skip
    answer = qgis.inside("layer_of", asked)
    assert answer["results"]["PLANNED"] > 0, answer
    assert any("exporting 612 x 30" in line for line in answer["info"]), answer["info"]
    ((scene, nodata),) = rows(output, "SELECT scene, nodata FROM runs")
    assert Path(scene).name == "tuiles_du_ciel.tif"
    assert nodata == 0


def test_rasters_in_memory(qgis, qgis_scene, tmp_path):
    kept = tmp_path / "kept.tif"
    asked = {
        "URI": "/vsimem/a.tif", "IN_MEMORY": str(qgis_scene), "PROVIDER": "gdal", "CLASSES": "a", "GSD": 2.0,
        "EXTENT": f"{LEFT},{LEFT + 100},{TOP - 60},{TOP}", "OUTPUT": str(tmp_path / "o.gpkg"),
    }  # fmt: skip
    answer = qgis.inside("layer_of", asked, **fake(FAKE_KEEP=kept))
    assert answer.get("fine"), answer
    with rasterio.open(kept) as exported, rasterio.open(qgis_scene) as source:
        assert exported.crs == source.crs and exported.count == 3
        assert exported.bounds == pytest.approx((LEFT, TOP - 60, LEFT + 100, TOP), abs=4)
        corner = rasterio.windows.Window(0, 0, 4, 4)
        np.testing.assert_array_equal(exported.read(window=corner), source.read(window=corner))


def test_virtual_rasters(qgis, qgis_scene, tmp_path):
    """Exported at the pixel size of the model."""
    kept = tmp_path / "kept.tif"
    uri = (
        f"?crs={UTM}&extent={LEFT},{TOP - 640},{LEFT + 800},{TOP}&width=400&height=320"
        f'&formula="s@1" * 2&s:uri={qgis_scene}&s:provider=gdal'
    )
    area = f"{LEFT},{LEFT + 400},{TOP - 200},{TOP}"  # in the CRS of the raster
    asked = {
        "URI": uri,
        "PROVIDER": "virtualraster",
        "CLASSES": "a",
        "EXTENT": area,
        "OUTPUT": str(tmp_path / "o.gpkg"),
    }
    answer = qgis.inside("layer_of", asked, **fake(FAKE_KEEP=kept))
    assert answer["fine"]
    with rasterio.open(kept) as exported, rasterio.open(qgis_scene) as source:
        assert exported.crs == source.crs
        assert exported.res == pytest.approx((4.0, 4.0), rel=1e-3)  # the card's
        assert exported.bounds == pytest.approx((LEFT, TOP - 200, LEFT + 400, TOP), abs=4)
        assert exported.read(1).max() > source.read(1).max()


def test_rasters_in_a_geopackage(qgis, qgis_scene, tmp_path):
    log, gpkg = tmp_path / "log.json", tmp_path / "rasters.gpkg"
    with rasterio.open(qgis_scene) as source, rasterio.open(
        gpkg, "w", driver="GPKG", count=3, height=320, width=400, dtype="uint8", crs=source.crs,
        transform=source.transform, raster_table="orthophoto",
    ) as sink:  # fmt: skip
        sink.write(source.read())
    named = f"GPKG:{gpkg}:orthophoto"
    asked = {"INPUT": named, "CLASSES": "a", "OUTPUT": str(tmp_path / "o.gpkg")}
    assert qgis.inside("plain", asked, **fake(FAKE_LOG=log))["fine"]
    assert json.loads(log.read_text())["argv"][-1] == named
    layer = {**asked, "URI": named, "PROVIDER": "gdal", "EXTENT": f"{LEFT},{LEFT + 100},{TOP - 60},{TOP} [{UTM}]"}
    assert qgis.inside("layer_of", layer, **fake(FAKE_LOG=log))["fine"]
    assert json.loads(log.read_text())["argv"][-1] == named  # nothing is exported
