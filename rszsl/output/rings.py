"""Outlines of areas of a grid, walked along the edges of cells in integers.

Each edge between a cell and one of another area points so that its own area lies to the right. Where an area meets
itself at a corner the walk goes around the cell outside, so a hole that touches the outline stays a ring of its own.
"""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

# Edges of a cell, clockwise: top (walked to the right), right side (down), bottom (to the left), left side (up).
STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
"""Way of each edge: rows, columns."""
OUTSIDE = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
"""The cell beyond each edge."""
END = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
"""Where each edge ends, from the cell's upper left corner."""


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Closed rings of corners, an area's outline before its holes.

    Attributes:
        corners: int64 (m, 2), row and column edges of the grid; the first corner of a ring is also its last.
        ring: int64 (m,), number of the ring of each corner, ascending.
        area: int64 (k,), number of the area of each ring, ascending.
    """

    corners: Numbers
    ring: Numbers
    area: Numbers


def trace(areas: Numbers) -> Rings:
    """Walk around every area.

    Args:
        areas: int64 (rows, cols), number of the area of each cell, -1 for none; areas are connected by edges.
    """
    padded = np.pad(areas, 1, constant_values=-1)
    cell, side, following = _edges(padded)
    order, lengths = _cycles(following)
    owner = padded.ravel()[cell[order[np.cumsum(lengths) - lengths]]]
    turns = side[following[order]] != side[order]
    ring = np.repeat(np.arange(len(lengths)), lengths)[turns]
    rows, cols = np.divmod(cell[order[turns]], padded.shape[1])
    corners = np.stack([rows, cols], axis=1) - 1 + END[side[order[turns]]]
    return _sorted_by_area(corners, ring, owner)


def _edges(padded: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Cell (flat, padded) and side of each edge, by cell, and the number of the edge that follows it."""
    flat, width = padded.ravel(), padded.shape[1]
    beyond, ahead = OUTSIDE @ (width, 1), STEP @ (width, 1)
    inner = np.flatnonzero(flat >= 0)
    at, side = np.nonzero(flat[inner[:, None] + beyond] != flat[inner, None])
    cell = inner[at]
    number = np.full((len(flat), 4), -1, dtype="int32" if len(cell) < 2**31 else "int64")
    number[cell, side] = np.arange(len(cell))
    straight, left = cell + ahead[side], cell + ahead[side] + beyond[side]
    goes_left, goes_on = flat[left] == flat[cell], flat[straight] == flat[cell]
    to_cell = np.where(goes_left, left, np.where(goes_on, straight, cell))
    to_side = np.where(goes_left, side - 1, np.where(goes_on, side, side + 1)) % 4
    return cell, side, number[to_cell, to_side]


def _cycles(following: NDArray[np.integer]) -> tuple[Numbers, Numbers]:
    """Put the numbers of a permutation in the order of its cycles, each from its least: order (n,), lengths (k,)."""
    seen, order, lengths = bytearray(len(following)), array("q"), array("q")
    successor = array("q", following.astype("int64").tobytes())
    for start in range(len(following)):
        if seen[start]:
            continue
        before, at = len(order), start
        while not seen[at]:
            seen[at] = 1
            order.append(at)
            at = successor[at]
        lengths.append(len(order) - before)
    return np.array(order, dtype="int64"), np.array(lengths, dtype="int64")


def _sorted_by_area(corners: Numbers, ring: Numbers, owner: Numbers) -> Rings:
    """Bring the rings of an area together, the outline first: it holds the area's first edge."""
    by_area = np.argsort(owner, kind="stable")
    place = np.empty_like(by_area)
    place[by_area] = np.arange(len(by_area))
    order = np.argsort(place[ring], kind="stable")
    corners, ring = corners[order], place[ring][order]
    begins = np.flatnonzero(np.diff(ring, prepend=-1))
    ends = np.append(begins[1:], len(ring))
    return Rings(np.insert(corners, ends, corners[begins], axis=0), np.insert(ring, ends, ring[begins]), owner[by_area])
