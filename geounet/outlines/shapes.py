"""Polygons as ragged arrays on a raster's lattice, taken apart and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.outlines.bends import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affine import Affine
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Points = NDArray[np.int32]
    Geometry = NDArray[Any]

_OFF_LATTICE = 1e-3
"""Pixels that a vertex may lie beside the corner of pixels that it is."""


def coordinates(rows: NDArray[Any], cols: NDArray[Any], transform: Affine) -> Floats:
    """Coordinates `(..., 2)`, by the same steps in the same order as when polygons are made: to the same bits."""
    x = cols * transform.a + rows * transform.b + transform.c
    y = cols * transform.d + rows * transform.e + transform.f
    return np.stack([x, y], axis=-1)


@dataclass(frozen=True, slots=True)
class Shape:
    """Polygons and multipolygons as ragged arrays."""

    vertices: Points
    """`(vertices, 2)`: row and column; the last vertex of a ring is its first."""
    rings: Integers
    """Where each ring starts in `vertices`, and the end."""
    parts: Integers
    """Where each part starts in `rings`, and the end; exteriors come first."""
    polygons: Integers
    """Where each polygon starts in `parts`, and the end."""


def take_apart(batches: Iterable[Geometry], transform: Affine) -> Shape:
    """Polygons, which come batch by batch and need not be held, as one shape.

    Raises:
        ValueError: a vertex is no corner of the raster's pixels.
    """
    chunks = [_some_apart(geometry, transform) for geometry in batches]
    vertices, *sizes = zip(*chunks, strict=True) if chunks else ((np.zeros((0, 2), np.int32),), (), (), ())
    return Shape(np.concatenate(vertices), *(_offsets(np.concatenate([np.zeros(0, int), *some])) for some in sizes))


def _offsets(sizes: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _some_apart(geometry: Geometry, transform: Affine) -> tuple[Points, Integers, Integers, Integers]:
    """Vertices; vertices of rings, rings of parts, parts of polygons."""
    parts = shapely.get_parts(geometry)
    rings = shapely.get_rings(parts)
    vertices = lattice(shapely.get_coordinates(rings), transform)
    of_ring = shapely.get_num_coordinates(rings).astype(np.int64)
    of_part = shapely.get_num_interior_rings(parts).astype(np.int64) + 1
    return vertices, of_ring, of_part, shapely.get_num_geometries(geometry).astype(np.int64)


def lattice(coordinates: Floats, transform: Affine) -> Points:
    """Rows and columns of pixels' corners."""
    x, y = coordinates.T
    inverse = ~transform
    exact = np.stack(
        [x * inverse.d + y * inverse.e + inverse.f, x * inverse.a + y * inverse.b + inverse.c], axis=-1
    )  # fmt: skip
    whole = np.rint(exact)
    off = np.abs(exact - whole).max(initial=0.0)
    if not off <= _OFF_LATTICE:
        raise ValueError(f"a vertex lies {off:.3g} pixels beside the corner of a pixel: simplify outlines along pixels")
    vertices: Points = whole.astype(np.int32)
    return vertices


def put_together(shape: Shape, first: int, last: int, transform: Affine) -> Geometry:
    """Polygons from `first` to before `last`, multipolygons where they have several parts.

    Args:
        shape: with vertices in parts of a pixel, see :data:`geounet.outlines.bends.PARTS`.
        first: of the shape's polygons, from 0.
        last: the one after the last.
        transform: from (column, row) to coordinates.
    """
    if first == last:
        return np.zeros(0, object)
    polygons = shape.polygons[first : last + 1]
    parts = shape.parts[polygons[0] : polygons[-1] + 1]
    rings = shape.rings[parts[0] : parts[-1] + 1]
    rows, cols = (shape.vertices[rings[0] : rings[-1]] / PARTS).T
    offsets = rings - rings[0], parts - parts[0]
    pieces = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, coordinates(rows, cols, transform), offsets
    )  # fmt: skip
    starts = polygons - polygons[0]
    several = np.diff(starts) > 1
    geometry: Geometry = pieces[starts[:-1]]
    which = np.repeat(np.cumsum(several) - 1, np.diff(starts))[np.repeat(several, np.diff(starts))]
    geometry[several] = shapely.multipolygons(pieces[np.repeat(several, np.diff(starts))], indices=which)
    return geometry
