"""Outlines of components: followed through a tile, joined over seams, cut into rings; exact, in integers.

A component's outline is a loop of *edges*: sides of its pixels that face another class or nodata, each directed so
that its pixel lies on the right. A tile follows the edges of its own pixels. A loop that stays within the tile is
closed. Where the next edge belongs to a pixel of another tile, what was followed is an *arc*, which knows its own
first edge and the edge that comes next; arcs are joined end to end as their neighbours arrive. Vertices stand only
where the outline turns, so a seam leaves none.

Which edge comes next depends on the four pixels around a lattice point. Where two pixels of one class meet at a corner
only (a *saddle*), the outline stays with its pixel. A loop that comes twice through one saddle is cut in two there,
which makes valid rings (no ring touches itself, OGC 06-103r4, 6.1.11.1): both passes belong to one component, which
the passes' pixels connect around the point, so one of the two rings lies inside the other as a hole or beside it as
another hole.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from geounet.compiling import compiled
from geounet.outlines.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Vertices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Lines:
    """Outlines, open (arcs) or closed, one after the other, in pixel lattice coordinates of the raster."""

    vertices: Vertices
    """`(vertices, 2)`: row and column of each turn; the end of an arc belongs to it, the start does not."""
    saddles: Flags
    """`(vertices,)`: True where the outline may come through the vertex twice."""
    offsets: Integers
    """`(lines + 1,)`: where each line starts in `vertices`, and the end."""
    labels: Integers
    """`(lines,)`: the component to the right."""
    classes: NDArray[np.uint8]
    """`(lines,)`: its class."""
    first_edges: Integers
    """`(lines,)`: the edge a line starts with, `4 * place of the pixel in raster order + side`."""
    next_edges: Integers
    """`(lines,)`: the edge that follows its last; for a closed line its first edge."""


@dataclass(frozen=True, slots=True)
class Rings:
    """Simple closed rings in one canonical form.

    They start at their smallest (row, column) and run clockwise on the screen around a component, counter-clockwise
    around a hole.
    """

    vertices: Vertices
    """`(vertices, 2)`: row and column; the first vertex is not repeated."""
    offsets: Integers
    """`(rings + 1,)`: where each ring starts in `vertices`, and the end."""
    labels: Integers
    """`(rings,)`: the component."""
    classes: NDArray[np.uint8]
    """`(rings,)`: its class."""
    areas: Integers
    """`(rings,)`: pixels within, negative for a hole."""


Ragged = TypeVar("Ragged", Lines, Rings)


def outline_tile(
    classes: NDArray[np.uint8], labels: NDArray[np.uint32], core: Window, raster_width: int
) -> tuple[Rings, Lines]:
    """Follow the outlines of a tile's pixels.

    Args:
        classes: `(height + 2, width + 2)`: the tile and one pixel around it, 255 for nodata and beyond the raster.
        labels: `(height, width)`: the tile's components (4-connected), 0 for nodata.
        core: where the tile lies in the raster.
        raster_width: columns of the whole raster.

    Returns:
        Rings of outlines that stay within the tile, and arcs that go on in a neighbour.
    """
    lines = Lines(*trace(classes, labels, core.row, core.col, raster_width))
    arcs = int((lines.first_edges != lines.next_edges).sum())
    return to_rings(_section(lines, arcs, lines.labels.size)), _section(lines, 0, arcs)


def _section(lines: Lines, start: int, stop: int) -> Lines:
    """The lines from `start` to `stop`, as views."""
    first, last = lines.offsets[start], lines.offsets[stop]
    return Lines(
        vertices=lines.vertices[first:last],
        saddles=lines.saddles[first:last],
        offsets=lines.offsets[start : stop + 1] - first,
        labels=lines.labels[start:stop],
        classes=lines.classes[start:stop],
        first_edges=lines.first_edges[start:stop],
        next_edges=lines.next_edges[start:stop],
    )


def relabelled(lines: Ragged, table: Integers) -> Ragged:
    """Lines or rings with each label replaced by its entry in a table."""
    return replace(lines, labels=table[lines.labels])


def take(lines: Ragged, wanted: Integers | Flags) -> Ragged:
    """Some of the lines or rings: their indices, or a flag for each. A copy, so that the part keeps no whole."""
    chosen: Integers = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted.astype(np.int64)
    offsets, vertices = _take_vertices(lines.offsets, lines.vertices, chosen)
    names = [item.name for item in fields(lines) if item.name not in ("offsets", "vertices", "saddles")]
    columns = {name: getattr(lines, name)[chosen] for name in names}
    if isinstance(lines, Lines):
        places = np.arange(offsets[-1]) + np.repeat(lines.offsets[chosen] - offsets[:-1], np.diff(offsets))
        columns["saddles"] = lines.saddles[places]
    return type(lines)(offsets=offsets, vertices=vertices, **columns)


@compiled
def _take_vertices(offsets: Integers, vertices: Vertices, chosen: Integers) -> tuple[Integers, Vertices]:
    """The vertices of some lines, and where each line starts."""
    starts = np.zeros(chosen.size + 1, np.int64)
    for at in range(chosen.size):
        starts[at + 1] = starts[at] + offsets[chosen[at] + 1] - offsets[chosen[at]]
    out = np.empty((starts[-1], 2), np.int32)
    for at in range(chosen.size):
        first = offsets[chosen[at]]
        for step in range(starts[at + 1] - starts[at]):
            for axis in range(2):
                out[starts[at] + step, axis] = vertices[first + step, axis]
    return starts, out


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Several lines or rings, at least one, as one."""
    kind = type(parts[0])
    columns = {
        item.name: np.concatenate([getattr(part, item.name) for part in parts])
        for item in fields(kind)
        if item.name != "offsets"
    }
    return kind(offsets=_offsets(np.concatenate([np.diff(part.offsets) for part in parts])), **columns)


def _offsets(lengths: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def no_rings() -> Rings:
    """No ring at all."""
    none = np.zeros(0, np.int64)
    return Rings(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), none, np.zeros(0, np.uint8), none)


def no_lines() -> Lines:
    """No line at all."""
    none = np.zeros(0, np.int64)
    vertices, saddles = np.zeros((0, 2), np.int32), np.zeros(0, np.bool_)
    return Lines(vertices, saddles, np.zeros(1, np.int64), none, np.zeros(0, np.uint8), none, none)


def join_arcs(arcs: Lines) -> tuple[Rings, Lines]:
    """Join arcs: the one that starts with the edge at which another ends follows it.

    Args:
        arcs: no two start with one edge; labels are those of the joined components.

    Returns:
        Rings of what closes, and the longer arcs that still wait for a neighbour.
    """
    sequence, bounds, waiting = _chains(_successors(arcs))
    ordered = take(arcs, sequence)
    chains = Lines(
        vertices=ordered.vertices,
        saddles=ordered.saddles,
        offsets=ordered.offsets[bounds],
        labels=ordered.labels[bounds[:-1]],
        classes=ordered.classes[bounds[:-1]],
        first_edges=ordered.first_edges[bounds[:-1]],
        next_edges=ordered.next_edges[bounds[1:] - 1],
    )
    return to_rings(_section(chains, waiting, chains.labels.size)), _section(chains, 0, waiting)


def _successors(arcs: Lines) -> Integers:
    """For each arc the one that follows it, -1 where that is not there."""
    if not arcs.labels.size:
        return np.zeros(0, np.int64)
    by_first = np.argsort(arcs.first_edges)
    at = np.minimum(np.searchsorted(arcs.first_edges[by_first], arcs.next_edges), by_first.size - 1)
    found: Integers = by_first[at]
    return np.where(arcs.first_edges[found] == arcs.next_edges, found, -1)


@compiled
def _chains(successors: Integers) -> tuple[Integers, Integers, int]:
    """Chains, open ones first: their members one after the other, where each starts, and how many are open."""
    done, follows = np.zeros(successors.size, np.bool_), np.zeros(successors.size, np.bool_)
    for successor in successors:
        if successor >= 0:
            follows[successor] = True
    sequence, bounds = np.empty(successors.size, np.int64), np.empty(successors.size + 1, np.int64)
    count, chains, waiting = 0, 0, 0
    for closed in range(2):
        for start in range(successors.size):
            if done[start] or (closed == 0 and follows[start]):
                continue
            bounds[chains] = count
            chains += 1
            member = start
            while member >= 0 and not done[member]:
                done[member] = True
                sequence[count] = member
                count += 1
                member = successors[member]
        if closed == 0:
            waiting = chains
    bounds[chains] = count
    return sequence, bounds[: chains + 1], waiting


def to_rings(lines: Lines) -> Rings:
    """Cut closed lines where they meet themselves, and bring the rings into their canonical form."""
    vertices, offsets, sources, areas = _cut(lines.vertices, _partners(lines), lines.offsets)
    return Rings(vertices, offsets, lines.labels[sources], lines.classes[sources], areas)


def _partners(lines: Lines) -> Integers:
    """For each vertex the other one of its line at the same point, -1 where the line comes there once."""
    partners = np.full(lines.saddles.size, -1, np.int64)
    at = np.flatnonzero(lines.saddles)
    line = np.searchsorted(lines.offsets, at, "right")
    row, col = lines.vertices[at].T
    order = np.lexsort((col, row, line))
    steps = np.diff(np.stack([line, row, col])[:, order], axis=1)
    here, there = at[order][:-1], at[order][1:]
    twice = (steps == 0).all(axis=0)
    partners[here[twice]], partners[there[twice]] = there[twice], here[twice]
    return partners


@compiled
def _cut(vertices: Vertices, partners: Integers, offsets: Integers) -> tuple[Vertices, Integers, Integers, Integers]:
    """Simple rings: vertices, offsets, the line each comes from, and its area in pixels."""
    most = offsets.size - 1
    for partner in partners:
        most += partner >= 0
    out, out_offsets = np.empty_like(vertices), np.zeros(most + 1, np.int64)
    sources, areas = np.empty(most, np.int64), np.empty(most, np.int64)
    stack = np.empty(partners.size, np.int64)
    rings = 0
    for line in range(offsets.size - 1):
        depth = 0
        for at in range(offsets[line], offsets[line + 1]):
            if 0 <= partners[at] < at:
                # Back at a point: what lies between is a ring of its own.
                loop = depth
                while stack[loop - 1] != partners[at]:
                    loop -= 1
                sources[rings] = line
                areas[rings] = _put_ring(vertices, stack, loop - 1, depth, out, out_offsets, rings)
                rings, depth = rings + 1, loop - 1
            stack[depth] = at
            depth += 1
        sources[rings] = line
        areas[rings] = _put_ring(vertices, stack, 0, depth, out, out_offsets, rings)
        rings += 1
    return out, out_offsets[: rings + 1], sources[:rings], areas[:rings]


@compiled
def _put_ring(
    vertices: Vertices, members: Integers, start: int, stop: int, out: Vertices, offsets: Integers, ring: int
) -> int:
    """Write a ring, `members` from `start` to `stop`, from its smallest vertex on; return its signed area in pixels."""
    smallest = start
    first_row, first_col = vertices[members[start], 0], vertices[members[start], 1]
    for at in range(start + 1, stop):
        row, col = vertices[members[at], 0], vertices[members[at], 1]
        if row < first_row or (row == first_row and col < first_col):
            smallest, first_row, first_col = at, row, col
    double_area = np.int64(0)
    before = members[smallest - 1 if smallest > start else stop - 1]
    last_row, last_col = np.int64(vertices[before, 0]), np.int64(vertices[before, 1])
    for step in range(stop - start):
        at = smallest + step
        source = members[at if at < stop else at - stop + start]
        next_row, next_col = np.int64(vertices[source, 0]), np.int64(vertices[source, 1])
        double_area += last_col * next_row - next_col * last_row
        last_row, last_col = next_row, next_col
        out[offsets[ring] + step, 0], out[offsets[ring] + step, 1] = next_row, next_col
    offsets[ring + 1] = offsets[ring] + stop - start
    return int(double_area // 2)
