"""One look for every figure: quiet axes, colours that colour-blind readers tell apart (Okabe and Ito)."""

from pathlib import Path
from typing import TYPE_CHECKING

from rszsl.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#767676",
)
LINES = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, "#000000")
SEEN, UNSEEN = BLUE, RED
SEQUENTIAL, DIVERGING = "Blues", "PuOr"
DPI = 150
TITLE_PT, LABEL_PT, SMALL_PT = 11, 9, 8


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure, in inches; nothing is drawn on a screen.

    Raises:
        OutputError: where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as err:
        raise OutputError("figures need matplotlib; install it with `pip install 'rszsl[train]'`") from err
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Title, labels and sizes of letters, when all else is drawn; no frame above and to the right."""
    axes.set_title(title, loc="left", fontweight="bold", fontsize=TITLE_PT)
    axes.set_xlabel(x, fontsize=LABEL_PT)
    axes.set_ylabel(y, fontsize=LABEL_PT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, color=GREY, labelsize=SMALL_PT)
    if legend := axes.get_legend():
        for text in legend.get_texts():
            text.set_fontsize(SMALL_PT)


def add_scale(figure: "Figure", image: "AxesImage", axes: "Axes", label: str) -> None:
    """Say what the colours of an image mean."""
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.015)
    bar.set_label(label, fontsize=SMALL_PT)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2.5, labelsize=SMALL_PT)


def save(figure: "Figure", path: Path) -> Path:
    """Write the PNG under a temporary name, then rename.

    Raises:
        OutputError: where it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date or version inside: the same arrays give the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
        temporary.replace(path)
    except OSError as err:
        raise OutputError(f"cannot write the figure {path}: {err}") from err
    return path
