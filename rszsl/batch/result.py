"""What a batch gave, and how it is shown."""

from dataclasses import dataclass
from pathlib import Path

from rszsl.batch.manifest import MANIFEST_NAME, SceneRow
from rszsl.batch.schema import DONE, FAILED, PARTIAL, SKIPPED
from rszsl.labels.collect import Counts

LOG_WIDTH = 200
SHOW_SCENES = 30
"""Up to so many scenes are shown one by one; of more, only those with failures."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch gave.

    Attributes:
        out: the folder.
        scenes: every scene of this run, in order, with its counts, output and error.
    """

    out: Path
    scenes: tuple[SceneRow, ...]

    @property
    def manifest(self) -> Path:
        """SQLite: a row for each scene and strip."""
        return self.out / MANIFEST_NAME

    @property
    def counts(self) -> Counts:
        """Tiles of all scenes that were written."""
        known = [row.counts.to_record() for row in self.scenes if row.counts]
        return Counts(**{k: sum(c[k] for c in known) for k in Counts(0, 0, 0, 0, 0).to_record()})

    @property
    def failed(self) -> tuple[SceneRow, ...]:
        """Scenes that failed, or of which strips failed."""
        return tuple(row for row in self.scenes if row.state in (FAILED, PARTIAL))

    @property
    def clean(self) -> bool:
        """Whether no scene and no tile failed."""
        return not self.failed and not self.counts.failed

    def __str__(self) -> str:
        states = [sum(row.state == s for row in self.scenes) for s in (DONE, PARTIAL, SKIPPED, FAILED)]
        words = (f"{n} {word}" for n, word in zip(states, ("done", "in part", "skipped", "failed"), strict=True) if n)
        return f"{self.out}: {len(self.scenes)} scenes = {' + '.join(words) or '0 done'}"


def print_summary(result: BatchResult) -> None:
    """Show, on stderr, what became of the scenes' tiles, and what failed, why and where."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    columns = ("planned", "labelled", "other", "nodata", "failed")
    table = Table("scene", "state", *columns, "error", title=str(result))
    for name in columns:
        table.columns[2 + columns.index(name)].justify = "right"
    many = len(result.scenes) > SHOW_SCENES
    for row in result.scenes:
        if not many or row.error or (row.counts and row.counts.failed):
            numbers = [str(v) for v in row.counts.to_record().values()] if row.counts else [""] * len(columns)
            table.add_row(escape(row.path), row.state, *numbers, escape(row.error or ""))
    table.add_section()
    table.add_row("all", "", *(str(v) for v in result.counts.to_record().values()), f"{len(result.failed)} scenes")
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:  # a log file has no width
        console = Console(stderr=True, highlight=False, width=LOG_WIDTH)
    console.print(table)
