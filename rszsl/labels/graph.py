"""A sparse graph of nearest neighbours among unit vectors, in time far below all pairs.

The vectors are cut into cells around k-means centres (an inverted file, as in Jegou et al. 2011, IEEE TPAMI
33, 117-128), and each looks for its neighbours in its own and the nearest cells. Below `EXACT` vectors there is one
cell, and the graph is exact. The same vectors always give the same graph.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

EXACT = 4096
"""Up to this many vectors all pairs are compared: 64 MiB of cosines."""
PASSES = 4
PROBED = 8
"""How many cells a vector looks into. Among 100 000 clustered vectors this finds 99 of 100 true neighbours."""
CHUNK = 4096


def neighbour_graph(vectors: Floats, neighbours: int) -> "csr_matrix[np.float32]":
    """Join each vector to those with the largest cosine.

    Args:
        vectors: float32 (N, D), unit rows.
        neighbours: how many for each; fewer where there are not so many vectors.

    Returns:
        Sparse float32 (N, N), symmetric, zero diagonal: the mean of both directions' cosines, negative ones left out.
    """
    count = len(vectors)
    kept = min(neighbours, count - 1)
    if kept < 1:
        return csr_matrix((count, count), dtype="float32")
    columns, cosines = np.zeros((count, kept), "int64"), np.zeros((count, kept), "float32")
    for members, candidates in _searches(vectors):
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            columns[part], cosines[part] = _nearest(vectors, part, candidates, kept)
    rows = np.repeat(np.arange(count), kept)
    directed = csr_matrix((np.maximum(cosines.ravel(), 0), (rows, columns.ravel())), shape=(count, count))
    return ((directed + directed.T) / 2).tocsr()


def grid_graph(tile_ids: Indices, columns: int, vectors: Floats) -> "csr_matrix[np.float32]":
    """Join tiles that share an edge on a grid, by their cosine.

    Args:
        tile_ids: int64 (N,), ascending numbers, `row * columns + column`.
        columns: of the grid.
        vectors: float32 (N, D), unit rows.

    Returns:
        Sparse float32 (N, N), symmetric, zero diagonal; negative cosines are left out.
    """
    pairs = []
    for step, beside in ((1, tile_ids % columns < columns - 1), (columns, np.ones(len(tile_ids), dtype=bool))):
        at = np.minimum(np.searchsorted(tile_ids, tile_ids + step), len(tile_ids) - 1)
        here = np.flatnonzero(beside & (tile_ids[at] == tile_ids + step))
        pairs.append(np.stack([here, at[here]]))
    one, other = np.concatenate(pairs, axis=1)
    cosines = np.maximum(np.einsum("nd,nd->n", vectors[one], vectors[other]), 0)
    directed = csr_matrix((cosines, (one, other)), shape=(len(tile_ids), len(tile_ids)))
    return (directed + directed.T).tocsr()


def _searches(vectors: Floats) -> Iterator[tuple[Indices, Indices]]:
    """Yield groups of vectors with the candidates among which each of the group finds its neighbours."""
    count = len(vectors)
    if count <= EXACT:
        yield np.arange(count), np.arange(count)
        return
    centres = _centres(vectors, round(np.sqrt(count)))
    cell_of = np.concatenate([(vectors[i : i + CHUNK] @ centres.T).argmax(1) for i in range(0, count, CHUNK)])
    order = np.argsort(cell_of, kind="stable")
    ends = np.searchsorted(cell_of[order], np.arange(len(centres) + 1))
    cells = [order[a:b] for a, b in pairwise(ends)]
    near = np.argsort(-(centres @ centres.T), axis=1, kind="stable")[:, :PROBED]
    for own, members in enumerate(cells):
        if len(members):
            probed = dict.fromkeys([own, *near[own].tolist()])
            yield members, np.concatenate([cells[c] for c in probed])


def _centres(vectors: Floats, number: int) -> Floats:
    """Spherical k-means from evenly spaced vectors, on at most 32 vectors a centre: float32 (number, D)."""
    step = max(1, len(vectors) // (32 * number))
    sample = vectors[::step]
    centres = sample[np.linspace(0, len(sample) - 1, number).round().astype("int64")]
    for _ in range(PASSES):
        nearest = np.concatenate([(sample[i : i + CHUNK] @ centres.T).argmax(1) for i in range(0, len(sample), CHUNK)])
        member = csr_matrix((np.ones(len(sample), "float32"), (nearest, np.arange(len(sample)))), (number, len(sample)))
        sums: Floats = member @ sample
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 1e-6, sums / np.maximum(length, 1e-6), centres)
    return np.asarray(centres, dtype="float32")


def _nearest(vectors: Floats, members: Indices, candidates: Indices, kept: int) -> tuple[Indices, Floats]:
    """Find the `kept` candidates nearest to each member, itself aside: numbers (M, kept) and cosines (M, kept)."""
    cosines = vectors[members] @ vectors[candidates].T
    cosines[members[:, None] == candidates[None, :]] = -np.inf
    short = kept - (len(candidates) - 1)
    best = np.argpartition(-cosines, min(kept, len(candidates)) - 1, axis=1)[:, :kept]
    found = np.take_along_axis(cosines, best, axis=1)
    columns = candidates[best]
    if short > 0:  # fewer candidates than neighbours: the rest point at the vector itself, with weight 0
        columns = np.pad(columns, ((0, 0), (0, kept - columns.shape[1])))
        found = np.pad(found, ((0, 0), (0, kept - found.shape[1])), constant_values=-np.inf)
    missing = ~np.isfinite(found)
    return np.where(missing, members[:, None], columns), np.where(missing, 0, found).astype("float32")
