"""The QGIS plugin without QGIS: class lists, commands, events, files, sizes, the zip."""

import ast
import json
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "qgis_plugin"))

import build_zip
from rszsl_processing.core import (
    card,
    classes,
    command,
    events,
    gdal_strings,
    record,
    scenes,
    sizes,
    staging,
)
from rszsl_processing.core.errors import PluginError

CARD = 'name = "dsva"\nversion = "0.1.0"\n\n[input]\npx = 160\ngsd_m = 1.5\n\n[[training.data]]\nname = "aid"\n'


COMING = ({"examples", "class-field"}, {"refine"})
LABEL_OPTIONS = {"classes", "classes-file", "model", "device", "min-confidence", "progress"}.union(*COMING)
MAP_OPTIONS = LABEL_OPTIONS | {"aoi", "crs", "bands", "range", "overlap", "min-valid", "gsd", "batch-size", "views"}


def known_options(name):
    from rszsl.cli import cli

    return {opt.lstrip("-") for p in cli.commands[name].params for opt in p.opts}


class TestClasses:
    def test_commas_and_lines_separate(self):
        assert classes.split_classes("solar farm, quarry\nlake,\n\n forest ") == [
            "solar farm", "quarry", "lake", "forest",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "word"),
        [("", "no class"), ("a,,b", "stray comma"), ("Lake,  lake", "twice"), ("a,Other", "other")],
    )
    def test_bad_lists_are_refused(self, text, word):
        with pytest.raises(PluginError, match=word):
            classes.chosen_classes(text, "")

    def test_file(self, tmp_path):
        file = tmp_path / "ä classes.txt"
        file.write_text("\ufefflake: pond, tarn # water\n\n# no\nforest\n", encoding="utf-8")
        assert classes.chosen_classes("", str(file)) == ["lake", "forest"]
        with pytest.raises(PluginError, match="not both"):
            classes.chosen_classes("a", str(file))
        assert classes.chosen_classes(" ", "", may_be_empty=True) == []
        with pytest.raises(PluginError, match="stray comma"):
            classes.chosen_classes("a,,b", "", may_be_empty=True)
        with pytest.raises(PluginError, match="cannot read the class file"):
            classes.chosen_classes("", str(tmp_path / "none.txt"))

    def test_agrees_with_rszsl(self):
        from rszsl.classes import parse_classes

        assert [c.name for c in parse_classes("solar farm, quarry")] == classes.split_classes("solar farm, quarry")


class TestCommand:
    def test_values_are_never_options(self):
        settings = command.MapSettings(["-x", "b"], options={"gsd": None, "bands": "", "model": "m"})
        built = command.map_command("rszsl", "--scene.tif", "o.gpkg", settings)
        assert built == [
            "rszsl", "map", "--progress=json", "--classes=-x,b", "--model=m", "--output=o.gpkg", "--", "--scene.tif",
        ]  # fmt: skip

    def test_flags_and_examples_without_names(self):
        settings = command.MapSettings(
            options={"examples": "e.gpkg", "class-field": "class", "refine": True, "x": False}
        )
        assert settings.arguments() == ["--examples=e.gpkg", "--class-field=class", "--refine"]

    def test_relabel_and_search(self):
        built = command.relabel_command("rszsl", "-c", "o.gpkg", command.MapSettings(["a"], options={"model": ""}))
        assert built == ["rszsl", "relabel", "--progress=json", "--classes=a", "--output=o.gpkg", "--", "-c"]
        built = command.search_command("rszsl", "c", "o.gpkg", like=["-1,2", "3,4"], like_crs="EPSG:4326", top="5")
        assert built == [
            "rszsl", "search", "--like=-1,2", "--like=3,4", "--like-crs=EPSG:4326", "--top=5", "--output=o.gpkg",
            "--", "c",
        ]  # fmt: skip
        assert command.search_command("rszsl", "c", "o.gpkg", text="--top")[-3:] == ["--", "c", "--top"]
        with pytest.raises(PluginError, match="2000 points are too many"):
            command.search_command("rszsl", "c", "o.gpkg", like=["500000.123,5300000.123"] * 2000)

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("map", MAP_OPTIONS | {"output", "out", "cache"}),
            ("relabel", LABEL_OPTIONS | {"output"}),
            ("search", {"like", "like-crs", "top", "output", "model", "device"}),
        ],
    )
    def test_the_command_line_understands_every_option(self, name, options):
        known = known_options(name)
        for coming in COMING:  # what is to come, comes together
            options = options if coming & known else options - coming
        assert options <= known

    def test_the_command_line_understands_the_batch(self):
        from rszsl.cli import cli

        wanted = MAP_OPTIONS.difference(*COMING) | {"out", "scheduler"}
        assert "batch" not in cli.commands or wanted <= known_options("batch")

    def test_long_lists_are_cut_for_windows(self):
        paths = [f"/data/{i:05d}/{'x' * 200}.tif" for i in range(500)]
        built = command.map_commands("rszsl", paths, "out", command.MapSettings(["a"]))
        assert len(built) > 1
        assert [p for one in built for p in one[one.index("--") + 1 :]] == paths
        assert all(sum(len(part) + 3 for part in one) < 32_000 for one in built)

    def test_a_scheduler_makes_it_a_batch(self):
        (plain,) = command.map_commands("rszsl", ["a.tif"], "out", command.MapSettings(["a"]))
        assert plain == ["rszsl", "map", "--progress=json", "--classes=a", "--out=out", "--", "a.tif"]
        dask = command.batch_command("rszsl", "l.csv", "out", command.MapSettings(["a"]), "tcp://h:1")
        assert dask[1:] == [
            "batch", "--progress=json", "--classes=a", "--scheduler=tcp://h:1", "--out=out", "--", "l.csv",
        ]  # fmt: skip

    @pytest.mark.parametrize("text", ["", "local", "none", "tcp://10.0.0.5:8786", "tls://h:1", "ws://h:1"])
    def test_schedulers(self, text):
        command.check_scheduler(text)

    @pytest.mark.parametrize("text", ["10.0.0.5:8786", "tcp://", "cluster", "tcp://a b"])
    def test_bad_schedulers(self, text):
        with pytest.raises(PluginError, match="tcp://10"):
            command.check_scheduler(text)

    @pytest.mark.parametrize("text", ["", "3", "3,2,1", " 4, 3 ,2 "])
    def test_bands(self, text):
        command.check_bands(text)

    @pytest.mark.parametrize("text", ["0,1,2", "1,2", "a", "1;2;3", "1,2,3,4"])
    def test_bad_bands(self, text):
        with pytest.raises(PluginError, match="3,2,1"):
            command.check_bands(text)

    @pytest.mark.parametrize("text", ["5,1", "1", "a,b", "0,nan", "0,1;2"])
    def test_bad_ranges(self, text):
        with pytest.raises(PluginError, match="range"):
            command.check_range(text)


class TestEvents:
    def test_events(self):
        line = '{"event":"progress","scene":"ü.tif","done":5,"total":20,"tiles_per_s":3.5}'
        event = events.parse_line(line)
        assert (event.kind, event.scene, event.percent, event.tiles_per_s) == ("progress", "ü.tif", 25.0, 3.5)

    def test_batches(self):
        event = events.parse_line('{"event":"progress","scene":"a","batch":{"scenes_done":2,"scenes_total":5}}')
        assert (event.scenes_done, event.scenes_total) == (2, 5)
        assert events.parse_line('{"event":"progress","batch":3}').scenes_total == 0

    @pytest.mark.parametrize("line", ["hello", "[1]", "3", '{"a": 1}', "", "{"])
    def test_anything_else_is_text(self, line):
        assert events.parse_line(line).kind == "text"

    def test_nothing_planned(self):
        assert events.parse_line('{"event":"start","done":0,"total":0,"scene":null}').percent == 0

    @pytest.mark.parametrize(
        ("code", "event", "stderr", "word"),
        [
            (1, "no CRS", ["error: no CRS"], "no CRS"),
            (1, "", ["talk", "error: no CRS", ""], "no CRS"),
            (2, "", ["Usage: rszsl", "", "Error: No such option: --progress"], "update it"),
            (2, "", ["Usage: rszsl", "Error: Missing argument"], "Missing argument"),
            (-9, "", [], "memory"),
            (-15, "", [], "signal 15"),
            (1, "", ["Traceback", "KeyError: 1"], "KeyError: 1"),
            (7, "", [], "exit code 7"),
        ],
    )
    def test_failure_is_one_line(self, code, event, stderr, word):
        message = events.failure_message(code, event, stderr)
        assert word in message
        assert "\n" not in message


class TestFiles:
    def test_scenes(self, tmp_path):
        for name in ("b.tif", "a.tif", "c.png", "deep/d.tif"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [p.name for p in scenes.find_scenes(str(tmp_path), "*.tif; *.jp2")] == ["a.tif", "b.tif"]
        assert len(scenes.find_scenes(str(tmp_path), "**/*.tif")) == 3
        with pytest.raises(PluginError, match=r'fits "\*\.jp2"'):
            scenes.find_scenes(str(tmp_path), "*.jp2")
        (tmp_path / "deep" / "a.tif").touch()
        with pytest.raises(PluginError, match="map them apart"):
            scenes.find_scenes(str(tmp_path), "**/*.tif")

    def test_names_agree_with_rszsl(self, tmp_path):
        from rszsl.pipeline import default_output

        scene = tmp_path / "a.b.tif"
        assert default_output(str(scene), "gpkg", tmp_path).name == scenes.result_name(scene)

    def test_staging_leaves_nothing(self, tmp_path):
        def half_done():
            with staging.staging(tmp_path / "new") as stage:
                (stage / "half").touch()
                raise PluginError("stop")

        with pytest.raises(PluginError):
            half_done()
        assert list((tmp_path / "new").iterdir()) == []

    def test_a_new_cache_appears_when_it_is_whole(self, tmp_path):
        target = tmp_path / "neu" / "ä.rszsl-cache"

        def cancelled():
            with staging.cache_file(str(target)) as path:
                Path(path).write_text("half")
                raise PluginError("cancelled")

        with pytest.raises(PluginError):
            cancelled()
        assert list(target.parent.iterdir()) == []
        with staging.cache_file(str(target)) as path:
            assert path != str(target)
            Path(path).write_text("whole")
        assert target.read_text() == "whole"
        assert list(target.parent.iterdir()) == [target]

    def test_a_cache_that_is_there_is_used_and_none_is_none(self, tmp_path):
        there = tmp_path / "c"
        there.write_text("cache")
        with staging.cache_file(str(there)) as path:
            assert path == str(there)
        with staging.cache_file("") as path:
            assert path == ""
        assert there.read_text() == "cache"

    def test_options_in_the_record_are_corrected(self, tmp_path):
        path = tmp_path / "o.gpkg"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE runs (fid INTEGER, options TEXT)")
            db.execute("""INSERT INTO runs VALUES (1, '{"cache": "/tmp/x", "overlap": 0.5}')""")
        record.set_option(path, "cache", "/data/ü.cache")
        (row,) = record.read_runs(str(path))
        assert json.loads(row["options"]) == {"cache": "/data/ü.cache", "overlap": 0.5}

    def test_our_results_are_known(self, tmp_path):
        import numpy as np
        import pyogrio
        import shapely
        from geopandas import GeoDataFrame

        similar, other = tmp_path / "similar.gpkg", tmp_path / "other.gpkg"
        tiles = GeoDataFrame({"rank": np.arange(3)}, geometry=[shapely.box(0, 0, 1, 1)] * 3, crs="EPSG:32632")
        pyogrio.write_dataframe(tiles, similar, layer="similar")
        pyogrio.write_dataframe(tiles, other, layer="similar")
        pyogrio.write_dataframe(tiles, other, layer="mine", append=True)
        assert record.count_similar(str(similar)) == 3
        assert record.is_result(str(similar))
        assert not record.is_result(str(other))
        assert not record.is_result(str(tmp_path / "none.gpkg"))

    def test_record(self, tmp_path):
        path = tmp_path / "ä#?.gpkg"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE runs (fid INTEGER, scene TEXT, classes TEXT)")
            db.execute("""INSERT INTO runs VALUES (1, 's.tif', '[{"name": "lake"}, {"name": "fir"}]')""")
        assert record.record_text(record.read_runs(str(path))) == "scene: s.tif\nclasses: lake, fir"
        assert record.read_runs(str(tmp_path / "none.gpkg")) == []

    def test_card(self):
        assert card.card_number(CARD, "input", "gsd_m") == 1.5
        assert card.card_number(CARD, "input", "none") is None
        assert card.card_text(CARD, "name") == "dsva"

    @pytest.mark.parametrize(
        ("source", "scene"),
        [
            ("/a b/ö.tif", "/a b/ö.tif"),
            ("/a.tif|option:X=Y|option:Z=1", "/a.tif"),
            ("GPKG:/a.gpkg:table", "GPKG:/a.gpkg:table"),
            ("/vsicurl/https://x/y.tif", "/vsicurl/https://x/y.tif"),
            ("/vsimem/x.tif", None),
            ("PG: dbname=x", None),
            ("", None),
        ],
    )
    def test_gdal_strings(self, source, scene):
        assert gdal_strings.opened_by_rszsl(source) == scene

    def test_connections(self):
        assert all(map(gdal_strings.is_connection, ("GPKG:/a:b", "/vsizip/a", "s3://b/k.tif", "gdal://x")))
        assert not any(map(gdal_strings.is_connection, ("/a/b.tif", "b.tif", r"C:\a.tif", "C:/a.tif")))

    def test_sizes(self):
        assert sizes.export_size_px(100, 50.1, 10) == (10, 6)
        with pytest.raises(PluginError, match="above the limit"):
            sizes.export_size_px(1e6, 1e6, 1)
        with pytest.raises(PluginError, match="does not overlap"):
            sizes.export_size_px(0, 10, 1)
        assert "exported first" in sizes.size_warning(6000, 6000)
        assert sizes.size_warning(10, 10) == ""


class TestPackage:
    def test_zip(self, tmp_path):
        path = build_zip.build_zip(tmp_path)
        assert path.stat().st_size < 1_000_000
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
        assert {name.split("/")[0] for name in names} == {"rszsl_processing"}
        for name in ("metadata.txt", "LICENSE", "icon.svg", "__init__.py", "algorithms/map.py"):
            assert f"rszsl_processing/{name}" in names
        assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
        again = build_zip.build_zip(tmp_path / "again")
        assert again.read_bytes() == path.read_bytes()

    def test_bad_metadata(self, tmp_path):
        (tmp_path / "metadata.txt").write_text("[general]\nname=x\n")
        with pytest.raises(build_zip.PackagingError, match="lacks qgisMinimumVersion"):
            build_zip.read_metadata(tmp_path / "metadata.txt")

    def test_versions_agree(self):
        import rszsl_processing

        metadata = build_zip.read_metadata(build_zip.PLUGIN / "metadata.txt")
        assert metadata["version"] == rszsl_processing.__version__
        assert metadata["hasProcessingProvider"] == "yes"

    def test_only_qgis_and_the_standard_library_are_imported(self):
        allowed = set(sys.stdlib_module_names) | {"qgis", "processing", "rszsl_processing"}
        for path in build_zip.PLUGIN.rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
            for node in ast.walk(tree):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    assert name.split(".")[0] in allowed, f"{path} imports {name}"
                    in_core = path.parent.name == "core"
                    assert not (in_core and name.split(".")[0] in ("qgis", "processing")), f"{path} imports {name}"
