"""Write a model's network as a graph for ONNX Runtime (docs/decisions/0043).

    python -m rszsl.training.graph models/dsva-small

The card then names the file and its hash.
"""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rszsl.errors import RszslError, TrainingError
from rszsl.model.card import CARD_FILE, GRAPH_FILE, read_card, read_toml
from rszsl.model.checkpoint import trained_network
from rszsl.model.dsva import Dsva, DsvaOutput
from rszsl.model.graph import INPUT, OUTPUTS, SCALES, ZEROS, GraphNetwork, Weights, graph_weights
from rszsl.model.mlm import write_mlm
from rszsl.model.packing import CODES, GROUP, NIBBLE
from rszsl.training.export import write_card
from rszsl.zsl.data.hashes import sha256_of

OPSET = 18
MICROSOFT, IN_FP32 = "com.microsoft", 1
"""Where ONNX Runtime's own operations are, and how that of packed matrices is to compute."""
MOST_DIFFERENCE = 3e-4
"""Between what torch and the graph say of a tile, at most."""


class _AsTuple(nn.Module):
    """ONNX knows no dataclasses."""

    def __init__(self, network: Dsva) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        out = self.network(pixels)
        return tuple(getattr(out, name) for name in OUTPUTS)


def write_graph(folder: Path) -> Path:
    """Write the graph of the model in a folder, check it against torch, and enter it in the card and the MLM item.

    Raises:
        ModelError: where there is no such model, or it is of another kind.
        TrainingError: where a weight is missing in the graph, or it says something else than torch.
    """
    (network, weights), side_px = trained_network(folder), read_card(folder / CARD_FILE).input_px
    file = folder / GRAPH_FILE
    temporary = file.with_suffix(".tmp")
    model = _without_weights(_export(network, side_px), network)
    _multiply_packed(model, graph_weights(weights))
    temporary.write_bytes(model.SerializeToString())
    _check(temporary, network, weights, side_px)
    temporary.replace(file)
    card = read_toml(folder / CARD_FILE)
    card["sha256"][GRAPH_FILE] = sha256_of(file)
    write_card(folder, card)
    write_mlm(folder)
    return file


def _export(network: Dsva, side_px: int) -> Any:
    from onnxscript import optimizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the exporter deprecates in itself
        program = torch.onnx.export(
            _AsTuple(network), (torch.zeros(2, 3, side_px, side_px),), dynamo=True, opset_version=OPSET, verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), input_names=[INPUT], output_names=list(OUTPUTS),
            optimize=False,  # it would fold the batch norms into the weights; ONNX Runtime does that when it starts
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    return model


def _without_weights(model: Any, network: Dsva) -> Any:
    """Take the weights out of an ONNX model, and call them as `graph_weights` does."""
    from onnx import numpy_helper

    missing, renamed = graph_weights(network.state_dict()), {}
    for tensor in model.graph.initializer:
        array, own = numpy_helper.to_array(tensor), tensor.name.removeprefix("network.")
        # Most keep their names; those that the exporter turned have lost theirs.
        likely = {own: missing[own]} if own in missing else missing
        name = next((n for n, w in likely.items() if np.array_equal(w, array)), None)
        if name is not None:
            renamed[tensor.name] = name
            tensor.CopyFrom(_outside(name, missing.pop(name)))
    if missing:
        raise TrainingError(f"the ONNX graph lacks {len(missing)} weights ({next(iter(missing))}, …); another torch?")
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    _without_words(model)
    return model


def _outside(name: str, weights: Weights) -> Any:
    """Stand in a graph for weights that it is given when it is loaded."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(weights.dtype)
    tensor = TensorProto(name=name, dims=weights.shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor


def _multiply_packed(model: Any, weights: Mapping[str, Weights]) -> None:
    """Let a graph multiply by matrices in four bits, where its weights are."""
    from onnx import helper

    graph = model.graph
    packed = [name.removesuffix(CODES) for name in weights if name.endswith(CODES)]
    for name in packed:
        parts = [name + part for part in (CODES, SCALES, ZEROS)]
        rows, groups, _ = weights[parts[0]].shape
        (node,) = (node for node in graph.node if node.op_type == "MatMul" and node.input[1] == name)
        node.CopyFrom(
            helper.make_node(
                "MatMulNBits", [node.input[0], *parts], list(node.output), name=node.name, domain=MICROSOFT,
                K=groups * GROUP, N=rows, bits=NIBBLE, block_size=GROUP, accuracy_level=IN_FP32,
            )
        )  # fmt: skip
        graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == name))
        graph.initializer.extend(_outside(part, weights[part]) for part in parts)
    if packed:
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))


def _without_words(model: Any) -> None:
    """Take out where each node comes from, paths of this machine among it."""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def _check(file: Path, network: Dsva, weights: Mapping[str, Tensor], side_px: int) -> None:
    pixels = torch.rand(3, 3, side_px, side_px, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        wanted: DsvaOutput = network(pixels)
    found = GraphNetwork(file, graph_weights(weights))(pixels)
    for name in OUTPUTS:
        apart = float((getattr(wanted, name) - getattr(found, name)).abs().max())
        if apart > MOST_DIFFERENCE:
            raise TrainingError(f"the ONNX graph's {name} is {apart:.2g} away from torch's; another torch?")


def main() -> None:
    """Run the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m rszsl.training.graph MODEL_FOLDER")
    try:
        print(write_graph(Path(sys.argv[1])))
    except RszslError as err:
        raise SystemExit(f"error: {err}") from err


if __name__ == "__main__":
    main()
