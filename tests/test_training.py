"""Training: losses by hand, folds, a tiny run that is broken off and taken up again."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rszsl.errors import TrainingError
from rszsl.labels.calibrate import Calibrator
from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, DsvaOutput, Shape, join_scores, pool_maps
from rszsl.model.names import name_key
from rszsl.model.text import AttributeText
from rszsl.training.attributes import class_means, ridge_projection
from rszsl.training.data import LabelledImage, list_images
from rszsl.training.decorrelate import decorrelate, lean_on_network, symmetric_roots
from rszsl.training.direct import fit_direct
from rszsl.training.folds import Fold, concept_of_images, holdout_mask, part_images
from rszsl.training.knowledge import held_out_names, taught_names
from rszsl.training.losses import (
    Lesson,
    LossWeights,
    compactness_loss,
    compatibility_loss,
    cosine_distance,
    total_loss,
)
from rszsl.training.measure import measure_taught
from rszsl.training.phrases import without
from rszsl.training.prepare import build_lesson
from rszsl.training.recipe import TrainingRecipe, claim_work, read_recipe
from rszsl.training.train import TrainingSet, joint_scores, pooled_features, train_network
from rszsl.training.trunk import run_lower
from rszsl.zsl.calibrate import Cases, fit_calibrator, measure_presence
from rszsl.zsl.data.folders import data_root
from rszsl.zsl.data.splits import draw_classes
from rszsl.zsl.metrics import auroc, calibration_error, class_accuracy
from rszsl.zsl.rows.bridge import fit_bridge
from rszsl.zsl.runs.toml import to_toml

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = LossWeights(1.0, 0.3, 1.0, 0.05, 1e-3, 0.1)
SILENT = LossWeights(0.0, 0.0, 0.0, 0.0, 0.0, 0.1)


def test_cosine_distance_by_hand():
    a, b = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [6.0, 8.0]])
    assert cosine_distance(a, b).item() == pytest.approx(0.5)


def test_compatibility_by_hand():
    rows = torch.eye(2)
    concept, plain = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    lesson = Lesson(torch.zeros(1, 2), torch.zeros(2), torch.zeros(1, 2), concept, rows, plain, plain)
    # cosines 0.6 and 0.8 over a temperature of 0.1: -log(e^6 / (e^6 + e^8))
    assert compatibility_loss(torch.tensor([[3.0, 4.0]]), lesson, 0.1).item() == pytest.approx(2.126928, abs=1e-5)


def test_cosines_of_the_loss_are_taken_after_whitening():
    scores = torch.tensor([[3.0, 4.0]])
    out = DsvaOutput(torch.tensor([[3.0, 1.0]]), scores, scores, scores, torch.zeros(1, 2, 1, 1), scores)
    lesson = Lesson(
        torch.tensor([[2.0, 1.0]]), torch.tensor([1.0, 0.0]), torch.tensor([[4.0, 3.0]]), torch.tensor([[1.0, 0.0]]),
        torch.eye(2), torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([4.0, 3.0])),
    )  # fmt: skip
    # (3, 1) and (2, 1) less (1, 0), whitened: (4, 1) and (2, 1)
    embedding = total_loss(out, lesson, replace(SILENT, distillation=1.0)).item()
    assert embedding == pytest.approx(1 - 9 / 85**0.5, abs=1e-6)
    # (12, 12) and (16, 9): (192 + 108) / (12 sqrt 2 * sqrt 337)
    direction = total_loss(out, lesson, replace(SILENT, direction=1.0)).item()
    assert direction == pytest.approx(1 - 25 / (2 * 337) ** 0.5, abs=1e-6)


def test_the_lesson_is_whitened_as_the_recipe_says():
    rng = np.random.default_rng(6)
    mixed = rng.normal(size=(400, 4)).astype("float32") @ np.diag([5, 1, 1, 0.2]).astype("float32")
    known = SimpleNamespace(
        parts=SimpleNamespace(train=np.arange(400) < 300), embeddings=mixed, scores=mixed[:, ::-1].copy(), seen=("a",),
        image_rows=np.eye(1, 4, dtype="float32"), concept_ids=lambda wanted: np.zeros(int(wanted.sum()), "int64"),
    )  # fmt: skip
    plain, whitened = build_lesson(known), build_lesson(known, 1e-6)
    assert torch.equal(plain.whiten_embedding, torch.eye(4))
    assert torch.equal(plain.whiten_attributes, torch.eye(4))
    for vectors, turn in (
        (whitened.embedding, whitened.whiten_embedding), (whitened.attributes, whitened.whiten_attributes)
    ):  # fmt: skip
        assert len(vectors) == 300
        np.testing.assert_allclose(np.cov((vectors @ turn).T), np.eye(4), atol=1e-3)


def test_compactness_by_hand():
    maps = torch.full((1, 1, 2, 2), -100.0)
    maps[0, 0, 0, 0], maps[0, 0, 1, 1] = 100.0, 50.0
    # only the corner opposite the maximum is lit, 1 + 1 away; the mean is over four patches
    assert compactness_loss(maps).item() == pytest.approx(0.5)


def some_images():
    folders = [("aid", "Port"), ("aid", "Forest"), ("ucm", "harbor"), ("ucm", "forest"), ("rsscn7", "Forest")]
    return [LabelledImage(Path(s, folder, f"{i}.jpg"), s, folder) for s, folder in folders for i in range(40)]


def test_a_fold_never_learns_from_an_unseen_concept():
    images = some_images()
    folders = {"harbor": ["aid/Port", "ucm/harbor"], "forest": ["aid/Forest", "ucm/forest", "rsscn7/Forest"]}
    concepts = np.array(concept_of_images(images, folders))
    parts = part_images(Fold("x", ("aid", "ucm"), ("harbor",), "aid"), images, concepts, 0.2, 1)
    sets = np.array([image.set_name for image in images])
    assert not (parts.train | parts.kept_out)[concepts == "harbor"].any()
    assert not (parts.train | parts.kept_out)[sets == "rsscn7"].any()
    np.testing.assert_array_equal(parts.unseen, (concepts == "harbor") & (sets == "aid"))
    assert not (parts.train & parts.kept_out).any() and not (parts.train & parts.asked).any()
    np.testing.assert_array_equal(parts.foreign, (concepts == "forest") & (sets == "rsscn7"))
    assert 0 < parts.kept_out.sum() < parts.train.sum()
    with pytest.raises(TrainingError, match="rsscn7 has no image"):
        part_images(Fold("x", ("aid",), ("harbor",), "rsscn7"), images, concepts, 0.2, 1)
    with pytest.raises(TrainingError, match="ucm/harbor"):
        concept_of_images(images, {"harbor": ["aid/Port"], "forest": folders["forest"]})


def test_the_recipe_of_the_bundled_model_has_the_splits_of_the_benchmark():
    recipe = read_recipe(ROOT / "examples" / "train_bundled.toml")
    aid = sorted(name for name, folders in recipe.concepts.items() if any(f.startswith("aid/") for f in folders))
    for fold, seed in zip(recipe.folds[:2], (2014, 2015), strict=True):
        assert fold.unseen == draw_classes(aid, 20, 10, seed).unseen
    only = {name for name, folders in recipe.concepts.items() if all(f.startswith("ucm/") for f in folders)}
    assert set(recipe.folds[2].unseen) == only
    assert "ucm" not in recipe.folds[2].sets
    taught = taught_names(tuple(recipe.concepts), recipe.aliases)
    assert len({taught[name_key(name)] for name in recipe.lists["WHU-RS19"]}) == 19
    names = [(name, *recipe.aliases.get(name, ())) for name in recipe.concepts]
    assert sum(len({name_key(name) for name in several}) for several in names) == len(taught), "a name of two concepts"


def test_held_out_names_leave_the_phrases():
    phrases = ["green golf course", "golf", "golfcourses by a lake", "race course", "tall buildings", "a building"]
    assert without(phrases, [name_key(name) for name in ("golf course", "buildings")]) == ["golf", "race course"]


def test_held_out_names_have_those_of_the_prompts():
    recipe = read_recipe(ROOT / "examples" / "train_bundled.toml")
    held_out = set(held_out_names(recipe))
    assert {name_key(name) for name in ("farm", "jetliner", "medium houses", "car park")} <= held_out
    assert not held_out & {name_key(name) for name in ("forest", "dense residential", "school")}


def test_recipe_errors_name_the_key(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text('name = "x"\n')
    with pytest.raises(TrainingError, match="missing, unknown or wrong key"):
        read_recipe(file)
    whole = (ROOT / "examples" / "train_bundled.toml").read_text()
    file.write_text(whole.replace('"desert", "farmland", "football field"', '"desert", "dune", "football field"'))
    with pytest.raises(TrainingError, match=r"recipe.toml asks in the list WHU-RS19 for dune: no name of a concept"):
        read_recipe(file)


def test_a_recipe_may_be_like_another_one(tmp_path):
    like, file = ROOT / "examples" / "train_bundled.toml", tmp_path / "recipe.toml"
    changes = f'like = "{like}"\nname = "x"\n[network]\ndepth = 3\n[training.loss]\nregression = 0.7\n'
    file.write_text(changes)
    whole, found = read_recipe(like), read_recipe(file)
    assert found.name == "x" and found.network == replace(whole.network, depth=3)
    assert found.training.loss == replace(whole.training.loss, regression=0.7)
    assert replace(found, path=like, name=whole.name, network=whole.network, training=whole.training) == whole
    base = read_recipe(ROOT / "examples" / "train_base.toml")
    assert base.folds == whole.folds and base.network.trunk_depth == 12 and base.work != whole.work
    file.write_text(changes + "[network]\n")
    with pytest.raises(TrainingError, match="cannot read the recipe"):
        read_recipe(file)
    file.write_text(changes.replace("depth = 3", "trunk_depth = 2"))
    with pytest.raises(TrainingError, match=r"has cutmix 0\.3: tokens cannot be pasted; set it to 0"):
        read_recipe(file)
    file.write_text(changes.replace("depth = 3", "bits = 5"))
    with pytest.raises(TrainingError, match="weights of 5 bits; choose 16 or 4"):
        read_recipe(file)
    file.write_text(f'like = "{tmp_path}/gone.toml"\n')
    with pytest.raises(TrainingError, match=r"cannot read the recipe .*gone\.toml"):
        read_recipe(file)


def test_figures_of_taught_names_by_hand():
    """Two concepts in two sets: in one all are found, in the other one of two, and "port" means the harbor."""
    rows, concepts = np.eye(2, dtype="float32"), np.array(["forest", "harbor", "forest", "harbor", "forest"])
    sets = ["aid", "aid", "ucm", "ucm", "aid"]
    images = [SimpleNamespace(set_name=name) for name in sets]
    parts = SimpleNamespace(asked=np.array([True, True, True, True, False]))
    names = {"forest": 0, "harbor": 1, "port": 1}
    text = SimpleNamespace(taught=names, phrase_row=lambda name: rows[names[name]])
    known = SimpleNamespace(seen=("forest", "harbor"), concepts=concepts, images=images, parts=parts)
    said = SimpleNamespace(known=known, model=SimpleNamespace(text=text), attributes=rows[[0, 1, 0, 0]])
    recipe = SimpleNamespace(sets=("aid", "ucm"), lists={"ports": ("port",), "all": ("port", "forest")})
    assert measure_taught(recipe, said, ", 2 views") == pytest.approx({
        "model, 2 views": 0.75, "model, 2 views, images of aid": 1.0, "model, 2 views, images of ucm": 0.5,
        "model, 2 views, 1 names of ports": 1.0, "model, 2 views, 2 names of all": 0.75,
    })  # fmt: skip


def test_a_work_folder_serves_one_recipe(tmp_path):
    recipe = replace(read_recipe(ROOT / "examples" / "train_bundled.toml"), work=tmp_path / "work")
    claim_work(recipe)
    claim_work(replace(recipe, version="9.9.9", lists={}, training=replace(recipe.training, device="cuda")))
    concepts = {**recipe.concepts, "quarry": ("aid/Quarry",)}
    other = replace(recipe, alignment=replace(recipe.alignment, shrinkage=0.7), concepts=concepts)
    with pytest.raises(TrainingError, match=r"work holds .* another alignment.shrinkage, concepts made: empty it, or"):
        claim_work(other)
    claim_work(recipe)


def test_bridge_carries_a_name_over():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype("float32")
    names = rng.normal(size=(12, 6)).astype("float32")
    bridge = fit_bridge(
        names, names @ turn, seen_images=names[:2], seen_names=names[:2] @ turn, image_mean=np.zeros(6, "float32"),
        ridge=1e-6, seen_weight=0.1,
    )  # fmt: skip
    x = rng.normal(size=(3, 6)).astype("float32")
    expected = x @ turn / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(bridge(x), expected, atol=1e-4)


def test_ridge_rows_rebuild_a_name():
    vectors = np.eye(3, 5, dtype="float32")
    np.testing.assert_allclose(ridge_projection(vectors, 1.0) @ [2, 4, 0, 0, 0], [1, 2, 0])


def test_class_means_are_centred_over_classes():
    scores = np.array([[2, 0], [4, 0], [0, 0], [0, 0]], "float32")
    np.testing.assert_allclose(class_means(scores, np.array([0, 0, 1, 1]), 2), [[1, 0], [-1, 0]])


def test_decorrelation_keeps_the_products():
    scores = np.random.default_rng(1).normal(size=(500, 4)).astype("float32") @ np.diag([5, 1, 1, 0.2]).astype(
        "float32"
    )
    inverse, root = symmetric_roots(scores, 0.0)
    np.testing.assert_allclose(inverse @ root, np.eye(4), atol=1e-4)
    np.testing.assert_allclose(np.cov((scores @ inverse).T), np.eye(4), atol=1e-3)


def test_measures_by_hand():
    similarity = np.array([[1, 0], [1, 0], [0, 1]], "float32")
    # "a": 1 of 2 right; "b": 1 of 1 right
    assert class_accuracy(similarity, ["a", "b"], np.array(["a", "b", "b"])) == pytest.approx(0.75)
    assert auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])) == pytest.approx(0.875)
    gap = calibration_error(np.array([0.9, 0.9]), np.array([True, False]), np.array([3.0, 1.0]))
    assert gap == pytest.approx(0.15)


def test_calibrator_finds_what_is_there():
    rng = np.random.default_rng(2)
    rows = np.eye(3, 8, dtype="float32")
    truth = rng.integers(0, 4, size=400)
    attributes = rng.normal(size=(400, 8)).astype("float32") * 0.3 + np.eye(4, 8, dtype="float32")[truth]
    attributes /= np.linalg.norm(attributes, axis=1, keepdims=True)
    cases = Cases(attributes, rows, truth[:, None] == np.arange(3), np.eye(8, dtype="float32")[4:])
    calibrator = fit_calibrator(cases)
    assert isinstance(calibrator, Calibrator)
    ranks, gap = measure_presence(cases, calibrator)
    assert ranks > 0.95
    assert gap < 0.05


def test_toml_is_read_back():
    import tomllib

    table = {"a": 1, "b": [1.5, 2.0], "c": {"model.bin": "x", "d": {"e": True}}, "rows": [{"n": "é"}, {"n": "f"}]}
    assert tomllib.loads(to_toml(table)) == table


def tiny_run(folder, epochs, log):
    torch.manual_seed(3)
    net = Dsva(Shape(input_px=64, attributes=5, embed_dim=24, depth=1, heads=2, embedding_dim=6, direct=1))
    generator = torch.Generator().manual_seed(4)
    rows = torch.nn.functional.normalize(torch.randn(2, 5, generator=generator), dim=-1)
    concept = torch.eye(2)[torch.arange(16) % 2]
    embedding = torch.nn.functional.normalize(torch.randn(16, 6, generator=generator), dim=-1)
    lesson = Lesson(embedding, embedding.mean(0), concept @ rows, concept, rows, torch.eye(6), torch.eye(5))
    features = torch.randn(16, 2, 80, 4, 4, generator=generator).half()
    recipe = TrainingRecipe(
        views=2,
        epochs=3,
        heads_epochs=1,
        batch_size=8,
        lr=1e-2,
        trunk_lr=1e-3,
        weight_decay=0.0,
        cutmix=0.5,
        device="cpu",
        direct_ridge=0.3,
        loss=WEIGHTS,
    )

    def measure(_):
        if len(log) + 1 == epochs:
            raise KeyboardInterrupt
        return ""

    data = TrainingSet(features, torch.arange(16), lesson)
    device = torch.device("cpu")
    train_network(net, data, recipe, folder, seed=5, device=device, measure=measure, log=log.append)
    return net


def test_a_broken_run_goes_on_to_the_same_end(tmp_path):
    whole = tiny_run(tmp_path / "whole", 99, [])
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path / "broken", 2, [])
    log: list[str] = []
    resumed = tiny_run(tmp_path / "broken", 99, log)
    assert len(log) == 1
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)


def test_the_direct_head_is_ridge_regression_on_all_views():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    views = (rng.normal(size=(60, 3, 7)) * 3 + 1).astype("float32")
    views[:, :, 3] = 2.0  # says nothing
    scores = (views.mean(1) @ rng.normal(size=(7, 4)) + rng.normal(size=(60, 4))).astype("float32")
    head = torch.nn.Linear(7, 4)
    fit_direct(head, views, scores, 0.3)
    features = views.reshape(180, 7)
    spread = features.std(0)
    spread[3] = 1
    wanted = Ridge(alpha=0.3 * 180).fit((features - features.mean(0)) / spread, scores.repeat(3, axis=0))
    with torch.inference_mode():
        found = head(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, wanted.predict((features - features.mean(0)) / spread), atol=1e-3)


def test_training_leaves_the_direct_head_alone_and_it_counts_once_fitted(tmp_path):
    net = tiny_run(tmp_path, 99, [])
    assert not net.direct_head.weight.any()
    pixels = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        plain, mirrored = (run_lower(trunk_of(net.backbone), p) for p in (pixels, pixels.flip(-1)))
        silent, maps = net(pixels), trunk_of(net.backbone)(pixels)
        other = trunk_of(net.backbone)(pixels.flip(-1))
    features, rows = torch.stack([plain, mirrored], 1), torch.arange(4)
    pooled = pooled_features(net, features, rows, batch_size=3)
    np.testing.assert_allclose(pooled[:, 0], pool_maps(maps).numpy(), atol=1e-5)
    np.testing.assert_allclose(pooled[:, 1], pool_maps(other).numpy(), atol=1e-5)
    np.testing.assert_allclose(pooled[:, 0, -1], maps[-1].mean((2, 3))[:, -1], atol=1e-5)
    scores = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")
    fit_direct(net.direct_head, pooled[:, :1], scores, 1e-4)
    with torch.inference_mode():
        out = net(pixels)
    np.testing.assert_allclose(out.direct_scores, scores, atol=0.02)  # four images are learnt by heart
    torch.testing.assert_close(out.global_scores, silent.global_scores)
    wanted = join_scores(out.global_scores, out.local_scores, out.direct_scores)
    np.testing.assert_allclose(joint_scores(net, features, rows), wanted, atol=1e-4)
    torch.testing.assert_close(out.attributes, torch.nn.functional.normalize(wanted, dim=-1))


def test_without_a_direct_head_the_others_speak_alone():
    net = Dsva(Shape(input_px=64, attributes=3, embed_dim=24, depth=1, heads=2, embedding_dim=6)).eval()
    with torch.inference_mode():
        out = net(torch.randn(2, 3, 64, 64))
    wanted = torch.nn.functional.normalize(out.global_scores + out.local_scores, dim=-1)
    torch.testing.assert_close(out.attributes, wanted)


def test_decorrelation_is_set_in_the_network():
    net = Dsva(Shape(input_px=64, attributes=3, embed_dim=24, depth=1, heads=2, embedding_dim=6))
    scores = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    text = AttributeText(None, np.ones((3, 512), "float32"), np.zeros(3, "float32"), {}, np.eye(3, dtype="float32"))
    turned = decorrelate(net, text, scores, 0.1)
    np.testing.assert_allclose(net.decorrelation.numpy() @ turned.projection, text.projection, atol=1e-4)


def test_taught_rows_lean_on_what_the_network_says():
    net = Dsva(Shape(input_px=64, attributes=2, embed_dim=24, depth=1, heads=2, embedding_dim=6))
    net.score_mean.copy_(torch.tensor([1.0, 0.0]))
    net.decorrelation.copy_(torch.diag(torch.tensor([1.0, 0.5])))
    text = AttributeText(None, np.ones((2, 512), "float32"), np.zeros(2, "float32"), {}, np.eye(2, dtype="float32"))
    # Decorrelated and of unit length: (0, 1), (0, 1) and (1, 0), so that the means say the opposite of the text.
    scores, ids = np.array([[1, 2], [1, 6], [4, 0]], "float32"), np.array([0, 0, 1])
    assert np.array_equal(lean_on_network(net, text, scores, ids, 0.0).taught_rows, text.taught_rows)
    leaning = lean_on_network(net, text, scores, ids, 0.75).taught_rows
    np.testing.assert_allclose(leaning, [[0.8, 0.6], [0.6, 0.8]], atol=1e-6)


def test_holdout_does_not_depend_on_what_else_is_listed():
    try:
        images = list_images(data_root(), ["ucm"])
    except TrainingError as err:
        pytest.skip(f"needs the training images: {err}")
    marks = holdout_mask(images, 0.1, 1)
    assert 0.05 < marks.mean() < 0.15
    np.testing.assert_array_equal(holdout_mask(images[100:], 0.1, 1), marks[100:])
