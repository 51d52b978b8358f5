"""Where windows of scenes lie on the globe, as polygons in longitude and latitude."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.polygon import orient

from geounet.raster.placement import outline_of, transform_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.raster.scene import Scene

    Points = NDArray[np.float64]

WGS84 = CRS.from_epsg(4326)
"""Longitude and latitude in degrees, as GeoJSON and STAC want them."""
_AROUND = 360.0
_NEARLY = 1e-4
"""Of the extent: what an edge may be off where it is drawn with fewer points."""


def footprint(scene: Scene, window: Window | None = None) -> shapely.Polygon | shapely.MultiPolygon | None:
    """The ground of a window (the whole scene by default): WGS 84 degrees, longitude first, counter-clockwise.

    Cut in two at the antimeridian, as GeoJSON asks for (RFC 7946, section 3.1.9).

    Returns:
        None without a CRS, or where it leads to no place on the globe.
    """
    area = scene.extent if window is None else window
    if scene.crs is None or not area.pixels:
        return None
    part = replace(scene, transform=transform_of(scene, area), height=area.height, width=area.width)
    outline = outline_of(part, WGS84)
    if outline.is_empty:
        return None
    west, south, east, north = outline.bounds
    points = shapely.get_coordinates(outline.simplify(_NEARLY * max(east - west, north - south)))
    return _cut(points) if _crosses(points) else orient(shapely.Polygon(points))


def _crosses(points: Points) -> bool:
    """Whether neighbours are more than half the globe apart: then the edge goes the other way around."""
    return bool((np.abs(np.diff(points[:, 0])) > _AROUND / 2).any())


def _cut(points: Points) -> shapely.MultiPolygon:
    """Both sides of the antimeridian."""
    eastern = points + np.where(points < 0, _AROUND, 0) * (1, 0)
    whole = shapely.make_valid(shapely.Polygon(eastern))
    west = whole.intersection(shapely.box(0, -90, _AROUND / 2, 90))
    east = shapely.transform(
        whole.intersection(shapely.box(_AROUND / 2, -90, 1.5 * _AROUND, 90)), lambda xy: xy - [_AROUND, 0]
    )
    parts = [part for part in shapely.get_parts([west, east]) if part.area]
    return shapely.MultiPolygon([orient(part) for part in parts])
