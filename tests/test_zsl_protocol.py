"""The protocol: settings are chosen on folds of the seen classes, the test images are looked at once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zsl_problems import made_problem

from rszsl.errors import TrainingError
from rszsl.zsl.data.splits import draw_classes, draw_images
from rszsl.zsl.experiments.benchmark import Task
from rszsl.zsl.experiments.methods import build_method, parts_of
from rszsl.zsl.experiments.protocol import Dataset, class_folds, evaluate
from rszsl.zsl.experiments.recipe import read_recipe
from rszsl.zsl.experiments.results import (
    Provenance,
    Record,
    ResultKey,
    git_revision,
    key_of,
    read_records,
    write_records,
)
from rszsl.zsl.experiments.table import difference_table, insert_table, result_table
from rszsl.zsl.metrics import GAMMAS, Harmony, best_harmony, per_class_accuracy, stacking_curve
from rszsl.zsl.problem import Candidate


def test_accuracy_counts_every_class_alike():
    truth = np.array([2, 2, 2, 2, 5])
    scores = np.zeros((5, 6))
    scores[[0, 1, 2], 2] = 1  # three of four right
    scores[3, 5] = scores[4, 5] = 1
    scores[:, 0] = 9  # a class that may not be chosen
    assert per_class_accuracy(scores, truth, np.array([2, 5])) == pytest.approx((0.75 + 1) / 2)


def naive_point(scores, truth, seen, unseen, gamma):
    """Calibrated stacking as METHOD D and B.9 have it, one image at a time."""
    lowered = scores.astype("float64").copy()
    both = np.concatenate([seen, unseen])
    lowered[:, seen] -= gamma * scores[:, both].std()
    said = np.array([both[np.argmax(row[both])] for row in lowered])
    u, s = (np.mean([np.mean(said[truth == c] == c) for c in kind]) for kind in (unseen, seen))
    return float(u), float(s)


def test_the_stacking_curve_is_a_loop_over_gamma():
    rng = np.random.default_rng(0)
    seen, unseen = np.array([0, 3, 4]), np.array([1, 6])
    truth = rng.choice([0, 1, 3, 4, 6], 80)
    scores = rng.normal(size=(80, 7)) + 1.5 * np.eye(7)[truth]
    scores[:, seen] += 0.7
    curve = stacking_curve(scores, truth, seen, unseen)
    assert [point.gamma for point in curve] == GAMMAS.tolist()
    for point in curve:
        assert (point.unseen, point.seen) == pytest.approx(naive_point(scores, truth, seen, unseen, point.gamma))
    assert curve[0].unseen < curve[-1].unseen
    assert curve[0].seen > curve[-1].seen


def test_the_best_harmony():
    points = [Harmony(0.0, 0.2, 0.8), Harmony(0.1, 0.6, 0.6), Harmony(0.2, 0.6, 0.6), Harmony(0.3, 1.0, 0.0)]
    assert best_harmony(points) == points[1]
    assert points[0].harmonic == pytest.approx(0.32)
    assert Harmony(0.0, 0.0, 0.0).harmonic == 0


@given(st.integers(4, 40), st.integers(0, 99))
def test_folds_share_no_class(count, seed):
    seen = [f"class {i}" for i in range(count)]
    folds = class_folds(seen, ["other"], seed)
    assert 1 <= len(folds) <= 3
    for fold in folds:
        assert sorted(fold.fit + fold.validation) == sorted(seen)
        assert len(fold.validation) == max(2, round(count / 4))
        assert fold.unseen == ("other",)
    played = [name for fold in folds for name in fold.validation]
    assert len(set(played)) == len(played)
    assert folds == class_folds(seen, ["other"], seed)


def test_too_few_classes_for_a_fold():
    with pytest.raises(TrainingError, match="3 seen classes are too few"):
        class_folds(["a", "b", "c"], ["d"], 0)


@pytest.fixture
def data():
    problem, _ = made_problem(seen=12, unseen=4, images=20)
    names = tuple(problem.table.names[i] for i in problem.labels)
    return Dataset("made", problem.features, names, problem.table)


@pytest.fixture
def split(data):
    return draw_classes(data.table.names, 12, 4, 0)


class Deceiver:
    """Two settings at our own seam: `modest` is the better one on the folds, `lucky` on the test classes alone."""

    name = "deceiver"

    def __init__(self, test_classes, settings=("modest global", "lucky local")):
        self.test_classes, self.settings, self.asked = test_classes, settings, []

    def candidates(self, problem, ask, seed):
        self.asked.append((problem, ask))
        testing = set(problem.unseen.tolist()) == set(self.test_classes.tolist())
        share = {"modest": 0.6, "lucky": 1.0 if testing else 0.2, "broken": 1.0}
        rng = np.random.default_rng(0)
        for setting in self.settings:
            right = rng.random(len(ask)) < share[setting.split()[0]]
            wrong = rng.choice(np.concatenate([problem.seen, problem.unseen]), len(ask))
            scores = np.zeros((len(ask), len(problem.table.names)), dtype="float32")
            scores[np.arange(len(ask)), np.where(right, problem.labels[ask], wrong)] = 1
            if setting.startswith("broken"):
                scores[0, problem.seen[0]] = np.nan
            yield Candidate(setting, scores)


def test_what_the_folds_choose_is_reported_and_the_oracle_beside_it(data, split):
    method = Deceiver(data.ids_of(split.unseen))
    found = evaluate(method, data, split, seed=5)["deceiver"]
    assert found.setting == found.gzsl_setting == "modest global"
    assert 0.5 < found.accuracy < 0.85
    assert found.accuracy == pytest.approx(np.mean(list(found.by_class.values())))
    assert set(found.by_class) == set(split.unseen)
    assert 0.5 < found.validation_accuracy < 0.9
    assert (found.oracle_accuracy, found.oracle_harmonic) == pytest.approx((1, 1))
    assert found.gzsl.harmonic < 1


def test_a_method_is_never_handed_what_it_is_tested_on(data, split):
    method = Deceiver(data.ids_of(split.unseen))
    evaluate(method, data, split, seed=5)
    images = draw_images(data.labels, split, 5)
    kept = np.concatenate([images.unseen_test, images.seen_test])
    *folds, (last, asked) = method.asked
    assert len(folds) == 3
    assert np.array_equal(np.sort(asked), np.sort(kept))
    for problem, ask in method.asked:
        assert not np.isin(problem.fit, kept).any()
        assert not np.isin(problem.fit, ask).any()
        assert set(data.truth[problem.fit]) == set(problem.seen)
    for problem, ask in folds:
        assert not np.isin(ask, kept).any()
        assert not np.isin(problem.unseen, last.unseen).any()


def test_parts_of_a_run_choose_among_their_own_settings(data, split):
    method = Deceiver(data.ids_of(split.unseen))
    found = evaluate(method, data, split, 5, {"all": "", "second": "local$"})
    assert (found["all"].setting, found["second"].setting) == ("modest global", "lucky local")
    assert found["second"].accuracy == pytest.approx(1)
    with pytest.raises(TrainingError, match="no setting of 'deceiver' fits 'nothing'"):
        evaluate(method, data, split, 5, {"none": "nothing"})


def test_scores_that_are_no_numbers(data, split):
    with pytest.raises(TrainingError, match="broken scores gives scores that are no numbers"):
        evaluate(Deceiver(data.ids_of(split.unseen), ("broken scores",)), data, split, 5)


def test_rows_are_made_from_what_may_be_looked_at_alone(data, split):
    """A class that plays unseen in a fold has the row that an unseen class would have: no image of it is looked at."""
    asked = []

    def look(fit, seen):
        asked.append(seen)
        assert set(np.array(data.labels)[fit]) == set(seen)
        assert not set(fit) & set(draw_images(data.labels, split, 5).seen_test)
        return data.table

    found = evaluate(build_method("chance"), replace(data, look=look), split, 5)
    assert asked == [*(fold.fit for fold in class_folds(split.seen, split.unseen, 5)), split.seen]
    assert found == evaluate(build_method("chance"), data, split, 5)


def test_methods_by_name():
    assert build_method("shuffled nearest row").name == "nearest row (shuffled rows)"
    with pytest.raises(TrainingError, match="no method 'eszls'; there are chance, prompt"):
        build_method("eszls")
    assert parts_of("eszsl") == {"eszsl": ""}
    assert list(parts_of("dsva rszsl")) == ["dsva rszsl", "dsva rszsl + names", "dsva rszsl, prototypes"]


def record(method="eszsl", seed=1, accuracy=0.5, seen=16, rows="human", **changes):
    values = {
        "dataset": "ucm", "seen": seen, "unseen": 5, "seed": seed, "method": method, "rows": rows, "tower": "clip",
        "accuracy": accuracy, "oracle_accuracy": accuracy + 0.1, "gzsl": {"gamma": 0.1, "unseen": 0.3, "seen": 0.6},
        "harmonic": 0.4, "oracle_harmonic": 0.45,
    }  # fmt: skip
    return {**values, **changes}


def test_a_record_comes_back_from_its_file(data, split, tmp_path):
    outcome = evaluate(build_method("chance"), data, split, 5)["chance"]
    key = ResultKey("made", 12, 4, 5, "chance", "human", "none")
    made = Record(key, outcome, Provenance("rszsl benchmark x", "0" * 64, {"provider": "x"}, "abc", 1.23456)).to_json()
    write_records(tmp_path / "new" / "made.json", [made])
    (read,) = read_records(tmp_path / "new")
    assert read == json.loads(json.dumps(made))
    assert key_of(read) == key
    assert read["harmonic"] == pytest.approx(outcome.gzsl.harmonic, abs=1e-4)
    assert read["seconds"] == 1.2346


def test_records_are_sorted_and_damaged_files_named(tmp_path):
    write_records(tmp_path / "a.json", [record("sae"), record("ale", 2), record("ale", 1)])
    assert [(r["method"], r["seed"]) for r in read_records(tmp_path)] == [("ale", 1), ("sae", 1), ("ale", 2)]
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"b\.json is no list of results"):
        read_records(tmp_path)
    (tmp_path / "b.json").write_text("[")
    with pytest.raises(TrainingError, match=r"b\.json is no result file"):
        read_records(tmp_path)


def test_a_task_is_done_when_all_its_records_are_there():
    key = ResultKey("ucm", 16, 5, 1, "dsva rszsl", "human", "clip")
    keys = Task(None, key, "").keys
    assert {k.method for k in keys} == {"dsva rszsl", "dsva rszsl + names", "dsva rszsl, prototypes"}
    assert not {key}.issuperset(keys)


def test_the_revision_outside_a_checkout(tmp_path):
    assert git_revision(tmp_path) == "unknown"


def test_the_table_has_mean_and_deviation_and_the_best_in_bold():
    records = [record(seed=1, accuracy=0.5), record(seed=2, accuracy=0.6), record("chance", 1, 0.2), record(seen=13)]
    text = result_table(records)
    assert text.index("### UCM 16/5") < text.index("### UCM 13/5")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    figures = "20.0 ± 0.0 | 30.0 ± 0.0 | **30.0 ± 0.0** | **60.0 ± 0.0** | **40.0 ± 0.0** | **45.0 ± 0.0**"
    assert rows[2] == f"| chance |  | {figures} | 1 |"
    assert rows[3].startswith("| eszsl | human | **55.0 ± 7.1** | **65.0 ± 7.1** |")
    assert rows[3].endswith("| 2 |")


def test_differences_pair_the_seeds_of_a_split():
    records = [record(seed=s, accuracy=0.5 + 0.1 * s) for s in (1, 2, 3)]
    records += [record("chance", s, 0.2 + 0.1 * s**2) for s in (1, 2)]
    pairs = [(("eszsl", "human"), ("chance", "human")), (("eszsl", "human"), ("oracle", "")), (("sae", "human"),) * 2]
    lines = difference_table(records, pairs).splitlines()
    assert lines[0] == "| first | less | UCM 16/5 | all |"
    assert lines[2] == "| eszsl (human) | chance (human) | +20.0 ± 10.0 | +20.0 ± 10.0 |"
    assert lines[3] == "| eszsl (human) | its oracle | -10.0 ± 0.0 | -10.0 ± 0.0 |"
    assert lines[4] == "| sae (human) | sae (human) |  |  |"


def test_the_table_is_put_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- results:frozen -->\nold\n<!-- /results -->\nb\n<!-- results:more -->\n<!-- /results -->\n")
    insert_table(page, "frozen", "| new |")
    insert_table(page, "frozen", "| newer |")
    assert page.read_text() == (
        "a\n<!-- results:frozen -->\n| newer |\n<!-- /results -->\nb\n<!-- results:more -->\n<!-- /results -->\n"
    )
    with pytest.raises(TrainingError, match="has no <!-- results:other -->"):
        insert_table(page, "other", "")
    with pytest.raises(TrainingError, match="the page with the marks must be there"):
        insert_table(tmp_path / "none.md", "frozen", "")


RECIPE = """
results = "r"
seeds = [1]
text_vectors = "t.npz"
tower = {folder = "f", cache = "c", grid = 2}
data = [{name = "own", splits = [[6, 2]], source = "images"}]
methods = {"eszsl" = ["human", "table:rows.csv"]}
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("seeds = [1]\n", ""), "'seeds'"),
        (("seeds", "sedes = 1\nseeds"), "nothing is called 'sedes'"),
        (('source = "images"', 'sauce = "images"'), "sauce"),
        (("[[6, 2]]", "[6, 2]"), "wrong key"),
        (('["human", "table:rows.csv"]', '"human"'), "'eszsl' needs a list of kinds"),
        (('{"eszsl" = ["human", "table:rows.csv"]}', '["eszsl"]'), "wrong key"),
        (("seeds = [1]", "seeds = ["), "cannot read the recipe"),
    ],
)
def test_a_recipe_with_a_slip(change, told, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    (data,) = read_recipe(file).data
    assert (data.name, data.splits, data.source) == ("own", ((6, 2),), "images")
    file.write_text(RECIPE.replace(*change))
    with pytest.raises(TrainingError, match=told) as caught:
        read_recipe(file)
    assert str(file) in str(caught.value)
