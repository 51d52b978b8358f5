"""Areas of a raster's pixels on the ellipsoid, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS

from geounet.grid import Window
from geounet.outlines.ground import survey
from geounet.raster.placement import pixel_size

if TYPE_CHECKING:
    import rasterio
    from affine import Affine
    from numpy.typing import NDArray

    from geounet.outlines.ground import Ground
    from geounet.raster.scene import Scene

    Floats = NDArray[np.float64]

_FINE = 1 << 23
"""Whole numbers that a pixel's area may have: 1e-7 of it is left out, and a million million pixels can be summed up."""
HECTARE = 1e4
"""Square metres."""


def row_areas(ground: Ground, window: Window) -> Floats:
    """Square metres of a pixel in each row of a window, `(height,)`: the mean over the window's columns."""
    top, left, right = np.arange(window.row, window.row_stop), window.col, window.col_stop
    corners = [(top, left), (top, right), (top + 1, right), (top + 1, left)]
    rings = np.stack([np.stack(np.broadcast_arrays(row, col), axis=-1) for row, col in corners], axis=1)
    # (rows, corners, row and column) -> (vertices, row and column)
    areas, _ = ground.measure(rings.reshape(-1, 2).astype(np.int32), 4 * np.arange(window.height + 1))
    return np.asarray(np.abs(areas) / window.width)


@dataclass(frozen=True, slots=True, eq=False)
class WholeAreas:
    """Areas as whole numbers, whose sums depend on no order."""

    rows: NDArray[np.int64]
    """`(height,)`: of a pixel in each row."""
    unit: float
    """Hectares that 1 stands for; NaN without a CRS, where 1 is a pixel."""

    def hectares(self, sums: NDArray[np.int64] | int) -> Floats:
        """Of sums of areas."""
        return np.asarray(sums, np.float64) * self.unit


def whole_areas(transform: Affine, height: int, width: int, crs: rasterio.CRS | None, like: Scene) -> WholeAreas:
    """The areas of a grid's pixels, the mean over each row.

    Args:
        transform: from (column, row) to coordinates.
        height: rows.
        width: columns.
        crs: of the coordinates.
        like: a scene with pixels of that size, which tells where the ground cannot be surveyed.
    """
    if crs is None:
        return WholeAreas(np.ones(height, np.int64), float("nan"))
    ground = survey(transform, height, width, CRS.from_wkt(crs.to_wkt()))
    if ground is None:
        size = pixel_size(like) or (1.0, 1.0)
        found = np.full(height, size[0] * size[1])
    else:
        found = row_areas(ground, Window(0, 0, height, width))
    unit = float(found.max()) / _FINE
    return WholeAreas(np.rint(found / unit).astype(np.int64), unit / HECTARE)
