"""An area of interest: polygons in any CRS, outside which a scene does not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import LabelError, SceneError
from geounet.raster.burning import outlines
from geounet.raster.placement import bounds_of, window_of_bounds
from geounet.raster.screens import AreaScreen
from geounet.sources.polygon_files import read_polygons

if TYPE_CHECKING:
    from geounet.raster.scene import Scene

_PIECES = 1000
"""An edge is cut such that so many pieces make the diagonal of all: straight lines of one CRS are none in another."""


def within_area(scene: Scene, path: str) -> Scene:
    """A scene of which only what lies in the polygons of a file counts.

    Raises:
        SceneError: the file holds no polygon, has no CRS where the scene has one, or misses the scene.
    """
    import shapely

    try:
        frame = read_polygons(path)
    except LabelError as error:
        raise SceneError(f"the area of interest: {error}") from error
    areas = frame[frame.geom_type.isin(["Polygon", "MultiPolygon"])]
    if areas.empty:
        raise SceneError(f"the area of interest {path} holds no polygon")
    if scene.crs is not None and frame.crs is None:
        raise SceneError(f"the area of interest {path} has no CRS, but {scene.label} has; give it one")
    if scene.crs is not None:
        left, bottom, right, top = areas.total_bounds
        cut = areas.geometry.segmentize(max(np.hypot(right - left, top - bottom) / _PIECES, 1e-12))
        areas = cut.to_crs(scene.crs.to_wkt())
    geometries = np.asarray(areas.geometry.array, object)
    drawn = outlines(geometries, np.ones(len(geometries), np.uint8), ~scene.transform)
    there = shapely.intersection(shapely.union_all(shapely.make_valid(geometries)), shapely.box(*bounds_of(scene)))
    if there.is_empty or not there.area:
        raise SceneError(
            f"the area of interest {path} misses {scene.label}, which covers {bounds_of(scene)} in its CRS; give one "
            "that meets it, or leave --aoi out"
        )
    screen = AreaScreen(str(Path(path)), geometries, drawn)
    return replace(scene, screens=(*scene.screens, screen), focus=window_of_bounds(scene, there.bounds))
