"""Where fetched models and what is known of them are kept, and the lock file of their hashes."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rszsl.errors import ModelError

HOME_VARIABLE = "RSZSL_HOME"
CHUNK_BYTES = 1 << 22


def home() -> Path:
    """`$RSZSL_HOME`, else `rszsl` in the user's cache folder."""
    if HOME_VARIABLE in os.environ:
        return Path(os.environ[HOME_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rszsl"


def user_models() -> Path:
    """Folder of the cards that `rszsl models add` writes, and of converted weights."""
    return home() / "models"


def text_cache() -> Path:
    """Folder of embedded phrases."""
    return home() / "text"


def downloads() -> Path:
    """Folder of files that come from plain addresses."""
    return home() / "downloads"


def sha256_of(files: Sequence[Path]) -> str:
    """Hash the contents of files, one after the other, in hexadecimal.

    Raises:
        ModelError: where one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                while chunk := opened.read(CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as err:
            raise ModelError(f"cannot read {file}: {err}; fetch the model again") from err
    return digest.hexdigest()


def check_hash(name: str, file: Path, actual: str, expected: str) -> None:
    """Compare a hash with the one in a card.

    Raises:
        ModelError: where they differ.
    """
    if actual != expected:
        raise ModelError(
            f"{file} is not the file that the card of {name} names: sha256 {actual[:12]}…, the card says "
            f"{expected[:12]}…; fetch it again, or do not trust it"
        )


def trust_on_first_use(name: str, sha256: str, *, pinned: str = "", revision: str = "") -> None:
    """Note the hash of a model that no card vouches for; refuse another hash under the same name and pin later.

    Args:
        name: as in `--model`.
        sha256: of the weights.
        pinned: the revision that was asked for, or "" where the newest was.
        revision: the commit that came, or "" where the source has none.

    Raises:
        ModelError: where the weights changed since they were first used.
    """
    lock = read_lock()
    key = f"{name}@{pinned}" if pinned and not name.endswith(f"@{pinned}") else name
    known = lock.get(key)
    if known is None:
        _write_lock(lock | {key: {"revision": revision, "sha256": sha256}})
    elif known.get("sha256") != sha256:
        raise ModelError(
            f"the weights of {key} changed since they were first used: sha256 {sha256[:12]}…"
            f"{f' of revision {revision}' if revision else ''}, {lock_file()} says {str(known.get('sha256'))[:12]}…"
            f"{f' of {was}' if (was := known.get('revision')) else ''}; if you expect that, remove the entry there"
        )


def lock_file() -> Path:
    """The file of hashes seen at first use."""
    return home() / "models.lock.json"


def read_lock() -> dict[str, Any]:
    """Read the lock file; empty where there is none.

    Raises:
        ModelError: where it is damaged.
    """
    try:
        lock: dict[str, Any] = json.loads(lock_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise ModelError(f"cannot read {lock_file()}: {err}; repair or delete it") from err
    return lock


def _write_lock(lock: Mapping[str, Any]) -> None:
    file = lock_file()
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as err:
        raise ModelError(f"cannot write {file}: {err}; set {HOME_VARIABLE} to a folder that can be written") from err
