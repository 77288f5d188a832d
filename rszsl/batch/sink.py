"""The one writer of a batch: one file a scene, one for all, or a dataset in parts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pyproj import CRS

from rszsl.batch.manifest import Manifest, SceneRow
from rszsl.batch.schema import DONE, LABELLED
from rszsl.errors import OutputError
from rszsl.labels.collect import SceneLabels
from rszsl.model.bundle import Model
from rszsl.output.many import Stash, part_path, write_merged, write_part
from rszsl.output.writer import FORMATS, check_output
from rszsl.pipeline.labelling import Clock, Job, make_result, write_map
from rszsl.pipeline.plan import Footing

PART_TILES = 1_000_000
"""A file of a dataset is written when so many tiles are waiting for it: some 60 MB."""
MERGED_NAME = "batch.rszsl.gpkg"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A scene all of whose tiles are dealt with."""

    row: SceneRow
    footing: Footing
    labels: SceneLabels
    device: str
    precision: str
    clock: Clock


class Sink(Protocol):
    """Takes complete scenes, one at a time."""

    def check(self, names: Sequence[str], *, overwrite: bool) -> None:
        """Refuse, before any work, outputs that exist and are not this batch's."""
        ...

    def write(self, scene: Labelled) -> tuple[str, str]:
        """Write a scene; give its state (done, or labelled where it is written later) and where it stands."""
        ...

    def resume(self, scenes: Sequence[SceneRow]) -> None:
        """Take up scenes that an earlier run left `labelled`."""
        ...

    def settle(self) -> None:
        """Write what is ready, after the manifest knows of the last scene."""
        ...

    def finish(self) -> None:
        """Write what is still waiting."""
        ...


class FilePerScene:
    """`OUT/<name>.rszsl.gpkg`, or another of `FORMATS`."""

    def __init__(self, out: Path, model: Model, job: Job) -> None:
        self._out, self._model, self._job = out, model, job

    def path(self, name: str) -> Path:
        """Where a scene's result stands."""
        return self._out / f"{name}.rszsl{FORMATS[self._job.format_name].suffix}"

    def check(self, names: Sequence[str], *, overwrite: bool) -> None:
        """See `Sink`."""
        if names:
            check_output(self.path(names[0]), overwrite=True)
        for name in names:
            if not overwrite and self.path(name).exists():
                raise OutputError(
                    f"{self.path(name)} exists and is not of this batch; give --overwrite, or another --out"
                )

    def write(self, scene: Labelled) -> tuple[str, str]:
        """See `Sink`."""
        job = replace(_job_of(self._job, scene), path=self.path(scene.row.name))
        write_map(scene.footing, scene.labels, self._model, job, scene.clock)
        return DONE, str(job.path)

    def resume(self, scenes: Sequence[SceneRow]) -> None:
        """Nothing is ever left."""

    def settle(self) -> None:
        """Nothing waits."""

    def finish(self) -> None:
        """Nothing waits."""


class OneFile:
    """`OUT/batch.rszsl.gpkg`; results of scenes stay in the work folder, so later scenes can be merged in."""

    def __init__(self, out: Path, stashes: Path, model: Model, job: Job, manifest: Manifest) -> None:
        self.path = out / MERGED_NAME
        self._stashes, self._model, self._job, self._manifest = stashes, model, job, manifest
        self._stale = False

    def check(self, names: Sequence[str], *, overwrite: bool) -> None:
        """See `Sink`."""
        if len(names) == self._manifest.count():  # a batch that has not begun
            check_output(self.path, overwrite=overwrite)

    def write(self, scene: Labelled) -> tuple[str, str]:
        """See `Sink`."""
        job = _job_of(self._job, scene)
        self._stash(scene.row).put(make_result(scene.footing, scene.labels, self._model, job, scene.clock))
        self._stale = True
        return LABELLED, str(self.path)

    def resume(self, scenes: Sequence[SceneRow]) -> None:
        """See `Sink`."""
        self._stale = self._stale or bool(scenes)

    def settle(self) -> None:
        """One file is written at the end."""

    def finish(self) -> None:
        """See `Sink`."""
        rows = [row for row in self._manifest.scenes() if self._stash(row).whole]
        if rows and (self._stale or not self.path.exists()):
            write_merged([self._stash(row) for row in rows], tuple(c.name for c in self._job.classes), self.path)
        for row in rows:
            if row.state == LABELLED:
                self._manifest.scene_ended(row.id, DONE, counts=row.counts, output=str(self.path))

    def _stash(self, row: SceneRow) -> Stash:
        return Stash(self._stashes / str(row.id))


class Dataset:
    """`OUT/tiles`, `OUT/regions` and `OUT/runs`: GeoParquet in parts of about a million tiles, by CRS."""

    def __init__(
        self, out: Path, stashes: Path, model: Model, job: Job, manifest: Manifest, part_tiles: int = PART_TILES
    ) -> None:
        self._out, self._stashes, self._model, self._job, self._manifest = out, stashes, model, job, manifest
        self._part_tiles = part_tiles
        self._parts = manifest.parts()
        self._waiting: dict[str, list[tuple[int, int]]] = {}

    def check(self, names: Sequence[str], *, overwrite: bool) -> None:
        """See `Sink`."""
        for layer in ("tiles", "regions", "runs"):
            there = [] if self._parts else sorted((self._out / layer).glob("crs=*/part-*.parquet"))
            if overwrite:
                for path in there:
                    path.unlink()
            elif there:
                raise OutputError(
                    f"{self._out / layer} exists and is not of this batch; give --overwrite, or another --out"
                )

    def write(self, scene: Labelled) -> tuple[str, str]:
        """See `Sink`."""
        job = _job_of(self._job, scene)
        stash = self._stash(scene.row.id)
        stash.put(make_result(scene.footing, scene.labels, self._model, job, scene.clock))
        self._wait(scene.row.id, _crs_name(scene.footing.crs), len(scene.labels.tile_ids))
        return LABELLED, str(self._out)

    def resume(self, scenes: Sequence[SceneRow]) -> None:
        """See `Sink`."""
        for row in scenes:
            self._wait(row.id, _crs_name(self._stash(row.id).crs), row.counts.planned if row.counts else 0)

    def finish(self) -> None:
        """See `Sink`."""
        for crs_name in list(self._waiting):
            self._flush(crs_name)

    def settle(self) -> None:
        """Write the parts that are full."""
        for crs_name, waiting in list(self._waiting.items()):
            if sum(tiles for _, tiles in waiting) >= self._part_tiles:
                self._flush(crs_name)

    def _wait(self, scene: int, crs_name: str, tiles: int) -> None:
        self._waiting.setdefault(crs_name, []).append((scene, tiles))

    def _flush(self, crs_name: str) -> None:
        """Write scenes that have a part already into theirs, the others into a new one."""
        scenes = [scene for scene, _ in self._waiting.pop(crs_name)]
        placed = {scene: number for number, (_, members) in self._parts.items() for scene in members}
        new = [scene for scene in scenes if scene not in placed]
        if new:
            number = max(self._parts, default=-1) + 1
            self._manifest.add_part(number, crs_name, new)
            self._parts[number] = (crs_name, new)
            placed |= dict.fromkeys(new, number)
        for number in sorted({placed[scene] for scene in scenes}):
            members = [scene for scene in scenes if placed[scene] == number]
            write_part([self._stash(scene) for scene in members], self._out, crs_name, number)
            self._written(members, crs_name, number)

    def _written(self, scenes: Sequence[int], crs_name: str, number: int) -> None:
        path = str(part_path(self._out, "tiles", crs_name, number))
        for row in (self._manifest.scene(scene) for scene in scenes):
            state = DONE if row.state == LABELLED else row.state
            self._manifest.scene_ended(row.id, state, counts=row.counts, output=path, error=row.error)
        self._manifest.commit()
        for scene in scenes:
            self._stash(scene).drop()

    def _stash(self, scene: int) -> Stash:
        return Stash(self._stashes / str(scene))


def _job_of(job: Job, scene: Labelled) -> Job:
    return replace(job, options=job.options | {"device": scene.device, "precision": scene.precision})


def _crs_name(crs: CRS) -> str:
    authority = crs.to_authority()
    return (
        "_".join(authority)
        if authority
        else f"custom_{hashlib.blake2b(crs.to_wkt().encode(), digest_size=4).hexdigest()}"
    )
