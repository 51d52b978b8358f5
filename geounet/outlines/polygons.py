"""Rings to polygons: measured, written as well-known binary (OGC 06-103r4, 8), in an order of their own.

A polygon stands as bytes until someone wants an object: files take the bytes as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from geounet.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.outlines.rings import Rings

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Bytes = NDArray[np.uint8]
    Measure = Callable[[NDArray[np.int32], Integers], tuple[Floats, Floats]]

BAND = 1024
"""Rows of a band and columns of a cell, see :func:`in_order`."""
_POLYGON, _MULTIPOLYGON = 3, 6
_HEAD, _COUNT, _POINT = 9, 4, 16
"""Bytes of a geometry's head, of a ring's count, of a point."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """Polygons and multipolygons, each with what is known of it."""

    classes: NDArray[np.uint8]
    """`(polygons,)`."""
    pixels: Integers
    """`(polygons,)`."""
    areas: Floats
    """`(polygons,)`: square metres; NaN where the ground is not known."""
    lengths: Floats
    """`(polygons,)`: metres of all rings; NaN where the ground is not known."""
    first_rows: Integers
    """`(polygons,)`: row of the first pixel in raster order."""
    first_cols: Integers
    """`(polygons,)`: its column."""
    last_rows: Integers
    """`(polygons,)`: the last row with a pixel."""
    boxes: Floats
    """`(polygons, 4)`: least x and y, greatest x and y."""
    offsets: Integers
    """`(polygons + 1,)`: where each polygon starts in `wkb`, and the end."""
    wkb: Bytes
    """Well-known binary; exteriors counter-clockwise in coordinates, holes clockwise (RFC 7946, 3.1.6)."""
    statistics: tuple[Floats, ...] = ()
    """For each raster of values `(polygons, 7)`, see :mod:`geounet.components.zonal`."""

    def __len__(self) -> int:
        return int(self.classes.size)

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """`(polygons,)`: 3 for polygons, 6 for multipolygons."""
        return self.wkb[self.offsets[:-1] + 1]

    def to_arrow(self) -> pa.Array:
        """`wkb` as an Arrow array, without a copy; at most 2 GiB."""
        offsets = pa.py_buffer(self.offsets.astype(np.int32))
        return pa.Array.from_buffers(pa.binary(), len(self), [None, offsets, pa.py_buffer(self.wkb)])

    def geometry(self) -> NDArray[Any]:
        """`(polygons,)` of shapely objects."""
        whole, starts = self.wkb.tobytes(), self.offsets.tolist()
        parts = np.empty(len(self), object)
        parts[:] = [whole[start:stop] for start, stop in pairwise(starts)]
        return np.asarray(shapely.from_wkb(parts))


def build(
    rings: Rings, components: Integers, transform: Affine, measure: Measure | None = None
) -> tuple[Integers, Polygons]:
    """Put rings together to polygons.

    Args:
        rings: of 4-connected components, each with its exterior and all its holes.
        components: a table from the rings' labels to components, which are multipolygons where they have more than
            one label.
        transform: from (column, row) to coordinates.
        measure: from vertices and offsets of rings to their square metres and metres.

    Returns:
        The component of each polygon, and the polygons, in raster order of their first pixels; so are the parts of
        one, and the holes of a part.
    """
    order = _ring_order(rings, components)
    exteriors = np.flatnonzero(rings.areas[order] > 0)
    owners = components[rings.labels[order][exteriors]]
    # Where a part begins a polygon, among the parts, and at the end.
    heads = np.append(np.flatnonzero(np.diff(owners, prepend=-1)), owners.size)
    parts = np.append(exteriors, order.size)
    ring_starts = parts[heads]
    polygon_of_ring = np.repeat(np.arange(heads.size - 1), np.diff(ring_starts))
    sizes = _sizes(np.diff(rings.offsets)[order], parts, heads)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    wkb, boxes, last_rows = _encoded(rings, order, parts, heads, offsets, transform)
    areas, lengths = _measured(rings, order, measure)
    first = rings.vertices[rings.offsets[order[ring_starts[:-1]]]].astype(np.int64).reshape(-1, 2)
    count = heads.size - 1
    polygons = Polygons(
        classes=rings.classes[order[ring_starts[:-1]]],
        pixels=np.bincount(polygon_of_ring, rings.areas[order], count).astype(np.int64),
        # The exterior's sign on the screen is that of its pixels: holes count down.
        areas=np.bincount(polygon_of_ring, areas, count).astype(np.float64),
        lengths=np.bincount(polygon_of_ring, lengths, count).astype(np.float64),
        first_rows=first[:, 0],
        first_cols=first[:, 1],
        last_rows=last_rows,
        boxes=boxes,
        offsets=offsets,
        wkb=wkb,
    )
    return owners[heads[:-1]], polygons


def _encoded(
    rings: Rings, order: Integers, parts: Integers, heads: Integers, offsets: Integers, transform: Affine
) -> tuple[Bytes, Floats, Integers]:
    """Bytes, boxes and last rows of polygons."""
    count = heads.size - 1
    boxes, last_rows = np.tile([np.inf, np.inf, -np.inf, -np.inf], (count, 1)), np.zeros(count, np.int64)
    matrix, longest = np.array(transform[:6], np.float64), int(np.diff(rings.offsets).max(initial=0))
    points = np.zeros(2 * longest + 2, np.float64)
    wkb = _encode(
        rings.vertices, rings.offsets, order, parts, heads, matrix, transform.determinant < 0, offsets, boxes,
        last_rows, points, points.view(np.uint8),
    )  # fmt: skip
    return wkb, boxes, last_rows


def _measured(rings: Rings, order: Integers, measure: Measure | None) -> tuple[Floats, Floats]:
    if measure is None:
        return np.full(order.size, np.nan), np.full(order.size, np.nan)
    areas, lengths = measure(rings.vertices, rings.offsets)
    return areas[order], lengths[order]


def _ring_order(rings: Rings, components: Integers) -> Integers:
    """Rings by component, part and place: an exterior starts above its holes, so it comes first."""
    starts = rings.vertices[rings.offsets[:-1]].astype(np.int64)
    places = (starts[:, 0] << 32) + starts[:, 1]
    outer = rings.areas > 0
    far = np.iinfo(np.int64).max
    of_part = np.full(components.size, far)
    of_part[rings.labels[outer]] = places[outer]
    of_component = np.full(components.max(initial=0) + 1, far)
    np.minimum.at(of_component, components, of_part)
    part = of_part[rings.labels]
    return np.lexsort((places, part, of_component[components[rings.labels]]))


def _sizes(lengths: Integers, parts: Integers, heads: Integers) -> Integers:
    """Bytes of each polygon, from the vertices of its rings."""
    if heads.size == 1:
        return np.zeros(0, np.int64)
    of_rings = _COUNT + _POINT * (lengths + 1)
    of_parts = _HEAD + np.add.reduceat(of_rings, parts[:-1])
    several = np.diff(heads) > 1
    sizes: Integers = np.add.reduceat(of_parts, heads[:-1]) + _HEAD * several
    return sizes


@compiled
def _put_count(out: Bytes, at: int, count: int) -> int:
    for byte in range(4):
        out[at + byte] = (count >> (8 * byte)) & 255
    return at + 4


@compiled
def _put_ring(
    vertices: NDArray[np.int32], start: int, stop: int, matrix: Floats, backwards: bool, out: Bytes, at: int,
    box: Floats, points: Floats, raw: Bytes,
) -> int:  # fmt: skip
    """Write a closed ring, and widen its polygon's box."""
    size = stop - start
    at = _put_count(out, at, size + 1)
    left, low, right, high = box[0], box[1], box[2], box[3]
    for step in range(size + 1):
        source = start if step in (0, size) else (stop - step if backwards else start + step)
        row, col = vertices[source, 0], vertices[source, 1]
        x = col * matrix[0] + row * matrix[1] + matrix[2]
        y = col * matrix[3] + row * matrix[4] + matrix[5]
        points[2 * step], points[2 * step + 1] = x, y
        left, low, right, high = min(left, x), min(low, y), max(right, x), max(high, y)
    out[at : at + 16 * (size + 1)] = raw[: 16 * (size + 1)]
    box[0], box[1], box[2], box[3] = left, low, right, high
    return at + 16 * (size + 1)


@compiled
def _encode(
    vertices: NDArray[np.int32], ring_offsets: Integers, order: Integers, parts: Integers, heads: Integers,
    matrix: Floats, backwards: bool, offsets: Integers, boxes: Floats, last_rows: Integers, points: Floats, raw: Bytes,
) -> Bytes:  # fmt: skip
    """Bytes of polygons; fills in their boxes and last rows. `points` has room for a ring, `raw` is its bytes."""
    out = np.empty(offsets[-1], np.uint8)
    for polygon in range(heads.size - 1):
        at = offsets[polygon]
        if heads[polygon + 1] - heads[polygon] > 1:
            out[at] = 1
            at = _put_count(out, _put_count(out, at + 1, _MULTIPOLYGON), heads[polygon + 1] - heads[polygon])
        for part in range(heads[polygon], heads[polygon + 1]):
            out[at] = 1
            at = _put_count(out, _put_count(out, at + 1, _POLYGON), parts[part + 1] - parts[part])
            for rank in range(parts[part], parts[part + 1]):
                start, stop = ring_offsets[order[rank]], ring_offsets[order[rank] + 1]
                at = _put_ring(vertices, start, stop, matrix, backwards, out, at, boxes[polygon], points, raw)
                last = last_rows[polygon]
                for vertex in range(start, stop):
                    last = max(last, vertices[vertex, 0] - 1)
                last_rows[polygon] = last
    return out


def column(parts: Sequence[Polygons], name: str) -> NDArray[Any]:
    """A field of several batches, at least one, as one array."""
    return np.concatenate([getattr(part, name) for part in parts])


def sizes_of(parts: Sequence[Polygons]) -> Integers:
    """Bytes of each polygon of several batches, at least one."""
    return np.concatenate([np.diff(part.offsets) for part in parts])


def take(parts: Sequence[Polygons], wanted: Integers) -> Polygons:
    """Some of the polygons of several batches, by their indices, which go on from one to the next, in that order."""
    columns = {
        item.name: column(parts, item.name)[wanted]
        for item in fields(Polygons)
        if item.name not in ("offsets", "wkb", "statistics")
    }
    offsets = np.concatenate([[0], np.cumsum(sizes_of(parts)[wanted])]).astype(np.int64)
    wkb = np.empty(offsets[-1], np.uint8)
    ends = np.cumsum([len(part) for part in parts])
    owners = np.searchsorted(ends, wanted, "right")
    for number, part in enumerate(parts):
        at = np.flatnonzero(owners == number)
        _put_bytes(part.offsets, part.wkb, wanted[at] - (ends[number] - len(part)), offsets[at], wkb)
    layers = zip(*(part.statistics for part in parts), strict=True)
    statistics = tuple(np.concatenate(layer)[wanted] for layer in layers)
    return Polygons(offsets=offsets, wkb=wkb, statistics=statistics, **columns)


@compiled
def _put_bytes(offsets: Integers, data: Bytes, chosen: Integers, starts: Integers, out: Bytes) -> None:
    for at in range(chosen.size):
        first, stop = offsets[chosen[at]], offsets[chosen[at] + 1]
        out[starts[at] : starts[at] + stop - first] = data[first:stop]


def in_order(parts: Sequence[Polygons], band: int = BAND) -> Integers:
    """Indices of polygons, for :func:`take`, in the order in which they are written, which knows nothing of tiles.

    Bands of `band` rows from the raster's top: a polygon belongs to the one in which it ends. Within a band cells of
    `band` columns, by the first pixel, and within a cell raster order of the first pixels. So a reader from the top
    knows the polygons of a band, and their order, once it has read the band, however large others still grow; and
    neighbours in the file are neighbours on the ground.
    """
    first_rows, first_cols = column(parts, "first_rows"), column(parts, "first_cols")
    return np.lexsort((first_cols, first_rows, first_cols // band, column(parts, "last_rows") // band))
