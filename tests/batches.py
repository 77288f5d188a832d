"""Generated scenes for batches, and how the tables of two results are compared."""

import sqlite3

import numpy as np
import rasterio
from fakes import ColourSource, MoodyModel, painted
from rasterio.transform import from_origin

from rszsl.batch.mapping import run_batch
from rszsl.batch.options import BatchOptions
from rszsl.batch.scenes import expand
from rszsl.batch.told import BatchProgress, Quiet
from rszsl.classes import as_classes
from rszsl.labels.collect import Counts
from rszsl.options import MapOptions
from rszsl.pipeline import map_with
from rszsl.progress import Silent

CLASSES = as_classes("red,green,blue")
STRIP_TILES = 60


def write_scene(path, rows, cols, letters="rgb.0", seed=0, crs="EPSG:32632"):
    """`rows` x `cols` coloured tiles of 16 px in a seeded pattern."""
    choice = np.random.default_rng(seed).choice(list(letters), (rows, cols))
    image = painted(["".join(row) for row in choice])
    profile = {"count": 3, "height": image.shape[1], "width": image.shape[2], "dtype": "uint8", "nodata": 0}
    place = from_origin(500_000 + 10_000 * seed, 5_300_000, 1, 1)
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=place, **profile) as sink:
        sink.write(image)
    return path


def run(folder, out, *, client=None, source=None, progress=None, extra=None, **options):
    """One run of a batch with the model that sees colours."""
    listed = expand([str(p) for p in folder] if isinstance(folder, list) else [str(folder)])
    source = source or ColourSource()
    chosen, more = MapOptions(device="cpu", **options), BatchOptions(**({"strip_tiles": STRIP_TILES} | (extra or {})))
    return run_batch(listed, CLASSES, out, source, chosen, more, client, progress or BatchProgress(Quiet()))


def mapped_alone(scenes, out, **options):
    """The same scenes by `map_scene`'s own way, one by one: stem -> path."""
    out.mkdir()
    chosen = MapOptions(device="cpu", **options)
    for scene in scenes:
        path = out / f"{scene.stem}.rszsl.gpkg"
        map_with(MoodyModel(ColourSource()), str(scene.resolve()), CLASSES, path, chosen, Silent())
    return {scene.stem: out / f"{scene.stem}.rszsl.gpkg" for scene in scenes}


def tables(path):
    """Every row of both layers, to the byte, and what the run counted."""
    counts = ", ".join(Counts(0, 0, 0, 0, 0).to_record())
    with sqlite3.connect(path) as db:
        layers = [db.execute(f"SELECT * FROM {layer} ORDER BY fid").fetchall() for layer in ("tiles", "regions")]
        return [*layers, db.execute(f"SELECT scene, radiometry, classes, {counts} FROM runs").fetchall()]


def rows(manifest, query):
    with sqlite3.connect(manifest) as db:
        return db.execute(query).fetchall()


def check_same(out, alone):
    """Nothing lost, nothing twice: the batch's files are those of the single maps, table by table."""
    made = sorted(p.name for p in out.glob("*.gpkg"))
    assert made == sorted(p.name for p in alone.values())
    for path in alone.values():
        assert tables(out / path.name) == tables(path), path.name
    states = rows(out / "manifest.sqlite", "SELECT state, count(*) FROM strips GROUP BY state")
    assert [state for state, _ in states] == ["done"], states
    assert not list((out / ".rszsl-work").rglob("*.arrow"))
