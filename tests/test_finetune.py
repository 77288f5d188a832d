"""Fine-tuning: loss over processes, gradient caching, captions that forbid changes, layouts, adapters, going on."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from hub_models import save_clip
from PIL import Image
from torch import nn
from torch.nn import functional

import rszsl
from rszsl.cli import main
from rszsl.errors import TrainingError
from rszsl.finetune.augment import augment
from rszsl.finetune.captions import read_captions
from rszsl.finetune.evaluate import recalls
from rszsl.finetune.loss import contrastive_loss, gathered, same_pairs, step_in_parts, sum_gradients
from rszsl.finetune.weights import add_adapters, freeze, interpolate, load_state, merge_adapters
from rszsl.model.preprocess import Preprocess

pytest.importorskip("transformers", reason="the extra `hub` is not installed")

PLAIN = Preprocess("squash", 16, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))


class Pair(nn.Module):
    """Two towers in little."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)
        self.logit_scale = nn.Parameter(torch.tensor(1.5))

    def rows(self, images, texts):
        return functional.normalize(self.image(images), dim=-1), functional.normalize(self.text(texts), dim=-1)


def whole_batch():
    generator = torch.Generator().manual_seed(1)
    images, texts = torch.randn(8, 6, generator=generator), torch.randn(8, 5, generator=generator)
    return images, texts, same_pairs(torch.arange(8), torch.tensor([0, 1, 2, 1, 4, 5, 6, 7]))


def gradients(part, rows=slice(0, 8)):
    """Loss and gradients of this process's rows, in parts."""
    pair, (images, texts, same) = Pair(), whole_batch()
    own_images, own_texts = images[rows], texts[rows]

    def loss_of(left, right):
        return contrastive_loss(gathered(left), gathered(right), pair.logit_scale.exp(), same)

    loss = step_in_parts(lambda s: pair.rows(own_images[s], own_texts[s]), loss_of, len(own_images), part)
    sum_gradients(list(pair.parameters()), [pair.logit_scale])
    return float(loss), {name: p.grad.clone() for name, p in pair.named_parameters()}


def one_of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    loss, grads = gradients(part=2, rows=slice(4 * rank, 4 * rank + 4))
    torch.save({"loss": loss, "grads": grads}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path):
    multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    loss, grads = gradients(part=8)
    for rank in range(2):
        said = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert said["loss"] == pytest.approx(loss, rel=1e-6)
        for name, expected in grads.items():
            torch.testing.assert_close(said["grads"][name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part", [1, 3, 5])
def test_parts_of_a_batch_give_its_gradients(part):
    loss, grads = gradients(part=8)
    again, in_parts = gradients(part=part)
    assert again == pytest.approx(loss, rel=1e-6)
    for name, expected in grads.items():
        torch.testing.assert_close(in_parts[name], expected, rtol=1e-4, atol=1e-6)


def test_the_loss_is_clips_where_all_pairs_differ_and_forgives_equal_captions():
    images, texts = (functional.normalize(t[:, :5], dim=-1) for t in whole_batch()[:2])
    scale = torch.tensor(3.0)
    logits, truth = scale * images @ texts.T, torch.arange(8)
    expected = (functional.cross_entropy(logits, truth) + functional.cross_entropy(logits.T, truth)) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, scale, torch.eye(8, dtype=torch.bool)), expected)
    equal = torch.ones(2, 2, dtype=torch.bool)
    flat = torch.tensor([[1.0, 0], [1, 0]])
    assert float(contrastive_loss(flat, flat, scale, equal)) == pytest.approx(np.log(2), rel=1e-5)
    same = same_pairs(torch.tensor([0, 1, 0]), torch.tensor([5, 6, 6]))
    assert same.tolist() == [[True, False, True], [False, True, True], [True, True, True]]


def corner():
    """A picture whose upper left corner alone is white."""
    image = np.zeros((16, 16, 3), "uint8")
    image[:6, :6] = 255
    return image


def places(caption):
    """In which corners the white one comes out, over many draws."""
    found = set()
    for seed in range(60):
        out = augment(corner(), caption, PLAIN, np.random.default_rng(seed))[0]
        quarters = {"upper left": out[:8, :8], "upper right": out[:8, 8:], "lower left": out[8:, :8],
                    "lower right": out[8:, 8:]}  # fmt: skip
        found.add(max(quarters, key=lambda name: float(quarters[name].sum())))
    return found


def test_a_caption_with_left_or_right_forbids_mirrors_across_and_turns():
    assert places("buildings stand on the left of the road") == {"upper left", "lower left"}
    assert places("a lake lies at the top") == {"upper left", "upper right"}
    assert places("the Upper-Left part is white") == {"upper left"}
    assert places("much grass and trees") == {"upper left", "upper right", "lower left", "lower right"}
    assert places("bright roofs leftover by rights-holders")  # words within words forbid nothing


def test_words_of_brightness_forbid_changing_it():
    def brightest(caption):
        return {
            round(float(augment(corner() // 2, caption, PLAIN, np.random.default_rng(s)).max()), 4) for s in range(9)
        }

    assert len(brightest("two dark roofs on the left and top")) == 1
    assert len(brightest("two roofs on the left and top")) > 3


def test_recall_counts_any_caption_of_the_picture():
    owners = np.array([0, 0, 1, 1, 2])
    similarity = np.array([[0.1, 0.9, 0.2, 0.2, 0.3], [0.9, 0, 0.1, 0.2, 0.3], [0.1, 0.1, 0.2, 0.3, 0.4]], "float32")
    found = recalls(similarity, owners)
    assert found["image_to_text_at_1"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["text_to_image_at_1"] == pytest.approx(2 / 5, abs=1e-4)
    assert found["image_to_text_at_5"] == found["text_to_image_at_10"] == 1


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures in two colours, in a folder a class."""
    rng = np.random.default_rng(0)
    for i in range(12):
        name = ("redRoof", "meadow")[i % 2]
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.clip(np.array([(200, 30, 30), (30, 200, 30)][i % 2]) + rng.normal(0, 20, (20, 20, 3)), 0, 255)
        Image.fromarray(pixels.astype("uint8")).save(tmp_path / "pictures" / name / f"{i:02d}.png")
    return tmp_path / "pictures"


def listed(pictures):
    return [str(file.relative_to(pictures)) for file in sorted(pictures.rglob("*.png"))]


@pytest.fixture
def rsicd(pictures, tmp_path):
    images = [
        {"filename": name, "split": ("train", "train", "test")[i % 3],
         "sentences": [{"raw": f"many {name.split('/')[0]} seen {word}"} for word in ("here", "there")]}
        for i, name in enumerate(listed(pictures))
    ]  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    return tmp_path / "dataset.json"


def test_layouts_say_the_same(rsicd, pictures, tmp_path):
    expected = read_captions(rsicd, pictures, "train")
    assert (
        len(expected) == 8 and len(expected[0].captions) == 2 and {p.label for p in expected} == {"redRoof", "meadow"}
    )
    folder = tmp_path / "precomp"
    folder.mkdir()
    names = [str(pair.file.relative_to(pictures)) for pair in expected]
    (folder / "train_filename.txt").write_text("\n".join(names))
    (folder / "train_caps.txt").write_text("\n".join(caption for pair in expected for caption in pair.captions))
    assert read_captions(folder, pictures, "train") == expected
    lines = [f"{name},{caption},train" for name, pair in zip(names, expected, strict=True) for caption in pair.captions]
    (tmp_path / "c.csv").write_text("\n".join(["filepath,title,split", *lines, "x.png,other,test"]))
    assert read_captions(tmp_path / "c.csv", pictures, "train") == expected
    (tmp_path / "tars" / "train").mkdir(parents=True)
    with tarfile.open(tmp_path / "tars" / "train" / "0.tar", "w") as sink:
        for i, pair in enumerate(expected):
            for suffix, raw in (("png", pair.file.read_bytes()), ("txt", pair.captions[0].encode())):
                info = tarfile.TarInfo(f"{i:04d}.{suffix}")
                info.size = len(raw)
                sink.addfile(info, io.BytesIO(raw))
    packed = read_captions(tmp_path / "tars", None, "train")
    assert [p.captions for p in packed] == [p.captions[:1] for p in expected]
    np.testing.assert_array_equal(packed[3].pixels(), expected[3].pixels())
    with pytest.raises(TrainingError, match="no pictures with captions"):
        read_captions(rsicd, pictures, "val")
    with pytest.raises(TrainingError, match=r"no picture .*--images"):
        read_captions(rsicd, tmp_path, "train")


def test_the_captions_of_uc_merced_belong_to_its_classes(shared_data):
    assert len(read_captions(shared_data / "captions" / "ucm_precomp", shared_data / "ucm", "test")) == 110
    found = read_captions(shared_data / "captions" / "ucm_precomp", shared_data / "ucm", "train")
    assert len(found) == 1480 and all(len(pair.captions) == 5 for pair in found)
    words = {"airplane": "airplane", "beach": "beach", "forest": "forest", "river": "river", "harbor": "boat"}
    for label, word in words.items():
        told = [any(word in caption for caption in pair.captions) for pair in found if pair.label == label]
        assert told and np.mean(told) > 0.7, label


@pytest.fixture
def clip_folder(tmp_path):
    return save_clip(tmp_path / "base")


def run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    return said.out


SHORT = ("--batch-size", "4", "--lr", "1e-3", "--device", "cpu", "--part-size", "3")


def test_it_learns_goes_on_and_is_a_model(rsicd, pictures, clip_folder, tmp_path, capsys):
    common = ("finetune-clip", rsicd, "--images", pictures, "--model", clip_folder, *SHORT)
    out = run(capsys, *common, "--epochs", "2", "--out", tmp_path / "once")
    assert "8 pictures to learn from, 4 to test on" in out
    history = json.loads((tmp_path / "once" / "history.json").read_text())["epochs"]
    assert [record["epoch"] for record in history] == [0, 1, 2] and history[2]["loss"] < history[1]["loss"]
    assert {"image_to_text_at_1", "text_to_image_at_10", "mean_recall", "zero_shot"} <= set(history[2])
    # Stopped after the first epoch, then gone on with: the same weights.
    stopped = tmp_path / "twice"
    with pytest.MonkeyPatch.context() as patch:
        from rszsl.finetune import train

        keep = train._keep

        def interrupted(*args):
            keep(*args)
            raise KeyboardInterrupt

        patch.setattr(train, "_keep", interrupted)
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in (*common, "--epochs", "2", "--out", stopped)])
        assert end.value.code == 130
    capsys.readouterr()
    run(capsys, *common, "--epochs", "2", "--out", stopped, "--resume", "--interpolate", "0.5")
    first, second = (load_state(tmp_path / name / "model.safetensors") for name in ("once", "twice"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(
        first["visual_projection.weight"], load_state(clip_folder / "model.safetensors")["visual_projection.weight"]
    )
    assert rszsl.load_model(str(stopped), device="cpu").card.input_px == 224
    mixed = tmp_path / "mixed"
    run(capsys, "models", "interpolate", clip_folder, stopped, "--share", "0.25", "--out", mixed)
    base, tuned, got = (load_state(f / "model.safetensors")["logit_scale"] for f in (clip_folder, stopped, mixed))
    torch.testing.assert_close(got, 0.75 * base + 0.25 * tuned)
    half = load_state(stopped / "interpolated" / "model.safetensors")["logit_scale"]
    torch.testing.assert_close(half, (base + tuned) / 2)


def test_adapters_learn_alone_and_are_folded_in(clip_folder):
    pytest.importorskip("peft", reason="the extra `train` is not installed")
    from transformers import CLIPModel

    network = CLIPModel.from_pretrained(clip_folder).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    add_adapters(network, 2)
    learning = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or name == "logit_scale" for name in learning) and len(learning) > 8
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    merged = merge_adapters(network)
    assert set(merged) == set(before)
    plain = CLIPModel.from_pretrained(clip_folder).eval()
    plain.load_state_dict(merged)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (n.vision_model(pixels).pooler_output for n in (plain, network))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.equal(merged["vision_model.encoder.layers.0.self_attn.q_proj.weight"],
                           before["vision_model.encoder.layers.0.self_attn.q_proj.weight"])  # fmt: skip


def test_freezing(clip_folder):
    from transformers import CLIPModel

    network = CLIPModel.from_pretrained(clip_folder)

    def learning(what):
        freeze(network, what)
        return {name.split(".")[0] for name, weight in network.named_parameters() if weight.requires_grad}

    assert learning("image") == {"text_model", "text_projection", "logit_scale"}
    assert learning("text") == {"vision_model", "visual_projection", "logit_scale"}
    assert learning("towers") == {"visual_projection", "text_projection", "logit_scale"}
    assert len(learning("nothing")) == 5


def test_only_models_of_one_shape_are_mixed():
    one, two = {"a": torch.zeros(2), "n": torch.tensor(3)}, {"a": torch.ones(2), "n": torch.tensor(3)}
    assert interpolate(one, two, 0.25)["a"].tolist() == [0.25, 0.25]
    with pytest.raises(TrainingError, match="one architecture"):
        interpolate(one, {"a": torch.ones(3), "n": torch.tensor(3)}, 0.5)
