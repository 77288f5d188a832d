"""The teacher's word on images: from the tower, or from the file that comes with the recipe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_models import save_clip
from PIL import Image
from zsl_images import paint_folder

from rszsl.errors import TrainingError
from rszsl.model.text import unit
from rszsl.model.towers.clip import load_clip
from rszsl.training import teacher
from rszsl.training.data import list_images
from rszsl.training.recipe import Teachers, read_recipe
from rszsl.training.teacher import read_embeddings, teacher_embeddings, tower_embeddings, write_embeddings
from rszsl.zsl.data.hashes import sha256_of
from rszsl.zsl.towers.cache import cache_features
from rszsl.zsl.towers.images import read_rgb
from rszsl.zsl.towers.images import test_view as centre_view

ROOT = Path(__file__).parents[1]
FILE = "examples/teacher_embeddings.npz"
CLASSES = ("red rows", "blue columns")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("tower"))


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """On every CPU, so that figures can be compared with those of the library."""
    monkeypatch.setattr(teacher, "multiplies_bf16", lambda device: False)


@pytest.fixture
def images(tmp_path):
    paint_folder(tmp_path / "data" / "one", 2, CLASSES[:1])
    paint_folder(tmp_path / "data" / "two", 3, CLASSES[1:])
    return list_images(tmp_path / "data", ("one", "two"))


def teachers_of(tower, folder, embeddings=None):
    none = Path("none")
    return Teachers(tower, folder / "cache", none, none, none, none, none, embeddings)


def silent(line):
    pass


def said_by(tower, images):
    """What transformers' own model says of images, unit rows."""
    clip = load_clip(tower)
    pixels = torch.stack([centre_view(read_rgb(image.path), clip.spec) for image in images])
    with torch.inference_mode():
        return unit(clip.model(pixels).image_embeds.numpy())


def test_the_tower_is_heard_set_by_set(tower, images, tmp_path):
    heard = tower_embeddings(images, teachers_of(tower, tmp_path), silent)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, said_by(tower, images), atol=2e-3)
    assert {folder.name for folder in (tmp_path / "cache").iterdir()} == {"one", "two"}


def test_half_precision_leaves_the_tower_as_it_is(tower, images, tmp_path):
    # The key of a second set's cache is taken from the tower's weights after the first set has gone through it.
    clip, paths = load_clip(tower), [image.path for image in images]
    first = cache_features(clip, paths[:2], tmp_path / "first", precision=torch.bfloat16, log=silent)
    cache_features(clip, paths[2:], tmp_path / "second", precision=torch.bfloat16, log=silent)
    again = cache_features(clip, paths[:2], tmp_path / "first", precision=torch.bfloat16, log=silent)
    assert again.key == first.key and next(clip.parameters()).dtype == torch.float32


def test_the_file_stands_in_for_the_tower(tower, images, tmp_path):
    truth = tower_embeddings(images, teachers_of(tower, tmp_path), silent)
    file = tmp_path / "kept" / "words.npz"
    write_embeddings(file, images, truth)
    lines: list[str] = []
    gone = teachers_of(tmp_path / "gone", tmp_path / "gone", embeddings=file)
    kept = teacher_embeddings(images[::-1], gone, lines.append)
    np.testing.assert_allclose(kept, truth[::-1], atol=2e-3)
    assert kept.dtype == np.float32 and lines == [] and not (tmp_path / "gone").exists()
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)
    whole = file.read_bytes()
    write_embeddings(file, images[::-1], truth[::-1])
    assert file.read_bytes() == whole, "the order of the images shows in the file"


def test_images_that_the_file_lacks_go_through_the_tower(tower, images, tmp_path):
    file = tmp_path / "some.npz"
    marked = unit(np.eye(32, dtype="float32")[: len(images)] + 0.01)
    write_embeddings(file, images[:3], marked[:3])
    Image.new("RGB", (64, 64), "white").save(images[0].path)
    lines: list[str] = []
    mixed = teacher_embeddings(images, teachers_of(tower, tmp_path, embeddings=file), lines.append)
    assert lines[0] == f"teacher: {len(images) - 2} of {len(images)} images go through the tower"
    np.testing.assert_allclose(mixed[1:3], marked[1:3], atol=0.01)
    rest = [images[0], *images[3:]]
    np.testing.assert_allclose(mixed[[0, *range(3, len(images))]], said_by(tower, rest), atol=2e-3)


def test_what_is_no_file_of_embeddings_is_refused(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, names=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "half.npz").write_bytes(other.read_bytes()[:100])
    for file in (tmp_path / "none.npz", tmp_path / "text.npz", tmp_path / "half.npz", other):
        with pytest.raises(TrainingError, match=f"cannot read the embeddings .*{file.name}.*vision_embeddings"):
            read_embeddings(file)


def test_the_command_writes_the_file(tower, images, tmp_path, monkeypatch, capsys):
    recipe = (ROOT / "examples" / "train_bundled.toml").read_text()
    lines = [
        f'vision_tower = "{tower}"' if line.startswith("vision_tower")
        else f'vision_cache = "{tmp_path}/cache"' if line.startswith("vision_cache")
        else 'sets = ["one", "two"]' if line.startswith("sets = ") else line
        for line in recipe.splitlines()
    ]  # fmt: skip
    (tmp_path / "recipe.toml").write_text("\n".join(lines))
    monkeypatch.setenv("RSZSL_DATA", str(tmp_path / "data"))
    assert teacher.main([str(tmp_path / "recipe.toml"), str(tmp_path / "out.npz")]) == 0
    assert capsys.readouterr().out.endswith(f"{len(images)} images in {tmp_path / 'out.npz'}\n")
    kept = read_embeddings(tmp_path / "out.npz")
    wanted = tower_embeddings(images, read_recipe(tmp_path / "recipe.toml").teachers, silent)
    np.testing.assert_allclose(np.stack(list(kept.values())).sum(0), wanted.sum(0), atol=0.02)
    assert teacher.main([]) == 2
    assert teacher.main([str(tmp_path / "no.toml"), "x"]) == 1 and "cannot read the recipe" in capsys.readouterr().err


def test_the_file_of_the_bundled_recipe_has_its_images(shared_data):
    recipe = read_recipe(ROOT / "examples" / "train_bundled.toml")
    images = list_images(shared_data, recipe.sets)
    nowhere = replace(recipe.teachers, vision_tower=Path("none"), vision_embeddings=ROOT / FILE)
    said = teacher_embeddings(images, nowhere, silent)
    assert recipe.teachers.vision_embeddings == Path(FILE)
    assert set(read_embeddings(ROOT / FILE)) == {sha256_of(image.path) for image in images}
    # Each is of its own image: it lies nearer to the other images of its folder than those of a shuffled file would.
    folders = np.array([image.path.parent.as_posix() for image in images])
    names = np.unique(folders)
    means = unit(np.stack([said[folders == name].mean(0) for name in names]) - said.mean(0))
    found = names[((said - said.mean(0)) @ means.T).argmax(1)] == folders
    assert found.mean() > 0.7
