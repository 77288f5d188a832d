"""The larger bundled model: its size, what it says, and that both of its engines say the same."""

import numpy as np
import pytest

from rszsl.classes import parse_classes
from rszsl.labels.assign import contributions
from rszsl.model.checkpoint import find_model, list_models, load_model
from rszsl.training.graph import MOST_DIFFERENCE

FOLDER = find_model("dsva-base")
GOLDEN = [[0.0099, -0.0504, -0.0023], [0.0698, -0.0196, 0.0140]]
MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def base():
    return load_model("dsva-base", device="cpu")


@pytest.fixture(scope="module")
def tiles():
    rows, cols = np.mgrid[0:160, 0:160] / 159
    waves = np.stack([np.sin(9 * rows), np.cos(7 * cols), np.sin(5 * (rows + cols))]) / 2 + 0.5
    return np.stack([waves, waves[::-1] ** 2]).astype("float32")


def test_it_is_bundled_and_small_enough():
    assert "dsva-base" in list_models()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= MOST_BYTES
    assert "Copyright (c) 2021 OpenAI" in (FOLDER / "LICENSE-CLIP").read_text(encoding="utf-8")


def test_its_trunk_stays_in_four_bits(base):
    """Unpacked, the trunk alone has 340 MB."""
    held = base.network._weights
    assert sum(array.nbytes for array in held.values()) < 60_000_000
    assert sum(name.endswith(":codes") for name in held) == 48


def test_both_engines_say_the_same(base, tiles):
    by_torch = load_model("dsva-base", device="cpu", runtime="torch")
    assert (base.runtime, by_torch.runtime) == ("onnxruntime", "torch")
    ours, theirs = (model.encode_with_maps(tiles, [0, 5]) for model in (base, by_torch))
    assert ours.maps.shape == (2, 2, 10, 10)
    for name in ("embedding", "attributes", "maps"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=MOST_DIFFERENCE)


def test_golden_numbers(base, tiles):
    encoded, rows = base.encode(tiles), base.class_rows(parse_classes("solar farm,quarry,forest")).rows
    assert encoded.attributes.shape == (2, 123) and encoded.embedding.shape == (2, 512)
    similarity = encoded.attributes @ rows.T
    np.testing.assert_allclose(similarity, GOLDEN, atol=2e-3)
    np.testing.assert_allclose(contributions(encoded.attributes, rows[:2]).sum(1), similarity.diagonal(), atol=1e-6)
