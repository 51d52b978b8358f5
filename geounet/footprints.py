"""Where windows of scenes lie on the globe, as polygons in longitude and latitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geounet.placement import transform_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.scene import Scene

    Points = NDArray[np.float64]

_STEPS = 8
"""Points an edge, whose image in degrees is no straight line."""
_AROUND = 360.0


def footprint(scene: Scene, window: Window | None = None) -> shapely.Polygon | shapely.MultiPolygon | None:
    """The ground of a window (the whole scene by default): WGS 84 degrees, longitude first, counter-clockwise.

    Cut in two at the antimeridian, as GeoJSON asks for (RFC 7946, section 3.1.9).

    Returns:
        None without a CRS, or where it leads to no place on the globe.
    """
    area = scene.extent if window is None else window
    if scene.crs is None or not area.pixels:
        return None
    steps = np.linspace(0, 1, _STEPS, endpoint=False)
    low, high = np.zeros(_STEPS), np.ones(_STEPS)
    cols = np.concatenate([steps, high, 1 - steps, low]) * area.width
    rows = np.concatenate([low, steps, high, 1 - steps]) * area.height
    x, y = transform_of(scene, area) @ (cols, rows)
    try:
        move = Transformer.from_crs(CRS.from_user_input(scene.crs.to_wkt()), "EPSG:4326", always_xy=True)
        points = np.column_stack(move.transform(x, y))  # (points, 2)
    except ProjError:
        return None
    if not np.isfinite(points).all():
        return None
    return _cut(points) if _crosses(points) else shapely.geometry.polygon.orient(shapely.Polygon(points))


def _crosses(points: Points) -> bool:
    """Whether neighbours are more than half the globe apart: then the edge goes the other way around."""
    return bool((np.abs(np.diff(points[:, 0], append=points[:1, 0])) > _AROUND / 2).any())


def _cut(points: Points) -> shapely.MultiPolygon:
    """Both sides of the antimeridian."""
    eastern = points + np.where(points < 0, _AROUND, 0) * (1, 0)
    whole = shapely.make_valid(shapely.Polygon(eastern))
    west = whole.intersection(shapely.box(0, -90, _AROUND / 2, 90))
    east = shapely.transform(
        whole.intersection(shapely.box(_AROUND / 2, -90, 1.5 * _AROUND, 90)), lambda xy: xy - [_AROUND, 0]
    )
    parts = [part for part in shapely.get_parts([west, east]) if part.area]
    return shapely.MultiPolygon([shapely.geometry.polygon.orient(part) for part in parts])
