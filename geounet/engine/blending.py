"""Blending: what hides the seams of a network that sees its whole window, and so has no receptive field to cover.

Each window's probabilities count with a weight that is 1 in the middle of its core, falls over the overlap with the
next window as a squared cosine, and adds up to 1 with that window's. Weights depend on the lattice of windows alone,
and sums are taken in one order, so blocks, workers and boxes change no bit: a block also runs the neighbours that reach
into it. Its edges lie where a neighbour's weight begins, so that it runs one row and one column of windows more than it
is high and wide, not two.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.grid import Block, Tile, Window, round_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from geounet.grid import Grid

    Sums = NDArray[np.float32]

_CORES = 4
"""Cores along a block at least: (4 + 1) ** 2 / 4 ** 2, so at most 56 % more windows than there are cores."""


def reach_of(core: tuple[int, int], halo: int, stride: int) -> int:
    """Pixels on each side of a core's edge over which two windows are blended: the halo, but at most half a core.

    Then at most two windows meet along an axis.

    Returns:
        A multiple of the stride; 0 where there is no room to blend.
    """
    return min(halo, min(core) // 2 // stride * stride)


def blended_block_shape(grid: Grid, tile_size: int) -> tuple[int, int]:
    """Height and width of a block of about `tile_size` pixels: whole cores, at least four, for the neighbours' sake."""
    height, width = grid.core_height, grid.core_width
    return round_up(max(tile_size, _CORES * height), height), round_up(max(tile_size, _CORES * width), width)


def blended_blocks(grid: Grid, extent: Window, reach: int, tile_size: int) -> tuple[Block, ...]:
    """The blocks that meet the region, each with all tiles that reach into it, those of its neighbours too.

    Block (i, j) starts `reach` pixels above and left of the core cells that it begins with.

    Args:
        grid: the lattice and the region that is asked for.
        extent: the whole scene: a tile's core is its cell within it, whatever the region.
        reach: see :func:`reach_of`.
        tile_size: side of a block in pixels, see :func:`blended_block_shape`.
    """
    height, width = blended_block_shape(grid, tile_size)
    region = grid.region
    rows = range((region.row + reach) // height, -(-(region.row_stop + reach) // height))
    cols = range((region.col + reach) // width, -(-(region.col_stop + reach) // width))
    cores = {
        (row, col): Window(row * height - reach, col * width - reach, height, width).intersection(region)
        for row in rows
        for col in cols
    }
    return tuple(Block(*place, core, _reaching(grid, extent, core, reach)) for place, core in cores.items())


def _reaching(grid: Grid, extent: Window, core: Window, reach: int) -> tuple[Tile, ...]:
    tiles = replace(grid, region=extent).tiles(core.padded(reach))
    return tuple(Tile(tile.window.padded(-grid.halo).intersection(extent), tile.window) for tile in tiles)


def weights_along(core: int, reach: int) -> Sums:
    """A window's weights along one axis, from `reach` pixels before its core to `reach` pixels after it."""
    rising = np.sin((np.arange(2 * reach) + 0.5) * (np.pi / (4 * reach))) ** 2
    return np.concatenate([rising, np.ones(core - 2 * reach), rising[::-1]]).astype(np.float32)


def blend(
    block: Block, cell: tuple[int, int], reach: int, estimates: Iterable[tuple[Tile, Sums]]
) -> Iterator[tuple[Window, Sums]]:
    """Blended probabilities of a block, piece by piece while its windows come in, so that only strips of it are held.

    A pixel's probabilities are divided by the weights of the windows that were run, so a window that was left out, or
    would lie beyond the scene, leaves its share to the others.

    Args:
        block: see :func:`blended_blocks`.
        cell: height and width of a core cell, at least twice the reach.
        reach: see :func:`reach_of`.
        estimates: tiles of the block, in their order, each with the probabilities (classes, height + 2 reach,
            width + 2 reach) of its cell and what is around it; some may be left out.

    Yields:
        Windows within the block's core, whole cells of a lattice shifted by the reach but for the core's edges, and
        their probabilities (classes, height, width). Where no window reaches nothing is yielded, or zeros.
    """
    height, width = cell
    weights = weights_along(height, reach)[:, None] * weights_along(width, reach)
    coming = iter(estimates)
    tile, found = next(coming, (None, None))
    below: dict[int, Sums | None] = {}
    for row in _starts({each.core.row for each in block.tiles}, height):
        right: Sums | None = None
        for col in _starts({each.core.col for each in block.tiles}, width):
            sums: Sums | None = None
            if tile is not None and found is not None and (tile.core.row, tile.core.col) == (row, col):
                sums = _weighted(found, weights)
                tile, found = next(coming, (None, None))
            sums, right = _handed_on(sums, right, width, -1)
            sums, below[col] = _handed_on(sums, below.get(col), height, -2)
            whole = Window(row - reach, col - reach, height, width)
            piece = whole.intersection(block.core)
            if sums is not None and piece.pixels:
                yield piece, _mean(sums[:, *piece.within(whole)])


def _starts(known: set[int], step: int) -> list[int]:
    """In order, with one more after the last: no window is there, but those before it reach that far."""
    return [*sorted(known), max(known) + step]


def _weighted(probabilities: Sums, weights: Sums) -> Sums:
    """(classes, height, width) times the weights, and the weights themselves as one band more."""
    out = np.empty((len(probabilities) + 1, *weights.shape), np.float32)
    np.multiply(probabilities, weights, out=out[:-1])
    out[-1] = weights
    return out


def _mean(sums: Sums) -> Sums:
    """Where no window reaches the weights are 0, and so are the sums."""
    mean: Sums = sums[:-1] / np.maximum(sums[-1], np.finfo(np.float32).tiny)
    return mean


def _handed_on(sums: Sums | None, before: Sums | None, length: int, axis: int) -> tuple[Sums | None, Sums | None]:
    """Add what the cell before reaches over with; cut off what reaches over to the next cell.

    Args:
        sums: a window's, `length` and twice the reach along the axis; None where it was left out.
        before: what was cut off before, twice the reach along the axis.
        length: of a cell.
        axis: -1 for columns, -2 for rows.

    Returns:
        The sums, `length` along the axis, and what to hand on.
    """
    if sums is None:
        return (None if before is None else _lengthened(before, length, axis)), None
    kept, cut = np.split(sums, [length], axis=axis)
    if before is not None:
        head: Any = np.split(kept, [before.shape[axis]], axis=axis)[0]
        head += before
    # A copy, so that the window's own memory is not held on to.
    return kept, cut.copy()


def _lengthened(sums: Sums, length: int, axis: int) -> Sums:
    missing = [(0, 0), (0, 0), (0, 0)]
    missing[axis] = (0, length - sums.shape[axis])
    return np.pad(sums, missing)
