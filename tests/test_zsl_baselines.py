from dataclasses import replace

import numpy as np
import pytest
from fakes import unit
from scipy.linalg import solve_sylvester
from zsl_problems import made_problem, unseen_accuracy

from rszsl.errors import TrainingError
from rszsl.zsl.baselines.ale import Bilinear, ranking_slope
from rszsl.zsl.baselines.controls import Chance, Shuffled, derangement
from rszsl.zsl.baselines.eszsl import Eszsl, eszsl_maps
from rszsl.zsl.baselines.nearest import NearestRow, ridge_weights
from rszsl.zsl.baselines.prompt import Prompt
from rszsl.zsl.baselines.prototypes import Prototypes, episodes, slope
from rszsl.zsl.baselines.sae import Sae, sae_maps
from rszsl.zsl.baselines.scaling import scaled

METHODS = [
    Prompt(),
    NearestRow(),
    Eszsl(),
    Sae(),
    Bilinear("ale"),
    Bilinear("devise"),
    Prototypes(temperatures=(0.1, 0.3), rates=(1e-3, 1e-2)),
]


def by_name(method):
    return method.name


def accuracies(method, seed=0, **options):
    problem, ask = made_problem(seed=seed, **options)
    return [unseen_accuracy(problem, ask, c) for c in method.candidates(problem, ask, seed)]


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_rows_that_make_the_features_recognise_unseen_classes(method):
    assert max(accuracies(method)) > 0.75  # chance is 1 in 6


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_shuffled_rows_do_not(method):
    mean = np.mean([np.mean(accuracies(Shuffled(method), seed)) for seed in range(5)])
    assert mean < 0.35


def test_chance_is_chance():
    mean = np.mean([accuracies(Chance(), seed)[0] for seed in range(20)])
    assert mean == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize("method", [*METHODS, Chance(), Shuffled(Eszsl())], ids=by_name)
def test_a_seed_gives_the_same_again_and_settings_are_names(method):
    problem, ask = made_problem()
    first, second = (list(method.candidates(problem, ask, 3)) for _ in range(2))
    assert len({c.setting for c in first}) == len(first)
    assert [c.setting for c in first] == [c.setting for c in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.scores.shape == (len(ask), len(problem.table.rows))
        assert a.scores.dtype == np.float32
        assert np.isfinite(a.scores).all()


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_other_images_and_their_labels_are_not_looked_at(method):
    problem, ask = made_problem()
    hidden = problem.labels.copy()
    hidden[ask] = -1
    embedding = problem.features.embedding.copy()
    embedding[ask[1:]] = 0
    blind = replace(problem, labels=hidden, features=replace(problem.features, embedding=embedding))
    for a, b in zip(method.candidates(problem, ask, 0), method.candidates(blind, ask[:1], 0), strict=True):
        np.testing.assert_allclose(a.scores[:1], b.scores, rtol=1e-3, atol=1e-4)


def test_settings_do_not_depend_on_the_data():
    for method in METHODS:
        small, large = (
            [c.setting for c in method.candidates(*made_problem(seen=s, images=n), 0)] for s, n in ((9, 8), (14, 20))
        )
        assert small == large


def test_eszsl_solves_the_normal_equations(rng):
    x, rows = rng.normal(size=(50, 7)), rng.normal(size=(5, 4))
    signs = np.where(rng.integers(5, size=50)[:, None] == np.arange(5), 1.0, -1.0)
    (got,) = eszsl_maps(x, signs, rows, [(0.3, 0.7)])
    gamma = 0.3 * np.trace(x.T @ x) / 7
    left = np.linalg.solve(x.T @ x + gamma * np.eye(7), x.T @ signs @ rows)
    want = np.linalg.solve((rows.T @ rows + 0.7 * np.eye(4)).T, left.T).T
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_ridge_solves_the_normal_equations(rng):
    x, targets = rng.normal(size=(50, 7)), rng.normal(size=(50, 3))
    got = list(ridge_weights(x, targets, (0.1, 2.0)))
    for ridge, weights in zip((0.1, 2.0), got, strict=True):
        left = x.T @ x + ridge * np.trace(x.T @ x) / 7 * np.eye(7)
        np.testing.assert_allclose(left @ weights, x.T @ targets, rtol=1e-4, atol=1e-4)


def test_sae_solves_its_sylvester_equation(rng):
    x, s = rng.normal(size=(50, 7)), rng.normal(size=(50, 3))
    for lam, got in zip((0.2, 5.0), sae_maps(x, s, (0.2, 5.0)), strict=True):
        left, right, moment = s.T @ s, lam * x.T @ x, (1 + lam) * s.T @ x
        np.testing.assert_allclose(left @ got + got @ right, moment, atol=1e-4 * np.abs(moment).max())
        np.testing.assert_allclose(got, solve_sylvester(left, right, moment), rtol=1e-4, atol=1e-6)


def test_sae_with_fewer_images_than_dimensions(rng):
    x, s = rng.normal(size=(5, 9)), np.repeat(rng.normal(size=(1, 3)), 5, axis=0)
    (got,) = sae_maps(x, s, (1.0,))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(s.T @ s @ got + got @ x.T @ x, 2 * s.T @ x, atol=1e-3)


def test_ale_weighs_by_rank():
    scores = np.array([[1.0, 0.5, 0.2, -3.0]], dtype="float32")
    loss, got = ranking_slope(scores, np.array([0]), "ale")
    # classes 1 and 2 violate the margin 1, by 0.5 and 0.2: (1 + 1/2) / 2 each
    assert loss == pytest.approx(0.75 * 0.5 + 0.75 * 0.2)
    np.testing.assert_allclose(got, [[-1.5, 0.75, 0.75, 0.0]])


def test_devise_adds_hinges():
    scores = np.array([[1.0, 0.95, 0.2, 1.3]], dtype="float32")
    loss, got = ranking_slope(scores, np.array([0]), "devise")
    assert loss == pytest.approx(0.05 + 0.4, abs=1e-6)
    np.testing.assert_allclose(got, [[-2.0, 1.0, 0.0, 1.0]])


def test_prototype_slope_is_the_slope_of_its_loss(rng):
    x = np.concatenate([rng.normal(size=(6, 4)), np.ones((6, 1))], axis=1)
    rows, truth, weights = unit(rng.normal(size=(5, 3))), np.array([0, 1, 2, 3, 4, 4]), rng.normal(size=(5, 3))
    _, got = slope(x, truth, rows, weights, 0.5)
    for place in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[place] = 1e-5
        up, down = (slope(x, truth, rows, weights + s * step, 0.5)[0] for s in (1, -1))
        assert got[place] == pytest.approx((up - down) / 2e-5, abs=1e-6)


def test_prototype_loss_by_hand():
    rows = np.eye(2, dtype="float32")
    loss, _ = slope(np.array([[1.0]]), np.array([0]), rows, np.array([[0.5, 0.0]]), 0.5)
    # logits 1 and 0; attributes miss (1, 0) by (0.5, 0)
    assert loss == pytest.approx(np.log(1 + np.exp(-1)) + 1e-2 * 0.25 / 2, abs=1e-6)


def test_prototype_episodes_are_8_classes_of_3(rng):
    truth = np.repeat(np.arange(10), 7)
    drawn = episodes(truth, rng)
    assert drawn.shape == (300, 24)
    for ids in drawn:
        assert len(set(ids)) == 24
        assert sorted(np.bincount(truth[ids], minlength=10)) == [0, 0] + [3] * 8
    few = np.array([0, 0, 1, 1])
    assert sorted(few[episodes(few, rng)[0]]) == [0, 0, 0, 1, 1, 1]


def test_scaling_comes_from_the_images_to_learn_from():
    problem, ask = made_problem()
    learn, asked = scaled(problem, ask, "standard")
    np.testing.assert_allclose(learn.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(learn.std(axis=0), 1, atol=1e-3)
    assert np.abs(asked.mean(axis=0)).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(scaled(problem, ask, "centred")[1], axis=1), 1, rtol=1e-4)


def test_centred_prompt_centres_names_on_what_can_come():
    problem, ask = made_problem()
    centred = list(Prompt().candidates(problem, ask, 0))[1]
    names = problem.features.names[problem.unseen]
    _, asked = scaled(problem, ask, "centred")
    want = asked @ unit(names - names.mean(axis=0)).T
    np.testing.assert_allclose(centred.among_unseen[:, problem.unseen], want, atol=1e-5)


def test_prompt_without_a_text_side_says_so():
    problem, ask = made_problem()
    silent = replace(problem, features=replace(problem.features, names=None))
    with pytest.raises(TrainingError, match="text side"):
        list(Prompt().candidates(silent, ask, 0))


def test_embeddings_that_are_not_finite_are_refused():
    problem, ask = made_problem()
    problem.features.embedding[problem.fit[0]] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        list(Eszsl().candidates(problem, ask, 0))


@pytest.mark.parametrize("count", [2, 3, 21])
def test_a_derangement_moves_every_row(count):
    for seed in range(20):
        order = derangement(count, seed)
        assert sorted(order) == list(range(count))
        assert (order != np.arange(count)).all()


def test_one_row_cannot_be_shuffled():
    with pytest.raises(TrainingError, match="two classes"):
        derangement(1, 0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
