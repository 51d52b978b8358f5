"""Zoom levels of web tiles (OGC Tile Matrix Set WebMercatorQuad, https://docs.ogc.org/is/17-083r4/17-083r4.html)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyproj import CRS

from geounet.errors import SceneError
from geounet.raster.globe import WGS84, bbox_of, cut
from geounet.raster.placement import outline_of, pixel_size

if TYPE_CHECKING:
    from geounet.raster.scene import Scene

TILE = 256
"""Pixels along a side of a tile."""
DEEPEST = 22
"""The last zoom level that there is a use for."""
HALF = math.pi * 6378137.0
"""Metres in Web Mercator from the middle of the map to its edge."""
NORTHERNMOST = 85.0511287
"""Degrees: where the square map ends."""


@dataclass(frozen=True, slots=True)
class Zooms:
    """From which to which zoom level there are tiles."""

    least: int
    """The one at which all is seen at once."""
    most: int
    """The one at which nothing more is to be seen."""

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most <= DEEPEST:
            raise ValueError(f"zoom levels from {self.least} to {self.most}: they go from 0 to {DEEPEST}")


def zoom_of(metres: float, latitude: float) -> int:
    """The first zoom level whose pixels are no larger on the ground than these."""
    widest = 2 * HALF / TILE * math.cos(math.radians(min(abs(latitude), NORTHERNMOST)))
    return min(max(math.ceil(math.log2(widest / metres) - 1e-6), 0), DEEPEST)


def resolution_at(zoom: int) -> float:
    """Metres in Web Mercator along a side of a pixel."""
    return 2 * HALF / TILE / (1 << zoom)


def zooms_over(box: tuple[float, float, float, float], most: int) -> Zooms:
    """Zoom levels for what lies in a box of degrees: from the one at which it fits into one tile."""
    west, south, east, north = box
    span = max(east - west, (north - south) / math.cos(math.radians(min(abs(south + north) / 2, 80.0))), 1e-9)
    return Zooms(min(max(math.floor(math.log2(360 / span)), 0), most), most)


def box_of(scene: Scene) -> tuple[float, float, float, float]:
    """West, south, east and north of a raster, within the square map.

    Raises:
        SceneError: it has no place on the globe, or lies across the antimeridian, where the map of tiles ends.
    """
    west, south, east, north = _around(scene)
    if west > east:
        raise SceneError(f"{scene.label} lies across the antimeridian, where the map of tiles ends; export its parts")
    return west, max(south, -NORTHERNMOST), east, min(north, NORTHERNMOST)


def _around(scene: Scene) -> list[float]:
    """The same, with west greater than east across the antimeridian."""
    outline = outline_of(scene, WGS84)
    if scene.crs is None or outline.is_empty:
        raise SceneError(f"{scene.label} has no CRS that leads to longitude and latitude, by which tiles are placed")
    return bbox_of(cut(outline, planar=CRS.from_wkt(scene.crs.to_wkt()).is_geographic))


def zooms_of(scene: Scene, least: int | None = None, most: int | None = None) -> Zooms:
    """Zoom levels for a raster: down to the one that shows its pixels; or what is asked for.

    Raises:
        SceneError: it has no place on the globe.
        ValueError: the least is more than the most.
    """
    west, south, east, north = _around(scene)
    # Across the antimeridian what fits into a tile is the whole map.
    box = (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)
    metres = min(pixel_size(scene) or (1.0,))
    deepest = zoom_of(metres, (box[1] + box[3]) / 2) if most is None else most
    return Zooms(min(zooms_over(box, deepest).least, deepest) if least is None else least, deepest)
