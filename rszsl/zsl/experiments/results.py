"""Result files: a JSON record for each method, split and seed; committed, and never typed."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rszsl.errors import TrainingError
from rszsl.zsl.experiments.protocol import Outcome


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What a record is about; there is one record a key."""

    dataset: str
    seen: int
    unseen: int
    seed: int
    method: str
    rows: str
    tower: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a record comes from.

    Attributes:
        command: that makes it.
        data_sha256: of the images and the tower's weights.
        rows_record: where the class rows come from.
        git: revision of the code, with `+` where files were changed.
        seconds: it took.
    """

    command: str
    data_sha256: str
    rows_record: dict[str, Any]
    git: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """One result."""

    key: ResultKey
    outcome: Outcome
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON values; figures to four places, small ones to four digits."""
        values: dict[str, Any] = _rounded({**asdict(self.key), **asdict(self.outcome), **asdict(self.provenance)})
        values["harmonic"] = round(self.outcome.gzsl.harmonic, 4)
        return values


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if abs(value) >= 0.1 else float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return value


def git_revision(folder: Path) -> str:
    """Give the revision of a checkout, `+` where it has changes; `unknown` outside one."""
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True).stdout.strip()
            for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changes else "")


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read every record of a folder of result files, sorted by file and place.

    Raises:
        TrainingError: where a file is no list of records.
    """
    records: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.json")):
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as err:
            raise TrainingError(f"{file} is no result file ({err}); remove it and run the benchmark again") from err
        if not isinstance(read, list):
            raise TrainingError(f"{file} is no list of results; remove it and run the benchmark again")
        records += read
    return records


def key_of(record: dict[str, Any]) -> ResultKey:
    """Give the key of a record."""
    return ResultKey(**{name: record[name] for name in ResultKey.__slots__})


def write_records(file: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records sorted by their keys, whole or not at all."""
    ordered = sorted(records, key=lambda record: tuple(str(record[name]) for name in ResultKey.__slots__))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
