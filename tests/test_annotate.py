"""Class-attribute matrices by machine: arithmetic, choices, files, and a painted example end to end."""

import json

import numpy as np
import pandas as pd
import pytest
from fakes import unit
from PIL import Image
from scipy.stats import spearmanr

from rszsl.annotate.annotate import AnnotateOptions, annotate
from rszsl.annotate.files import write_annotation
from rszsl.annotate.human import read_human
from rszsl.annotate.matrix import centred, class_rows, normalised, scores_of
from rszsl.annotate.pictures import find_pictures
from rszsl.annotate.quality import HumanTable, agreement, separability, variance_between
from rszsl.annotate.vocabulary import read_vocabulary
from rszsl.classes import spoken
from rszsl.cli import main
from rszsl.errors import AnnotationError, OptionError, OutputError
from rszsl.model.encoder import ClassRows, Encoded

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "meadow": (0.3, 1, 0), "sea": (0, 0.2, 1)}
VOCABULARY = """
attributes:
  - {name: reddish, family: colour, phrase: red}
  - {name: greenish, family: colour, phrases: [green], human: is_green}
  - {name: bluish, family: hue, phrase: blue}
"""


class Painter:
    """A model at the seam: the mean colour of a picture, the colour of a word."""

    background_rows = unit([[1, 1, 1]])

    def __init__(self):
        from types import SimpleNamespace

        self.card, self.seen = SimpleNamespace(name="painter", sha256="0" * 64), 0

    def encode_images(self, images):
        self.seen += len(images)
        rows = unit([image.reshape(-1, 3).mean(0) / 255 for image in images])
        return Encoded(rows, rows)

    def class_rows(self, classes):
        return ClassRows(unit([COLOURS[c.name] for c in classes]), (None,) * len(classes))


@pytest.fixture
def folder(tmp_path):
    """Three classes of five pictures, each a noisy colour."""
    rng = np.random.default_rng(0)
    for name in ("meadow", "redRoof", "sea"):
        place = tmp_path / "pictures" / name
        place.mkdir(parents=True)
        colour = np.array(COLOURS.get(name, (1, 0, 0))) * 200
        for i in range(5):
            pixels = np.clip(colour + rng.normal(20, 8, (12 + i, 10, 3)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path / "pictures"


@pytest.fixture
def vocabulary(tmp_path):
    (tmp_path / "vocab.yaml").write_text(VOCABULARY)
    return read_vocabulary(tmp_path / "vocab.yaml")


def test_a_row_is_the_mean_similarity_over_the_temperature(folder, vocabulary):
    found = annotate(folder, vocabulary, Painter(), AnnotateOptions(centre="none", normalise="none", temperature=0.5))
    means = []
    for name in found.classes:
        colours = [np.asarray(Image.open(f)).reshape(-1, 3).mean(0) for f in sorted((folder / name).iterdir())]
        means.append(unit(np.array(colours)).mean(0) / 0.5)
    np.testing.assert_allclose(found.rows, means, rtol=1e-5)
    assert found.classes == ("meadow", "redRoof", "sea") and found.sources == ("images",) * 3


def test_centring_and_length(folder, vocabulary):
    found = annotate(folder, vocabulary, Painter(), AnnotateOptions())
    np.testing.assert_allclose(np.linalg.norm(found.rows, axis=1), 1, rtol=1e-5)
    assert found.rows.argmax(1).tolist() == [1, 0, 2]
    rows = np.array([[1.0, 2], [3, 6], [5, 1]], "float32")
    everyone, nobody = np.ones(3, bool), np.zeros(3, bool)
    np.testing.assert_allclose(centred(rows, everyone, nobody).mean(0), 0, atol=1e-6)
    seen = np.array([True, True, False])
    np.testing.assert_allclose(centred(rows, seen, nobody)[2], rows[2] - rows[:2].mean(0))
    by_text = ~seen
    np.testing.assert_allclose(centred(rows, everyone, by_text)[2], 0)  # texts lie elsewhere: among themselves
    np.testing.assert_allclose(normalised(rows, "zscore").std(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(normalised(rows, "none"), rows)


def test_pictures_are_drawn_by_seed_and_class(folder):
    first = find_pictures(folder, per_class=2, seed=1)
    assert first == find_pictures(folder, per_class=2, seed=1)
    assert any(first != find_pictures(folder, per_class=2, seed=s) for s in (2, 3, 4))
    without = find_pictures(folder, per_class=2, seed=1, without=frozenset({"meadow"}))
    assert without.files[1:] == first.files[1:] and without.files[0] == ()
    assert first.labels.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(AnnotationError, match="5 pictures; 6 were asked for"):
        find_pictures(folder, per_class=6, seed=0)
    with pytest.raises(AnnotationError, match="no folder"):
        find_pictures(folder / "none", per_class=None, seed=0)


def test_text_rows_look_at_no_picture_of_the_class(folder, vocabulary):
    model = Painter()
    options = AnnotateOptions(text_rows=("sea",), per_class=3, centre="none", normalise="none", temperature=1.0)
    found = annotate(folder, vocabulary, model, options)
    assert model.seen == 6 and found.sources == ("images", "images", "text")
    np.testing.assert_allclose(found.rows[2], unit([COLOURS["sea"]])[0], rtol=1e-5)
    assert not any("sea" in str(file) for file in found.pictures.every)
    model = Painter()
    words = {"redRoof": ("red",)}
    every = annotate(folder, vocabulary, model, AnnotateOptions(text_only=True, names=words))
    assert model.seen == 0 and every.report["classes_from_text"] == 3
    with pytest.raises(AnnotationError, match="is no folder"):
        annotate(folder, vocabulary, model, AnnotateOptions(text_rows=("ocean",)))


def test_separability_leaves_the_picture_out():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    noise = rng.normal(size=(100, 6)).astype("float32")
    assert separability(noise, labels) < 0.45  # each picture's own mean would give much more
    apart = noise * 0.1 + np.eye(6, dtype="float32")[labels] * 3
    assert separability(apart, labels) == 1
    shares = variance_between(apart, labels)
    assert (shares[:4] > 0.9).all() and (shares[4:] < 0.2).all()


def test_separability_equals_the_slow_way():
    rng = np.random.default_rng(1)
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])  # one picture of class 3: it is left out
    scores = rng.normal(size=(9, 5)).astype("float32")
    around = (scores - scores.mean(0))[:8]
    hits = 0
    for i in range(8):
        means = [around[(labels[:8] == c) & (np.arange(8) != i)].mean(0) for c in range(3)]
        hits += int(np.argmax([m @ around[i] / np.linalg.norm(m) for m in means])) == labels[i]
    assert separability(scores, labels) == hits / 8


def test_agreement_is_spearmans_beside_controls():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 4)).astype("float32")
    ours = truth[:, [2, 0, 1]] + rng.normal(size=(20, 3)).astype("float32") * [0.1, 1.0, 50]
    human = HumanTable(truth, np.array([2, 0, -1]))
    told = agreement(ours, human, ["a", "b", "b"], seed=0)
    expected = [spearmanr(ours[:, i], truth[:, c]).statistic for i, c in ((0, 2), (1, 0))]
    assert told["attributes"] == [(i, pytest.approx(e, abs=1e-3)) for i, e in enumerate(expected)]
    assert told["mean"]["n"] == told["attributes_compared"] == 2
    assert told["families"]["a"]["p"] < 0.01 and abs(told["mean"]["shuffled_mean"]) < 0.05
    none = agreement(rng.normal(size=(20, 3)).astype("float32"), human, ["a", "b", "b"], seed=0)
    assert none["mean"]["p"] > 0.01


def test_human_tables_are_matched_by_letters(tmp_path, vocabulary):
    pd.DataFrame([[10, 0], [0, 90]], index=["Red_Roof", "Mea dow"], columns=["is_green", "tall"]).to_csv(
        tmp_path / "h.csv"
    )
    table = read_human(tmp_path / "h.csv", ("meadow", "redRoof", "sea"), vocabulary)
    assert table.columns.tolist() == [-1, 0, -1]
    np.testing.assert_array_equal(table.rows, [[0, 90], [10, 0], [np.nan, np.nan]])
    np.save(tmp_path / "X_attributes.npy", np.array([[1.0], [2]]))
    names = {"classes_in_class_file_order": ["sea", "meadow"], "attributes": ["is_green"]}
    (tmp_path / "X_names.json").write_text(json.dumps(names))
    assert read_human(tmp_path / "X", ("meadow", "sea"), vocabulary).rows[:, 0].tolist() == [2, 1]
    with pytest.raises(AnnotationError, match="describes none"):
        read_human(tmp_path / "X", ("quarry",), vocabulary)
    with pytest.raises(AnnotationError, match="cannot read"):
        read_human(tmp_path / "Y", ("quarry",), vocabulary)


def test_vocabularies_of_three_shapes(tmp_path):
    (tmp_path / "families.yaml").write_text("attributes:\n  colour: [red, green]\n  objects: [trees]\n")
    found = read_vocabulary(tmp_path / "families.yaml")
    assert [(a.name, a.family, a.phrases) for a in found][2] == ("trees", "objects", ("trees",))
    (tmp_path / "v.toml").write_text('[[attribute]]\nname = "grey"\nfamily = "colour"\nphrase = "gray"\n')
    assert read_vocabulary(tmp_path / "v.toml")[0].phrases == ("gray",)
    for text, says in (("attributes: []", "lists no"), ("attributes: [{name: a}, {name: a}]", "twice"),
                       ("attributes: [{name: a, famly: b}]", "unknown key famly"), ("a: [", "cannot read"),
                       ("attributes: [{family: b}]", "is no attribute")):  # fmt: skip
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(AnnotationError, match=says):
            read_vocabulary(tmp_path / "bad.yaml")


def test_files(folder, vocabulary, tmp_path):
    found = annotate(folder, vocabulary, Painter(), AnnotateOptions(per_class=2))
    out = write_annotation(found, tmp_path / "out", overwrite=False)
    table = pd.read_csv(out / "attributes.csv", index_col=0)
    np.testing.assert_allclose(table[["reddish", "greenish", "bluish"]], found.rows, atol=1e-5)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "attributes.parquet"), table, rtol=1e-4, check_dtype=False)
    used = pd.read_csv(out / "images.csv")
    assert used["class"].value_counts().to_dict() == {"meadow": 2, "redRoof": 2, "sea": 2}
    assert Image.open(out / "heatmap.png").size[0] > 200
    report = json.loads((out / "report.json").read_text())
    assert report["images_per_class"] == 2 and report["quality"]["separability"] == 1
    with pytest.raises(OutputError, match="exists"):
        write_annotation(found, out, overwrite=False)
    write_annotation(found, out, overwrite=True)
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not ours"):
        write_annotation(found, out, overwrite=True)
    assert (out / "mine.txt").exists()


def test_the_command_with_the_bundled_model(folder, tmp_path, capsys):
    (tmp_path / "v.yaml").write_text("attributes: [green, blue, red]\n")
    with pytest.raises(SystemExit) as end:
        main(["annotate", str(folder), "--attributes", str(tmp_path / "v.yaml"), "--out", str(tmp_path / "o"),
              "--device", "cpu", "--images-per-class", "2", "--text-rows", "sea"])  # fmt: skip
    assert end.value.code == 0, capsys.readouterr().err
    table = pd.read_csv(tmp_path / "o" / "attributes.csv", index_col=0)
    assert table.shape == (3, 4) and table["source"].tolist() == ["images", "images", "text"]


def test_options_are_checked():
    assert spoken("StorageTanks") == spoken("storage_tanks") == "storage tanks"
    with pytest.raises(OptionError):
        AnnotateOptions(temperature=0)
    with pytest.raises(OptionError):
        AnnotateOptions(per_class=0)
    assert np.isnan(class_rows(np.ones((2, 2), "float32"), np.array([0, 0]), 2)[1]).all()
    np.testing.assert_allclose(scores_of(unit([[1, 0]]), unit([[1, 1]]), 0.1), 7.0710678)
