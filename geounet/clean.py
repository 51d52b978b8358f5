"""Smooth and sieve a class raster: each pixel by a rule that knows nothing of tiles.

Opening and closing look no further than a fixed distance, so a tile that is read with that much around it gets the
right result. Sieve and hole filling need whole components and hold the whole raster in memory, a byte a pixel and
some more while they run. Nodata pixels never change, and no class grows into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cc3d
import numba
import numpy as np
import rasterio.features

from geounet.classes import NODATA
from geounet.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from geounet.grid import Window

    Classes = NDArray[np.uint8]

_REACH = 2
"""A pixel that opening removes takes a class from at most this many radii away."""
_WORD = 64
"""Classes that closing treats at once: bits of a word."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is done, in this order; 0 leaves a step out."""

    open_radius: int = 0
    """Radius in pixels of the disk into which a region must fit."""
    close_radius: int = 0
    """Radius in pixels of the disk into which a gap must not fit."""
    sieve: int = 0
    """Components of fewer pixels go to their largest neighbour."""
    fill_holes: int = 0
    """Holes of at most so many pixels are filled."""

    def __post_init__(self) -> None:
        for name in ("open_radius", "close_radius", "sieve", "fill_holes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must not be negative")

    @property
    def margin(self) -> int:
        """Pixels around a tile that opening and closing look at."""
        return (2 + _REACH) * self.open_radius + 2 * self.close_radius


def clean_tiles(
    read: Callable[[Window], Classes], extent: Window, steps: Cleaning, tile_size: int
) -> Iterator[tuple[Window, Classes]]:
    """Clean a raster tile by tile.

    Args:
        read: from a window, which may reach beyond the raster, to its classes `(height, width)`: 255 for nodata and
            beyond the raster.
        extent: the whole raster.
        steps: what to do.
        tile_size: rows and columns worked on at once; it changes no pixel.

    Yields:
        Windows that cover the raster, and their cleaned classes `(height, width)`.
    """
    cores = [tile.core for tile in Grid(extent, tile_size, tile_size).tiles()]
    smooth = ((core, _smooth(read(core.padded(steps.margin)), steps)) for core in cores)
    if not (steps.sieve or steps.fill_holes):
        yield from smooth
        return
    whole = np.empty((extent.height, extent.width), np.uint8)
    for core, classes in smooth:
        whole[core.within(extent)] = classes
    whole = fill_holes(sieve(whole, steps.sieve), steps.fill_holes)
    yield from ((core, whole[core.within(extent)]) for core in cores)


def _smooth(classes: Classes, steps: Cleaning) -> Classes:
    """Opened and closed, without the margin."""
    height, width = classes.shape
    done = close_classes(open_classes(classes, steps.open_radius), steps.close_radius)
    return np.ascontiguousarray(done[steps.margin : height - steps.margin, steps.margin : width - steps.margin])


def disk(radius: int) -> NDArray[np.int64]:
    """The (row, column) steps to all pixels within `radius`, the nearest first.

    Returns:
        `(steps, 3)`: row, column and squared distance.
    """
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    squares = rows**2 + cols**2
    order = np.argsort(squares, kind="stable")
    steps: NDArray[np.int64] = np.stack([rows, cols, squares], axis=1)[order]
    return steps[steps[:, 2] <= radius**2]


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
    return np.asarray(_adopt(classes, stays, disk(_REACH * radius)))


@numba.njit(cache=True, nogil=True)
def _uniform(classes, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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


@numba.njit(cache=True, nogil=True)
def _staying(classes, uniform, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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


@numba.njit(cache=True, nogil=True)
def _adopt(classes, stays, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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


@numba.njit(cache=True, nogil=True)
def _claims(bits, classes, present, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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


@numba.njit(cache=True, nogil=True)
def _classes_near(bits, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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


def sieve(classes: Classes, size: int) -> Classes:
    """Give components (4-connected) of fewer than `size` pixels to their largest neighbour: GDAL's sieve filter.

    A component all of whose neighbours are smaller than `size` as well stays.

    Args:
        classes: `(height, width)`, the whole raster; 255 for nodata, which is no neighbour.
        size: in pixels; 0 or 1 changes nothing.
    """
    valid = classes != NODATA
    # GDAL wants fewer pixels than the raster has; where all components are smaller, none changes.
    size = min(size, classes.size - 1)
    if size <= 1 or not valid.any():
        return classes
    sieved: Classes = rasterio.features.sieve(classes, size, mask=valid, connectivity=4)
    return np.where(valid, sieved, NODATA).astype(np.uint8)


def fill_holes(classes: Classes, size: int) -> Classes:
    """Fill the holes of at most `size` pixels.

    A hole is a component (4-connected) whose neighbours, side by side, are all of one other class: it takes that
    class. What touches nodata or the raster's edge is no hole. All holes are filled at once: one within another
    takes the class of the other as it was.

    Args:
        classes: `(height, width)`, the whole raster; 255 for nodata.
        size: in pixels; 0 changes nothing.
    """
    if size == 0 or not classes.size:
        return classes
    labels: Any = cc3d.connected_components(classes + np.uint8(256 - NODATA), connectivity=4, out_dtype=np.uint32)
    sizes = np.bincount(labels.ravel())
    around, enclosed = _surroundings(labels, classes, sizes.size)
    fills = (sizes <= size) & enclosed
    fills[0] = False
    return np.where(fills[labels], around[labels], classes)


@numba.njit(cache=True, nogil=True)
def _surroundings(labels, classes, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """A class next to each component, and whether it is the only one and neither edge nor nodata is near."""
    height, width = labels.shape
    around, enclosed = np.full(count, NODATA, np.uint8), np.ones(count, np.bool_)
    for row in range(height):
        for col in range(width):
            label = labels[row, col]
            for row_step, col_step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                near_row, near_col = row + row_step, col + col_step
                near = np.uint8(NODATA)
                if 0 <= near_row < height and 0 <= near_col < width:
                    if labels[near_row, near_col] == label:
                        continue
                    near = classes[near_row, near_col]
                other = around[label] != NODATA and around[label] != near
                if near == NODATA or other:
                    enclosed[label] = False
                around[label] = near
    return around, enclosed
