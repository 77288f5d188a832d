"""Labels as Arrow IPC: what a worker sends and what lies on disk until a scene is complete. No geometry."""

import numpy as np
import pyarrow as pa

from rszsl.labels.collect import TILE_ARRAYS, SceneLabels

FAILURE = "failure"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def pack(labels: SceneLabels) -> bytes:
    """Write labels as one Arrow IPC stream; whole numbers as int32, ranks (n, 3) as lists of fixed size."""
    columns = {name: _column(getattr(labels, name)) for name in TILE_ARRAYS}
    reasons = [labels.failures.get(i) for i in range(len(labels.tile_ids))] if labels.failures else None
    columns[FAILURE] = pa.array(reasons or [None] * len(labels.tile_ids), type=pa.string())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(part: bytes) -> SceneLabels:
    """Read back what `pack` wrote."""
    table = pa.ipc.open_stream(part).read_all()
    labels = SceneLabels(_values(table["tile_ids"]).astype("int64"))
    for name in TILE_ARRAYS:
        here = getattr(labels, name)
        here[...] = _values(table[name]).reshape(here.shape)
    labels.failures.update({i: r for i, r in enumerate(table[FAILURE].to_pylist()) if r is not None})
    return labels


def _column(values: np.ndarray) -> pa.Array:
    narrow = values.astype("int32") if values.dtype == np.int64 else values
    flat = pa.array(narrow.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _values(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks()
    flat: np.ndarray = (whole.flatten() if pa.types.is_fixed_size_list(whole.type) else whole).to_numpy()
    return flat
