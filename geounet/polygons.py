"""Class raster to polygons: exact, in integers, tile by tile, with nothing left to see of the tiles.

A region's outline is a loop of *edges*: sides of its pixels that face another class or nodata, each directed so
that its pixel lies on the right. A tile follows the edges of its own pixels. A loop that stays within the tile is
final. Where the next edge belongs to a pixel of another tile, what was followed is an *arc*, which knows its own
first edge and the edge that comes next; arcs are joined end to end once all tiles are done. Vertices stand only where
the outline turns, so a seam leaves none.

Which edge comes next depends on the four pixels around a lattice point. Where two pixels of one class meet at a corner
only (a *saddle*), the outline stays with its pixel. A loop that comes twice through one saddle is cut in two there,
which makes valid rings (no ring touches itself, OGC 06-103r4, 6.1.11.1): both passes belong to one component, which
the passes' pixels connect around the point, so one of the two rings lies inside the other as a hole or beside it as
another hole.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import shapely

from geounet.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.grid import Window

    Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lines:
    """Outlines, open (arcs) or closed, one after the other, in pixel lattice coordinates of the raster."""

    vertices: NDArray[np.int32]
    """`(vertices, 2)`: row and column of each turn; the end of an arc belongs to it, the start does not."""
    saddles: NDArray[np.bool_]
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

    vertices: NDArray[np.int32]
    """`(vertices, 2)`: row and column; the first vertex is not repeated."""
    offsets: Integers
    """`(rings + 1,)`: where each ring starts in `vertices`, and the end."""
    labels: Integers
    """`(rings,)`: the component."""
    classes: NDArray[np.uint8]
    """`(rings,)`: its class."""
    areas: Integers
    """`(rings,)`: pixels within, negative for a hole."""


@dataclass(frozen=True, slots=True)
class TileOutlines:
    """What is kept of a tile."""

    rings: Rings
    """Final rings."""
    arcs: Lines
    """Arcs that go on in a neighbour."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """The polygons of a raster, by component."""

    components: Integers
    """`(polygons,)`: ascending."""
    classes: NDArray[np.uint8]
    """`(polygons,)`."""
    pixels: Integers
    """`(polygons,)`."""
    geometry: NDArray[Any]
    """`(polygons,)`: shapely polygons, exteriors counter-clockwise in coordinates, holes clockwise."""


def outline_tile(
    classes: NDArray[np.uint8], labels: NDArray[np.uint32], core: Window, raster_width: int
) -> TileOutlines:
    """Follow the outlines of a tile's pixels.

    Args:
        classes: `(height + 2, width + 2)`: the tile and one pixel around it, 255 for nodata and beyond the raster.
        labels: `(height, width)`: the tile's components (4-connected), 0 for nodata.
        core: where the tile lies in the raster.
        raster_width: columns of the whole raster.
    """
    lines = Lines(*trace(classes, labels, core.row, core.col, raster_width))
    arcs = int((lines.first_edges != lines.next_edges).sum())
    return TileOutlines(_split(_section(lines, arcs, lines.labels.size)), _section(lines, 0, arcs))


def _section(lines: Lines, start: int, stop: int) -> Lines:
    first, last = lines.offsets[start], lines.offsets[stop]
    return Lines(
        # A copy, so that the part does not keep the whole.
        vertices=lines.vertices[first:last].copy(),
        saddles=lines.saddles[first:last].copy(),
        offsets=lines.offsets[start : stop + 1] - first,
        labels=lines.labels[start:stop],
        classes=lines.classes[start:stop],
        first_edges=lines.first_edges[start:stop],
        next_edges=lines.next_edges[start:stop],
    )


def _take(lines: Lines, wanted: Integers) -> Lines:
    lengths = np.diff(lines.offsets)[wanted]
    offsets = _offsets(lengths)
    at = np.arange(offsets[-1]) + np.repeat(lines.offsets[wanted] - offsets[:-1], lengths)
    return Lines(
        vertices=lines.vertices[at],
        saddles=lines.saddles[at],
        offsets=offsets,
        labels=lines.labels[wanted],
        classes=lines.classes[wanted],
        first_edges=lines.first_edges[wanted],
        next_edges=lines.next_edges[wanted],
    )


def _offsets(lengths: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _split(lines: Lines) -> Rings:
    """Cut closed lines where they meet themselves, and bring the rings into their canonical form."""
    vertices, offsets, sources, areas = _split_lines(lines.vertices, lines.saddles, lines.offsets)
    return Rings(vertices, offsets, lines.labels[sources], lines.classes[sources], areas)


@numba.njit(cache=True, nogil=True)
def _split_lines(vertices, saddles, offsets):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Simple rings: vertices, offsets, the line each comes from, and its area in pixels."""
    most = offsets.size - 1 + saddles.sum() // 2
    out, out_offsets = np.empty_like(vertices), np.zeros(most + 1, np.int64)
    sources, areas = np.empty(most, np.int64), np.empty(most, np.int64)
    everyone, stack = np.arange(vertices.shape[0]), np.empty(vertices.shape[0], np.int64)
    partners = np.full(vertices.shape[0], -1, np.int64)
    rings = 0
    for line in range(offsets.size - 1):
        start, stop, depth = offsets[line], offsets[line + 1], 0
        if not _pair_saddles(vertices, saddles, start, stop, partners):
            sources[rings] = line
            areas[rings] = _put_ring(vertices, everyone[start:stop], out, out_offsets, rings)
            rings += 1
            continue
        for at in range(start, stop):
            if 0 <= partners[at] < at:
                # Back at a point: what lies between is a ring of its own.
                loop = depth
                while stack[loop - 1] != partners[at]:
                    loop -= 1
                sources[rings] = line
                areas[rings] = _put_ring(vertices, stack[loop - 1 : depth], out, out_offsets, rings)
                rings, depth = rings + 1, loop - 1
            stack[depth] = at
            depth += 1
        sources[rings] = line
        areas[rings] = _put_ring(vertices, stack[:depth], out, out_offsets, rings)
        rings += 1
    return out, out_offsets[: rings + 1], sources[:rings], areas[:rings]


@numba.njit(cache=True, nogil=True)
def _pair_saddles(vertices, saddles, start, stop, partners):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Note for each saddle that a line comes through twice its other passage; whether there is any."""
    count = 0
    for at in range(start, stop):
        count += saddles[at]
    if count < 2:  # noqa: PLR2004 - a pair
        return False
    places = start + np.flatnonzero(saddles[start:stop])
    paired = False
    keys = vertices[places, 0] * np.int64(1 << 32) + vertices[places, 1]
    order = np.argsort(keys)
    for rank in range(1, order.size):
        if keys[order[rank]] == keys[order[rank - 1]]:
            here, there = places[order[rank]], places[order[rank - 1]]
            partners[here], partners[there] = there, here
            paired = True
    return paired


@numba.njit(cache=True, nogil=True)
def _put_ring(vertices, members, out, offsets, ring):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write a ring from its smallest vertex on and return its signed area in pixels."""
    size, start = members.size, 0
    first_row, first_col = vertices[members[0], 0], vertices[members[0], 1]
    for at in range(1, size):
        row, col = vertices[members[at], 0], vertices[members[at], 1]
        if row < first_row or (row == first_row and col < first_col):
            start, first_row, first_col = at, row, col
    double_area = np.int64(0)
    base = offsets[ring]
    last_row, last_col = np.int64(vertices[members[start - 1], 0]), np.int64(vertices[members[start - 1], 1])
    for at in range(size):
        source = members[start + at if start + at < size else start + at - size]
        next_row, next_col = np.int64(vertices[source, 0]), np.int64(vertices[source, 1])
        double_area += last_col * next_row - next_col * last_row
        last_row, last_col = next_row, next_col
        out[base + at, 0], out[base + at, 1] = next_row, next_col
    offsets[ring + 1] = base + size
    return double_area // 2


def assemble(
    tiles: Sequence[TileOutlines],
    components: Sequence[Integers],
    transform: Affine,
) -> Polygons:
    """Join the arcs of all tiles and build the polygons of all components.

    Args:
        tiles: the outlines of tiles that cover a raster without overlap, in any order.
        components: for each tile a table from its labels to components, numbered in raster order of their first
            pixels.
        transform: from (column, row) to coordinates.
    """
    arcs = _concatenate(Lines, [_relabel(tile.arcs, table) for tile, table in zip(tiles, components, strict=True)])
    inner = [_relabel(tile.rings, table) for tile, table in zip(tiles, components, strict=True)]
    return _build(_concatenate(Rings, [*inner, _split(_join(arcs))]), transform)


def _relabel(lines: Any, table: Integers) -> Any:
    return replace(lines, labels=table[lines.labels])


def _concatenate(kind: Any, parts: Sequence[Any]) -> Any:
    """Several :class:`Lines` or :class:`Rings` as one."""
    columns = {
        item.name: np.concatenate([getattr(part, item.name) for part in parts])
        for item in fields(kind)
        if item.name != "offsets"
    }
    return kind(offsets=_offsets(np.concatenate([np.diff(part.offsets) for part in parts])), **columns)


def _join(arcs: Lines) -> Lines:
    """Closed lines of arcs: the one that starts with the edge at which another ends follows it."""
    by_first = np.argsort(arcs.first_edges)
    successors = by_first[np.searchsorted(arcs.first_edges[by_first], arcs.next_edges)]
    sequence, bounds = _cycles(successors)
    ordered = _take(arcs, sequence)
    return Lines(
        vertices=ordered.vertices,
        saddles=ordered.saddles,
        offsets=ordered.offsets[bounds],
        labels=ordered.labels[bounds[:-1]],
        classes=ordered.classes[bounds[:-1]],
        first_edges=ordered.first_edges[bounds[:-1]],
        next_edges=ordered.first_edges[bounds[:-1]],
    )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cycles(successors: Integers) -> tuple[Integers, Integers]:
    """The cycles of a permutation: their members one after the other, and where each cycle starts."""
    done = np.zeros(successors.size, np.bool_)
    sequence, bounds = np.empty(successors.size, np.int64), np.empty(successors.size + 1, np.int64)
    count, cycles = 0, 0
    for start in range(successors.size):
        if done[start]:
            continue
        bounds[cycles] = count
        cycles += 1
        member = start
        while not done[member]:
            done[member] = True
            sequence[count] = member
            count += 1
            member = successors[member]
    bounds[cycles] = count
    return sequence, bounds[: cycles + 1]


def _build(rings: Rings, transform: Affine) -> Polygons:
    """Rings to polygons, in the order of their components: exterior first, holes in raster order."""
    smallest = rings.vertices[rings.offsets[:-1]].astype(np.int64)
    order = np.lexsort((smallest[:, 1], smallest[:, 0], rings.areas < 0, rings.labels))
    exteriors = np.flatnonzero(rings.areas[order] > 0)
    matrix = np.array(transform[:6], np.float64)
    # Exteriors run counter-clockwise in coordinates (RFC 7946, 3.1.6), wherever rows and columns lead.
    coordinates, offsets = _lay_out(rings.vertices, rings.offsets, order, matrix, transform.determinant < 0)
    polygon_offsets = np.append(exteriors, order.size)
    pixels = np.add.reduceat(rings.areas[order], exteriors) if exteriors.size else exteriors
    return Polygons(
        components=rings.labels[order][exteriors],
        classes=rings.classes[order][exteriors],
        pixels=pixels,
        geometry=shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (offsets, polygon_offsets)),
    )


@numba.njit(cache=True, nogil=True)
def _lay_out(vertices, offsets, order, matrix, backwards):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Coordinates of rings in a new order, each closed and starting as before."""
    out = np.empty((vertices.shape[0] + order.size, 2), np.float64)
    out_offsets = np.zeros(order.size + 1, np.int64)
    count = 0
    for rank in range(order.size):
        start, size = offsets[order[rank]], offsets[order[rank] + 1] - offsets[order[rank]]
        for at in range(size + 1):
            source = start + ((size - at) % size if backwards else at % size)
            row, col = vertices[source, 0], vertices[source, 1]
            out[count, 0] = col * matrix[0] + row * matrix[1] + matrix[2]
            out[count, 1] = col * matrix[3] + row * matrix[4] + matrix[5]
            count += 1
        out_offsets[rank + 1] = count
    return out, out_offsets


def gather_parts(polygons: Polygons, groups: Integers) -> Polygons:
    """Make one geometry of the polygons of each group, which touch at corners at most.

    Args:
        polygons: of 4-connected components.
        groups: `(polygons,)`: the 8-connected component of each.

    Returns:
        By group, ascending: a polygon where a group has one, else a multipolygon.
    """
    order = np.argsort(groups, kind="stable")
    numbers, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    if not numbers.size:
        return polygons
    geometry = polygons.geometry[order]
    several = np.repeat(counts > 1, counts)
    united = geometry[starts]
    united[counts > 1] = shapely.multipolygons(
        geometry[several], indices=np.repeat(np.arange((counts > 1).sum()), counts[counts > 1])
    )
    return Polygons(
        components=numbers,
        classes=polygons.classes[order][starts],
        pixels=np.add.reduceat(polygons.pixels[order], starts),
        geometry=united,
    )
