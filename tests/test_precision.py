"""In which arithmetic a model runs, and what is done where a batch does not fit the memory."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import torch
from batches import CLASSES
from fakes import ColourModel, painted
from safetensors.torch import save_file

import rszsl
from rszsl.batch.checkpoint import checkpoint_of
from rszsl.cli import main
from rszsl.errors import CacheError, ModelError, OptionError
from rszsl.model import precision as rule
from rszsl.model.heads import DsvaHeads
from rszsl.model.precision import choose_precision
from rszsl.model.towers.build import build_tower
from rszsl.model.trained import assemble, describe, pack
from rszsl.output.cache import HEADER, open_cache
from rszsl.pipeline.fitting import FittingEncoder
from rszsl.progress import Silent

CPU = torch.device("cpu")


def card(**precision):
    return SimpleNamespace(name="some", raw={"precision": precision} if precision else {})


@pytest.fixture
def tiles(model):
    side = model.card.input_px
    rows, cols = np.mgrid[0:side, 0:side].astype("float32") / side
    ramp = np.stack([rows, cols, 1 - rows])
    stripes = np.stack([np.sin(20 * cols) * 0.5 + 0.5, np.full_like(rows, 0.4), rows * 0.3])
    return np.stack([ramp, stripes]).astype("float32")


@pytest.mark.parametrize(
    ("agreement", "able", "chosen"),
    [(0.995, True, "bf16"), (1.0, False, "fp32"), (0.994, True, "fp32"), (None, True, "fp32")],
)
def test_auto_needs_both_the_device_and_the_labels(agreement, able, chosen, monkeypatch):
    monkeypatch.setattr(rule, "multiplies_bf16", lambda device: able)
    told = card() if agreement is None else card(bf16_agreement=agreement)
    assert choose_precision("auto", CPU, told) == chosen
    assert choose_precision("fp32", CPU, told) == "fp32" and choose_precision("bf16", CPU, told) == "bf16"


@pytest.mark.parametrize(
    ("asked", "device", "says"),
    [
        ("int8", "cpu", "some has none; use --precision bf16"),
        ("bf16", "mps", "not for mps; use --precision fp32"),
        ("half", "cpu", 'unknown precision "half"; use auto, fp32, bf16, int8'),
    ],
)
def test_what_cannot_be_done_is_refused(asked, device, says):
    with pytest.raises(ModelError, match=says):
        choose_precision(asked, torch.device(device), card())


def test_a_cpu_that_cannot_say_has_no_bf16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)
    assert not rule.multiplies_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert rule.multiplies_bf16(CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not rule.multiplies_bf16(CPU) and not rule.multiplies_bf16(torch.device("mps"))


def test_options_refuse_an_unknown_precision():
    with pytest.raises(OptionError, match='--precision "half" is none of auto, fp32, bf16, int8'):
        rszsl.MapOptions(precision="half")


def test_the_bundled_model_in_bf16_says_nearly_the_same(model, tiles):
    half = rszsl.load_model("dsva-small", device="cpu", precision="bf16")
    assert (model.precision, half.precision) == ("fp32", "bf16")
    assert {p.dtype for p in half.network.backbone.parameters()} == {torch.bfloat16}
    assert half.network.prototypes.dtype == half.network.decorrelation.dtype == torch.float32
    for name in ("embedding", "attributes"):
        whole, rough = getattr(model.encode(tiles), name), getattr(half.encode(tiles), name)
        assert rough.dtype == np.float32 and not np.array_equal(whole, rough)
        np.testing.assert_allclose(np.linalg.norm(rough, axis=1), 1, atol=1e-5)
        assert (whole * rough).sum(1).min() > 0.98
    assert half.encode(tiles[:0]).attributes.shape == (0, len(model.attribute_names))


def test_auto_is_fp32_for_the_bundled_model(model, tiles):
    # Its card names no agreement that is high enough (docs/benchmarks/precision.json).
    chosen = rszsl.load_model("dsva-small", device="cpu", precision="auto")
    assert chosen.precision == "fp32"
    np.testing.assert_array_equal(chosen.encode(tiles).attributes, model.encode(tiles).attributes)


def test_a_trained_model_in_bf16(tmp_path):
    torch.manual_seed(0)
    tower = build_tower({"kind": "timm", "name": "vit_tiny_patch16_224", "input_px": 64})
    heads = DsvaHeads(tower.width(aligned=True), 5, tower.spec.prefix, tower.spec.grid, centred=True)
    rows = np.eye(5, dtype="float32")[:2]
    save_file(pack(tower, heads, rows), tmp_path / "model.safetensors")
    (tmp_path / "tower.json").write_text(describe(tower, heads, "global", ("a", "b"), tuple("vwxyz")))
    told = SimpleNamespace(path=tmp_path / "card.toml", name="t", input_px=64, mean=tower.spec.mean, std=tower.spec.std)
    pixels = np.random.default_rng(0).random((3, 3, 64, 64), dtype="float32")
    whole, rough = (assemble(told, CPU, name).encode(pixels).embedding for name in ("fp32", "bf16"))
    assert rough.dtype == np.float32 and not np.array_equal(whole, rough)
    assert (whole * rough).sum(1).min() > 0.99


def test_a_clip_and_an_ensemble_in_bf16(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="the extra `hub` is not installed")
    from hub_models import CLIP_PX, save_clip

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RSZSL_HOME", str(tmp_path / "home"))
    names = [str(save_clip(tmp_path / name, seed=seed)) for seed, name in enumerate(("one", "two"))]
    pixels = np.random.default_rng(0).random((2, 3, CLIP_PX, CLIP_PX), dtype="float32")
    for name in (names[0], "+".join(names)):
        whole, half = (rszsl.load_model(name, device="cpu", precision=p) for p in ("auto", "bf16"))
        assert (whole.precision, half.precision) == ("fp32", "bf16")
        exact, rough = whole.encode(pixels).embedding, half.encode(pixels).embedding
        assert rough.dtype == np.float32 and not np.array_equal(exact, rough)
        assert (exact * rough).sum(1).min() > 0.999
        np.testing.assert_array_equal(whole.background_rows, half.background_rows)


def recorded(path):
    return json.loads(pyogrio.read_dataframe(path, layer="runs").iloc[0]["options"])["precision"]


def test_map_relabel_and_batch_record_what_was_used(make_raster, noise, tmp_path):
    scene = make_raster(noise(3, 200, 200))
    half = rszsl.load_model("dsva-small", device="cpu", precision="bf16")
    kept = tmp_path / "kept.rszsl-cache"
    asked = {"device": "cpu", "output": tmp_path / "o.gpkg", "cache": kept}
    assert recorded(rszsl.map_scene(scene, "forest", model=half, **asked).path) == "bf16"
    assert open_cache(kept).key.precision == "bf16"
    again = rszsl.relabel(kept, "forest", device="cpu", output=tmp_path / "again.gpkg")
    assert recorded(again.path) == "bf16"
    with pytest.raises(CacheError, match="precision differ"):
        rszsl.map_scene(scene, "forest", precision="fp32", overwrite=True, **asked)
    rszsl.map_scenes([scene], "forest", out=tmp_path / "out", device="cpu", precision="bf16")
    assert recorded(tmp_path / "out" / "scene.rszsl.gpkg") == "bf16"
    assert checkpoint_of("dsva-small", precision="bf16").load("cpu").precision == "bf16"


def test_a_cache_from_before_precision_is_one_of_fp32(make_raster, tmp_path):
    scene = make_raster(painted(["rg", "b."]))
    kept = rszsl.embed_scene(scene, cache=tmp_path / "c", model=ColourModel())
    table = pq.read_table(kept)
    header = json.loads(table.schema.metadata[HEADER])
    del header["key"]["precision"]
    pq.write_table(table.replace_schema_metadata({HEADER: json.dumps(header).encode()}), kept)
    assert open_cache(kept).key.precision == "fp32"
    rszsl.map_scene(scene, CLASSES, model=ColourModel(), cache=kept, output=tmp_path / "o.gpkg")


@pytest.mark.parametrize(("asked", "code", "says"), [("int8", 1, "error: --precision int8 is for"), ("x", 2, "'x'")])
def test_the_command_line_refuses_in_words(asked, code, says, make_raster, noise, tmp_path, capsys):
    scene = str(make_raster(noise(3, 64, 64)))
    out = tmp_path / "o.gpkg"
    with pytest.raises(SystemExit) as exit_:
        main(["map", scene, "--classes", "forest", "--device", "cpu", "--precision", asked, "-o", str(out)])
    said = capsys.readouterr().err
    assert exit_.value.code == code and says in said and "Traceback" not in said and not out.exists()


class Cramped(ColourModel):
    """Fits `most` tiles."""

    def __init__(self, most, error=torch.cuda.OutOfMemoryError, text="CUDA out of memory"):
        super().__init__()
        self.most, self.error, self.text, self.seen = most, error, text, []

    def encode(self, tiles):
        if len(tiles) > self.most:
            raise self.error(self.text)
        self.seen.append(len(tiles))
        return super().encode(tiles)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2 GiB"),
        (RuntimeError, "MPS backend out of memory (MPS allocated: 1 GB)"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(error, text):
    model, said = Cramped(3, error, text), []
    encoder = FittingEncoder(model, said.append)
    tiles = np.random.default_rng(0).random((10, 3, 16, 16), dtype="float32")
    for batch in (tiles, tiles, tiles[:1], tiles[:0]):
        np.testing.assert_array_equal(encoder.encode(batch).attributes, ColourModel().encode(batch).attributes)
    assert model.seen == [2] * 5 + [2] * 5 + [1, 0]
    assert said == ["a batch of 10 did not fit the memory of cpu; going on with 2"]


def test_where_one_tile_does_not_fit_the_error_says_what_to_lower():
    with pytest.raises(ModelError, match="even --batch-size 1 does not fit the memory of cpu; take a smaller --model"):
        FittingEncoder(Cramped(0), print).encode(np.zeros((4, 3, 16, 16), "float32"))


def test_another_error_is_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        FittingEncoder(Cramped(1, RuntimeError, "mat1 and mat2"), print).encode(np.zeros((4, 3, 16, 16), "float32"))


def test_a_map_in_little_memory_is_the_same_map(make_raster, tmp_path):
    class Ear(Silent):
        def __init__(self):
            self.heard = []

        def warn(self, message):
            self.heard.append(message)

    scene, ear = make_raster(painted(["rgb.", "bgr.", "rrr."])), Ear()
    roomy = rszsl.map_scene(scene, "red,green,blue", model=ColourModel(), output=tmp_path / "a.gpkg")
    small = rszsl.map_scene(scene, "red,green,blue", model=Cramped(3), output=tmp_path / "b.gpkg", progress=ear)
    assert roomy.tiles.drop(columns="geometry").equals(small.tiles.drop(columns="geometry"))
    assert ear.heard == ["a batch of 12 did not fit the memory of cpu; going on with 3"]
