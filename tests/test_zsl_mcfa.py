from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from zsl_problems import made_problem, unseen_accuracy

from rszsl.errors import OptionError, TrainingError
from rszsl.zsl.baselines.controls import Shuffled
from rszsl.zsl.mcfa import losses
from rszsl.zsl.mcfa.classifier import Drawn, draw_semantic, draw_visual, fit_classifier, likelihood_slope, log_softmax
from rszsl.zsl.mcfa.episodes import draw_episodes, members_of
from rszsl.zsl.mcfa.losses import CONTRASTIVE, TERMS, Weights
from rszsl.zsl.mcfa.method import OURS, PAPER, McfaMethod, balanced_rows, min_max
from rszsl.zsl.mcfa.networks import Latent, Networks
from rszsl.zsl.mcfa.step import Objective, episode_loss
from rszsl.zsl.mcfa.train import Recipe, train

Z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
U = torch.eye(2)
TRUTH = torch.tensor([0, 0, 1, 1])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_absolute_error_is_a_sum():
    got, *_ = losses.absolute_error(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.5, 2.5], [1.0, 1.0]]))
    assert float(got) == pytest.approx(0.5 + 0.5 + 1 + 2)


def test_divergence_by_hand():
    got, *_ = losses.divergence(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, log(2)], [0.0, 0.0]]))
    # (1, var 1): 1/2; (0, var 2): (2 - 1 - ln 2) / 2; (0, 1): 0; (2, 1): 4/2
    assert float(got) == pytest.approx(0.5 + (1 - log(2)) / 2 + 2)


def test_divergence_of_the_prior_is_nothing():
    assert float(losses.divergence(torch.zeros(3, 4), torch.zeros(3, 4))[0]) == 0


def test_alignment_by_hand():
    mean, class_mean = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    logvar, class_logvar = torch.full((2, 2), 2 * log(3)), torch.tensor([[2 * log(3)] * 2, [2 * log(3), 0.0]])
    # spreads are 3 and 3, but for the last class dimension, which is 1
    got, *_ = losses.alignment(mean, logvar, class_mean, class_logvar)
    assert float(got) == pytest.approx(sqrt(1 + 4) + 2, abs=1e-5)


def test_alignment_of_the_same_distribution_has_no_slope():
    loss, *slopes = losses.alignment(*[torch.zeros(2, 3)] * 4)
    assert float(loss) == 0
    assert all(float(slope.abs().max()) == 0 for slope in slopes)


def test_visual_to_visual_by_hand():
    e = {c: exp(c / 2) for c in (0.0, 0.6, -1.0, 0.8, -0.6)}  # cosines over the temperature 2
    want = (
        -log(e[0.0] / (e[0.0] + e[0.6] + e[-1.0]))  # image 0: its fellow, 1, at 0; others at 0.6, -1
        - log(e[0.0] / (e[0.0] + e[0.8] + e[0.0]))
        - log(e[-0.6] / (e[0.6] + e[0.8] + e[-0.6]))
        - log(e[-0.6] / (e[-1.0] + e[0.0] + e[-0.6]))
    )
    assert float(losses.visual_to_visual(Z, TRUTH, 2.0)[0]) == pytest.approx(want, rel=1e-5)


def test_visual_to_visual_takes_the_mean_of_exponentials_inside_the_logarithm():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0], [-1.0, 0.0]])
    got, _ = losses.visual_to_visual(z, torch.tensor([0, 0, 0, 1, 1]), 1.0)
    first = [exp(0.0), exp(0.6), exp(-1.0), exp(-1.0)]  # cosines of image 0 to 1, 2 (its fellows), 3, 4
    second = [exp(0.0), exp(0.8), exp(0.0), exp(0.0)]
    third = [exp(0.6), exp(0.8), exp(-0.6), exp(-0.6)]
    own = [(e[0] + e[1]) / 2 / sum(e) for e in (first, second, third)]
    twins = [exp(1.0) / (exp(-1.0) + exp(0.0) + exp(-0.6) + exp(1.0))] * 2
    assert float(got) == pytest.approx(-sum(log(share) for share in own + twins), rel=1e-5)


def test_visual_to_semantic_by_hand():
    # cosines to (1, 0) and (0, 1), over 2
    want = (
        -log(exp(0.5) / (exp(0.5) + exp(0.0)))
        - log(exp(0.0) / (exp(0.0) + exp(0.5)))
        - log(exp(0.4) / (exp(0.3) + exp(0.4)))
        - log(exp(0.0) / (exp(-0.5) + exp(0.0)))
    )
    assert float(losses.visual_to_semantic(Z, U, TRUTH, 2.0)[0]) == pytest.approx(want, rel=1e-5)


def test_semantic_to_visual_by_hand():
    first = [exp(c / 2) for c in (1.0, 0.0, 0.6, -1.0)]
    second = [exp(c / 2) for c in (0.0, 1.0, 0.8, 0.0)]
    want = -log((first[0] + first[1]) / 2 / sum(first)) - log((second[2] + second[3]) / 2 / sum(second))
    assert float(losses.semantic_to_visual(Z, U, TRUTH, 2.0)[0]) == pytest.approx(want, rel=1e-5)


def test_the_paper_weights_and_recipe():
    assert Weights() == Weights(1.0, 1.0, 10.0, 1.0, 100.0, 100.0, 10.0)
    assert PAPER.goal == Objective(Weights(), temperature=2.0, noise="scalar")
    assert (PAPER.rate, PAPER.epochs, PAPER.same_positions, PAPER.iterations) == (1.5e-4, 50, True, None)


def test_terms_add_up_with_their_weights():
    networks = Networks(6, 4, seeded())
    x, s = torch.rand(10, 6, generator=seeded(1)), torch.rand(2, 4, generator=seeded(2))
    goals = {term: Objective(Weights(**(dict.fromkeys(TERMS, 0.0) | {term: 1.0}))) for term in TERMS}
    one_by_one = {term: episode_loss(networks, x, s, goal, seeded()).item() for term, goal in goals.items()}
    whole = episode_loss(networks, x, s, Objective(), seeded()).item()
    assert whole == pytest.approx(sum(getattr(Weights(), t) * v for t, v in one_by_one.items()), rel=1e-4)
    assert all(value > 0 for value in one_by_one.values())


def test_cross_reconstruction_decodes_the_other_side():
    networks = Networks(6, 4, seeded())
    x, s = torch.rand(10, 6, generator=seeded(1)), torch.rand(2, 4, generator=seeded(2))
    only = Objective(Weights(**(dict.fromkeys(TERMS, 0.0) | {"cross": 1.0})))
    noise = seeded()
    z, u = (side.encode(rows).sample("scalar", noise) for side, rows in ((networks.visual, x), (networks.semantic, s)))
    want = sum(
        float((x[i] - networks.visual.decode(u[i // 5 : i // 5 + 1])).abs().sum())
        + float((s[i // 5] - networks.semantic.decode(z[i : i + 1])).abs().sum())
        for i in range(10)
    )
    assert float(episode_loss(networks, x, s, only, seeded())) == pytest.approx(want, rel=1e-4)


def test_the_paper_draws_one_number_for_a_row():
    mean, logvar = torch.randn(4, 64, generator=seeded(1)), torch.randn(4, 64, generator=seeded(2))
    drawn = Latent(mean, logvar).sample("scalar", seeded(3))
    numbers = (drawn - mean) / logvar.exp()
    torch.testing.assert_close(numbers, torch.randn(4, 1, generator=seeded(3)).expand(4, 64), rtol=1e-3, atol=1e-4)


def test_the_standard_draw_has_the_spread_of_the_distribution():
    logvar = torch.tensor([[log(4.0), log(0.25)]]).repeat(20_000, 1)
    drawn = Latent(torch.ones(20_000, 2), logvar).sample("standard", seeded())
    torch.testing.assert_close(drawn.std(0), torch.tensor([2.0, 0.5]), rtol=0.03, atol=0)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 0.03


def test_shapes_and_start_of_the_networks():
    networks = Networks(512, 33, seeded())
    latent = networks.visual.encode(torch.rand(7, 512))
    assert latent.mean.shape == latent.logvar.shape == (7, 64)
    assert networks.visual.decode(latent.mean).shape == (7, 512)
    assert networks.semantic.decode(latent.mean).shape == (7, 33)
    coder = networks.visual
    assert networks.semantic.encoder.first.shape == (33, 256)
    assert float(coder.encoder.first_bias.abs().max()) == float(coder.decoder.second_bias.abs().max()) == 0
    # Xavier-uniform, gain 0.5: the bound is 0.5 sqrt(6 / (in + out)); the heads of mean and logvar are two layers
    for weight, bound in (
        (coder.encoder.first, 0.5 * sqrt(6 / 1024)),
        (coder.encoder.second, 0.5 * sqrt(6 / (512 + 64))),
        (coder.decoder.first, 0.5 * sqrt(6 / (512 + 64))),
    ):
        assert 0.99 * bound < float(weight.abs().max()) <= bound
        assert abs(float(weight.mean())) < 0.01 * bound


def test_networks_start_the_same_for_a_seed():
    assert torch.equal(Networks(8, 5, seeded(5)).flat, Networks(8, 5, seeded(5)).flat)


TERM_INPUTS = {
    "absolute_error": lambda r: (torch.rand(4, 3, generator=r), torch.rand(4, 3, generator=r)),
    "divergence": lambda r: tuple(torch.randn(2, 4, 3, generator=r)),
    "alignment": lambda r: tuple(torch.randn(4, 4, 3, generator=r)),
    "visual_to_visual": lambda r: (torch.randn(4, 3, generator=r), TRUTH, 0.7),
    "visual_to_semantic": lambda r: (torch.randn(4, 3, generator=r), torch.randn(2, 3, generator=r), TRUTH, 0.7),
    "semantic_to_visual": lambda r: (torch.randn(4, 3, generator=r), torch.randn(2, 3, generator=r), TRUTH, 0.7),
}


@pytest.mark.parametrize("term", TERM_INPUTS)
def test_slopes_are_those_of_autograd(term):
    inputs = TERM_INPUTS[term](seeded())
    floats = [value for value in inputs if torch.is_tensor(value) and value.is_floating_point()]
    for value in floats:
        value.requires_grad_()
    loss, *slopes = getattr(losses, term)(*inputs)
    by = list(torch.autograd.grad(loss, floats))
    if term == "absolute_error":
        by = by[1:]  # by what is decoded, only
    if term == "alignment":
        torch.testing.assert_close(by.pop(2), -slopes[0])  # by the class mean
    for got, want in zip(slopes, by, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_the_slope_before_normalising_is_that_of_autograd():
    raw, by_unit = torch.randn(4, 3, generator=seeded(), requires_grad=True), torch.randn(4, 3, generator=seeded(1))
    unit, lengths = losses.normalised(raw)
    (want,) = torch.autograd.grad((unit * by_unit).sum(), raw)
    torch.testing.assert_close(losses.before_normalising(by_unit, unit, lengths), want)


@pytest.mark.parametrize("noise", ["scalar", "standard"])
@pytest.mark.parametrize("part", ["visual.encoder", "visual.decoder", "semantic.encoder", "semantic.decoder"])
def test_slopes_of_an_episode_are_the_change_of_its_loss(noise, part):
    networks = Networks(20, 6, seeded())
    x, s = torch.rand(10, 20, generator=seeded(1)), torch.rand(2, 6, generator=seeded(2))
    goal = Objective(Weights(alignment=20.0, divergence=3.0), temperature=0.5, noise=noise)

    def loss_at(flat):
        networks.flat.copy_(flat)
        return episode_loss(networks, x, s, goal, seeded(3)).item()

    start = networks.flat.clone()
    loss_at(start)
    slopes, inside = networks.slopes.clone(), torch.zeros_like(start)
    side, coder = part.split(".")
    for weight in vars(getattr(getattr(networks, side), coder)).values():
        if torch.is_tensor(weight):
            place = (weight.data_ptr() - networks.flat.data_ptr()) // 4
            inside[place : place + weight.numel()] = 1
    way = slopes * inside / (slopes * inside).norm()
    rise = (loss_at(start + 1e-2 * way) - loss_at(start - 1e-2 * way)) / 2e-2
    assert rise == pytest.approx(float((slopes * way).sum()), rel=0.02)


def test_paper_episodes_take_five_classes_at_the_same_five_places():
    truth = np.repeat(np.arange(9), 20)
    members = members_of(truth, np.random.default_rng(0))
    episodes = draw_episodes(members, 50, True, np.random.default_rng(1))
    assert episodes.classes.shape == (50, 5)
    assert episodes.images.shape == (50, 25)
    for classes, images in zip(episodes.classes, episodes.images.reshape(50, 5, 5), strict=True):
        assert len(set(classes)) == 5
        places = [[list(members[c]).index(i) for i in row] for c, row in zip(classes, images, strict=True)]
        assert all(row == places[0] for row in places)
        assert len(set(places[0])) == 5
        assert (truth[images] == classes[:, None]).all()


def test_our_episodes_draw_for_each_class():
    truth = np.repeat(np.arange(5), [5, 40, 40, 40, 3])
    members = members_of(truth, np.random.default_rng(0))
    episodes = draw_episodes(members, 200, False, np.random.default_rng(1))
    assert (truth[episodes.images.reshape(-1, 5, 5)] == episodes.classes[:, :, None]).all()
    assert set(np.unique(episodes.images)) == set(range(len(truth)))


def test_fewer_than_five_classes_make_smaller_episodes():
    members = members_of(np.repeat(np.arange(3), 6), np.random.default_rng(0))
    assert draw_episodes(members, 2, True, np.random.default_rng(0)).images.shape == (2, 15)


def test_latents_are_drawn_200_and_400_for_a_class():
    networks, problem = Networks(32, 12, seeded()), made_problem()[0]
    counts = {}

    def counted(drawn, passes, rng):
        counts[int(drawn.truth.max()) + 1] = np.bincount(drawn.truth)
        return [np.zeros((65, len(counts[int(drawn.truth.max()) + 1])), dtype="float32")] * len(passes)

    rows = problem.table.rows[problem.unseen]
    alone = draw_semantic(networks, rows, 200, "scalar", seeded())
    assert alone.latents.shape == (1200, 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rszsl.zsl.mcfa.method.fit_classifier", counted)
        list(McfaMethod("paper", recipe=Recipe(epochs=1, iterations=1)).candidates(problem, problem.fit[:3], 0))
    assert counts[6].tolist() == [200] * 6
    assert counts[22].tolist() == [200] * 16 + [400] * 6


def test_visual_latents_come_from_images_of_their_class():
    networks = Networks(6, 4, seeded())
    visual = np.random.default_rng(0).random((5, 6), dtype="float32")
    drawn = draw_visual(networks, visual, [np.array([0, 1]), np.array([2, 3, 4])], 4, "scalar", seeded(7))
    order = [0, 1, 0, 1, 2, 3, 4, 2]
    with torch.no_grad():
        want = networks.visual.encode(torch.from_numpy(visual[order])).sample("scalar", seeded(7))
    np.testing.assert_allclose(drawn.latents, want.numpy(), rtol=1e-5)
    assert drawn.truth.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_classifier_descends_its_likelihood():
    rng = np.random.default_rng(0)
    z, truth, weights = rng.normal(size=(6, 4)), rng.integers(3, size=6), rng.normal(size=(4, 3))
    got = likelihood_slope(z, truth, weights)
    for place in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[place] = 1e-5
        up, down = (-log_softmax(z @ (weights + s * step))[np.arange(6), truth].mean() for s in (1, -1))
        assert got[place] == pytest.approx((up - down) / 2e-5, abs=1e-6)


def test_the_classifier_matches_torch_adam():
    """One pass over one batch, against torch's own layer, loss and optimiser."""
    rng = np.random.default_rng(0)
    drawn = Drawn(rng.normal(size=(32, 64)).astype("float32"), np.arange(32) % 3)
    passes = (1, 2, 3)
    got = list(fit_classifier(drawn, passes, np.random.default_rng(4)))
    start = np.random.default_rng(4).uniform(-1 / 8, 1 / 8, (65, 3)).astype("float32")
    layer = torch.nn.Linear(64, 3)
    layer.weight.data, layer.bias.data = torch.from_numpy(start[:-1].T.copy()), torch.from_numpy(start[-1].copy())
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for weights in got:
        adam.zero_grad()
        torch.nn.functional.cross_entropy(
            layer(torch.from_numpy(drawn.latents)), torch.from_numpy(drawn.truth)
        ).backward()
        adam.step()
        np.testing.assert_allclose(weights[:-1], layer.weight.detach().numpy().T, atol=2e-5)
        np.testing.assert_allclose(weights[-1], layer.bias.detach().numpy(), atol=2e-5)


def test_min_max_knows_the_training_images_only():
    learn, asked = min_max(np.array([[0.0, 2.0], [4.0, 2.0]], "float32"), np.array([[6.0, 2.0]], "float32"))
    assert learn.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert asked.tolist() == [[1.5, 0.0]]


def test_names_say_what_is_left_out():
    assert McfaMethod("paper").name == "mcfa (paper)"
    assert McfaMethod(without=("v2v",)).name == "mcfa (rszsl) without v2v"
    assert McfaMethod(without=CONTRASTIVE).name == "mcfa (rszsl) without contrastive terms"
    with pytest.raises(OptionError, match="no term v2x"):
        McfaMethod(without=("v2x",))


def test_a_loss_that_is_not_finite_is_an_error():
    visual = np.random.default_rng(0).random((50, 8), dtype="float32")
    visual[:10] = np.inf
    with pytest.raises(TrainingError, match="loss of MCFA"):
        list(train(visual, np.repeat(np.arange(5), 10), np.eye(5, dtype="float32"), Recipe(epochs=2), 0))


QUICK = McfaMethod(recipe=replace(OURS, epochs=12, every=12))


def test_rows_that_make_the_features_recognise_unseen_classes():
    problem, ask = made_problem()
    found = list(QUICK.candidates(problem, ask, 0))
    assert max(unseen_accuracy(problem, ask, c) for c in found) > 0.6  # chance is 1 in 6


def test_shuffled_rows_do_not():
    means = []
    for seed in range(3):
        problem, ask = made_problem(seed=seed)
        means += [unseen_accuracy(problem, ask, c) for c in Shuffled(QUICK).candidates(problem, ask, seed)]
    assert np.mean(means) < 0.4


@pytest.mark.parametrize("mode", ["paper", "rszsl"])
def test_a_seed_gives_the_same_again_and_says_nothing_of_other_classes(mode):
    problem, ask = made_problem()
    problem = replace(problem, unseen=problem.unseen[:-1])
    method = McfaMethod(mode, recipe=replace(PAPER if mode == "paper" else OURS, epochs=2, every=1))
    first, second = (list(method.candidates(problem, ask, 3)) for _ in range(2))
    assert [c.setting for c in first] == [c.setting for c in second]
    assert len({c.setting for c in first}) == len(first) == 8
    everyone = np.union1d(problem.seen, problem.unseen)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.among_unseen, b.among_unseen)
        assert np.isfinite(a.scores[:, everyone]).all()
        assert np.flatnonzero(np.isfinite(a.among_unseen[0])).tolist() == problem.unseen.tolist()
        np.testing.assert_allclose(np.exp(a.scores[:, everyone]).sum(axis=1), 1, rtol=1e-4)


def test_other_images_and_their_labels_are_not_looked_at():
    problem, ask = made_problem()
    hidden, embedding = problem.labels.copy(), problem.features.embedding.copy()
    hidden[ask], embedding[ask[1:]] = -1, 0
    blind = replace(problem, labels=hidden, features=replace(problem.features, embedding=embedding))
    method = McfaMethod(recipe=replace(OURS, epochs=1))
    for a, b in zip(method.candidates(problem, ask, 0), method.candidates(blind, ask[:1], 0), strict=True):
        np.testing.assert_allclose(a.scores[:1], b.scores, rtol=1e-3)


def test_balanced_rows_deviate_as_much_as_images():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], "float32")
    learn = np.array([[0.0, 0.0, 3.0], [2.0, 2.0, 1.0]], "float32")  # both deviate by 1 + 1 + 1
    got = balanced_rows(rows, np.array([0, 1]), learn)
    # seen rows less their mean are (0.5, -0.5) and (-0.5, 0.5): three times that sums up to 3
    np.testing.assert_allclose(got, [[1.5, -1.5], [-1.5, 1.5], [-1.5, -1.5]])
