"""Towers: built anew from their configuration, run once over images, and what is made of their tokens."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from zsl_images import paint_folder

from rszsl.errors import ModelError, TrainingError
from rszsl.model.towers.build import build_tower
from rszsl.model.towers.clip import ClipTower, load_clip
from rszsl.model.towers.tower import TowerSpec
from rszsl.zsl.towers import cache
from rszsl.zsl.towers.cache import cache_features, read_features
from rszsl.zsl.towers.derived import derive_tokens, pool_patches
from rszsl.zsl.towers.images import read_rgb
from rszsl.zsl.towers.images import test_view as centre_view


def tiny_clip():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    size = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 8}
    config = CLIPVisionConfig(hidden_size=16, image_size=32, patch_size=8, **size)
    return ClipTower(CLIPVisionModelWithProjection(config), "tiny")


def timm_tower():
    return build_tower({"kind": "timm", "name": "test_vit", "input_px": 32})


def hybrid():
    return build_tower({"kind": "hybrid", "input_px": 64, "embed_dim": 24, "depth": 1, "heads": 2})


@pytest.mark.parametrize("make", [timm_tower, hybrid, tiny_clip])
def test_a_tower_is_built_anew_from_its_configuration(make):
    torch.manual_seed(0)
    one = make().eval()
    other = build_tower(one.config).eval()
    other.load_state_dict(one.state_dict())
    spec = one.spec
    assert other.spec == spec
    pixels = torch.randn(2, 3, spec.input_px, spec.input_px)
    with torch.inference_mode():
        a, b = one(pixels), other(pixels)
        assert torch.equal(a.tokens, b.tokens)
        assert a.tokens.shape == (2, spec.tokens, spec.width)
        aligned = one.tokens(pixels, aligned=True)
    assert aligned.shape == (2, spec.tokens, one.width(aligned=True))
    if spec.embedding_dim:  # the aligned CLS token is the embedding
        assert torch.allclose(aligned[:, 0], a.embedding, atol=1e-6)


def test_timm_tokens_are_those_before_the_final_norm():
    import timm

    torch.manual_seed(0)
    tower = timm_tower().eval()
    whole = timm.create_model("test_vit", img_size=32, num_classes=0).eval()
    state = tower.state_dict()
    whole.load_state_dict(
        {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}, strict=False
    )
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(tower.tokens(pixels, aligned=True), whole.forward_features(pixels), atol=1e-5)


def test_unknown_towers(tmp_path):
    with pytest.raises(ModelError, match="no kind of tower 'swin'"):
        build_tower({"kind": "swin"})
    with pytest.raises(ModelError, match="timm cannot build"):
        build_tower({"kind": "timm", "name": "vit_of_nobody", "input_px": 32})
    with pytest.raises(ModelError, match="holds no CLIP vision tower"):
        load_clip(tmp_path)


@pytest.fixture
def paths(tmp_path):
    return sorted(paint_folder(tmp_path / "set", 3, ("red rows", "blue columns")).rglob("*.png"))


def test_an_interrupted_cache_goes_on(paths, tmp_path, monkeypatch):
    torch.manual_seed(0)
    tower = tiny_clip()
    whole = cache_features(tower, paths, tmp_path / "whole", log=lambda line: None)
    with torch.inference_mode():
        out = tower(torch.stack([centre_view(read_rgb(path), tower.spec) for path in paths]))
    np.testing.assert_allclose(whole.tokens, out.tokens, atol=0.01)
    np.testing.assert_allclose(whole.embeddings, out.embedding, atol=0.01)
    monkeypatch.setattr(cache, "SAVE_EVERY", 2)

    def stop(line):
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="2 of 6"):
        cache_features(tower, paths, tmp_path / "broken", batch_size=1, log=stop)
    with pytest.raises(TrainingError, match="not finished"):
        read_features(tmp_path / "broken")
    lines = []
    resumed = cache_features(tower, paths, tmp_path / "broken", batch_size=1, log=lines.append)
    assert lines == ["broken: 4 of 6 images", "broken: 6 of 6 images"]
    np.testing.assert_allclose(resumed.tokens, whole.tokens, atol=0.01)
    assert resumed.key == whole.key


def test_embeddings_alone_can_be_kept(paths, tmp_path, monkeypatch):
    torch.manual_seed(0)
    tower = tiny_clip()
    whole = cache_features(tower, paths, tmp_path / "whole", batch_size=1, log=lambda line: None)
    monkeypatch.setattr(cache, "SAVE_EVERY", 2)

    def stop(line):
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="2 of 6"):
        cache_features(tower, paths, tmp_path / "alone", batch_size=1, keep_tokens=False, log=stop)
    lines = []
    alone = cache_features(tower, paths, tmp_path / "alone", batch_size=1, keep_tokens=False, log=lines.append)
    assert lines == ["alone: 4 of 6 images", "alone: 6 of 6 images"]
    np.testing.assert_array_equal(alone.embeddings, whole.embeddings)
    assert alone.tokens.shape == (0, *whole.tokens.shape[1:])
    with pytest.raises(TrainingError, match="other images or another tower"):
        cache_features(tower, paths, tmp_path / "alone")


def test_the_cache_of_other_images_or_another_tower_is_refused(paths, tmp_path):
    torch.manual_seed(0)
    tower, folder = tiny_clip(), tmp_path / "cache"
    cache_features(tower, paths, folder, log=lambda line: None)
    for other, listed in ((tower, paths[:-1]), (tiny_clip(), paths)):
        with pytest.raises(TrainingError, match="other images or another tower"):
            cache_features(other, listed, folder)
    with pytest.raises(TrainingError, match="holds no feature cache"):
        read_features(tmp_path / "none")
    paths[0].write_bytes(b"no image")
    with pytest.raises(TrainingError, match=f"cannot read the image .*{paths[0].name}"):
        cache_features(tower, paths, tmp_path / "new")


def test_pooled_tokens_are_means_of_patches_and_the_prefix_stays():
    spec = TowerSpec("x", 32, (0, 0, 0), (1, 1, 1), 5, 4, 1, 0)
    tokens = torch.randn(3, 17, 5)
    pooled = pool_patches(tokens, spec, 2)
    assert torch.equal(pooled[:, 0], tokens[:, 0])
    square = tokens[:, 1:].reshape(3, 4, 4, 5).permute(0, 3, 1, 2)
    wanted = functional.avg_pool2d(square, 2).permute(0, 2, 3, 1).reshape(3, 4, 5)
    assert torch.allclose(pooled[:, 1:], wanted, atol=1e-6)
    assert torch.allclose(pooled[0, 1], tokens[0, [1, 2, 5, 6]].mean(0), atol=1e-6)  # the upper left corner


def test_derived_tokens_are_aligned_then_pooled_and_kept(paths, tmp_path):
    torch.manual_seed(0)
    tower = tiny_clip()
    features = cache_features(tower, paths, tmp_path / "cache", log=lambda line: None)
    made = derive_tokens(features, tower, tmp_path / "aligned-2.npy", 2, aligned=True)
    assert made.shape == (6, 5, 8)
    with torch.inference_mode():
        wanted = pool_patches(tower.align(torch.from_numpy(np.asarray(features.tokens, "float32"))), tower.spec, 2)
    np.testing.assert_allclose(made, wanted, atol=0.01)
    raw = derive_tokens(features, tower, tmp_path / "tokens-4.npy", 4, aligned=False)
    assert np.array_equal(raw, features.tokens)
    kept = (tmp_path / "aligned-2.npy").stat().st_mtime_ns
    derive_tokens(features, tower, tmp_path / "aligned-2.npy", 2, aligned=True)
    assert (tmp_path / "aligned-2.npy").stat().st_mtime_ns == kept
