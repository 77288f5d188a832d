"""The manifest: what became of every scene and strip, in SQLite; it survives the client, the scheduler, the workers."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rszsl.batch.scenes import SceneRef
from rszsl.batch.schema import DONE, FAILED, LABELLED, PARTIAL, RUNNING, SKIPPED, TABLES, WAITING
from rszsl.batch.work import Outcome, SceneFacts, Strip, Unit
from rszsl.errors import BatchError
from rszsl.labels.collect import Counts
from rszsl.output.cache import CacheKey

MANIFEST_NAME = "manifest.sqlite"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class SceneRow:
    """A scene of the manifest; names as its columns."""

    id: int
    path: str
    name: str
    state: str
    seconds: float | None
    error: str | None
    output: str | None
    counts: Counts | None


class Manifest:
    """An open manifest; one run at a time holds it.

    Args:
        path: the SQLite file.
        identity: what the batch is, as JSON values; `{"options.overlap": 0.5, ...}`.
        overwrite: begin anew, whatever is there.

    Raises:
        BatchError: where another run holds it, or it is of a batch that differs.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self._lock = _hold(path.with_name(f"{path.name}-lock"), path)
        if overwrite:
            path.unlink(missing_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.executescript(TABLES)
            self._db.execute("BEGIN")
            self._check(identity)
        except sqlite3.DatabaseError as err:
            self._lock.close()
            raise BatchError(
                f"{path} is no manifest ({err}); give another --out, or --overwrite to begin anew"
            ) from err
        except BatchError:
            self.close()
            raise

    def commit(self) -> None:
        """Make everything so far last."""
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Commit, and let another run in."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.close()
        self._lock.close()

    def rollback(self) -> None:
        """Forget what was not committed."""
        self._db.execute("ROLLBACK")
        self._db.execute("BEGIN")

    def add(self, scenes: Iterable[SceneRef]) -> list[str]:
        """List the scenes of this run; those that an earlier run finished stay so, the others wait again.

        Returns:
            Names of the scenes that no run has listed before.
        """
        (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM scenes").fetchone()
        self._db.execute("UPDATE scenes SET listed = 0")
        taken: dict[str, str] = dict(self._db.execute("SELECT name, path FROM scenes").fetchall())
        self._db.executemany(
            "INSERT INTO scenes (path, name, size, mtime_ns) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (path) DO UPDATE SET listed = 1",
            ((s.path, s.name if taken.get(s.name, s.path) == s.path else s.long_name, *_stat(s.path)) for s in scenes),
        )
        self._db.execute(
            "UPDATE scenes SET state = ? WHERE listed AND state IN (?, ?, ?)", (WAITING, RUNNING, FAILED, PARTIAL)
        )
        self._db.execute(
            "UPDATE strips SET state = ? WHERE state IN (?, ?) AND scene IN (SELECT id FROM scenes WHERE listed)",
            (WAITING, RUNNING, FAILED),
        )
        return [name for (name,) in self._db.execute("SELECT name FROM scenes WHERE id > ? ORDER BY id", (last,))]

    def touched(self) -> list[tuple[int, str, str, int]]:
        """Scenes that a worker has opened and whose file has another size or time since.

        Returns:
            Number, path, fingerprint, and how many of its strips are done.
        """
        done = f"(SELECT count(*) FROM strips WHERE scene = id AND strips.state = '{DONE}')"
        rows = self._db.execute(
            f"SELECT id, path, size, mtime_ns, facts, {done} FROM scenes WHERE listed AND facts IS NOT NULL"
        )
        found = []
        for scene, path, size, mtime_ns, facts, strips in rows.fetchall():
            now = _stat(path)
            if now[0] is not None and now != (size, mtime_ns):
                found.append((scene, path, json.loads(facts)["key"]["fingerprint"], strips))
        return found

    def forget(self, scene: int) -> None:
        """Drop what was learnt of a scene."""
        self._db.execute("UPDATE scenes SET facts = NULL, planned_bits = NULL WHERE id = ?", (scene,))
        self._db.execute("DELETE FROM strips WHERE scene = ?", (scene,))

    def unfinished(self) -> Iterator[SceneRow]:
        """Scenes of this run that are neither done nor skipped, in order, read as they are needed."""
        last = 0
        open_ = f"listed AND state NOT IN ('{DONE}', '{SKIPPED}', '{LABELLED}')"
        while rows := self._rows(f"id > {last} AND {open_} ORDER BY id LIMIT 500"):
            yield from rows
            last = rows[-1].id

    def scenes(self, *states: str) -> list[SceneRow]:
        """Scenes of this run, in one of these states (default: in any)."""
        among = ", ".join(f"'{state}'" for state in states)
        return self._rows(f"listed {f'AND state IN ({among})' if states else ''} ORDER BY id")

    def scene(self, scene: int) -> SceneRow:
        """One scene."""
        return self._rows(f"id = {int(scene)}")[0]

    def count(self, *states: str) -> int:
        """How many scenes of this run are in one of these states (default: in any)."""
        marks = ", ".join("?" * len(states))
        where = f" AND state IN ({marks})" if states else ""
        return int(self._db.execute(f"SELECT count(*) FROM scenes WHERE listed{where}", states).fetchone()[0])

    def facts(self, scene: int) -> SceneFacts | None:
        """What the first worker learnt of a scene; None before."""
        text, bits = self._db.execute("SELECT facts, planned_bits FROM scenes WHERE id = ?", (scene,)).fetchone()
        if text is None:
            return None
        kept = json.loads(text)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept["key"].items()}
        rows = self._db.execute(
            "SELECT first_row, stop_row, tiles FROM strips WHERE scene = ? ORDER BY first_row", (scene,)
        )
        return SceneFacts(CacheKey(**values), tuple(Strip(*row) for row in rows), tuple(kept["warnings"]), bits)

    def device(self, scene: int) -> str:
        """Where the model ran for this scene."""
        return str(self._db.execute("SELECT device FROM scenes WHERE id = ?", (scene,)).fetchone()[0])

    def strips_in(self, scene: int, state: str) -> dict[int, str | None]:
        """Strips of a scene that are in a state: first row -> error."""
        rows = self._db.execute("SELECT first_row, error FROM strips WHERE scene = ? AND state = ?", (scene, state))
        return dict(rows.fetchall())

    def started(self, unit: Unit, worker: str) -> None:
        """A worker has begun a unit."""
        self._unit(unit, "state = ?, worker = ?, attempts = attempts + 1", (RUNNING, worker))
        if unit.strip:
            self._db.execute("UPDATE scenes SET state = ? WHERE id = ?", (RUNNING, unit.scene))

    def learnt(self, scene: int, facts: SceneFacts, outcome: Outcome) -> None:
        """Keep the facts of a scene, and its strips."""
        kept = {"key": facts.key.to_json(), "warnings": facts.warnings}
        size, mtime_ns = _stat(self.scene(scene).path)
        self._db.execute(
            "UPDATE scenes SET facts = ?, planned_bits = ?, device = ?, size = ?, mtime_ns = ?, planned = ?"
            " WHERE id = ?",
            (json.dumps(kept), facts.planned, outcome.device, size, mtime_ns, facts.tiles, scene),
        )
        self._db.execute("DELETE FROM strips WHERE scene = ?", (scene,))
        self._db.executemany(
            "INSERT INTO strips (scene, first_row, stop_row, tiles) VALUES (?, ?, ?, ?)",
            [(scene, s.first_row, s.stop_row, s.tiles) for s in facts.strips],
        )

    def strip_done(self, scene: int, strip: Strip, outcome: Outcome) -> None:
        """The labels of a strip are safe."""
        self._db.execute(
            "UPDATE strips SET state = ?, worker = ?, seconds = ?, error = NULL, attempts = max(attempts, 1)"
            " WHERE scene = ? AND first_row = ?",
            (DONE, outcome.worker, outcome.seconds, scene, strip.first_row),
        )

    def strips_kept(self, scene: int, strips: Iterable[Strip]) -> None:
        """The labels of these strips were found safe."""
        self._db.executemany(
            "UPDATE strips SET state = ?, error = NULL, attempts = max(attempts, 1) WHERE scene = ? AND first_row = ?",
            [(DONE, scene, strip.first_row) for strip in strips],
        )

    def unit_waits(self, unit: Unit, error: str | None) -> None:
        """A unit is to be tried again."""
        self._unit(unit, "state = ?, error = ?", (WAITING, error))

    def strip_failed(self, unit: Unit, error: str) -> None:
        """A strip has used up its attempts."""
        self._unit(unit, "state = ?, error = ?", (FAILED, error))

    def scene_ended(
        self, scene: int, state: str, *, counts: Counts | None = None, output: str | None = None,
        error: str | None = None,
    ) -> None:  # fmt: skip
        """A scene is labelled, done, partial, skipped or failed."""
        numbers = counts.to_record() if counts else dict.fromkeys(("planned", "labelled", "other", "nodata", "failed"))
        self._db.execute(
            "UPDATE scenes SET state = ?, output = ?, error = ?, planned = ?, labelled = ?, other = ?, nodata = ?,"
            " failed = ?, seconds = (SELECT sum(seconds) FROM strips WHERE scene = id) WHERE id = ?",
            (state, output, error, *(numbers[k] for k in ("planned", "labelled", "other", "nodata", "failed")), scene),
        )
        if state == FAILED:
            self._db.execute("UPDATE strips SET state = ? WHERE scene = ?", (FAILED, scene))

    def parts(self) -> dict[int, tuple[str, list[int]]]:
        """Files of a dataset, begun or finished: number -> CRS and its scenes."""
        found: dict[int, tuple[str, list[int]]] = {}
        for number, crs, scene in self._db.execute("SELECT number, crs, scene FROM parts ORDER BY number, scene"):
            found.setdefault(number, (crs, []))[1].append(scene)
        return found

    def add_part(self, number: int, crs: str, scenes: Sequence[int]) -> None:
        """Decide which scenes go into a file of a dataset, for good."""
        self._db.executemany("INSERT INTO parts VALUES (?, ?, ?)", [(number, crs, scene) for scene in scenes])
        self.commit()

    def _unit(self, unit: Unit, change: str, values: tuple[Any, ...]) -> None:
        if unit.strip is None:
            self._db.execute(f"UPDATE scenes SET {change} WHERE id = ?", (*values, unit.scene))
        else:
            where = "scene = ? AND first_row = ?"
            self._db.execute(f"UPDATE strips SET {change} WHERE {where}", (*values, unit.scene, unit.strip.first_row))

    def _rows(self, where: str) -> list[SceneRow]:
        counts = "planned, labelled, other, nodata, failed"
        rows = self._db.execute(
            f"SELECT id, path, name, state, seconds, error, output, {counts} FROM scenes WHERE {where}"
        )
        return [_scene_row(row) for row in rows.fetchall()]

    def _check(self, identity: dict[str, Any]) -> None:
        mine = {"format": FORMAT} | identity
        kept = {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM batch")}
        if not kept:
            rows = [(name, json.dumps(value)) for name, value in mine.items()]
            self._db.executemany("INSERT INTO batch VALUES (?, ?)", rows)
            return
        plain = json.loads(json.dumps(mine))
        differing = [f"{k} was {kept.get(k)}, is {plain.get(k)}" for k in kept | plain if kept.get(k) != plain.get(k)]
        if differing:
            raise BatchError(
                f"{self.path} is of another batch: {'; '.join(differing)}; "
                "give another --out, or --overwrite to begin anew"
            )


def _hold(lock: Path, manifest: Path) -> sqlite3.Connection:
    """Hold a lock that ends with this process, however it ends."""
    db = sqlite3.connect(lock, isolation_level=None, timeout=0)
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as err:
        db.close()
        raise BatchError(f"another run is writing {manifest.parent}; wait for it, or give another --out") from err
    return db


def _scene_row(row: tuple[Any, ...]) -> SceneRow:
    scene, path, name, state, seconds, error, output, *counts = row
    known = None if None in counts else Counts(*counts)
    return SceneRow(scene, path, name, state, seconds, error, output, known)


def _stat(path: str) -> tuple[int, int] | tuple[None, None]:
    """Size and time of a file of this machine; (None, None) for anything else."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None, None
    return found.st_size, found.st_mtime_ns
