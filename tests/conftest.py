"""Rasters made on the spot, the real data where it is at hand, and the bundled model."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import settings
from qgis_home import qgis, qgis_scene  # noqa: F401  (fixtures)
from rasterio.transform import from_origin

import rszsl

UTM = "EPSG:32632"

settings.register_profile("rszsl", deadline=None)  # a busy machine is no failure
settings.load_profile("rszsl")


def pytest_report_header() -> str:
    import timm
    import torch
    import torchgeo

    versions = f"torch {torch.__version__}, timm {timm.__version__}, torchgeo {torchgeo.__version__}"
    return f"{versions}, GDAL {rasterio.__gdal_version__}, PROJ {rasterio.__proj_version__}"


@pytest.fixture
def make_raster(tmp_path):
    """Write an array (bands, rows, cols) as a GeoTIFF; keyword arguments go to rasterio, None removes a default."""

    def make(array, name="scene.tif", *, mask=None, colours=None, overviews=(), res=(1.0, 1.0), **profile):
        array = np.asarray(array)
        settings = {
            "driver": "GTiff",
            "count": array.shape[0],
            "height": array.shape[1],
            "width": array.shape[2],
            "dtype": array.dtype,
            "crs": UTM,
            "transform": from_origin(500_000, 5_300_000, *res),
        } | profile
        path = tmp_path / name
        with rasterio.open(path, "w", **{k: v for k, v in settings.items() if v is not None}) as sink:
            sink.write(array)
            if mask is not None:
                sink.write_mask(mask)
            if colours is not None:
                sink.colorinterp = colours
            if overviews:
                sink.build_overviews(list(overviews), rasterio.enums.Resampling.average)
        return path

    return make


@pytest.fixture
def noise():
    """uint8 (bands, rows, cols), the same for the same shape."""

    def make(*shape, dtype="uint8", high=256, seed=0):
        return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)

    return make


@pytest.fixture(scope="session")
def model():
    """The bundled model on the CPU, loaded once."""
    return rszsl.load_model("dsva-small", device="cpu")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, or a skip that says how to have it."""
    root = Path(os.environ.get("RSZSL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (root / "scenes").is_dir():
        pytest.skip(f"no real data at {root}; set RSZSL_DATA to the folder that holds scenes/")
    return root
