"""The bundled network in ONNX Runtime says what torch says; it is used where it fits, and nowhere else."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import torch

import rszsl
from rszsl.errors import ModelError, TrainingError
from rszsl.model.backbone import trunk_of
from rszsl.model.card import CARD_FILE, GRAPH_FILE, read_card, read_toml
from rszsl.model.checkpoint import find_model, load_model, trained_network
from rszsl.model.dsva import Dsva, Shape
from rszsl.model.graph import OUTPUTS, GraphNetwork, graph_weights, prefers_graph
from rszsl.model.packing import NIBBLE, pack_groups, unpack_groups
from rszsl.training.data import list_images
from rszsl.training.export import VIT_BLOCKS, write_card
from rszsl.training.graph import _export, _multiply_packed, _without_weights, write_graph
from rszsl.training.trunk import plain_view, read_square
from rszsl.zsl.data.hashes import sha256_of

NAMES = "forest,river,farmland,industrial area,residential area,solar farm,harbor,parking lot"
CPU = torch.device("cpu")
BUNDLED = find_model("dsva-small")


@pytest.fixture(scope="module")
def by_torch():
    return load_model("dsva-small", device="cpu", runtime="torch")


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(find_model("dsva-small"), tmp_path / "copy"))


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    """A copy of the bundled model whose graph was there, and was written again."""
    folder = Path(shutil.copytree(find_model("dsva-small"), tmp_path_factory.mktemp("graph") / "copy"))
    write_graph(folder)
    return folder


def tiles_of(model, count, seed=0):
    side = model.card.input_px
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side)).astype("uint8")


@pytest.mark.parametrize("count", [0, 1, 3, 33])
def test_it_says_what_torch_says(model, by_torch, count):
    assert (model.runtime, by_torch.runtime) == ("onnxruntime", "torch")
    tiles, columns = tiles_of(model, count), [0, 7]
    ours, theirs = model.encode_with_maps(tiles, columns), by_torch.encode_with_maps(tiles, columns)
    assert ours.maps.shape[:2] == (count, 2)
    for name in ("embedding", "attributes", "maps"):
        found = getattr(ours, name)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, getattr(theirs, name), atol=2e-5)


def test_real_images_keep_their_labels(model, by_torch, shared_data):
    images = list_images(shared_data, ("ucm", "rsscn7"))[:112]
    tiles = np.stack([plain_view(read_square(image.path), model.card.input_px).numpy() for image in images])
    rows = model.class_rows([rszsl.ClassName(name) for name in NAMES.split(",")]).rows
    ours, theirs = ((m.encode(tiles).attributes @ rows.T) for m in (model, by_torch))
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_it_takes_as_many_threads_as_torch_may(model):
    tiles, before = tiles_of(model, 4), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(model.encode(tiles).attributes)
            assert threads in model.network._sessions
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_the_record_says_what_ran(make_raster, noise, by_torch, tmp_path):
    scene = make_raster(noise(3, 40, 40), res=(6.0, 6.0))
    for model, name in ((None, "onnxruntime"), (by_torch, "torch")):
        path = tmp_path / f"{name}.gpkg"
        rszsl.map_scene(scene, "forest", model=model, output=path, device="cpu")
        assert f'"runtime": "{name}"' in pyogrio.read_dataframe(path, layer="runs").iloc[0]["options"]


def test_only_a_cpu_in_fp32_with_the_library_at_hand_takes_it(model, monkeypatch):
    assert prefers_graph(model.card, CPU, "fp32")
    assert not prefers_graph(model.card, CPU, "bf16")
    assert not prefers_graph(model.card, torch.device("cuda"), "fp32")
    assert load_model("dsva-small", device="cpu", precision="bf16").runtime == "torch"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where it is not installed
    assert load_model("dsva-small", device="cpu").runtime == "torch"


def test_a_library_that_does_not_start_is_told_and_torch_takes_over(tmp_path, monkeypatch, caplog):
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libonnx.so.1: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_model("dsva-small", device="cpu").runtime == "torch"
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "libonnx.so.1" in said and "runs in torch" in said and "install onnxruntime" in said


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ModelError, match='unknown runtime "onnx"; use auto or torch'):
        load_model("dsva-small", device="cpu", runtime="onnx")


def test_a_model_without_a_graph_runs_in_torch(copy):
    card = read_toml(copy / CARD_FILE)
    del card["sha256"][GRAPH_FILE]
    write_card(copy, card)
    (copy / GRAPH_FILE).unlink()
    assert GRAPH_FILE not in read_card(copy / CARD_FILE).files
    assert load_model(str(copy), device="cpu").runtime == "torch"


def test_a_graph_that_is_damaged_or_of_another_model_is_refused(copy):
    (copy / GRAPH_FILE).write_bytes((copy / GRAPH_FILE).read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"network\.onnx is damaged or was changed"):
        load_model(str(copy), device="cpu")
    card = read_toml(copy / CARD_FILE)
    card["sha256"][GRAPH_FILE] = sha256_of(copy / GRAPH_FILE)
    write_card(copy, card)
    with pytest.raises(ModelError, match=r"does not fit this rszsl .network\.onnx does not fit the weights"):
        load_model(str(copy), device="cpu")


def test_weights_that_the_graph_does_not_know_are_refused():
    weights = graph_weights(trained_network(BUNDLED)[1]) | {"other": np.zeros((2, 2), "float32")}
    with pytest.raises(ValueError, match="does not fit the weights"):
        GraphNetwork(BUNDLED / GRAPH_FILE, weights)


def test_a_graph_of_an_earlier_version_is_refused(copy):
    import onnx

    graph = onnx.load(copy / GRAPH_FILE, load_external_data=False)
    kept = [output for output in graph.graph.output if output.name != "direct_scores"]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    (copy / GRAPH_FILE).write_bytes(graph.SerializeToString())
    card = read_toml(copy / CARD_FILE)
    card["sha256"][GRAPH_FILE] = sha256_of(copy / GRAPH_FILE)
    write_card(copy, card)
    with pytest.raises(ModelError, match=r"does not fit this rszsl .network\.onnx has no direct_scores.; upgrade"):
        load_model(str(copy), device="cpu")


def test_what_onnx_runtime_throws_is_a_runtime_error():
    network = GraphNetwork(BUNDLED / GRAPH_FILE, graph_weights(trained_network(BUNDLED)[1]))
    with pytest.raises(RuntimeError, match="pixels"):
        network(torch.zeros(1, 3, 8, 8))


@pytest.mark.slow
def test_a_written_graph_is_that_of_its_model(rewritten, by_torch):
    model = load_model(str(rewritten), device="cpu")
    assert model.runtime == "onnxruntime"
    assert (rewritten / GRAPH_FILE).stat().st_size < 300_000  # without weights
    assert GRAPH_FILE in (rewritten / "mlm.json").read_text()
    assert str(Path.home()).encode() not in (rewritten / GRAPH_FILE).read_bytes()
    tiles = tiles_of(model, 3, seed=1)
    np.testing.assert_allclose(model.encode(tiles).attributes, by_torch.encode(tiles).attributes, atol=1e-5)
    assert read_toml(rewritten / CARD_FILE)["sha256"][GRAPH_FILE] == sha256_of(rewritten / GRAPH_FILE)


def test_a_graph_that_lacks_a_weight_is_not_written():
    from onnx import ModelProto

    with pytest.raises(TrainingError, match=r"lacks \d+ weights"):
        _without_weights(ModelProto(), trained_network(BUNDLED)[0])


def test_outputs_are_those_of_torch(by_torch):
    out = by_torch.network(torch.zeros(1, 3, 160, 160))
    assert [getattr(out, name).shape[0] for name in OUTPUTS] == [1] * len(OUTPUTS)


def test_another_kind_of_model_has_no_graph(tmp_path):
    card = read_toml(BUNDLED / CARD_FILE) | {"architecture": "dsva-tower", "sha256": {"model.safetensors": "0" * 64}}
    (tmp_path / "tower.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    card["sha256"] = {name: sha256_of(tmp_path / name) for name in ("tower.json", "model.safetensors")}
    write_card(tmp_path, card)
    with pytest.raises(ModelError, match="holds a dsva-tower, no model of the bundled kind"):
        write_graph(tmp_path)
    with pytest.raises(ModelError, match="no model folder"):
        write_graph(tmp_path / "nothing")


def test_matrices_in_four_bits_are_multiplied_by_as_they_lie(tmp_path):
    torch.manual_seed(0)
    shape = Shape(input_px=32, attributes=5, embed_dim=24, depth=1, heads=2, embedding_dim=6, direct=1, trunk_depth=1)
    network, weights = Dsva(shape).eval(), {}
    with torch.no_grad():
        trunk_of(network.backbone).vit.blocks[0].mlp.fc1.weight[0] = 0.25  # no step between weights that are alike
    for name, value in network.state_dict().items():
        packed = name.startswith(VIT_BLOCKS) and value.ndim > 1
        weights |= pack_groups(name, value, NIBBLE) if packed else {name: value}
    network.load_state_dict(unpack_groups(weights))
    model, held = _without_weights(_export(network, 32), network), graph_weights(weights)
    _multiply_packed(model, held)
    assert sum(node.op_type == "MatMulNBits" for node in model.graph.node) == 4
    file = tmp_path / GRAPH_FILE
    file.write_bytes(model.SerializeToString())
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = network(pixels)
    found = GraphNetwork(file, held)(pixels)
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=1e-5, rtol=1e-5)
