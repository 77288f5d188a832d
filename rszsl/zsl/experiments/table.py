"""Tables in Markdown, made from result records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rszsl.errors import TrainingError

Record = Mapping[str, Any]
HEADER = ("method", "rows", "unseen", "oracle", "U", "S", "H", "oracle H", "seeds")
FIGURES: tuple[Callable[[Record], float], ...] = (
    lambda r: r["accuracy"],
    lambda r: r["oracle_accuracy"],
    lambda r: r["gzsl"]["unseen"],
    lambda r: r["gzsl"]["seen"],
    lambda r: r["harmonic"],
    lambda r: r["oracle_harmonic"],
)


def result_table(records: Sequence[Record]) -> str:
    """Make a table for each split: mean and standard deviation over seeds, per cent, the best mean in bold."""
    splits = sorted({(r["dataset"], r["seen"], r["unseen"]) for r in records}, key=lambda s: (s[0], -s[1]))
    return "\n".join(_split_table(split, [r for r in records if _split_of(r) == split]) for split in splits)


def _split_of(record: Record) -> tuple[str, int, int]:
    return record["dataset"], record["seen"], record["unseen"]


def _split_table(split: tuple[str, int, int], records: Sequence[Record]) -> str:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["method"], record["rows"]), []).append(record)
    ordered = sorted(groups.items(), key=lambda group: float(np.mean([r["accuracy"] for r in group[1]])))
    best = {column: max(_mean(group, figure) for _, group in ordered) for column, figure in enumerate(FIGURES)}
    name, seen, unseen = split
    lines = [f"### {name.upper()} {seen}/{unseen}", "", _row(HEADER), _row(["---"] * 2 + ["---:"] * 7)]
    for (method, rows), group in ordered:
        cells = [_cell(group, figure, best[column]) for column, figure in enumerate(FIGURES)]
        lines.append(_row([method, "" if method in ("chance", "prompt") else rows, *cells, str(len(group))]))
    return "\n".join([*lines, ""])


def _mean(group: Sequence[Record], figure: Callable[[Record], float]) -> float:
    return float(np.mean([figure(record) for record in group]))


def _cell(group: Sequence[Record], figure: Callable[[Record], float], best: float) -> str:
    values = [100 * figure(record) for record in group]
    text = f"{np.mean(values):.1f} ± {np.std(values, ddof=1 if len(values) > 1 else 0):.1f}"
    return f"**{text}**" if _mean(group, figure) == best else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def insert_table(file: Path, name: str, text: str) -> None:
    """Put a table between `<!-- results:NAME -->` and `<!-- /results -->` of a page.

    Raises:
        TrainingError: where the page lacks the marks.
    """
    try:
        page = file.read_text(encoding="utf-8")
    except OSError as err:
        raise TrainingError(f"cannot read {file}: {err}; the page with the marks must be there") from err
    before, mark, rest = page.partition(f"<!-- results:{name} -->\n")
    _old, end, after = rest.partition("<!-- /results -->")
    if not (mark and end):
        raise TrainingError(f"{file} has no <!-- results:{name} --> … <!-- /results --> to put the table between")
    temporary = file.with_suffix(".tmp")
    temporary.write_text(f"{before}{mark}{text}\n{end}{after}", encoding="utf-8")
    temporary.replace(file)
