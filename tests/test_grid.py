import itertools

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from rszsl.scene.georef import cell_polygons
from rszsl.scene.grid import Box, Grid, spans

axis = st.integers(1, 3000)
tile = st.integers(1, 300)


@given(axis, tile, st.data())
def test_kept_spans_partition_the_axis(length, tile_px, data):
    found = spans(length, tile_px, data.draw(st.integers(0, tile_px - 1)))
    assert [p for s in found for p in range(s.keep0, s.keep1)] == list(range(length))
    assert all(s.read0 <= s.keep0 < s.keep1 <= s.read1 for s in found)


@given(axis, tile, st.data())
def test_reads_stay_inside_unless_the_scene_is_smaller_than_a_tile(length, tile_px, data):
    found = spans(length, tile_px, data.draw(st.integers(0, tile_px - 1)))
    assert all(s.read0 >= 0 and s.read1 - s.read0 == tile_px for s in found)
    assert all(s.read1 <= length for s in found) or (length < tile_px and len(found) == 1)


@given(st.integers(20, 2000), st.integers(2, 200), st.data())
def test_neighbours_overlap_as_asked(length, tile_px, data):
    overlap = data.draw(st.integers(0, tile_px - 1))
    found = spans(length, tile_px, overlap)
    shared = [a.read1 - b.read0 for a, b in itertools.pairwise(found)]
    assert all(s == overlap for s in shared[:-1]) and all(s >= overlap for s in shared)


def test_last_cell_is_no_sliver():
    last = spans(2048, 1920, 0)[-1]
    assert last.keep1 - last.keep0 == 1024


def test_small_scene_gives_one_tile():
    grid = Grid.over(3, 5, tile_height_px=10, tile_width_px=10, overlap=0.5)
    assert len(grid) == 1
    assert grid[0].cell == Box(0, 0, 3, 5)
    assert grid[0].window == Box(0, 0, 10, 10)


@pytest.mark.parametrize(("length", "tile_px", "overlap"), [(0, 5, 0), (5, 5, 5), (5, 5, -1)])
def test_impossible_grids_are_refused(length, tile_px, overlap):
    with pytest.raises(ValueError, match="bad grid"):
        spans(length, tile_px, overlap)


def test_tiles_are_numbered_row_by_row():
    grid = Grid.over(20, 30, tile_height_px=10, tile_width_px=10)
    assert grid.shape == (2, 3)
    assert grid[4].window == Box(10, 10, 10, 10)
    assert [t.tile_id for t in grid] == list(range(6))
    with pytest.raises(IndexError, match="tile 6 of 6"):
        grid[6]


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(20, 90),
    st.floats(0, 0.9),
    st.sampled_from([1e-5, 0.1, 0.3, 2.5, 300.0]),
    st.sampled_from([1, -1]),
)
def test_cells_tile_the_footprint(height, width, tile_px, overlap, res, up):
    """No gap, no overlap, to 1e-6 of a pixel, far from the origin."""
    grid = Grid.over(height, width, tile_height_px=tile_px, tile_width_px=tile_px + 3, overlap=overlap)
    transform = Affine(res, 0, 512_345.678, 0, -res * up, 5_212_345.6)
    cells = cell_polygons(grid, transform)
    assert shapely.coverage_is_valid(cells)
    union = shapely.coverage_union_all(cells)
    assert isinstance(union, shapely.Polygon) and not union.interiors
    x0, x1 = transform.c, transform.c + res * width
    y0, y1 = sorted((transform.f, transform.f - res * up * height))
    np.testing.assert_allclose(union.bounds, (x0, y0, x1, y1), rtol=0, atol=1e-6 * res)
    assert union.symmetric_difference(shapely.box(x0, y0, x1, y1)).area <= 1e-6 * res**2 * height * width
