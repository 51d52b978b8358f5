"""Components of little area left out, tile by tile as in the whole raster: their pixels become 0, the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cc3d
import numpy as np

from geounet.classes import NODATA
from geounet.components.pieces import Survey, join_nodes, labels_at_seams, measure, rim_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.components.pieces import Change, Labels, Meetings
    from geounet.grid import Window

    Classes = NDArray[np.uint8]
    Integers = NDArray[np.int64]

BACKGROUND = 0
"""What is no component, as nodata is none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is kept of a tile until all tiles are seen: a record for each component that may go on beyond a seam."""

    seeds: Integers
    """A pixel of each in the tile."""
    areas: Integers
    """Their area in the tile."""
    classes: Classes
    """Their classes."""


@dataclass(frozen=True, slots=True, eq=False)
class DropSmall:
    """Components of less than an area become background; areas are whole numbers, so that no sum depends on tiles."""

    least: int
    """Area from which on a component stays."""
    row_areas: Integers
    """`(height of the raster,)`: area of a pixel of each row, in the same unit."""
    connectivity: int = 4
    """4: components share sides; 8: or corners."""

    def survey(self, classes: Classes, core: Window, extent: Window) -> Survey[Parts]:
        """What a tile settles, and what is kept of it."""
        labels = self._label(classes)
        count = int(labels.max(initial=0))
        _, values, seeds = measure(labels, classes, count)
        areas = self._areas(labels, count, core.row - extent.row)
        kept = np.zeros(count + 1, np.bool_)
        kept[labels_at_seams(labels, core, extent)] = True
        nodes = np.where(kept, np.cumsum(kept), 0)
        small = np.flatnonzero((areas < self.least) & ~kept)
        small = small[small > 0]
        parts = Parts(seeds[kept], areas[kept], values[kept])
        return Survey(parts, rim_of(labels, nodes), (seeds[small], np.full(small.size, BACKGROUND, np.uint8)))

    def settle(self, tiles: Sequence[Parts], seams: Meetings) -> list[Change]:
        """What changes in each tile, but for what it has settled itself."""
        classes = np.concatenate([np.full(1, NODATA, np.uint8), *(tile.classes for tile in tiles)])
        areas = np.concatenate([np.zeros(1, np.int64), *(tile.areas for tile in tiles)])
        same = (classes[seams.one] == classes[seams.other]) & (seams.one > 0)
        count, component = join_nodes(seams.one[same], seams.other[same], classes.size - 1)
        whole = np.zeros(count, np.int64)
        np.add.at(whole, component, areas)
        small = whole[component] < self.least
        changes, start = [], 1
        for tile in tiles:
            seeds = tile.seeds[small[start : start + tile.seeds.size]]
            changes.append((seeds, np.full(seeds.size, BACKGROUND, np.uint8)))
            start += tile.seeds.size
        return changes

    def _label(self, classes: Classes) -> Labels:
        found = np.where(classes == NODATA, np.uint8(BACKGROUND), classes)
        if not found.any():
            return np.zeros(classes.shape, np.uint32)
        labels: Labels = cc3d.connected_components(found, connectivity=self.connectivity, out_dtype=np.uint32)
        return labels

    def _areas(self, labels: Labels, count: int, first_row: int) -> Integers:
        areas = np.zeros(count + 1, np.int64)
        rows, cols = np.nonzero(labels)
        np.add.at(areas, labels[rows, cols], self.row_areas[rows + first_row])
        return areas
