"""Area and perimeter on the ground of geometries in any CRS: on the CRS's own ellipsoid, of the finished geometry.

An edge is the straight line between its ends *in the CRS*, as a raster's pixels have it (not a geodesic), so long
edges are cut into short pieces first. A piece's length follows from the ellipsoid's radii of curvature; areas are
those of a cylindrical equal-area projection (Snyder, Map Projections, USGS PP 1395, 1987, eq. 3-12), where a ring's
area is a sum over its edges, and an edge is taken as the parabola through its ends and its middle: without its bend a
small polygon in UTM would be wrong by 1e-5. For rasters :mod:`geounet.outlines.ground` is faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS

from geounet.outlines.ellipsoid import ellipsoid_of, to_radians, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from geounet.outlines.ellipsoid import Ellipsoid

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_PIECE = 2000.0
"""Longest piece of an edge in a projected CRS, in metres."""
_PIECE_IN_DEGREES = 20_000.0
"""The same in a geographic CRS, whose parallels and meridians are straight in the equal-area projection as well."""
_BEND = 1e-2
"""Radians of longitude over which a parabola follows an edge; only near a pole is a piece longer."""
_CHUNK = 1 << 15
"""About how many vertices are measured at once, which bounds the memory."""
_AT_POLE = np.radians(90) - 1e-10
"""From this latitude on a point is the pole, where longitude means nothing."""


def measure(geometry: NDArray[Any], crs: Any) -> tuple[Floats, Floats]:
    """Area and perimeter of polygons on the ground.

    Args:
        geometry: `(polygons,)` of shapely polygons and multipolygons with coordinates in `crs`.
        crs: anything pyproj takes for a CRS, or None for pixel coordinates.

    Returns:
        Area in hectares and perimeter in metres, holes' outlines included; both NaN where `crs` is None, or where
        the CRS has no coordinates for a vertex. A CRS that stands on no ellipsoid (a plan) is measured as a plane.
    """
    if crs is None or not len(geometry):
        return np.full(len(geometry), np.nan), np.full(len(geometry), np.nan)
    system = CRS.from_user_input(crs)
    sizes = np.cumsum(shapely.get_num_coordinates(geometry)) // _CHUNK
    chunks = np.split(geometry, np.flatnonzero(np.diff(sizes)) + 1)
    areas, perimeters = zip(*(_measure_chunk(chunk, system) for chunk in chunks), strict=True)
    return np.concatenate(areas) / 1e4, np.concatenate(perimeters)


def _measure_chunk(geometry: NDArray[Any], crs: CRS) -> tuple[Floats, Floats]:
    vertices, ring_of_vertex, owners, signs = _rings(geometry)
    ellipsoid = ellipsoid_of(crs)
    measured = (
        _on_plan(vertices, ring_of_vertex, crs)
        if ellipsoid is None
        else _on_ground(vertices, ring_of_vertex, crs, ellipsoid)
    )
    ring_areas, ring_lengths = (_sum_up(measured[0], part, len(owners)) for part in measured[1:])
    areas = _sum_up(owners, signs * np.abs(ring_areas), len(geometry))
    return areas, _sum_up(owners, ring_lengths, len(geometry))


def _sum_up(owners: Integers, values: Floats, count: int) -> Floats:
    return np.bincount(owners, values, count).astype(np.float64)


def _rings(geometry: NDArray[Any]) -> tuple[Floats, Integers, Integers, Floats]:
    """Vertices, the ring of each, the geometry each ring belongs to, and 1 for exteriors, -1 for holes."""
    parts, owner_of_part = shapely.get_parts(geometry, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    vertices, ring_of_vertex = shapely.get_coordinates(rings, return_index=True)
    is_exterior = np.diff(part_of_ring, prepend=-1) > 0
    return vertices, ring_of_vertex, owner_of_part[part_of_ring], np.where(is_exterior, 1.0, -1.0)


def _points(vertices: Floats, ring_of_vertex: Integers, longest: float) -> tuple[Floats, Integers]:
    """Starts and middles, in turn, of the pieces of all edges, `(points, 2)`, and the ring of each; none twice."""
    within = ring_of_vertex[1:] == ring_of_vertex[:-1]
    start, step = vertices[:-1][within], np.diff(vertices, axis=0)[within]
    # Coordinates far beyond the CRS's domain must not ask for endless pieces.
    halves = 2 * np.ceil(np.clip(np.hypot(*step.T) / longest, 1, 10_000)).astype(np.int64)
    which = np.repeat(np.arange(halves.size), halves)
    number = np.arange(which.size) - np.repeat(np.cumsum(halves) - halves, halves)
    return start[which] + step[which] * (number / halves[which])[:, None], ring_of_vertex[:-1][within][which]


def _rings_of(ring: Integers) -> tuple[Integers, Integers]:
    """For each point the first point of its ring, and the next one, which for the last is the first."""
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    lengths = np.diff(np.append(starts, ring.size))
    first, following = np.repeat(starts, lengths), np.arange(1, ring.size + 1)
    following[starts + lengths - 1] = starts
    return first, following


def _on_plan(vertices: Floats, ring_of_vertex: Integers, crs: CRS) -> tuple[Integers, Floats, Floats]:
    """Ring, signed area and length of each edge in a plane."""
    points, ring = _points(vertices, ring_of_vertex, np.inf)
    first, following = _rings_of(ring)
    x, y = (points - points[first]).T * unit_of(crs)
    area = (x * y[following] - x[following] * y) / 2
    return ring, area, np.hypot(x[following] - x, y[following] - y)


def _on_ground(
    vertices: Floats, ring_of_vertex: Integers, crs: CRS, ellipsoid: Ellipsoid
) -> tuple[Integers, Floats, Floats]:
    """Ring, signed area and length of each piece of an edge on the ellipsoid."""
    unit = unit_of(crs)
    longest = _PIECE / unit if crs.is_projected else _PIECE_IN_DEGREES / (unit * ellipsoid.radius)
    points, ring = _points(vertices, ring_of_vertex, longest)
    first, following = _rings_of(ring)
    longitude, latitude = to_radians(crs)(points)
    d_latitude = latitude[following] - latitude
    d_longitude = np.remainder(longitude[following] - longitude + np.pi, 2 * np.pi) - np.pi
    # Where a projection shows the pole as a point, a piece that ends there runs along its other end's meridian.
    at_pole = np.abs(latitude) > _AT_POLE
    d_longitude[at_pole != at_pole[following]] = 0.0
    height = ellipsoid.authalic(latitude) - _base(ellipsoid.authalic, latitude[first], d_longitude, ring)
    area = _strips(height, height[following], d_longitude)
    length = ellipsoid.length(latitude + d_latitude / 2, d_latitude, d_longitude)
    return ring, area * ellipsoid.radius**2, length


def _base(authalic: Callable[[Floats], Floats], first: Floats, d_longitude: Floats, ring: Integers) -> Floats:
    """Authalic height of the parallel from which the strips under a ring's edges are measured.

    That of the ring's first vertex keeps the numbers small, and so exact. A ring around a pole, or through it, does
    not come back to its longitude: what is left of the turn is closed at the pole.
    """
    turn = np.bincount(ring, d_longitude)[ring]
    pole = np.copysign(authalic(np.array(np.pi / 2)), first)
    return np.where(np.abs(turn) > 1e-6, pole, authalic(first))  # noqa: PLR2004 - radians


def _strips(start: Floats, stop: Floats, d_longitude: Floats) -> Floats:
    """The area under each half of a piece, over radius squared, from heights at its ends."""
    straight = (start + stop) / 2 * d_longitude
    before, after = d_longitude[::2], d_longitude[1::2]
    # Simpson's rule is exact where height and longitude are parabolas of one parameter: at 0, 1/2 and 1 the longitude
    # changes with it by 3 before - after, before + after, 3 after - before.
    bent = (
        start[::2] * (3 * before - after) + 4 * start[1::2] * (before + after) + stop[1::2] * (3 * after - before)
    ) / 6
    follows = np.maximum(np.abs(before), np.abs(after)) < _BEND
    straight[::2] += np.where(follows, bent - straight[::2] - straight[1::2], 0.0)
    return straight
