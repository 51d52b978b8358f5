"""The compiled kernel that follows outlines through a tile; :mod:`geounet.outlines.rings` says what outlines are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Classes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]
    Integers = NDArray[np.int64]

# Sides of a pixel in the order of walking around it with the pixel on the right: top (heading east), right (south),
# bottom (west), left (north). For each the step of its heading, and the corner where it ends.
_STEP_ROW = np.array([0, 1, 0, -1])
_STEP_COL = np.array([1, 0, -1, 0])
_END_ROW = np.array([0, 1, 1, 0])
_END_COL = np.array([1, 1, 0, 0])


@compiled
def _most_vertices(classes: Classes) -> int:
    """No fewer than the turns of all outlines at the lattice points of a tile.

    Four at each point that does not lie on a straight line: what is too many is memory that is never touched, and
    without a branch sixteen points are looked at at once.
    """
    count = 0
    for row in range(1, classes.shape[0]):
        above, below = classes[row - 1], classes[row]
        points: Any = np.int32(0)
        for col in range(1, classes.shape[1]):
            a, b, c, d = above[col - 1], above[col], below[col - 1], below[col]
            points += np.int32(((a != b) | (c != d)) & ((a != c) | (b != d)))
        count += points
    return 4 * count


@compiled
def _walk(
    classes: Classes, visited: Flags, row: int, col: int, side: int, vertices: NDArray[np.int32], saddles: Flags,
    count: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Follow edges to the first of another tile, or back to the start; return that edge and the vertex count."""
    height, width = visited.shape
    first_row, first_col, first_side = row, col, side
    value = classes[row + 1, col + 1]
    while True:
        if side == 0:
            visited[row, col] = True
        left = (side + 3) & 3
        ahead_row, ahead_col = row + _STEP_ROW[side], col + _STEP_COL[side]
        aside_row, aside_col = ahead_row + _STEP_ROW[left], ahead_col + _STEP_COL[left]
        ahead = classes[ahead_row + 1, ahead_col + 1] == value
        aside = classes[aside_row + 1, aside_col + 1] == value
        if ahead and not aside:
            row, col = ahead_row, ahead_col
        else:
            vertices[count, 0], vertices[count, 1] = row + _END_ROW[side], col + _END_COL[side]
            saddles[count] = aside and not ahead
            count += 1
            if ahead:
                row, col, side = aside_row, aside_col, left
            else:
                side = (side + 1) & 3
        if row == first_row and col == first_col and side == first_side:
            break
        if row < 0 or col < 0 or row >= height or col >= width:
            break
    return row, col, side, count


@compiled
def _enters(classes: Classes, height: int, width: int, row: int, col: int, side: int) -> bool:
    """Whether this side of a pixel is an edge, and the edge before it belongs to a pixel of another tile."""
    value = classes[row + 1, col + 1]
    left = (side + 3) & 3
    if value == NODATA or classes[row + 1 + _STEP_ROW[left], col + 1 + _STEP_COL[left]] == value:
        return False
    back_row, back_col = row - _STEP_ROW[side], col - _STEP_COL[side]
    if classes[back_row + 1, back_col + 1] != value:
        return False
    aside_row, aside_col = back_row + _STEP_ROW[left], back_col + _STEP_COL[left]
    if classes[aside_row + 1, aside_col + 1] == value:
        back_row, back_col = aside_row, aside_col
    return bool(back_row < 0 or back_col < 0 or back_row >= height or back_col >= width)


@compiled
def _starts(classes: Classes, height: int, width: int) -> tuple[Integers, int]:
    """The edges at which outlines come in from other tiles, `4 * place in the tile + side`, and how many."""
    starts = np.empty(8 * (height + width), np.int64)
    count = 0
    for row in range(height):
        step = 1 if row in (0, height - 1) else max(1, width - 1)
        for col in range(0, width, step):
            for side in range(4):
                if _enters(classes, height, width, row, col, side):
                    starts[count] = (row * width + col) * 4 + side
                    count += 1
    return starts, count


@compiled
def _next_start(classes: Classes, visited: Flags, scan: int) -> int:
    """The next pixel in raster order, from `scan` on, whose top is an edge that no line has taken yet.

    Every closed line heads east somewhere, so the tops find them all.
    """
    height, width = visited.shape
    for row in range(scan // width, height):
        for col in range(scan % width if row == scan // width else 0, width):
            value = classes[row + 1, col + 1]
            if value != classes[row, col + 1] and value != NODATA and not visited[row, col]:
                return int(row * width + col)
    return int(height * width)


@compiled
def trace(
    classes: Classes, labels: NDArray[np.uint32], core_row: int, core_col: int, raster_width: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_], Integers, Integers, Classes, Integers, Integers]:
    """All outlines of a tile's pixels: the fields of :class:`geounet.outlines.rings.Lines`; arcs, then closed lines."""
    height, width = labels.shape
    visited = np.zeros((height, width), np.bool_)
    starts, arcs = _starts(classes, height, width)
    most = _most_vertices(classes)
    vertices, saddles = np.empty((most, 2), np.int32), np.empty(most, np.bool_)
    # A closed line has four vertices at least.
    capacity = arcs + most // 4
    offsets, label_of = np.zeros(capacity + 1, np.int64), np.empty(capacity, np.int64)
    class_of = np.empty(capacity, np.uint8)
    first, following = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    lines, count, scan = 0, 0, 0
    while True:
        if lines < arcs:
            place, side = starts[lines] >> 2, starts[lines] & 3
        else:
            scan = _next_start(classes, visited, scan)
            if scan == height * width:
                break
            place, side = scan, 0
        row, col = place // width, place % width
        label_of[lines], class_of[lines] = labels[row, col], classes[row + 1, col + 1]
        first[lines] = ((row + core_row) * raster_width + col + core_col) * 4 + side
        row, col, side, count = _walk(classes, visited, row, col, side, vertices, saddles, count)
        following[lines] = ((row + core_row) * raster_width + col + core_col) * 4 + side
        lines += 1
        offsets[lines] = count
    for vertex in range(count):
        vertices[vertex, 0] += core_row
        vertices[vertex, 1] += core_col
    return (
        vertices[:count],
        saddles[:count],
        offsets[: lines + 1],
        label_of[:lines],
        class_of[:lines],
        first[:lines],
        following[:lines],
    )
