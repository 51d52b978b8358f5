"""Two maps compared tile by tile, in flat memory: the same whatever the tiles."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from geounet.changes.comparing import (
    Rules,
    Tally,
    UnknownValueError,
    chances,
    change_table,
    count_codes,
    decide,
    pairs_in,
)
from geounet.changes.kinds import UNCHANGED, Kinds, has_room, kinds_of
from geounet.changes.sides import Side, Table, classes_by_value, readers_of
from geounet.classes import NODATA
from geounet.components.cleaning import ruled
from geounet.components.dropping import DropSmall
from geounet.components.scratch import fetch, put
from geounet.grid import Grid, Window
from geounet.maps.placing import read_placed
from geounet.maps.walking import walk
from geounet.outlines.pixel_areas import WholeAreas, whole_areas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.components.scratch import Place
    from geounet.raster.class_raster import ReadStored

    Progress = Callable[[int, int], None]
    Bytes = NDArray[np.uint8]
    Readers = tuple[list[ReadStored], list[ReadStored]]


@dataclass(frozen=True, slots=True)
class Work:
    """What is compared, and how."""

    sides: tuple[Side, ...]
    """Both maps."""
    table: Table
    """On their lattice."""
    rules: Rules
    """What counts."""
    tile_size: int
    """Rows and columns worked on at once."""
    threads: int
    """Threads."""
    progress: Progress
    """Called with the tiles done and the tiles in all."""

    @property
    def extent(self) -> Window:
        """The common lattice."""
        return self.table.frame.extent

    @property
    def is_sure(self) -> bool:
        """Whether there are confidences on both sides or on one."""
        return any(side.shares for side in self.sides)

    @property
    def unit(self) -> WholeAreas:
        """Areas of the lattice's pixels."""
        frame = self.table.frame
        return whole_areas(frame.transform, frame.height, frame.width, frame.crs, self.sides[0].layer.classes)

    def tiles(self) -> list[Window]:
        """Windows that cover the lattice, row by row."""
        return [tile.core for tile in Grid(self.extent, self.tile_size, self.tile_size).tiles()]

    @contextmanager
    def readers(self) -> Iterator[Readers]:
        """What reads both sides, for one thread."""
        with ExitStack() as stack:
            yield readers_of(self.sides[0], stack), readers_of(self.sides[1], stack)

    def read(self, window: Window, readers: Readers) -> tuple[Bytes, Bytes]:
        """Both sides in a window of the lattice, `(rasters, height, width)` each."""
        frame, placed = self.table.frame, (self.table.before, self.table.after)
        before, after = (read_placed(one, frame, window, read) for one, read in zip(placed, readers, strict=True))
        return before, after


@dataclass(slots=True, eq=False)
class _Counts:
    """What is counted on the way."""

    tally: Tally = field(default_factory=Tally)
    unchanged: int = 0
    """Pixels without a change, before small ones are left out."""
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NODATA + 1, np.int64))
    areas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NODATA + 1, np.int64))


@dataclass(frozen=True, slots=True)
class Done:
    """A comparison that is put aside, to be written out."""

    kinds: Kinds
    """What codes stand for."""
    tally: Tally
    """What was counted of differences."""
    pixels: NDArray[np.int64]
    """`(256,)`: by code."""
    areas: NDArray[np.int64]
    """`(256,)`: by code."""
    small: int
    """Pixels of changes that are too small."""
    tiles: Callable[[], Iterator[tuple[Window, Bytes, Bytes]]]
    """Windows, codes and probabilities, row by row."""


@contextmanager
def compared(work: Work, folder: Path) -> Iterator[Done]:
    """Compare tile by tile, leave small ones out, and count; what comes of it lies in a temporary file.

    Args:
        work: what is compared.
        folder: where temporary files go.

    Raises:
        SceneError: a raster cannot be read.
        LabelError: one value stands for several classes, or there are too many kinds of changes.
    """
    classes = classes_by_value(work.sides, ())
    kinds = kinds_of(classes) if has_room(classes) else _kinds_by_looking(work)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            done = _compare(work, kinds, folder, file)
        except UnknownValueError:
            done = _compare(work, _kinds_by_looking(work), folder, file)
        yield done


def _kinds_by_looking(work: Work) -> Kinds:
    """The kinds of changes that there are, and the classes of all values, by a walk over all tiles."""
    seen: set[tuple[int, int]] = set()
    values: set[int] = set()

    def pairs(window: Window, readers: Readers) -> NDArray[Any]:
        before, after = work.read(window, readers)
        return pairs_in(before[0], after[0])

    for _, found in walk(work.tiles(), pairs, work.readers, work.threads):
        seen.update(map(tuple, found.tolist()))
        values.update(found.ravel().tolist())
    return kinds_of(classes_by_value(work.sides, sorted(values)), seen)


def _compare(work: Work, kinds: Kinds, folder: Path, file: BinaryIO) -> Done:
    unit, counts = work.unit, _Counts()
    least = 0 if work.rules.min_area == 0 else int(np.ceil(work.rules.min_area / unit.unit))
    shares: list[Place] = []
    tiles = _decided(work, kinds, unit, counts, lambda share: shares.append(put(file, share)))
    places: list[tuple[Window, Place, Place]] = []
    for window, codes in ruled(tiles, DropSmall(least, unit.rows), work.extent, folder):
        found = count_codes(codes, unit.rows[window.row : window.row_stop])
        counts.pixels, counts.areas = counts.pixels + found[0], counts.areas + found[1]
        places.append((window, put(file, codes), shares[len(places)]))

    def stored() -> Iterator[tuple[Window, Bytes, Bytes]]:
        for window, code_place, share_place in places:
            codes, share = fetch(file, code_place), fetch(file, share_place)
            # What is too small has lost its code only.
            yield window, codes, np.where((codes == UNCHANGED) | (codes == NODATA), np.uint8(NODATA), share)

    small = int(counts.pixels[UNCHANGED]) - counts.unchanged
    return Done(kinds, counts.tally, counts.pixels, counts.areas, small, stored)


def _decided(
    work: Work, kinds: Kinds, unit: WholeAreas, counts: _Counts, keep: Callable[[Bytes], None]
) -> Iterator[tuple[Window, Bytes]]:
    """Codes of all tiles, row by row; probabilities are handed on, and differences counted."""
    lookup, table, windows = kinds.lookup(), change_table(len(kinds.classes)), work.tiles()

    def found_in(window: Window, readers: Readers) -> tuple[Bytes, Bytes, Tally]:
        margin = work.rules.tolerance
        before, after = work.read(window.padded(margin), readers)
        core = slice(margin, margin + window.height), slice(margin, margin + window.width)
        chance = chances(before[:, *core], after[:, *core], table)
        row_areas = unit.rows[window.row : window.row_stop]
        return decide(before[0], after[0], margin, lookup, chance, work.rules, row_areas)

    walked = walk(windows, found_in, work.readers, work.threads)
    for number, (window, (codes, share, tally)) in enumerate(walked, 1):
        counts.tally.add(tally)
        counts.unchanged += int((codes == UNCHANGED).sum())
        keep(share)
        yield window, codes
        work.progress(number, len(windows))
