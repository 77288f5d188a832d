"""Figures of images: where an attribute is looked for, and where images and class rows lie."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rszsl.errors import TrainingError
from rszsl.zsl.figures.style import GREY, LINES, UNSEEN, new_figure, save, tidy

Floats = NDArray[np.floating]
COLUMNS = 6
MAP_COLOURS = "inferno"
LOW = 0.1
"""Share of a map that is shown as nothing: a few tokens of a transformer lie far below all others."""
MARKS = ("o", "s", "^", "D", "v")
LETTER_WIDTH, LETTER_HEIGHT = 0.0095, 0.021
"""Of the names in the plane, as shares of the axes."""


def draw_attention(
    image: Image.Image,
    maps: Floats,
    attributes: Sequence[str],
    path: Path,
    *,
    scores: Sequence[float] = (),
    title: str = "",
) -> Path:
    """Draw attention maps over an image, each scaled from its own low values to its greatest.

    Args:
        image: as the model saw it (square, after the crop).
        maps: (K, G, G).
        attributes: K names.
        path: the PNG.
        scores: of the K attributes; shown beside the name.
        title: above it.
    """
    picture = image.convert("RGB")
    columns = min(COLUMNS, len(maps) + 1)
    lines = -(-(len(maps) + 1) // columns)
    figure = new_figure(1.75 * columns, 2.0 * lines + (0.35 if title else 0))
    panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axes in panels:
        axes.set_axis_off()
    panels[0].imshow(picture)
    panels[0].set_title("image", fontsize=8)
    for number, (axes, grid) in enumerate(zip(panels[1:], np.asarray(maps, dtype="float32"), strict=False)):
        low, high = float(np.quantile(grid, LOW)), float(grid.max())
        level = ((grid - low) / (high - low if high > low else 1)).clip(0, 1)
        fine = np.asarray(Image.fromarray(level).resize(picture.size, Image.Resampling.BICUBIC)).clip(0, 1)
        axes.imshow(picture.convert("L"), cmap="gray", vmin=0, vmax=255)
        axes.imshow(fine, cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=0.8 * fine**1.5)
        name = attributes[number].replace("_", " ")
        axes.set_title(f"{name} {scores[number]:.2f}" if len(scores) else name, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return save(figure, path)


def place_points(vectors: Floats, *, seed: int = 0, perplexity: float = 30) -> NDArray[np.float32]:
    """Lay vectors out in a plane by t-SNE over cosines: float32 (N, 2).

    Raises:
        TrainingError: where scikit-learn is not installed, or there are too few vectors.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as err:
        raise TrainingError("t-SNE needs scikit-learn; install it with `pip install 'rszsl[train]'`") from err
    if len(vectors) < 5:
        raise TrainingError(f"t-SNE of {len(vectors)} points says nothing; give 5 at least")
    fitting = min(perplexity, (len(vectors) - 1) / 3)
    layout = TSNE(perplexity=fitting, metric="cosine", init="random", random_state=seed).fit_transform(vectors)
    return np.asarray(layout, dtype="float32")


def draw_plane(
    points: Floats,
    labels: Sequence[str],
    path: Path,
    *,
    rows: Floats | None = None,
    row_names: Sequence[str] = (),
    unseen: Collection[str] = (),
    title: str = "Images and class rows",
) -> Path:
    """Draw images as dots and class rows as stars, with the name of each class where its images lie.

    Args:
        points: (N, 2), of images (see `place_points`; lay images and rows out together).
        labels: N class names.
        path: the PNG.
        rows: (R, 2), of class rows, or None.
        row_names: R names.
        unseen: names of unseen classes, written in orange.
        title: above it.
    """
    points, truth = np.asarray(points), np.array(labels)
    names = sorted({*labels, *row_names})
    figure = new_figure(8.5, 7)
    axes = figure.subplots()
    for number, name in enumerate(names):
        colour, mark = LINES[number % len(LINES)], MARKS[number // len(LINES) % len(MARKS)]
        own = points[truth == name]
        axes.scatter(own[:, 0], own[:, 1], s=9, color=colour, marker=mark, alpha=0.5, linewidths=0)
        if rows is not None and name in row_names:
            x, y = rows[list(row_names).index(name)]
            axes.scatter(x, y, s=150, marker="*", color=colour, edgecolors="black", linewidths=0.8, zorder=5)
    for name, (x, y) in _spread(
        {name: np.median(points[truth == name], axis=0) for name in labels}, points, rows
    ).items():
        ink = UNSEEN if name in unseen else "black"
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
        axes.text(x, y, name, fontsize=7.5, ha="center", va="bottom", color=ink, bbox=box, zorder=4)
    axes.set_xticks([])
    axes.set_yticks([])
    legend = "dots: images" + ("; stars: class rows" if rows is not None else "")
    tidy(axes, title, legend + ("; unseen classes in orange" if unseen else ""))
    axes.spines[["left", "bottom"]].set_color(GREY)
    return save(figure, path)


def _spread(places: dict[str, Floats], points: Floats, stars: Floats | None) -> dict[str, tuple[float, float]]:
    # Names start above the middle of their images and move up until they cover no other name and no star.
    width, height = np.ptp(points, axis=0) * (LETTER_WIDTH, LETTER_HEIGHT)
    taken = [] if stars is None else [(float(x), float(y) - height / 2, 2) for x, y in stars]
    done: dict[str, tuple[float, float]] = {}
    for name, middle in sorted(places.items(), key=lambda item: float(item[1][1])):
        x, y = float(middle[0]), float(middle[1]) + height / 2
        while any(abs(x - x2) < width * (len(name) + n) / 2 and abs(y - y2) < height for x2, y2, n in taken):
            y += height / 4
        done[name] = (x, y)
        taken.append((x, y, len(name)))
    return done
