"""Figures along a line: calibration, training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.zsl.figures.style import GREEN, GREY, LINES, SEEN, UNSEEN, new_figure, save, tidy

Floats = NDArray[np.floating]


def draw_calibration(
    gammas: Floats, seen: Floats, unseen: Floats, path: Path, *, chosen: float | None = None, title: str = "Calibration"
) -> Path:
    """Draw S, U and H against what is taken off the scores of seen classes, and U against S.

    Args:
        gammas: (n,), ascending.
        seen: (n,), S of each, 0..1.
        unseen: (n,), U of each, 0..1.
        path: the PNG.
        chosen: the gamma that validation classes chose.
        title: above it.
    """
    s, u = 100 * np.asarray(seen), 100 * np.asarray(unseen)
    h = 2 * s * u / np.maximum(s + u, 1e-9)
    figure = new_figure(8.6, 3.5)
    left, right = figure.subplots(1, 2)
    for values, name, colour in ((s, "S, seen", SEEN), (u, "U, unseen", UNSEEN), (h, "H", GREEN)):
        left.plot(gammas, values, color=colour, lw=1.8, label=name)
    right.plot(s, u, color="black", lw=1.8)
    if chosen is not None:
        at = int(np.abs(np.asarray(gammas) - chosen).argmin())
        left.axvline(chosen, color=GREY, ls="--", lw=1)
        right.plot(s[at], u[at], "o", color=GREEN, ms=7, label=f"chosen on validation classes: H {h[at]:.1f} %")
    best = int(h.argmax())
    right.plot(
        s[best], u[best], "D", mfc="none", color=GREY, ms=8, label=f"best on the test classes: H {h[best]:.1f} %"
    )
    for axes in (left, right):
        axes.set_ylim(0, 102)
        axes.legend(frameon=False)
    right.set_xlim(0, 102)
    tidy(left, title, "gamma, taken off the scores of seen classes", "accuracy, %")
    area = abs(float(np.sum(np.diff(s) * (u[1:] + u[:-1]) / 2))) / 1e4
    tidy(right, f"Seen against unseen (area {area:.3f})", "S, %", "U, %")
    return save(figure, path)


def draw_training(
    epochs: Sequence[float], panels: Mapping[str, Mapping[str, Floats]], path: Path, *, chosen: float | None = None
) -> Path:
    """Draw what was measured after each epoch, a panel for each quantity.

    Args:
        epochs: n epochs.
        panels: title of a panel -> name of a line -> its n values; nan where nothing was measured.
        path: the PNG.
        chosen: the epoch that was kept.
    """
    figure = new_figure(4.3 * len(panels), 3.4)
    for axes, (title, lines) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), LINES * (1 + len(lines) // len(LINES)), strict=False):
            axes.plot(epochs, values, color=colour, lw=1.6, marker="o" if len(epochs) < 40 else None, ms=3, label=name)
        if chosen is not None:
            axes.axvline(chosen, color=GREY, ls="--", lw=1, label=f"kept: epoch {chosen:g}")
        axes.legend(frameon=False)
        axes.grid(axis="y", color="#e6e6e6", lw=0.6)
        tidy(axes, title, "epoch")
    return save(figure, path)
