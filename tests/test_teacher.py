"""The teacher's word on images: from the tower at one size or several, or from the file that comes with the recipe."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hub_models import CLIP_PX, save_clip, save_siglip
from PIL import Image
from zsl_images import paint_folder

from rszsl.errors import ModelError, TrainingError
from rszsl.model.text import unit
from rszsl.model.towers.clip import load_clip
from rszsl.training import teacher
from rszsl.training.data import list_images
from rszsl.training.recipe import Teachers, read_recipe
from rszsl.training.teacher import read_embeddings, teacher_embeddings, tower_embeddings, write_embeddings
from rszsl.zsl.towers.cache import cache_features
from rszsl.zsl.towers.images import read_rgb
from rszsl.zsl.towers.images import test_view as centre_view

ROOT = Path(__file__).parents[1]
CLASSES = ("red rows", "blue columns")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("tower"))


@pytest.fixture
def images(tmp_path):
    paint_folder(tmp_path / "data" / "one", 2, CLASSES[:1])
    paint_folder(tmp_path / "data" / "two", 3, CLASSES[1:])
    return list_images(tmp_path / "data", ("one", "two"))


def teachers_of(tower, folder, sides_px=(CLIP_PX,), embeddings=None):
    none = Path("none")
    return Teachers(tower, tuple(sides_px), folder / "cache", embeddings, none, none, none, none, none)


def silent(line):
    pass


def said_by(tower, images, side_px):
    """What transformers' own model says of images at a side, unit rows."""
    clip = load_clip(tower)
    spec = clip.at(side_px).spec
    pixels = torch.stack([centre_view(read_rgb(image.path), spec) for image in images])
    with torch.inference_mode():
        return unit(clip.model(pixels, interpolate_pos_encoding=True).image_embeds.numpy())


def test_a_tower_reads_images_of_another_side(tower):
    clip, pixels = load_clip(tower), torch.rand(2, 3, CLIP_PX, CLIP_PX)
    small = clip.at(128)
    assert (small.spec.input_px, small.spec.grid, small.spec.tokens) == (128, 4, 17)
    assert (clip.spec.input_px, clip.spec.grid) == (CLIP_PX, 7)
    with torch.inference_mode():
        assert small(torch.rand(2, 3, 128, 128)).tokens.shape == (2, 17, 64)
        torch.testing.assert_close(clip.at(CLIP_PX)(pixels).embedding, clip(pixels).embedding)
        with pytest.raises(ValueError, match="size"):
            clip(torch.rand(2, 3, 128, 128))
    with pytest.raises(ModelError, match="100 px; give a multiple of 32 px"):
        clip.at(100)


def test_embeddings_of_several_sizes_are_added_up(tower, images, tmp_path):
    one = tower_embeddings(images, teachers_of(tower, tmp_path / "a"), silent)
    np.testing.assert_allclose(one, said_by(tower, images, CLIP_PX), atol=2e-3)
    both = tower_embeddings(images, teachers_of(tower, tmp_path / "b", (CLIP_PX, 96)), silent)
    np.testing.assert_allclose(both, unit(said_by(tower, images, CLIP_PX) + said_by(tower, images, 96)), atol=2e-3)
    assert np.abs(both - one).max() > 0.01


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
    np.testing.assert_allclose(mixed[[0, *range(3, len(images))]], said_by(tower, rest, CLIP_PX), atol=2e-3)


def test_what_is_no_file_of_embeddings_is_refused(tower, images, tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, names=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    for file in (tmp_path / "none.npz", tmp_path / "text.npz", other):
        with pytest.raises(TrainingError, match=f"cannot read the embeddings .*{file.name}.*vision_embeddings"):
            read_embeddings(file)
    siglip = save_siglip(tmp_path / "siglip")
    with pytest.raises(TrainingError, match="is no CLIP"):
        tower_embeddings(images, teachers_of(siglip, tmp_path), silent)


def test_the_command_writes_the_file(tower, images, tmp_path, monkeypatch, capsys):
    recipe = (ROOT / "examples" / "train_bundled.toml").read_text()
    lines = [
        f'vision_tower = "{tower}"' if line.startswith("vision_tower")
        else f'vision_cache = "{tmp_path}/cache"' if line.startswith("vision_cache")
        else "vision_px = [64, 96]" if line.startswith("vision_px")
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
