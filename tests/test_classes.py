import pytest

from rszsl import ClassListError, ClassName
from rszsl.classes import as_classes, parse_classes, read_classes


def test_names_keep_the_users_spelling():
    assert [c.name for c in parse_classes(" Solar Farm , quarry")] == ["Solar Farm", "quarry"]
    assert as_classes(["a", ClassName("b", ("c",))]) == (ClassName("a"), ClassName("b", ("c",)))


def test_file_with_synonyms_and_comments(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("# energy\nsolar farm: photovoltaic plant, solar park\n\nquarry  # also pits\n", encoding="utf-8")
    assert read_classes(file) == (ClassName("solar farm", ("photovoltaic plant", "solar park")), ClassName("quarry"))
    assert read_classes(file)[0].phrases == ("solar farm", "photovoltaic plant", "solar park")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty class name"),
        ("a,,b", "empty class name"),
        ("quarry, Quarry", 'has the class "Quarry" twice; keep one'),
        ("solar farm,solar  farm", "twice"),
        ("forest,Other", 'has the class "other", which rszsl uses for tiles of no class'),
    ],
)
def test_bad_lists(text, message):
    with pytest.raises(ClassListError, match=message):
        parse_classes(text)


def test_bad_files(tmp_path):
    with pytest.raises(ClassListError, match=r"cannot read the class list .*none.txt"):
        read_classes(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ClassListError, match="names no class; give some"):
        read_classes(tmp_path / "empty.txt")
    (tmp_path / "stray.txt").write_text("quarry:\n")
    with pytest.raises(ClassListError, match="remove the stray comma or colon"):
        read_classes(tmp_path / "stray.txt")
    (tmp_path / "latin.txt").write_bytes(b"for\xeat\n")
    with pytest.raises(ClassListError, match="give a UTF-8 text file"):
        read_classes(tmp_path / "latin.txt")
