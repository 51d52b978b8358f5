"""The compiled kernels that change the course of arcs between their nodes: cutting stairs, leaving vertices out.

Both keep the topology of :mod:`geounet.outlines.arcs`: no arc comes to cross or touch another, or itself, and none
jumps over another. Vertices are in whole parts of a pixel, so that what decides on topology is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Points = NDArray[np.int32]

PARTS = 4
"""Parts of a pixel in which vertices are counted."""
_CELL = 8 * PARTS
"""Side of a cell of the index of vertices."""
_LEAST = 4
"""Vertices that a closed line keeps."""


@compiled
def _turn(vertices: Points, before: int, here: int, after: int) -> int:
    """Twice the area of a triangle, positive where it is walked clockwise on the screen."""
    rows, cols = np.int64(vertices[here, 0]) - vertices[before, 0], np.int64(vertices[here, 1]) - vertices[before, 1]
    down, right = np.int64(vertices[after, 0]) - vertices[here, 0], np.int64(vertices[after, 1]) - vertices[here, 1]
    return int(cols * down - rows * right)


@compiled
def _leg(length: int, is_step: bool) -> int:
    """Parts of a pixel that a corner loses of a side of `length` pixels."""
    return length * PARTS // 2 if is_step else PARTS // 4


@compiled
def _cut_corner(
    vertices: Points, low: int, count: int, at: int, closed: bool, out: Points, size: int
) -> int:  # fmt: skip
    """Write the two ends of the cut that replaces a corner; return the new count of vertices in `out`."""
    here, before, after = low + at, low + (at - 1) % count, low + (at + 1) % count
    way = _turn(vertices, before, here, after) > 0
    sides, legs = (before, after), np.zeros(2, np.int64)
    for side in range(2):
        end, place = sides[side], at - 1 + 2 * side
        length = abs(vertices[end, 0] - vertices[here, 0]) + abs(vertices[end, 1] - vertices[here, 1])
        is_step = closed or 0 < place < count - 1
        if is_step:
            place %= count
            is_step = way != (_turn(vertices, low + (place - 1) % count, end, low + (place + 1) % count) > 0)
        legs[side] = _leg(length, is_step)
    if min(legs) > PARTS // 2:
        legs[:] = PARTS // 2
    for side in range(2):
        end = sides[side]
        row = PARTS * vertices[here, 0] + legs[side] * np.sign(vertices[end, 0] - vertices[here, 0])
        col = PARTS * vertices[here, 1] + legs[side] * np.sign(vertices[end, 1] - vertices[here, 1])
        if size == 0 or row != out[size - 1, 0] or col != out[size - 1, 1]:
            out[size, 0], out[size, 1] = row, col
            size += 1
    return size


@compiled
def cut_stairs(vertices: Points, offsets: Integers, closed: Flags) -> tuple[Points, Integers]:
    """Cut the corners of arcs: stairs become straight through the middles of their steps.

    A side between a left and a right turn is a step and is cut at its middle; other sides lose a quarter of a pixel
    beside each of their corners. Where both sides of a corner would lose more than half a pixel, both lose half a
    pixel. So one of the two is always half a pixel at most, and no cut reaches farther than that from its arc: two
    cuts can only meet in the middle of a step that they share, since arcs lie a pixel apart but at their nodes.

    Args:
        vertices: row and column in pixels, alternating turns of rows and columns.
        offsets: where each arc starts, and the end.
        closed: whether the last vertex is followed by the first.

    Returns:
        Vertices in parts of a pixel, and offsets; ends of arcs are where they were.
    """
    out, out_offsets = np.empty((2 * vertices.shape[0], 2), np.int32), np.zeros_like(offsets)
    size = 0
    for arc in range(closed.size):
        low, count = offsets[arc], offsets[arc + 1] - offsets[arc]
        start = size
        for at in range(count):
            if not closed[arc] and at in (0, count - 1):
                out[size] = PARTS * vertices[low + at]
                size += 1
            else:
                # Within this arc only: what was written before it is no neighbour.
                size = start + _cut_corner(vertices, low, count, at, closed[arc], out[start:], size - start)
        if closed[arc] and (out[size - 1] == out[start]).all():
            size -= 1
        out_offsets[arc + 1] = size
    return out[:size].copy(), out_offsets


@compiled
def arc_areas(vertices: Points, offsets: Integers, closed: Flags) -> Integers:
    """`(arcs,)`: the sum of `row * next column - column * next row`; of a ring's arcs, twice its area."""
    sums = np.zeros(closed.size, np.int64)
    for arc in range(closed.size):
        low, high = offsets[arc], offsets[arc + 1]
        for at in range(low, high if closed[arc] else high - 1):
            following = at + 1 if at + 1 < high else low
            sums[arc] += np.int64(vertices[at, 0]) * vertices[following, 1]
            sums[arc] -= np.int64(vertices[at, 1]) * vertices[following, 0]
    return sums


@compiled
def _cells(vertices: Points, shape: tuple[int, int]) -> tuple[Integers, Points]:
    """Vertices by the cells they lie in: where each cell starts in the second array, and indices of vertices."""
    starts = np.zeros(shape[0] * shape[1] + 1, np.int64)
    for at in range(vertices.shape[0]):
        starts[vertices[at, 0] // _CELL * shape[1] + vertices[at, 1] // _CELL + 1] += 1
    starts = np.cumsum(starts)
    fill, items = starts[:-1].copy(), np.empty(vertices.shape[0], np.int32)
    for at in range(vertices.shape[0]):
        cell = vertices[at, 0] // _CELL * shape[1] + vertices[at, 1] // _CELL
        items[fill[cell]] = at
        fill[cell] += 1
    return starts, items


@compiled
def _same(vertices: Points, one: int, other: int) -> bool:
    return bool(vertices[one, 0] == vertices[other, 0] and vertices[one, 1] == vertices[other, 1])


@compiled
def _within(vertices: Points, a: int, v: int, b: int, other: int) -> bool:
    """Whether a vertex lies in a triangle or on its sides, and is none of its corners."""
    if _same(vertices, other, a) or _same(vertices, other, v) or _same(vertices, other, b):
        return False
    one, two, three = _turn(vertices, a, v, other), _turn(vertices, v, b, other), _turn(vertices, b, a, other)
    return (one >= 0 and two >= 0 and three >= 0) or (one <= 0 and two <= 0 and three <= 0)


@compiled
def _columns(vertices: Points, corners: tuple[int, int, int], top: int) -> tuple[int, int]:
    """Cells that a triangle touches in a row of cells, first and last; generous by one part of a pixel."""
    low, high = np.inf, -np.inf
    for side in range(3):
        start, stop = corners[side], corners[(side + 1) % 3]
        if vertices[start, 0] > vertices[stop, 0]:
            start, stop = stop, start
        row, col, height = vertices[start, 0], vertices[start, 1], vertices[stop, 0] - vertices[start, 0]
        if row > top + _CELL or vertices[stop, 0] < top:
            continue
        for edge in (max(row, top), min(vertices[stop, 0], top + _CELL)):
            share = (edge - row) / height if height > 0 else 0.0
            here = col + share * (vertices[stop, 1] - col)
            low, high = min(low, here), max(high, here)
        if height == 0:
            low, high = min(low, float(vertices[stop, 1])), max(high, float(vertices[stop, 1]))
    return int(max(low - 1, 0.0)) // _CELL, int(max(high + 1, 0.0)) // _CELL


@compiled
def _is_free(
    vertices: Points, a: int, v: int, b: int, alive: Flags, starts: Integers, items: Points, width: int
) -> bool:
    """Whether no vertex that is still there lies in the triangle between a vertex and its neighbours."""
    rows = vertices[a, 0], vertices[v, 0], vertices[b, 0]
    for cell_row in range(min(rows) // _CELL, max(rows) // _CELL + 1):
        first, last = _columns(vertices, (a, v, b), cell_row * _CELL)
        for cell in range(cell_row * width + first, cell_row * width + min(last, width - 1) + 1):
            for item in range(starts[cell], starts[cell + 1]):
                other = items[item]
                if alive[other] and _within(vertices, a, v, b, other):
                    return False
    return True


@compiled
def _is_near(
    vertices: Points, low: int, count: int, first: int, last: int, form: Floats, tolerance: float
) -> bool:  # fmt: skip
    """Whether all vertices of an arc from `first` to `last` lie within the tolerance of the line between these."""
    a, b = low + first, low + last
    rows, cols = float(vertices[b, 0] - vertices[a, 0]), float(vertices[b, 1] - vertices[a, 1])
    length = form[0] * rows * rows + 2 * form[1] * rows * cols + form[2] * cols * cols
    at = (first + 1) % count
    while at != last:
        down, right = float(vertices[low + at, 0] - vertices[a, 0]), float(vertices[low + at, 1] - vertices[a, 1])
        share = 0.0
        if length > 0:
            share = (form[0] * down * rows + form[1] * (down * cols + right * rows) + form[2] * right * cols) / length
            share = min(max(share, 0.0), 1.0)
        down, right = down - share * rows, right - share * cols
        # Written so that NaN, where the ground is not known, is not near.
        if not form[0] * down * down + 2 * form[1] * down * right + form[2] * right * right <= tolerance:
            return False
        at = (at + 1) % count
    return True


@compiled
def _comes_first(one: int, other: int, sizes: Integers, spans: Integers) -> bool:
    """Whether a vertex is left out before another: the smaller triangle, then the shorter span, then the first."""
    if sizes[one] != sizes[other]:
        return bool(sizes[one] < sizes[other])
    if spans[one] != spans[other]:
        return bool(spans[one] < spans[other])
    return one < other


@compiled
def _settle(heap: Integers, place: Integers, size: int, at: int, sizes: Integers, spans: Integers) -> None:
    """Move an entry of a heap to where it belongs."""
    item = heap[at]
    while at > 0 and _comes_first(item, heap[(at - 1) // 2], sizes, spans):
        heap[at] = heap[(at - 1) // 2]
        place[heap[at]] = at
        at = (at - 1) // 2
    while True:
        child = 2 * at + 1
        if child + 1 < size and _comes_first(heap[child + 1], heap[child], sizes, spans):
            child += 1
        if child >= size or not _comes_first(heap[child], item, sizes, spans):
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = item
    place[item] = at


@compiled
def _update(
    at: int, vertices: Points, low: int, count: int, before: Integers, after: Integers, heap: Integers,
    place: Integers, size: int, sizes: Integers, spans: Integers,
) -> int:  # fmt: skip
    """Put a vertex into the heap, or where it now belongs there; return the heap's size."""
    sizes[at] = abs(_turn(vertices, low + before[at], low + at, low + after[at]))
    spans[at] = (after[at] - before[at]) % count
    if place[at] < 0:
        heap[size] = at
        place[at] = size
        size += 1
    _settle(heap, place, size, place[at], sizes, spans)
    return size


@compiled
def _may_change(arc: int, change: int, sides: Integers, areas: Integers, slack: Integers) -> bool:
    """Whether the polygons beside an arc may change by this area; `change` is what grows if walked forward."""
    for side in range(2):
        polygon, sign = sides[arc, 2 * side], sides[arc, 2 * side + 1]
        now = areas[polygon] + sign * change
        # What has changed too much already may change back.
        if sign != 0 and abs(now) > slack[polygon] and abs(now) >= abs(areas[polygon]):
            return False
    return True


@compiled
def _change(arc: int, change: int, sides: Integers, areas: Integers) -> None:
    for side in range(2):
        areas[sides[arc, 2 * side]] += sides[arc, 2 * side + 1] * change


@compiled
def _least(closed: bool, is_loop: bool) -> int:
    """Vertices that an arc keeps; a loop's first is also its last."""
    if closed:
        return _LEAST
    return _LEAST + 1 if is_loop else 2


@compiled
def _is_on_border(vertices: Points, first: int, last: int, shape: tuple[int, int]) -> bool:
    """Whether the raster's own outline joins two vertices in a straight line."""
    for axis in range(2):
        if vertices[first, axis] == vertices[last, axis] and vertices[first, axis] in (0, shape[axis]):
            return True
    return False


@compiled
def _thin_arc(
    arc: int, vertices: Points, low: int, count: int, closed: bool, form: Floats, tolerance: float, alive: Flags,
    starts: Integers, items: Points, width: int, pair: int, straight: Flags, sides: Integers, areas: Integers,
    slack: Integers, work: Integers,
) -> None:  # fmt: skip
    """Leave out vertices of one arc; `work`, `(6, vertices)`, is room for what is noted of each."""
    before, after, heap, place, sizes, spans = work
    size, left = 0, count
    place[:count] = -1
    for at in range(count):
        before[at], after[at] = (at - 1) % count, (at + 1) % count
    for at in range(0 if closed else 1, count if closed else count - 1):
        size = _update(at, vertices, low, count, before, after, heap, place, size, sizes, spans)
    least = _least(closed, not closed and _same(vertices, low, low + count - 1))
    while size > 0 and left > least:
        at = heap[0]
        size -= 1
        place[at] = -1
        if size > 0:
            heap[0] = heap[size]
            _settle(heap, place, size, 0, sizes, spans)
        a, b = before[at], after[at]
        # Two lines between the same two nodes must not both become straight; the raster's outline may be one of them.
        if not closed and left == 3 and straight[pair] and sizes[at] > 0:  # noqa: PLR2004
            continue
        # On a straight line a vertex changes nothing by going.
        change = _turn(vertices, low + a, low + at, low + b)
        if sizes[at] > 0 and not (
            _may_change(arc, change, sides, areas, slack)
            and _is_near(vertices, low, count, a, b, form, tolerance)
            and _is_free(vertices, low + a, low + at, low + b, alive, starts, items, width)
        ):
            continue
        alive[low + at] = False
        _change(arc, change, sides, areas)
        left -= 1
        after[a], before[b] = b, a
        for end in (a, b):
            if closed or 0 < end < count - 1:
                size = _update(end, vertices, low, count, before, after, heap, place, size, sizes, spans)
    if not closed and left == 2:  # noqa: PLR2004
        straight[pair] = True


@compiled
def thin(
    vertices: Points, offsets: Integers, closed: Flags, forms: Floats, tolerance: float, pairs: Integers,
    sides: Integers, areas: Integers, slack: Integers, shape: tuple[int, int],
) -> tuple[Points, Integers]:  # fmt: skip
    """Leave out vertices of arcs, as many as may go.

    Visvalingam and Whyatt's order (1993): of each arc, one after the other, always the vertex goes whose triangle
    with its neighbours is the smallest, as long as the arc's vertices in between all lie within `tolerance` of the
    new line, no other vertex lies in the triangle, so that no line is crossed, touched or jumped over, and the
    polygons at its sides do not change too much. A closed line keeps four vertices.

    Args:
        vertices: row and column, in parts of a pixel, not negative.
        offsets: where each arc starts, and the end.
        closed: whether the last vertex is followed by the first.
        forms: `(arcs, 3)`, what makes squared metres of squared parts of a pixel: times rows squared, rows times
            columns (counted twice), columns squared. Where it is NaN only vertices on straight lines go.
        tolerance: in metres.
        pairs: `(arcs,)`, a number from 0 for the two nodes that an arc joins.
        sides: `(arcs, 4)`, for each side the polygon there (0 where there is none), and by what sign its area grows
            with the sum of `row * next column - column * next row` along the arc (0 where there is none).
        areas: `(polygons,)`, how much larger each polygon is than it was at first, twice, in squared parts of a pixel;
            changed in place.
        slack: `(polygons,)`, how much larger or smaller it may become.
        shape: the raster's height and width, in parts of a pixel.

    Returns:
        What is left of the vertices, and offsets.
    """
    cells = shape[0] // _CELL + 1, shape[1] // _CELL + 1
    starts, items = _cells(vertices, cells)
    alive, straight = np.ones(vertices.shape[0], np.bool_), np.zeros(closed.size, np.bool_)
    longest = 0
    for arc in range(closed.size):
        count = offsets[arc + 1] - offsets[arc]
        longest = max(longest, count)
        first, last = offsets[arc], offsets[arc + 1] - 1
        straight[pairs[arc]] |= not closed[arc] and (count == 2 or _is_on_border(vertices, first, last, shape))  # noqa: PLR2004
    work = np.empty((6, longest), np.int64)
    # A distance that equals the tolerance is within it, whatever the rounding.
    limit = tolerance**2 * (1 + 1e-9)
    for arc in range(closed.size):
        _thin_arc(
            arc, vertices, offsets[arc], offsets[arc + 1] - offsets[arc], closed[arc], forms[arc], limit, alive, starts,
            items, cells[1], pairs[arc], straight, sides, areas, slack, work,
        )  # fmt: skip
    out_offsets = np.zeros_like(offsets)
    for arc in range(closed.size):
        out_offsets[arc + 1] = out_offsets[arc] + alive[offsets[arc] : offsets[arc + 1]].sum()
    return vertices[alive], out_offsets
