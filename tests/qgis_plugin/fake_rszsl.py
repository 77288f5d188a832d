#!/usr/bin/python3
"""Stands in for the command: what it does is told by the variable FAKE_RSZSL. Standard library only."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

POSITIONAL = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
LISTED = []
if POSITIONAL and POSITIONAL[0].endswith(".csv"):
    with Path(POSITIONAL[0]).open(encoding="utf-8", newline="") as table:
        LISTED = [row["scene"] for row in csv.DictReader(table)]


def option(name):
    return next((a.split("=", 1)[1] for a in sys.argv if a.startswith(f"--{name}=")), "")


def say(event, **more):
    print(json.dumps({"event": event, "scene": POSITIONAL[0], "total": 4, **more}), flush=True)


def write_map(path):
    with closing(sqlite3.connect(f"{path}.part")) as db, db:
        db.execute("CREATE TABLE runs (fid INTEGER, scene TEXT, planned INTEGER, options TEXT)")
        db.execute("INSERT INTO runs VALUES (1, ?, 4, '{}')", (POSITIONAL[0],))
    Path(f"{path}.part").replace(path)  # whole under its name, as the command does


def write_similar(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE gpkg_contents (table_name TEXT, data_type TEXT)")
        db.execute("INSERT INTO gpkg_contents VALUES ('similar', 'features')")
        db.execute("CREATE TABLE similar (rank INTEGER)")
        db.execute("INSERT INTO similar VALUES (1), (2)")


def hang():
    for name in ("output", "cache"):
        if option(name):
            Path(option(name)).write_text("half of it")
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", stubborn])
    Path(os.environ["FAKE_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def keep(variable, path):
    """Copy what the plugin wrote for the command, which takes it away afterwards."""
    if os.environ.get(variable) and path:
        shutil.copy(path, os.environ[variable])


def work(mode):
    say("start", done=0)
    say("progress", done=1, tiles_per_s=12.5)
    if mode == "fail":
        print("some library talks\nerror: the scene is rotated; make it north-up first", file=sys.stderr)
        say("error", message="the scene is rotated; make it north-up first")
        sys.exit(1)
    if mode == "die":
        os.kill(os.getpid(), 9)
    keep("FAKE_KEEP", POSITIONAL[0])
    keep("FAKE_EXAMPLES", option("examples"))
    say("warning", message="coarse scene")
    outputs = [option("output")] if option("output") else []
    outputs = outputs or [f"{option('out')}/{Path(scene).stem}.rszsl.gpkg" for scene in LISTED or POSITIONAL]
    for output in outputs:
        write_map(output)
    if option("cache"):
        Path(option("cache")).write_text("a cache")
    say("progress", done=4, tiles_per_s=20)
    say("done", done=4, output=outputs[-1], message="4 tiles")


def batch():
    """As the command tells of a batch, two scenes at once; one of three fails."""
    done, rest = LISTED[:-1], LISTED[-1]
    tally = {"scenes_total": len(LISTED), "tiles_per_s": 7}
    say("start", scene=None, message=f"{len(LISTED)} scenes", batch={**tally, "scenes_done": 0})
    for i, scene in enumerate(done):
        output = f"{option('out')}/{Path(scene).stem}.rszsl.gpkg"
        say("progress", scene=scene, done=i + 1, batch={**tally, "scenes_done": i})
        write_map(output)
        say("done", scene=scene, output=output, message=scene, batch={**tally, "scenes_done": i + 1})
    say("error", scene=rest, message=f"{rest} failed: no raster", batch={**tally, "scenes_done": len(LISTED)})
    Path(option("out"), "manifest.sqlite").touch()
    sys.exit(3)


def main(mode):
    if "--version" in sys.argv:
        print("rszsl, version " + ("0.0.9" if mode == "old" else "9.9.9"))
    elif sys.argv[1] == "models":
        print('name = "fake"\n[input]\npx = 8\ngsd_m = 4.0')
    elif mode == "hang":
        hang()
    elif sys.argv[1] == "batch":
        batch()
    elif sys.argv[1] == "search":
        print("1\t7\t1.0000\n2\t3\t0.9000")
        write_similar(option("output"))
    else:
        work(mode)


if __name__ == "__main__":
    if os.environ.get("FAKE_LOG"):
        Path(os.environ["FAKE_LOG"]).write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
    main(os.environ.get("FAKE_RSZSL", ""))
