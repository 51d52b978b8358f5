"""Hole filling: components within one class, tile by tile as in the whole raster.

A component that touches no seam is decided within its tile; only those at seams are kept until all tiles are seen.
Memory grows with the seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.compiling import compiled
from geounet.components.pieces import Survey, join_nodes, label, labels_at_seams, measure, rim_of, seam_sides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.components.pieces import Change, Meetings
    from geounet.grid import Window

    Classes = NDArray[np.uint8]
    Labels = NDArray[np.uint32]
    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Pieces, and what is around them."""

    seeds: Integers
    """A pixel of each in the tile."""
    classes: Classes
    """Their classes; nodata for label 0."""
    sizes: Integers
    """Their pixels."""
    lowest: Classes
    """The lowest class beside each; 255 where there is none."""
    highest: Classes
    """The highest class beside each; 0 where there is none."""
    bounded: NDArray[np.bool_]
    """Whether neither nodata nor the raster's edge is beside it."""

    def fills(self, size: int) -> Classes:
        """The class that each is filled with, 255 for none."""
        hole = (self.sizes <= size) & self.bounded & (self.lowest == self.highest) & (self.classes != NODATA)
        return np.where(hole, self.lowest, np.uint8(NODATA))

    def chosen(self, places: Any) -> Surroundings:
        """Some of them."""
        return Surroundings(*(getattr(self, name)[places] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class FillHoles:
    """Holes of at most `size` pixels take the class around them.

    A hole is a component (4-connected) whose neighbours, side by side, are all of one other class. What touches
    nodata or the raster's edge is no hole. All holes are filled at once: one within another takes the class of the
    other as it was.
    """

    size: int
    """In pixels; 0 changes nothing."""

    @property
    def connectivity(self) -> int:
        """Components are those of pixels that share a side."""
        return 4

    def survey(self, classes: Classes, core: Window, extent: Window) -> Survey[Surroundings]:
        """What a tile fills, and what is kept of it: its pieces at seams."""
        labels = label(classes)
        at_seams = labels_at_seams(labels, core, extent)
        around = look_around(labels, classes, core, extent)
        nodes = np.zeros(around.sizes.size, np.int64)
        nodes[at_seams] = np.arange(1, at_seams.size + 1)
        fills = around.fills(self.size)
        fills[at_seams] = NODATA
        filled = np.flatnonzero(fills != NODATA)
        return Survey(around.chosen(at_seams), rim_of(labels, nodes), (around.seeds[filled], fills[filled]))

    def settle(self, tiles: Sequence[Surroundings], seams: Meetings) -> list[Change]:
        """Of each tile the labels at seams, and what each is filled with: 255 for nothing."""
        fills = _over_seams(_all_nodes(tiles), seams).fills(self.size)
        starts = np.cumsum([1, *(tile.seeds.size for tile in tiles)])
        return [
            (tile.seeds, fills[start : start + tile.seeds.size]) for tile, start in zip(tiles, starts, strict=False)
        ]


def look_around(labels: Labels, classes: Classes, core: Window, extent: Window) -> Surroundings:
    """The surroundings of each label from 0, as far as the tile shows them."""
    count = int(labels.max(initial=0)) + 1
    sizes, values, seeds = measure(labels, classes, count - 1)
    around = _look_around(labels, classes, count, np.array(seam_sides(core, extent)))
    return Surroundings(seeds, values, sizes, *around)


@compiled
def _look_around(labels: Labels, classes: Classes, count: int, goes_on: NDArray[np.bool_]) -> Any:
    height, width = labels.shape
    lowest, highest = np.full(count, np.uint8(NODATA)), np.zeros(count, np.uint8)
    bounded = np.ones(count, np.bool_)
    for row in range(height):
        for col in range(width):
            label = labels[row, col]
            for side, (row_step, col_step) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
                near_row, near_col = row + row_step, col + col_step
                if not (0 <= near_row < height and 0 <= near_col < width):
                    bounded[label] &= goes_on[side]
                elif labels[near_row, near_col] == 0:
                    bounded[label] = False
                elif labels[near_row, near_col] != label:
                    near = classes[near_row, near_col]
                    lowest[label], highest[label] = min(lowest[label], near), max(highest[label], near)
    return lowest, highest, bounded


def _all_nodes(tiles: Sequence[Surroundings]) -> Surroundings:
    """The nodes of all tiles after node 0, which is nodata."""
    none = Surroundings(
        np.zeros(1, np.int64),
        np.full(1, NODATA, np.uint8),
        np.zeros(1, np.int64),
        np.full(1, NODATA, np.uint8),
        np.zeros(1, np.uint8),
        np.zeros(1, np.bool_),
    )
    parts = [none, *tiles]
    return Surroundings(*(np.concatenate([getattr(part, name) for part in parts]) for name in Surroundings.__slots__))


def _over_seams(nodes: Surroundings, seams: Meetings) -> Surroundings:
    """Each node with the surroundings of its whole component."""
    one, other = np.concatenate([seams.one, seams.other]), np.concatenate([seams.other, seams.one])
    same, beside = nodes.classes[one] == nodes.classes[other], nodes.classes[other]
    count, component = join_nodes(one[same], other[same], nodes.classes.size - 1)
    sizes, bounded = np.zeros(count, np.int64), np.ones(count, np.bool_)
    lowest, highest = np.full(count, NODATA, np.uint8), np.zeros(count, np.uint8)
    np.add.at(sizes, component, nodes.sizes)
    np.logical_and.at(bounded, component, nodes.bounded)
    bounded[component[one[beside == NODATA]]] = False
    foreign = ~same & (beside != NODATA)
    np.minimum.at(lowest, component, nodes.lowest)
    np.minimum.at(lowest, component[one[foreign]], beside[foreign])
    np.maximum.at(highest, component, nodes.highest)
    np.maximum.at(highest, component[one[foreign]], beside[foreign])
    return Surroundings(
        nodes.seeds, nodes.classes, sizes[component], lowest[component], highest[component], bounded[component]
    )
