"""The result of one run: a GeoPackage, made beside its place, moved there when whole, and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingOutputNumber,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterVectorDestination,
)

from rszsl_processing.bridge import results
from rszsl_processing.bridge.compat import POLYGONS
from rszsl_processing.bridge.parameters import helped
from rszsl_processing.core.errors import PluginError
from rszsl_processing.core.record import is_result, read_runs
from rszsl_processing.core.staging import put_in_place, staging

COUNTS = ("planned", "labelled", "other", "nodata", "failed")


def add_map_outputs(algorithm: QgsProcessingAlgorithm) -> None:
    """Declare the GeoPackage of a map and what is in it."""
    output = QgsProcessingParameterVectorDestination("OUTPUT", "Map (GeoPackage)", POLYGONS)
    algorithm.addParameter(helped(output, "GeoPackage with the layers regions and tiles and the table runs."))
    algorithm.addOutput(QgsProcessingOutputVectorLayer("REGIONS", "Regions", POLYGONS))
    algorithm.addOutput(QgsProcessingOutputVectorLayer("TILES", "Tiles", POLYGONS))
    for name in COUNTS:
        algorithm.addOutput(QgsProcessingOutputNumber(name.upper(), f"Number of tiles {name}"))


def map_outputs(context: QgsProcessingContext, target: Path, destination: str) -> dict[str, Any]:
    """Have a map loaded; the values of the outputs."""
    results.load_on_completion(context, results.shown_map(str(target)), destination)
    row = (read_runs(str(target)) or [{}])[0]
    layers = {name.upper(): results.layer_uri(str(target), name) for name in results.LAYERS}
    return {"OUTPUT": str(target), **layers, **{name.upper(): row.get(name) for name in COUNTS}}


@contextmanager
def new_file(context: QgsProcessingContext, destination: str) -> Iterator[tuple[Path, Path]]:
    """Give the path under which the command makes its file, and the one where it stands afterwards.

    Raises:
        PluginError: where the place is taken by something else, or nothing was made.
    """
    try:
        target = _checked_target(destination)
        with staging(target.parent) as stage:
            made = stage / target.name
            yield made, target
            if not made.is_file():
                raise PluginError("rszsl ended well but wrote nothing; run Doctor")
            put_in_place(made, target)
    except PluginError:
        results.forget(context, destination)
        raise


def _checked_target(destination: str) -> Path:
    """Refuse what is no GeoPackage, or one that holds something else than a result of ours."""
    target = Path(destination)
    if target.suffix.casefold() != ".gpkg":
        raise PluginError(f"the output {destination} must be a GeoPackage file (.gpkg)")
    if target.exists() and (target.is_dir() or (target.stat().st_size and not is_result(destination))):
        raise PluginError(
            f"{destination} exists and is no map of rszsl; choose another output, so that nothing is lost"
        )
    return target.absolute()
