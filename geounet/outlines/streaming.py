"""The polygons of a raster as a stream: strips read ahead, tiles traced in parallel, polygons handed out in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.grid import Grid, Window
from geounet.outlines import polygons, stitching
from geounet.outlines.stitching import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from geounet.outlines.polygons import Polygons
    from geounet.outlines.stitching import Layer, Raster, Unfinished

    Classes = NDArray[np.uint8]

_AHEAD = 2
"""Strips whose classes are read ahead: those of the one below the one that is handed out, and of one more."""
_STRIP = 1 << 24
"""Pixels of a strip, about, where a strip of square tiles would have more: memory stays bounded in wide rasters."""
_BLOCK = 256
"""Rows of a strip are a multiple of this where they can be, so that a raster's own blocks are read once."""
_BATCH = 20_000
"""Polygons handed out at once, at most."""
_BYTES = 1 << 28
"""Bytes of polygons handed out at once, unless one alone has more."""


@dataclass(frozen=True, slots=True)
class Readers:
    """What a raster is read by: functions from a window of whole rows, for one thread at a time."""

    classes: Callable[[Window], Classes]
    """To classes `(height, width)`, 255 for nodata."""
    layers: Callable[[Window], tuple[Layer, ...]]
    """To the values and valid masks `(height, width)` of rasters to sum up."""
    count: int
    """How many those are."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of tiles."""

    pieces: list[Piece]
    """Its tiles; emptied as they are handed on, so that memory does not hold them longer."""
    below: Classes
    """`(width,)`: classes of the row below it, 255 below the raster."""
    bottom: int
    """Its last row."""


def raster_polygons(
    readers: Readers, height: int, raster: Raster, *, tile_size: int, workers: int, band: int
) -> Iterator[Polygons]:
    """The polygons of a raster, batch by batch, in the order of :func:`geounet.outlines.polygons.in_order`.

    Args:
        readers: called from one thread, once for each row.
        height: rows of the raster.
        raster: its width, transform and so on.
        tile_size: rows and columns of a tile; it changes nothing.
        workers: threads that trace; they change nothing.
        band: rows after which the order of polygons is settled.

    Yields:
        At least one batch; it may be empty.
    """
    with ThreadPoolExecutor(1, "geounet-read") as reading, ThreadPoolExecutor(workers, "geounet-trace") as tracing:
        strips = _strips(readers, height, raster.width, tile_size, reading)
        yield from _in_bands(_stitched(_traced(strips, raster, tracing), raster, readers.count), height, band)


def _strips(readers: Readers, height: int, width: int, tile_size: int, pool: ThreadPoolExecutor) -> Iterator[Strip]:
    """The strips of a raster, each pixel read once.

    The classes of the strip below are read before the layers of a strip: without them its outlines cannot be followed,
    and the layers are asked for later.
    """
    step = _strip_height(width, tile_size)
    rows = [Window(row, 0, min(step, height - row), width) for row in range(0, height, step)]
    ahead = deque(pool.submit(readers.classes, core) for core in rows[:_AHEAD])
    coming = pool.submit(readers.layers, rows[0])
    outside = np.full(width, NODATA, np.uint8)
    above = outside
    for index, core in enumerate(rows):
        classes, layers = ahead.popleft().result(), coming
        if index + _AHEAD < len(rows):
            ahead.append(pool.submit(readers.classes, rows[index + _AHEAD]))
        if ahead:
            coming = pool.submit(readers.layers, rows[index + 1])
        below = ahead[0].result()[0] if ahead else outside
        yield _strip(core, (above, classes, below), layers, tile_size)
        above = classes[-1].copy()
        # While the next strip is awaited this one must not stay.
        del classes, layers


def _strip_height(width: int, tile_size: int) -> int:
    height = min(tile_size, max(1, _STRIP // width))
    return height if height == tile_size or height < _BLOCK else height - height % _BLOCK


def _strip(
    core: Window, rows: tuple[Classes, Classes, Classes], layers: Future[tuple[Layer, ...]], tile_size: int
) -> Strip:
    """A strip from its classes, those of the row above and of the row below, and the layers that are being read."""
    tiles = [tile.core for tile in Grid(Window(0, 0, core.height, core.width), core.height, tile_size).tiles()]
    pieces = []
    for tile in tiles:
        placed = Window(core.row, tile.col, core.height, tile.width)
        here = partial(_columns, layers, slice(tile.col, tile.col_stop))
        pieces.append(Piece(placed, _around(tile, *rows), here))
    return Strip(pieces, rows[2].copy(), core.row_stop - 1)


def _around(tile: Window, above: Classes, classes: Classes, below: Classes) -> Classes:
    """A tile's classes and one pixel around it."""
    wide = np.full((tile.height + 2, tile.width + 2), NODATA, np.uint8)
    left, right = max(0, tile.col - 1), min(classes.shape[1], tile.col_stop + 1)
    here = slice(left - tile.col + 1, right - tile.col + 1)
    wide[0, here], wide[-1, here] = above[left:right], below[left:right]
    wide[1:-1, here] = classes[:, left:right]
    return wide


def _columns(layers: Future[tuple[Layer, ...]], columns: slice) -> tuple[Layer, ...]:
    """Some columns of layers, once they are read."""
    return tuple((values[:, columns], valid[:, columns]) for values, valid in layers.result())


@dataclass(frozen=True, slots=True)
class Traced:
    """What is left of a strip when its tiles are traced, or soon will be."""

    tiles: list[Future[tuple[Unfinished, Polygons]]]
    """What each tile gives."""
    below: Classes
    """As of the strip."""
    bottom: int
    """As of the strip."""


def _traced(strips: Iterator[Strip], raster: Raster, pool: ThreadPoolExecutor) -> Iterator[Traced]:
    """Strips whose tiles are being traced; while one is waited for and joined, so are those of the next."""
    pending: deque[Traced] = deque()
    for strip in strips:
        tiles = [pool.submit(stitching.trace_tile, piece, raster) for piece in strip.pieces]
        strip.pieces.clear()
        pending.append(Traced(tiles, strip.below, strip.bottom))
        if len(pending) > 1:
            yield pending.popleft()
    yield from pending


def _stitched(traced: Iterator[Traced], raster: Raster, layers: int) -> Iterator[tuple[int, list[Polygons]]]:
    """The last row of each strip, and the polygons that end in it."""
    waiting = stitching.nothing(layers)
    for strip in traced:
        tiles = [task.result() for task in strip.tiles]
        strip.tiles.clear()
        waiting, joined = stitching.stitch(waiting, [tile[0] for tile in tiles], strip.below, strip.bottom, raster)
        found = [joined, *(tile[1] for tile in tiles)]
        del tiles, joined
        yield strip.bottom, found


def _in_bands(strips: Iterator[tuple[int, list[Polygons]]], height: int, band: int) -> Iterator[Polygons]:
    """Polygons in order, as soon as the band in which they end is complete."""
    waiting: list[Polygons] = []
    settled = 0
    for bottom, found in strips:
        waiting += found
        found.clear()
        last = bottom == height - 1
        bands = -(-height // band) if last else (bottom + 1) // band
        if bands > settled:
            settled = bands
            parts, order = waiting, polygons.in_order(waiting, band)
            count = int(np.count_nonzero(polygons.column(parts, "last_rows") // band < settled))
            waiting = [polygons.take(parts, order[count:])]
            for start, stop in _cuts(polygons.sizes_of(parts)[order[:count]], last):
                yield polygons.take(parts, order[start:stop])
            # Not to be held while the next strips are awaited.
            del parts


def _cuts(sizes: NDArray[np.int64], last: bool) -> Iterator[tuple[int, int]]:
    """Where batches of polygons of these sizes start and stop; with `last` at least one, if an empty one."""
    ends, start = np.cumsum(sizes), 0
    while start < sizes.size or last:
        before = ends[start - 1] if start else 0
        fits = int(np.searchsorted(ends, before + _BYTES, "right"))
        stop = min(max(fits, start + 1), start + _BATCH, sizes.size)
        yield start, stop
        start, last = stop, False
