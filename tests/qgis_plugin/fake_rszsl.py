#!/usr/bin/python3
"""Stands in for the command: what it does is told by the variable FAKE_RSZSL. Standard library only."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path


def option(name):
    return next((a.split("=", 1)[1] for a in sys.argv if a.startswith(f"--{name}=")), "")


def say(event, **more):
    print(json.dumps({"event": event, "scene": sys.argv[-1], "total": 4, **more}), flush=True)


def write_map(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE runs (fid INTEGER, scene TEXT, planned INTEGER)")
        db.execute("INSERT INTO runs VALUES (1, ?, 4)", (sys.argv[-1],))


def work(mode):
    say("start", done=0)
    say("progress", done=1, tiles_per_s=12.5)
    if mode == "fail":
        print("some library talks\nerror: the scene is rotated; make it north-up first", file=sys.stderr)
        say("error", message="the scene is rotated; make it north-up first")
        sys.exit(1)
    if mode == "die":
        os.kill(os.getpid(), 9)
    if mode == "hang":
        Path(option("output")).write_text("half a map")
        stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", stubborn])
        Path(os.environ["FAKE_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if os.environ.get("FAKE_KEEP"):
        shutil.copy(sys.argv[-1], os.environ["FAKE_KEEP"])
    say("warning", message="coarse scene")
    write_map(option("output"))
    say("progress", done=4, tiles_per_s=20)
    say("done", done=4, output=option("output"), message="4 tiles")


if __name__ == "__main__":
    if os.environ.get("FAKE_LOG"):
        Path(os.environ["FAKE_LOG"]).write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
    if "--version" in sys.argv:
        print("rszsl, version " + ("0.0.9" if os.environ.get("FAKE_RSZSL") == "old" else "9.9.9"))
    elif sys.argv[1] == "models":
        print('name = "fake"\n[input]\npx = 8\ngsd_m = 4.0')
    else:
        work(os.environ.get("FAKE_RSZSL", ""))
