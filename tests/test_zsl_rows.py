"""Class rows: every provider gives unit rows in the order of the names, and names the class that has none."""

import numpy as np
import pytest

from rszsl.errors import TrainingError
from rszsl.zsl.data.layouts import layouts
from rszsl.zsl.rows.bridge import bridge_names, ridge_map
from rszsl.zsl.rows.common import attribute_words, build_table, check_known
from rszsl.zsl.rows.human import FILE_STEMS, human_rows


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
