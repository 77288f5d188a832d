"""DSVA: losses at chance, where it looks a second time, heads, episodes, schedule, and what frozen heads learn."""

import math
from dataclasses import replace

import lightning
import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from zsl_problems import made_problem, unseen_accuracy

from rszsl.errors import TrainingError
from rszsl.model.heads import DsvaHeads, HeadsOutput, compatibility, reported
from rszsl.zsl.baselines.controls import Shuffled
from rszsl.zsl.dsva.concentration import best_of_groups, box_of, concentrate, crop, inside, saliency
from rszsl.zsl.dsva.episodes import EpisodeSampler
from rszsl.zsl.dsva.frozen import FrozenDsva, quiet_trainer
from rszsl.zsl.dsva.losses import anchor_loss, class_loss, compactness_loss, group_penalty
from rszsl.zsl.dsva.module import DsvaModule
from rszsl.zsl.dsva.recipe import PAPER, RSZSL, LossMode, paper, recipe_of
from rszsl.zsl.problem import Features

GROUPS = [(0, 1, 2), (3, 4), (5, 6, 7)]


def unit_rows(classes, attributes=8, seed=0):
    return functional.normalize(torch.rand(classes, attributes, generator=torch.Generator().manual_seed(seed)), dim=-1)


def random_tokens(images=6, prefix=1, grid=4, width=16, seed=1):
    return torch.randn(images, prefix + grid**2, width, generator=torch.Generator().manual_seed(seed))


def small_module(recipe, *, tower=None, classes=5):
    torch.manual_seed(0)
    heads = DsvaHeads(16, 8, 1, 4, centred=recipe.centred)
    if recipe.centred:
        heads.calibrate(random_tokens(64, seed=5), None)
    return DsvaModule(heads, recipe, unit_rows(classes), GROUPS, tower, 16)


def loss_of(module, tokens, truth):
    module.log = lambda *args, **kwargs: None
    return module.training_step((tokens, truth), 0)


@pytest.mark.parametrize(("classes", "told"), [(60, 8.19), (50, 7.82), (40, 7.38)])
def test_the_first_loss_of_the_published_recipe(classes, told):
    torch.manual_seed(0)
    heads = DsvaHeads(768, 98, 1, 7, centred=False)
    module = DsvaModule(heads, PAPER, unit_rows(classes, 98), [(0, 1), (2, 3), (4, 5)], side_px=28)
    tokens = random_tokens(24, grid=7, width=768)
    loss = loss_of(module, tokens, torch.arange(24) % classes).item()
    assert loss == pytest.approx(told, abs=0.02)
    assert 1e-3 < loss - 2 * math.log(classes) < 1e-2  # what is left is the regression


def test_the_published_loss_has_a_floor_and_ours_has_none():
    sure, truth = 1e4 * torch.eye(7), torch.arange(7)
    assert class_loss(sure, truth, PAPER).item() == pytest.approx(math.log(1 + 6 / math.e), abs=1e-5)
    assert class_loss(sure, truth, RSZSL).item() == pytest.approx(0, abs=1e-6)


def test_both_losses_are_what_torch_says():
    scores, truth = torch.randn(6, 5, requires_grad=True), torch.tensor([0, 1, 2, 3, 4, 0])
    recipe = replace(RSZSL, temperature=0.2)
    ours, theirs = (
        torch.autograd.grad(loss, scores)[0]
        for loss in (class_loss(scores, truth, recipe), functional.cross_entropy(scores / 0.2, truth))
    )
    assert torch.allclose(ours, theirs)
    by_hand = ((scores / 0.2).softmax(-1) - functional.one_hot(truth, 5)) / (0.2 * 6)
    assert torch.allclose(ours, by_hand, atol=1e-6)
    p = scores.softmax(-1)
    double = -(p[range(6), truth] - p.exp().sum(-1).log()).mean()
    assert torch.isclose(class_loss(scores, truth, PAPER), double)


def test_published_settings():
    assert (paper("gzsl 50/20").group_local, paper("gzsl 50/20").group_global) == (5e-4, 5e-6)
    assert paper("gzsl 40/30") == paper("zsl 50/20") == PAPER
    never = paper("zsl 60/10")
    assert never.concentration_from >= never.epochs == 30
    assert PAPER.concentration_from == 0
    with pytest.raises(TrainingError, match="no published setting 'zsl 70/0'"):
        paper("zsl 70/0")


def test_a_recipe_with_changes():
    changed = recipe_of("rszsl", {"loss": "double_softmax", "betas": [0.5, 0.9], "ways": 4})
    assert (changed.loss, changed.betas, changed.ways) == (LossMode.DOUBLE_SOFTMAX, (0.5, 0.9), 4)
    with pytest.raises(TrainingError, match="no DSVA mode 'papers'"):
        recipe_of("papers", {})
    with pytest.raises(TrainingError, match="epoch_count"):
        recipe_of("paper", {"epoch_count": 3})


def test_the_loudest_attribute_of_each_group():
    scores = torch.tensor([[0, 5, 1, 2, 3, 9, 8, 7], [6, 5, 1, 4, 3, 0, 1, 2.0]])
    assert best_of_groups(scores, GROUPS).tolist() == [[1, 4, 5], [0, 3, 7]]


def test_saliency_is_the_mean_of_stretched_maps():
    maps = torch.randn(2, 8, 4, 4)
    chosen = torch.tensor([[0, 3], [7, 4]])
    found = saliency(maps, chosen, 13)
    for image in range(2):
        large = [functional.interpolate(maps[image, k][None, None], (13, 13), mode="bilinear", align_corners=True)[0, 0]
                 for k in chosen[image].tolist()]  # fmt: skip
        wanted = sum((m - m.min()) / (m.max() - m.min()) for m in large) / 2
        assert torch.allclose(found[image], wanted, atol=1e-6)


def test_the_larger_of_two_parts_is_boxed_and_corners_connect():
    image = np.zeros((10, 12))
    image[0:2, 0:3] = 1  # six pixels
    for row, col in [(4, 5), (5, 6), (6, 7), (6, 8), (6, 9), (7, 10), (8, 11)]:  # seven, joined at corners
        image[row, col] = 1
    assert box_of(image, 1.0) == (4, 5, 9, 12)  # rows first, half open
    image[6, 8] = 0  # cut through: four and three
    assert box_of(image, 1.0) == (0, 0, 2, 3)


def test_nothing_above_the_threshold_is_the_whole_image():
    assert box_of(np.full((5, 7), 0.5), 1.0) == (0, 0, 5, 7)
    assert box_of(np.eye(6), 100.0) == (0, 0, 6, 6)


def test_concentrate_looks_where_the_chosen_maps_are_bright():
    maps = torch.zeros(1, 8, 8, 8)
    maps[0, [1, 3, 5], 1:3, 5:7] = 1.0
    maps[0, 0, 7, 0] = 9.0  # an attribute that is not chosen
    scores = torch.tensor([[0, 1, 0, 1, 0, 1, 0, 0.0]])
    (box,) = concentrate(maps, scores, GROUPS, 8, 1.0)
    assert box == (1, 5, 3, 7)


def test_a_crop_is_a_bilinear_resize():
    pixels = torch.randn(2, 3, 16, 16)
    cut = crop(pixels, [(2, 5, 9, 16), (0, 0, 16, 16)])
    rows, cols = np.linspace(2, 8, 16), np.linspace(5, 15, 16)
    r, c = np.minimum(rows.astype(int), 7), np.minimum(cols.astype(int), 14)
    dr, dc = torch.tensor(rows - r)[:, None], torch.tensor(cols - c)
    corner = [pixels[0].double()[:, r + i][:, :, c + j] for i in (0, 1) for j in (0, 1)]
    wanted = (1 - dr) * ((1 - dc) * corner[0] + dc * corner[1]) + dr * ((1 - dc) * corner[2] + dc * corner[3])
    assert torch.allclose(cut[0].double(), wanted, atol=1e-5)
    assert torch.equal(cut[1], pixels[1])


def test_patches_inside_a_box():
    marks = inside([(0, 0, 28, 28), (8, 4, 28, 16), (9, 9, 10, 10)], 7, 28).reshape(3, 7, 7)
    assert marks[0].all()
    assert marks[1].nonzero().tolist() == [[r, c] for r in range(2, 7) for c in range(1, 4)]
    assert marks[2].nonzero().tolist() == [[2, 2]]  # narrower than a patch: the one it lies in


def test_compactness_is_the_double_sum():
    maps = torch.randn(2, 3, 4, 4)
    total = 0.0
    for image, k in np.ndindex(2, 3):
        one = maps[image, k]
        top_row, top_col = divmod(int(one.argmax()), 4)
        for i, j in np.ndindex(4, 4):
            total += torch.sigmoid(one[i, j]).item() * ((i - top_row) ** 2 + (j - top_col) ** 2)
    assert compactness_loss(maps).item() == pytest.approx(total, rel=1e-5)


def test_group_penalty_and_anchors_by_hand():
    weights = torch.zeros(8, 2)
    weights[0], weights[4] = torch.tensor([3.0, 0]), torch.tensor([0, 4.0])
    weights[2] = torch.tensor([0, 4.0])
    assert group_penalty(weights, GROUPS).item() == pytest.approx(5 + 4, abs=1e-4)
    assert group_penalty(weights, []).item() == 0
    assert anchor_loss([weights], [weights.clone()]).item() == 0
    assert anchor_loss([2 * weights, weights], [weights, weights]).item() == pytest.approx(0.5)


def test_heads_take_the_largest_token_with_cls_as_published_and_among_patches_in_ours():
    tokens = random_tokens()
    published = DsvaHeads(16, 8, 1, 4, centred=False)
    out = published(tokens)
    products = torch.einsum("ntd,kd->nkt", tokens, published.prototypes)
    assert torch.allclose(out.local_scores, products.amax(2))
    assert torch.allclose(out.maps.flatten(2), products[:, :, 1:])
    assert torch.allclose(out.global_scores, published.global_head(published.norm(tokens.mean(1))))
    assert published.prototypes.min() >= 0 and published.prototypes.max() <= 2e-4
    ours = DsvaHeads(16, 8, 1, 4, centred=True)
    ours.calibrate(random_tokens(64), None)
    before = ours(tokens)
    tokens[:, 0] = 100.0
    after = ours(tokens)
    assert torch.equal(before.local_scores, after.local_scores)
    assert not torch.equal(before.global_scores, after.global_scores)


@pytest.mark.parametrize("prefix", [0, 1])
def test_calibrated_scores_have_mean_0_and_spread_1(prefix):
    heads = DsvaHeads(16, 8, prefix, 4, centred=True)
    tokens = 3 + random_tokens(200, prefix)
    heads.calibrate(tokens, torch.randn(8, 16))
    out = heads(tokens)
    for scores in (out.global_scores, out.local_scores):
        assert torch.allclose(scores.mean(0), torch.zeros(8), atol=1e-4)
        assert torch.allclose(scores.std(0), torch.ones(8), atol=1e-4)


def test_what_is_reported_and_compared():
    out = HeadsOutput(torch.tensor([[3.0, 0]]), torch.tensor([[0, 2.0]]), torch.zeros(1, 2, 1, 1))
    assert reported(out, "both").tolist() == [[0.5, 0.5]]
    rows = torch.tensor([[1.0, 0], [0.6, 0.8]])
    assert compatibility(out.global_scores, rows, centred=False)[0].tolist() == pytest.approx([3, 1.8])
    assert compatibility(out.global_scores, rows, centred=True)[0].tolist() == pytest.approx([1, 0.6])


def test_episodes_are_classes_by_images():
    labels = np.repeat(np.arange(20), 10)
    sampler = EpisodeSampler(labels, ways=8, shots=3, episodes=5, seed=7)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 5
    for batch in batches:
        assert np.unique(labels[batch], return_counts=True)[1].tolist() == [3] * 8
        assert len(set(batch)) == 24
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert list(sampler) != batches
    assert list(EpisodeSampler(labels, ways=8, shots=3, episodes=5, seed=7, rank=1)) != batches


def test_fewer_classes_and_images_than_an_episode_wants():
    (batch,) = EpisodeSampler(np.array([4, 4, 9]), ways=8, shots=3, episodes=1, seed=0)
    assert len(batch) == 6
    assert {0, 1} >= set(batch[:3]) or {2} == set(batch[:3])


class Listening(lightning.Callback):
    """Keeps rates, weights, moments and episodes as they are."""

    def __init__(self):
        self.rates, self.moments, self.weights, self.tokens = [], [], [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        (group,) = trainer.optimizers[0].param_groups
        if index == 0:
            self.rates.append(group["lr"])
            self.moments.append(len(trainer.optimizers[0].state))
            self.weights.append({k: v.clone() for k, v in module.state_dict().items()})
            self.tokens.append(batch[0])

    def on_train_end(self, trainer, module):
        self.weights.append({k: v.clone() for k, v in module.state_dict().items()})


def listen(recipe, **module):
    data = TensorDataset(random_tokens(40), torch.arange(40) % 5)
    sampler = EpisodeSampler(np.arange(40) % 5, ways=4, shots=2, episodes=2, seed=0)
    ear = Listening()
    quiet_trainer(recipe.epochs, [ear]).fit(small_module(recipe, **module), DataLoader(data, batch_sampler=sampler))
    return ear


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_published_schedule():
    ear = listen(replace(PAPER, epochs=12, heads_epochs=2))
    assert ear.rates == pytest.approx([1e-4] * 2 + [1e-6] * 8 + [0.9e-6] * 2)
    assert set(ear.moments) == {0}  # reset every epoch
    heads = {"heads.prototypes", "heads.global_head.weight", "heads.global_head.bias"}
    assert changed(ear.weights[0], ear.weights[1]) == heads
    norm = {"heads.norm.weight", "heads.norm.bias"}
    assert changed(ear.weights[0], ear.weights[2]) == heads
    assert changed(ear.weights[2], ear.weights[-1]) == heads | norm


def test_moments_are_kept_in_our_mode_and_every_epoch_has_its_own_episodes():
    ear = listen(replace(RSZSL, epochs=2))
    assert ear.moments == [0, 3]
    assert not torch.equal(*ear.tokens)


def test_the_tower_learns_only_after_the_heads():
    from rszsl.model.towers.build import build_tower

    torch.manual_seed(0)
    tower = build_tower({"kind": "timm", "name": "test_vit", "input_px": 32})
    recipe = replace(PAPER, epochs=2, heads_epochs=1, lr=1e-3)
    module = DsvaModule(DsvaHeads(64, 8, 1, 2, centred=False), recipe, unit_rows(5), GROUPS, tower, 32)
    ear = Listening()
    data = TensorDataset(torch.randn(8, 3, 32, 32), torch.arange(8) % 5)
    quiet_trainer(2, [ear]).fit(module, DataLoader(data, batch_size=8))
    assert not {name for name in changed(*ear.weights[:2]) if name.startswith("tower.")}
    assert "tower.model.blocks.0.attn.qkv.weight" in changed(*ear.weights[1:])


def test_compactness_counts_only_after_the_heads(monkeypatch):
    module = small_module(replace(PAPER, heads_epochs=5, compactness=1.0, concentration_from=99))
    tokens, truth = random_tokens(), torch.arange(6) % 5
    losses = []
    for epoch in (4, 5):
        monkeypatch.setattr(DsvaModule, "current_epoch", epoch)
        losses.append(loss_of(module, tokens, truth).item())
    assert losses[1] - losses[0] == pytest.approx(compactness_loss(module(tokens).maps).item(), rel=1e-4)


def test_the_proposal_loss_is_on_in_our_mode_and_off_as_published():
    tokens, truth = random_tokens(), torch.arange(6) % 5
    for recipe, differs in ((RSZSL, True), (PAPER, False)):
        with_it, without = (
            loss_of(small_module(r), tokens, truth).item() for r in (recipe, replace(recipe, proposal_weight=0.0))
        )
        assert (abs(with_it - without) > 1e-3) is differs


def test_the_second_look_adds_to_the_final_score():
    module = small_module(PAPER)
    tokens, truth = random_tokens(), torch.arange(6) % 5
    out = module(tokens)
    boxes = concentrate(out.maps, out.local_scores, GROUPS, 16, 1.0)
    kept = tokens[:, 1:].masked_fill(~inside(boxes, 4, 16)[..., None], -torch.inf).amax(1)
    final = (out.global_scores + module.heads.from_pooled(kept)) @ module.rows.T
    wanted = (
        class_loss(final, truth, PAPER)
        + class_loss(out.local_scores @ module.rows.T, truth, PAPER)
        + 1e-2 * ((out.global_scores - module.rows[truth]) ** 2).mean()
        + 8e-2 * ((out.local_scores - module.rows[truth]) ** 2).mean()
    )
    assert loss_of(module, tokens, truth).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_a_loss_that_is_no_number_is_an_error():
    with pytest.raises(TrainingError, match="lower the learning rate"):
        loss_of(small_module(PAPER), torch.full((2, 17, 16), torch.nan), torch.tensor([0, 1]))


def frozen_problem(seed=0):
    """Tokens that are noisy copies of an embedding which class rows made."""
    problem, ask = made_problem(seed=seed, seen=12, unseen=4, images=20)
    embedding = problem.features.embedding
    noise = np.random.default_rng(seed).normal(0, 0.02, (len(embedding), 5, embedding.shape[1]))
    tokens = (embedding[:, None] + noise).astype("float16")
    features = Features(embedding, tokens, 2, problem.features.names)
    table = replace(problem.table, groups={"a": (0, 1, 2, 3), "b": (4, 5, 6, 7), "c": (8, 9, 10, 11)})
    return replace(problem, features=features, table=table), ask


@pytest.fixture(scope="module")
def frozen():
    recipe = replace(RSZSL, anchored=False, anchor=0.0, epochs=2, heads_epochs=2, episodes=25, heads_lr=2e-2)
    return FrozenDsva("dsva", recipe, (0.1,))


def test_frozen_heads_recognise_classes_that_they_never_saw(frozen):
    problem, ask = frozen_problem()
    found = list(frozen.candidates(problem, ask, 1))
    assert [c.setting for c in found] == [f"t=0.1 epoch={e} {o}" for e in (0, 1) for o in ("global", "local")]
    assert unseen_accuracy(problem, ask, found[-2]) > 0.6  # chance is 0.25
    again = list(frozen.candidates(problem, ask, 1))
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(found, again, strict=True))
    wrong = [unseen_accuracy(problem, ask, list(Shuffled(frozen).candidates(problem, ask, s))[-2]) for s in (1, 2)]
    assert np.mean(wrong) < 0.5


def test_frozen_heads_need_tokens_and_names(frozen):
    problem, ask = frozen_problem()
    bare = replace(problem, features=Features(problem.features.embedding))
    with pytest.raises(TrainingError, match="needs tokens"):
        list(frozen.candidates(bare, ask, 0))
    with pytest.raises(TrainingError, match="class names are not known"):
        list(replace(frozen, name_weights=(1.0,)).candidates(bare, ask, 0))
