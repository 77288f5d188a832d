"""Near-duplicates: found across sets, within one, turned; told apart from images that are alike in the large only."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rszsl.cli import cli
from rszsl.errors import TrainingError
from rszsl.zsl.data.check import leave_out, read_leave_out
from rszsl.zsl.data.duplicates import BINS, VIEWS, confirm, find_duplicates, thumbnails, views_of
from rszsl.zsl.data.duplicates_report import add_record, read_vectors
from rszsl.zsl.data.layouts import read_folder


def scene(seed, side=96):
    """A picture with structure of every size."""
    rng = np.random.default_rng(seed)
    layers = [Image.fromarray(rng.integers(0, 256, (n, n), dtype="uint8")) for n in (3, 6, 12, 24, 48)]
    mean = np.mean(
        [np.asarray(x.resize((side, side), Image.Resampling.BICUBIC), dtype="float32") for x in layers], axis=0
    )
    return Image.fromarray(np.clip(4 * (mean - 127) + 127, 0, 255).astype("uint8")).convert("RGB")


def coast(seed, side=96):
    """Half sand and half water, with a grain of its own."""
    shades = np.repeat(np.linspace(40, 220, side)[None], side, axis=0)
    return Image.fromarray(
        (shades + np.random.default_rng(seed).normal(0, 8, (side, side))).clip(0, 255).astype("uint8")
    )


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


@pytest.fixture
def two_sets(tmp_path):
    for i in range(6):
        save(scene(i), tmp_path / "one" / "a" / f"{i}.png")
        save(scene(100 + i), tmp_path / "two" / "a" / f"{i}.png")
        save(scene(200 + i), tmp_path / "two" / "b" / f"{i}.png")
    save(scene(3).resize((60, 60)), tmp_path / "two" / "b" / "copy.jpg", quality=60)
    save(scene(4).rotate(90), tmp_path / "two" / "b" / "turned.png")
    save(coast(1), tmp_path / "one" / "a" / "coast.png")
    save(coast(2), tmp_path / "two" / "a" / "coast.png")
    save(Image.new("RGB", (50, 50), "green"), tmp_path / "one" / "a" / "flat.png")
    save(Image.new("RGB", (50, 50), "green"), tmp_path / "two" / "a" / "flat.png")
    return tmp_path / "one", tmp_path / "two"


def search(one, two, **options):
    a, b = read_folder(one), read_folder(two)
    found = find_duplicates(thumbnails(a).pixels, thumbnails(b).pixels, **options)
    return confirm(found, a, b), a, b


def test_a_rescaled_copy_is_found_and_a_coast_is_not(two_sets):
    found, a, b = search(*two_sets)
    assert [(a.files[p.a], b.files[p.b], p.view) for p in found.pairs] == [("a/3.png", "b/copy.jpg", "as it is")]
    assert found.pairs[0].similarity > 0.93 and found.pairs[0].detail > 0.5
    assert (found.rejected, sum(found.counts[BINS.index(0.93) :])) == (1, 2)
    assert leave_out(b, [b.files[i] for i in found.leave_out]).files == tuple(f for f in b.files if "copy" not in f)


def test_a_turned_copy_is_found_where_asked_for(two_sets):
    found, a, b = search(*two_sets, turned=True)
    assert {(a.files[p.a], b.files[p.b], p.view) for p in found.pairs} == {
        ("a/3.png", "b/copy.jpg", "as it is"), ("a/4.png", "b/turned.png", "turned 90")
    }  # fmt: skip


def test_eight_views_are_different_and_each_leads_back():
    pixels = np.random.default_rng(0).random((1, 5, 5)).astype("float32")
    views = views_of(pixels)
    assert len({view.tobytes() for view in views}) == len(VIEWS) == 8
    assert all(any((back[0] == pixels[0]).all() for back in views_of(view)) for view in views)


def test_within_a_set_the_first_of_a_group_stays(two_sets):
    one, _ = two_sets
    for name in ("a/6.png", "b/0.png"):
        save(scene(2), one / name)
    a = read_folder(one)
    found = confirm(find_duplicates(thumbnails(a).pixels, None), a, a)
    assert len(found.pairs) == 3  # three copies: each two of them
    assert [a.files[i] for i in found.leave_out] == ["a/6.png", "b/0.png"]


def test_flat_and_broken_images_match_nothing(two_sets):
    one, _ = two_sets
    (one / "a" / "0.png").write_bytes(b"no image")
    small = thumbnails(read_folder(one))
    assert small.unusable == ("a/0.png", "a/flat.png")
    assert np.linalg.norm(small.pixels.reshape(len(small.pixels), -1), axis=1)[[0, 1, -1]] == pytest.approx([0, 1, 0])


def test_blocks_do_not_change_what_is_found(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(70, 8)).astype("float32")
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    whole = find_duplicates(a, None, 0.7)
    monkeypatch.setattr("rszsl.zsl.data.duplicates.BLOCK", 9)
    assert len(whole.pairs) > 5
    assert [(p.a, p.b) for p in find_duplicates(a, None, 0.7).pairs] == [(p.a, p.b) for p in whole.pairs]
    brute = {(i, j) for i in range(70) for j in range(i + 1, 70) if a[i] @ a[j] > 0.7}
    assert {(p.a, p.b) for p in whole.pairs} == brute


def test_bad_questions_are_refused(tmp_path, two_sets):
    rows = np.eye(3, dtype="float32")
    with pytest.raises(TrainingError, match="a threshold of 1"):
        find_duplicates(rows, None, 1.5)
    with pytest.raises(TrainingError, match="only thumbnails can be turned"):
        find_duplicates(rows, None, turned=True)
    with pytest.raises(TrainingError, match="3 and 2 numbers an image"):
        find_duplicates(rows, rows[:, :2])
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(TrainingError, match="a row for each of 8 images"):
        read_vectors(tmp_path / "v.npy", read_folder(two_sets[0]))
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(TrainingError, match="is no record of searches"):
        add_record(tmp_path / "r.json", {"command": "x"})
    (tmp_path / "r.json").write_text('{"a": 1}')
    with pytest.raises(TrainingError, match="is no record of searches"):
        add_record(tmp_path / "r.json", {"command": "x"})


def test_the_command_writes_pairs_and_counts(two_sets, tmp_path):
    one, two = two_sets
    arguments = ["duplicates", str(one), str(two), "-o", str(tmp_path / "p.csv"), "--record", str(tmp_path / "r.json")]
    for _ in range(2):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
    assert "1 pairs above 0.93 (and 1 alike in the large only); 1 images of two to leave out; 2 flat" in result.output
    with (tmp_path / "p.csv").open() as opened:
        (row,) = csv.DictReader(opened)
    assert (row["a"], row["b"], row["leave_out"], row["class_b"]) == ("a/3.png", "b/copy.jpg", "b/copy.jpg", "b")
    assert read_leave_out(tmp_path / "p.csv") == ("b/copy.jpg",)
    (record,) = json.loads((tmp_path / "r.json").read_text())
    assert (record["pairs"], record["leave_out"], record["alike_in_the_large_only"]) == (1, 1, 1)
    assert record["a"]["sha256"] == read_folder(one).sha256


def test_the_command_compares_embeddings(two_sets, tmp_path):
    one, two = two_sets
    a, b = read_folder(one), read_folder(two)
    rng = np.random.default_rng(0)
    rows_a, rows_b = rng.normal(size=(len(a), 32)), rng.normal(size=(len(b), 32))
    rows_b[5] = rows_a[2]
    np.save(tmp_path / "a.npy", rows_a)
    np.save(tmp_path / "b.npy", rows_b)
    found = find_duplicates(read_vectors(tmp_path / "a.npy", a), read_vectors(tmp_path / "b.npy", b), 0.9)
    assert [(p.a, p.b) for p in found.pairs] == [(2, 5)]
    options = ["--embeddings", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--threshold", "0.9"]
    result = CliRunner().invoke(cli, ["duplicates", str(one), str(two), *options])
    assert "1 pairs above 0.9" in result.output


def test_real_twins_are_found_and_real_coasts_are_not(shared_data):
    every = read_folder(shared_data / "ucm")
    images = every.take([i for i, name in enumerate(every.labels) if name in {"airplane", "beach"}])
    found = confirm(find_duplicates(thumbnails(images).pixels, None), images, images)
    pairs = [(images.files[p.a], images.files[p.b]) for p in found.pairs]
    assert pairs == [("airplane/airplane01.jpg", "airplane/airplane02.jpg")]
    assert found.rejected > 20
