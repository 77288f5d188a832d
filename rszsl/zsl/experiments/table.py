"""Tables in Markdown, made from result records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import TrainingError
from rszsl.zsl.experiments.recipe import ORACLE, Side

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
    return "\n".join(_split_table(s, [r for r in records if _split_of(r) == s]) for s in _splits(records))


def difference_table(records: Sequence[Record], pairs: Sequence[tuple[Side, Side]]) -> str:
    """Set methods against each other on the same splits and seeds.

    Returns:
        A line a pair: for each split, and over all of them, the mean of first less second in points of unseen
        accuracy, with the standard error of that mean.
    """
    splits = _splits(records)
    header = ["first", "less", *(f"{name.upper()} {seen}/{unseen}" for name, seen, unseen in splits), "all"]
    lines = [_row(header), _row(["---"] * 2 + ["---:"] * (len(splits) + 1))]
    for first, second in pairs:
        found = [_differences([r for r in records if _split_of(r) == split], first, second) for split in splits]
        lines.append(_row([_label(first), _label(second), *map(_with_error, [*found, np.concatenate(found)])]))
    return "\n".join([*lines, ""])


def _differences(records: Sequence[Record], first: Side, second: Side) -> NDArray[np.float64]:
    """First less second, in points, for each seed that has both: (n,)."""

    def by_seed(side: Side, figure: str = "accuracy") -> dict[int, float]:
        return {r["seed"]: 100 * r[figure] for r in records if (r["method"], r["rows"]) == side}

    mine = by_seed(first)
    theirs = by_seed(first, "oracle_accuracy") if second[0] == ORACLE else by_seed(second)
    return np.array([mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())])


def _with_error(values: NDArray[np.float64]) -> str:
    if not len(values):
        return ""
    error = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):+.1f}{error}"


def _label(side: Side) -> str:
    return f"{side[0]} ({side[1]})" if side[1] else f"its {side[0]}"


def _splits(records: Sequence[Record]) -> list[tuple[str, int, int]]:
    return sorted({_split_of(r) for r in records}, key=lambda s: (s[0], -s[1]))


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
