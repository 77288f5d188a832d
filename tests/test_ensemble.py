"""Several CLIP-like models as one: small random ones of different sizes, joined with +."""

import geopandas as gpd
import numpy as np
import pytest
from hub_models import CLIP_PX, OPEN_CLIP_PX, save_clip, save_open_clip
from PIL import Image

import rszsl
from rszsl.classes import parse_classes
from rszsl.cli import main
from rszsl.errors import CacheError, ModelError
from rszsl.labels.calibrate import score
from rszsl.model.hub.source import member_names, parse_source

pytest.importorskip("transformers", reason="the extra `hub` is not installed")
pytest.importorskip("open_clip", reason="the extra `hub` is not installed")

NAMES = parse_classes("forest,river,quarry")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where rszsl keeps its things, and no network: for the module, as its models are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("RSZSL_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def folders(home, tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    return [str(save_clip(root / "large")), str(save_open_clip(root / "small"))]


@pytest.fixture(scope="module")
def members(folders):
    return [rszsl.load_model(folder, device="cpu") for folder in folders]


@pytest.fixture(scope="module")
def both(folders):
    return rszsl.load_model("+".join(folders), device="cpu")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (6, 8, 8, 3), dtype="uint8")
    return [
        np.array(Image.fromarray(picture).resize((CLIP_PX, CLIP_PX), Image.Resampling.BICUBIC)) for picture in rough
    ]


def cosines(model, pictures):
    return model.encode_images(pictures).attributes @ model.class_rows(NAMES).rows.T


def test_the_similarity_is_the_mean_of_the_members(both, members, pictures):
    alone = [cosines(member, pictures) for member in members]
    assert np.abs(alone[0] - alone[1]).max() > 0.01  # they do not say the same
    np.testing.assert_allclose(cosines(both, pictures), np.mean(alone, axis=0), atol=1e-6)
    for rows in (both.encode_images(pictures).embedding, both.class_rows(NAMES).rows, both.background_rows):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_the_confidence_is_that_of_the_mean_similarity_at_the_mean_scale(both, members, pictures):
    scale = np.mean([float(member.calibrator.weight_margin) for member in members])
    tiles, row = both.encode_images(pictures).attributes, both.class_rows(NAMES).rows[:1]
    loose = both.background_rows[both.background_rows @ row[0] < both.calibrator.background_max_cosine]
    margin = tiles @ row[0] - (tiles @ loose.T).max(1)
    got = score(tiles, row, both.background_rows, both.calibrator).confidence[:, 0]
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-scale * margin)), rtol=1e-3)


def test_tiles_are_read_at_the_largest_side_and_made_smaller_for_the_others(both, members, pictures):
    assert both.card.input_px == CLIP_PX > members[1].card.input_px == OPEN_CLIP_PX
    tiles = np.stack(pictures).transpose(0, 3, 1, 2).astype("float32") / 255
    side = (OPEN_CLIP_PX, OPEN_CLIP_PX)
    small = [[np.array(Image.fromarray(b).resize(side, Image.Resampling.BICUBIC)) for b in tile] for tile in tiles]
    parts = [members[0].encode(tiles).embedding, members[1].encode(np.array(small).clip(0, 1)).embedding]
    np.testing.assert_allclose(both.encode(tiles).embedding, np.concatenate(parts, 1) / np.sqrt(2), atol=1e-3)
    assert both.encode(tiles[:0]).embedding.shape == (0, parts[0].shape[1] + parts[1].shape[1])
    with pytest.raises(ModelError, match="wants tiles"):
        both.encode(tiles[:, :, :8, :8])


def test_the_first_member_says_how_much_ground_and_the_others_are_told(both, folders):
    assert both.card.gsd_m == 1.0
    (said,) = both.class_rows(NAMES).warnings
    assert "not calibrated" in said and f"tiles cover {CLIP_PX} m" in said and f"wants {OPEN_CLIP_PX} m" in said
    turned = rszsl.load_model("+".join(reversed(folders)), device="cpu")
    assert turned.card.input_px == CLIP_PX and turned.card.gsd_m * CLIP_PX == pytest.approx(OPEN_CLIP_PX)


def test_a_map_names_all_members_and_its_cache_is_theirs_alone(both, members, folders, pictures, make_raster, tmp_path):
    scene = make_raster(np.concatenate(pictures, 1).transpose(2, 0, 1))
    kept = tmp_path / "c.rszsl-cache"
    result = rszsl.map_scene(
        scene, "forest,river", model="+".join(folders), output=tmp_path / "o.gpkg", cache=kept, min_confidence=0.0
    )
    assert result.counts.labelled == len(pictures)
    run = gpd.read_file(result.path, layer="runs").iloc[0]
    assert run["model"] == f"{'+'.join(folders)} {'+'.join(member.card.version for member in members)}"
    assert run["model_sha256"] == "+".join(member.card.sha256 for member in members)
    assert all(len(bytes.fromhex(part)) == 32 for part in run["model_sha256"].split("+"))
    again = rszsl.relabel(kept, "forest,river", output=tmp_path / "again.gpkg", min_confidence=0.0)
    assert again.tiles["similarity"].tolist() == result.tiles["similarity"].tolist()
    with pytest.raises(CacheError, match="was made with another"):
        rszsl.relabel(kept, "forest,river", model=members[0], output=tmp_path / "no.gpkg")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dsva-small+clip-vit-b-16", r"dsva-small cannot be part of dsva-small\+clip-vit-b-16.*CLIP-like"),
        ("clip-vit-b-16+dsva-small", r"dsva-small cannot be part"),
        ("clip-vit-b-16+", r"is no ensemble"),
        ("clip-vit-b-16+clip-vit-b-16", r"different models"),
        ("clip-vit-b-16+no-such", r'no model "no-such"'),
    ],
)
def test_what_cannot_be_joined_is_said_before_anything_is_fetched(home, text, says):
    with pytest.raises(ModelError, match=says):
        rszsl.load_model(text, device="cpu")


def test_an_ensemble_is_no_model_to_fetch(home, capsys):
    with pytest.raises(SystemExit) as end:
        main(["models", "pull", "clip-vit-b-16+clip-vit-b-32"])
    assert end.value.code == 1 and "name one of its models" in capsys.readouterr().err


def test_a_folder_with_a_plus_is_one_model(folders, tmp_path):
    folder = save_clip(tmp_path / "a+b")
    assert member_names(str(folder)) == (str(folder),)
    assert rszsl.load_model(str(folder), device="cpu").card.input_px == CLIP_PX
    assert member_names("a + b") == ("a", "b")


def test_a_mistyped_path_is_not_taken_for_a_repository(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"the folder models has no model mien \(it has: mine\).*hf:models/mien"):
        parse_source("models/mien")
    assert parse_source("hf:models/mien").repo == "models/mien"
    assert parse_source("elsewhere/mien").repo == "elsewhere/mien"
