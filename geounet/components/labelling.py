"""Connected components of a class raster: labelled tile by tile, joined over the seams.

Components of the tiles, joined where equal classes meet across a seam, are the components of the whole, whatever
the tiling (He et al., "The connected-component labeling problem", 2017, section on parallel algorithms). Of a tile
only the components and pixels that meet a neighbour's take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

    Labels = NDArray[np.uint32]
    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Classes = NDArray[np.uint8]

# Half of the neighbours, as (row, column) steps: the other half is met from the other side.
_STEPS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}


@dataclass(frozen=True, slots=True)
class Edge:
    """Pixels of an area at which it may meet its neighbours, and the components that they belong to.

    Places are pixels counted in raster order, `row * raster width + column`.
    """

    count: int
    """Components: their labels are 1 .. count."""
    places: Integers
    """Places of the pixels, in ascending order."""
    labels: Integers
    """Their labels, 0 for nodata and for components that take no part."""
    classes: Classes
    """Their classes."""


def label_tile(classes: Classes, connectivity: int = 4) -> Labels:
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


@compiled
def open_labels(around: Classes, labels: Labels, count: int, connectivity: int) -> Flags:
    """Which components go on beyond their tile.

    Args:
        around: `(height + 2, width + 2)`: the tile's classes and one pixel around, 255 for nodata and beyond the
            raster.
        labels: `(height, width)`, 0 to `count`.
        count: number of components.
        connectivity: 4 or 8.

    Returns:
        `(count + 1,)`: a flag for each label; False for 0.
    """
    height, width = labels.shape
    found = np.zeros(count + 1, np.bool_)
    for row in range(height):
        step = 1 if row in (0, height - 1) else max(1, width - 1)
        for col in range(0, width, step):
            for near_row in range(row - 1, row + 2):
                for near_col in range(col - 1, col + 2):
                    outside = near_row < 0 or near_col < 0 or near_row >= height or near_col >= width
                    beside = connectivity == 8 or near_row == row or near_col == col  # noqa: PLR2004
                    if outside and beside and around[near_row + 1, near_col + 1] == around[row + 1, col + 1]:
                        found[labels[row, col]] = True
    found[0] = False
    return found


def edge_of(labels: Labels, classes: Classes, numbers: Integers, core: Window, raster_width: int) -> Edge:
    """The outermost pixels of a tile.

    Args:
        labels: `(height, width)` of :func:`label_tile`.
        classes: `(height, width)`, what was labelled.
        numbers: for each label its number from 1 among those that take part, 0 for the others.
        core: where the tile lies in the raster.
        raster_width: columns of the whole raster.
    """
    rows, cols = _outermost(*labels.shape)
    places = (rows + core.row) * raster_width + cols + core.col
    return Edge(int(numbers.max(initial=0)), places, numbers[labels[rows, cols]], classes[rows, cols])


def _outermost(height: int, width: int) -> tuple[Integers, Integers]:
    """Rows and columns of the outermost pixels, in raster order."""
    across, down = np.arange(width), np.arange(1, height - 1)
    sides = np.unique([0, width - 1])
    last = [] if height == 1 else [np.full(width, height - 1)]
    rows = [np.zeros(width, np.int64), np.repeat(down, sides.size), *last]
    cols = [across, np.tile(sides, down.size), *([across] if last else [])]
    return np.concatenate(rows), np.concatenate(cols)


def number(flags: Flags) -> Integers:
    """For each flag its number from 1 among those that are set, 0 for the others."""
    numbers: Integers = np.cumsum(flags, dtype=np.int64) * flags
    return numbers


def join(edges: Sequence[Edge], raster_width: int, connectivity: int = 4) -> list[Integers]:
    """Join the components of areas that do not overlap.

    Args:
        edges: of tiles, or of whatever has edge pixels, in any order.
        raster_width: columns of the whole raster.
        connectivity: as for :func:`label_tile`.

    Returns:
        For each a table from label to joined component: 0 for label 0, else from 1, without gaps, in the order of
        each component's first label.
    """
    starts = np.cumsum([0, *(edge.count for edge in edges)])
    here, there = _meeting(edges, starts, raster_width, connectivity)
    size = int(starts[-1])
    component = np.zeros(0, np.int64)
    if size:
        links = coo_array((np.ones(here.size, np.bool_), (here, there)), shape=(size, size))
        component = connected_components(links, directed=False)[1].astype(np.int64) + 1
    return [np.append(0, part) for part in np.split(component, starts[1:-1])][: len(edges)]


def _meeting(
    edges: Sequence[Edge], starts: Integers, raster_width: int, connectivity: int
) -> tuple[Integers, Integers]:
    """Pairs of nodes (labels of all edges in one count from 0) that meet; some within one tile, which is harmless."""
    valid = [edge.labels > 0 for edge in edges]
    places = _gather(edge.places[ok] for edge, ok in zip(edges, valid, strict=True))
    order = np.argsort(places)
    places = places[order]
    nodes = _gather(edge.labels[ok] + start - 1 for edge, ok, start in zip(edges, valid, starts, strict=False))[order]
    classes = _gather(edge.classes[ok] for edge, ok in zip(edges, valid, strict=True))[order]
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
