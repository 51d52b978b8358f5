"""Polygons on the globe in longitude and latitude, as RFC 7946 wants them: cut at the antimeridian, closed at poles.

A ring that crosses the antimeridian jumps by about 360 degrees there. Followed without the jumps it is a plain ring,
or, where it goes around a pole, a line from one side of the globe to the other, which is closed along the pole's
latitude. The plain ring is then cut at 180 degrees and each part brought back (RFC 7946, section 3.1.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
import shapely.affinity
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WGS84 = CRS.from_epsg(4326)
"""Longitude and latitude in degrees, as GeoJSON and STAC want them."""
_AROUND = 360.0
_STEPS = 64
"""Into how many pieces the longer side of a polygon that crosses is cut: its straight edges are curves on the globe."""


def has_place(crs: CRS | None) -> bool:
    """Whether coordinates of a CRS lead to longitude and latitude: not without one, nor from one of a building site."""
    if crs is None:
        return False
    try:
        Transformer.from_crs(crs, WGS84, always_xy=True)
    except ProjError:
        return False
    return True


def to_globe(shapes: NDArray[Any], crs: CRS) -> NDArray[Any]:
    """Polygons in longitude and latitude.

    Args:
        shapes: `(n,)` shapely polygons and multipolygons, valid.
        crs: theirs.

    Returns:
        `(n,)` polygons and multipolygons in WGS 84, longitudes from -180 to 180. Those that cross the antimeridian or
        hold a pole are cut and may have become multipolygons; the others have their own vertices.
    """
    move = Transformer.from_crs(crs, WGS84, always_xy=True)
    moved = _moved(shapes, move)
    odd = np.flatnonzero(_is_odd(moved, planar=crs.is_geographic))
    for index in odd:
        side = max(np.ptp(shapely.bounds(shapes[index]).reshape(2, 2), axis=0))
        fine = shapely.segmentize(shapes[index], side / _STEPS)
        moved[index] = cut(_moved(np.array([fine], object), move)[0], planar=crs.is_geographic)
    return moved


def _moved(shapes: NDArray[Any], move: Transformer) -> NDArray[Any]:
    return np.asarray(shapely.transform(shapes, lambda points: np.stack(move.transform(*points.T), axis=1)), object)


def _is_odd(shapes: NDArray[Any], *, planar: bool) -> NDArray[np.bool_]:
    """Which of the shapes leave the range of longitudes or, where the CRS is no plane of degrees, jump within it."""
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    odd = np.zeros(len(shapes), np.bool_)
    odd[owner[np.abs(points[:, 0]) > _AROUND / 2]] = True
    if not planar:
        jumps = np.flatnonzero((np.abs(np.diff(points[:, 0])) > _AROUND / 2) & (owner[1:] == owner[:-1]))
        odd[owner[jumps]] = True
    return odd


def cut(shape: Any, *, planar: bool = False) -> Any:
    """A polygon or multipolygon in degrees, cut where it crosses the antimeridian and closed where it holds a pole.

    Args:
        shape: in longitude and latitude; its rings may jump at the antimeridian, or go beyond it.
        planar: a jump within a ring is a long edge and no crossing, as in rasters of a plane of degrees.

    Returns:
        A valid polygon or multipolygon, longitudes from -180 to 180; outer rings counter-clockwise, holes clockwise.
    """
    parts = [_cut_part(part, planar) for part in shapely.get_parts(shape)]
    whole = shapely.union_all(parts)
    areas = [part for part in shapely.get_parts(whole) if part.geom_type == "Polygon" and part.area]
    return shapely.orient_polygons(areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas))


def _cut_part(part: Any, planar: bool) -> Any:
    outer, *holes = (_cut_ring(shapely.get_coordinates(ring), planar) for ring in (part.exterior, *part.interiors))
    return outer.difference(shapely.union_all(holes)) if holes else outer


def _cut_ring(points: Floats, planar: bool) -> Any:
    """What a ring holds, in the range of longitudes."""
    followed = points if planar else _followed(points)
    whole = shapely.make_valid(shapely.Polygon(followed))
    west, _, east, _ = whole.bounds
    turns = range(int(np.floor((west + 180) / _AROUND)), int(np.ceil((east + 180) / _AROUND)))
    pieces = []
    for turn in turns:
        window = shapely.box(turn * _AROUND - 180, -90, turn * _AROUND + 180, 90)
        piece = whole.intersection(window)
        pieces.append(shapely.affinity.translate(piece, -turn * _AROUND))
    return shapely.union_all(pieces)


def _followed(points: Floats) -> Floats:
    """A ring without jumps; one that goes around a pole is closed along its latitude."""
    longitudes = np.unwrap(points[:, 0], period=_AROUND)
    followed = np.stack([longitudes, points[:, 1]], axis=1)
    if abs(longitudes[-1] - longitudes[0]) < _AROUND / 2:
        return followed
    pole = np.copysign(90.0, points[:, 1].mean())
    return np.concatenate([followed, [[longitudes[-1], pole], [longitudes[0], pole]], followed[:1]])


def bbox_of(shape: Any) -> list[float]:
    """West, south, east, north; west of a shape that lies on both sides of the antimeridian is greater than east.

    As RFC 7946, section 5.2, and STAC want it.
    """
    west, south, east, north = (float(value) for value in shape.bounds)
    boxes = shapely.bounds(shapely.get_parts(shape))
    if west == -180 and east == 180 and not (boxes[:, 2] - boxes[:, 0] == _AROUND).any():  # noqa: PLR2004
        left, right = boxes[boxes[:, 2] == 180], boxes[boxes[:, 0] == -180]  # noqa: PLR2004
        return [float(left[:, 0].min()), south, float(right[:, 2].max()), north]
    return [west, south, east, north]
