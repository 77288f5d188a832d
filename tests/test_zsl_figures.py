"""Figures: each is a PNG of the right size, the same for the same arrays, and shows what the arrays say."""

import sys

import numpy as np
import pytest
from PIL import Image

from rszsl.errors import OutputError, TrainingError
from rszsl.zsl.figures.classes import draw_class_accuracy, draw_class_rows, draw_confusion
from rszsl.zsl.figures.curves import draw_calibration, draw_training
from rszsl.zsl.figures.images import draw_attention, draw_plane, place_points
from rszsl.zsl.figures.style import UNSEEN, new_figure
from rszsl.zsl.rows.common import build_table

NAMES = [f"a class of land {chr(97 + i)}" for i in range(30)]
RNG = np.random.default_rng(0)


def pixels(path):
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened.convert("RGB")).astype(int)


def share_of(path, colour, near=40):
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.abs(pixels(path) - wanted).max(-1) < near).mean())


def test_a_confusion_matrix_of_thirty_classes(tmp_path):
    right, wrong = np.diag(np.full(30, 40)), np.roll(np.diag(np.full(30, 40)), 1, axis=1)
    path = draw_confusion(right, NAMES, tmp_path / "new" / "right.png", unseen=NAMES[20:])
    assert path == tmp_path / "new" / "right.png"
    assert min(pixels(path).shape[:2]) > 1000  # room for thirty names
    assert share_of(path, UNSEEN) > 0.0005  # unseen names are in their colour
    other = draw_confusion(wrong, NAMES, tmp_path / "wrong.png", unseen=NAMES[20:])
    assert (pixels(other) != pixels(path)).any()
    again = draw_confusion(right, NAMES, tmp_path / "again.png", unseen=NAMES[20:])
    assert again.read_bytes() == path.read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_bars_are_as_long_as_the_accuracy(tmp_path):
    short = draw_class_accuracy(np.full(5, 0.2), NAMES[:5], tmp_path / "short.png", unseen=NAMES[:5])
    long = draw_class_accuracy(np.full(5, 0.8), NAMES[:5], tmp_path / "long.png", unseen=NAMES[:5])
    assert share_of(long, UNSEEN) / share_of(short, UNSEEN) == pytest.approx(4, rel=0.15)
    assert pixels(draw_class_accuracy(RNG.random(30), NAMES, tmp_path / "a.png")).shape[0] > 1000


def test_class_rows_with_and_without_families(tmp_path):
    rows = RNG.random((30, 12))
    plain = build_table(NAMES, rows, [f"has_thing_{i}" for i in range(12)], {})
    signed = build_table(NAMES, rows - 0.5, plain.attributes, {}, ["shape"] * 6 + [None] * 6)
    first, second = draw_class_rows(plain, tmp_path / "1.png"), draw_class_rows(signed, tmp_path / "2.png")
    assert share_of(second, "#7f3b08", 60) > share_of(first, "#7f3b08", 60)  # the far end of a two-sided scale


def test_calibration_and_training_curves(tmp_path):
    gammas, seen = np.linspace(0, 1, 20), np.linspace(0.9, 0, 20)
    path = draw_calibration(gammas, seen, 0.6 * (1 - seen), tmp_path / "c.png", chosen=0.4)
    assert pixels(path).shape[1] > 1000
    assert share_of(path, "#009E73") > share_of(draw_calibration(gammas, seen, 0 * seen, tmp_path / "z.png"), "#009E73")
    panels = {"loss": {"train": np.linspace(2, 1, 5)}, "accuracy": {f"line {i}": RNG.random(5) for i in range(9)}}
    panels["accuracy"]["line 0"][2] = np.nan
    assert pixels(draw_training(range(5), panels, tmp_path / "t.png", chosen=3)).shape[1] > 1000


def test_attention_lies_where_the_map_is_high(tmp_path):
    maps = np.zeros((8, 7, 7))
    maps[:, 0, 0], maps[3] = 5.0, 0.0
    image = Image.new("RGB", (150, 150), "grey")
    path = draw_attention(image, maps, [f"has_{i}" for i in range(8)], tmp_path / "a.png", scores=range(8), title="x")
    shown = pixels(path)
    bright = (shown[..., 0] - shown[..., 2]) > 60  # inferno's yellow on grey
    assert 0.002 < bright.mean() < 0.1
    flat = draw_attention(image, np.zeros((8, 7, 7)), [f"has_{i}" for i in range(8)], tmp_path / "flat.png")
    assert ((pixels(flat)[..., 0] - pixels(flat)[..., 2]) > 60).mean() < 0.0005


def test_images_and_rows_in_a_plane(tmp_path):
    centres = RNG.normal(size=(6, 16))
    vectors = np.concatenate([centres + 0.05 * RNG.normal(size=(6, 16)) for _ in range(8)] + [centres])
    places = place_points(vectors, seed=1)
    assert (places.shape, places.dtype) == ((54, 2), np.float32)
    gaps = np.linalg.norm(places[48:, None] - places[None, :48], axis=2)
    assert (gaps.argmin(1) % 6 == np.arange(6)).all()  # each row lies by its own images
    path = draw_plane(
        places[:48], NAMES[:6] * 8, tmp_path / "p.png", rows=places[48:], row_names=NAMES[:6], unseen=NAMES[:2]
    )
    assert share_of(path, UNSEEN) > share_of(draw_plane(places[:48], NAMES[:6] * 8, tmp_path / "q.png"), UNSEEN)
    with pytest.raises(TrainingError, match="t-SNE of 4 points"):
        place_points(vectors[:4])


def test_what_stands_in_the_way_of_a_figure_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the figure"):
        draw_training([0], {"loss": {"train": [1.0]}}, tmp_path / "file" / "t.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OutputError, match="figures need matplotlib"):
        new_figure(1, 1)
