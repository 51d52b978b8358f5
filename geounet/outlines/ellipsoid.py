"""The body that a coordinate reference system stands on, and the way from coordinates to places on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pyproj import CRS

    Floats = NDArray[np.float64]
    ToRadians = Callable[[Floats], tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Ellipsoid:
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

    def cartesian(self, longitude: Floats, latitude: Floats) -> Floats:
        """Geocentric metres `(..., 3)` of places on the surface, in radians."""
        sine, cosine = np.sin(latitude), np.cos(latitude)
        prime_vertical = self.radius / np.sqrt(1 - (self.eccentricity * sine) ** 2)
        around = prime_vertical * cosine
        up = prime_vertical * (1 - self.eccentricity**2) * sine
        return np.stack([around * np.cos(longitude), around * np.sin(longitude), up], axis=-1)


def ellipsoid_of(crs: CRS) -> Ellipsoid | None:
    """The body of a CRS; None for a plan, which stands on none."""
    body: Any = crs.ellipsoid
    if crs.geodetic_crs is None or body is None:
        return None
    ratio = body.semi_minor_metre / body.semi_major_metre
    return Ellipsoid(body.semi_major_metre, float(np.sqrt(max(0.0, 1 - ratio**2))))


def unit_of(crs: CRS) -> float:
    """Metres (radians, for a geographic CRS) in a unit of the coordinates."""
    return float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0


def to_radians(crs: CRS) -> ToRadians:
    """A function from coordinates `(n, 2)` to longitudes and latitudes; NaN where the CRS has none."""
    geodetic: Any = crs.geodetic_crs
    radians = geodetic.axis_info[0].unit_conversion_factor
    if crs.is_geographic and not crs.is_derived:
        return lambda points: (points[:, 0] * radians, points[:, 1] * radians)
    transformer = Transformer.from_crs(crs, geodetic, always_xy=True)

    def transform(points: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = transformer.transform(points[:, 0], points[:, 1])
        return _finite(longitude) * radians, _finite(latitude) * radians

    return transform


def _finite(values: Floats) -> Floats:
    """PROJ says infinity where there is nothing; NaN goes through sums without a warning."""
    return np.where(np.isfinite(values), values, np.nan)
