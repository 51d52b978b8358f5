"""What is seen of a map in a page: its rasters in few pixels, some of its polygons, and its doubtful places."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine

from geounet.grid import Window
from geounet.raster.placement import pixel_size
from geounet.raster.scene import opened, read, read_overview

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from geounet.raster.scene import Scene

    Pixels = NDArray[Any]
    Mask = NDArray[np.bool_]

SIDE = 1200
"""Pixels of a picture's longer side."""
MOST_POLYGONS = 5000
"""Polygons of a page: the largest ones."""
_CELLS = 24
"""Cells over the longer side among which doubtful places are looked for."""
_PLACES = 8
_LOOK = 192
"""Pixels of the raster along each side of a place that is shown by itself."""
NODATA = 255


@dataclass(frozen=True, slots=True)
class Plane:
    """The coordinates that a map is drawn in: those of its CRS, or of its pixels where these lie askew to it."""

    to_plane: Affine
    """From (column, row) of the raster."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    aspect: float
    """Length on the ground of a unit upward, in units to the right."""
    unit: str
    """What the coordinates are called."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x and y, greatest x and y."""
        corners = [self.to_plane @ corner for corner in ((0, 0), (self.width, self.height))]
        xs, ys = sorted(x for x, _ in corners), sorted(y for _, y in corners)
        return xs[0], ys[0], xs[1], ys[1]

    def upright(self, image: Pixels) -> Pixels:
        """A picture with its first row at the bottom and its first column at the left, as plots have it."""
        image = image[::-1] if self.to_plane.e < 0 else image
        return image[:, ::-1] if self.to_plane.a < 0 else image


def plane_of(scene: Scene) -> Plane:
    """The coordinates to draw a raster in."""
    if not scene.rectilinear or scene.crs is None:
        return Plane(Affine(1, 0, 0, 0, -1, 0), scene.height, scene.width, 1.0, "pixels")
    transform, size = scene.transform, pixel_size(scene)
    across, upward = abs(transform.a), abs(transform.e)
    aspect = 1.0 if size is None else (size[0] / upward) / (size[1] / across)
    unit = "degrees" if scene.crs.is_geographic else "metres"
    return Plane(transform, scene.height, scene.width, aspect, unit)


def few(scene: Scene) -> tuple[int, int]:
    """Rows and columns of a raster that a picture has."""
    shrink = max(1.0, max(scene.height, scene.width) / SIDE)
    return max(1, round(scene.height / shrink)), max(1, round(scene.width / shrink))


def stored_overview(scene: Scene, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A raster of bytes in few pixels, `(height, width)`: 255 where invalid."""
    values, valid = read_overview(scene, *shape)
    return np.where(valid, np.rint(values[0]), NODATA).astype(np.uint8)


@dataclass(slots=True)
class Fields:
    """What is counted of all polygons, and the ones that are drawn."""

    areas: NDArray[np.float64]
    """Hectares of each."""
    confidences: NDArray[np.float64]
    """Mean confidence of each; NaN where there is none."""
    hectares: dict[int, float]
    """By class."""
    counts: dict[int, int]
    """By class."""
    largest: Any
    """GeoDataFrame of at most :data:`MOST_POLYGONS`, in the plane's coordinates; None where there is no polygon."""


def gather(batches: Iterable[gpd.GeoDataFrame], most: int = MOST_POLYGONS) -> Fields:
    """Count polygons batch by batch, and keep the largest."""
    import pandas as pd

    areas, confidences = [np.empty(0)], [np.empty(0)]
    hectares: dict[int, float] = {}
    counts: dict[int, int] = {}
    largest: Any = None
    for frame in batches:
        size = frame["area_ha"].to_numpy(float, na_value=np.nan)
        size = frame.area.to_numpy() if np.isnan(size).all() else size
        areas.append(size)
        told = (
            frame["confidence"].to_numpy(float, na_value=np.nan)
            if "confidence" in frame
            else np.full(len(frame), np.nan)
        )
        confidences.append(told)
        for value, rows in frame.assign(size=size).groupby("class")["size"]:
            hectares[int(value)] = hectares.get(int(value), 0.0) + float(rows.sum())
            counts[int(value)] = counts.get(int(value), 0) + len(rows)
        both = frame.assign(size=size) if largest is None else pd.concat([largest, frame.assign(size=size)])
        largest = both.nlargest(most, "size")
    return Fields(np.concatenate(areas), np.concatenate(confidences), hectares, counts, largest)


def rings_of(shapes: Sequence[Any], scene: Scene, plane: Plane) -> tuple[list[Any], list[Any]]:
    """Coordinates of polygons as plots have them: of each its parts, of each part its outline and holes.

    Outlines are thinned to what the picture shows, and rounded to it.
    """
    pixel = max(scene.height, scene.width) / SIDE * abs(plane.to_plane.a)
    moved = np.asarray(shapes, object)
    if plane.to_plane != scene.transform:
        change = plane.to_plane @ ~scene.transform
        moved = shapely.transform(moved, lambda points: np.column_stack(change @ (points[:, 0], points[:, 1])))
    moved = shapely.simplify(moved, pixel / 2)
    digits = int(max(0, np.ceil(1 - np.log10(pixel))))
    xs, ys = [], []
    for shape in moved:
        parts = [part for part in shapely.get_parts(shape) if not part.is_empty]
        rings = [
            [np.round(shapely.get_coordinates(ring), digits) for ring in (part.exterior, *part.interiors)]
            for part in parts
        ]
        xs.append([[_plain(ring[:, 0], digits) for ring in part] for part in rings])
        ys.append([[_plain(ring[:, 1], digits) for ring in part] for part in rings])
    return xs, ys


def _plain(values: NDArray[np.float64], digits: int) -> list[Any]:
    plain: list[Any] = values.tolist() if digits else values.astype(np.int64).tolist()
    return plain


@dataclass(frozen=True, slots=True)
class Place:
    """A doubtful place."""

    confidence: float
    """Mean probability of the class there."""
    window: Window
    """Its pixels."""
    codes: Pixels
    """Classes there, `(height, width)`, 255 where invalid."""


def doubtful(classes: Scene, confidence: Scene) -> list[Place]:
    """The places whose mean confidence is least, least first; none beside one that is named already."""
    values, valid = read_overview(confidence, *few(confidence))
    found = values[0]
    rows, cols = found.shape
    cell = max(1, -(-max(rows, cols) // _CELLS))
    means = []
    for row in range(0, rows, cell):
        for col in range(0, cols, cell):
            part = valid[row : row + cell, col : col + cell]
            if part.mean() > 1 / 2:
                mean = float(found[row : row + cell, col : col + cell][part].mean())
                means.append((mean, row // cell, col // cell))
    chosen: list[tuple[float, int, int]] = []
    for mean, row, col in heapq.nsmallest(len(means), means):
        if len(chosen) < _PLACES and all(max(abs(row - r), abs(col - c)) > 1 for _, r, c in chosen):
            chosen.append((mean, row, col))
    scale = classes.height / rows * cell, classes.width / cols * cell
    return [_place(classes, mean, (row + 0.5) * scale[0], (col + 0.5) * scale[1]) for mean, row, col in chosen]


def _place(classes: Scene, mean: float, row: float, col: float) -> Place:
    side = min(_LOOK, classes.height, classes.width)
    top = int(min(max(row - side / 2, 0), classes.height - side))
    left = int(min(max(col - side / 2, 0), classes.width - side))
    window = Window(top, left, side, side)
    with opened(classes) as dataset:
        values, valid = read(dataset, classes, window)
    return Place(mean, window, np.where(valid, values[0], NODATA).astype(np.uint8))
