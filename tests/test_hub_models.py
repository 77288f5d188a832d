"""Models from elsewhere: small random ones with real configurations, loaded offline, against their own libraries."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub_models import CLIP_PX, OPEN_CLIP_PX, library_embeddings, save_clip, save_open_clip, save_siglip
from PIL import Image

import rszsl
from rszsl.classes import ClassName, parse_classes
from rszsl.cli import main
from rszsl.errors import ModelError
from rszsl.model.checkpoint import find_model, list_cards, list_models
from rszsl.model.hub.card import is_hub_card, read_hub_card
from rszsl.model.hub.source import parse_source
from rszsl.model.hub.store import trust_on_first_use
from rszsl.output.cache import open_cache

pytest.importorskip("transformers", reason="the extra `hub` is not installed")
pytest.importorskip("open_clip", reason="the extra `hub` is not installed")

SAVERS = {
    "clip": save_clip,
    "siglip": save_siglip,
    "open_clip": save_open_clip,
    "open_clip squash": lambda folder: save_open_clip(folder, mode="squash"),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path_factory):
    home = tmp_path_factory.getbasetemp() / "rszsl-home"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("RSZSL_HOME", str(home))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name.replace(" ", "-")) for name, save in SAVERS.items()}


@pytest.fixture(scope="module")
def ucm(shared_data):
    """50 real images, evenly over the classes: uint8 (256, 256, 3) each."""
    files = sorted(shared_data.glob("ucm/*/*.jpg"))[::42]
    return [np.array(Image.open(file).convert("RGB")) for file in files]


@pytest.fixture(scope="module")
def clip(folders, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSZSL_HOME", str(tmp_path_factory.getbasetemp() / "rszsl-home"))
        return rszsl.load_model(str(folders["clip"]), device="cpu")


@pytest.mark.parametrize("name", SAVERS)
def test_whole_images_are_embedded_as_the_library_embeds_them(folders, ucm, name):
    assert len(ucm) == 50
    ours = rszsl.load_model(str(folders[name]), device="cpu").encode_images(ucm).embedding
    theirs = library_embeddings(folders[name], ucm)
    assert theirs.std(0).max() > 1e-3  # the images do not all look alike to it
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize("name", ["clip", "siglip", "open_clip"])
def test_images_of_any_shape_are_embedded_as_the_library_embeds_them(folders, noise, name):
    rows, cols = np.mgrid[0:300, 0:300]
    smooth = np.stack([rows, cols, (rows * cols) // 300], -1) * 255 // 300
    images = [smooth[:h, :w].astype("uint8") for h, w in ((300, 211), (201, 300), (131, 97), (64, 300))]
    ours = rszsl.load_model(str(folders[name]), device="cpu").encode_images(images).embedding
    np.testing.assert_allclose(ours, library_embeddings(folders[name], images), atol=1e-3)


@pytest.mark.parametrize(("name", "side"), [("clip", CLIP_PX), ("siglip", 96), ("open_clip", OPEN_CLIP_PX)])
def test_tiles_of_a_map_are_embedded_as_the_library_embeds_them(folders, ucm, make_raster, tmp_path, name, side):
    patches = [image[:side, :side] for image in ucm]
    mosaic = np.concatenate([np.concatenate(patches[i : i + 10], 1) for i in range(0, 50, 10)], 0)
    scene = make_raster(mosaic.transpose(2, 0, 1))
    model = rszsl.load_model(str(folders[name]), device="cpu")
    cache = rszsl.embed_scene(scene, cache=tmp_path / "c.rszsl-cache", model=model, batch_size=7, gsd_m=1.0)
    tiles = list(open_cache(cache).batches())
    ours = np.concatenate([t.embedding for t in tiles]).astype("float32")
    np.testing.assert_allclose(ours, library_embeddings(folders[name], patches), atol=1e-3)


def test_a_map_by_clip_names_no_attributes_and_says_that_it_is_not_calibrated(folders, ucm, make_raster, tmp_path):
    mosaic = np.concatenate([image[:CLIP_PX, :CLIP_PX] for image in ucm[:6]], 1).transpose(2, 0, 1)
    result = rszsl.map_scene(
        make_raster(mosaic),
        "forest,river",
        model=str(folders["clip"]),
        output=tmp_path / "o.gpkg",
        cache=tmp_path / "c.rszsl-cache",
        min_confidence=0.0,
    )
    assert result.counts.labelled == 6
    (warning,) = result.warnings
    assert "not calibrated" in warning and "ground sample distance" in warning
    tiles = result.tiles
    assert tiles["note"].eq(warning).all()
    assert tiles["attribute_1"].isna().all() and tiles["contribution_1"].isna().all()
    assert tiles["confidence"].between(0, 1).all() and tiles["similarity"].between(-1, 1).all()
    again = rszsl.relabel(
        tmp_path / "c.rszsl-cache", "forest,river", output=tmp_path / "again.gpkg", min_confidence=0.0
    )
    assert again.tiles["confidence"].tolist() == tiles["confidence"].tolist()
    assert len(rszsl.search(tmp_path / "c.rszsl-cache", "forest", top=3)) == 3


def test_the_confidence_is_the_softmax_against_the_strongest_background(clip, ucm):
    from rszsl.labels.calibrate import score

    encoded, rows = clip.encode_images(ucm[:5]), clip.class_rows(parse_classes("forest")).rows
    loose = clip.background_rows @ rows[0] < clip.calibrator.background_max_cosine
    scale = float(clip.towers.network.logit_scale.detach().exp())
    logits = scale * np.stack([encoded.embedding @ rows[0], (encoded.embedding @ clip.background_rows[loose].T).max(1)])
    expected = np.exp(logits[0]) / np.exp(logits).sum(0)
    got = score(encoded.attributes, rows, clip.background_rows, clip.calibrator).confidence[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_no_tiles_give_no_rows(clip):
    assert clip.encode(np.zeros((0, 3, CLIP_PX, CLIP_PX), "float32")).embedding.shape == (0, 32)
    with pytest.raises(ModelError, match=r"wants tiles"):
        clip.encode(np.zeros((1, 3, 8, 8), "float32"))


def test_a_pickle_needs_trust_and_then_says_the_same(folders, tmp_path, ucm):
    folder = save_clip(tmp_path / "pickled", pickle=True)
    with pytest.raises(ModelError, match="--trust-pickle"):
        rszsl.load_model(str(folder), device="cpu")
    trusted = rszsl.load_model(str(folder), device="cpu", trust_pickle=True)
    safe = rszsl.load_model(str(folders["clip"]), device="cpu")
    np.testing.assert_allclose(
        trusted.encode_images(ucm[:3]).embedding, safe.encode_images(ucm[:3]).embedding, atol=1e-6
    )


class Harmful:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_pickle_that_would_run_code_is_not_read(folders, tmp_path, capsys):
    folder = shutil.copytree(folders["clip"], tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        rszsl.load_model(str(folder), device="cpu", trust_pickle=True)
    torch.save({"weights": Harmful()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="holds more than weights"):
        rszsl.load_model(f"open_clip:ViT-B-32/{tmp_path / 'evil.pt'}", device="cpu", trust_pickle=True)
    assert "code was run" not in capsys.readouterr().out


def test_an_open_clip_checkpoint_is_read_by_architecture_and_path(folders, tmp_path, ucm):
    import open_clip
    from hub_models import OPEN_CLIP_CONFIG
    from safetensors.torch import load_file

    (tmp_path / "ViT-tiny-test.json").write_text(json.dumps(OPEN_CLIP_CONFIG["model_cfg"]))
    open_clip.add_model_config(tmp_path)
    weights = load_file(folders["open_clip"] / "open_clip_model.safetensors")
    file = tmp_path / "epoch_20.pt"  # as open_clip's own training writes it
    torch.save({"epoch": 20, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, file)
    with pytest.raises(ModelError, match="--trust-pickle"):
        rszsl.load_model(f"open_clip:ViT-tiny-test/{file}", device="cpu")
    model = rszsl.load_model(f"open_clip:ViT-tiny-test/{file}", device="cpu", trust_pickle=True)
    np.testing.assert_allclose(
        model.encode_images(ucm[:3]).embedding, library_embeddings(folders["open_clip"], ucm[:3]), atol=1e-3
    )
    with pytest.raises(ModelError, match="does not fit its architecture"):
        rszsl.load_model(f"open_clip:ViT-B-32/{file}", device="cpu", trust_pickle=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai/clip-vit-base-patch99", r"hub cannot be reached.*bundled: dsva-base, dsva-small.*rszsl models pull"),
        ("hf:openai/clip-vit-base-patch99@main", r"hub cannot be reached"),
        ("clip-vit-b-16", r"cannot fetch clip-vit-b-16: the hub cannot be reached"),
        ("remoteclip-vit-b-32", r"cannot fetch remoteclip-vit-b-32"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", r"hub cannot be reached"),
        ("open_clip:ViT-B-32/no-such-tag", r"it knows .*laion2b"),
        ("open_clip:ViT-B-32/no/such.pt", r"no file no/such.pt"),
        ("open_clip:ViT-B-32", r"names no weights"),
        ("hf:nonsense", r"write hf:owner/name"),
    ],
)
def test_what_cannot_be_had_is_said_plainly(name, says):
    with pytest.raises(ModelError, match=says):
        rszsl.load_model(name, device="cpu")


def test_a_hub_model_in_the_local_cache_needs_no_network(folders, tmp_path, monkeypatch, ucm):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "cache" / "models--somebody--small-clip"
    shutil.copytree(folders["clip"], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))
    for name in ("somebody/small-clip", f"hf:somebody/small-clip@{commit}"):
        model = rszsl.load_model(name, device="cpu")
        assert model.card.version == commit and model.card.name == name
    lock = json.loads((tmp_path / "home" / "models.lock.json").read_text())
    assert set(lock) == {"somebody/small-clip", f"hf:somebody/small-clip@{commit}"}
    assert all(entry == {"revision": commit, "sha256": model.card.sha256} for entry in lock.values())
    save_clip(repo / "snapshots" / commit, seed=1)  # other weights under the same name
    with pytest.raises(ModelError, match="changed since they were first used"):
        rszsl.load_model("somebody/small-clip", device="cpu")
    newer = "f" * 40
    (repo / "snapshots" / commit).rename(repo / "snapshots" / newer)
    (repo / "refs" / "main").write_text(newer)
    with pytest.raises(ModelError, match=f"of revision {newer}, .* of {commit}; if you expect that"):
        rszsl.load_model("somebody/small-clip", device="cpu")


def test_first_use_is_noted_once_and_a_change_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path))
    trust_on_first_use("a/b", "aa", pinned="1")
    trust_on_first_use("a/b", "aa", pinned="1")
    trust_on_first_use("a/b", "bb", pinned="2")
    trust_on_first_use("a/b", "bb")
    with pytest.raises(ModelError, match="a/b@1 changed"):
        trust_on_first_use("a/b", "bb", pinned="1")


def test_a_folder_that_is_no_clip_is_refused(tmp_path, folders):
    with pytest.raises(ModelError, match="is no model folder"):
        rszsl.load_model(str(tmp_path), device="cpu")
    folder = shutil.copytree(folders["clip"], tmp_path / "half")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        rszsl.load_model(str(folder), device="cpu")
    config = json.loads((folder / "config.json").read_text())
    shutil.copy(folders["clip"] / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ModelError, match="two towers"):
        rszsl.load_model(str(folder), device="cpu")


HUB_CARDS = [name for name in list_cards() if is_hub_card(find_model(name) / "card.toml")]


@pytest.mark.parametrize("name", HUB_CARDS)
def test_every_card_says_where_its_weights_are(name):
    card = read_hub_card(find_model(name) / "card.toml")
    assert card.raw["name"] == card.name == name
    assert card.input_px == 224 and 0.1 <= card.gsd_m <= 10
    assert card.source.repo or card.source.url
    assert card.source.library == "transformers" or (card.source.arch and (card.source.file or card.source.member))
    assert card.source.sha256 == "" or len(bytes.fromhex(card.source.sha256)) == 32
    assert card.source.revision == "" or len(bytes.fromhex(card.source.revision)) == 20
    assert card.raw["licence"] and card.raw["licence_note"] and card.raw["input"]["gsd_note"]
    assert all(t.count("{}") == 1 for t in card.templates)


def test_the_cards_are_those_that_we_promise():
    assert {"clip-vit-b-16", "clip-vit-b-32", "clip-rsicd-v2", "remoteclip-vit-b-32", "georsclip-vit-b-32",
            "skyclip-vit-b-32"} == set(HUB_CARDS)  # fmt: skip
    assert not set(HUB_CARDS) & set(list_models())


def run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(list(args))
    out = capsys.readouterr()
    return end.value.code, out.out, out.err


def test_models_are_listed_added_pulled_and_used_by_name(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))
    code, out, _ = run(capsys, "models", "list")
    assert code == 0 and "dsva-small\t0.8.0\t160 px at 1.5 m\tdsva\tbundled" in out
    assert "remoteclip-vit-b-32\t1\t224 px at 1 m\tclip\tto be fetched" in out
    code, out, err = run(capsys, "models", "add", "mine", str(folders["clip"]), "--gsd", "0.5",
                         "--template", "a map of {}.")  # fmt: skip
    assert code == 0, err
    code, out, _ = run(capsys, "models", "list")
    assert "mine\t1\tat 0.5 m\tclip\tfetched" in out
    code, out, _ = run(capsys, "models", "show", "mine")
    assert 'templates = ["a map of {}."]' in out
    code, out, err = run(capsys, "models", "pull", "mine")
    assert code == 0 and "sha256\t" in out, err
    model = rszsl.load_model("mine", device="cpu")
    assert model.card.gsd_m == 0.5 and model.card.name == "mine"
    assert model.class_rows(parse_classes("forest")).warnings == ("confidence is not calibrated for the model mine",)
    code, _, err = run(capsys, "models", "add", "mine", str(folders["clip"]), "--gsd", "2")
    assert code == 1 and "already" in err
    code, _, err = run(capsys, "models", "add", "../x", str(folders["clip"]), "--gsd", "2")
    assert code == 1 and "no plain name" in err
    code, _, err = run(capsys, "models", "add", "other", str(folders["clip"]), "--gsd", "2", "--template", "no place")
    assert code == 1 and "template" in err
    code, _, err = run(capsys, "attributes", "forest", "--model", "mine")
    assert code == 1 and "names no attributes" in err


def test_sources_are_read():
    assert parse_source("hf:a/b@rev").revision == "rev" and parse_source("a/b").repo == "a/b"
    assert parse_source("open_clip:ViT-B-32/openai").tag == "openai"
    assert parse_source("dsva-small") is None and parse_source("./a/b/c") is None


def test_help_imports_no_library_of_models():
    code = "import sys, rszsl.cli; print([m for m in ('torch', 'transformers', 'open_clip') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_class_is_the_mean_of_its_names_and_each_name_of_its_sentences(clip):
    texts = clip.towers.texts
    from rszsl.model.hub.prompts import default_prompts

    def phrase(words):
        with torch.inference_mode():
            rows = texts([t.format(words) for t in default_prompts().templates]).numpy()
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(0)
        return mean / np.linalg.norm(mean)

    one = phrase("barn") + phrase("cow shed")
    rows = clip.class_rows((ClassName("barn", ("cow shed",)), ClassName("barn"))).rows
    np.testing.assert_allclose(rows[0], one / np.linalg.norm(one), atol=1e-5)
    np.testing.assert_allclose(rows[1], phrase("barn"), atol=1e-5)
