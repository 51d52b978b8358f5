"""Connected components of a class raster: labelled tile by tile, joined over the seams.

Components of the tiles, joined where equal classes meet across a seam, are the components of the whole, whatever
the tiling (He et al., "The connected-component labeling problem", 2017, section on parallel algorithms). Of a tile
only its border pixels and one record a component are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cc3d
import numba
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.classes import NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

    Labels = NDArray[np.uint32]
    Integers = NDArray[np.int64]

# Half of the neighbours, as (row, column) steps: the other half is met from the other side.
_STEPS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}


@dataclass(frozen=True, slots=True)
class TileComponents:
    """What is kept of a labelled tile. Places are pixels counted in raster order, `row * raster width + column`."""

    first_places: Integers
    """Place of the first pixel of each component; component `label` stands at `label - 1`."""
    border_places: Integers
    """Places of the tile's outermost pixels, in ascending order."""
    border_labels: Labels
    """Their labels, 0 for nodata."""
    border_classes: NDArray[np.uint8]
    """Their classes."""


def label_tile(classes: NDArray[np.uint8], connectivity: int = 4) -> Labels:
    """Label the connected components of equal class.

    Args:
        classes: `(height, width)`, 255 for nodata.
        connectivity: 4 joins pixels that share a side, 8 also those that share a corner.

    Returns:
        `(height, width)`: 0 for nodata, else 1 .. number of components.
    """
    # cc3d's background is 0: one more than nodata, 255, wraps around to just that.
    shifted = classes + np.uint8(256 - NODATA)
    labels: Labels = cc3d.connected_components(shifted, connectivity=connectivity, out_dtype=np.uint32)
    return labels


def summarize(labels: Labels, classes: NDArray[np.uint8], core: Window, raster_width: int) -> TileComponents:
    """Keep of a tile what joining needs.

    Args:
        labels: `(height, width)` of :func:`label_tile`.
        classes: `(height, width)`, what was labelled.
        core: where the tile lies in the raster.
        raster_width: columns of the whole raster.
    """
    first = _first_pixels(labels, int(labels.max(initial=0)))
    rows, cols = _border(*labels.shape)
    return TileComponents(
        first_places=_places(first // core.width, first % core.width, core, raster_width),
        border_places=_places(rows, cols, core, raster_width),
        border_labels=labels[rows, cols],
        border_classes=classes[rows, cols],
    )


def _border(height: int, width: int) -> tuple[Integers, Integers]:
    """Rows and columns of the outermost pixels, in raster order."""
    across, down = np.arange(width), np.arange(1, height - 1)
    sides = np.unique([0, width - 1])
    last = [] if height == 1 else [np.full(width, height - 1)]
    rows = [np.zeros(width, np.int64), np.repeat(down, sides.size), *last]
    cols = [across, np.tile(sides, down.size), *([across] if last else [])]
    return np.concatenate(rows), np.concatenate(cols)


def _places(rows: Integers, cols: Integers, core: Window, raster_width: int) -> Integers:
    return (rows.astype(np.int64) + core.row) * raster_width + cols + core.col


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _first_pixels(labels: Labels, count: int) -> Integers:
    first = np.full(count + 1, -1, np.int64)
    flat = labels.ravel()
    for pixel in range(flat.size):
        if first[flat[pixel]] < 0:
            first[flat[pixel]] = pixel
    return first[1:]


def labels_at(labels: Labels, places: Integers, core: Window, raster_width: int) -> Labels:
    """The labels of a tile's pixels, given by their places in the raster."""
    return labels[places // raster_width - core.row, places % raster_width - core.col]


def join(tiles: Sequence[TileComponents], raster_width: int, connectivity: int = 4) -> list[Integers]:
    """Join the components of tiles that cover a raster without overlap.

    Args:
        tiles: in any order.
        raster_width: columns of the whole raster.
        connectivity: as for :func:`label_tile`.

    Returns:
        For each tile a table from label to component: 0 for label 0, then 1 .. number of components of the whole
        raster, counted in raster order of the components' first pixels.
    """
    counts = [tile.first_places.size for tile in tiles]
    starts = np.cumsum([0, *counts])
    pairs = _seam_pairs(tiles, starts[:-1], raster_width, connectivity)
    first_places = np.concatenate([tile.first_places for tile in tiles] or [np.empty(0, np.int64)])
    component = _number(pairs, first_places) if first_places.size else first_places
    return [np.append(0, part) for part in np.split(component, starts[1:-1])][: len(tiles)]


def _seam_pairs(
    tiles: Sequence[TileComponents], starts: Integers, raster_width: int, connectivity: int
) -> tuple[Integers, Integers]:
    """Pairs of nodes (labels of all tiles in one count from 0) that meet; some within one tile, which is harmless."""
    valid = [tile.border_labels > 0 for tile in tiles]
    places = _gather(tile.border_places[ok] for tile, ok in zip(tiles, valid, strict=True))
    order = np.argsort(places)
    places = places[order]
    nodes = _gather(tile.border_labels[ok] + start - 1 for tile, ok, start in zip(tiles, valid, starts, strict=True))[
        order
    ]
    classes = _gather(tile.border_classes[ok] for tile, ok in zip(tiles, valid, strict=True))[order]
    met = [_neighbours(places, step, raster_width) for step in _STEPS[connectivity]]
    here, there = _gather(pair[0] for pair in met), _gather(pair[1] for pair in met)
    same = classes[here] == classes[there]
    return nodes[here[same]], nodes[there[same]]


def _gather(parts: Any) -> Integers:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _neighbours(places: Integers, step: tuple[int, int], raster_width: int) -> tuple[Integers, Integers]:
    """Indices of places and of those one step further, where both are among the (ascending) places."""
    col = places % raster_width + step[1]
    wanted = places + step[0] * raster_width + step[1]
    found = np.minimum(np.searchsorted(places, wanted), places.size - 1)
    met = (col >= 0) & (col < raster_width) & (places[found] == wanted)
    return np.flatnonzero(met), found[met]


def _number(pairs: tuple[Integers, Integers], first_places: Integers) -> Integers:
    """The component of each node, from 1, in the order of the first pixels."""
    size = first_places.size
    links = coo_array((np.ones(pairs[0].size, np.bool_), pairs), shape=(size, size))
    count, root = connected_components(links, directed=False)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, root, first_places)
    number = np.empty(count, np.int64)
    number[np.argsort(first)] = np.arange(1, count + 1)
    numbers: Integers = number[root]
    return numbers


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sum_by_label(labels: Labels, values: NDArray[Any], valid: NDArray[np.bool_], count: int) -> Integers:
    """Sums and counts of the valid integers in each component.

    Args:
        labels: `(height, width)`, 0 to `count`.
        values: `(height, width)`, integers.
        valid: `(height, width)`, True where a value counts.
        count: number of components.

    Returns:
        `(count + 1, 2)`: sum and number of valid values for each label.
    """
    sums = np.zeros((count + 1, 2), np.int64)
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            if valid[row, col]:
                sums[labels[row, col], 0] += values[row, col]
                sums[labels[row, col], 1] += 1
    return sums
