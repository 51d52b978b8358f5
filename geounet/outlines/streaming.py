"""The polygons of a raster as a stream: strips read ahead, tiles traced in parallel, polygons handed out in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.grid import Grid, Window
from geounet.outlines import polygons, stitching
from geounet.outlines.stitching import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from geounet.outlines.polygons import Polygons
    from geounet.outlines.stitching import Layer, Raster, Unfinished

    Classes = NDArray[np.uint8]
    ReadStrip = Callable[[Window], tuple[Classes, tuple[Layer, ...]]]

_AHEAD = 2
"""Strips read ahead: the one below the one that is handed out, and one being read."""
_STRIP = 1 << 24
"""Pixels of a strip, about, where a strip of square tiles would have more: memory stays bounded in wide rasters."""
_BLOCK = 256
"""Rows of a strip are a multiple of this where they can be, so that a raster's own blocks are read once."""
_BATCH = 20_000
"""Polygons handed out at once, at most."""
_BYTES = 1 << 28
"""Bytes of polygons handed out at once, unless one alone has more."""


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
    read: ReadStrip, height: int, raster: Raster, *, layers: int = 0, tile_size: int, workers: int, band: int
) -> Iterator[Polygons]:
    """The polygons of a raster, batch by batch, in the order of :func:`geounet.outlines.polygons.in_order`.

    Args:
        read: from a window of whole rows to classes `(height, width)`, 255 for nodata, and to the values and valid
            masks of rasters to sum up; called from one thread, once for each row.
        height: rows of the raster.
        raster: its width, transform and so on.
        layers: how many rasters are summed up.
        tile_size: rows and columns of a tile; it changes nothing.
        workers: threads that trace; they change nothing.
        band: rows after which the order of polygons is settled.

    Yields:
        At least one batch; it may be empty.
    """
    with ThreadPoolExecutor(1, "geounet-read") as reading, ThreadPoolExecutor(workers, "geounet-trace") as tracing:
        strips = _strips(read, height, raster.width, tile_size, reading)
        yield from _in_bands(_stitched(_traced(strips, raster, tracing), raster, layers), height, band)


def _strips(read: ReadStrip, height: int, width: int, tile_size: int, pool: ThreadPoolExecutor) -> Iterator[Strip]:
    """The strips of a raster, each pixel read once."""
    step = _strip_height(width, tile_size)
    rows = [Window(row, 0, min(step, height - row), width) for row in range(0, height, step)]
    ahead = deque(pool.submit(read, core) for core in rows[:_AHEAD])
    outside = np.full((1, width), NODATA, np.uint8)
    above = outside
    for index, core in enumerate(rows):
        classes, layers = ahead.popleft().result()
        if index + _AHEAD < len(rows):
            ahead.append(pool.submit(read, rows[index + _AHEAD]))
        below = ahead[0].result()[0][:1] if ahead else outside
        yield _strip(core, np.concatenate([above, classes, below]), layers, tile_size)
        above = classes[-1:].copy()
        # While the next strip is awaited this one must not stay.
        del classes, layers


def _strip_height(width: int, tile_size: int) -> int:
    height = min(tile_size, max(1, _STRIP // width))
    return height if height == tile_size or height < _BLOCK else height - height % _BLOCK


def _strip(core: Window, rows: Classes, layers: Sequence[Layer], tile_size: int) -> Strip:
    """A strip from its rows and one above and below."""
    around = np.pad(rows, ((0, 0), (1, 1)), constant_values=NODATA)
    tiles = [tile.core for tile in Grid(Window(0, 0, core.height, core.width), core.height, tile_size).tiles()]
    pieces = []
    for tile in tiles:
        wide = np.ascontiguousarray(around[tile.row : tile.row_stop + 2, tile.col : tile.col_stop + 2])
        here = slice(None), slice(tile.col, tile.col_stop)
        placed = Window(core.row, tile.col, core.height, tile.width)
        pieces.append(Piece(placed, wide, tuple((values[here], valid[here]) for values, valid in layers)))
    return Strip(pieces, rows[-1].copy(), core.row_stop - 1)


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
            everything, waiting = polygons.concatenate(waiting), []
            order = polygons.in_order(everything, band)
            count = int(np.count_nonzero(everything.last_rows // band < settled))
            waiting.append(polygons.take(everything, order[count:]))
            for start, stop in _cuts(np.diff(everything.offsets)[order[:count]], last):
                yield polygons.take(everything, order[start:stop])
            # Not to be held while the next strips are awaited.
            del everything


def _cuts(sizes: NDArray[np.int64], last: bool) -> Iterator[tuple[int, int]]:
    """Where batches of polygons of these sizes start and stop; with `last` at least one, if an empty one."""
    ends, start = np.cumsum(sizes), 0
    while start < sizes.size or last:
        before = ends[start - 1] if start else 0
        fits = int(np.searchsorted(ends, before + _BYTES, "right"))
        stop = min(max(fits, start + 1), start + _BATCH, sizes.size)
        yield start, stop
        start, last = stop, False
