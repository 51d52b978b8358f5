"""A raster's polygons from its strips of tiles, top to bottom: what is complete goes on, what is not waits.

A strip is a row of tiles. Components that stay within their tile are final. The others are joined with their
neighbours in the strip and with those that wait from the strip above; those that reach no pixel of the strip's last
row that goes on below are complete then. So what waits is bounded by the components that are open at a row of the
raster, whatever its height.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.components import zonal
from geounet.components.labelling import Edge, edge_of, join, label_tile, number, open_labels
from geounet.outlines import polygons, rings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.outlines.polygons import Measure, Polygons
    from geounet.outlines.rings import Lines, Rings

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Layer = tuple[NDArray[Any], NDArray[np.bool_]]

_CORNERS = 8
_FEW = 1 << 16
"""Vertices below which waiting rings are put together, so that they do not wait in many small heaps."""


@dataclass(frozen=True, slots=True)
class Raster:
    """What all tiles have in common."""

    width: int
    """Columns."""
    transform: Affine
    """From (column, row) to coordinates."""
    connectivity: int = 4
    """4 or 8."""
    measure: Measure | None = None
    """Square metres and metres of rings, see :func:`geounet.outlines.polygons.build`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Pixels of a tile."""

    core: Window
    """Where it lies in the raster."""
    around: NDArray[np.uint8]
    """`(height + 2, width + 2)`: its classes and one pixel around it, 255 for nodata and beyond the raster."""
    layers: Callable[[], tuple[Layer, ...]]
    """Gives the rasters to sum up, values and valid mask `(height, width)`; waits for them if it must."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Components that go on beyond the area they are known in; parts are 4-connected, groups what is asked for."""

    parts: Edge
    """The parts at the area's edge."""
    groups: Edge
    """The groups there."""
    group_of_part: Integers
    """`(parts + 1,)`: the group of each part, 0 for 0."""
    rings: tuple[Rings, ...]
    """Closed rings by part."""
    arcs: Lines
    """Arcs by part."""
    sums: tuple[Floats, ...]
    """For each layer `(groups + 1, 7)`, see :mod:`geounet.components.zonal`."""


def nothing(layers: int = 0) -> Unfinished:
    """What waits above the first strip."""
    none = np.zeros(0, np.int64)
    edge = Edge(0, none, none, np.zeros(0, np.uint8))
    sums = tuple(zonal.nothing(1) for _ in range(layers))
    return Unfinished(edge, edge, np.zeros(1, np.int64), (), rings.no_lines(), sums)


def trace_tile(piece: Piece, raster: Raster) -> tuple[Unfinished, Polygons]:
    """Polygons of the components that stay within a tile, and what is known of the others."""
    around, core = piece.around, piece.core
    inner = np.ascontiguousarray(around[1:-1, 1:-1])
    labels = label_tile(inner)
    count = int(labels.max(initial=0))
    wide, group_of_part = labels, np.arange(count + 1)
    if raster.connectivity == _CORNERS:
        wide = label_tile(inner, _CORNERS)
        group_of_part[labels] = wide
    goes_on = open_labels(around, wide, int(wide.max(initial=0)), raster.connectivity)
    groups, parts = number(goes_on), number(goes_on[group_of_part])
    found, arcs = rings.outline_tile(around, labels, core, raster.width)
    sums = tuple(zonal.gather(wide, *layer, goes_on.size - 1) for layer in piece.layers())
    stays = parts[found.labels] == 0
    waiting = rings.relabelled(rings.take(found, ~stays), parts)
    unfinished = Unfinished(
        parts=edge_of(labels, inner, parts, core, raster.width),
        groups=edge_of(wide, inner, groups, core, raster.width),
        group_of_part=np.append(0, groups[group_of_part[parts > 0]]),
        rings=(waiting,),
        arcs=rings.relabelled(rings.take(arcs, np.arange(arcs.labels.size)), parts),
        sums=tuple(layer[np.append(0, np.flatnonzero(goes_on))] for layer in sums),
    )
    return unfinished, _build(rings.take(found, stays), group_of_part, raster, sums)


def _build(found: Rings, group_of_part: Integers, raster: Raster, sums: tuple[Floats, ...]) -> Polygons:
    groups, built = polygons.build(found, group_of_part, raster.transform, raster.measure)
    return replace(built, statistics=tuple(layer[groups] for layer in sums))


def stitch(
    above: Unfinished, tiles: Sequence[Unfinished], below: NDArray[np.uint8], bottom: int, raster: Raster
) -> tuple[Unfinished, Polygons]:
    """Join the tiles of a strip with each other and with what waits above.

    Args:
        above: what waits.
        tiles: of the strip, in any order.
        below: `(width,)`: classes of the row below the strip, 255 for nodata and below the raster.
        bottom: the strip's last row.
        raster: what they belong to.

    Returns:
        What waits now, and the polygons of the components that are complete.
    """
    areas = [above, *tiles]
    tables = join([area.parts for area in areas], raster.width)
    wide = tables
    if raster.connectivity == _CORNERS:
        wide = join([area.groups for area in areas], raster.width, _CORNERS)
    group_of_part = _group_of_part(areas, tables, wide)
    sums = _merge_sums(areas, wide)
    row = _last_row(tiles, tables[1:], wide[1:], bottom, raster.width)
    goes_on = np.zeros(group_of_part.max(initial=0) + 1, np.bool_)
    goes_on[row.groups[_meets(row.classes, below, raster.connectivity)]] = True
    goes_on[0] = False
    heaps, arcs = _join_outlines(areas, tables)
    ready = ~goes_on[group_of_part]
    complete = rings.concatenate([rings.no_rings(), *(rings.take(heap, ready[heap.labels]) for heap in heaps)])
    groups, parts = number(goes_on), number(goes_on[group_of_part])
    waiting = Unfinished(
        parts=Edge(int(parts.max()), row.places, parts[row.parts], row.classes),
        groups=Edge(int(groups.max()), row.places, groups[row.groups], row.classes),
        group_of_part=np.append(0, groups[group_of_part[parts > 0]]),
        rings=_heaps([_left(heap, ready, parts) for heap in heaps]),
        arcs=rings.relabelled(arcs, parts),
        sums=tuple(layer[np.append(0, np.flatnonzero(goes_on))] for layer in sums),
    )
    return waiting, _build(complete, group_of_part, raster, sums)


def _group_of_part(areas: Sequence[Unfinished], tables: Sequence[Integers], wide: Sequence[Integers]) -> Integers:
    table = np.zeros(max(int(part.max(initial=0)) for part in tables) + 1, np.int64)
    for area, part, group in zip(areas, tables, wide, strict=True):
        table[part] = group[area.group_of_part]
    return table


def _merge_sums(areas: Sequence[Unfinished], wide: Sequence[Integers]) -> tuple[Floats, ...]:
    owners = np.concatenate(wide)
    layers = [np.concatenate(layer) for layer in zip(*(area.sums for area in areas), strict=True)]
    return tuple(zonal.merge(layer, owners, int(owners.max()) + 1) for layer in layers)


@dataclass(frozen=True, slots=True)
class _Row:
    """Pixels of a strip's last row, in ascending order, with their components."""

    places: Integers
    parts: Integers
    groups: Integers
    classes: NDArray[np.uint8]


def _last_row(
    tiles: Sequence[Unfinished], tables: Sequence[Integers], wide: Sequence[Integers], bottom: int, width: int
) -> _Row:
    start = bottom * width
    row = _Row(
        np.arange(start, start + width), np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width, np.uint8)
    )
    for tile, part, group in zip(tiles, tables, wide, strict=True):
        here = tile.parts.places >= start
        cols = tile.parts.places[here] - start
        row.parts[cols] = part[tile.parts.labels[here]]
        row.groups[cols] = group[tile.groups.labels[here]]
        row.classes[cols] = tile.parts.classes[here]
    return row


def _meets(classes: NDArray[np.uint8], below: NDArray[np.uint8], connectivity: int) -> NDArray[np.bool_]:
    """Which pixels of a row meet their class in the row below."""
    met: NDArray[np.bool_] = classes == below
    if connectivity == _CORNERS:
        met[1:] |= classes[1:] == below[:-1]
        met[:-1] |= classes[:-1] == below[1:]
    return met


def _join_outlines(areas: Sequence[Unfinished], tables: Sequence[Integers]) -> tuple[list[Rings], Lines]:
    """Closed rings, the heap of this strip last, and arcs that still wait; by joined part."""
    arcs = [rings.relabelled(area.arcs, table) for area, table in zip(areas, tables, strict=True)]
    closed, waiting = rings.join_arcs(rings.concatenate(arcs))
    older = [rings.relabelled(heap, tables[0]) for heap in areas[0].rings]
    newer = [
        rings.relabelled(heap, table) for area, table in zip(areas[1:], tables[1:], strict=True) for heap in area.rings
    ]
    return [*older, rings.concatenate([closed, *newer])], waiting


def _left(heap: Rings, ready: NDArray[np.bool_], parts: Integers) -> Rings:
    """The rings that wait on; the heap itself where all do, which copies nothing."""
    wait = ~ready[heap.labels]
    return rings.relabelled(heap if wait.all() else rings.take(heap, wait), parts)


def _heaps(heaps: Sequence[Rings]) -> tuple[Rings, ...]:
    """Heaps of rings without the empty ones, small ones put together."""
    large = [heap for heap in heaps if heap.vertices.shape[0] >= _FEW]
    small = [heap for heap in heaps if heap.vertices.shape[0] < _FEW and heap.labels.size]
    return (*large, rings.concatenate(small)) if small else tuple(large)
