"""Polygons burnt in parts, one over another, onto a raster that stands in a file: memory holds a part and a tile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.errors import OutputError
from geounet.grid import Grid, Window
from geounet.raster.burning import burn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from geounet.data.labels import Polygons
    from geounet.raster.scene import Scene

    Canvas = NDArray[np.uint8]
    Progress = Callable[[int, int], None]


def on_canvas(
    parts: Iterator[Polygons], scene: Scene, place: Any, tile_size: int
) -> tuple[Canvas | None, Polygons | None]:
    """Burn all but the last of the parts; where there is one alone, it is burnt while the raster is written.

    Args:
        parts: in their order.
        scene: on whose pixels.
        place: an open, empty file.
        tile_size: rows and columns worked on at once.

    Returns:
        The raster's pixels in the file, None where there was no part to burn; and the last part.

    Raises:
        OutputError: the disk has no room for them.
    """
    canvas: Canvas | None = None
    before: Polygons | None = None
    for part in parts:
        if before is not None:
            canvas = _reserved(scene, place) if canvas is None else canvas
            for core in _cores(scene, tile_size):
                _burn_onto(canvas, before, core)
        before = part
    return canvas, before


def _reserved(scene: Scene, place: Any) -> Canvas:
    """A raster of nodata in a file, which memory need not hold.

    Raises:
        OutputError: the disk has no room for it.
    """
    try:
        # Beforehand: a disk that is full when a mapped page is written ends the process without a word.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(place.fileno(), 0, scene.extent.pixels)
    except OSError as error:
        raise OutputError(f"there is no room for {scene.extent.pixels} bytes meanwhile: {error.strerror}") from error
    # Stored are the differences from nodata: what was never written is 0.
    return np.memmap(place, np.uint8, "r+", shape=(scene.height, scene.width))


def _burn_onto(canvas: Canvas, part: Polygons, core: Window) -> None:
    if part.outlines.near(core).size:
        found = burn(part.outlines, core, NODATA, part.all_touched)
        np.copyto(canvas[core.within(Window(0, 0, 0, 0))], NODATA - found, where=found != NODATA)


def _cores(scene: Scene, tile_size: int) -> list[Window]:
    return [tile.core for tile in Grid(scene.extent, tile_size, tile_size).tiles()]


def pieces_of(
    scene: Scene, canvas: Canvas | None, last: Polygons | None, background: int, tile_size: int, progress: Progress
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """What is on the canvas with the last part on top, tile by tile.

    Args:
        scene: on whose pixels.
        canvas: what :func:`on_canvas` gave.
        last: likewise.
        background: code of pixels on no polygon.
        tile_size: rows and columns worked on at once.
        progress: called with the tiles done and the tiles in all.
    """
    cores = _cores(scene, tile_size)
    for done, core in enumerate(cores, 1):
        codes = np.full((core.height, core.width), NODATA, np.uint8)
        if canvas is not None:
            codes -= canvas[core.within(Window(0, 0, 0, 0))]
        if last is not None:
            found = burn(last.outlines, core, NODATA, last.all_touched)
            np.copyto(codes, found, where=found != NODATA)
        codes[codes == NODATA] = background
        yield core, codes
        progress(done, len(cores))
