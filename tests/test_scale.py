"""What keeps large scenes cheap gives the same rows: streamed tiles, outlined areas, voices gathered on the way."""

import numpy as np
import pytest
import shapely
from affine import Affine
from fakes import unit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rszsl.batch.exchange import pack, unpack
from rszsl.labels import voices as voices_module
from rszsl.labels.areas import find_areas
from rszsl.labels.assign import Status, assign
from rszsl.labels.calibrate import Calibrator, score
from rszsl.labels.collect import STATUSES, SceneLabels
from rszsl.labels.voices import Listener, Voices
from rszsl.output import tables as tables_module
from rszsl.output.regions import find_regions
from rszsl.output.tables import Vocabulary, tile_stream
from rszsl.output.wkb import cell_wkb
from rszsl.scene.georef import cell_polygons
from rszsl.scene.grid import Grid

CALIBRATOR = Calibrator(bias=-1.0, weight_similarity=2.0, weight_margin=4.0, background_max_cosine=0.6)
TURNED = Affine(0.37, 0.11, 500_000.123, -0.09, -0.41, 5_300_000.7)
WORDS = Vocabulary(("a", "b", "c"), (None, "b is strange", None), ("k", "l", "m", "n"))
GRIDS = st.tuples(st.integers(1, 12), st.integers(1, 12))


def grid_of(shape, overlap=0.0):
    grid = Grid.over(shape[0] * 10, shape[1] * 10, tile_height_px=10, tile_width_px=10, overlap=overlap)
    return grid, np.arange(len(grid))


def some_labels(count, seed=0):
    """Labels of every kind."""
    random = np.random.default_rng(seed)
    labels = SceneLabels(np.arange(count))
    labels.status[:] = random.integers(0, len(STATUSES), count)
    dealt = (labels.status < 2)[:, None]
    labels.choice[:] = np.where(dealt, random.permuted(np.tile([0, 1, 2], (count, 1)), axis=1), -1)
    labels.attribute[:] = np.where(dealt, random.integers(0, 4, (count, 3)), -1)
    for name in ("confidence", "contribution", "margin", "similarity"):
        values = getattr(labels, name)
        values[:] = np.where(dealt[:, 0] if values.ndim == 1 else dealt, random.random(values.shape), np.nan)
    labels.valid_fraction[:] = random.random(count)
    labels.failures.update({int(i): f"tile {i}" for i in np.flatnonzero(labels.is_status(Status.FAILED))})
    return labels


@given(GRIDS, st.floats(0, 0.8), st.integers(0, 99))
def test_cells_as_wkb_are_those_of_shapely(shape, overlap, seed):
    grid, ids = grid_of(shape, overlap)
    chosen = ids[np.random.default_rng(seed).random(len(ids)) < 0.5]
    assert cell_wkb(grid, chosen, TURNED).to_pylist() == list(shapely.to_wkb(cell_polygons(grid, TURNED)[chosen]))


def test_tiles_are_made_batch_by_batch_and_are_the_same(monkeypatch):
    grid, _ = grid_of((9, 13))
    labels = some_labels(len(grid))
    whole = tile_stream(labels, grid, TURNED, WORDS).read_all()
    monkeypatch.setattr(tables_module, "BATCH_ROWS", 10)
    stream = tile_stream(labels, grid, TURNED, WORDS)
    made = list(stream)
    assert [len(batch) for batch in made] == [10] * 11 + [7] and stream.schema == whole.schema
    assert [row for batch in made for row in batch.to_pylist()] == whole.to_pylist()


def test_each_row_says_what_its_labels_say():
    grid, _ = grid_of((9, 13))
    labels = some_labels(len(grid))
    for i, row in enumerate(tile_stream(labels, grid, TURNED, WORDS).read_all().to_pylist()):
        status, cell, best = STATUSES[labels.status[i]], grid[i].cell, labels.choice[i, 0]
        assert (row["status"], row["row_px"], row["col_px"]) == (str(status), cell.row_px, cell.col_px)
        names = {Status.LABELLED: "abc"[best], Status.OTHER: "other"}
        assert row["class"] == names.get(status)
        assert row["class_2"] == {Status.LABELLED: "abc"[labels.choice[i, 1]], Status.OTHER: "abc"[best]}.get(status)
        labelled = status is Status.LABELLED
        assert row["attribute_1"] == (WORDS.attributes[labels.attribute[i, 0]] if labelled else None)
        assert row["contribution_3"] == (round(float(labels.contribution[i, 2]), 6) if labelled else None)
        warned = "b is strange" if labelled and best == 1 else None
        assert row["note"] == (f"tile {i}" if status is Status.FAILED else warned)


@settings(max_examples=60)
@given(GRIDS, st.integers(1, 3), st.floats(0, 0.8), st.integers(0, 10**6))
def test_regions_are_the_unions_of_their_cells(shape, kinds, overlap, seed):
    random = np.random.default_rng(seed)
    grid, ids = grid_of(shape, overlap)
    ids = ids[random.random(len(ids)) < 0.9]
    classes = random.integers(-1, kinds, len(ids))
    regions = find_regions(grid, ids, classes, np.ones(len(ids), "float32"), TURNED)
    cells = cell_polygons(grid, TURNED)
    corners = {tuple(xy) for xy in shapely.get_coordinates(cells)}
    on_grid = np.full(len(grid), -1)
    on_grid[ids] = classes
    parts = sum(ndimage.label((on_grid == k).reshape(grid.shape))[1] for k in range(kinds))
    assert len(regions.polygons) == parts
    for number, polygon in enumerate(regions.polygons):
        mine = regions.areas.member == number
        assert polygon.is_valid and polygon.geom_type == "Polygon" and regions.tiles[number] == mine.sum()
        expected = shapely.union_all(cells[ids[mine]])
        assert polygon.symmetric_difference(expected).area < 1e-6
        assert {tuple(xy) for xy in shapely.get_coordinates(polygon)} <= corners
    assert (np.diff(ids[regions.areas.first]) > 0).all()


def test_a_hole_that_touches_the_outline_stays_a_hole():
    picture = np.array([[0, 0, 0, 0], [0, -1, 0, 0], [-1, 0, -1, 0], [0, 0, 0, 0]])
    grid, ids = grid_of(picture.shape)
    (region,) = find_regions(grid, ids, picture.ravel(), np.ones(16, "float32"), Affine.identity()).polygons
    assert region.is_valid and len(region.interiors) == 2 and region.area == 13 * 100


def test_areas_without_a_class_and_without_a_tile():
    assert len(find_areas((3, 4), np.arange(12), np.full(12, -1))) == 0
    assert len(find_areas((3, 4), np.empty(0, "int64"), np.empty(0, "int64"))) == 0


def heard(ids, classes, halves, rows, columns, sizes):
    """The voices of tiles that come in batches of these sizes."""
    listener, start = Listener(columns, rows), 0
    while start < len(ids):
        size = next(sizes)
        at = slice(start, start + size)
        listener.hear(ids[at], classes[at], halves[at])
        start += size
    return listener.end()


@settings(max_examples=60)
@given(st.tuples(st.integers(1, 30), st.integers(1, 8)), st.integers(1, 3), st.integers(2, 9), st.integers(0, 10**6))
def test_a_region_names_the_mean_contributions_of_its_tiles(shape, kinds, width, seed):
    random = np.random.default_rng(seed)
    every = np.arange(shape[0] * shape[1])
    ids = every[random.random(len(every)) < 0.8]
    if not len(ids):
        return
    classes = random.integers(0, kinds, len(ids))
    halves = unit(random.normal(size=(len(ids), width))).astype("float16")
    rows = unit(random.normal(size=(kinds, width)))
    sizes = iter(lambda: int(random.integers(1, 20)), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices_module, "SLAB_ROWS", int(random.integers(1, 6)))
        patch.setattr(voices_module, "BLOCK", int(random.integers(1, 9)))
        voices = heard(ids, classes, halves, rows, shape[1], sizes)
        areas = find_areas(shape, ids, classes)
        attribute, contribution = voices.of_areas(areas, ids, rows[classes[areas.first]])
    shares = halves.astype("float64") * rows[classes]
    for number in range(len(areas)):
        mine = areas.member == number
        mean = shares[mine].mean(axis=0)
        similarity = (halves[mine].astype("float64") @ rows[classes[areas.first[number]]]).mean()
        assert mean.sum() == pytest.approx(similarity, abs=1e-9)
        largest = np.sort(mean)[::-1][:3]
        np.testing.assert_allclose(contribution[number, : len(largest)], largest, atol=1e-6)
        named = attribute[number, : len(largest)]
        assert len(set(named)) == len(largest) and (named >= 0).all()
        np.testing.assert_allclose(mean[named], largest, atol=1e-9)
        assert (attribute[number, len(largest) :] == -1).all()


def test_all_contributions_of_a_region_add_up_to_its_mean_similarity():
    """With three attributes all are written, so the columns themselves add up."""
    random = np.random.default_rng(3)
    ids, classes = np.arange(600), np.repeat(random.integers(0, 2, 20), 30)
    halves = unit(random.normal(size=(600, 3))).astype("float16")
    rows = unit(random.normal(size=(2, 3)))
    voices = heard(ids, classes, halves, rows, 30, iter(lambda: 17, None))
    areas = find_areas((20, 30), ids, classes)
    _, contribution = voices.of_areas(areas, ids, rows[classes[areas.first]])
    similarity = (halves.astype("float64") * rows[classes]).sum(axis=1)
    means = np.bincount(areas.member, similarity) / areas.tiles
    assert len(areas) > 3
    np.testing.assert_allclose(contribution.sum(axis=1), means, atol=1e-6)


def test_strips_give_the_voices_of_the_whole_to_the_last_bit():
    random = np.random.default_rng(5)
    columns, ids, classes = 40, np.arange(4000), random.integers(0, 2, 4000)
    halves = unit(random.normal(size=(4000, 12))).astype("float16")
    rows = unit(random.normal(size=(2, 12)))
    areas = find_areas((100, columns), ids, classes)
    of_class = rows[classes[areas.first]]
    whole = heard(ids, classes, halves, rows, columns, iter(lambda: 500, None))
    strips = [slice(0, 280), slice(280, 2000), slice(2000, 2040), slice(2040, 4000)]
    parts = [heard(ids[s], classes[s], halves[s], rows, columns, iter(lambda: 31, None)) for s in strips]
    again = Voices.joined(parts).of_areas(areas, ids, of_class)
    for one, other in zip(whole.of_areas(areas, ids, of_class), again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(whole.part) < len(areas) / 2  # most areas end inside a slab, and no sum is kept of them


def test_voices_survive_the_journey():
    labels = SceneLabels(np.arange(6))
    rows = unit([[1, 2], [2, 1]])
    halves = unit(np.arange(12).reshape(6, 2) + 1).astype("float16")
    labels.voices = heard(labels.tile_ids, np.array([0, 0, 1, 1, 0, 1]), halves, rows, 1, iter(lambda: 6, None))
    again = unpack(pack(labels)).voices
    for name in Voices.__dataclass_fields__:
        mine, theirs = getattr(labels.voices, name), getattr(again, name)
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert len(again.whole) == 2 and len(again.part) == 2


def test_scores_do_not_depend_on_how_many_tiles_are_scored_at_once():
    random = np.random.default_rng(1)
    tiles, classes, background = (unit(random.normal(size=(n, 85))) for n in (300, 9, 120))
    whole = score(tiles, classes, background, CALIBRATOR)
    for size in (1, 2, 7, 32):
        parts = [score(tiles[i : i + size], classes, background, CALIBRATOR) for i in range(0, 300, size)]
        for name in ("similarity", "confidence"):
            np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))
    assert assign(whole, tiles, classes, 0.5).choice.max() > 0
