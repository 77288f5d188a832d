"""A ViT as the trunk: CLIP's weights, four bits each, and the network around it."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from rszsl.errors import TrainingError
from rszsl.model.backbone import trunk_of
from rszsl.model.dsva import Dsva, Shape
from rszsl.model.packing import BYTE, GROUP, NIBBLE, count_numbers, pack_groups, unpack_groups
from rszsl.model.vit import VitTrunk
from rszsl.training.clip_trunk import load_clip_trunk, settle_trunk
from rszsl.training.data import LabelledImage
from rszsl.training.squeeze import round_matrix, squeeze_trunk
from rszsl.training.train import plain_attributes
from rszsl.training.trunk import cache_features, lower_shape, run_lower

BLOCKS = 2


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=BLOCKS, num_attention_heads=12, image_size=64,
        patch_size=16, projection_dim=8,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


@pytest.fixture(scope="module")
def folder(tower, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tower")
    tower.save_pretrained(folder)
    return folder


def pixels(count=3, side_px=32, seed=1):
    return torch.randn(count, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed))


def bundled_kind(depth=BLOCKS):
    torch.manual_seed(0)
    shape = Shape(
        input_px=32, attributes=5, embed_dim=24, depth=1, heads=2, embedding_dim=6, direct=1, trunk_depth=depth
    )
    return Dsva(shape).eval()


@torch.inference_mode()
def test_a_trunk_says_what_the_tower_says_also_at_another_size(tower, folder):
    for side_px in (64, 32):
        trunk = VitTrunk(side_px, BLOCKS).eval()
        load_clip_trunk(trunk, folder)
        first, patches = trunk(pixels(side_px=side_px))
        wanted = tower.vision_model(pixels(side_px=side_px), interpolate_pos_encoding=True)
        torch.testing.assert_close(first[:, :, 0, 0], wanted.pooler_output, atol=1e-5, rtol=1e-5)
        normal = tower.vision_model.post_layernorm(wanted.last_hidden_state)[:, 1:]
        torch.testing.assert_close(patches.flatten(2).transpose(1, 2), normal, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_fewer_blocks_are_the_first_ones(tower, folder):
    trunk = VitTrunk(64, 1).eval()
    load_clip_trunk(trunk, folder)
    hidden = tower.vision_model(pixels(side_px=64), output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(trunk.lower(pixels(side_px=64)), hidden, atol=1e-5, rtol=1e-5)


def test_another_folder_is_no_tower(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"cannot take a CLIP ViT-B/16 image tower from .*name its folder"):
        load_clip_trunk(VitTrunk(32, 1), tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(TrainingError, match="position_embedding"):
        load_clip_trunk(VitTrunk(32, 1), tmp_path)
    with pytest.raises(TrainingError, match=r"encoder\.layers\.2"):
        load_clip_trunk(VitTrunk(32, 3), folder)


@pytest.mark.parametrize(("bits", "share"), [(NIBBLE, 1.0), (BYTE, 2.0)])
def test_packing_is_off_by_half_a_step_and_repeats_itself(bits, share):
    matrix = torch.randn(16, 2 * GROUP, generator=torch.Generator().manual_seed(2))
    packed = pack_groups("a", matrix, bits)
    assert sum(t.numel() * t.element_size() for t in packed.values()) == 16 * 2 * (GROUP * share / 2 + 4)
    found = unpack_groups({**packed, "b": matrix})
    assert found["b"] is matrix
    step = packed["a:steps"][..., 0].float().repeat_interleave(GROUP, 1)
    inside = (matrix - found["a"]).abs() <= step * 0.51
    # What a narrower span cuts off is further away, and seldom.
    assert inside.float().mean() > 0.95
    again = pack_groups("a", found["a"], bits)
    torch.testing.assert_close(unpack_groups(again)["a"], found["a"], atol=float(step.max()) / 50, rtol=0)
    assert count_numbers({name: tuple(t.shape) for name, t in {**packed, "b": matrix}.items()}) == 2 * matrix.numel()


def test_equal_weights_are_packed_too():
    for value in (0.0, 0.25):
        assert torch.equal(unpack_groups(pack_groups("a", torch.full((2, GROUP), value), NIBBLE))["a"].unique(),
                           torch.tensor([value]))  # fmt: skip


def test_rounding_makes_good_what_it_gets_wrong():
    rng = torch.Generator().manual_seed(3)
    matrix = torch.randn(32, 2 * GROUP, generator=rng)
    # Inputs that move together, as a network's do.
    rows = torch.randn(2000, 12, generator=rng) @ torch.randn(12, 2 * GROUP, generator=rng)
    rows += 0.1 * torch.randn(2000, 2 * GROUP, generator=rng)

    def wrong(rounded):
        return float((rows @ (matrix - rounded).T).square().mean())

    nearest = unpack_groups(pack_groups("a", matrix, NIBBLE))["a"]
    rounded = round_matrix(matrix, rows.T @ rows)
    assert wrong(rounded) < wrong(nearest) / 3
    assert all(len(group.unique()) <= 16 for row in rounded for group in row.split(GROUP))


def test_a_squeezed_trunk_is_read_back_as_it_was(folder):
    trunk, kept = VitTrunk(32, 1).eval(), VitTrunk(32, 1).eval()
    for each in (trunk, kept):
        load_clip_trunk(each, folder)
    lines = []
    squeeze_trunk(trunk, [pixels(4), pixels(4, seed=5)], lines.append)
    assert lines == ["trunk: block 1 of 1 in 4 bits"]
    rounded = trunk.vit.blocks[0].mlp.fc1.weight.clone()
    settle_trunk(trunk)
    once = {name: value.clone() for name, value in trunk.state_dict().items()}
    torch.testing.assert_close(once["vit.blocks.0.mlp.fc1.weight"], rounded, atol=1e-3, rtol=0)
    assert not torch.equal(rounded, kept.vit.blocks[0].mlp.fc1.weight)
    settle_trunk(trunk)
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(value, once[name], atol=1e-4, rtol=0)


def test_what_the_cache_holds_is_what_the_network_sees(folder):
    net = bundled_kind()
    load_clip_trunk(trunk_of(net.backbone), folder)
    with torch.inference_mode():
        torch.nn.init.normal_(net.direct_head.weight)
        tokens = run_lower(trunk_of(net.backbone), pixels())
        wanted = net(pixels())
    assert tuple(tokens.shape[1:]) == lower_shape(trunk_of(net.backbone), 32) == (5, 768)
    found = plain_attributes(net, tokens[:, None].half(), torch.tensor([2, 0]))
    np.testing.assert_allclose(found, wanted.attributes[[2, 0]].numpy(), atol=2e-3)
    assert wanted.maps.shape == (3, 5, 2, 2)


def test_features_are_taken_up_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("rszsl.training.trunk.STEP", 2)
    monkeypatch.setattr("rszsl.training.trunk.STEPS_KEPT", 1)
    rng, images = np.random.default_rng(4), []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (40, 36, 3)).astype("uint8")).save(path)
        images.append(LabelledImage(path, "aid", "a"))
    trunk = VitTrunk(32, 1).eval()
    load_clip_trunk(trunk, folder)

    def features(name, log):
        return cache_features(images, trunk, 32, 2, 7, tmp_path / name, log)

    whole = features("whole.npy", lambda line: None)
    assert whole.shape == (5, 2, 5, 768) and whole.dtype == torch.float16
    seen = []

    def stop(line):
        seen.append(line)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features("broken.npy", stop)
    assert not (tmp_path / "broken.npy").exists()
    # The second step was interrupted before it was noted; the first is not done again.
    part = np.lib.format.open_memmap(tmp_path / "broken.tmp.npy", "r+")
    part[:2] = 0.5
    part.flush()
    again = features("broken.npy", seen.append)
    assert seen == [f"features: {n} of 5 images" for n in (2, 4, 4, 5)]
    assert (again[:2] == 0.5).all()
    torch.testing.assert_close(again[2:], whole[2:])
    assert not (tmp_path / "broken.rows").exists()
    with pytest.raises(TrainingError, match=r"the recipe wants .*delete it"):
        cache_features(images[:3], trunk, 32, 2, 7, tmp_path / "whole.npy", seen.append)
