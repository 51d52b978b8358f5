"""Area and perimeter on the ground of geometries in any CRS: on the CRS's own ellipsoid, of the finished geometry.

An edge is the straight line between its ends *in the CRS*, as a raster's pixels have it (not a geodesic), so long
edges are cut into short pieces first. A piece's length follows from the ellipsoid's radii of curvature at its
middle; areas are those of a cylindrical equal-area projection (Snyder, Map Projections, USGS PP 1395, 1987, eq.
3-12), where a ring's area is a sum over its edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_PIECE = 500.0
"""Longest piece of an edge in a projected CRS, in metres: in UTM it strays from the edge by a centimetre or two."""
_PIECE_IN_DEGREES = 20_000.0
"""The same in a geographic CRS, whose parallels and meridians are straight in the equal-area projection as well."""
_CHUNK = 1 << 15
"""About how many vertices are measured at once, which bounds the memory."""
_AT_POLE = np.radians(90) - 1e-10
"""From this latitude on a point is the pole, where longitude means nothing."""


@dataclass(frozen=True, slots=True)
class _Ellipsoid:
    """A body and its surface."""

    radius: float
    """Equatorial radius in metres."""
    eccentricity: float
    """First eccentricity, 0 for a sphere."""

    def authalic(self, latitude: Floats) -> Floats:
        """Area between equator and parallel a radian of longitude wide, over radius squared (Snyder's q / 2)."""
        sine, e = np.sin(latitude), self.eccentricity
        if e == 0:
            return sine
        return (1 - e * e) / 2 * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)

    def length(self, latitude: Floats, d_latitude: Floats, d_longitude: Floats) -> Floats:
        """Length in metres of short lines with this latitude in their middle."""
        w2 = 1 - (self.eccentricity * np.sin(latitude)) ** 2
        prime_vertical = self.radius / np.sqrt(w2)
        meridian = prime_vertical * (1 - self.eccentricity**2) / w2
        return np.hypot(meridian * d_latitude, prime_vertical * np.cos(latitude) * d_longitude)


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
    on_ground = crs.geodetic_crs is not None and crs.ellipsoid is not None
    measured = (_on_ground if on_ground else _on_plan)(vertices, ring_of_vertex, crs)
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
    """Points `(points, 2)` along all edges, not further apart than `longest`, and the ring of each; none twice."""
    within = ring_of_vertex[1:] == ring_of_vertex[:-1]
    start, step = vertices[:-1][within], np.diff(vertices, axis=0)[within]
    pieces = _pieces(np.hypot(*step.T) / longest)
    which = np.repeat(np.arange(pieces.size), pieces)
    number = np.arange(which.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return start[which] + step[which] * (number / pieces[which])[:, None], ring_of_vertex[:-1][within][which]


def _pieces(lengths: Floats) -> Integers:
    """Pieces of edges whose lengths are given in longest pieces.

    What a chord leaves out grows with the cube of a piece's length. Short edges are cut finer than they must be, with
    the square root of their length: then the error keeps its proportion to the squared length of the edge, and the
    areas of neighbours, of which one has vertices where the other has none, add up.
    """
    wanted = np.maximum(np.sqrt(12.5 * lengths), lengths)
    # Coordinates far beyond the CRS's domain must not ask for endless pieces.
    pieces: Integers = np.ceil(np.clip(wanted, 1, 10_000)).astype(np.int64)
    return pieces


def _rings_of(ring: Integers) -> tuple[Integers, Integers]:
    """For each point the first point of its ring, and the next one, which for the last is the first."""
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    lengths = np.diff(np.append(starts, ring.size))
    first, following = np.repeat(starts, lengths), np.arange(1, ring.size + 1)
    following[starts + lengths - 1] = starts
    return first, following


def _on_plan(vertices: Floats, ring_of_vertex: Integers, crs: CRS) -> tuple[Integers, Floats, Floats]:
    """Ring, signed area and length of each edge in a plane."""
    metre = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    points, ring = _points(vertices, ring_of_vertex, np.inf)
    first, following = _rings_of(ring)
    x, y = (points - points[first]).T * metre
    area = (x * y[following] - x[following] * y) / 2
    return ring, area, np.hypot(x[following] - x, y[following] - y)


def _on_ground(vertices: Floats, ring_of_vertex: Integers, crs: CRS) -> tuple[Integers, Floats, Floats]:
    """Ring, signed area and length of each piece of an edge on the ellipsoid."""
    ellipsoid = _ellipsoid(crs)
    to_radians, unit = _to_radians(crs)
    longest = _PIECE / unit if crs.is_projected else _PIECE_IN_DEGREES / (unit * ellipsoid.radius)
    points, ring = _points(vertices, ring_of_vertex, longest)
    first, following = _rings_of(ring)
    longitude, latitude = to_radians(points)
    d_latitude = latitude[following] - latitude
    d_longitude = np.remainder(longitude[following] - longitude + np.pi, 2 * np.pi) - np.pi
    # Where a projection shows the pole as a point, a piece that ends there runs along its other end's meridian.
    at_pole = np.abs(latitude) > _AT_POLE
    d_longitude[at_pole != at_pole[following]] = 0.0
    height = ellipsoid.authalic(latitude)
    area = _strips(ellipsoid, height, height[following], height[first], d_longitude, ring)
    length = ellipsoid.length(latitude + d_latitude / 2, d_latitude, d_longitude)
    return ring, area * ellipsoid.radius**2, length


def _strips(
    ellipsoid: _Ellipsoid, start: Floats, stop: Floats, first: Floats, d_longitude: Floats, ring: Integers
) -> Floats:
    """The area between each piece and a parallel of its ring's, over radius squared; heights are authalic.

    The parallel of the ring's first vertex keeps the numbers small, and so exact. A ring around a pole, or through
    it, does not come back to its longitude: what is left of the turn is closed at the pole.
    """
    turn = np.bincount(ring, d_longitude)[ring]
    pole = np.copysign(ellipsoid.authalic(np.array(np.pi / 2)), first)
    base = np.where(np.abs(turn) > 1e-6, pole, first)  # noqa: PLR2004 - radians
    return ((start - base) + (stop - base)) / 2 * d_longitude


def _ellipsoid(crs: CRS) -> _Ellipsoid:
    body: Any = crs.ellipsoid
    ratio = body.semi_minor_metre / body.semi_major_metre
    return _Ellipsoid(body.semi_major_metre, float(np.sqrt(max(0.0, 1 - ratio**2))))


def _to_radians(crs: CRS) -> tuple[Callable[[Floats], tuple[Floats, Floats]], float]:
    """A function from coordinates `(n, 2)` to longitudes and latitudes; metres (or radians) in a unit of the CRS."""
    geodetic: Any = crs.geodetic_crs
    radians = geodetic.axis_info[0].unit_conversion_factor
    if crs.is_geographic and not crs.is_derived:
        return lambda points: (points[:, 0] * radians, points[:, 1] * radians), radians
    transformer = Transformer.from_crs(crs, geodetic, always_xy=True)

    def transform(points: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = transformer.transform(points[:, 0], points[:, 1])
        return _finite(longitude) * radians, _finite(latitude) * radians

    return transform, crs.axis_info[0].unit_conversion_factor


def _finite(values: Floats) -> Floats:
    """PROJ says infinity where there is nothing; NaN goes through sums without a warning."""
    return np.where(np.isfinite(values), values, np.nan)
