"""Labels as Arrow IPC: what a worker sends and what lies on disk until a scene is complete. No geometry."""

from dataclasses import fields

import numpy as np
import pyarrow as pa

from rszsl.labels.collect import TILE_ARRAYS, SceneLabels
from rszsl.labels.voices import Voices

FAILURE = "failure"
_WHOLE, _PART = ("whole", "attribute", "contribution"), ("part", "sums")
"""Fields of `Voices` with a row for each whole area, and for each piece of one."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def pack(labels: SceneLabels) -> bytes:
    """Write labels as Arrow IPC streams, one of tiles and two of areas.

    Whole numbers become int32, rows of a matrix lists of fixed size.
    """
    columns = {name: _column(getattr(labels, name)) for name in TILE_ARRAYS}
    reasons = [labels.failures.get(i) for i in range(len(labels.tile_ids))] if labels.failures else None
    columns[FAILURE] = pa.array(reasons or [None] * len(labels.tile_ids), type=pa.string())
    tables = [columns]
    if labels.voices is not None:
        tables += [{name: _column(getattr(labels.voices, name)) for name in names} for names in (_WHOLE, _PART)]
    sink = pa.BufferOutputStream()
    for table in map(pa.table, tables):
        with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(part: bytes) -> SceneLabels:
    """Read back what `pack` wrote."""
    source = pa.BufferReader(part)
    table = pa.ipc.open_stream(source).read_all()
    labels = SceneLabels(_values(table["tile_ids"]).astype("int64"))
    for name in TILE_ARRAYS:
        getattr(labels, name)[...] = _values(table[name])
    labels.failures.update({i: r for i, r in enumerate(table[FAILURE].to_pylist()) if r is not None})
    if source.tell() < len(part):
        labels.voices = _voices(source)
    return labels


def _voices(source: pa.BufferReader) -> Voices:
    tables = [pa.ipc.open_stream(source).read_all() for _ in (_WHOLE, _PART)]
    found = {name: _values(table[name]) for table in tables for name in table.column_names}
    wide = {name: found[name].astype("int64") for name in ("whole", "attribute", "part")}
    return Voices(**{f.name: wide.get(f.name, found[f.name]) for f in fields(Voices)})


def _column(values: np.ndarray) -> pa.Array:
    narrow = values.astype("int32") if values.dtype == np.int64 else values
    flat = pa.array(narrow.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _values(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks()
    if not pa.types.is_fixed_size_list(whole.type):
        return np.asarray(whole)
    flat: np.ndarray = whole.flatten().to_numpy()
    return flat.reshape(len(whole), whole.type.list_size)
