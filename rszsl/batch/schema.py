"""Tables of the manifest, and the states of scenes and strips."""

TABLES = """
CREATE TABLE IF NOT EXISTS batch (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scenes (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, listed INTEGER NOT NULL DEFAULT 1,
  state TEXT NOT NULL DEFAULT 'waiting', worker TEXT, attempts INTEGER NOT NULL DEFAULT 0, seconds REAL,
  error TEXT, output TEXT, size INTEGER, mtime_ns INTEGER, facts TEXT, planned_bits BLOB, device TEXT,
  planned INTEGER, labelled INTEGER, other INTEGER, nodata INTEGER, failed INTEGER);
CREATE TABLE IF NOT EXISTS strips (
  scene INTEGER NOT NULL REFERENCES scenes (id), first_row INTEGER NOT NULL, stop_row INTEGER NOT NULL,
  tiles INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', worker TEXT, attempts INTEGER NOT NULL DEFAULT 0,
  seconds REAL, error TEXT, PRIMARY KEY (scene, first_row)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (number INTEGER NOT NULL, crs TEXT NOT NULL, scene INTEGER NOT NULL UNIQUE);
CREATE INDEX IF NOT EXISTS scenes_by_state ON scenes (state, listed);
"""
WAITING, RUNNING, LABELLED, DONE, PARTIAL, SKIPPED, FAILED = (
    "waiting", "running", "labelled", "done", "partial", "skipped", "failed",
)  # fmt: skip
"""States. A strip is waiting, running, done or failed. A scene is also `labelled` (its results lie in the work
folder), `partial` (written, but strips of it failed) or `skipped` (the area of interest misses it)."""
