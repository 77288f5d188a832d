"""An unfinished cache: an Arrow IPC stream beside it that can be read up to its last whole batch, and goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from rszsl.errors import CacheError, OutputError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    flock = None  # type: ignore[assignment]


class Part:
    """Batches of a run that has not ended, in `<cache>.part`; no other run may write it meanwhile.

    However the run ends, what was appended before stays; an append that was cut short is cut off by the next run.

    Args:
        cache: the file that it will become.

    Raises:
        CacheError: where another run is writing it.
        OutputError: where it cannot be written.
    """

    def __init__(self, cache: Path) -> None:
        self.path = cache.with_name(f"{cache.name}.part")
        try:
            self._file: BinaryIO = self.path.open("a+b")
        except OSError as err:
            raise OutputError(f"cannot write {self.path}: {err.strerror}; name another --cache") from err
        if not _hold(self._file):
            self._file.close()
            raise CacheError(f"another run is writing {cache}; wait for it, or name another --cache")

    def schema(self) -> pa.Schema | None:
        """Columns of what is there, with their metadata; None where there is nothing that can be read."""
        self._file.seek(0)
        try:
            return pa.ipc.open_stream(self._file).schema
        except (pa.ArrowException, OSError, EOFError):
            return None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the whole batches from the beginning, and cut off what follows them."""
        if self.schema() is None:
            return
        self._file.seek(0)
        reader, end = pa.ipc.open_stream(self._file), self._file.tell()
        while True:
            self._file.seek(end)
            try:
                batch = reader.read_next_batch()
            except (StopIteration, pa.ArrowException, OSError, EOFError):
                self._file.truncate(end)
                return
            end = self._file.tell()
            yield batch

    def append(self, batch: pa.RecordBatch) -> None:
        """Add a batch; it is safe from the end of this process when this returns."""
        if not self._file.seek(0, 2):
            self._file.write(batch.schema.serialize())
        self._file.write(batch.serialize())
        self._file.flush()

    def clear(self) -> None:
        """Forget what is there."""
        self._file.truncate(0)

    def close(self, *, drop: bool) -> None:
        """Let go of the file; delete it where asked to, or where it holds nothing."""
        empty = not self._file.seek(0, 2)
        self._file.close()
        if drop or empty:
            self.path.unlink(missing_ok=True)


def _hold(file: BinaryIO) -> bool:
    """Lock the file until it is closed; False where another has. A disk without locks (some networks') lets all."""
    if flock is None:
        return True
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
