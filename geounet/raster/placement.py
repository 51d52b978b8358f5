"""Where a scene's pixels lie on the ground: windows and boxes of coordinates, and the size of a pixel in metres."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely import Polygon, STRtree

from geounet.errors import SceneError
from geounet.grid import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.raster.scene import Scene


def crs_name(scene: Scene) -> str | None:
    """What the scene's CRS calls itself, such as `WGS 84 / UTM zone 33N`; None without a CRS."""
    return None if scene.crs is None else CRS.from_user_input(scene.crs.to_wkt()).name


def crs_code(scene: Scene) -> str | None:
    """The scene's CRS as authority and code, such as `EPSG:32633`; None without a CRS, or where no authority has it."""
    authority = scene.crs and scene.crs.to_authority()
    return ":".join(authority) if authority else None


def pixel_size(scene: Scene) -> tuple[float, float] | None:
    """Height and width of the scene's middle pixel in metres on the ground; None without a CRS.

    Geodesic lengths on the CRS's own ellipsoid, so Web Mercator gives what a pixel covers, not what it claims.
    """
    if scene.crs is None:
        return None
    crs = CRS.from_user_input(scene.crs.to_wkt())
    col, row = scene.width / 2, scene.height / 2
    middle, right, below = (scene.transform @ point for point in ((col, row), (col + 1, row), (col, row + 1)))
    geod = crs.get_geod()
    if geod is None or crs.geodetic_crs is None:
        return math.dist(middle, below), math.dist(middle, right)
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    middle, right, below = (to_degrees.transform(*point) for point in (middle, right, below))
    return float(geod.inv(*middle, *below)[2]), float(geod.inv(*middle, *right)[2])


def window_of_bounds(scene: Scene, bounds: tuple[float, float, float, float]) -> Window:
    """The pixels that a box of coordinates touches, within the scene.

    Args:
        scene: whose pixels.
        bounds: minimum x, minimum y, maximum x, maximum y in the scene's CRS (pixel coordinates without one).

    Raises:
        SceneError: the box lies beside the scene.
    """
    if not all(math.isfinite(value) for value in bounds):
        raise SceneError(f"the box {bounds} is not made of finite numbers")
    min_x, min_y, max_x, max_y = bounds
    corners = [~scene.transform @ point for point in ((min_x, min_y), (min_x, max_y), (max_x, min_y), (max_x, max_y))]
    cols, rows = [point[0] for point in corners], [point[1] for point in corners]
    # A corner within a thousandth of a pixel of a pixel's edge means that edge.
    top, left = math.floor(min(rows) + 1e-3), math.floor(min(cols) + 1e-3)
    bottom, right = math.ceil(max(rows) - 1e-3), math.ceil(max(cols) - 1e-3)
    window = Window(top, left, max(0, bottom - top), max(0, right - left)).intersection(scene.extent)
    if not window.pixels:
        raise SceneError(f"the box {bounds} does not meet {scene.label}, which covers {bounds_of(scene)}")
    return window


def bounds_of(scene: Scene, window: Window | None = None) -> tuple[float, float, float, float]:
    """Minimum x, minimum y, maximum x, maximum y of a window (the whole scene by default)."""
    area = scene.extent if window is None else window
    corners = [
        scene.transform @ point
        for point in (
            (area.col, area.row),
            (area.col_stop, area.row),
            (area.col, area.row_stop),
            (area.col_stop, area.row_stop),
        )
    ]
    xs, ys = [point[0] for point in corners], [point[1] for point in corners]
    return min(xs), min(ys), max(xs), max(ys)


def transform_of(scene: Scene, window: Window) -> Affine:
    """The transform of an array that holds `window`."""
    return scene.transform @ Affine.translation(window.col, window.row)


def outline_of(scene: Scene, crs: CRS | None = None) -> Polygon:
    """The scene's edge as a polygon, in its own CRS (pixel coordinates without one) or in another.

    In another CRS an edge is no straight line: it is followed at 21 points. Where it cannot be projected, the polygon
    is empty.
    """
    steps = np.linspace(0, 1, 21)
    rising, low, high = steps[:-1], np.zeros(20), np.ones(20)
    cols = np.concatenate([rising, high, 1 - rising, low]) * scene.width
    rows = np.concatenate([low, rising, high, 1 - rising]) * scene.height
    x, y = scene.transform @ (cols, rows)
    if crs is not None and scene.crs is not None:
        try:
            move = Transformer.from_crs(CRS.from_user_input(scene.crs.to_wkt()), crs, always_xy=True)
        except ProjError:
            return Polygon()
        x, y = move.transform(x, y)
    return Polygon(np.stack([x, y], axis=1)) if np.isfinite([x, y]).all() else Polygon()


def overlapping(ones: Sequence[Scene], others: Sequence[Scene]) -> tuple[tuple[int, int], ...]:
    """Pairs of scenes, one of each side, that share ground: more than half a pixel of the one.

    Scenes without a CRS share ground with none. Scenes in different CRSs are compared in that of the one.
    """
    found: list[tuple[int, int]] = []
    for crs, mine in _by_crs(ones):
        for theirs in (indices for _crs, indices in _by_crs(others)):
            outlines = [outline_of(ones[i], crs) for i in mine]
            tree = STRtree([outline_of(others[j], crs) for j in theirs])
            for i, j in tree.query(outlines, predicate="intersects").T:
                pixel = abs(ones[mine[i]].transform.determinant)
                if outlines[i].intersection(tree.geometries[j]).area > pixel / 2:
                    found.append((mine[i], theirs[j]))
    return tuple(sorted(found))


def _by_crs(scenes: Sequence[Scene]) -> list[tuple[CRS, list[int]]]:
    """The indices of the scenes of each CRS."""
    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        if scene.crs is not None:
            groups.setdefault(scene.crs.to_wkt(), []).append(index)
    return [(CRS.from_wkt(wkt), indices) for wkt, indices in groups.items()]
