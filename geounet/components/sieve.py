"""The sieve: components of few pixels go to a neighbour, tile by tile as in the whole raster.

A tile settles what cannot depend on its neighbours. What it leaves open, with all that touches a seam, is kept as
nodes of a graph and settled when all tiles are seen. Memory grows with the seams, not with the raster's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.components.merging import BORDER, NOWHERE, choose, follow, may_be_nearer, may_be_one, steps_to
from geounet.components.pieces import (
    Meetings,
    Survey,
    join_meetings,
    join_nodes,
    label,
    labels_at_seams,
    measure,
    meetings_within,
    merge_meetings,
    rim_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.components.pieces import Change
    from geounet.grid import Window

    Classes = NDArray[np.uint8]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

CONNECTIVITIES = (4, 8)
"""Pixels of a component share a side, or a corner at least."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is kept of a tile until all tiles are seen: a record for each node."""

    seeds: Integers
    """A pixel of each in the tile."""
    sizes: Integers
    """Their pixels in the tile."""
    classes: Classes
    """Their classes."""
    steps: Integers
    """Steps to a large component where they are known, else NOWHERE."""
    settled: Mask
    """Whether it is known what becomes of it."""
    becomes: Classes
    """The class it gets, where that is known; 255 if it stays because nothing large can be reached."""
    meetings: Meetings
    """Which of them meet within the tile, as places in these arrays."""


@dataclass(frozen=True, slots=True)
class Sieve:
    """Components of fewer than `size` pixels go to a neighbour.

    With `largest` it is GDAL's filter: a component goes to its largest neighbour, or where that one is small itself
    to the neighbour's largest neighbour and so on; where such a walk comes to no component of `size` pixels because
    it turns in a circle, nothing changes. Of equally large neighbours it is the first that is met.

    With `border` it goes to the neighbour of at least `size` pixels with which it shares the longest border. A
    component among small ones only goes the same way, step by step: to the neighbour, one step nearer to such a
    component, with the longest border. Of equally long borders it is that of the larger neighbour, then of the first
    that is met. What no such way of at most 16 steps leads out of stays.
    """

    size: int
    """In pixels; 0 or 1 changes nothing."""
    to: str = BORDER
    """One of :data:`geounet.components.merging.NEIGHBOURS`."""
    connectivity: int = 4
    """4: components and neighbours share a side; 8: or a corner."""

    def survey(self, classes: Classes, core: Window, extent: Window) -> Survey[Pieces]:
        """What a tile settles, and what is kept of it."""
        labels = label(classes, self.connectivity)
        sizes, values, seeds = measure(labels, classes, int(labels.max(initial=0)))
        partial = np.zeros(sizes.size, np.bool_)
        partial[labels_at_seams(labels, core, extent)] = True
        met = meetings_within(labels, sizes < self.size, self.connectivity, core, extent)
        steps, settled, becomes = self._settle_tile(met, sizes, values, partial)
        is_open = (sizes < self.size) & ~settled
        met = met.chosen(is_open[met.one] | is_open[met.other])
        kept = partial.copy()
        kept[met.one] = kept[met.other] = True
        nodes = np.where(kept, np.cumsum(kept), 0)
        pieces = Pieces(
            seeds[kept],
            sizes[kept],
            values[kept],
            np.where(settled, steps, NOWHERE)[kept],
            settled[kept],
            becomes[kept],
            Meetings(nodes[met.one], nodes[met.other], met.sides, met.first),
        )
        changed = np.flatnonzero(becomes != NODATA)
        return Survey(pieces, rim_of(labels, nodes), (seeds[changed], becomes[changed]))

    def _settle_tile(
        self, met: Meetings, sizes: Integers, classes: Classes, partial: Mask
    ) -> tuple[Integers, Mask, Classes]:
        """Of each label the steps, whether it is settled, and what it becomes then."""
        small = sizes < self.size
        inner = small & ~partial
        inner[0] = False
        steps, doubt = np.where(small, NOWHERE, 0), np.zeros(sizes.size, np.bool_)
        if self.to == BORDER:
            least = steps_to(met, np.where(small & ~partial, NOWHERE, 0))
            steps = steps_to(met, steps)
            doubt = may_be_nearer(met, least, steps) | may_be_one(met, classes, partial)
        goes, unsure = choose(met, self.to, sizes, inner, steps, partial)
        sure = inner & ~doubt & ~unsure
        end = follow(np.where(sure, goes, np.arange(sizes.size)))
        # Where the way ends at something small that is sure, it turned in a circle or led nowhere: all stays.
        settled = sure & (~small[end] | sure[end])
        return steps, settled, np.where(settled & ~small[end], classes[end], np.uint8(NODATA))

    def settle(self, tiles: Sequence[Pieces], seams: Meetings) -> list[Change]:
        """What changes in each tile, but for what it has settled itself."""
        sizes, classes, steps, settled, becomes = (
            np.concatenate([np.full(1, none), *(getattr(tile, name) for tile in tiles)])
            for name, none in (
                ("sizes", np.int64(0)),
                ("classes", np.uint8(NODATA)),
                ("steps", np.int64(NOWHERE)),
                ("settled", np.bool_(True)),
                ("becomes", np.uint8(NODATA)),
            )
        )
        met = _all_meetings(tiles, seams)
        same = classes[met.one] == classes[met.other]
        count, component = join_nodes(met.one[same], met.other[same], classes.size - 1)
        whole = np.bincount(component, sizes, count).astype(np.int64)
        # A settled node is a component of its own.
        known, ready, value = np.full(count, NOWHERE), np.zeros(count, np.bool_), np.empty(count, np.uint8)
        known[component], ready[component], value[component] = steps, settled, np.where(settled, becomes, classes)
        large = whole >= self.size
        known[large] = 0
        end = self._ends(_between(met, component, large), whole, ~large & ~ready, known)
        becomes_whole = np.where(ready[end] | large[end], value[end], np.uint8(NODATA))
        return _by_tile(tiles, becomes_whole[component])

    def _ends(self, met: Meetings, sizes: Integers, deciding: Mask, known: Integers) -> Integers:
        """Where each component goes in the end."""
        steps = steps_to(met, known) if self.to == BORDER else known
        return follow(choose(met, self.to, sizes, deciding, steps, np.zeros(sizes.size, np.bool_))[0])


def _all_meetings(tiles: Sequence[Pieces], seams: Meetings) -> Meetings:
    """Those within tiles, in nodes of all tiles, and those over seams."""
    starts = np.cumsum([0, *(tile.seeds.size for tile in tiles)])
    return join_meetings(
        [seams, *(tile.meetings.shifted(int(start)) for tile, start in zip(tiles, starts, strict=False))]
    )


def _between(met: Meetings, component: Integers, large: Mask) -> Meetings:
    """The pairs of components that are not both large."""
    one, other = component[met.one], component[met.other]
    # Node 0 is nodata, which is no neighbour.
    matters = ~(large[one] & large[other]) & (met.one > 0)
    return merge_meetings(one[matters], other[matters], met.sides[matters], met.first[matters])


def _by_tile(tiles: Sequence[Pieces], becomes: Classes) -> list[Change]:
    changes, start = [], 1
    for tile in tiles:
        nodes = slice(start, start + tile.seeds.size)
        changed = (becomes[nodes] != NODATA) & ~tile.settled
        changes.append((tile.seeds[changed], becomes[nodes][changed]))
        start += tile.seeds.size
    return changes
