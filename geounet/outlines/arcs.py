"""The outlines of polygons on a raster's lattice, cut into arcs that neighbours share, and put together again.

A node is a lattice point where three or four edges meet; between nodes an outline is one arc, whichever polygons lie
at its sides. What is done to an arc is done to both of its sides, so that neighbours cannot part. Turns on the
raster's own outline are nodes too, which keeps them where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Integers = NDArray[np.int64]
    Points = NDArray[np.int32]
    Sides = NDArray[np.uint8]

# Headings: 0 east, 1 south, 2 west, 3 north; a lattice point has a bit for each heading in which an edge leaves it.
_STRAIGHT = (0b0101, 0b1010)
_TURNS = (0b0011, 0b0110, 0b1100, 0b1001)


@dataclass(frozen=True, slots=True)
class Arcs:
    """Lines between nodes, and closed lines without one; each once, in raster order of where they start."""

    vertices: Points
    """`(vertices, 2)`: row and column."""
    offsets: Integers
    """`(arcs + 1,)`: where each arc starts in `vertices`, and the end."""
    closed: Flags
    """`(arcs,)`: whether it has no node; then its first vertex is not repeated at its end."""

    def __len__(self) -> int:
        return int(self.closed.size)


@dataclass(frozen=True, slots=True)
class Chains:
    """Rings as sequences of arcs."""

    arcs: Integers
    """`(steps,)`: the arc, or its bitwise complement where it is walked from its end to its start."""
    offsets: Integers
    """`(rings + 1,)`: where each ring starts in `arcs`, and the end."""


def cut(vertices: Points, offsets: Integers, height: int, width: int) -> tuple[Arcs, Chains]:
    """Cut the outlines of all polygons of a raster into arcs.

    Args:
        vertices: `(vertices, 2)`, row and column; the last vertex of a ring is its first. Edges run along rows and
            columns; vertices between ends of a straight line may be there or not.
        offsets: `(rings + 1,)`, where each ring starts in `vertices`, and the end.
        height: rows of the raster.
        width: its columns.

    Raises:
        ValueError: an edge runs across pixels, or beyond the raster.
    """
    _check(vertices, offsets, height, width)
    sides = np.zeros((height + 1, width + 1), np.uint8)
    _mark(vertices, offsets, sides)
    points, nodes, ring_starts = _turns_and_nodes(vertices, offsets, sides)
    return _shared(points, nodes, ring_starts, width + 1)


def _check(vertices: Points, offsets: Integers, height: int, width: int) -> None:
    if _is_askew(vertices, offsets):
        raise ValueError("an outline runs across pixels: only outlines along pixels' edges can be cut into arcs")
    if vertices.size and ((vertices < 0).any() or (vertices.max(axis=0) > (height, width)).any()):
        low, high = vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()
        raise ValueError(f"outlines reach from {low} to {high} in rows and columns, beyond {height} x {width} pixels")


@compiled
def _is_askew(vertices: Points, offsets: Integers) -> bool:
    for ring in range(offsets.size - 1):
        for at in range(offsets[ring], offsets[ring + 1] - 1):
            if vertices[at, 0] != vertices[at + 1, 0] and vertices[at, 1] != vertices[at + 1, 1]:
                return True
    return False


@compiled
def _heading(row_step: int, col_step: int) -> int:
    if row_step == 0:
        return 0 if col_step > 0 else 2
    return 1 if row_step > 0 else 3


@compiled
def _mark(vertices: Points, offsets: Integers, sides: Sides) -> None:
    """Note at each lattice point in which headings edges leave it."""
    for ring in range(offsets.size - 1):
        for at in range(offsets[ring], offsets[ring + 1] - 1):
            row, col, last_row, last_col = vertices[at, 0], vertices[at, 1], vertices[at + 1, 0], vertices[at + 1, 1]
            row_step, col_step = np.sign(last_row - row), np.sign(last_col - col)
            heading = _heading(row_step, col_step)
            while row != last_row or col != last_col:
                sides[row, col] |= 1 << heading
                row, col = row + row_step, col + col_step
                sides[row, col] |= 1 << ((heading + 2) & 3)


@compiled
def _kind(sides: Sides, row: int, col: int) -> int:
    """0 on a straight line, 1 at a turn, 2 at a node."""
    here = sides[row, col]
    if here in _STRAIGHT:
        return 0
    on_border = row == 0 or col == 0 or row == sides.shape[0] - 1 or col == sides.shape[1] - 1
    return 1 if here in _TURNS and not on_border else 2


@compiled
def _list_ring(
    vertices: Points, start: int, stop: int, sides: Sides, points: Points, nodes: Flags, count: int
) -> int:  # fmt: skip
    """Write a ring's turns and nodes from `count` on, without repeating the first; return the new count."""
    for at in range(start, stop - 1):
        row, col, last_row, last_col = vertices[at, 0], vertices[at, 1], vertices[at + 1, 0], vertices[at + 1, 1]
        row_step, col_step = np.sign(last_row - row), np.sign(last_col - col)
        while row != last_row or col != last_col:
            kind = _kind(sides, row, col)
            if kind > 0:
                points[count, 0], points[count, 1], nodes[count] = row, col, kind > 1
                count += 1
            row, col = row + row_step, col + col_step
    return count


@compiled
def _count_nodes(sides: Sides) -> int:
    count = 0
    for row in range(sides.shape[0]):
        for col in range(sides.shape[1]):
            count += sides[row, col] > 0 and _kind(sides, row, col) > 1
    return count


@compiled
def _head(points: Points, nodes: Flags, start: int, stop: int) -> int:
    """Where a ring shall start: at its first node, or at its first turn in raster order."""
    best = start
    for at in range(start, stop):
        if nodes[at]:
            return at
        is_above = points[at, 0] < points[best, 0]
        if is_above or (points[at, 0] == points[best, 0] and points[at, 1] < points[best, 1]):
            best = at
    return best


@compiled
def _turns_and_nodes(vertices: Points, offsets: Integers, sides: Sides) -> tuple[Points, Flags, Integers]:
    """Turns and nodes of all rings, whether each is a node, and where each ring starts, with the end."""
    # Four rings at most run through a node; what is not needed is never touched, so it takes no memory.
    most = vertices.shape[0] + 4 * _count_nodes(sides)
    points, nodes = np.empty((most, 2), np.int32), np.empty(most, np.bool_)
    starts = np.zeros(offsets.size, np.int64)
    for ring in range(offsets.size - 1):
        start = starts[ring]
        stop = _list_ring(vertices, offsets[ring], offsets[ring + 1], sides, points, nodes, start)
        head = _head(points, nodes, start, stop)
        if head > start:
            turned, turned_nodes = points[start:head].copy(), nodes[start:head].copy()
            rest = stop - head
            for at in range(rest):
                points[start + at], nodes[start + at] = points[head + at], nodes[head + at]
            points[start + rest : stop], nodes[start + rest : stop] = turned, turned_nodes
        starts[ring + 1] = stop
    return points[: starts[-1]], nodes[: starts[-1]], starts


def _shared(points: Points, nodes: Flags, ring_starts: Integers, stride: int) -> tuple[Arcs, Chains]:
    """Arcs of all rings, each once, and the rings as chains of them."""
    is_start = nodes.copy()
    is_start[ring_starts[:-1]] = True
    starts = np.flatnonzero(is_start)
    steps = np.searchsorted(starts, ring_starts)
    stops = np.append(starts, points.shape[0])[1:]
    # The last arc of a ring ends where the ring starts.
    ends = stops.copy()
    ends[steps[1:] - 1] = ring_starts[:-1]
    there = _keys(points, starts, np.where(starts + 1 < stops, starts + 1, ends), stride)
    back = _keys(points, ends, stops - 1, stride)
    _, first, which = np.unique(np.minimum(there, back), return_index=True, return_inverse=True)
    backward = there > back
    closed = ~nodes[starts[first]]
    lengths = stops[first] - starts[first] + ~closed
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vertices = _copy(points, starts[first], stops[first], ends[first], backward[first], closed, offsets)
    return Arcs(vertices, offsets, closed), Chains(np.where(backward, ~which, which), steps)


def _keys(points: Points, here: Integers, following: Integers, stride: int) -> Integers:
    """A number for each point and heading: no two arcs leave a point in one heading."""
    step = points[following] - points[here]
    headings = np.where(step[:, 0] == 0, np.where(step[:, 1] > 0, 0, 2), np.where(step[:, 0] > 0, 1, 3))
    place = points[here].astype(np.int64)
    return (place[:, 0] * stride + place[:, 1]) * 4 + headings


@compiled
def _copy(
    points: Points, starts: Integers, stops: Integers, ends: Integers, backward: Flags, closed: Flags,
    offsets: Integers,
) -> Points:  # fmt: skip
    """Vertices of arcs, from the end with the lesser key on."""
    out = np.empty((offsets[-1], 2), np.int32)
    for arc in range(starts.size):
        count, low = stops[arc] - starts[arc], offsets[arc]
        for at in range(count):
            place = at
            if backward[arc]:
                # A closed arc turned around keeps its first vertex.
                place = (count - at) % count if closed[arc] else count - at
            out[low + place] = points[starts[arc] + at]
        if not closed[arc]:
            out[low if backward[arc] else low + count] = points[ends[arc]]
    return out


def join(arcs: Arcs, chains: Chains) -> tuple[Points, Integers]:
    """Rings as :func:`cut` takes them, of the arcs' vertices."""
    lengths = np.diff(arcs.offsets) - ~arcs.closed
    of_steps = lengths[np.where(chains.arcs < 0, ~chains.arcs, chains.arcs)]
    sums = np.concatenate([[0], np.cumsum(of_steps)])[chains.offsets]
    offsets: Integers = sums + np.arange(sums.size)
    return _join(arcs.vertices, arcs.offsets, arcs.closed, chains.arcs, chains.offsets, offsets), offsets


@compiled
def _join(
    vertices: Points, arc_offsets: Integers, closed: Flags, steps: Integers, chain_offsets: Integers, offsets: Integers
) -> Points:
    out = np.empty((offsets[-1], 2), np.int32)
    for ring in range(offsets.size - 1):
        count = offsets[ring]
        for step in range(chain_offsets[ring], chain_offsets[ring + 1]):
            arc = steps[step] if steps[step] >= 0 else ~steps[step]
            low, length = arc_offsets[arc], arc_offsets[arc + 1] - arc_offsets[arc]
            for at in range(length - (not closed[arc])):
                place = at
                if steps[step] < 0:
                    place = (length - at) % length if closed[arc] else length - 1 - at
                out[count] = vertices[low + place]
                count += 1
        out[count] = out[offsets[ring]]
    return out
