"""Rules that look no further than a fixed distance: majority, opening and closing of a class raster with a disk.

Nodata pixels never change, and no class grows into them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Classes = NDArray[np.uint8]
    Integers = NDArray[np.int64]
    Bits = NDArray[np.uint64]

REACH = 2
"""A pixel that opening removes takes a class from at most this many radii away."""
_WORD = 64
"""Classes that closing treats at once: bits of a word."""


def disk(radius: int) -> Integers:
    """The (row, column) steps to all pixels within `radius`, the nearest first.

    Returns:
        `(steps, 3)`: row, column and squared distance.
    """
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    squares = rows**2 + cols**2
    order = np.argsort(squares, kind="stable")
    steps: NDArray[np.int64] = np.stack([rows, cols, squares], axis=1)[order]
    return steps[steps[:, 2] <= radius**2]


def majority(classes: Classes, radius: int) -> Classes:
    """Mode filter: each valid pixel takes the class that most pixels of the disk around it have.

    Nodata, and what lies beyond the array, have no vote. Of equally frequent classes the pixel's own wins if it is
    one of them, else the lowest.

    Args:
        classes: `(height, width)`, 255 for nodata.
        radius: of the disk, in pixels; 0 changes nothing.
    """
    if radius == 0 or not classes.size:
        return classes
    # The disk's columns on each of its rows: as far as `reach` to either side.
    rows = np.arange(-radius, radius + 1)
    reach = np.sqrt(radius**2 - rows**2).astype(np.int64)
    return np.asarray(_majority(classes, rows, reach, np.flatnonzero(np.bincount(classes.ravel(), minlength=256)[:-1])))


@compiled
def _majority(classes: Classes, rows: Integers, reach: Integers, present: Integers) -> Classes:
    """A histogram that slides along each row: a step adds the disk's front and takes away its back (Huang 1979)."""
    height, width = classes.shape
    out = classes.copy()
    for row in range(height):
        votes = np.zeros(256, np.int64)
        for col in range(-reach.max(), width):
            for index in range(rows.size):
                near_row, front, back = row + rows[index], col + reach[index], col - reach[index] - 1
                if near_row < 0 or near_row >= height:
                    continue
                if 0 <= front < width:
                    votes[classes[near_row, front]] += 1
                if back >= 0:
                    votes[classes[near_row, back]] -= 1
            if col < 0 or classes[row, col] == NODATA:
                continue
            # Ascending, and only what has more votes: of equals the pixel's own class stays, else the lowest.
            best = np.int64(classes[row, col])
            for value in present:
                if votes[value] > votes[best]:
                    best = value
            out[row, col] = best
    return out


def open_classes(classes: Classes, radius: int) -> Classes:
    """Morphological opening of every class with a disk.

    A pixel stays if some disk of this radius, centred on a valid pixel, holds it and no other class; nodata, and what
    lies beyond the array, are no class, so the edge of the data removes nothing. A pixel that does not stay takes the
    class of the nearest pixel that does, within twice the radius: of equally near ones the lowest class. Where there
    is none it keeps its class.

    Args:
        classes: `(height, width)`, 255 for nodata.
        radius: in pixels; 0 changes nothing.
    """
    if radius == 0:
        return classes
    steps = disk(radius)
    stays = _staying(classes, _uniform(classes, steps), steps)
    return np.asarray(_adopt(classes, stays, disk(REACH * radius)))


@compiled
def _uniform(classes: Classes, steps: Integers) -> Classes:
    """The only class in the disk around each valid pixel, nodata where there are several."""
    height, width = classes.shape
    uniform = np.full((height, width), NODATA, np.uint8)
    for row in range(height):
        for col in range(width):
            only = classes[row, col]
            for step in range(steps.shape[0] if only != NODATA else 0):
                near_row, near_col = row + steps[step, 0], col + steps[step, 1]
                if near_row < 0 or near_col < 0 or near_row >= height or near_col >= width:
                    continue
                near = classes[near_row, near_col]
                if near != NODATA and near != only:  # noqa: PLR1714 - numba
                    only = np.uint8(NODATA)
                    break
            uniform[row, col] = only
    return uniform


@compiled
def _staying(classes: Classes, uniform: Classes, steps: Integers) -> NDArray[np.bool_]:
    """Whether a pixel's class is the only one of some disk that holds it."""
    height, width = classes.shape
    stays = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            value = classes[row, col]
            for step in range(steps.shape[0]):
                near_row, near_col = row + steps[step, 0], col + steps[step, 1]
                inside = 0 <= near_row < height and 0 <= near_col < width
                if value != NODATA and inside and uniform[near_row, near_col] == value:
                    stays[row, col] = True
                    break
    return stays


@compiled
def _adopt(classes: Classes, stays: NDArray[np.bool_], steps: Integers) -> Classes:
    """Give each valid pixel that does not stay the lowest class among the nearest pixels that do."""
    height, width = classes.shape
    out = classes.copy()
    for row in range(height):
        for col in range(width):
            if stays[row, col] or classes[row, col] == NODATA:
                continue
            best, best_square = np.uint8(NODATA), np.int64(-1)
            for step in range(steps.shape[0]):
                if best != NODATA and steps[step, 2] > best_square:
                    break
                near_row, near_col = row + steps[step, 0], col + steps[step, 1]
                inside = 0 <= near_row < height and 0 <= near_col < width
                if inside and stays[near_row, near_col] and classes[near_row, near_col] < best:
                    best, best_square = classes[near_row, near_col], steps[step, 2]
            if best != NODATA:
                out[row, col] = best
    return out


def close_classes(classes: Classes, radius: int) -> Classes:
    """Morphological closing of every class with a disk.

    A class claims a pixel of another if every disk of this radius that holds the pixel and is centred on a valid
    pixel also holds the class: a gap into which no disk fits. A claimed pixel takes the class that claims it, the
    lowest of several.

    Args:
        classes: `(height, width)`, 255 for nodata.
        radius: in pixels; 0 changes nothing.
    """
    present = np.unique(classes[classes != NODATA])
    if radius == 0 or not present.size:
        return classes
    steps = disk(radius)[:, :2]
    claims = np.full(classes.shape, NODATA, np.uint8)
    for start in range(0, present.size, _WORD):
        some = present[start : start + _WORD]
        bits = np.zeros(256, np.uint64)
        bits[some] = np.uint64(1) << np.arange(some.size, dtype=np.uint64)
        claims = np.minimum(claims, _claims(bits[classes], classes, some, steps))
    return np.where(claims == NODATA, classes, claims)


@compiled
def _claims(bits: Bits, classes: Classes, present: Classes, steps: Integers) -> Classes:
    """The lowest of the classes in `present` that claims each pixel, else nodata; bit `i` stands for class `i`."""
    height, width = classes.shape
    near = _classes_near(bits, steps)
    claims = np.full((height, width), NODATA, np.uint8)
    for row in range(height):
        for col in range(width):
            left = near[row, col] & ~bits[row, col]
            if classes[row, col] == NODATA or left == 0:
                continue
            for step in range(steps.shape[0]):
                near_row, near_col = row + steps[step, 0], col + steps[step, 1]
                inside = 0 <= near_row < height and 0 <= near_col < width
                if inside and classes[near_row, near_col] != NODATA:
                    left &= near[near_row, near_col]
                if left == 0:
                    break
            for index in range(present.size):
                if left >> np.uint64(index) & np.uint64(1):
                    claims[row, col] = present[index]
                    break
    return claims


@compiled
def _classes_near(bits: Bits, steps: Integers) -> Bits:
    """The bits of all classes in the disk around each pixel."""
    height, width = bits.shape
    near = np.zeros_like(bits)
    for row in range(height):
        for step in range(steps.shape[0]):
            near_row, shift = row + steps[step, 0], steps[step, 1]
            if 0 <= near_row < height:
                for col in range(max(0, -shift), min(width, width - shift)):
                    near[row, col] |= bits[near_row, col + shift]
    return near
