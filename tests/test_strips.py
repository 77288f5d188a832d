"""The plan of reads, on an array that stands for the resampled scene."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rszsl.scene import strips as planning
from rszsl.scene.grid import Grid
from rszsl.scene.strips import Layout, Strips, paste


@pytest.fixture(autouse=True, scope="module")
def small_pieces():
    """Many pieces for small scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PIECE_PX", (32, 64))
        yield


def picture(rows, cols, row0=0, col0=0):
    """A value for each pixel that no other pixel has."""
    return (np.arange(row0, row0 + rows)[:, None] * 100_000 + np.arange(col0, col0 + cols)).astype("int64")


def assemble(cut):
    """Cut a tile from its pieces, each read from the picture; pixels that no piece holds stay -1."""
    tile = np.full((cut.place.height_px, cut.place.width_px), -1)
    for piece in cut.pieces:
        at = piece.place
        paste(tile, cut.place, picture(at.height_px, at.width_px, at.row_px, at.col_px), at)
    return tile


@st.composite
def plans(draw):
    """Grid, planned tiles, output size and layout; ratios of 1/4 to 8."""
    out_px = draw(st.integers(4, 40)), draw(st.integers(4, 40))
    tile_px = [draw(st.sampled_from([o, 2 * o, 8 * o, o + 1, max(1, o // 2), 3 * o // 2])) for o in out_px]
    size_px = [draw(st.integers(1, 12 * t)) for t in tile_px]
    overlap = draw(st.sampled_from([0, 0.25, 0.5, 0.8]))
    grid = Grid.over(*size_px, tile_height_px=tile_px[0], tile_width_px=tile_px[1], overlap=overlap)
    assume(len(grid) <= 600)
    some = draw(st.integers(1, len(grid)))
    chosen = np.random.default_rng(draw(st.integers(0, 99))).choice(len(grid), some, replace=False)
    blocks = st.sampled_from([1, 16, 64, 100_000])
    layout = Layout((draw(blocks), draw(blocks)), draw(st.sampled_from([(), (2, 4, 8)])))
    return grid, np.sort(chosen), out_px, layout


@settings(max_examples=150)
@given(plans(), st.integers(1, 4))
def test_every_planned_tile_is_covered_by_its_pieces(plan, lanes):
    grid, tile_ids, out_px, layout = plan
    strips = Strips(grid, tile_ids, out_px, layout, lanes=lanes)
    for tile_id in tile_ids.tolist():
        cut, window = strips.cut(tile_id), grid[tile_id].window
        assert cut.tile_id == tile_id and cut.window == window
        assert all(piece.last_tile >= tile_id and 0 <= piece.lane < lanes for piece in cut.pieces)
        if cut.pieces[0].own:
            assert [p.box for p in cut.pieces] == [window]
            continue
        assert cut.place.row_px * window.height_px == window.row_px * out_px[0]
        assert cut.place.col_px * window.width_px == window.col_px * out_px[1]
        np.testing.assert_array_equal(assemble(cut), picture(*out_px, cut.place.row_px, cut.place.col_px))


@settings(max_examples=100)
@given(plans())
def test_pieces_are_whole_in_both_pictures_and_share_no_pixel(plan):
    grid, tile_ids, out_px, layout = plan
    strips = Strips(grid, tile_ids, out_px, layout)
    pieces = {p for t in tile_ids.tolist() for p in strips.cut(t).pieces if not p.own}
    seen = np.zeros((grid.rows[-1].keep1, grid.cols[-1].keep1), int)
    window = grid[0].window
    for piece in pieces:
        box, place = piece.box, piece.place
        assert place.row_px * window.height_px == box.row_px * out_px[0]
        assert place.height_px * window.height_px == box.height_px * out_px[0]
        assert place.col_px * window.width_px == box.col_px * out_px[1]
        assert place.width_px * window.width_px == box.width_px * out_px[1]
        for factor in layout.overviews_for([window.height_px / out_px[0], window.width_px / out_px[1]]):
            assert not any(v % factor for v in (box.row_px, box.col_px, box.end_row_px, box.end_col_px))
        seen[box.row_px : box.end_row_px, box.col_px : box.end_col_px] += 1
    assert seen.max(initial=0) <= 1


def test_a_plan_that_does_not_ascend_shares_nothing():
    grid = Grid.over(64, 64, tile_height_px=16, tile_width_px=16)
    strips = Strips(grid, np.array([3, 1]), (16, 16), Layout())
    assert all(p.own for t in (3, 1) for p in strips.cut(t).pieces)


def test_native_pieces_end_at_blocks_and_columns_belong_to_lanes():
    grid = Grid.over(3000, 10_000, tile_height_px=160, tile_width_px=160)
    strips = Strips(grid, np.arange(len(grid)), (160, 160), Layout((512, 512)), lanes=3)
    pieces = {p for t in range(len(grid)) for p in strips.cut(t).pieces}
    assert {p.box.row_px % 512 for p in pieces} == {p.box.col_px % 512 for p in pieces} == {0}
    lanes = {}
    for piece in pieces:
        lanes.setdefault(piece.box.col_px, set()).add(piece.lane)
    assert all(len(found) == 1 for found in lanes.values())
    assert set.union(*lanes.values()) == {0, 1, 2}


def test_a_few_tiles_need_only_what_they_show():
    grid = Grid.over(4000, 4000, tile_height_px=100, tile_width_px=100)
    tile_ids = np.array([41, 42, 1000])
    strips = Strips(grid, tile_ids, (100, 100), Layout())
    pieces = {p for t in tile_ids.tolist() for p in strips.cut(t).pieces}
    assert sum(p.box.height_px * p.box.width_px for p in pieces) == 3 * 100 * 100


def test_overviews_that_drift_are_not_joined():
    """10 000 is whole in 8, 10 007 is drawn out by 1/8 pixel of the overview, 10 001 by 7/8: half a pixel at 5 143."""
    joined = []
    for side_px in (10_000, 10_007, 10_001):
        grid = Grid.over(side_px, side_px, tile_height_px=400, tile_width_px=400)
        rows = Strips(grid, np.arange(len(grid)), (40, 40), Layout((64, 64), (2, 4, 8)))
        joined.append([i for i in range(26) if i < grid.shape[0] and not rows.cut(i * grid.shape[1]).pieces[0].own])
    assert joined == [list(range(25)), list(range(25)), list(range(12))]


def test_an_overview_of_nearly_the_wanted_size_is_joined_only_where_it_is_whole():
    for side_px, own in ((1600, False), (1603, True)):
        grid = Grid.over(side_px, side_px, tile_height_px=160, tile_width_px=160)
        strips = Strips(grid, np.arange(len(grid)), (40, 40), Layout((64, 64), (2, 4)))
        assert strips.cut(0).pieces[0].own == own
