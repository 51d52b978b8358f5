"""Where windows of scenes lie on the globe, as polygons in longitude and latitude."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from geounet.raster.globe import WGS84, cut
from geounet.raster.placement import outline_of, transform_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.raster.scene import Scene

    Points = NDArray[np.float64]

_AROUND = 360.0
_NEARLY = 1e-4
"""Of the extent: what an edge may be off where it is drawn with fewer points."""


def footprint(scene: Scene, window: Window | None = None) -> shapely.Polygon | shapely.MultiPolygon | None:
    """The ground of a window (the whole scene by default): WGS 84 degrees, longitude first, counter-clockwise.

    Cut at the antimeridian and closed at the poles, see :mod:`geounet.raster.globe`.

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
    if _crosses(shapely.get_coordinates(outline)):
        ground: shapely.Polygon | shapely.MultiPolygon = cut(outline)
        return ground
    west, south, east, north = outline.bounds
    points = shapely.get_coordinates(outline.simplify(_NEARLY * max(east - west, north - south)))
    return orient(shapely.Polygon(points))


def _crosses(points: Points) -> bool:
    """Whether neighbours are more than half the globe apart, or beyond its longitudes."""
    far = np.abs(np.diff(points[:, 0])) > _AROUND / 2
    return bool(far.any() or (np.abs(points[:, 0]) > _AROUND / 2).any())
