from dataclasses import replace

import numpy as np
import pytest
from fakes import unit
from hypothesis import given
from hypothesis import strategies as st

from rszsl.labels.assign import Status, assign, contributions
from rszsl.labels.calibrate import Calibrator, background_similarity, score
from rszsl.labels.collect import SceneLabels
from rszsl.labels.encoded import EncodedTiles

CALIBRATOR = Calibrator(bias=-1.0, weight_similarity=2.0, weight_margin=4.0, background_max_cosine=0.6)


def rows(n, k=8, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, k)))


def test_score_by_hand():
    tiles, classes = unit([[1, 0, 0]]), unit([[3, 4, 0]])
    background = unit([[0, 0, 1], [1, 0, 1]])  # cosines to the class: 0 and 0.424; to the tile: 0 and 0.707
    got = score(tiles, classes, background, CALIBRATOR)
    assert got.similarity[0, 0] == pytest.approx(0.6)
    logit = -1 + 2 * 0.6 + 4 * (0.6 - 2**-0.5)
    assert got.confidence[0, 0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


def test_examples_sharpen_and_shift_the_logit_by_their_share():
    tiles, classes, background = rows(5), rows(2, seed=1), rows(3, seed=2)
    moved = replace(CALIBRATOR, example_gain=1.5, example_shift=0.5)
    plain = score(tiles, classes, background, CALIBRATOR).confidence
    got = score(tiles, classes, background, moved, np.array([0, 0.5], "float32")).confidence
    np.testing.assert_allclose(got[:, 0], plain[:, 0], atol=1e-6)
    logit = np.log(plain[:, 1] / (1 - plain[:, 1]))
    np.testing.assert_allclose(got[:, 1], 1 / (1 + np.exp(-(1.75 * logit - 0.25))), atol=1e-5)


def test_background_that_means_the_same_does_not_compete():
    tiles, classes = unit([[1, 0]]), unit([[1, 0]])
    near = unit([[1, 0.1], [0, 1]])
    assert background_similarity(tiles, classes, near, 0.6)[0, 0] == pytest.approx(0)
    assert background_similarity(tiles, classes, near[:1], 0.6)[0, 0] == -1


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 99))
def test_confidence_does_not_depend_on_the_rest_of_the_list(n, extra, seed):
    tiles, background = rows(7, seed=seed), rows(5, seed=seed + 1)
    few, more = rows(n, seed=seed + 2), rows(extra, seed=seed + 3)
    alone = score(tiles, few, background, CALIBRATOR).confidence
    together = score(tiles, np.concatenate([few, more]), background, CALIBRATOR).confidence
    np.testing.assert_allclose(alone, together[:, :n], atol=1e-6)
    assert (alone >= 0).all() and (alone <= 1).all()


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 99))
def test_a_longer_list_changes_a_label_only_to_a_surer_class(n, extra, seed):
    tiles, background = rows(9, seed=seed), rows(5, seed=seed + 1)
    classes = np.concatenate([rows(n, seed=seed + 2), rows(extra, seed=seed + 3)])
    few, more = (assign(score(tiles, c, background, CALIBRATOR), tiles, c, 0.4) for c in (classes[:n], classes))
    alone = np.concatenate([score(tiles, row[None], background, CALIBRATOR).confidence for row in classes], axis=1)
    for labels in (few, more):
        listed = labels.choice >= 0
        told = np.take_along_axis(alone, labels.choice.clip(0), axis=1)
        np.testing.assert_allclose(labels.confidence[listed], told[listed], atol=1e-6)
    kept = more.choice[:, 0] == few.choice[:, 0]
    assert (more.choice[~kept, 0] >= n).all()
    assert (more.confidence[~kept, 0] >= few.confidence[~kept, 0] - 1e-6).all()
    assert more.accepted[few.accepted].all()


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 99))
def test_contributions_add_up_to_the_similarity(n_classes, k, seed):
    tiles, classes = rows(9, k, seed), rows(n_classes, k, seed + 1)
    scores = score(tiles, classes, rows(3, k, seed + 2), CALIBRATOR)
    labels = assign(scores, tiles, classes, 0.5)
    shares = contributions(tiles, classes[labels.choice[:, 0]])
    np.testing.assert_allclose(shares.sum(axis=1), labels.similarity, atol=1e-5)
    np.testing.assert_allclose(np.sort(shares, axis=1)[:, -1], labels.contribution[:, 0], atol=1e-6)


def test_choices_are_sorted_and_padded():
    tiles, classes = rows(20), rows(2, seed=5)
    labels = assign(score(tiles, classes, rows(3, seed=6), CALIBRATOR), tiles, classes, 0.3)
    assert (labels.confidence[:, 0] >= labels.confidence[:, 1]).all()
    assert (labels.choice[:, 2] == -1).all() and np.isnan(labels.confidence[:, 2]).all()
    np.testing.assert_allclose(labels.margin, labels.confidence[:, 0] - labels.confidence[:, 1], atol=1e-6)
    np.testing.assert_array_equal(labels.accepted, labels.confidence[:, 0] >= 0.3)


def test_ties_go_to_the_first_class():
    tiles = rows(4)
    classes = np.repeat(rows(1, seed=3), 3, axis=0)
    labels = assign(score(tiles, classes, rows(2, seed=4), CALIBRATOR), tiles, classes, 0.5)
    assert (labels.choice == [0, 1, 2]).all() and (labels.margin == 0).all()


def test_counts_add_up_only_when_all_is_dealt_with():
    kept = SceneLabels(np.arange(5))
    halves = np.zeros((5, 8), "float16")
    shown = np.array([True, False, False, True, True])
    fraction = np.array([1, 0.2, 0, 1, 1], "float32")
    kept.put_batch(
        0, EncodedTiles(np.arange(5), fraction, (None, None, "unreadable", None, None), shown, halves, halves)
    )
    assert not kept.count().adds_up
    tiles, classes = rows(3), rows(2, seed=2)
    scores = score(tiles, classes, rows(2, seed=3), CALIBRATOR)
    kept.put_labels(np.array([0, 3, 4]), assign(scores, tiles, classes, min_confidence=1.0))
    counts = kept.count()
    assert counts.adds_up
    assert counts.to_record() == {"planned": 5, "labelled": 0, "other": 3, "nodata": 1, "failed": 1}
    assert kept.is_status(Status.FAILED).tolist() == [False, False, True, False, False]
