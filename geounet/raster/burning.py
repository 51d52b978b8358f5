"""Polygons burnt onto pixels: what a pixel gets depends on the polygons and the grid, not on the window asked for.

Edges are held in pixel coordinates of the whole raster, and where an edge crosses a row is worked out there, so that
all windows round alike. GDAL's own burning shifts the polygon to the window first: a pixel centre that lies on an
edge then falls now on this side, now on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affine import Affine
    from numpy.typing import NDArray

    from geounet.grid import Window

    Codes = NDArray[np.uint8]
    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

_POLYGON = 3
"""Shapely's type of a simple polygon."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Polygons as edges, in the order in which they are burnt: the last one wins."""

    edges: Floats
    """`(edges, 4)`: column and row of the one end and of the other, in pixels of the whole raster."""
    starts: Integers
    """`(polygons + 1,)`: polygon `i` has the edges from `starts[i]` to before `starts[i + 1]`."""
    bounds: Floats
    """`(polygons, 4)`: lowest column and row, highest column and row."""
    codes: Codes
    """`(polygons,)`: the class of each."""
    low: Integers
    """Those of the polygons that are no higher than `height`, in order of their first row."""
    tops: Floats
    """The lowest row of each of these, rising."""
    tall: Integers
    """The others, few."""
    height: float
    """Rows that 99 of 100 polygons span at most."""

    @property
    def without_centre(self) -> int:
        """How many are so low or narrow that they can hold no pixel's centre: these at least are not seen."""
        first, stop = np.ceil(self.bounds[:, :2] - 0.5), np.ceil(self.bounds[:, 2:] - 0.5)
        return int((first >= stop).any(axis=1).sum())

    def near(self, window: Window) -> Integers:
        """The polygons whose bounds meet a window, in the order in which they are burnt; of many, few are looked at."""
        start, stop = np.searchsorted(self.tops, (window.row - self.height, window.row_stop))
        some = np.sort(np.concatenate([self.tall, self.low[start:stop]]))
        least, most = self.bounds[some, :2], self.bounds[some, 2:]
        meets = (least < (window.col_stop, window.row_stop)).all(axis=1) & (most > (window.col, window.row)).all(axis=1)
        found: Integers = some[meets]
        return found


def outlines(geometries: Any, codes: Any, to_pixels: Affine) -> Outlines:
    """The outlines of polygons.

    Args:
        geometries: shapely geometries; what is no polygon or part of one (points, lines) is left out.
        codes: the class of each, 0 to 255.
        to_pixels: from their coordinates to (column, row).
    """
    import shapely

    parts, owner = _simple_polygons(np.asarray(geometries, object))
    rings, part = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    with np.errstate(invalid="ignore"):
        cols, rows = to_pixels @ points.T
    inside = np.flatnonzero(ring[1:] == ring[:-1])
    edges = np.stack([cols[inside], rows[inside], cols[inside + 1], rows[inside + 1]], axis=1)
    # What a projection threw to infinity lies nowhere.
    held = np.ones(parts.size, np.bool_)
    held[part[ring[inside]][~np.isfinite(edges).all(axis=1)]] = False
    kept = held[part[ring[inside]]]
    edges, of_part = edges[kept], np.cumsum(held)[part[ring[inside]][kept]] - 1
    starts = np.searchsorted(of_part, np.arange(held.sum() + 1))
    bounds = _bounds(edges, starts)
    return Outlines(edges, starts, bounds, np.asarray(codes, np.uint8)[owner[held]], *_by_height(bounds))


def joined(parts: Sequence[Outlines]) -> Outlines:
    """Outlines as one, burnt in this order."""
    shifts = np.cumsum([0, *(len(part.edges) for part in parts)])
    starts = [part.starts[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
    bounds = np.concatenate([part.bounds for part in parts])
    return Outlines(
        np.concatenate([part.edges for part in parts]),
        np.concatenate([*starts, shifts[-1:]]),
        bounds,
        np.concatenate([part.codes for part in parts]),
        *_by_height(bounds),
    )


def _by_height(bounds: Floats) -> tuple[Integers, Floats, Integers, float]:
    """See :class:`Outlines`."""
    heights = bounds[:, 3] - bounds[:, 1]
    limit = float(np.quantile(heights, 0.99)) if heights.size else 0.0
    low = np.flatnonzero(heights <= limit)
    low = low[np.argsort(bounds[low, 1], kind="stable")]
    return low, bounds[low, 1], np.flatnonzero(heights > limit), limit


def _simple_polygons(geometries: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    """The polygons of any geometries, collections within collections too, and which geometry each is of."""
    import shapely

    owner = np.arange(geometries.size)
    while (shapely.get_type_id(geometries) > _POLYGON).any():
        geometries, index = shapely.get_parts(geometries, return_index=True)
        owner = owner[index]
    chosen = (shapely.get_type_id(geometries) == _POLYGON) & ~shapely.is_empty(geometries)
    return geometries[chosen], owner[chosen]


def _bounds(edges: Floats, starts: Integers) -> Floats:
    if starts.size == 1:
        return np.empty((0, 4))
    lowest = np.minimum.reduceat(np.minimum(edges[:, :2], edges[:, 2:]), starts[:-1], axis=0)
    highest = np.maximum.reduceat(np.maximum(edges[:, :2], edges[:, 2:]), starts[:-1], axis=0)
    return np.concatenate([lowest, highest], axis=1)


def burn(drawn: Outlines, window: Window, background: int, all_touched: bool = False) -> Codes:
    """The class of each pixel of a window.

    A pixel gets the class of the last polygon that holds its centre. As in GDAL, a centre on an edge counts if the
    polygon lies below or to the left of it. Polygons are even-odd: what two rings of one polygon hold is outside.

    Args:
        drawn: the polygons.
        window: may reach beyond the raster.
        background: the class outside all polygons.
        all_touched: also the pixels whose inside an outline crosses: all that share some area with the polygon.

    Returns:
        `(height, width)` uint8.
    """
    out = np.full((window.height, window.width), background, np.uint8)
    chosen = drawn.near(window)
    _burn(out, drawn.edges, drawn.starts, drawn.bounds, drawn.codes, chosen, window.row, window.col, all_touched)
    return out


@compiled
def _burn(
    out: Codes, edges: Floats, starts: Integers, bounds: Floats, codes: Codes, chosen: Integers,
    row: int, col: int, all_touched: bool,
) -> None:  # fmt: skip
    for polygon in chosen:
        own = edges[starts[polygon] : starts[polygon + 1]]
        top = max(row, int(np.floor(bounds[polygon, 1])))
        bottom = min(row + out.shape[0], int(np.ceil(bounds[polygon, 3])))
        if top < bottom:
            _fill(out, own, codes[polygon], row, col, top, bottom)
            if all_touched:
                _trace(out, own, codes[polygon], row, col, top, bottom)


@compiled
def _rows_crossed(edge: Floats, top: int, bottom: int) -> tuple[int, int]:
    """The rows, from one to before the other, whose middle the edge crosses; its lower end is not part of it."""
    low, high = min(edge[1], edge[3]), max(edge[1], edge[3])
    return max(top, int(np.ceil(low - 0.5))), min(bottom, int(np.ceil(high - 0.5)))


@compiled
def _fill(out: Codes, edges: Floats, code: int, row: int, col: int, top: int, bottom: int) -> None:
    """Colour between the first and second, third and fourth ... crossing of each row's middle."""
    ends = np.zeros(bottom - top + 1, np.int64)
    for edge in edges:
        first, stop = _rows_crossed(edge, top, bottom)
        for at in range(first, stop):
            ends[at - top + 1] += 1
    ends = np.cumsum(ends)
    crossings, free = np.empty(ends[-1], np.int64), ends[:-1].copy()
    for edge in edges:
        first, stop = _rows_crossed(edge, top, bottom)
        for at in range(first, stop):
            crossings[free[at - top]] = int(np.floor(_col_at(edge, at + 0.5) + 0.5))
            free[at - top] += 1
    for at in range(top, bottom):
        cols = np.sort(crossings[ends[at - top] : ends[at - top + 1]])
        for pair in range(0, cols.size - 1, 2):
            out[at - row, max(cols[pair] - col, 0) : max(cols[pair + 1] - col, 0)] = code


@compiled
def _col_at(edge: Floats, at: float) -> float:
    """Where an edge that is not level is at a row; from its upper end, so that either direction gives the same."""
    col, row, to_col, to_row = edge[0], edge[1], edge[2], edge[3]
    if row > to_row:
        col, row, to_col, to_row = to_col, to_row, col, row
    return float((at - row) * (to_col - col) / (to_row - row) + col)


@compiled
def _trace(out: Codes, edges: Floats, code: int, row: int, col: int, top: int, bottom: int) -> None:
    """Colour each pixel whose inside an edge passes through."""
    for edge in edges:
        low, high = min(edge[1], edge[3]), max(edge[1], edge[3])
        left, right = min(edge[0], edge[2]), max(edge[0], edge[2])
        level = low == high
        if level and low == np.floor(low):
            continue
        for at in range(max(top, int(np.floor(low))), min(bottom, int(np.ceil(high)))):
            one, other = left, right
            if not level:
                one, other = _col_at(edge, max(low, float(at))), _col_at(edge, min(high, at + 1.0))
            # Rounding must not lead beyond the edge's ends.
            first, stop = max(left, min(one, other)), min(right, max(one, other))
            out[at - row, max(int(np.floor(first)) - col, 0) : max(int(np.ceil(stop)) - col, 0)] = code
