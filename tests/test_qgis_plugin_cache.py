"""Relabel from cache, Find similar tiles and examples, in the real QGIS, headless."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
import rasterio
from qgis_home import LEFT, ROOT, TOP, class_pixels, fake, leftovers, lonlat_box, rows

CLASSES = ["forest", "quarry", "lake"]
SCENES = Path(os.environ.get("RSZSL_DATA", ROOT.parent / "shared" / "data")) / "scenes"
REAL = "storage_tanks_2m_3857.tif"


@pytest.fixture(scope="module", params=["painted", REAL])
def scene(request, qgis_scene, tmp_path_factory):
    if request.param == "painted":
        return qgis_scene
    if not (SCENES / REAL).is_file():
        pytest.skip(f"no {SCENES / REAL}")
    # QGIS leaves statistics beside a raster that it draws.
    return Path(shutil.copy(SCENES / REAL, tmp_path_factory.mktemp("scene")))


@pytest.fixture(scope="module")
def cache(qgis, scene, tmp_path_factory):
    """What Map classes keeps where a cache is named."""
    folder = tmp_path_factory.mktemp("Speicher ö")
    kept, output = folder / "Räume 1.rszsl-cache", folder / "map.gpkg"
    code, found, said = qgis.run(
        "rszsl:map", INPUT=scene, CLASSES="solar farm", DEVICE="cpu", CACHE=kept, OUTPUT=output
    )
    assert code == 0, said
    assert found["CACHE"] == str(kept)
    assert sorted(p.name for p in folder.iterdir()) == [kept.name, output.name]
    ((options,),) = rows(output, "SELECT options FROM runs")
    assert json.loads(options)["cache"] == str(kept)
    return kept


# With the real rszsl


def test_relabel(qgis, cache, scene, tmp_path):
    output = tmp_path / "wieder ä.gpkg"
    asked = {"CACHE": cache, "CLASSES": ",".join(CLASSES), "MIN_CONFIDENCE": 0, "DEVICE": "cpu", "OUTPUT": output}
    code, found, said = qgis.run("rszsl:relabel", **asked)
    assert code == 0, said
    assert int(found["PLANNED"]) == int(found["LABELLED"]) + int(found["NODATA"]) > 0
    assert found["REGIONS"] == f"{output}|layername=regions"
    assert rows(output, "SELECT scene FROM runs") == [(str(scene),)]
    assert not leftovers(tmp_path)
    present = {name for (name,) in rows(output, "SELECT DISTINCT class FROM regions")}
    assert present and present <= set(CLASSES)
    pixels = class_pixels(qgis, scene, output, tmp_path / "map.png", classes=CLASSES)
    assert all(pixels[name] > 100 for name in present), pixels


def test_similar_to_a_point(qgis, cache, scene, tmp_path):
    output = tmp_path / "ähnlich.gpkg"
    with closing(sqlite3.connect(cache.with_name("map.gpkg"))) as db:
        (tile,) = db.execute("SELECT tile_id FROM tiles WHERE status != 'nodata' LIMIT 1").fetchone()
    tiles = pyogrio.read_dataframe(cache.with_name("map.gpkg"), layer="tiles").set_index("tile_id")
    place = tiles.loc[[tile]].centroid.to_crs("EPSG:4326").iloc[0]
    point = f"{place.x:.9f},{place.y:.9f} [EPSG:4326]"
    code, found, said = qgis.run("rszsl:similar", CACHE=cache, POINT=point, TOP=3, DEVICE="cpu", OUTPUT=output)
    assert code == 0, said
    similar = pyogrio.read_dataframe(output, layer="similar")
    assert found["COUNT"] == str(len(similar)) and len(similar) == min(3, (tiles["status"] != "nodata").sum())
    assert similar["tile_id"][0] == tile and similar["similarity"][0] == pytest.approx(1, abs=0.01)
    assert similar["similarity"].is_monotonic_decreasing
    colour = class_pixels(qgis, scene, output, tmp_path / "similar.png", "similar", ["its one colour"])
    assert colour["its one colour"] > 100


def test_similar_to_a_text(qgis, cache, tmp_path):
    output = tmp_path / "o.gpkg"
    code, found, said = qgis.run("rszsl:similar", CACHE=cache, TEXT="water", TOP=2, DEVICE="cpu", OUTPUT=output)
    assert (code, found["COUNT"]) == (0, "2"), said
    code, found, said = qgis.run("rszsl:similar", CACHE=cache, TEXT="trees", TOP=1, DEVICE="cpu", OUTPUT=output)
    assert (code, found["COUNT"]) == (0, "1"), said  # its own result may be replaced
    code, _, said = qgis.run("rszsl:similar", CACHE=cache, POINT="0,0 [EPSG:4326]", OUTPUT=tmp_path / "none.gpkg")
    assert code
    assert "has no labelled tile" in said
    assert [p.name for p in tmp_path.iterdir()] == ["o.gpkg"]


@pytest.mark.parametrize("scene", ["painted"], indirect=True)
class TestOfThePaintedScene:
    def test_layers_in_a_project(self, qgis, cache, tmp_path):
        asked = {
            "CACHE": str(cache),
            "TEXT": "water",
            "TOP": 2,
            "DEVICE": "cpu",
            "OUTPUT": str(tmp_path / "Teich.gpkg"),
        }
        project = qgis.inside("project", {"ALGORITHM": "rszsl:similar", **asked})
        assert (project["group"], project["layers"]) == ("Teich", ["similar"])
        assert project["top"] == ["Teich", "an earlier run"]
        assert project["renderers"] == ["singleSymbol"] and project["labels"]
        assert str(cache) in project["abstract"] and "searched for: water" in project["abstract"]
        asked = {"CACHE": str(cache), "CLASSES": "lake", "MIN_CONFIDENCE": 0, "OUTPUT": "TEMPORARY_OUTPUT"}
        project = qgis.inside("project", {"ALGORITHM": "rszsl:relabel", **asked})
        assert project["group"] == "Szene №1 ö.rszsl" and project["layers"] == ["regions", "tiles"]
        assert "lake" in project["classes"] and "classes: lake" in project["abstract"]

    def test_a_model_of_the_model_builder(self, qgis, scene, tmp_path):
        path = tmp_path / "chain.model3"
        assert qgis.inside("model", {"PATH": str(path)}) == {"written": True, "problems": []}
        outputs = {f"{name}:{name}": tmp_path / f"{name}.gpkg" for name in ("points", "again", "like")}
        asked = {"scene": scene, "names": "forest,quarry", "others": "lake", "text": "a lake"}
        code, _, said = qgis.run(path, **asked, **outputs, **{"map:kept": tmp_path / "kept.rszsl-cache"})
        assert code == 0, said
        assert rows(outputs["points:points"], "SELECT count(*) > 0 FROM points") == [(1,)]
        assert rows(outputs["again:again"], "SELECT DISTINCT class FROM tiles") == [("lake",)]
        assert rows(outputs["like:like"], "SELECT count(*) FROM similar") == [(3,)]

    def test_a_cache_of_something_else(self, qgis, cache, scene, tmp_path):
        code, _, said = qgis.run(
            "rszsl:map", INPUT=scene, CLASSES="lake", OVERLAP=0.5, CACHE=cache, OUTPUT=tmp_path / "o.gpkg"
        )
        assert code
        assert "does not fit this run: overlap" in said
        assert list(tmp_path.iterdir()) == []


# With a command that only plays rszsl


def test_a_class_by_examples(qgis, qgis_scene, tmp_path):
    """A layer of points in another CRS teaches a class that has no name."""
    with rasterio.open(qgis_scene) as opened:
        west, _, _, north = opened.bounds
        crs = opened.crs
    clicks = gpd.GeoDataFrame({"art": ["Wiese"]}, geometry=gpd.points_from_xy([west + 50], [north - 50]), crs=crs)
    layer, output = tmp_path / "clicks.gpkg", tmp_path / "o.gpkg"
    clicks.to_crs(4326).to_file(layer)
    code, _found, said = qgis.run(
        "rszsl:map", INPUT=qgis_scene, EXAMPLES=layer, CLASS_FIELD="art", MIN_CONFIDENCE=0, REFINE=True, DEVICE="cpu",
        OUTPUT=output,
    )  # fmt: skip
    assert code == 0, said
    assert rows(output, "SELECT DISTINCT class FROM regions") == [("Wiese",)]
    ((options,),) = rows(output, "SELECT options FROM runs")
    assert json.loads(options)["examples_used"] == {"Wiese": 1} and json.loads(options)["refine"] is True


def test_a_folder_over_a_real_dask_cluster(qgis, qgis_scene, tmp_path):
    folder, out = tmp_path / "Szenen ü", tmp_path / "out"
    folder.mkdir()
    for name in ("eins.tif", "zwei ö.tif"):
        (folder / name).symlink_to(qgis_scene)
    code, found, said = qgis.run(
        "rszsl:batch", INPUT=folder, CLASSES="forest,lake", SCHEDULER="local", DEVICE="cpu", OUTPUT=out
    )
    assert code == 0, said
    assert found["COUNT"] == "2", said
    assert sorted(p.name for p in out.glob("*.gpkg")) == ["eins.rszsl.gpkg", "zwei ö.rszsl.gpkg"]
    ((planned, counted),) = rows(
        out / "eins.rszsl.gpkg", "SELECT planned, labelled + other + nodata + failed FROM runs"
    )
    assert planned == counted > 0


@pytest.fixture
def made_up(tmp_path):
    """A cache for a command that does not look into it."""
    path = tmp_path / "made up.rszsl-cache"
    path.write_text("a cache")
    return str(path)


def test_every_algorithm_explains_itself(qgis):
    declared = qgis.inside("declared", {})
    assert set(declared) == {
        f"rszsl:{name}" for name in ("map", "relabel", "similar", "batch", "model", "doctor", "install")
    }
    for algorithm in declared.values():
        assert algorithm["group"] and algorithm["help"] and len(algorithm["tags"]) > 2 and algorithm["batch"]
        assert not algorithm["problem"]
        assert all(algorithm["parameters"].values()), algorithm
    expected = {"EXAMPLES", "CLASS_FIELD", "REFINE", "CACHE", "CLASSES", "MIN_CONFIDENCE", "DEVICE", "MODEL", "OUTPUT"}
    assert expected <= set(declared["rszsl:map"]["parameters"]) & set(declared["rszsl:relabel"]["parameters"])


def test_what_is_asked_of_the_command(qgis, made_up, tmp_path):
    log = tmp_path / "log.json"

    def asked(**parameters):
        answer = qgis.inside("plain", {"OUTPUT": str(tmp_path / "o.gpkg"), **parameters}, **fake(FAKE_LOG=log))
        assert answer.get("fine"), answer
        return json.loads(log.read_text())["argv"]

    relabel = {"ALGORITHM": "rszsl:relabel", "CACHE": made_up}
    argv = asked(**relabel, CLASSES="-a,b", REFINE=True, MIN_CONFIDENCE=0.25)
    assert argv[:2] == ["relabel", "--progress=json"] and argv[-2:] == ["--", made_up]
    assert set(argv[2:-3]) == {"--classes=-a,b", "--refine", "--min-confidence=0.25", "--device=auto"}
    similar = {"ALGORITHM": "rszsl:similar", "CACHE": made_up, "TOP": 5}
    argv = asked(**similar, POINT="-500040.25,5299992 [EPSG:32632]")
    assert argv[:2] == ["search", "--like=-500040.25,5299992"] and argv[-2:] == ["--", made_up]
    assert {"--like-crs=EPSG:32632", "--top=5", "--device=auto"} <= set(argv)
    argv = asked(**similar, POINT="500040.25,5299992")
    assert not [a for a in argv if a.startswith("--like-crs")]  # meant in the scene's
    argv = asked(**similar, TEXT="--a lake", MODEL="mine")
    assert argv[-3:] == ["--", made_up, "--a lake"] and "--model=mine" in argv


def test_points_of_a_layer(qgis, made_up, tmp_path):
    log = tmp_path / "log.json"
    asked = {
        "ALGORITHM": "rszsl:similar", "CACHE": made_up, "OUTPUT": str(tmp_path / "o.gpkg"), "WHAT": "POINTS",
        "KIND": "MultiPoint?crs=EPSG:4326",
        "PLACES": [("MultiPoint((9.5 48), (9.6 48))", "a"), ("MultiPoint((9 48))", "b")],
        "POINT": "500000,0 [EPSG:32632]",
    }  # fmt: skip
    answer = qgis.inside("examples", asked, **fake(FAKE_LOG=log))
    assert answer["results"]["COUNT"] == 2, answer
    argv = json.loads(log.read_text())["argv"]
    assert argv[1:4] == ["--like=9.5,48", "--like=9.6,48", "--like=9,48"]
    x, y = (float(v) for v in argv[4].removeprefix("--like=").split(","))
    assert (x, y) == (pytest.approx(9), pytest.approx(0, abs=1e-6))  # the clicked one, in the layer's CRS
    assert "--like-crs=EPSG:4326" in argv
    asked["SELECTED"] = [2]
    del asked["POINT"]
    assert qgis.inside("examples", asked, **fake(FAKE_LOG=log))["fine"]
    assert [a for a in json.loads(log.read_text())["argv"] if a.startswith("--like=")] == ["--like=9,48"]


@pytest.mark.parametrize("algorithm", ["rszsl:map", "rszsl:relabel"])
def test_examples(qgis, qgis_scene, made_up, tmp_path, algorithm):
    log, kept = tmp_path / "log.json", tmp_path / "kept.gpkg"
    source = {"INPUT": str(qgis_scene)} if algorithm == "rszsl:map" else {"CACHE": made_up}
    ring = ", ".join(f"{x} {y}" for x, y in lonlat_box(LEFT, TOP - 50, LEFT + 50, TOP))
    asked = {
        "ALGORITHM": algorithm, **source, "OUTPUT": str(tmp_path / "o.gpkg"), "WHAT": "EXAMPLES",
        "KIND": "MultiPolygonZ?crs=EPSG:4326", "CLASS_FIELD": "Nutzung",
        "PLACES": [
            (f"MultiPolygon((({ring})), ((9 48, 9.1 48, 9.1 48.1, 9 48)))", "Häuser"),
            (f"MultiPolygon((({ring})))", None), (None, "lost"), (f"MultiPolygon((({ring})))", " lake "),
        ],
    }  # fmt: skip
    answer = qgis.inside("examples", asked, **fake(FAKE_LOG=log, FAKE_EXAMPLES=kept))
    assert answer.get("fine"), answer
    assert "2 examples without a class or a geometry are left out" in answer["warning"]
    argv = json.loads(log.read_text())["argv"]
    assert "--class-field=class" in argv and not [a for a in argv if a.startswith("--classes")]
    (path,) = (a.removeprefix("--examples=") for a in argv if a.startswith("--examples="))
    assert not Path(path).exists()
    written = pyogrio.read_dataframe(kept)
    assert written["class"].tolist() == ["Häuser", "Häuser", "lake"] and written.crs == "EPSG:4326"
    assert set(written.geom_type) == {"Polygon"} and not written.has_z.any()
    asked |= {"SELECTED": [2], "CLASSES": "lake"}
    answer = qgis.inside("examples", asked, **fake(FAKE_LOG=log))
    assert "there is no example with a class" in answer["failed"]


def test_values_are_checked_before_the_run(qgis, qgis_scene, made_up, tmp_path):
    output = str(tmp_path / "o.gpkg")
    points = tmp_path / "points.geojson"
    place = {"type": "Feature", "properties": {"name": "a"}, "geometry": {"type": "Point", "coordinates": [9, 48]}}
    points.write_text(json.dumps({"type": "FeatureCollection", "features": [place]}))
    relabel = {"ALGORITHM": "rszsl:relabel", "CACHE": made_up, "CLASSES": "a", "OUTPUT": output}
    similar = {"ALGORITHM": "rszsl:similar", "CACHE": made_up, "TEXT": "a", "OUTPUT": output}
    mapped = {"INPUT": str(qgis_scene), "CLASSES": "a", "OUTPUT": output}
    cases = [
        ("there is no cache", {**relabel, "CACHE": "/no/such.cache"}),
        ("names no class", {**relabel, "CLASSES": ""}),
        ("choose their layer too", {**relabel, "CLASS_FIELD": "a"}),
        ('no field "class"; choose the class field among name', {**mapped, "CLASSES": "", "EXAMPLES": str(points)}),
        ('no field "kind"', {**relabel, "EXAMPLES": str(points), "CLASS_FIELD": "kind"}),
        ("there is no cache", {**similar, "CACHE": "/no/such.cache"}),
        ("Give either points or a text", {**similar, "TEXT": ""}),
        ("Give either points or a text", {**similar, "POINTS": str(points)}),
        ("Incorrect parameter value for TOP", {**similar, "TOP": 0}),
        ("must be a GeoPackage", {**similar, "OUTPUT": str(tmp_path / "o.shp")}),
        ('"cluster:1" is no address', {
            "ALGORITHM": "rszsl:batch", "INPUT": str(tmp_path), "CLASSES": "a", "OUTPUT": output,
            "SCHEDULER": "cluster:1",
        }),
    ]  # fmt: skip
    answers = qgis.inside("checks", [case for _, case in cases], **fake())
    for (words, _), answer in zip(cases, answers, strict=True):
        assert words in answer.get("refused", "") + answer.get("failed", ""), f"{words}: {answer}"


@pytest.mark.parametrize("algorithm", ["rszsl:map", "rszsl:relabel", "rszsl:similar"])
def test_cancel_leaves_nothing(qgis, qgis_scene, made_up, tmp_path, algorithm):
    pids, out = tmp_path / "pids", tmp_path / "out"
    out.mkdir()
    asked = {
        "rszsl:map": {"INPUT": str(qgis_scene), "CLASSES": "a", "CACHE": str(out / "new.rszsl-cache")},
        "rszsl:relabel": {"CACHE": made_up, "CLASSES": "a"},
        "rszsl:similar": {"CACHE": made_up, "TEXT": "a"},
    }[algorithm]
    asked |= {"ALGORITHM": algorithm, "OUTPUT": str(out / "o.gpkg"), "PIDS": str(pids)}
    answer = qgis.inside("cancel", asked, **fake("hang", FAKE_PIDS=pids))
    assert answer["took_s"] < 3
    assert "cancelled" in answer["failed"]
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert list(out.iterdir()) == []
    assert Path(made_up).read_text() == "a cache"


def test_a_folder_over_dask(qgis, qgis_scene, tmp_path):
    log, folder, out = tmp_path / "log.json", tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("ä #1, b.tif", "b.tif", "c.tif"):
        (folder / name).symlink_to(qgis_scene)
    asked = {"ALGORITHM": "rszsl:batch", "INPUT": str(folder), "CLASSES": "a", "OUTPUT": str(out)}
    answer = qgis.inside("plain", {**asked, "SCHEDULER": "tcp://host:8786"}, **fake(FAKE_LOG=log))
    assert answer.get("fine"), answer
    assert answer["results"]["COUNT"] == 2, answer
    argv = json.loads(log.read_text())["argv"]
    assert argv[:2] == ["batch", "--progress=json"] and "--scheduler=tcp://host:8786" in argv
    assert argv[-2] == "--" and argv[-1].endswith("scenes.csv")
    assert sorted(p.name for p in out.iterdir()) == ["b.rszsl.gpkg", "c.rszsl.gpkg"]
    assert answer["steps"] == [pytest.approx(100 / 3)]
    assert any("ä #1, b.tif failed: no raster" in line for line in answer["warning"])
    assert any("some tiles or scenes failed" in line for line in answer["warning"])
    answer = qgis.inside("plain", {**asked, "OVERWRITE": True}, **fake(FAKE_LOG=log))
    assert answer["results"]["COUNT"] == 3, answer
    argv = json.loads(log.read_text())["argv"]
    assert argv[0] == "map" and argv[-4:] == ["--", *(str(folder / name) for name in ("b.tif", "c.tif", "ä #1, b.tif"))]


def test_batch_mode_of_the_toolbox(qgis, qgis_scene, made_up, tmp_path):
    """Rows in the dialog of the batch mode; each is a run."""
    for algorithm, asked in {
        "rszsl:relabel": {"CACHE": made_up, "CLASSES": "a,b"},
        "rszsl:similar": {"CACHE": made_up, "TEXT": "a"},
        "rszsl:map": {"INPUT": str(qgis_scene), "CLASSES": "a"},
    }.items():
        table = tmp_path / "rows.json"
        outputs = [tmp_path / f"{algorithm[6:]} {i}.gpkg" for i in (1, 2)]
        plain = {name: repr(value) for name, value in asked.items()}
        table.write_text(json.dumps([{"PARAMETERS": plain, "OUTPUTS": {"OUTPUT": str(o)}} for o in outputs]))
        assert qgis.inside("batch_mode", {"ALGORITHM": algorithm, "ROWS": str(table)}, **fake()) == 2
        assert all(output.is_file() for output in outputs), algorithm
