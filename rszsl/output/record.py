"""The record of a run: what was mapped, with what, and what became of every planned tile."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of the table `runs`.

    Attributes:
        scene: path as given.
        model: name and version.
        model_sha256: of the weights.
        classes: names and synonyms as given.
        options: every option, with defaults filled in.
        radiometry: bands, ranges and where they come from.
        counts: planned, labelled, other, nodata, failed.
        started: UTC, ISO 8601.
        seconds: from opening the scene to the last label.
        versions: of rszsl and what it stands on.
    """

    scene: str
    model: str
    model_sha256: str
    classes: list[dict[str, Any]]
    options: dict[str, Any]
    radiometry: dict[str, Any]
    counts: dict[str, int]
    started: str
    seconds: float
    versions: dict[str, str]

    def to_row(self) -> dict[str, Any]:
        """As columns: JSON for what is nested."""
        return {
            "scene": self.scene,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "options": json.dumps(self.options, ensure_ascii=False),
            "radiometry": json.dumps(self.radiometry),
            **self.counts,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "versions": json.dumps(self.versions),
        }
