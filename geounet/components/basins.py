"""Basins of a relief, tile by tile as in the whole raster: where water runs to, and which basins are one.

Each pixel drains to its lowest neighbour, so basins are trees, and trees that are cut by a seam are joined where the
water crosses it (Bieniek and Moga, "An efficient watershed algorithm based on connected components", 2000). Two basins
are one where the way from one to the other rises by too little above either bottom (dynamics; Grimaud 1992): ways
are looked at from the lowest up (Kruskal), which is the watershed from the markers that remain (Cousty et al.,
"Watershed cuts: minimum spanning forests and the drop of water principle", 2009).

Heights are totally ordered, by relief and then by place, so nothing depends on the order of work. What a tile may
decide alone: a basin that touches no seam and whose lowest way out rises too little is one with the basin it leads to,
whatever lies beyond the tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Classes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]
    Integers = NDArray[np.int64]
    Labels = NDArray[np.uint32]
    Relief = NDArray[np.int32]

NOBODY = 256
"""A boundary class that no pixel has."""
HIGHEST = (1 << 21) - 1
"""The highest relief there may be: what a height leaves room for."""
_SHIFT = 42
"""Bits of a height below the relief: twice the place, and whether the other pixel lies to the right or below."""
_DRY = np.int64(1) << 40
"""Bottom of what has no pixel of a field: above every relief."""
# Neighbours in raster order: above, left, right, below. Of equally low ones the first is taken.
_STEP_ROW = np.array([-1, 0, 0, 1])
_STEP_COL = np.array([0, -1, 1, 0])
_BEFORE = 2
"""Neighbours that come before a pixel in raster order: water runs to them on level ground."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Basins, or parts of them, `(count,)` each."""

    bottoms: Integers
    """Their lowest relief on a field."""
    sizes: Integers
    """Their pixels on a field."""
    classes: Classes
    """Their field's class; the boundary class where they lie on no field."""
    first: Integers
    """Place of their first pixel in raster order, `row * raster width + column`."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Ways between nodes, `(count,)` each."""

    one: Integers
    """Where a way begins, as an index of nodes."""
    other: Integers
    """Where it ends."""
    heights: Integers
    """How high it leads: relief and place in one number; no two pairs of pixels have the same."""


@dataclass(frozen=True, slots=True)
class Rim:
    """Outermost pixels of a tile that belong to a node."""

    places: Integers
    """`row * raster width + column`."""
    nodes: Integers
    """Their nodes, as indices."""
    relief: Relief
    """Their relief."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What is known of a tile."""

    labels: Labels
    """`(height, width)`: 0, or the pixel's node counted from 1."""
    nodes: Nodes
    """Its nodes."""
    ways: Ways
    """Between its nodes: of each pair the lowest."""
    rim: Rim
    """Where it meets others."""
    exits: Integers
    """`(exits, 2)`: nodes from which water runs to another tile, and the places where it arrives."""


def survey(
    owner: Classes, relief: Relief, *, boundary: int, rise: int, start: int, stride: int, seams: Sequence[bool]
) -> Tile:
    """The basins of a tile.

    Args:
        owner: `(height + 2, width + 2)`, the tile and one pixel around it: class of a field, the boundary class, 255
            for what is neither and beyond the raster.
        relief: `(height + 2, width + 2)`, 0 to :data:`HIGHEST`.
        boundary: the boundary class, or :data:`NOBODY`.
        rise: basins are one where the way rises by less above either bottom.
        start: place of the tile's first pixel.
        stride: columns of the whole raster.
        seams: whether the raster goes on above, below, left and right.
    """
    labels, exits = drain(owner, relief, boundary, start, stride)
    count = exits.size
    nodes = Nodes(*_describe(owner, relief, labels, count, boundary, start, stride))
    ways = in_order(Ways(*_find_ways(relief, labels, nodes.classes, boundary, start, stride)))
    lines = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    is_open = np.zeros(count + 1, np.bool_)
    for line, goes_on in zip(lines, seams, strict=True):
        is_open[line[line > 0]] |= goes_on
    table, nodes = merge(ways, nodes, is_open[1:], boundary, rise)
    labels = np.append(0, table + 1).astype(np.uint32)[labels]
    leaving = exits >= 0
    return Tile(
        labels,
        nodes,
        lowest(Ways(table[ways.one], table[ways.other], ways.heights), nodes.classes, boundary),
        _rim(labels, relief, start, stride),
        np.stack([table[leaving], exits[leaving]], axis=1),
    )


@compiled
def _target(owner: Classes, relief: Relief, row: int, col: int, boundary: int) -> int:
    """Which neighbour a pixel drains to; -1 where there is none. Fields drain to their class, boundaries to any."""
    own, level, found = owner[row, col], relief[row, col], -1
    for side in range(4):
        near_row, near_col = row + _STEP_ROW[side], col + _STEP_COL[side]
        near = owner[near_row, near_col]
        if near == NODATA or (near != own and own != boundary):  # noqa: PLR1714 - numba
            continue
        height = relief[near_row, near_col]
        if height < level or (height == level and found < 0 and side < _BEFORE):
            level, found = height, side
    return found


@compiled
def drain(owner: Classes, relief: Relief, boundary: int, start: int, stride: int) -> tuple[Labels, Integers]:
    """Label the pixels of a tile by the pixel that their water runs to; arguments as for :func:`survey`.

    Returns:
        `(height, width)`: 0 for what is neither field nor boundary, else from 1; and for each label from 1 the place
        beyond the tile where its water goes on to, or -1.
    """
    height, width = owner.shape[0] - 2, owner.shape[1] - 2
    target = np.empty(height * width, np.int64)
    for at in range(target.size):
        row, col = at // width, at % width
        target[at] = at
        side = -1 if owner[row + 1, col + 1] == NODATA else _target(owner, relief, row + 1, col + 1, boundary)
        if side >= 0:
            row, col = row + _STEP_ROW[side], col + _STEP_COL[side]
            if 0 <= row < height and 0 <= col < width:
                target[at] = row * width + col
            else:
                target[at] = -2 - (start + row * stride + col)
    return _number(owner, target, height, width)


@compiled
def _number(owner: Classes, target: Integers, height: int, width: int) -> tuple[Labels, Integers]:
    """Follow the water: number its ends (pixels that are their own target, or leave the tile) as they are met."""
    labels, exits, count = np.zeros(height * width, np.uint32), np.full(height * width, -1, np.int64), 0
    for begin in range(target.size):
        if owner[begin // width + 1, begin % width + 1] == NODATA or labels[begin]:
            continue
        at = begin
        while labels[at] == 0 and target[at] >= 0 and target[at] != at:
            at = target[at]
        if labels[at] == 0:
            if target[at] < 0:
                exits[count] = -2 - target[at]
            count += 1
            labels[at] = count
        label, at = labels[at], begin
        while labels[at] == 0:
            labels[at] = label
            at = target[at]
    return labels.reshape(height, width), exits[:count].copy()


@compiled
def _describe(
    owner: Classes, relief: Relief, labels: Labels, count: int, boundary: int, start: int, stride: int
) -> tuple[Integers, Integers, Classes, Integers]:
    """The fields of :class:`Nodes`, for labels 1 to `count`."""
    bottoms, sizes = np.full(count, _DRY), np.zeros(count, np.int64)
    classes, first = np.full(count, np.uint8(NODATA)), np.full(count, np.int64(-1))
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            if labels[row, col] == 0:
                continue
            node, own = labels[row, col] - 1, owner[row + 1, col + 1]
            if first[node] < 0:
                first[node] = start + row * stride + col
                classes[node] = own
            if own != boundary:
                bottoms[node] = min(bottoms[node], np.int64(relief[row + 1, col + 1]))
                sizes[node] += 1
                classes[node] = own
    return bottoms, sizes, classes, first


@compiled
def _find_ways(
    relief: Relief, labels: Labels, classes: Classes, boundary: int, start: int, stride: int
) -> tuple[Integers, Integers, Integers]:
    """The fields of :class:`Ways`: all pairs of pixels side by side in nodes that may be one."""
    height, width = labels.shape
    found, size = np.empty((3, 2 * height * width), np.int64), 0
    for row in range(height):
        for col in range(width):
            for right in range(2):
                near_row, near_col = row + 1 - right, col + right
                if near_row == height or near_col == width or labels[row, col] == 0:
                    continue
                one, other = np.int64(labels[row, col]) - 1, np.int64(labels[near_row, near_col]) - 1
                if other < 0 or one == other:
                    continue
                if classes[one] != classes[other] and classes[one] != boundary and classes[other] != boundary:
                    continue
                level = max(relief[row + 1, col + 1], relief[near_row + 1, near_col + 1])
                found[0, size], found[1, size] = one, other
                found[2, size] = (np.int64(level) << _SHIFT) + 2 * (start + row * stride + col) + right
                size += 1
    return found[0, :size].copy(), found[1, :size].copy(), found[2, :size].copy()


def _rim(labels: Labels, relief: Relief, start: int, stride: int) -> Rim:
    height, width = labels.shape
    outermost = np.ones((height, width), np.bool_)
    outermost[1:-1, 1:-1] = False
    rows, cols = np.nonzero(outermost & (labels > 0))
    return Rim(start + rows * stride + cols, labels[rows, cols].astype(np.int64) - 1, relief[rows + 1, cols + 1])


def in_order(ways: Ways) -> Ways:
    """From the lowest up."""
    order = np.argsort(ways.heights)
    return Ways(ways.one[order], ways.other[order], ways.heights[order])


def lowest(ways: Ways, classes: Classes, boundary: int) -> Ways:
    """Of ways in order the lowest of each pair of nodes that may be one."""
    one, other = np.minimum(ways.one, ways.other), np.maximum(ways.one, ways.other)
    apart = (classes[one] != classes[other]) & (classes[one] != boundary) & (classes[other] != boundary)
    kept = np.flatnonzero((one != other) & ~apart)
    # Of equal pairs np.unique names the first, which is the lowest.
    _, firsts = np.unique(one[kept] * max(classes.size, 1) + other[kept], return_index=True)
    kept = kept[np.sort(firsts)]
    return Ways(one[kept], other[kept], ways.heights[kept])


@compiled
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _join_weak(
    one: Integers, other: Integers, heights: Integers, bottoms: Integers, classes: Classes, is_open: Flags,
    boundary: int, rise: int,
) -> Integers:  # fmt: skip
    """Kruskal's walk over ways in order; `bottoms`, `classes` and `is_open` end as those of the roots."""
    parent = np.arange(bottoms.size)
    for way in range(one.size):
        a, b = _root(parent, one[way]), _root(parent, other[way])
        bare_a, bare_b, same = classes[a] == boundary, classes[b] == boundary, classes[a] == classes[b]
        if a == b or not (bare_a or bare_b or same):
            continue
        level = heights[way] >> _SHIFT
        weak_a, weak_b = bare_a or level - bottoms[a] < rise, bare_b or level - bottoms[b] < rise
        if not (weak_a or weak_b):
            continue
        # What may have other ways beyond the tile decides nothing, nor does a boundary that may be another class's.
        if (weak_a and (bare_a or same) and not is_open[a]) or (weak_b and (bare_b or same) and not is_open[b]):
            parent[b] = a
            bottoms[a] = min(bottoms[a], bottoms[b])
            classes[a] = classes[b] if bare_a else classes[a]
            is_open[a] |= is_open[b]
        else:
            is_open[a] = is_open[b] = True
    for node in range(parent.size):
        parent[node] = _root(parent, node)
    return parent


@compiled
def _join_small(one: Integers, other: Integers, sizes: Integers, classes: Classes, least: int) -> Integers:
    """Kruskal's walk over ways in order, joining what is smaller than `least` at either end."""
    parent = np.arange(sizes.size)
    for way in range(one.size):
        a, b = _root(parent, one[way]), _root(parent, other[way])
        if a != b and classes[a] == classes[b] and min(sizes[a], sizes[b]) < least:
            parent[b] = a
            sizes[a] += sizes[b]
    for node in range(parent.size):
        parent[node] = _root(parent, node)
    return parent


def merge(ways: Ways, nodes: Nodes, is_open: Flags, boundary: int, rise: int) -> tuple[Integers, Nodes]:
    """Join nodes where the way between them rises too little.

    Args:
        ways: in order.
        nodes: what they lead between.
        is_open: which nodes may have other ways than these; True for some only puts decisions off.
        boundary: the boundary class, whose nodes always go to the node that their lowest way leads to.
        rise: nodes are one where the way between them rises by less above either bottom.

    Returns:
        For each node the joined one it is part of, and the joined ones.
    """
    roots = _join_weak(
        ways.one, ways.other, ways.heights, nodes.bottoms.copy(), nodes.classes.copy(), is_open.copy(), boundary, rise
    )
    return _folded(nodes, roots, boundary)


def merge_small(ways: Ways, nodes: Nodes, boundary: int, least: int) -> tuple[Integers, Nodes]:
    """Join nodes of fewer than `least` pixels with the node that their lowest way leads to; as :func:`merge`."""
    return _folded(nodes, _join_small(ways.one, ways.other, nodes.sizes.copy(), nodes.classes, least), boundary)


def _folded(nodes: Nodes, roots: Integers, boundary: int) -> tuple[Integers, Nodes]:
    _, table = np.unique(roots, return_inverse=True)
    return table, fold(nodes, table, boundary)


def fold(nodes: Nodes, table: Integers, boundary: int) -> Nodes:
    """Nodes of nodes: `table` says which is part of which, counted without gaps."""
    count = int(table.max(initial=-1)) + 1
    bottoms, first = np.full(count, _DRY), np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(bottoms, table, nodes.bottoms)
    np.minimum.at(first, table, nodes.first)
    classes = np.full(count, boundary % NOBODY, np.uint8)
    on_field = nodes.classes != boundary
    classes[table[on_field]] = nodes.classes[on_field]
    return Nodes(bottoms, np.bincount(table, nodes.sizes, count).astype(np.int64), classes, first)


def join_exits(exits: Integers, rim: Rim, count: int) -> Integers:
    """For each of `count` nodes the basin whose part it is: water that leaves a tile goes on in the next.

    Args:
        exits: as in :class:`Tile`, of all tiles.
        rim: of all tiles, in ascending places.
        count: number of nodes.
    """
    arrives = rim.nodes[np.searchsorted(rim.places, exits[:, 1])] if exits.size else np.zeros(0, np.int64)
    links: Any = coo_array((np.ones(arrives.size, np.bool_), (exits[:, 0], arrives)), shape=(count, count))
    table: Integers = connected_components(links, directed=False)[1].astype(np.int64) if count else exits[:, 0]
    return table


def ways_over_seams(rim: Rim, stride: int) -> Ways:
    """Ways between outermost pixels that lie side by side, some within one tile, which is harmless.

    Args:
        rim: of all tiles, in ascending places.
        stride: columns of the raster.
    """
    found = []
    for right in range(2):
        wanted = rim.places + (1 if right else stride)
        there = np.minimum(np.searchsorted(rim.places, wanted), rim.places.size - 1)
        here = np.flatnonzero((rim.places[there] == wanted) & ((wanted % stride > 0) | (right == 0)))
        there = there[here]
        level = np.maximum(rim.relief[here], rim.relief[there]).astype(np.int64)
        found.append((rim.nodes[here], rim.nodes[there], (level << _SHIFT) + 2 * rim.places[here] + right))
    return Ways(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def colour(count: int, one: Integers, other: Integers) -> Integers:
    """A colour from 0 for each of `count` nodes, two for each pair.

    Nodes are taken away one by one, always one with the fewest neighbours left, and coloured in reverse (smallest
    last; Matula and Beck 1983). Where the pairs touch in the plane, one has at most five: six colours do.

    Args:
        count: number of nodes.
        one: one node of each pair.
        other: the other; no pair comes twice.
    """
    ends, near = np.concatenate([one, other]), np.concatenate([other, one])
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    near = near[order]
    return np.asarray(_greedy(starts, near, _smallest_last(starts, near)))


@compiled
def _smallest_last(starts: Integers, near: Integers) -> Integers:
    """Nodes in the order in which they are taken away."""
    count = starts.size - 1
    left, taken = starts[1:] - starts[:-1], np.zeros(count, np.bool_)
    # Lists of nodes by neighbours left; a node stands in several and is passed over in those that are out of date.
    heads = np.full(count + 1, np.int64(-1))
    links, entries, size = np.empty(count + near.size, np.int64), np.empty(count + near.size, np.int64), 0
    for node in range(count):
        entries[size], links[size], heads[left[node]], size = node, heads[left[node]], size, size + 1
    order, done, fewest = np.empty(count, np.int64), 0, 0
    while done < count:
        if heads[fewest] < 0:
            fewest += 1
            continue
        node, heads[fewest] = entries[heads[fewest]], links[heads[fewest]]
        if taken[node] or left[node] != fewest:
            continue
        taken[node], order[done], done = True, node, done + 1
        for at in range(starts[node], starts[node + 1]):
            if not taken[near[at]]:
                left[near[at]] -= 1
                fewer = left[near[at]]
                entries[size], links[size], heads[fewer], size = near[at], heads[fewer], size, size + 1
                fewest = min(fewest, fewer)
    return order


@compiled
def _greedy(starts: Integers, near: Integers, order: Integers) -> Integers:
    """The least colour that no neighbour has, from the order's end."""
    count = starts.size - 1
    colours = np.full(count, np.int64(-1))
    used = np.full(count + 1, np.int64(-1))
    for node in order[::-1]:
        for at in range(starts[node], starts[node + 1]):
            if colours[near[at]] >= 0:
                used[colours[near[at]]] = node
        free = 0
        while used[free] == node:
            free += 1
        colours[node] = free
    return colours
