"""The states of a job's pixels as rasters on one lattice, for people and for what is made of them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.changes.blocks import BLOCK, blocks_of, window_of
from geounet.changes.confirmation import CONFIRMED, NONE, PROVISIONAL, STATUSES
from geounet.classes import NODATA, LandClass
from geounet.raster.cog import RasterProfile, cog_writer, plain_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.changes.blocks import BlockStore, Watch
    from geounet.changes.confirmation import PixelStates
    from geounet.changes.kinds import Kinds
    from geounet.grid import Window
    from geounet.raster.cog import Put

STATUS_CLASSES = tuple(
    LandClass(value, name, color)
    for value, (name, color) in enumerate(zip(STATUSES, ("#f0f0f0", "#fdae61", "#d7191c", "#6baed6"), strict=True))
)
"""The legend of the raster of statuses."""
_SINCE = {"UNITS": "days since 1970-01-01"}
NAMES = ("baseline", "status", "change", "first", "confirmed", "last", "count", "confidence")
"""What is written, each as `NAME.tif`."""
PHASES = ("provisional", "confirmed", "ended")
"""What events can be."""
SEED_SHIFT = 37
"""Bits of a pixel's number in the key of events: the day of the first sighting stands before them."""


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """What is written, and of what."""

    store: BlockStore
    watch: Watch
    area: Window
    """Rows and columns of the lattice."""
    kinds: Kinds
    """What the codes of changes stand for."""

    def profile(self, dtype: str, nodata: float, **more: Any) -> RasterProfile:
        """Of a raster that covers the area."""
        frame = self.watch.frame(self.area)
        return RasterProfile(frame.height, frame.width, frame.transform, frame.crs, dtype, nodata, **more)

    def blocks(self) -> Iterator[tuple[Window, tuple[slice, slice], PixelStates]]:
        """Each block that there is: its window relative to the area, what of the block that is, and its states."""
        for block in blocks_of(self.area):
            if self.store.path(block).exists():
                whole = window_of(block)
                inner = whole.intersection(self.area)
                place = type(inner)(inner.row - self.area.row, inner.col - self.area.col, inner.height, inner.width)
                yield place, inner.within(whole), self.store.read(block)


def square(values: NDArray[Any], part: tuple[slice, slice]) -> NDArray[Any]:
    """A part of a block's layer, `(height, width)`."""
    return np.asarray(values.reshape(BLOCK, BLOCK)[part])


def write_states(folder: Path, cover: Cover) -> None:
    """Write the rasters of :data:`NAMES` as COGs.

    `baseline.tif`, `status.tif` and `change.tif` carry their legends; `first.tif`, `confirmed.tif` and `last.tif` hold
    days since 1970-01-01, `count.tif` sightings, `confidence.tif` the mean probability of the new class. Where nothing
    was seen, `baseline.tif` and `status.tif` are nodata.

    Raises:
        OutputError: a file cannot be written.
    """
    profiles = {
        "baseline": cover.profile("uint8", NODATA, classes=cover.kinds.classes),
        "status": cover.profile("uint8", NODATA, names=("status",), classes=STATUS_CLASSES),
        "change": cover.profile("uint8", NODATA, names=("change",), classes=_legend(cover)),
        **{name: cover.profile("uint16", 0, names=(name,), tags=_SINCE) for name in ("first", "confirmed", "last")},
        "count": cover.profile("uint16", 0, names=("count",)),
        "confidence": cover.profile("uint8", NODATA, names=("confidence",), scale=1 / (NODATA - 1)),
    }
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(cog_writer(folder / f"{name}.tif", profile)) for name, profile in profiles.items()
        }
        for window, part, states in cover.blocks():
            for name, values in _layers(states, cover.kinds).items():
                writers[name](window, square(values, part)[None])


def _legend(cover: Cover) -> tuple[LandClass, ...]:
    """The kinds of changes that there are."""
    lookup, seen = cover.kinds.lookup(), np.zeros(NODATA + 1, np.bool_)
    for _, part, states in cover.blocks():
        seen[np.unique(square(_codes(states, lookup), part))] = True
    seen[[0, NODATA]] = False
    return cover.kinds.table(np.flatnonzero(seen).tolist())


def _codes(states: PixelStates, lookup: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What each pixel changed from and to: 0 for nothing, 255 where nothing was seen."""
    codes: NDArray[np.uint8] = lookup[states.layer("before"), states.layer("after")]
    codes[states.layer("status") == NONE] = 0
    codes[states.layer("baseline") == NODATA] = NODATA
    return codes


def _layers(states: PixelStates, kinds: Kinds) -> dict[str, NDArray[Any]]:
    unseen = states.layer("baseline") == NODATA
    status = np.where(unseen, NODATA, states.layer("status")).astype(np.uint8)
    count, total = states.layer("count"), states.layer("sum")
    mean = np.where(count > 0, (total + count // 2) // np.maximum(count, 1), NODATA)
    return {
        "baseline": states.layer("baseline"),
        "status": status,
        "change": _codes(states, kinds.lookup()),
        **{name: states.layer(name) for name in ("first", "confirmed", "last")},
        "count": np.minimum(count, 65535).astype(np.uint16),
        "confidence": mean.astype(np.uint8),
    }


@contextmanager
def event_rasters(folder: Path, cover: Cover) -> Iterator[dict[str, tuple[Path, Path]]]:
    """For each of :data:`PHASES` a raster of kinds, and one of what is known of their pixels; they go with the folder.

    The second has the bands `key` (day of the first sighting, and number of the pixel, see :data:`SEED_SHIFT`),
    `confirmed`, `last` and `confidence`.
    """
    names = ("key", "confirmed", "last", "confidence")
    legend = cover.kinds.table(range(1, len(cover.kinds.pairs) + 1))
    paths = {phase: (folder / f"{phase}.tif", folder / f"{phase}_known.tif") for phase in PHASES}
    with ExitStack() as stack:
        writers: dict[str, tuple[Put, Put]] = {}
        for phase, (coded, told) in paths.items():
            writers[phase] = (
                stack.enter_context(plain_writer(coded, cover.profile("uint8", NODATA, classes=legend))),
                stack.enter_context(plain_writer(told, cover.profile("float64", -1, names=names))),
            )
        lookup = cover.kinds.lookup()
        for window, part, states in cover.blocks():
            for phase, (put_kinds, put_known) in writers.items():
                codes, known = _of_phase(states, phase, lookup)
                if (square(codes, part) != NODATA).any():
                    put_kinds(window, square(codes, part)[None])
                    layers = np.stack([square(values, part) for values in known])
                    layers[0] = layers[0] * 2.0**SEED_SHIFT + _numbers(window, cover.area.width)
                    put_known(window, layers)
    yield paths


def _numbers(window: Window, width: int) -> NDArray[np.int64]:
    """Number of each pixel of a window in the raster, row by row."""
    rows = np.arange(window.row, window.row_stop, dtype=np.int64)[:, None]
    return np.asarray(rows * width + np.arange(window.col, window.col_stop))


def _of_phase(
    states: PixelStates, phase: str, lookup: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[NDArray[np.float64]]]:
    """Codes of the pixels whose change is of a phase, nodata elsewhere; what is known of them."""
    old = "old_" if phase == "ended" else ""
    wanted = {"provisional": PROVISIONAL, "confirmed": CONFIRMED}
    before, after = states.layer(f"{old}before"), states.layer(f"{old}after")
    here = before != NODATA if old else states.layer("status") == wanted[phase]
    codes = np.where(here, lookup[before, after], NODATA).astype(np.uint8)
    share = states.layer(f"{old}sum") / np.maximum(states.layer(f"{old}count"), 1) / (NODATA - 1)
    known = [states.layer(f"{old}{name}").astype(np.float64) for name in ("first", "confirmed", "last")]
    return codes, [*known, share]
