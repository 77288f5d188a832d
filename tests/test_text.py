"""The text side: names to rows."""

from pathlib import Path

import numpy as np
import pytest

from rszsl.classes import ClassName, parse_classes
from rszsl.errors import ClassListError
from rszsl.model.checkpoint import load_model
from rszsl.model.names import name_key, singular, words_of
from rszsl.model.prompts import NamePrompts
from rszsl.model.text import AttributeText, PhraseEncoder, PhraseTables, find_word, gram_ids, unit
from rszsl.training.recipe import read_recipe


@pytest.fixture(scope="module")
def text():
    return load_model("dsva-small", device="cpu").text


@pytest.fixture
def tiny():
    """Two words in two dimensions, whose arithmetic can be done by hand."""
    linear = np.zeros((2, 512), "float32")
    linear[0, 0] = linear[1, 1] = 1
    tables = PhraseTables(
        words=np.array([[3, 0], [0, 4]], "float32"),
        word_weights=np.array([0, np.log(3)], "float32"),
        grams=np.array([[5, 5]], "float32"),
        gram_weight=np.zeros(1, "float32"),
        linear=linear,
        inner=np.zeros((2, 1), "float32"),
        inner_bias=np.zeros(1, "float32"),
        outer=np.zeros((1, 512), "float32"),
        outer_bias=np.zeros(512, "float32"),
    )
    return PhraseEncoder(["red", "roof"], tables)


@pytest.fixture
def two_attributes(tiny):
    """`red` and `roof` as attributes; "roof" is the only name with a look, and "red" is what it looks like."""
    return AttributeText(
        encoder=tiny,
        projection=np.eye(2, 512, dtype="float32"),
        mean=np.zeros(2, "float32"),
        taught={},
        taught_rows=np.zeros((0, 2), "float32"),
        prompts=NamePrompts({"roof": ("red",)}, {"roof": "roof"}),
    )


def test_words():
    assert words_of("Café-terraces (OLD)") == ["cafe", "terraces", "old"]
    assert words_of("children's park") == ["children", "park"]
    assert words_of("太陽光") == []
    assert words_of("GroundTrackField, storage_tanks") == ["ground", "track", "field", "storage", "tanks"]


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("quarries", "quarry"), ("beaches", "beach"), ("churches", "church"), ("grasses", "grass"), ("roads", "road"),
        ("grass", "grass"), ("gas", "gas"), ("tennis", "tennis"), ("campus", "campus"), ("boxes", "box"),
        ("houses", "house"), ("sea", "sea"),
    ],
)  # fmt: skip
def test_singular(plural, one):
    assert singular(plural) == one and singular(one) == one


def test_spellings_of_a_name_have_one_key():
    spellings = [
        "golf course",
        "Golf  Courses",
        "the golf course",
        "golfcourse",
        "golfCourse",
        "golf_course",
        "a golf-course",
    ]
    assert {name_key(name) for name in spellings} == {"golfcourse"}
    assert name_key("the") == "the" and name_key(" 太陽光") == "太陽光"
    assert len({name_key(name) for name in ("park", "parking", "parking lot", "car park")}) == 4


@pytest.mark.parametrize("word", ["quarry", "quarries"])
def test_a_plural_is_known(word):
    assert find_word(word, {"quarry": 7}) == 7


def test_gram_ids_are_the_same_everywhere():
    assert gram_ids("sea", 1000) == [996, 223, 244, 688, 176, 998]


def test_by_hand(tiny):
    # weights 0 and log 3 share 1/4 and 3/4: (3/4, 3), of length 3.0923
    np.testing.assert_allclose(tiny.encode("red roof")[:2], [0.2425, 0.9701], atol=1e-4)
    np.testing.assert_allclose(tiny.encode("zzz")[:2], [0.7071, 0.7071], atol=1e-4)
    assert tiny.unknown_words("red zzz roofs") == ["zzz"]


def test_a_name_without_letters_is_refused(text):
    with pytest.raises(ClassListError, match="write its name in English"):
        text.class_rows([ClassName("太陽光")])


def test_rows_follow_the_order_of_the_classes(text):
    rows = text.class_rows(parse_classes("quarry,solar farm,forest")).rows
    turned = text.class_rows(parse_classes("forest,quarry,solar farm")).rows
    np.testing.assert_array_equal(rows, turned[[1, 2, 0]])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_case_and_spacing_do_not_matter(text):
    rows = text.class_rows([ClassName("Solar  Farm"), ClassName("solar farm")]).rows
    np.testing.assert_array_equal(rows[0], rows[1])


def test_synonyms_are_averaged(text):
    both = text.class_rows([ClassName("solar farm", ("quarry",))]).rows[0]
    apart = text.class_rows(parse_classes("solar farm,quarry")).rows
    np.testing.assert_allclose(both, unit(apart.mean(0)), atol=1e-6)


def test_related_names_are_nearer_than_unrelated_ones(text):
    quarry, pit, tennis, court = text.class_rows(parse_classes("quarry,gravel pit,tennis court,basketball court")).rows
    assert quarry @ pit > quarry @ tennis
    assert tennis @ court > tennis @ quarry


def test_unknown_words_are_noted(text):
    notes = text.class_rows(parse_classes("forest,solar farm,xyzzyqq,xyzzyqq roof")).notes
    assert notes[:2] == (None, None)
    assert notes[2] == 'no word of "xyzzyqq" is known to the model\'s text side; the label is a guess'
    assert "rests on the other words" in notes[3] and "did you mean" not in notes[3]


def test_a_misspelt_name_is_asked_about(text):
    notes = text.class_rows(parse_classes("storrage tanks,quary,vinyard,narrow lane")).notes
    assert '"storrage" of "storrage tanks"' in notes[0] and '(did you mean "storage tanks"?)' in notes[0]
    assert 'no word of "quary"' in notes[1] and '(did you mean "quarry"?)' in notes[1]
    # "vinyard" is frequent enough to be in the table of words.
    assert notes[2] == '"vinyard" is read by its words alone (did you mean "vineyard"?)'
    assert notes[3] is None


@pytest.mark.parametrize(
    ("spelt", "name", "taught"),
    [
        ("storagetanks", "storage tanks", True), ("Golf Courses", "golf course", True),
        ("footballField", "football field", True), ("an airport", "airport", True), ("viaducts", "viaduct", True),
        ("trailer park", "mobile home park", True), ("farms", "farmland", True), ("houses", "medium residential", True),
        ("Solar Farms", "solar farm", False), ("PV farm", "solar farm", False), ("vineyards", "vineyard", False),
        ("strip mine", "open pit mine", False), ("clearcut", "clear cut", False),
    ],
)  # fmt: skip
def test_another_spelling_or_name_means_the_same(text, spelt, name, taught):
    found = text.class_rows([ClassName(spelt), ClassName(name)])
    np.testing.assert_array_equal(found.rows[0], found.rows[1])
    assert found.taught == (taught, taught) and found.notes == (None, None)


def test_folders_of_image_sets_are_understood(text):
    recipe = read_recipe(Path(__file__).resolve().parents[1] / "examples" / "train_bundled.toml")
    for concept, folders in recipe.concepts.items():
        for folder in folders:
            np.testing.assert_array_equal(text.phrase_row(folder.split("/")[1]), text.phrase_row(concept), folder)


def test_what_a_name_is_read_as_is_said(text, caplog):
    with caplog.at_level("INFO"):
        text.class_rows(parse_classes("golf courses"))
    assert 'class "golf courses" (read as "golf course"): from training images and from words' in caplog.text
    assert text.origin("Golf courses") == '"Golf courses" (read as "golf course"): from training images and from words'
    assert text.origin("golf course") == '"golf course": from training images and from words'
    assert text.origin("pv farm").startswith('"pv farm" (read as "solar farm"): from words alone, read with: rows of')
    assert text.origin("blue tarps") == '"blue tarps": from words alone'


def test_words_are_read_as_they_stand_where_no_class_is_asked_for(text):
    alone = unit(text.projection @ text.encoder.encode("houses") - text.mean)
    np.testing.assert_array_equal(text.text_row("houses"), alone)
    assert not np.allclose(text.phrase_row("houses"), alone)


def test_looks_count_twice_as_much_as_the_name(two_attributes):
    np.testing.assert_allclose(two_attributes.text_row("roof"), unit(np.array([2, 1])), atol=1e-6)


def test_every_name_of_the_prompts_has_enough_phrases(text):
    """Fewer than eight cost points, and rest on how they happen to be put (docs/decisions/0052)."""
    prompts = text.prompts
    assert len(prompts.looks) > 500 and min(len(looks) for looks in prompts.looks.values()) >= 9
    assert {name for name in prompts.names.values() if " ".join(words_of(name)) not in prompts.looks} == set()
    assert all(len(set(looks)) == len(looks) for looks in prompts.looks.values())
