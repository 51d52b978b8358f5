"""Clean a class raster tile by tile: each pixel by a rule that knows nothing of tiles.

Majority, opening and closing look no further than a fixed distance, so a tile that is read with that much around it
gets the right result. Sieve and hole filling need whole components: a first walk over the tiles keeps of each what
the others must know, a second one paints; in between, the tiles lie in a temporary file. Nodata pixels never change,
and no class grows into them.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geounet.components.holes import FillHoles
from geounet.components.merging import NEIGHBOURS
from geounet.components.morphology import REACH, close_classes, majority, open_classes
from geounet.components.pieces import repaint, stitch
from geounet.components.scratch import fetch, put
from geounet.components.sieve import CONNECTIVITIES, Sieve
from geounet.grid import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.components.pieces import Change, Meetings, Rim, Survey
    from geounet.components.scratch import Place

    Classes = NDArray[np.uint8]
    Tiles = Iterable[tuple[Window, Classes]]


_THREADS = min(4, os.cpu_count() or 1)
"""Tiles worked on at once: more would wait for what keeps Python's lock, and each takes memory."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What is done: majority, opening, closing, sieve, hole filling, in this order; 0 leaves a step out."""

    open_radius: int = 0
    """Radius in pixels of the disk into which a region must fit."""
    close_radius: int = 0
    """Radius in pixels of the disk into which a gap must not fit."""
    sieve: int = 0
    """Components of fewer pixels go to a neighbour."""
    fill_holes: int = 0
    """Holes of at most so many pixels are filled."""
    majority: int = 0
    """Radius in pixels of the disk whose most frequent class a pixel takes; comes before the others."""
    sieve_to: str = "border"
    """Which neighbour: `border`, the one with the longest shared border, or `largest`, as in GDAL."""
    connectivity: int = 4
    """4: the sieve's components share sides; 8: or corners."""

    def __post_init__(self) -> None:
        for name in ("open_radius", "close_radius", "sieve", "fill_holes", "majority"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must not be negative")
        for name, known in (("sieve_to", NEIGHBOURS), ("connectivity", CONNECTIVITIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be {' or '.join(map(str, known))}")

    @property
    def margin(self) -> int:
        """Pixels around a tile that majority, opening and closing look at."""
        return self.majority + (2 + REACH) * self.open_radius + 2 * self.close_radius

    @property
    def over_seams(self) -> tuple[Rule, ...]:
        """The steps that need whole components."""
        sieve = Sieve(self.sieve, self.sieve_to, self.connectivity)
        return (*([sieve] if self.sieve > 1 else []), *([FillHoles(self.fill_holes)] if self.fill_holes else []))


class Rule(Protocol):
    """A step that needs whole components: tiles are surveyed, then the rest is settled, then the tiles change."""

    @property
    def connectivity(self) -> int:
        """4 or 8."""

    def survey(self, classes: Classes, core: Window, extent: Window) -> Survey[Any]:
        """What is found in a tile."""

    def settle(self, tiles: Sequence[Any], seams: Meetings) -> Sequence[Change]:
        """From what is kept of all tiles, and what meets over the seams: what else changes in each tile."""


def clean_tiles(
    read: Callable[[Window], Classes],
    extent: Window,
    steps: Cleaning,
    tile_size: int,
    folder: Path | None = None,
) -> Iterator[tuple[Window, Classes]]:
    """Clean a raster tile by tile, in memory that does not grow with its pixels.

    Args:
        read: from a window, which may reach beyond the raster, to its classes `(height, width)`: 255 for nodata and
            beyond the raster.
        extent: the whole raster.
        steps: what to do.
        tile_size: rows and columns worked on at once; it changes no pixel.
        folder: where temporary files go; by default where the system has them.

    Yields:
        Windows that cover the raster, row by row, and their cleaned classes `(height, width)`.
    """
    cores = (tile.core for tile in Grid(extent, tile_size, tile_size).tiles())
    tiles: Iterator[tuple[Window, Classes]] = (
        (core, _smooth(read(core.padded(steps.margin)), steps)) for core in cores
    )
    for rule in steps.over_seams:
        tiles = ruled(tiles, rule, extent, folder)
    yield from tiles


def _smooth(classes: Classes, steps: Cleaning) -> Classes:
    """Majority, opened and closed, without the margin."""
    height, width = classes.shape
    done = majority(classes, steps.majority)
    done = close_classes(open_classes(done, steps.open_radius), steps.close_radius)
    return np.ascontiguousarray(done[steps.margin : height - steps.margin, steps.margin : width - steps.margin])


def ruled(tiles: Tiles, rule: Rule, extent: Window, folder: Path | None) -> Iterator[tuple[Window, Classes]]:
    """A rule over all tiles: they are surveyed and put aside, then fetched and changed.

    Args:
        tiles: windows that cover the raster, row by row, and their classes.
        rule: what is done.
        extent: the whole raster.
        folder: where the temporary file goes; by default where the system has them.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        places: list[tuple[Window, tuple[Place, ...]]] = []
        kept: list[Any] = []

        def rims() -> Iterator[tuple[Window, Rim]]:
            nodes = 0
            surveyed = _ahead(lambda tile: (*tile, rule.survey(tile[1], tile[0], extent)), tiles)
            for core, classes, survey in surveyed:
                places.append((core, tuple(put(file, array) for array in (classes, *survey.settled))))
                kept.append(survey.kept)
                yield core, survey.rim.shifted(nodes)
                nodes += survey.kept.seeds.size

        seams = stitch(rims(), rule.connectivity, extent)
        changes = rule.settle(kept, seams)
        kept.clear()
        fetched = (
            (core, *(fetch(file, part) for part in parts), change)
            for (core, parts), change in zip(places, changes, strict=True)
        )
        yield from _ahead(lambda tile: (tile[0], repaint(tile[1], [tile[2:4], tile[4]], rule.connectivity)), fetched)


def _ahead(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """The function's results in order, some worked out in threads beforehand; the items come in this thread."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[Any]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def sieve(classes: Classes, size: int, to: str = "border", connectivity: int = 4) -> Classes:
    """Give components of fewer than `size` pixels to a neighbour: see :class:`geounet.components.sieve.Sieve`.

    Args:
        classes: `(height, width)`, the whole raster; 255 for nodata, which is no neighbour.
        size: in pixels; 0 or 1 changes nothing.
        to: `border` or `largest`.
        connectivity: 4 or 8.
    """
    return _whole(classes, Cleaning(sieve=size, sieve_to=to, connectivity=connectivity))


def fill_holes(classes: Classes, size: int) -> Classes:
    """Fill the holes of at most `size` pixels: see :class:`geounet.components.holes.FillHoles`.

    Args:
        classes: `(height, width)`, the whole raster; 255 for nodata.
        size: in pixels; 0 changes nothing.
    """
    return _whole(classes, Cleaning(fill_holes=size))


def _whole(classes: Classes, steps: Cleaning) -> Classes:
    """A raster as one tile."""
    extent = Window(0, 0, *classes.shape)
    for rule in steps.over_seams if classes.size else ():
        survey = rule.survey(classes, extent, extent)
        changes = rule.settle([survey.kept], stitch((), rule.connectivity, extent))
        classes = repaint(classes, [survey.settled, *changes], rule.connectivity)
    return classes
