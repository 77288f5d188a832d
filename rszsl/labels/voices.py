"""What speaks for an area of tiles: the mean of its tiles' contributions, gathered while the tiles pass by.

The mean contribution of an attribute to an area is the area's mean attribute times the number in the class's row. So
sums of attributes are kept, for an area and not for a tile, and only while the area may still grow. Attributes are
halves: float64 adds some 10^8 of them without rounding, so the order of the tiles, and the pieces in which they come,
make no difference to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rszsl.labels.areas import Areas, Numbers, find_areas
from rszsl.labels.assign import RANKS, contributions, loudest
from rszsl.labels.calibrate import Floats
from rszsl.labels.encoded import Halves

SLAB_ROWS = 32
"""So many tile rows are put into areas at once; their attributes are in memory till then."""
BLOCK = 4096
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """What is known of the areas of some tile rows.

    Attributes:
        whole: int64 (w,), first tile of each area that ends inside these rows.
        attribute: int64 (w, 3), attributes that speak loudest for it, -1 where there are fewer.
        contribution: float32 (w, 3), mean of their contributions to its tiles.
        part: int64 (p,), first tile of each piece of an area that may go on in other rows.
        sums: float64 (p, K), attributes of the tiles of the piece, added up.
    """

    whole: Numbers
    attribute: Numbers
    contribution: Floats
    part: Numbers
    sums: Doubles

    @classmethod
    def joined(cls, pieces: "Sequence[Voices]") -> "Voices | None":
        """Put together what is known of different rows; None without any."""
        if not pieces:
            return None
        return cls(*(np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(cls)))

    def of_areas(self, areas: Areas, tile_ids: Numbers, rows: Floats) -> tuple[Numbers, Floats]:
        """Say what speaks for each area of a scene.

        Args:
            areas: of the scene.
            tile_ids: int64 (n,), the plan that `areas` was made of.
            rows: float32 (r, K), row of the class of each area.

        Returns:
            attribute, int64 (r, 3), and contribution, float32 (r, 3), as above.
        """
        attribute = np.full((len(areas), RANKS), -1, dtype="int64")
        contribution = np.full((len(areas), RANKS), np.nan, dtype="float32")
        ended = areas.member[np.searchsorted(tile_ids, self.whole)]
        attribute[ended], contribution[ended] = self.attribute, self.contribution
        owner = areas.member[np.searchsorted(tile_ids, self.part)]
        order = np.argsort(owner, kind="stable")
        found, begins = np.unique(owner[order], return_index=True)
        ends = np.append(begins[1:], len(order))
        for at in np.split(np.arange(len(found)), range(BLOCK, len(found), BLOCK)):
            if len(at):
                sums = np.add.reduceat(self.sums[order[begins[at[0]] : ends[at[-1]]]], begins[at] - begins[at[0]])
                which = found[at]
                attribute[which], contribution[which] = _speak(sums, areas.tiles[which], rows[which])
        return attribute, contribution


class Listener:
    """Gathers the voices of labelled tiles that come in plan order.

    Args:
        columns: of the grid.
        rows: float32 (C, K), what the classes mean.
        deaf: gather nothing: the K numbers are no attributes.
    """

    def __init__(self, columns: int, rows: Floats, *, deaf: bool = False) -> None:
        self._columns, self._rows, self._deaf = columns, rows, deaf
        self._waiting: list[tuple[Numbers, Numbers, Halves]] = []
        self._heard: list[Voices] = []

    def hear(self, tile_ids: Numbers, class_ids: Numbers, attributes: Halves) -> None:
        """Take the next labelled tiles: numbers and classes, int64 (n,), and attributes, float16 (n, K)."""
        if self._deaf or not len(tile_ids):
            return
        self._waiting.append((tile_ids, class_ids, attributes))
        last_row = tile_ids[-1] // self._columns
        if last_row - self._waiting[0][0][0] // self._columns >= SLAB_ROWS:
            ids, classes, shown = self._taken()
            done = int(np.searchsorted(ids, last_row * self._columns))
            self._heard.append(self._voices(ids[:done], classes[:done], shown[:done]))
            self._waiting = [(ids[done:], classes[done:], shown[done:].copy())]

    def end(self) -> Voices | None:
        """Give what was heard; None where no tile was labelled."""
        if self._waiting:
            self._heard.append(self._voices(*self._taken()))
        return Voices.joined(self._heard)

    def _taken(self) -> tuple[Numbers, Numbers, Halves]:
        ids, classes, shown = (np.concatenate(part) for part in zip(*self._waiting, strict=True))
        self._waiting = []
        return ids, classes, shown

    def _voices(self, tile_ids: Numbers, class_ids: Numbers, attributes: Halves) -> Voices:
        above = int(tile_ids[0] // self._columns)
        height = int(tile_ids[-1] // self._columns) - above + 1
        areas = find_areas((height, self._columns), tile_ids - above * self._columns, class_ids)
        sums, first, classes = _sums(areas, attributes), tile_ids[areas.first], class_ids[areas.first]
        edge = areas.grid[[0, -1]]
        goes_on = np.zeros(len(areas), dtype=bool)
        goes_on[edge[edge >= 0]] = True
        ends = ~goes_on
        spoken = _speak(sums[ends], areas.tiles[ends], self._rows[classes[ends]])
        return Voices(first[ends], *spoken, first[goes_on], sums[goes_on])


def _sums(areas: Areas, attributes: Halves) -> Doubles:
    """Sum of the attributes of each area's tiles: float64 (r, K)."""
    sums = np.zeros((len(areas), attributes.shape[1]))
    for start in range(0, len(attributes), BLOCK):
        shown = attributes[start : start + BLOCK].astype("float64")
        member = areas.member[start : start + BLOCK]
        low, high = int(member.min()), int(member.max()) + 1
        ones = (np.ones(len(member)), (member - low, np.arange(len(member))))
        sums[low:high] += csr_matrix(ones, shape=(high - low, len(member))) @ shown
    return sums


def _speak(sums: Doubles, tiles: Numbers, rows: Floats) -> tuple[Numbers, Floats]:
    """Loudest attributes of areas and their mean contributions, from sums (m, K) over so many `tiles` (m,)."""
    attribute, contribution = loudest(contributions(sums / tiles[:, None], rows))
    return attribute, contribution.astype("float32")
