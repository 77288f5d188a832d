"""Files named by what is in them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hash one file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sha256_of_listing(paths: Iterable[Path], root: Path) -> str:
    """Hash the names and contents of many files, so that a card or a result can say which data it was made from."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + sha256_of(path).encode() + b"\n")
    return digest.hexdigest()
