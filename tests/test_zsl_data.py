"""Images and splits: class names across data sets, folders and tables, what bad input gets."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rszsl.errors import TrainingError
from rszsl.zsl.data.check import check_images, leave_out, read_leave_out, readable
from rszsl.zsl.data.folders import ImageSet
from rszsl.zsl.data.layouts import find_layout, layouts, read_folder, read_images, read_table
from rszsl.zsl.data.names import canonical_name
from rszsl.zsl.data.splits import ClassSplit, ImageSplit, draw_classes, draw_images, read_split


def paint(path: Path, seed=0, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype("uint8")
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def make_folder(tmp_path):
    """A folder of class folders with a few images each."""

    def make(classes, images=2, root="set"):
        for row, name in enumerate(classes):
            for i in range(images):
                paint(tmp_path / root / name / f"{i}.png", seed=100 * row + i)
        return tmp_path / root

    return make


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("agricultural", "farmland"),
        ("FormLand", "farmland"),
        ("DenseResidential", "dense residential"),
        ("dense_residential", "dense residential"),
        ("denseresidential", "dense residential"),
        ("denser_residential", "dense residential"),
        ("storge-tanks", "storage tanks"),
        ("storage_tank", "storage tanks"),
        ("Port", "harbor"),
        ("RiverLake", "river"),
        ("footballField", "football field"),
        ("golf_corse", "golf course"),
        ("oil_gas_field", "oil gas field"),
        ("OpenPitMine", "open pit mine"),
    ],
)
def test_one_name_for_one_class(spelling, name):
    assert canonical_name(spelling) == name


def test_every_layout_names_itself_and_counts_its_classes():
    sizes = {name: len(layout.classes) for name, layout in layouts().items()}
    assert sizes == {"aid": 30, "ucm": 21, "rsscn7": 7, "whurs19": 19, "nwpu": 45, "rssdivcs": 70}
    for name, layout in layouts().items():
        assert find_layout(layout.classes).name == name
        assert all(canonical_name(one) == one for one in layout.classes)
        assert all(seen + unseen == len(layout.classes) for seen, unseen in layout.splits)


def test_a_folder_is_listed_in_sorted_order(make_folder):
    root = make_folder(["b_class", "AClass"])
    (root / "notes.txt").write_text("x")
    images = read_folder(root)
    assert (images.files, images.name) == (("AClass/0.png", "AClass/1.png", "b_class/0.png", "b_class/1.png"), "set")
    assert images.labels == ("aclass", "aclass", "b class", "b class")
    assert images.without(["AClass/1.png", "elsewhere.png"]).files == images.files[:1] + images.files[2:]


def test_rssdivcs_folder_is_known_by_its_classes(make_folder, shared_data):
    names = (shared_data / "rssdivcs" / "class_names.txt").read_text().split()
    images = read_folder(make_folder(names, images=1, root="RSSDIVCS/Images").parent)
    assert (images.name, len(images)) == ("rssdivcs", 70)
    assert read_folder(images.root, "rssdivcs").classes == layouts()["rssdivcs"].classes


def test_real_sets_are_known_by_their_folders(shared_data):
    for name, count in (("aid", 9361), ("ucm", 2100), ("rsscn7", 2800)):
        images = read_folder(shared_data / name)
        assert (images.name, len(images)) == (name, count)
    assert list(images.paths) == sorted(images.paths)


def test_the_hash_sees_names_and_contents(make_folder):
    root = make_folder(["a", "b"])
    before = read_folder(root).sha256
    assert read_folder(root).sha256 == before
    paint(root / "a" / "0.png", seed=99)
    assert read_folder(root).sha256 != before


def test_a_folder_that_is_another_set_says_what_it_lacks(make_folder):
    with pytest.raises(TrainingError, match=r"no RSSCN7: it lacks .*'?meadow"):
        read_folder(make_folder(["Field", "Forest", "Gras", "Industry", "Parking", "Resident", "RiverLake"]), "rsscn7")


def test_two_spellings_of_one_class_are_an_error(make_folder):
    with pytest.raises(TrainingError, match="are both 'harbor'"):
        read_folder(make_folder(["Port", "harbour", "river"]))


def test_an_empty_class_folder_is_named(make_folder):
    root = make_folder(["a", "b"])
    (root / "empty").mkdir()
    with pytest.raises(TrainingError, match="empty holds no images"):
        read_folder(root)
    with pytest.raises(TrainingError, match="holds no class folders"):
        read_folder(root / "empty")


def test_a_table_keeps_its_order_and_parts(make_folder):
    root = make_folder(["a", "b"])
    (root / "list.csv").write_text("path,class,set\nb/0.png,Port,train\na/1.png,a,test\n")
    images = read_images(root / "list.csv")
    assert (images.labels, images.parts, images.files) == (("harbor", "a"), ("train", "test"), ("b/0.png", "a/1.png"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class,set\na/0.png,a,train\na/0.png,a,test\n", r"listed twice \(test and train\)"),
        ("path,class\na/0.png,a\nb/9.png,b\n", "1 images that are not there"),
        ("file,label\na/0.png,a\n", "needs a header"),
        ("path,class,set\na/0.png,a,train\nb/0.png,b,later\n", "`set` says 'later'"),
        ("path,class\na/0.png,\n", "line 2: a row needs"),
    ],
)
def test_a_bad_table_is_refused(make_folder, text, message):
    root = make_folder(["a", "b"])
    (root / "list.csv").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_table(root / "list.csv")


@given(st.integers(4, 40), st.integers(1, 20), st.integers(0, 9999), st.integers(5, 30))
def test_splits_divide_classes_and_images(seen, unseen, seed, images):
    names = [f"class {i}" for i in range(seen + unseen)]
    split = draw_classes(names, seen, unseen, seed)
    assert split == draw_classes(names[::-1], seen, unseen, seed)
    assert sorted(split.fit + split.validation + split.unseen) == sorted(names)
    assert (len(split.seen), len(split.unseen)) == (seen, unseen)
    labels = np.repeat(names, images)
    ids = draw_images(labels, split, seed)
    every = np.concatenate([ids.fit, ids.dev, ids.validation, ids.seen_test, ids.unseen_test])
    assert sorted(every.tolist()) == list(range(len(labels)))
    assert not set(ids.train) & {*ids.seen_test, *ids.unseen_test}
    assert set(labels[ids.unseen_test]) == set(split.unseen)
    assert set(labels[ids.seen_test]) == set(labels[ids.train]) == set(split.seen)


def test_image_sets_know_their_classes():
    images = ImageSet("x", Path("/r"), (Path("/r/a/1.png"), Path("/r/b/1.png")), ("b", "a"), ("train", "test"))
    assert (images.classes, len(images), images.take([1]).parts) == (("a", "b"), 2, ("test",))


def test_a_class_or_an_image_in_two_parts_is_refused():
    with pytest.raises(TrainingError, match="'b' is in two parts"):
        ClassSplit(("a", "b"), ("c",), ("b",))
    with pytest.raises(TrainingError, match="an unseen one"):
        ClassSplit(("a", "b"), ("c",), ())
    ids = [np.array([i]) for i in range(5)]
    with pytest.raises(TrainingError, match="image 3 is in two parts"):
        ImageSplit(*ids[:4], np.array([3, 4]))


TOML_SPLIT = 'seen = ["Port", "a", "b", "c"]\nvalidation = ["c"]\nunseen = ["d"]\n'
CSV_SPLIT = "class,part\nPort,seen\na,seen\nb,seen\nc,validation\nd,unseen\n"


@pytest.mark.parametrize(("name", "text"), [("s.toml", TOML_SPLIT), ("s.csv", CSV_SPLIT)])
def test_published_splits_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_split(tmp_path / name, ["a", "b", "c", "d", "harbor"]) == ClassSplit(
        ("a", "b", "harbor"), ("c",), ("d",)
    )


def test_a_split_file_without_validation_draws_it(tmp_path):
    (tmp_path / "s.toml").write_text('seen = ["a", "b", "c", "d", "e"]\nunseen = ["f"]\n')
    split = read_split(tmp_path / "s.toml", list("abcdef"), seed=1)
    assert (split.seen, len(split.validation), split.unseen) == (tuple("abcde"), 2, ("f",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('seen = ["a", "b"]\nvalidation = ["c"]\nunseen = ["b"]\n', "'b' is in two parts"),
        ('seen = ["a", "haven"]\nvalidation = ["c"]\nunseen = ["b"]\n', r"have no image: 'haven'"),
        ('seen = ["a", "b"]\ntest = ["c"]\nunseen = ["b"]\n', "says 'test'"),
        ('seen = ["a", "b"]\n', "lists too little"),
        ("seen = a, b", "is no class split"),
    ],
)
def test_a_bad_split_file_is_refused(tmp_path, text, message):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_split(tmp_path / "s.toml", ["a", "b", "c", "harbor"])


def test_published_parts_are_kept():
    labels = ["a"] * 6 + ["b"] * 6 + ["c"] * 6 + ["u"] * 2
    parts = (["train"] * 4 + ["test"] * 2) * 3 + ["test", "train"]
    ids = draw_images(labels, ClassSplit(("a", "b"), ("c",), ("u",)), 3, parts)
    assert ids.seen_test.tolist() == [4, 5, 10, 11, 16, 17]
    assert ids.unseen_test.tolist() == [18, 19]
    with pytest.raises(TrainingError, match="'b' has 6 images to train on and 0 to test"):
        draw_images(labels, ClassSplit(("a", "b"), ("c",), ("u",)), 3, ["train", "test"] * 3 + ["train"] * 14)


def test_a_class_without_enough_images_is_named():
    with pytest.raises(TrainingError, match="'b' has 3 images"):
        draw_images(["a"] * 9 + ["b"] * 3 + ["c"] * 9 + ["u"], ClassSplit(("a", "b"), ("c",), ("u",)), 0)


def test_corrupt_images_are_counted_and_named(make_folder):
    root = make_folder(["a", "b"], images=3)
    (root / "a" / "1.png").write_bytes((root / "a" / "1.png").read_bytes()[:200])
    (root / "b" / "9.jpg").write_text("no image")
    left, check = readable(read_folder(root))
    assert (check.files, check.images, len(left)) == (("a/1.png", "b/9.jpg"), 7, 5)
    assert str(check).startswith("2 of 7 images cannot be read and are left out: a/1.png (")
    assert str(root) not in str(check)
    assert str(check_images(left)) == "all 5 images can be read"
    for file in ("0.png", "2.png"):
        (root / "a" / file).write_text("")
    with pytest.raises(TrainingError, match="no image of the class 'a' can be read"):
        readable(read_folder(root))


def test_images_are_left_out_by_list(make_folder, tmp_path):
    images = read_folder(make_folder(["a", "b"], images=2))
    (tmp_path / "list.txt").write_text("a/0.png\n\nelsewhere/3.png\n")
    (tmp_path / "pairs.csv").write_text("a,b,leave_out\nx.png,b/1.png,b/1.png\ny.png,b/1.png,b/1.png\n")
    assert leave_out(images, read_leave_out(tmp_path / "list.txt")).files == ("a/1.png", "b/0.png", "b/1.png")
    assert read_leave_out(tmp_path / "pairs.csv") == ("b/1.png",)
    with pytest.raises(TrainingError, match="no image to leave out is in"):
        leave_out(images, ["c/0.png"])
    with pytest.raises(TrainingError, match="every image of the class 'a'"):
        leave_out(images, ["a/0.png", "a/1.png"])
    with pytest.raises(TrainingError, match="cannot read which images"):
        read_leave_out(tmp_path / "none.txt")
