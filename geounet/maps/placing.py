"""Products on the grid of a map: cut out where their pixels are the map's, else by nearest pixels.

Between two CRSs, places are computed at every 64th pixel of the map's lattice, counted from the map's own corner of
coordinates and not from any tile, and in between by bilinear interpolation: over 64 pixels, projections bend by less
than a thousandth of a pixel. So no pixel depends on the tiles, or on what else is on the map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS, Transformer

from geounet.classes import NODATA
from geounet.compiling import compiled
from geounet.grid import Window
from geounet.maps.frame import Frame, offset_on
from geounet.raster.placement import outline_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.maps.layers import LayerOf
    from geounet.raster.class_raster import ReadStored

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float64]

STEP = 64
"""Pixels between two places that are projected."""
_SLACK = 5e-4
"""Pixels: half of what lattices are told apart by."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One product and where it lies on the map."""

    layer: LayerOf
    """The product."""
    area: Window
    """What it may cover of the map."""
    offset: tuple[int, int] | None
    """Row and column of the map where its first pixel lies; None where it is resampled."""


def place(layer: LayerOf, frame: Frame) -> Placed:
    """Find what a product covers of a map."""
    scene, offset = layer.classes, offset_on(layer.classes, frame)
    if offset is not None:
        return Placed(layer, Window(*offset, scene.height, scene.width), offset)
    x, y = outline_of(scene, CRS.from_wkt(frame.crs.to_wkt())).exterior.xy
    cols, rows = ~frame.transform @ (np.asarray(x), np.asarray(y))
    row, col = int(np.floor(rows.min())) - STEP, int(np.floor(cols.min())) - STEP
    area = Window(row, col, int(np.ceil(rows.max())) + STEP - row, int(np.ceil(cols.max())) + STEP - col)
    return Placed(layer, area.intersection(frame.extent), None)


def read_placed(placed: Placed, frame: Frame, window: Window, readers: Sequence[ReadStored]) -> Bytes:
    """Rasters of one product in a window of the map, 255 where any of them has nothing: `(rasters, height, width)`.

    Args:
        placed: the product.
        frame: the map's grid.
        window: of the map.
        readers: of rasters on the product's grid, as :func:`geounet.raster.class_raster.stored_reader` gives them.
    """
    scene = placed.layer.classes
    shape = window.height, window.width
    out = np.full((len(readers), *shape), NODATA, np.uint8)
    if placed.offset is not None:
        row, col = placed.offset
        moved = Window(window.row - row, window.col - col, *shape)
        inner = moved.intersection(scene.extent)
        if inner.pixels:
            out[:, *inner.within(moved)] = _stored(readers, inner)
        return out
    rows, cols = _nodes(scene.transform, scene.crs, frame, window)
    inner = _reach(rows, cols).intersection(scene.extent)
    if inner.pixels:
        first = _first(frame, window)
        _gather(  # type: ignore[no-untyped-call]
            rows, cols, first[0], first[1], inner.row, inner.col, _stored(readers, inner), out
        )
    return out


def _stored(readers: Sequence[ReadStored], window: Window) -> Bytes:
    """What is invalid in one is 255 in all."""
    found = [read(window) for read in readers]
    valid = np.logical_and.reduce([seen for _, seen in found])
    return np.stack([np.where(valid, values, NODATA) for values, _ in found]).astype(np.uint8, copy=False)


def _first(frame: Frame, window: Window) -> tuple[int, int]:
    """How far a window's first row and column lie behind the nodes before them."""
    row, col = _number(frame)
    return (row + window.row) % STEP, (col + window.col) % STEP


def _number(frame: Frame) -> tuple[int, int]:
    """Number of the frame's first row and column on its lattice, whatever the frame's extent."""
    # Not rounded: a lattice may lie half a pixel off.
    up, right = frame.transform.f / abs(frame.transform.e), frame.transform.c / frame.transform.a
    return math.floor(_SLACK - up), math.floor(_SLACK + right)


def _nodes(transform: Affine, crs: Any, frame: Frame, window: Window) -> tuple[Floats, Floats]:
    """Rows and columns of the product, in fractions, at every 64th corner of pixels around a window of the map."""
    behind = _first(frame, window)
    heights = np.arange(-behind[0], window.height + STEP, STEP) + window.row
    widths = np.arange(-behind[1], window.width + STEP, STEP) + window.col
    cols, rows = np.meshgrid(widths.astype(np.float64), heights.astype(np.float64))
    x, y = frame.transform @ (cols, rows)
    if crs != frame.crs:
        move = Transformer.from_crs(CRS.from_wkt(frame.crs.to_wkt()), CRS.from_wkt(crs.to_wkt()), always_xy=True)
        x, y = move.transform(x, y)
    found = ~transform @ (np.asarray(x), np.asarray(y))
    return np.ascontiguousarray(found[1]), np.ascontiguousarray(found[0])


def _reach(rows: Floats, cols: Floats) -> Window:
    """The product's pixels that lie between the nodes."""
    finite = np.isfinite(rows) & np.isfinite(cols)
    if not finite.any():
        return Window(0, 0, 0, 0)
    row, col = int(np.floor(rows[finite].min())), int(np.floor(cols[finite].min()))
    return Window(row, col, int(np.ceil(rows[finite].max())) - row + 1, int(np.ceil(cols[finite].max())) - col + 1)


@compiled
def _gather(rows, cols, first_row, first_col, top, left, stored, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill each output by the pixel in which the middle of each of its own lies."""
    count, height, width = out.shape
    for row in range(height):
        down = (row + 0.5 + first_row) / 64.0
        i = int(down)
        below = down - i
        for col in range(width):
            across = (col + 0.5 + first_col) / 64.0
            j = int(across)
            right = across - j
            y = (rows[i, j] * (1 - right) + rows[i, j + 1] * right) * (1 - below) + (
                rows[i + 1, j] * (1 - right) + rows[i + 1, j + 1] * right
            ) * below
            x = (cols[i, j] * (1 - right) + cols[i, j + 1] * right) * (1 - below) + (
                cols[i + 1, j] * (1 - right) + cols[i + 1, j + 1] * right
            ) * below
            if not (np.isfinite(x) and np.isfinite(y)):
                continue
            r, c = int(np.floor(y)) - top, int(np.floor(x)) - left
            if 0 <= r < stored.shape[1] and 0 <= c < stored.shape[2]:
                for raster in range(count):
                    out[raster, row, col] = stored[raster, r, c]
