"""Pieces of tiles and where they meet: what a rule about whole components needs of a raster that is seen tile by tile.

A piece is a connected component of one tile. A *node* is a piece that is kept, because more of its component may lie
beyond a seam or because the rule needs it; nodes count from 1, and 0 stands for all else. Pieces of one class that
meet over a seam are one component (union-find; He et al., "The connected-component labeling problem", 2017). Of the
raster nothing is held but one line of nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import cc3d
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

    Classes = NDArray[np.uint8]
    Labels = NDArray[np.uint32]
    Integers = NDArray[np.int64]
    Change = tuple[Integers, Classes]
    """Seeds of pieces (a pixel of each, `row * width + column` in the tile), and the class that each gets or 255."""

Kept = TypeVar("Kept")

# Which neighbour of a pixel is met, in the order in which GDAL looks at them.
_ABOVE, _ABOVE_LEFT, _ABOVE_RIGHT, _LEFT = range(4)
_KINDS = 4
_WITH_CORNERS = 8
_AROUND = 8


@dataclass(frozen=True, slots=True)
class Rim:
    """The nodes of a tile's outermost pixels, 0 where there is none."""

    top: Integers
    """`(width,)`: its first row."""
    bottom: Integers
    """`(width,)`: its last row."""
    left: Integers
    """`(height,)`: its first column."""
    right: Integers
    """`(height,)`: its last column."""

    def shifted(self, by: int) -> Rim:
        """With all nodes but 0 counted from `by` on."""
        return Rim(*(line + by * (line > 0) for line in (self.top, self.bottom, self.left, self.right)))


@dataclass(frozen=True, slots=True)
class Survey(Generic[Kept]):
    """What a rule finds in a tile."""

    kept: Kept
    """What it keeps until all tiles are seen: records of the nodes, with their `seeds`."""
    rim: Rim
    """Its rim, nodes counted from 1."""
    settled: Change
    """What the tile shows to change already."""


@dataclass(frozen=True, slots=True)
class Meetings:
    """Pairs of nodes that have pixels side by side (or corner to corner), each pair once."""

    one: Integers
    """The lower node of each pair."""
    other: Integers
    """The higher one."""
    sides: Integers
    """Pixel sides that they share; 0 where only corners meet."""
    first: Integers
    """Where a walk in raster order that looks up, then left meets the pair first: lower is earlier."""

    def chosen(self, places: Any) -> Meetings:
        """Some of them."""
        return Meetings(self.one[places], self.other[places], self.sides[places], self.first[places])

    def shifted(self, by: int) -> Meetings:
        """With nodes counted from `by` on."""
        return Meetings(self.one + by, self.other + by, self.sides, self.first)


def label(classes: Classes, connectivity: int = 4) -> Labels:
    """Label the connected components of equal class.

    Args:
        classes: `(height, width)`, 255 for nodata.
        connectivity: 4 joins pixels that share a side, 8 also those that share a corner.

    Returns:
        `(height, width)`: 0 for nodata, else from 1.
    """
    # cc3d's background is 0: one more than nodata, 255, wraps around to just that.
    shifted = classes + np.uint8(256 - NODATA)
    labels: Labels = cc3d.connected_components(shifted, connectivity=connectivity, out_dtype=np.uint32)
    return labels


def seam_sides(core: Window, extent: Window) -> tuple[bool, bool, bool, bool]:
    """Whether the raster goes on above, below, left and right of a tile."""
    return (
        core.row > extent.row,
        core.row_stop < extent.row_stop,
        core.col > extent.col,
        core.col_stop < extent.col_stop,
    )


def labels_at_seams(labels: Labels, core: Window, extent: Window) -> Labels:
    """Labels of the pixels that face another tile, ascending, each once, without 0."""
    lines = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    facing = [line for line, goes_on in zip(lines, seam_sides(core, extent), strict=True) if goes_on]
    found: Labels = np.unique(np.concatenate([np.empty(0, np.uint32), *facing]))
    return found[found > 0]


def rim_of(labels: Labels, nodes: Integers) -> Rim:
    """The rim of a tile.

    Args:
        labels: `(height, width)`.
        nodes: the node of each label, 0 for none.
    """
    return Rim(nodes[labels[0]], nodes[labels[-1]], nodes[labels[:, 0]], nodes[labels[:, -1]])


@compiled
def measure(labels: Labels, classes: Classes, count: int) -> tuple[Integers, Classes, Integers]:
    """Pixels, class and first pixel (`row * width + column`) of each label 0 to `count`; label 0 has none."""
    sizes, values = np.zeros(count + 1, np.int64), np.full(count + 1, np.uint8(NODATA))
    seeds = np.zeros(count + 1, np.int64)
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            label = labels[row, col]
            if sizes[label] == 0:
                values[label], seeds[label] = classes[row, col], row * labels.shape[1] + col
            sizes[label] += 1
    sizes[0], values[0] = 0, np.uint8(NODATA)
    return sizes, values, seeds


def meetings_within(
    labels: Labels, counts: NDArray[np.bool_], connectivity: int, core: Window, extent: Window
) -> Meetings:
    """The pairs of labels that meet in a tile and of which one counts at least.

    Args:
        labels: `(height, width)`.
        counts: whether each label counts.
        connectivity: 8 if pixels that share a corner only meet too, else 4.
        core: where the tile lies.
        extent: the whole raster.
    """
    start = (core.row - extent.row) * extent.width + core.col - extent.col
    return _merged(_meet(labels, counts, connectivity == _WITH_CORNERS, start, extent.width))


@compiled
def _meet(labels: Labels, counts: NDArray[np.bool_], corners: bool, start: int, stride: int) -> Integers:
    """`(pairs, 4)`: lower label, higher one, sides, first place; pairs may come again and again."""
    height, width = labels.shape
    found, size = np.empty((_KINDS * width, 4), np.int64), 0
    for row in range(height):
        if size + _KINDS * width > found.shape[0]:
            found = np.concatenate((found[:size], np.empty((size + _KINDS * width, 4), np.int64)))
        place = (start + row * stride) * _KINDS
        if row > 0:
            size = _line(labels[row], labels[row - 1], counts, 1, place + _ABOVE, found, size)
        if row > 0 and corners:
            size = _line(labels[row, 1:], labels[row - 1, :-1], counts, 0, place + _KINDS + _ABOVE_LEFT, found, size)
            size = _line(labels[row, :-1], labels[row - 1, 1:], counts, 0, place + _ABOVE_RIGHT, found, size)
        size = _line(labels[row, 1:], labels[row, :-1], counts, 1, place + _KINDS + _LEFT, found, size)
    return found[:size]


@compiled
def _line(
    labels: Labels, near: Labels, counts: NDArray[np.bool_], sides: int, place: int, found: Integers, size: int
) -> int:
    """Write the pairs of two lines of labels into `found`, from `size` on; return where they end."""
    last_one = last_other = np.uint32(0)
    for col in range(labels.size):
        one, other = labels[col], near[col]
        if one == other or one * other == 0 or not (counts[one] or counts[other]):
            continue
        if one == last_one and other == last_other:
            found[size - 1, 2] += sides
            continue
        found[size, 0], found[size, 1] = min(one, other), max(one, other)
        found[size, 2], found[size, 3] = sides, place + col * _KINDS
        last_one, last_other, size = one, other, size + 1
    return size


def _merged(pairs: Integers) -> Meetings:
    """Each pair of `(pairs, 4)` once: its sides summed, its first place the lowest."""
    if not pairs.size:
        return Meetings(*(np.empty(0, np.int64) for _ in range(4)))
    keys = pairs[:, 0] * (pairs[:, 1].max() + 1) + pairs[:, 1]
    order = np.argsort(keys)
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    sides, first = np.add.reduceat(pairs[order, 2], starts), np.minimum.reduceat(pairs[order, 3], starts)
    return Meetings(pairs[order[starts], 0], pairs[order[starts], 1], sides, first)


def merge_meetings(one: Integers, other: Integers, sides: Integers, first: Integers) -> Meetings:
    """Pairs that may come again and in either order, as each pair once; those of a node with itself are left out."""
    apart = one != other
    columns = (np.minimum(one, other), np.maximum(one, other), sides, first)
    return _merged(np.stack([column[apart] for column in columns], axis=1))


def join_meetings(parts: Iterable[Meetings]) -> Meetings:
    """All pairs of all parts."""
    held = list(parts)
    names = ("one", "other", "sides", "first")
    return Meetings(
        *(np.concatenate([np.empty(0, np.int64), *(getattr(part, name) for part in held)]) for name in names)
    )


def stitch(tiles: Iterable[tuple[Window, Rim]], connectivity: int, extent: Window) -> Meetings:
    """The pairs of nodes that meet over seams, of one class or of two; node 0 is nodata or the raster's upper edge.

    Args:
        tiles: windows and rims, row by row.
        connectivity: 8 if pixels that share a corner only meet too, else 4.
        extent: the whole raster.
    """
    return join_meetings(merge_meetings(*pairs) for pairs in _seams(tiles, connectivity == _WITH_CORNERS, extent))


def _seams(tiles: Iterable[tuple[Window, Rim]], corners: bool, extent: Window) -> Iterator[tuple[Integers, ...]]:
    """Of each tile the pairs with those above and left of it, as they come."""
    # A column more on either side, so that the corners of the raster's edge are there to be looked at.
    above, below = (np.zeros(extent.width + 2, np.int64) for _ in range(2))
    beside, at_row = np.empty(0, np.int64), extent.row
    for core, rim in tiles:
        if core.row != at_row:
            above, below, at_row = below, above, core.row
        col, place = core.col - extent.col, (core.row - extent.row) * extent.width + core.col - extent.col
        line = above[col : col + core.width + 2] if core.row > extent.row else np.zeros(core.width + 2, np.int64)
        across = (place + np.arange(core.width)) * _KINDS
        down = (place + np.arange(core.height) * extent.width) * _KINDS
        pairs = [(rim.top, line[1:-1], 1, across + _ABOVE)]
        if corners:
            pairs += [(rim.top, line[:-2], 0, across + _ABOVE_LEFT), (rim.top, line[2:], 0, across + _ABOVE_RIGHT)]
        if core.col > extent.col:
            pairs.append((rim.left, beside, 1, down + _LEFT))
        if core.col > extent.col and corners:
            pairs.append((rim.left[1:], beside[:-1], 0, down[1:] + _ABOVE_LEFT))
            pairs.append((beside[1:], rim.left[:-1], 0, down[1:] - _KINDS + _ABOVE_RIGHT))
        below[col + 1 : col + 1 + core.width], beside = rim.bottom, rim.right
        yield _gathered(pairs)


def _gathered(pairs: list[tuple[Integers, Integers, int, Integers]]) -> tuple[Integers, ...]:
    """Lines of nodes, their sides and places, as four arrays; a pair with 0 is one with nodata or the edge."""
    one, other, first = (np.concatenate([pair[index] for pair in pairs]) for index in (0, 1, 3))
    sides = np.concatenate([np.full(pair[0].size, pair[2], np.int64) for pair in pairs])
    return one, other, sides, first


def join_nodes(one: Integers, other: Integers, count: int) -> tuple[int, Integers]:
    """Union-find: the number of components, and the component of each node 0 to `count`, from 0."""
    links: Any = coo_array((np.ones(one.size, np.bool_), (one, other)), shape=(count + 1, count + 1))
    components, of_node = connected_components(links, directed=False)
    return int(components), of_node.astype(np.int64)


def repaint(classes: Classes, changes: Sequence[Change], connectivity: int) -> Classes:
    """A tile `(height, width)` with another class for some of its pieces."""
    out = classes.copy()
    for seeds, becomes in changes:
        given = becomes != NODATA
        _flood(classes, out, seeds[given], becomes[given], connectivity == _WITH_CORNERS)
    return out


@compiled
def _flood(classes: Classes, out: Classes, seeds: Integers, becomes: Classes, corners: bool) -> None:
    """Paint from each seed as far as its class goes. Only what changes is walked over, so no labels are needed."""
    height, width = classes.shape
    stack = np.empty(64, np.int64)
    for index in range(seeds.size):
        new, old = becomes[index], classes[seeds[index] // width, seeds[index] % width]
        if new == old:
            continue
        stack[0], filled = seeds[index], 1
        out[seeds[index] // width, seeds[index] % width] = new
        while filled:
            filled -= 1
            row, col = stack[filled] // width, stack[filled] % width
            if filled + _AROUND > stack.size:
                stack = np.concatenate((stack, np.empty_like(stack)))
            for near_row in range(max(row - 1, 0), min(row + 2, height)):
                for near_col in range(max(col - 1, 0), min(col + 2, width)):
                    beside = corners or near_row == row or near_col == col
                    # What is painted already differs from what it was.
                    if beside and classes[near_row, near_col] == old and out[near_row, near_col] == old:
                        out[near_row, near_col] = new
                        stack[filled] = near_row * width + near_col
                        filled += 1
