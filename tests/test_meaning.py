"""What names mean: rows that the user wrote, names far from training, names that mean the same."""

import csv

import numpy as np
import pytest
from fakes import ColourModel, painted, unit

import rszsl
from rszsl import ClassListError, ClassName, OptionError
from rszsl.classes import parse_classes
from rszsl.cli import main
from rszsl.model.override import read_overrides
from rszsl.model.text import FAR_COSINE
from rszsl.pipeline.meaning import find_meaning

COLOURS = ColourModel.attribute_names
NO_PLACES = parse_classes(
    "saxophone,tax return,birthday cake,love,democracy,toothbrush,kitten,poem,quantum physics,wristwatch,pizza,"
    "haircut,guitar,software update,lawyer,wedding ring,sock,happiness,sandwich,email,mortgage,football match result,"
    "nostalgia,penguin,smartphone,novel,invoice,mathematics,jazz concert,violin sonata"
)
PLACES = parse_classes(
    "airplane,airport,solar farm,quarry,golf course,railway station,viaduct,mountain,wetland,glacier"
)


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "rows.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_rows_of_a_file(table):
    read = read_overrides(table("class,Bluish,reddish\nsky,2,\n Red  Roof ,-1,1\n\n"), COLOURS)
    np.testing.assert_allclose(read.row_of(ClassName("SKY")), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(read.row_of(ClassName("top", ("red roof",))), unit([1, 0, -1]), atol=1e-6)
    assert read.row_of(ClassName("forest")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class,redish,green stuff\na,1,1", r"does not know: redish, green stuff; did you mean reddish.*--csv prints"),
        ("class,reddish,Reddish\na,1,1", "attribute reddish twice"),
        ("class,reddish\na,1\nA,2", "has A twice"),
        ("class,reddish\n,1", "a row without a class"),
        ("class,reddish\na,much", '"much" in the row of "a" is no number'),
        ("class,reddish\na,nan", '"nan" in the row of "a" is no number'),
        ("class,reddish\na,0", "all zeros"),
        ("class,reddish\na,1,2", "more cells than there are columns"),
        ("class,reddish\n", "holds no row"),
        ("", "holds no row"),
    ],
)
def test_bad_files_are_refused(table, text, said):
    with pytest.raises(ClassListError, match=said):
        read_overrides(table(text), COLOURS)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ClassListError, match="cannot read the attribute rows"):
        read_overrides(tmp_path / "none.csv", COLOURS)


def test_a_file_overrides_names_everywhere(table, make_raster, tmp_path):
    scene = make_raster(painted(["rgb", "bgr"]), nodata=0)
    path = table("class,bluish\nfire,1\n")
    given = {"model": ColourModel(), "attributes": path}
    mapped = rszsl.map_scene(scene, "fire,green", output=tmp_path / "1.gpkg", cache=tmp_path / "c", **given)
    again = rszsl.relabel(tmp_path / "c", "fire,green", output=tmp_path / "2.gpkg", **given)
    assert mapped.tiles["class"].tolist() == ["other", "green", "fire", "fire", "green", "other"]
    assert again.tiles.equals(mapped.tiles) and not mapped.warnings
    assert [tile for tile, _ in rszsl.search(tmp_path / "c", "fire", top=2, **given)] == [2, 3]
    with pytest.raises(ClassListError, match="has rows for fire, none for red, green"):
        rszsl.map_scene(scene, "red,green", output=tmp_path / "3.gpkg", **given)


def test_what_the_model_believes_can_be_printed_corrected_and_given_back(model, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["attributes", "solar farm", "--csv", "--device", "cpu", "--model", "dsva-small"])
    printed = capsys.readouterr().out
    header, row = csv.reader(printed.splitlines())
    assert header == ["class", *model.attribute_names] and row[0] == "solar farm"
    (tmp_path / "rows.csv").write_text(printed)
    known = read_overrides(tmp_path / "rows.csv", model.attribute_names).row_of(ClassName("solar farm"))
    np.testing.assert_allclose(known, model.class_rows([ClassName("solar farm")]).rows[0], atol=1e-3)
    (tmp_path / "rows.csv").write_text("class,water\nsolar farm,1\n")
    with pytest.raises(SystemExit):
        main(["attributes", "solar farm", "--attributes", str(tmp_path / "rows.csv"), "--top", "1", "--device", "cpu"])
    assert capsys.readouterr().out.splitlines()[0] == "+1.000\twater"


def test_names_far_from_training_are_noted(model):
    def far(names):
        notes = model.class_rows(names).notes
        return [name for name, note in zip(names, notes, strict=True) if note and "far from anything" in note]

    assert far(PLACES) == []
    assert len(far(NO_PLACES)) >= 25
    (note,) = model.class_rows([ClassName("pizza")]).notes
    assert note.startswith('"pizza" is far from anything the model was trained on (nearest: "')
    assert note.endswith("the label is a guess")
    assert (model.text.known_vectors @ model.text.encoder.encode("pizza")).max() < FAR_COSINE


def test_two_names_that_mean_the_same_are_warned_about(model):
    warnings = find_meaning(model, parse_classes("car park,forest,parking lot")).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith('"car park" and "parking lot" mean nearly the same to the model (similarity ')
    assert not find_meaning(model, parse_classes("forest,river,quarry,solar farm")).warnings


def test_empty_and_foreign_prompts(model, tmp_path, capsys):
    with pytest.raises(OptionError, match="the text to search for is empty"):
        rszsl.search(tmp_path / "c", "  ")
    with pytest.raises(ClassListError, match="has no letters a-z to read; write its name in English"):
        find_meaning(model, [ClassName("лес")])
    with pytest.raises(SystemExit):
        main(["attributes", " "])
    assert "the name is empty" in capsys.readouterr().err
