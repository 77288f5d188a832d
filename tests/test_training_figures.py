"""Anchors, prompts, constants and figures of the bundled model's training, on data made here."""

import tomllib

import numpy as np
import pytest

from rszsl.errors import ModelError, TrainingError
from rszsl.labels.calibrate import Calibrator, score
from rszsl.model.prompts import read_prompts
from rszsl.model.text import unit
from rszsl.training.anchors import NAMES_SOURCE, VECTORS, gather_anchors
from rszsl.training.attributes import PROMPTS_SOURCE
from rszsl.training.constants import with_examples
from rszsl.training.measure import measure_mosaics
from rszsl.zsl.calibrate import Cases, fit_calibrator, make_cases, measure_presence
from rszsl.zsl.rows.vectors import read_anchors

LISTS = {
    "COCO_stuff_classes": ["cat", "dog", "wall-brick", "ground-other"],
    "ADE_classes": ["cat", "pier "],
    "VOC12_wbg_classes_w_concepts4": [["dog", "hill"], ["go-cart"]],
    "Cityscapes_classes_w_concepts3": [["street"], ["car port"]],
}
SHIFT = np.eye(512, dtype="float32")[0] * 0.1


@pytest.fixture
def sources(tmp_path):
    """Two repositories and a table whose vectors differ by what a template adds."""
    rng = np.random.default_rng(0)
    names = ["cat", "dog", "wall brick", "ground", "pier", "hill", "go cart", "street", "car port"]
    true = dict(zip(names, unit(rng.normal(size=(len(names), 512))), strict=True))
    semivl, zegclip = tmp_path / "semivl", tmp_path / "zegclip"
    for root in (semivl, zegclip):
        (root / VECTORS).mkdir(parents=True)
    (semivl / "model").mkdir()
    (semivl / NAMES_SOURCE).write_text(
        "import nowhere_to_be_found\n" + "".join(f"{n} = {v!r}\n" for n, v in LISTS.items())
    )
    files = {
        zegclip: {"coco_multi": names[:4], "coco_single": names[:4]},
        semivl: {
            "ade_single": ["cat", "pier"],
            "voc12_wbg_concept4_single": ["dog", "hill", "go cart"],
            "cityscapes_concept3_single": ["street", "car port"],
        },
    }
    for root, kept in files.items():
        for file, listed in kept.items():
            np.save(root / VECTORS / f"{file}.npy", np.stack([true[n] for n in listed]))
    table = tmp_path / "text.npz"
    np.savez(
        table, names=np.array(["cat", "dog", "hill", "street"]), b32_ensemble=unit(rng.normal(size=(4, 512))),
        coco=np.array(["cat", "dog"]), coco_b16=np.stack([true["cat"], true["dog"]]),
    )  # fmt: skip
    return semivl, zegclip, table, true


def test_anchors_come_from_all_lists_without_running_their_source(sources, tmp_path):
    semivl, zegclip, table, true = sources
    anchors = gather_anchors(semivl, zegclip, table)
    assert set(anchors) == set(true)
    for name, vector in anchors.items():
        np.testing.assert_allclose(vector, true[name], atol=1e-5)
    np.savez(tmp_path / "a.npz", names=np.array(list(anchors)), b16=np.stack(list(anchors.values())))
    both = read_anchors(table, tmp_path / "a.npz")
    assert both.names == ("cat", "dog", "hill", "street")
    np.testing.assert_allclose(np.linalg.norm(both.b16, axis=1), 1, atol=1e-5)
    assert read_anchors(table).names == ("cat", "dog")


def test_a_template_moves_its_vectors_to_where_coco_is(sources):
    semivl, zegclip, table, _ = sources
    file = zegclip / VECTORS / "coco_multi.npy"
    plain = gather_anchors(semivl, zegclip, table)
    vectors = np.load(file)
    # the mean over "cat" and "dog" is brought back, so that a constant leaves hardly a trace
    np.save(file, unit(vectors + SHIFT))
    moved = gather_anchors(semivl, zegclip, table)
    assert max(np.linalg.norm(moved[n] - plain[n]) for n in plain) < 0.02


def test_anchor_files_that_do_not_fit_are_named(sources, tmp_path):
    semivl, zegclip, table, _ = sources
    np.save(semivl / VECTORS / "ade_single.npy", np.zeros((3, 512), "float32"))
    with pytest.raises(TrainingError, match=r"ade_single\.npy holds \(3, 512\).* its 2 names"):
        gather_anchors(semivl, zegclip, table)
    (semivl / VECTORS / "ade_single.npy").unlink()
    with pytest.raises(TrainingError, match=r"cannot read the text vectors .*ade_single"):
        gather_anchors(semivl, zegclip, table)
    (semivl / NAMES_SOURCE).write_text("COCO_stuff_classes = []\n")
    with pytest.raises(TrainingError, match="has no list ADE_classes"):
        gather_anchors(semivl, zegclip, table)
    (semivl / NAMES_SOURCE).unlink()
    with pytest.raises(TrainingError, match="cannot read the names"):
        gather_anchors(semivl, zegclip, table)
    with pytest.raises(TrainingError, match=r"no table of anchors.*rszsl\.training\.anchors"):
        read_anchors(table, tmp_path / "none.npz")


def test_the_bundled_prompts_can_be_read():
    prompts, table = read_prompts(PROMPTS_SOURCE), tomllib.loads(PROMPTS_SOURCE.read_text("utf-8"))
    assert len(prompts.looks) > 400
    assert prompts.looks["quarry"] and all(prompts.looks.values())
    assert len(prompts.names) == len(table), "two entries are spellings of one name"


def test_another_name_has_the_phrases_of_the_one_that_it_stands_for(tmp_path):
    file = tmp_path / "prompts.toml"
    file.write_text('"Gravel pits" = "quarry"\nquarry = ["deep pit"]\nquarries = ["grey hole"]\n')
    prompts = read_prompts(file)
    assert prompts.names == {"gravelpit": "quarry", "quarry": "quarry"}, "of two spellings the first counts"
    assert prompts.looks == {"quarry": ("deep pit",), "quarries": ("grey hole",)}


def test_prompts_that_are_no_table_are_refused(tmp_path):
    file = tmp_path / "prompts.toml"
    other = '"gravel pit" = "quarry"\nquarry = "pit"\npit = ["hole"]'
    for text, message in (
        ("quarry = [", "cannot read"), ('quarry = "pit"', 'phrases of "pit" are no list'), ("quarry = [1]", "no list"),
        (other, 'phrases of "quarry" are no list'),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(ModelError, match=message):
            read_prompts(file)


def answers(spread=0.3, seed=2, classes=4):
    """Tiles of `classes` asked classes and of three others that are background."""
    rng = np.random.default_rng(seed)
    rows, background = np.eye(classes, 16, dtype="float32"), np.eye(16, dtype="float32")[classes : classes + 3]
    truth = rng.integers(0, classes + 3, size=1200)
    tiles = unit(rng.normal(size=(1200, 16)) * spread + np.eye(16)[truth])
    names = np.array([f"c{i}" for i in range(classes + 3)])
    return make_cases(tiles, names[truth], names[:classes].tolist(), rows, background)


def test_mosaics_of_what_can_be_told_apart():
    cases = answers()
    calibrator = fit_calibrator(cases)
    ranks, gap = measure_mosaics(cases, calibrator, 1)
    assert ranks > 0.97
    assert gap < 0.03
    assert (ranks, gap) == measure_mosaics(cases, calibrator, 1)
    blind = Cases(cases.attributes[::-1].copy(), cases.rows, cases.present, cases.background)
    assert measure_mosaics(blind, calibrator, 1)[0] == pytest.approx(0.5, abs=0.08)


def test_several_models_give_one_calibrator():
    one, other = answers(seed=3), answers(seed=4)
    both = fit_calibrator(one, other)
    for cases in (one, other):
        assert measure_presence(cases, both)[1] < 0.05


def test_examples_make_a_calibrator_surer():
    cases = answers(spread=0.5)
    rough = Cases(cases.attributes, unit(cases.rows + 0.35), cases.present, cases.background)
    plain = fit_calibrator(rough)
    fitted = with_examples(plain, [rough], 5)
    assert fitted.example_gain > 0
    assert (fitted.bias, fitted.weight_margin) == (plain.bias, plain.weight_margin)


def test_constants_of_taught_names_are_their_own():
    cases = answers()
    own = Calibrator(-1.0, 0.0, 2.0, 0.6)
    both = Calibrator(0.0, 0.0, 5.0, 0.6, taught=own)
    tiles, rows, background = cases.attributes[:9], cases.rows, cases.background
    mixed = score(tiles, rows, background, both, taught=(True, False, True, False)).confidence
    by_taught = score(tiles, rows, background, own).confidence
    by_open = score(tiles, rows, background, Calibrator(0.0, 0.0, 5.0, 0.6)).confidence
    np.testing.assert_array_equal(mixed[:, [0, 2]], by_taught[:, [0, 2]])
    np.testing.assert_array_equal(mixed[:, [1, 3]], by_open[:, [1, 3]])
    np.testing.assert_array_equal(score(tiles, rows, background, both).confidence, by_open)
