"""Output at scale: a million tiles written, 100 000 tiles labelled again, peak memory by scene; a part by name, or all.

python tests/benchmarks/bench_scale.py [write] [relabel] [memory]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyogrio
from affine import Affine
from pyproj import CRS
from record import write_record
from scipy import ndimage

import rszsl
from rszsl.classes import as_classes
from rszsl.labels.assign import Status
from rszsl.labels.collect import STATUSES, SceneLabels
from rszsl.labels.encoded import EncodedTiles
from rszsl.labels.voices import Listener
from rszsl.model.text import unit
from rszsl.options import MapOptions
from rszsl.output.cache import CacheKey, write_cache
from rszsl.output.tables import GEOMETRY, Vocabulary, tile_stream, with_crs
from rszsl.output.writer import GPKG_VERSION
from rszsl.pipeline import label_batches, write_map
from rszsl.pipeline.labelling import Clock
from rszsl.pipeline.mapping import make_job
from rszsl.pipeline.plan import Footing
from rszsl.progress import Silent
from rszsl.scene.grid import Grid

SEED = 20261
TILE_PX, EMBEDDING, BATCH = 160, 384, 32
PLACE, UTM = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000), CRS.from_epsg(32632)
NAMES = (
    "airport,quarry,solar farm,river,forest,port,stadium,bridge,beach,desert,farmland,golf course,parking lot,railway,"
    "school,church,factory,pond,island,lake,mountain,runway,ship,storage tank,swimming pool,tennis court,viaduct,"
    "wetland,baseball field,basketball court,bare land,cemetery,commercial area,dense residential,dam,freeway,"
    "greenhouse,harbor,intersection,mobile home park,meadow,orchard,overpass,park,playground,power station,"
    "roundabout,sea ice,terrace,wind farm"
)
"""Fifty classes."""


def picture(side, kinds, pattern, rng):
    """Class of each tile (side, side): `blobs` some ten tiles wide, or `salt`, each tile by itself."""
    if pattern == "salt":
        return rng.integers(0, kinds, (side, side))
    best, classes = np.full((side, side), -np.inf, dtype="float32"), np.zeros((side, side), dtype="int64")
    for kind in range(kinds):
        field = ndimage.gaussian_filter(rng.standard_normal((side, side), dtype="float32"), 6)
        classes[field > best] = kind
        np.maximum(best, field, out=best)
    return classes


def footing_of(side):
    grid = Grid.over(side * TILE_PX, side * TILE_PX, tile_height_px=TILE_PX, tile_width_px=TILE_PX)
    return Footing("generated", grid, PLACE, UTM, {})


def generated_labels(classes, rows, columns, rng):
    """Labels of all tiles, as if a model had given them, and the seconds that it took to hear what speaks for them."""
    count, seconds = classes.size, 0.0
    labels, listener = SceneLabels(np.arange(count)), Listener(columns, rows)
    labels.status[:] = STATUSES.index(Status.LABELLED)
    labels.valid_fraction[:] = 1
    labels.choice[:] = (classes.ravel()[:, None] + np.arange(3)) % len(rows)
    labels.attribute[:] = rng.integers(0, rows.shape[1], (count, 3))
    for name in ("confidence", "contribution", "margin", "similarity"):
        values = getattr(labels, name)
        values[:] = rng.random(values.shape, dtype="float32")
    for start in range(0, count, 8192):
        at = slice(start, min(start + 8192, count))
        shown = unit(rng.standard_normal((at.stop - start, rows.shape[1]), dtype="float32")).astype("float16")
        begun = time.process_time()
        listener.hear(labels.tile_ids[at], labels.choice[at, 0], shown)
        seconds += time.process_time() - begun
    labels.voices = listener.end()
    return labels, seconds


def write(side=1000, kinds=20):
    """A million tiles to a GeoPackage, against pyogrio's own writing of the finished table."""
    model, footing, figures = rszsl.load_model("dsva-small", device="cpu"), footing_of(side), {}
    classes = as_classes(NAMES.split(",")[:kinds])
    with tempfile.TemporaryDirectory() as folder:
        for pattern in ("blobs", "salt"):
            rng = np.random.default_rng(SEED)
            job = make_job(model, classes, Path(folder) / f"{pattern}.gpkg", MapOptions(device="cpu"))
            truth = picture(side, kinds, pattern, rng)
            labels, listening = generated_labels(truth, job.rows.rows, side, rng)
            watch = Stopwatch()
            result = write_map(footing, labels, model, job, Clock())
            spent = watch.figures("tiles, regions, index, styles")
            words = Vocabulary(tuple(c.name for c in job.classes), job.rows.notes, model.attribute_names)
            table = with_crs(tile_stream(labels, footing.grid, PLACE, words).read_all(), UTM)
            watch = Stopwatch()
            plain(table, Path(folder) / f"{pattern}_plain.gpkg")
            del table
            figures[pattern] = {
                **spent,
                **watch.figures("pyogrio.write_arrow of the tiles alone, finished"),
                "hearing what speaks for regions, CPU seconds": round(listening, 1),
                "regions": pyogrio.read_info(result.path, layer="regions")["features"],
            }
    return figures


def plain(table, path):
    """What pyogrio needs for the same rows, with the spatial index."""
    options = {"geometry_name": GEOMETRY, "geometry_type": "Polygon", "crs": UTM.to_wkt()}
    pyogrio.write_arrow(table, path, driver="GPKG", layer="tiles", dataset_options={"VERSION": GPKG_VERSION}, **options)


def relabel(side=317):
    """A cache of random unit rows (100 489 tiles, every tile its own region or nearly) against fifty classes.

    All is counted but the import of rszsl and torch.
    """
    model, rng = rszsl.load_model("dsva-small", device="cpu"), np.random.default_rng(SEED)
    card, size_px = model.card, (side * TILE_PX, side * TILE_PX)
    key = CacheKey(
        scene="generated.tif", fingerprint="0" * 32, size_px=size_px, transform=tuple(PLACE)[:6], crs=UTM.to_wkt(),
        tile_px=(TILE_PX, TILE_PX), overlap=0.0, aoi=None, radiometry={}, min_valid=0.01, model=card.name,
        model_sha256=card.sha256,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "c.rszsl-cache"
        watch = Stopwatch()
        with write_cache(cache, key) as sink:
            for tiles in random_tiles(side * side, len(model.attribute_names), rng):
                sink.append(tiles)
        figures = watch.figures("writing the cache (with the making of its numbers)")
        watch = Stopwatch()
        given = {"model": model, "output": Path(folder) / "o.gpkg", "min_confidence": 0.3}
        result = rszsl.relabel(cache, NAMES.split(","), **given)
        figures |= watch.figures("relabel, model loaded before")
        watch = Stopwatch()
        own = {"output": Path(folder) / "p.gpkg", "min_confidence": 0.3, "device": "cpu"}
        rszsl.relabel(cache, NAMES.split(","), **own)
        figures |= watch.figures("relabel, model loaded in it")
        return figures | {"labelled": result.counts.labelled, "regions": len(result.regions)}


def random_tiles(count, width, rng):
    """Encoded tiles in batches, random unit rows."""
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        rows = [unit(rng.standard_normal((size, k), dtype="float32")).astype("float16") for k in (EMBEDDING, width)]
        full = np.ones(size, dtype="float32"), (None,) * size, np.ones(size, dtype=bool)
        yield EncodedTiles(np.arange(start, start + size), *full, *rows)


def memory():
    """Peak memory of a process that labels and writes a scene of tiles in blobs, after the encoder: by scene."""
    peaks = {}
    for side in (62, 250, 1000):
        run = subprocess.run([sys.executable, __file__, "peak", str(side)], capture_output=True, text=True, check=True)
        peaks[f"{side * TILE_PX} x {side * TILE_PX} px, MiB"] = round(float(run.stdout))
    small, large, *_ = peaks.values()
    return peaks | {"second to first": round(large / small, 3)}


def peak(side):
    """Label and write one scene; print the peak of the whole process, torch and model with it."""
    model, footing = rszsl.load_model("dsva-small", device="cpu"), footing_of(side)
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        options = MapOptions(device="cpu", min_confidence=0.0)
        job = make_job(model, as_classes(NAMES.split(",")[:20]), Path(folder) / "o.gpkg", options)
        truth = picture(side, 20, "blobs", rng).astype("int8").ravel()
        noisy = near_class(truth, job.rows.rows, rng)
        labels = label_batches(noisy, np.arange(len(truth)), model, job, Silent(), footing.grid)
        write_map(footing, labels, model, job, Clock())
    print(peak_mib())


def near_class(truth, rows, rng):
    """Encoded tiles whose attributes are near the row of their class."""
    for tiles in random_tiles(len(truth), rows.shape[1], rng):
        near = unit(rows[truth[tiles.tile_ids]] + 0.3 * tiles.attributes.astype("float32")).astype("float16")
        yield EncodedTiles(tiles.tile_ids, tiles.valid_fraction, tiles.failures, tiles.encoded, tiles.embedding, near)


class Stopwatch:
    """Seconds and CPU seconds since it was made."""

    def __init__(self):
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def figures(self, what):
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        return {f"{what}, seconds": round(wall, 1), f"{what}, CPU seconds": round(cpu, 1)}


def peak_mib():
    """Of this program alone; getrusage counts what its parent held when it was started."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main():
    if sys.argv[1:2] == ["peak"]:
        return peak(int(sys.argv[2]))
    parts = {"write": write, "relabel": relabel, "memory": memory}
    figures = {name: parts[name]() for name in sys.argv[1:] or parts}
    what = "generated labels and random unit rows; the machine may have been busy: see load_1min"
    write_record("scale", figures, seed=SEED, what=what)


if __name__ == "__main__":
    main()
