"""Class rows: every provider gives unit rows in the order of the names, and names the class that has none."""

import numpy as np
import pytest

from rszsl.errors import TrainingError
from rszsl.zsl.data.layouts import layouts
from rszsl.zsl.rows.annotated import Annotation, Evidence, annotated_rows
from rszsl.zsl.rows.bridge import bridge_names, ridge_map
from rszsl.zsl.rows.combine import combine_rows
from rszsl.zsl.rows.common import attribute_words, build_table, check_known, check_rows
from rszsl.zsl.rows.graph import graph_rows
from rszsl.zsl.rows.human import FILE_STEMS, human_rows
from rszsl.zsl.rows.table import table_rows, write_table
from rszsl.zsl.rows.textual import TextSide, bundled_text, table_text, textual_rows
from rszsl.zsl.rows.vocabulary import Attribute, as_attributes, bundled_attributes, read_attributes


def check(table, classes, columns):
    assert table.names == tuple(sorted(classes))
    assert (table.rows.shape, table.rows.dtype) == ((len(classes), columns), np.float32)
    assert np.linalg.norm(table.rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert len(table.attributes) == columns
    listed = [column for group in table.groups.values() for column in group]
    assert len(listed) == len(set(listed)) and set(listed) <= set(range(columns))
    assert {"provider", "images_per_class", "unseen_images_used", "normalisation"} <= set(table.record)


@pytest.mark.parametrize(("name", "columns"), [("aid", 44), ("nwpu", 57), ("ucm", 33), ("whurs19", 26)])
def test_human_tables_know_every_class_and_family(shared_data, name, columns):
    table = human_rows(layouts()[name].classes, name, shared_data / "attributes")
    check(table, layouts()[name].classes, columns)
    assert sum(len(group) for group in table.groups.values()) == columns
    assert set(table.groups) == {"colour", "objects", "materials", "texture", "shape", "function"}


def test_human_rows_are_those_of_their_class(shared_data):
    table = human_rows(["forest", "airport"], "aid", shared_data / "attributes")
    values = np.load(shared_data / "attributes" / "AID_attributes.npy")
    assert table.rows[0] == pytest.approx(values[0] / np.linalg.norm(values[0]), abs=1e-6)  # row 0 is Airport
    row, names = dict(zip(table.names, table.rows, strict=True)), table.attributes
    assert row["airport"][names.index("has_runway")] > row["forest"][names.index("has_runway")]
    assert row["forest"][names.index("has_trees")] > row["airport"][names.index("has_trees")]


def test_a_class_without_a_row_is_named(shared_data):
    with pytest.raises(TrainingError, match=r"'harbour bridge' \(close: harbor\)"):
        human_rows(["harbour bridge", "forest"], "ucm", shared_data / "attributes")
    with pytest.raises(TrainingError, match="there are aid, nwpu, ucm, whurs19"):
        human_rows(["forest"], "rsscn7", shared_data / "attributes")
    with pytest.raises(TrainingError, match="cannot read the human attribute table"):
        human_rows(["forest"], "ucm", shared_data)
    assert set(FILE_STEMS) <= set(layouts())


def test_tables_are_sorted_and_refuse_rows_that_say_nothing():
    table = build_table(["b", "a"], np.array([[0.0, 2.0], [3.0, 4.0]]), ["x", "y"], {}, ["shape", None])
    assert table.names == ("a", "b")
    assert table.rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 1]]
    assert table.groups == {"shape": (0,)}
    with pytest.raises(TrainingError, match="row of 'a' is zero"):
        build_table(["b", "a"], np.array([[0.0, 2.0], [0.0, 0.0]]), ["x", "y"], {})
    with pytest.raises(TrainingError, match="'a' has two rows"):
        build_table(["a", "a"], np.eye(2), ["x", "y"], {})
    check_known(["a"], ["a", "b"], "the table")


def test_attribute_names_become_words():
    assert attribute_words("has_narrow_water_flow") == "narrow water flow"
    assert attribute_words("is_residential") == "residential"


def test_ridge_map_by_hand():
    x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0], [1.0]])
    assert ridge_map(x, y, 1.0)[:, 0] == pytest.approx([1 / 2, 2 / 5])


@pytest.fixture
def text_vectors(tmp_path):
    """A table of two spaces that are turned against each other: B/16 is B/32 with its axes in reverse."""
    rng = np.random.default_rng(0)
    names = [*sorted(f"thing{chr(97 + i)}{chr(97 + j)}" for i in range(15) for j in range(20)), "quarry", "lake"]
    vectors = rng.normal(size=(len(names), 512)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.savez(
        tmp_path / "text.npz", names=np.array(names), b32_ensemble=vectors, coco=np.array(names[:300]),
        coco_b16=vectors[:300, ::-1],
    )  # fmt: skip
    return tmp_path / "text.npz"


def test_names_cross_the_bridge(text_vectors, model):
    crossed = bridge_names(["quarry", "lake", "thingaa"], text_vectors, model.text.encoder, 1e-3)
    assert (crossed.shape, crossed.dtype) == ((3, 512), np.float32)
    assert np.linalg.norm(crossed, axis=1) == pytest.approx(1, abs=1e-5)
    with np.load(text_vectors) as kept:
        true = kept["b32_ensemble"][[-2, -1, 0], ::-1]
    cosines = crossed @ true.T
    assert cosines.argmax(1).tolist() == [0, 1, 2]
    assert cosines[2, 2] > 0.9 and np.diag(cosines).min() > 0.5
    with pytest.raises(TrainingError, match="is no table of text vectors"):
        bridge_names(["quarry"], text_vectors.with_name("none.npz"), model.text.encoder)


LETTERS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
"""What a text side of two dimensions says of three phrases."""


@pytest.fixture
def letters():
    return TextSide(lambda phrases: np.array([LETTERS[p] for p in phrases], "float32"), {"text": "letters"})


def test_text_rows_by_hand(letters):
    attributes = [Attribute("first", "shape", "a"), Attribute("second", "colour", "c")]
    table = textual_rows(["b", "a"], attributes, letters)
    # raw: a (1, 0.6), b (0, 0.8); centred: a (0.5, -0.1), b (-0.5, 0.1)
    length = np.hypot(0.5, 0.1)
    assert table.rows == pytest.approx(np.array([[0.5, -0.1], [-0.5, 0.1]]) / length)
    assert table.groups == {"shape": (0,), "colour": (1,)}
    check(table, ["a", "b"], 2)
    ridged = textual_rows(["b", "a"], attributes, letters, ridge=1.0)
    coefficients = np.linalg.solve([[2.0, 0.6], [0.6, 2.0]], [[1.0, 0.0], [0.6, 0.8]]).T
    centred = coefficients - coefficients.mean(0)
    assert ridged.rows == pytest.approx(centred / np.linalg.norm(centred, axis=1, keepdims=True), abs=1e-6)


def test_the_bundled_text_side_describes_any_class():
    table = textual_rows(layouts()["rssdivcs"].classes, bundled_attributes(), bundled_text())
    check(table, layouts()["rssdivcs"].classes, 123)
    row = dict(zip(table.names, table.rows, strict=True))
    column = {name: i for i, name in enumerate(table.attributes)}
    assert max(row, key=lambda name: row[name][column["ships"]]) in {"ship", "harbor", "shipping yard"}
    assert row["forest" if "forest" in row else "sclerophyllous forest"][column["trees"]] > 0
    assert set(table.groups) == {"colour", "objects", "materials", "texture", "shape", "function"}


def test_real_vectors_come_before_the_encoder(text_vectors, model):
    text = table_text(text_vectors, model.text.encoder)
    with np.load(text_vectors) as kept:
        true = kept["b32_ensemble"]
    known, unknown = text.encode(["quarry", "an unlisted thing"])
    assert known @ (true[-2] - true.mean(0)) / np.linalg.norm(true[-2] - true.mean(0)) == pytest.approx(1, abs=1e-4)
    assert unknown == pytest.approx(model.text.encoder.encode("an unlisted thing"))


def test_human_columns_are_a_vocabulary():
    first, second = as_attributes(["has_boats", "my own"])
    assert (first.phrase, first.family, second.phrase, second.family) == ("boats", "objects", "my own", "")


def test_a_broken_vocabulary_is_named(tmp_path):
    (tmp_path / "v.toml").write_text('[[attribute]]\nname = "x"\n')
    with pytest.raises(TrainingError, match="is no vocabulary of attributes"):
        read_attributes(tmp_path / "v.toml")


@pytest.fixture
def evidence():
    """Four images of a (two of them odd), two of b, two of c, in a plane; two attributes along its axes."""
    embeddings = np.array([[1, 0], [1, 0], [0.8, 0.6], [0.8, 0.6], [0, 1], [0, 1], [0.6, 0.8], [0.6, 0.8]], "float32")
    attributes = (Attribute("x", "shape", "a"), Attribute("y", "colour", "b"))
    return Evidence(embeddings, ["a"] * 4 + ["b"] * 2 + ["c"] * 2, attributes, np.eye(2, dtype="float32"))


def test_rows_from_images_by_hand(evidence):
    table = annotated_rows(evidence, ["b", "a"], may_look=np.arange(6), how=Annotation(centred=False))
    assert table.rows == pytest.approx(np.array([[0.9, 0.3] / np.hypot(0.9, 0.3), [0, 1]]))
    check(table, ["a", "b"], 2)
    assert (table.record["unseen_images_used"], table.record["images_looked_at"]) == (False, 6)
    centred = annotated_rows(evidence, ["b", "a"], may_look=np.arange(6), how=Annotation())
    assert centred.rows == pytest.approx(np.array([[0.45, -0.35], [-0.45, 0.35]]) / np.hypot(0.45, 0.35))


def test_temperature_is_a_softmax_over_attributes(evidence):
    table = annotated_rows(evidence, ["b"], may_look=np.arange(6), how=Annotation(temperature=0.5, centred=False))
    assert table.rows[0] == pytest.approx(np.array([1, np.exp(2)]) / np.hypot(1, np.exp(2)))


def test_unseen_classes_take_text_rows_and_no_image_of_theirs(evidence, letters):
    text = textual_rows(["a", "b", "c"], evidence.attributes, letters)
    looked = annotated_rows(evidence, ["a", "b"], may_look=np.arange(6), how=Annotation(), by_text=text)
    assert looked.rows[2] == pytest.approx(text.rows[2])
    changed = Evidence(evidence.embeddings.copy(), evidence.labels, evidence.attributes, evidence.vectors)
    changed.embeddings[6:] = np.nan
    again = annotated_rows(changed, ["a", "b"], may_look=np.arange(6), how=Annotation(), by_text=text)
    assert (again.rows == looked.rows).all()
    assert (looked.record["from_text"], looked.record["unseen_images_used"]) == (["c"], False)


def test_images_of_unseen_classes_are_disclosed(evidence):
    how = Annotation(per_class=1, seed=3)
    table = annotated_rows(evidence, ["a", "b"], may_look=np.arange(8), how=how, unseen=["c"])
    assert (table.record["unseen_images_used"], table.record["unseen_from_images"]) == (True, ["c"])
    assert (table.record["images_per_class"], table.record["images_looked_at"]) == (1, 3)
    assert set(table.record["images"]["c"]) < {6, 7} and len(table.record["images"]["c"]) == 1
    with pytest.raises(TrainingError, match="'c' has 0 images"):
        annotated_rows(evidence, ["a", "b"], may_look=np.arange(6), how=how, unseen=["c"])


def test_text_rows_of_other_attributes_are_refused(evidence, letters):
    text = textual_rows(["a", "c"], [Attribute("z", "shape", "a")] * 2, letters)
    with pytest.raises(TrainingError, match="have other attributes"):
        annotated_rows(evidence, ["a", "b"], may_look=np.arange(6), how=Annotation(), by_text=text)


def test_graph_rows_know_every_class_of_rssdivcs(shared_data):
    folder = shared_data / "rssdivcs"
    table = graph_rows(layouts()["rssdivcs"].classes, folder)
    check(table, layouts()["rssdivcs"].classes, 50)
    vectors = np.load(folder / "sr_rskg_70x50.npy")
    assert table.rows[table.names.index("meadow")] == pytest.approx(vectors[24] / np.linalg.norm(vectors[24]), abs=1e-6)
    assert table.record["stand_ins"] == {}


@pytest.mark.parametrize("name", ["aid", "ucm", "whurs19", "nwpu", "rsscn7"])
def test_graph_stand_ins_are_named_in_the_record(shared_data, name):
    classes = layouts()[name].classes
    with pytest.raises(TrainingError, match=r"stand-ins are not allowed\) has no row for '"):
        graph_rows(classes, shared_data / "rssdivcs")
    table = graph_rows(classes, shared_data / "rssdivcs", stand_ins=True)
    check(table, classes, 50)
    assert set(table.record["stand_ins"]) == set(classes) - set(layouts()["rssdivcs"].classes)


def test_two_classes_never_share_a_graph_vector(shared_data):
    with pytest.raises(TrainingError, match="'convention center' and 'center' would have one"):
        graph_rows(["convention center", "center"], shared_data / "rssdivcs", stand_ins=True)


def test_a_table_survives_its_file(tmp_path):
    table = build_table(
        ["b", "a"], np.random.default_rng(0).random((2, 3)), ["x", "y, z", "w"], {}, ["shape", None, "f"]
    )
    write_table(table, tmp_path / "rows.csv")
    back = table_rows(["a", "b"], tmp_path / "rows.csv")
    assert (back.names, back.attributes, dict(back.groups)) == (table.names, table.attributes, dict(table.groups))
    assert back.rows == pytest.approx(table.rows, abs=1e-6)
    check(back, ["a", "b"], 3)


def test_a_users_table_may_spell_classes_as_it_likes(tmp_path):
    (tmp_path / "rows.csv").write_text("class,water,trees\nPort,100,0\nDense_Residential,0,20\nquarry,1,1\n")
    table = table_rows(["harbor", "dense residential"], tmp_path / "rows.csv")
    assert table.rows.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,x\nharbor,1\n", "has no row for 'river'"),
        ("class,x\nharbor,1\nport,1\nriver,1\n", "two rows for 'harbor'"),
        ("class,x\nharbor,1\nriver,much\n", "row of 'river' has a value that is no number"),
        ("class,x\nharbor,1\nriver,0\n", "row of 'river' is zero"),
        ("class,x\nharbor,1\nriver,1,2\n", "row 3: 3 values under 2 columns"),
        ("name,x\nharbor,1\n", "needs a header"),
        ("class,x\nharbor,1\nriver,nan\n", "zero or not finite"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(TrainingError, match=message):
        table_rows(["harbor", "river"], tmp_path / "rows.csv")


def test_combined_cosines_are_weighted_means():
    rng = np.random.default_rng(0)
    one = build_table(
        ["a", "b", "c"], rng.normal(size=(3, 4)), list("wxyz"), {"provider": "human"}, ["f", None, "f", "g"]
    )
    two = build_table(
        ["a", "b", "c"],
        rng.normal(size=(3, 2)),
        ["x", "v"],
        {"provider": "text", "unseen_images_used": True},
        ["g", "g"],
    )
    both = combine_rows([one, two], [1, 3])
    cosines = (one.rows @ one.rows.T + 3 * two.rows @ two.rows.T) / 4
    assert both.rows @ both.rows.T == pytest.approx(cosines, abs=1e-5)
    assert both.attributes == ("w", "human: x", "y", "z", "text: x", "v")
    assert both.groups == {"f": (0, 2), "g": (3, 4, 5)}
    assert (both.record["provider"], both.record["unseen_images_used"]) == ("human+text", True)
    other = build_table(["a", "b", "d"], np.eye(3), list("xyz"), {})
    with pytest.raises(TrainingError, match="'c' is in one of the tables"):
        combine_rows([one, other])
    with pytest.raises(TrainingError, match="positive weights"):
        combine_rows([one, two], [1, 0])


def test_rows_and_images_are_of_the_same_classes():
    table = build_table(["a", "b"], np.eye(2), ["x", "y"], {})
    check_rows(table, ["b", "a"])
    with pytest.raises(TrainingError, match="has no row for 'c'"):
        check_rows(table, ["a", "b", "c"])
    with pytest.raises(TrainingError, match="rows but no images of 'b'"):
        check_rows(table, ["a"])
