"""Tiles that speak for each other."""

import csv

import numpy as np
import pytest
from fakes import ColourModel, painted, unit
from hypothesis import given
from hypothesis import strategies as st

import rszsl
from rszsl.labels import graph as graphs
from rszsl.labels.assign import assign
from rszsl.labels.calibrate import Scores
from rszsl.labels.graph import grid_graph, neighbour_graph
from rszsl.labels.refine import NEIGHBOURS, presence_prior, refine, softmax

MODELS = (
    "CLIP_RN50",
    "CLIP_ViT-B-32",
    "CLIP_ViT-L-14",
    "GeoRSCLIP_ViT-B-32",
    "RemoteCLIP_ViT-B-32",
    "SkyCLIP50_ViT-B-32",
)


def clusters(n, classes, d=32, spread=0.6, seed=0):
    """Unit vectors (n, d) around `classes` centres, their classes, and the centres."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(classes, d)))
    truth = rng.integers(0, classes, n)
    return unit(centres[truth] + spread * unit(rng.normal(size=(n, d)))), truth, centres


@pytest.fixture(scope="module")
def whurs19(shared_data):
    """Published features: model -> (images, texts, labels, published plain accuracy, published refined accuracy)."""
    folder = shared_data / "whurs19_features"
    if not folder.is_dir():
        pytest.skip(f"no features at {folder}")
    with (folder / "results_averageprompt.csv").open() as file:
        table = {f"{r['model_name']}_{r['model_architecture']}": list(r.values())[-2:] for r in csv.DictReader(file)}
    found = {}
    for name in MODELS:
        kept = np.load(folder / f"{name}.npz")
        published = [float(value) for value in table[name]]
        found[name] = (
            unit(kept["images"].astype("float32")),
            unit(kept["texts_averageprompt"].astype("float32")),
            kept["labels"].astype(int),
            *published,
        )
    return found


@pytest.mark.parametrize("name", MODELS)
def test_plain_similarity_gives_the_published_accuracy(whurs19, name):
    images, texts, labels, plain, _refined = whurs19[name]
    assert 100 * ((images @ texts.T).argmax(1) == labels).mean() == pytest.approx(plain, abs=0.2)


def test_refinement_reaches_the_published_accuracy_without_labels(whurs19):
    got, published = [], []
    for images, texts, labels, _plain, refined in whurs19.values():
        posterior = refine(images, softmax(100 * images @ texts.T), neighbour_graph(images, NEIGHBOURS))
        got.append(100 * (posterior.argmax(1) == labels).mean())
        published.append(refined)
    assert np.mean(got) >= 96.6
    np.testing.assert_allclose(got, published, atol=0.5)


def test_the_exact_graph_by_hand():
    vectors = unit([[1, 0], [1, 0.1], [0, 1], [-1, 0]])
    dense = neighbour_graph(vectors, 1).toarray()
    cosine = vectors @ vectors.T
    assert dense[0, 1] == pytest.approx(cosine[0, 1], abs=1e-6) and dense[1, 2] == pytest.approx(
        cosine[1, 2] / 2, abs=1e-6
    )
    assert dense[3].max() == 0  # its nearest, at a right angle, does not pull
    np.testing.assert_array_equal(dense, dense.T)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 20))
def test_graphs_are_symmetric_without_loops(n, neighbours, seed):
    graph = neighbour_graph(clusters(n, 3, seed=seed)[0], neighbours).toarray()
    np.testing.assert_array_equal(graph, graph.T)
    assert (np.diag(graph) == 0).all() and (graph >= 0).all() and (graph <= 1 + 1e-5).all()


def test_the_fast_graph_finds_most_true_neighbours_and_is_the_same_again(monkeypatch):
    vectors = clusters(3000, 40, spread=0.8)[0]
    exact = neighbour_graph(vectors, 3) > 0
    monkeypatch.setattr(graphs, "EXACT", 100)
    fast = neighbour_graph(vectors, 3)
    assert exact.multiply(fast > 0).sum() / exact.sum() > 0.9
    again = neighbour_graph(vectors, 3)
    assert (fast != again).nnz == 0


def test_cells_of_one_tile_and_equal_tiles_do_no_harm(monkeypatch):
    monkeypatch.setattr(graphs, "EXACT", 4)
    same = np.repeat(unit([[1, 2, 3]]), 30, axis=0)
    graph = neighbour_graph(same, 3)
    assert np.isfinite(graph.data).all() and graph.diagonal().max() == 0


def test_tiles_side_by_side_by_hand():
    """Two rows of three columns, the tile in the middle of the first row left out."""
    vectors = unit([[1, 0], [1, 1], [1, 0], [0, 1], [-1, 0.1]])
    graph = grid_graph(np.array([0, 2, 3, 4, 5]), 3, vectors).toarray()
    joined = {(int(a), int(b)) for a, b in zip(*np.nonzero(graph), strict=True) if a < b}
    assert joined == {(0, 2), (3, 4)}  # 2 and 3 stand at a right angle, 1 and 4 apart; 2-3 of the ids are in two rows
    assert graph[0, 2] == pytest.approx(1) and graph[2, 0] == pytest.approx(1)


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 30))
def test_posteriors_are_probabilities_and_zeros_stay_zero(n, classes, seed):
    vectors, _truth, centres = clusters(n, classes, seed=seed)
    confidence = 1 / (1 + np.exp(-4 * (vectors @ centres.T) + 1))
    prior = presence_prior(confidence.astype("float32"), 0.5)
    np.testing.assert_allclose(prior.sum(1), 1, atol=1e-5)
    posterior = refine(vectors, prior, neighbour_graph(vectors, NEIGHBOURS))
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-5)
    assert (posterior[prior == 0] < 1e-6).all()


def test_neighbours_correct_a_weak_text():
    vectors, truth, centres = clusters(600, 6, spread=0.7)
    weak = unit(centres + 2 * unit(np.random.default_rng(5).normal(size=centres.shape)))
    prior = softmax(10 * vectors @ weak.T)
    posterior = refine(vectors, prior, neighbour_graph(vectors, NEIGHBOURS))
    assert (posterior.argmax(1) == truth).mean() > (prior.argmax(1) == truth).mean() + 0.03
    np.testing.assert_array_equal(posterior, refine(vectors, prior, neighbour_graph(vectors, NEIGHBOURS)))


def test_a_preference_ranks_but_changes_no_confidence():
    confidence = np.array([[0.9, 0.6, 0.1], [0.2, 0.7, 0.5]], "float32")
    preference = np.array([[0.1, 0.9, 0], [0, 1, 0]], "float32")
    tiles, rows = unit(np.ones((2, 4))), unit(np.eye(3, 4))
    labels = assign(Scores(confidence, confidence), tiles, rows, 0.5, preference)
    assert labels.choice.tolist() == [[1, 0, 2], [1, 2, 0]] and labels.accepted.all()
    np.testing.assert_allclose(labels.confidence[0], [0.6, 0.9, 0.1], atol=1e-6)
    np.testing.assert_allclose(labels.margin, [0, 0.2], atol=1e-6)


class Hazy(ColourModel):
    """Sees colours as through haze: red and yellow are hard to tell."""

    def encode(self, tiles):
        seen = super().encode(tiles)
        return type(seen)(seen.embedding, unit(seen.attributes + np.array([0, 0.45, 0])))


def test_on_a_map_it_redistributes_and_nothing_else(make_raster, tmp_path):
    scene = make_raster(painted(["rrrrrrgg", "rrrrrrgg", "rrrrrr.0", "bbbbbb.0"]), nodata=0)
    given = {"model": Hazy(), "min_confidence": 0.2}
    names = "red,yellow,blue,green"
    plain = rszsl.map_scene(scene, names, output=tmp_path / "1.gpkg", cache=tmp_path / "c", **given)
    refined = rszsl.map_scene(scene, names, output=tmp_path / "2.gpkg", refine=True, **given)
    again = rszsl.relabel(tmp_path / "c", names, output=tmp_path / "3.gpkg", refine=True, **given)
    assert refined.counts == plain.counts and refined.counts.adds_up
    assert refined.tiles.equals(again.tiles)
    before, after = plain.tiles, refined.tiles
    assert (before["status"] == after["status"]).all()
    presence = [{r[f"class{k}"]: r[f"confidence{k}"] for k in ("", "_2", "_3")} for r in before.to_dict("records")]
    for row, known in zip(after.to_dict("records"), presence, strict=True):
        if row["status"] == "labelled":
            assert row["confidence"] >= 0.2 and row["margin"] >= 0
            if row["class"] in known:
                assert row["confidence"] == pytest.approx(known[row["class"]], abs=1e-5)
