"""Class rasters for cleaning: drawn at random and by hand, and cleaned tile by tile."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geounet.components.cleaning import clean_tiles
from geounet.grid import Window

WHOLE = 1000
"""A tile larger than all rasters here."""


HOLES = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 2, 1, 3, 4, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 1, 2, 1, 1, 5],
        [1, 255, 1, 2, 2, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    np.uint8,
)
"""Holes of one pixel and of several, of two classes and with nodata, and one at the edge."""


def enlarge(classes, height, width):
    """Each pixel repeated, so that some disks fit."""
    return classes.repeat(height, axis=0).repeat(width, axis=1)


_values = st.sampled_from([0, 1, 1, 2, 254, 255])
_shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
rasters = st.builds(enlarge, hnp.arrays(np.uint8, _shapes, elements=_values), st.integers(1, 3), st.integers(1, 3))


def patches(seed, height=33, width=36):
    """Patches of about three pixels, specks of one, and nodata here and there."""
    random = np.random.default_rng(seed)
    classes = enlarge(random.integers(0, 4, (height // 3 + 1, width // 3 + 1)).astype(np.uint8), 3, 3)
    classes = np.ascontiguousarray(classes[:height, :width])
    specks = random.random(classes.shape)
    classes[specks < 0.15] = random.integers(0, 4, (specks < 0.15).sum())
    classes[specks > 0.97] = 255
    return classes


def reader(classes, blind=0):
    """A function from a window to its classes; blind to that many pixels, it sees nodata instead at a window's rim."""
    extent = Window(0, 0, *classes.shape)

    def read(window):
        out = np.full((window.height, window.width), 255, np.uint8)
        inner = window.intersection(extent)
        out[inner.within(window)] = classes[inner.within(extent)]
        if blind:
            out[:blind], out[-blind:], out[:, :blind], out[:, -blind:] = 255, 255, 255, 255
        return out

    return read


def clean_in_tiles(classes, steps, tile_size, blind=0):
    """A raster cleaned tile by tile; 77 where no tile came."""
    extent = Window(0, 0, *classes.shape)
    whole = np.full(classes.shape, 77, np.uint8)
    for window, piece in clean_tiles(reader(classes, blind), extent, steps, tile_size):
        assert piece.shape == (window.height, window.width)
        whole[window.within(extent)] = piece
    return whole


def spiral(side):
    """One arm of class 1, a pixel wide, from the corner to the middle, in class 2."""
    classes = np.full((side, side), 2, np.uint8)
    row, col, row_step, col_step = 0, -1, 0, 1
    lengths = [side, *(length for step in range(side - 1, 0, -2) for length in (step, step))]
    for length in lengths:
        for _ in range(length):
            row, col = row + row_step, col + col_step
            classes[row, col] = 1
        row_step, col_step = col_step, -row_step
    return classes


def rings(side):
    """Squares in squares, a pixel wide, of three classes in turn."""
    rows, cols = np.indices((side, side))
    return (np.minimum(np.minimum(rows, cols), np.minimum(side - 1 - rows, side - 1 - cols)) % 3).astype(np.uint8)


_CHECKERED = (np.indices((11, 13)).sum(axis=0) % 2).astype(np.uint8)
HOSTILE = {
    "checkerboard": _CHECKERED,
    "checkerboard beside a field": np.concatenate([np.full((11, 3), 5, np.uint8), _CHECKERED], axis=1),
    "spiral": spiral(13),
    "rings in rings": rings(14),
    "one component": np.full((9, 12), 3, np.uint8),
    "everything nodata": np.full((7, 5), 255, np.uint8),
    "one row": np.array([[1, 1, 2, 3, 3, 3, 255, 4, 1, 1, 1, 2]], np.uint8),
    "one column": np.array([[1, 1, 2, 3, 3, 3, 255, 4, 1, 1, 1, 2]], np.uint8).T.copy(),
    "one pixel": np.array([[6]], np.uint8),
    "every pixel of its own": (np.arange(15 * 15).reshape(15, 15) % 251).astype(np.uint8),
    "combs": np.where(np.indices((12, 14))[0] < 2, 1, np.indices((12, 14))[1] % 2).astype(np.uint8),
}
