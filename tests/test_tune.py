"""A ViT trunk that is trained: its losses, its order, what an interrupted run leaves, and which images it may see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rszsl.errors import TrainingError
from rszsl.model.vit import VitTrunk
from rszsl.training.data import LabelledImage
from rszsl.training.losses import Lesson, LossWeights
from rszsl.training.prepare import common_fold
from rszsl.training.recipe import read_recipe
from rszsl.training.schedule import TuningRecipe, cosine_factor
from rszsl.training.trunk import plain_pixels
from rszsl.training.tune import Tower, fit_readout, nearness, tower_loss, tune_trunk, turned

ROOT = Path(__file__).resolve().parents[1]
SIDE_PX, COUNT, WIDTH, ATTRIBUTES = 32, 6, 8, 5
HOW = TuningRecipe(epochs=2, batch_size=2, lr=1e-4, watched=())
WEIGHTS = LossWeights(1.0, 0.3, 1.0, 0.05, 1e-3, 0.1)


def tower():
    torch.manual_seed(0)
    trunk = VitTrunk(SIDE_PX, 1)
    return Tower(trunk, torch.randn(WIDTH, 768) / 28, torch.randn(WIDTH + 1, ATTRIBUTES))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), "uint8")).save(folder / f"{number}.png")
    return [LabelledImage(folder / f"{number}.png", "a", "a") for number in range(COUNT)]


@pytest.fixture(scope="module")
def lesson():
    rng = torch.Generator().manual_seed(1)
    embedding = torch.nn.functional.normalize(torch.randn(COUNT, WIDTH, generator=rng), dim=1)
    return Lesson(
        embedding, embedding.mean(0), torch.randn(COUNT, ATTRIBUTES, generator=rng), torch.eye(2).repeat(COUNT // 2, 1),
        torch.eye(2, ATTRIBUTES), torch.eye(WIDTH), torch.eye(ATTRIBUTES),
    )  # fmt: skip


def tune(tower, images, lesson, file, how=HOW):
    lines = []
    tune_trunk(
        tower, images, lesson, how, WEIGHTS,
        side_px=SIDE_PX, seed=3, file=file, watch=lambda: "watched", log=lines.append,
    )  # fmt: skip
    return lines


def test_eight_turns_are_eight_and_one_is_none():
    pixels = torch.arange(12.0).view(3, 2, 2)
    views = [turned(pixels, turn) for turn in range(8)]
    assert torch.equal(views[0], pixels)
    assert torch.equal(views[1][0], torch.tensor([[1.0, 3.0], [0.0, 2.0]]))
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


def test_the_readout_finds_a_linear_function():
    rng = np.random.default_rng(2)
    embeddings, matrix = rng.normal(size=(50, 4)).astype("float32"), rng.normal(size=(4, 3)).astype("float32")
    found = fit_readout(embeddings, embeddings @ matrix + 2)
    torch.testing.assert_close(found, torch.from_numpy(np.vstack([matrix, np.full((1, 3), 2.0, "float32")])))


def test_the_loss_of_what_the_teacher_says_itself_is_that_of_the_classes_alone(lesson):
    taught = tower()
    pixels = torch.randn(COUNT, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        embedding = taught.embed(pixels)
        same = replace(lesson, embedding=embedding, attributes=taught.scores(embedding))
        without_classes = replace(WEIGHTS, compatibility=0.0)
        assert tower_loss(taught, pixels, same, without_classes).item() == pytest.approx(0, abs=1e-5)
        assert tower_loss(taught, pixels, lesson, WEIGHTS).item() > 0.5


def test_every_weight_learns_and_the_loss_falls(images, lesson, tmp_path):
    taught, before = tower(), tower().trunk.state_dict()
    lines = tune(taught, images, lesson, tmp_path / "a.pt", replace(HOW, epochs=12))
    assert lines[0] == "trunk: 6 images, 36 steps, from step 0; watched" and lines[-1] == "trunk: trained; watched"
    assert not [name for name, value in taught.trunk.state_dict().items() if torch.equal(value, before[name])]
    first, last = (float(line.split("loss ")[1].split(",")[0]) for line in lines[1:3])
    assert last < first  # means from the start on


def test_an_interrupted_run_ends_where_an_unbroken_one_does(images, lesson, tmp_path, monkeypatch):
    whole, broken = tower(), tower()
    tune(whole, images, lesson, tmp_path / "whole.pt")
    monkeypatch.setattr("rszsl.training.tune.STEPS_KEPT", 2)
    seen = []

    def two_steps(*given):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(1)
        return tower_loss(*given)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("rszsl.training.tune.tower_loss", two_steps)
        tune(broken, images, lesson, tmp_path / "broken.pt")
    again = tower()
    assert "from step 2" in tune(again, images, lesson, tmp_path / "broken.pt")[0]
    for name, value in whole.trunk.state_dict().items():
        torch.testing.assert_close(again.trunk.state_dict()[name], value, msg=name)


def test_nearness_is_one_to_itself(images):
    taught, mean = tower(), np.full(WIDTH, 0.1, "float32")
    with torch.inference_mode():
        own = taught.embed(plain_pixels(images, SIDE_PX, vit=True)).numpy()
    assert nearness(taught, images, own, mean, SIDE_PX) == pytest.approx(1, abs=1e-5)
    assert nearness(taught, images, own[::-1].copy(), mean, SIDE_PX) < 0.999


def test_the_learning_rate_rises_and_falls():
    assert [cosine_factor(step, 100, 10) for step in (-1, 0, 100)] == pytest.approx([0, 0.1, 0])
    assert cosine_factor(50, 100, 10) == pytest.approx(0.5)


def test_no_concept_that_a_fold_asks_for_is_shown_to_the_trunk_of_the_bundled_model():
    recipe = read_recipe(ROOT / "examples" / "train_base.toml")
    fold = common_fold(recipe)
    assert recipe.tuning is not None
    for each in recipe.folds:
        assert set(each.unseen) <= set(fold.unseen) and set(fold.sets) <= set(each.sets)
    assert set(recipe.tuning.watched) <= set(fold.unseen)


def test_a_watched_concept_must_be_one(tmp_path):
    text = (ROOT / "examples" / "train_base.toml").read_text(encoding="utf-8")
    (tmp_path / "train_bundled.toml").write_text((ROOT / "examples" / "train_bundled.toml").read_text(encoding="utf-8"))
    (tmp_path / "r.toml").write_text(text.replace('"mountain"', '"mountian"'), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"r\.toml watches mountian: no concept"):
        read_recipe(tmp_path / "r.toml")
