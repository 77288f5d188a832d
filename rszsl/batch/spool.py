"""Labels of finished strips on disk, until their scene is complete."""

import shutil
from pathlib import Path

from rszsl.batch.work import Strip
from rszsl.errors import OutputError


class Spool:
    """A folder a scene, an Arrow file a strip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, scene: int, strip: Strip, labels: bytes) -> None:
        """Keep the labels of a strip; the file is whole or not there.

        Raises:
            OutputError: where the disk says no.
        """
        path = self._file(scene, strip)
        part = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(labels)
            part.replace(path)
        except OSError as err:
            raise OutputError(
                f"cannot keep a strip's labels in {path.parent}: {err.strerror}; free some space"
            ) from err

    def has(self, scene: int, strip: Strip) -> bool:
        """Whether the labels of a strip are there."""
        return self._file(scene, strip).is_file()

    def get(self, scene: int, strip: Strip) -> bytes:
        """Read them."""
        return self._file(scene, strip).read_bytes()

    def drop(self, scene: int) -> None:
        """Forget a scene's strips."""
        shutil.rmtree(self._folder / str(scene), ignore_errors=True)

    def _file(self, scene: int, strip: Strip) -> Path:
        return self._folder / str(scene) / f"{strip.first_row:08d}-{strip.stop_row:08d}.arrow"
