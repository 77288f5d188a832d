"""Figures by class: confusion matrix, accuracy, class rows."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.zsl.figures.style import (
    DIVERGING,
    GREY,
    SEEN,
    SEQUENTIAL,
    TITLE_PT,
    UNSEEN,
    add_scale,
    new_figure,
    save,
    tidy,
)
from rszsl.zsl.problem import ClassTable

Floats = NDArray[np.floating]


def draw_confusion(
    counts: NDArray[np.integer],
    names: Sequence[str],
    path: Path,
    *,
    unseen: Collection[str] = (),
    title: str = "Confusion",
) -> Path:
    """Draw a confusion matrix in per cent of each true class; unseen classes come last, in their own colour.

    Args:
        counts: (C, C), images of the true class (row) that were called the class of the column.
        names: C names.
        path: the PNG.
        unseen: names of unseen classes.
        title: above it.
    """
    order = sorted(range(len(names)), key=lambda i: (names[i] in unseen, names[i]))
    counts = np.asarray(counts)[np.ix_(order, order)]
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.5, 2.2 + 0.27 * len(order))
    figure = new_figure(side + 0.8, side + 0.5)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=100, interpolation="nearest")
    for row, column in np.argwhere(shares >= 1):
        shade = "white" if shares[row, column] > 55 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=6.5, color=shade)
    listed = [names[i] for i in order]
    axes.set_xticks(range(len(listed)), listed, rotation=90)
    axes.set_yticks(range(len(listed)), listed)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_color(UNSEEN if label.get_text() in unseen else "black")
    edge = len(names) - len(set(names) & set(unseen)) - 0.5
    if unseen:
        axes.axhline(edge, color=GREY, lw=0.8)
        axes.axvline(edge, color=GREY, lw=0.8)
    tidy(axes, title, "called" + (" (unseen classes in orange)" if unseen else ""), "true class")
    add_scale(figure, image, axes, "% of the true class")
    return save(figure, path)


def draw_class_accuracy(
    accuracy: Floats,
    names: Sequence[str],
    path: Path,
    *,
    unseen: Collection[str] = (),
    title: str = "Accuracy by class",
) -> Path:
    """Draw the accuracy of each class as a bar, best first, with the mean of seen and of unseen classes.

    Args:
        accuracy: (C,), 0..1.
        names: C names.
        path: the PNG.
        unseen: names of unseen classes.
        title: above it.
    """
    values = 100 * np.asarray(accuracy)
    order = np.argsort(values, kind="stable")
    held = np.array([names[i] in unseen for i in order])
    figure = new_figure(6.5, 1.4 + 0.22 * len(order))
    axes = figure.subplots()
    axes.barh(range(len(order)), values[order], color=[UNSEEN if one else SEEN for one in held], height=0.75)
    for row, value in enumerate(values[order]):
        axes.text(value + 1, row, f"{value:.0f}", va="center", fontsize=7)
    for label, flags, colour in (("seen", ~held, SEEN), ("unseen", held, UNSEEN)):
        if flags.any():
            mean = values[order][flags].mean()
            axes.axvline(
                mean, color=colour, ls="--", lw=1, label=f"mean of {flags.sum()} {label} classes: {mean:.1f} %"
            )
    axes.set_yticks(range(len(order)), [names[i] for i in order])
    axes.set_xlim(0, 108)
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.legend(loc="lower right", framealpha=1, edgecolor="none")
    tidy(axes, title, "images recognised, %")
    return save(figure, path)


def draw_class_rows(table: ClassTable, path: Path, *, title: str = "What tells the classes apart") -> Path:
    """Draw the rows of a table: classes down, attributes across, those of one family side by side."""
    family = {column: name for name, columns in table.groups.items() for column in columns}
    order = sorted(range(len(table.attributes)), key=lambda i: (family.get(i, "~"), i))
    rows = table.rows[:, order]
    signed = bool(rows.min() < -1e-6)
    top = float(np.quantile(np.abs(rows), 0.995)) or 1.0
    figure = new_figure(2.6 + 0.17 * len(order), 2.2 + 0.19 * len(table.names))
    axes = figure.subplots()
    colours, low = (DIVERGING, -top) if signed else (SEQUENTIAL, 0.0)
    image = axes.imshow(rows, cmap=colours, vmin=low, vmax=top, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(order)), [table.attributes[i].replace("_", " ") for i in order], rotation=90)
    axes.set_yticks(range(len(table.names)), table.names)
    tidy(axes, title)
    families = [family.get(i, "other") for i in order]
    for start in [i for i in range(len(order)) if i == 0 or families[i] != families[i - 1]]:
        size = families.count(families[start])
        axes.axvline(start - 0.5, color=GREY, lw=0.8)
        if table.groups:
            axes.text(start + (size - 1) / 2, -0.8, families[start], ha="center", fontsize=7, color=GREY)
    if table.groups:
        axes.set_title(title, loc="left", fontweight="bold", fontsize=TITLE_PT, pad=18)
    add_scale(figure, image, axes, "weight in the row")
    return save(figure, path)
