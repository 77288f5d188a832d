"""Batches on real `dask scheduler` and `dask worker` processes, and everything that can go wrong there."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import geopandas as gpd
import numpy as np
import psutil
import pytest
import shapely
from batches import CLASSES, check_same, mapped_alone, rows, run, tables, write_scene
from clusters import Cluster, end
from fakes import SLOW, ColourSource
from hub_models import save_clip

import rszsl
from rszsl.batch import worker
from rszsl.batch.told import BatchProgress, Quiet

pytestmark = pytest.mark.slow
SCENES, FEW, KILLS = 200, 20, 20
TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(workers=2, environment={"RSZSL_HOME": str(tmp_path_factory.mktemp("home"))}) as both:
        yield both


@pytest.fixture
def client(cluster):
    with cluster.client(2) as client:
        yield client


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Twenty small scenes and a large one, each also mapped alone."""
    folder = tmp_path_factory.mktemp("few")
    scenes = [write_scene(folder / f"s{i:03d}.tif", 1 + i % 3, 2, seed=i) for i in range(FEW)]
    scenes.append(write_scene(folder / "a_giant.tif", 60, 20, seed=999))
    return scenes, mapped_alone(scenes, tmp_path_factory.mktemp("alone") / "maps")


@pytest.fixture(scope="module")
def many(few, tmp_path_factory):
    """The same, and further small scenes."""
    scenes, alone = few
    folder = tmp_path_factory.mktemp("many")
    more = [write_scene(folder / f"s{i:03d}.tif", 1 + i % 3, 2, seed=i) for i in range(FEW, SCENES)]
    return [*more, *scenes], alone | mapped_alone(more, tmp_path_factory.mktemp("alone") / "maps")


class Notes(BatchProgress):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(Quiet())
        self.said = []

    def warn(self, message):
        self.said.append(message)


def test_two_hundred_scenes_and_a_large_one(client, many, tmp_path):
    scenes, alone = many
    result = run(scenes, tmp_path / "out", client=client)
    assert result.clean and result.counts.adds_up
    check_same(tmp_path / "out", alone)
    workers = rows(result.manifest, "SELECT worker FROM strips WHERE scene = 201 GROUP BY worker")
    assert len(workers) == 2  # the large scene was shared


def test_own_rows_and_an_outline_travel_to_workers_of_another_folder(client, tmp_path, monkeypatch):
    scene = write_scene(tmp_path / "s.tif", 14, 11)
    Path(tmp_path / "own.csv").write_text("class,bluish,greenish\nred,1,\n")
    corner = shapely.Polygon([(500_000, 5_299_800), (500_150, 5_299_800), (500_000, 5_300_000)])
    gpd.GeoDataFrame(geometry=[corner], crs=32632).to_file(tmp_path / "aoi.gpkg")
    monkeypatch.chdir(tmp_path)
    given = {"attributes": Path("own.csv"), "aoi": Path("aoi.gpkg")}
    single = mapped_alone([scene], tmp_path / "alone", **given)
    result = run([scene], tmp_path / "out", client=client, extra={"strip_tiles": 20}, **given)
    assert result.clean and tables(result.scenes[0].output) == tables(single["s"])
    assert 20 < result.counts.planned < 14 * 11
    assert all("tcp" in worker for (worker,) in rows(result.manifest, "SELECT worker FROM strips"))


def test_a_model_from_elsewhere_is_loaded_by_workers(client, make_raster, noise, tmp_path, monkeypatch):
    """Named by a path of the client's folder, its weights a pickle."""
    pytest.importorskip("transformers", reason="the extra `hub` is not installed")
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))
    scene, folder = make_raster(noise(3, 500, 700)), save_clip(tmp_path / "clip", pickle=True)
    monkeypatch.chdir(folder.parent)
    given = {"model": "clip", "trust_pickle": True, "device": "cpu", "overlap": 0.5}
    single = rszsl.map_scene(scene, "forest,river", output=tmp_path / "single.gpkg", **given)
    result = rszsl.map_scenes([scene], "forest,river", out=tmp_path / "out", client=client, strip_tiles=5, **given)
    assert result.clean
    mine = gpd.read_file(result.scenes[0].output, layer="tiles")
    assert mine.geometry.equals(single.tiles.geometry) and mine["class"].equals(single.tiles["class"])
    np.testing.assert_allclose(mine["confidence"], single.tiles["confidence"], atol=1e-4)


def test_workers_keep_memory_for_the_next_layer(client, few, tmp_path):
    """Arrays of 2 MB, one after the other, on the same pages: Dask's nannies ask for the contrary."""
    run(few[0], tmp_path / "out", client=client)

    def faults():
        import resource

        import numpy as np

        np.ones(2**18)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(100):
            np.ones(2**18)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    counts = client.run(faults)
    assert len(counts) == 2 and max(counts.values()) < 100 * 512 / 4  # of 512 pages each


def worker_pids(cluster):
    """Processes that run tasks: what the nannies' fork servers forked."""
    nannies = [p for process in cluster.processes[1:] if process.poll() is None for p in [psutil.Process(process.pid)]]
    return [grandchild.pid for n in nannies for child in n.children() for grandchild in child.children()]


def kill_now_and_then(cluster, seed, kills, over):
    """kill -9 a worker at `kills` random moments."""
    dice = random.Random(seed)
    while kills and not over.wait(dice.uniform(0.2, 1.0)):
        try:
            os.kill(dice.choice(worker_pids(cluster)), signal.SIGKILL)
            kills -= 1
        except (IndexError, ProcessLookupError, psutil.NoSuchProcess):
            continue  # between two lives
    return kills


def test_workers_are_killed_at_random_moments(cluster, client, few, tmp_path):
    scenes, alone = few
    left, rounds = KILLS, 0
    while left and rounds < 10:
        over, after = threading.Event(), []
        killer = threading.Thread(target=lambda: after.append(kill_now_and_then(cluster, rounds, left, over)))  # noqa: B023
        killer.start()
        out = tmp_path / f"out{rounds}"
        result = run(scenes, out, client=client, source=SLOW, extra={"retries": 40})
        over.set()
        killer.join()
        assert result.clean, [s.error for s in result.failed]
        check_same(out, alone)
        left, rounds = after[0], rounds + 1
    assert left == 0


def test_a_scene_that_kills_workers_is_named_and_the_others_are_mapped(client, few, tmp_path):
    scenes, alone = few
    poison = write_scene(tmp_path / "poison.tif", 2, 2, "m")
    notes = Notes()
    result = run([poison, *scenes], tmp_path / "out", client=client, progress=notes, extra={"retries": 2})
    assert [(Path(s.path).name, s.state) for s in result.failed] == [("poison.tif", "failed")]
    assert "kills its worker" in result.failed[0].error and any(
        "tried alone, at the end" in said for said in notes.said
    )
    for path in alone.values():
        assert tables(tmp_path / "out" / path.name) == tables(path)


def test_a_bad_strip_does_not_take_its_scene_along(client, tmp_path, monkeypatch):
    image = write_scene(tmp_path / "large.tif", 30, 10)
    import rasterio

    with rasterio.open(image, "r+") as sink:
        magenta = sink.read(window=((160, 176), (0, 16)))
        magenta[:] = [[[250]], [[5]], [[250]]]
        sink.write(magenta, window=((160, 176), (0, 16)))
    result = run([image], tmp_path / "out", client=client, extra={"retries": 1})
    (scene,) = result.scenes
    assert scene.state == "partial" and "kills its worker" in scene.error
    assert scene.counts.adds_up and scene.counts.failed == 60  # one strip of six rows
    harmless = ColourSource(once=str(tmp_path))
    (tmp_path / "kill").touch()
    monkeypatch.setattr(worker, "_models", {})  # the model that this process kept would kill it
    again = run([image], tmp_path / "out", source=harmless)
    assert again.clean and rows(again.manifest, "SELECT sum(attempts > 1) FROM strips")[0][0] == 1


def test_a_worker_that_hangs_is_restarted(client, few, tmp_path):
    scenes, alone = few
    stuck = write_scene(tmp_path / "stuck.tif", 2, 2, "c")
    source = ColourSource(digest="colours that hang once", once=str(tmp_path))
    notes = Notes()
    result = run([stuck, *scenes], tmp_path / "out", client=client, source=source, progress=notes,
                 extra={"timeout_s": 15.0})  # fmt: skip
    assert result.clean and any("took more than 15 s" in said and "stuck.tif" in said for said in notes.said)
    ((attempts,),) = rows(result.manifest, "SELECT attempts FROM scenes WHERE name = 'stuck'")
    assert attempts == 2 and all(tables(tmp_path / "out" / p.name) == tables(p) for p in alone.values())


CLIENT = """
import sys
from pathlib import Path
from batches import run
from fakes import SLOW
from distributed import Client
from rszsl.batch.told import BatchProgress, JsonScreen
folder, out, address = sys.argv[1:]
with Client(address, set_as_default=False) as client:
    scenes = sorted(Path(folder).glob("*.tif"))
    result = run(scenes, Path(out), client=client, source=SLOW, progress=BatchProgress(JsonScreen()))
"""


def link(scenes, folder):
    folder.mkdir()
    for scene in scenes:
        (folder / scene.name).write_bytes(scene.read_bytes())
    return folder


def start_client(folder, out, cluster, events):
    """A client process, once it has told of so many finished scenes or strips."""
    line = [sys.executable, "-c", CLIENT, str(folder), str(out), cluster.address]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    process = subprocess.Popen(line, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for text in process.stdout:
        events -= json.loads(text)["event"] in ("progress", "done")
        if events <= 0:
            return process
    raise AssertionError(process.stderr.read())


def alone_in(folder, tmp_path):
    return mapped_alone(sorted(folder.glob("*.tif")), tmp_path / "alone")


def test_the_client_is_killed_and_the_run_goes_on(cluster, client, few, tmp_path):
    folder, out = link(few[0], tmp_path / "in"), tmp_path / "out"
    process = start_client(folder, out, cluster, 6)
    process.kill()
    process.communicate()
    done = rows(out / "manifest.sqlite", "SELECT scene, first_row FROM strips WHERE state = 'done'")
    result = run([folder], out, client=client, source=SLOW)
    assert result.clean and done
    check_same(out, alone_in(folder, tmp_path))


def test_the_scheduler_is_killed_and_the_run_goes_on(few, tmp_path):
    folder, out = link(few[0], tmp_path / "in"), tmp_path / "out"
    with Cluster(workers=1) as cluster:
        cluster.client(1).close()
        process = start_client(folder, out, cluster, 6)
        cluster.scheduler.kill()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1 and "ClusterError: lost the scheduler" in said
        for old in cluster.processes:
            end(old)
        cluster.scheduler = cluster.start_scheduler()
        cluster.start_workers(1)
        with cluster.client(1) as client:
            assert run([folder], out, client=client, source=SLOW).clean
    check_same(out, alone_in(folder, tmp_path))


def foreign_package(folder, version, init=""):
    """A folder that, on PYTHONPATH, makes rszsl be of another version, or not there."""
    info = folder / "rszsl-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rszsl\nVersion: {version}\n")
    if init:
        (folder / "rszsl").mkdir()
        (folder / "rszsl" / "__init__.py").write_text(init)
    return {"PYTHONPATH": str(folder)}


def test_workers_of_another_kind_are_named_and_refused(cluster, client, few, tmp_path):
    """Another version; no package at all; beside workers that fit."""
    scenes, alone = few
    old = foreign_package(tmp_path / "old", "0.0.1")
    none = foreign_package(tmp_path / "none", "0.0.1", 'raise ImportError("No module named rszsl")')
    strangers = [cluster.start_workers(nanny=False, environment=kind) for kind in (old, none)]
    try:
        client.wait_for_workers(4, timeout=120)
        notes = Notes()
        result = run(scenes, tmp_path / "out", client=client, progress=notes)
    finally:
        for stranger in strangers:
            end(stranger)
    assert result.clean
    check_same(tmp_path / "out", alone)
    refused = sorted(said for said in notes.said if "is refused" in said)
    assert len(refused) == 2 and any("it has rszsl 0.0.1, this is" in said for said in refused)
    assert any("ImportError: No module named rszsl" in said for said in refused)
    guilty = {said.split()[1] for said in refused}
    used = {worker for (worker,) in rows(result.manifest, "SELECT DISTINCT worker FROM strips")}
    assert used and not used & guilty
    while len(client.nthreads()) > 2:
        time.sleep(0.1)


def test_another_checkpoint_and_missing_gpus_are_refused_before_anything_is_submitted(client, few, tmp_path):
    class Elsewhere(ColourSource):
        """Its model is another one wherever it is asked; workers know it as what `ColourSource` finds."""

        def __reduce__(self):
            return ColourSource, ("another",)

    with pytest.raises(rszsl.ClusterError, match=r"no worker fits: tcp://.* \(its model is another one"):
        run(few[0], tmp_path / "out", client=client, source=Elsewhere())
    from rszsl.batch.mapping import run_batch
    from rszsl.batch.options import BatchOptions
    from rszsl.batch.scenes import expand
    from rszsl.options import MapOptions

    with pytest.raises(rszsl.ClusterError, match="--device cuda asks for GPUs, and no worker has one; start workers"):
        run_batch(
            expand([str(few[0][0])]), CLASSES, tmp_path / "gpu", ColourSource(), MapOptions(device="cuda"),
            BatchOptions(), client, Notes(),
        )  # fmt: skip
    assert rows(tmp_path / "gpu" / "manifest.sqlite", "SELECT sum(attempts) FROM scenes") == [(0,)]


def test_units_ask_for_the_gpu_where_workers_advertise_it(few, tmp_path):
    with Cluster(workers=0) as cluster:
        cluster.start_workers(1, arguments=["--resources", "GPU=1"])
        cluster.start_workers(1)
        with cluster.client(2) as client:
            from rszsl.batch.mapping import run_batch
            from rszsl.batch.options import BatchOptions
            from rszsl.batch.scenes import expand
            from rszsl.options import MapOptions

            listed = expand([str(s) for s in few[0]])
            result = run_batch(
                listed, CLASSES, tmp_path / "out", ColourSource(), MapOptions(), BatchOptions(), client, Notes()
            )
    assert result.clean
    assert len(rows(result.manifest, "SELECT DISTINCT worker FROM strips")) == 1


def test_a_local_cluster_by_the_command_line(make_raster, noise, tmp_path):
    """With the bundled model, in a process of its own as a user has it."""
    for i in range(2):
        make_raster(noise(3, 200, 300, seed=i), f"s{i}.tif")
    line = [sys.executable, "-m", "rszsl", "batch", str(tmp_path / "*.tif"), "--classes", "forest", "--device", "cpu"]
    line += ["--out", str(tmp_path / "out"), "--scheduler", "local", "--workers", "1", "--progress", "json"]
    report = tmp_path / "report.html"
    drawn = find_spec("bokeh") is not None
    line += ["--report", str(report)] if drawn else []
    done = subprocess.run(line, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert report.exists() == drawn
    events = [json.loads(text) for text in done.stdout.splitlines()]
    assert "dashboard: http" in events[0]["message"] and events[-1]["batch"]["scenes_done"] == 2
    assert len(list((tmp_path / "out").glob("*.gpkg"))) == 2


def test_nobody_answers(tmp_path, capsys, monkeypatch):
    from rszsl.batch import cluster
    from rszsl.cli import main

    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with pytest.raises(SystemExit) as exit_:
        main(["batch", "x.tif", "--classes", "a", "--out", str(tmp_path / "o"), "--scheduler", "tcp://127.0.0.1:9"])
    assert exit_.value.code == 1 and "no scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
