"""Which chips are cut, before any is: areas of scenes in parts by place, and rows of windows in each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.data.labels import Pair, read_codes
from geounet.data.splits import split_by_place
from geounet.errors import SceneError
from geounet.grid import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.raster.scene import Scene

_STRIP = 1024


@dataclass(frozen=True, slots=True)
class Split:
    """Parts by place: no two share ground."""

    val: float = 0.0
    """Share of the pixels that validation gets."""
    test: float = 0.0
    """Share of the pixels that are kept apart for a last test."""
    seed: int = 0
    """The same one gives the same split."""

    def __post_init__(self) -> None:
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise SceneError(
                f"shares of {self.val} for validation and {self.test} for a test leave nothing to train on; give less"
            )

    @property
    def fractions(self) -> Mapping[str, float]:
        """By name, those above 0; none where nothing is split off."""
        shares = {"train": 1 - self.val - self.test, "val": self.val, "test": self.test}
        return {name: share for name, share in shares.items() if share} if self.val or self.test else {}


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of a scene, and the part that its chips belong to."""

    item: Scene | Pair
    """The scene, with its labels if there are some."""
    window: Window
    """Which of its pixels."""
    part: str = ""
    """`train`, `val` or `test`; empty where nothing is split."""

    @property
    def scene(self) -> Scene:
        """The scene, with or without labels."""
        return self.item.image if isinstance(self.item, Pair) else self.item


@dataclass(frozen=True, slots=True)
class ChipRow:
    """Chips of an area side by side: what one task cuts."""

    area: Area
    """What they are cut from."""
    windows: tuple[Window, ...]
    """The chips, in the scene's pixels, from left to right."""

    def name(self, window: Window) -> str:
        """File name of a chip's image and label."""
        return f"{self.area.scene.name}_{window.row:05d}_{window.col:05d}.tif"


def areas_of(items: Sequence[Scene | Pair], split: Split, size: int) -> tuple[Area, ...]:
    """What chips are cut from: the items whole, or rectangles of them in parts that share no ground.

    Where all items have labels, classes are spread over the parts alike; see
    :func:`geounet.data.splits.split_by_place`.

    Args:
        items: scenes or pairs.
        split: the parts.
        size: side of a chip in pixels, which a rectangle holds where the ground allows it.

    Raises:
        SceneError: there is too little ground to split.
    """
    if not split.fractions:
        return tuple(Area(item, item.extent) for item in items)
    pairs = [item for item in items if isinstance(item, Pair)]
    cells = split_by_place(
        [Area(item, item.extent).scene for item in items],
        split.fractions,
        seed=split.seed,
        least=size,
        counts=partial(_label_counts, pairs) if len(pairs) == len(items) else None,
    )
    return tuple(Area(items[cell.item], cell.window, cell.name) for cell in cells)


def _label_counts(pairs: Sequence[Pair], item: int, window: Window) -> NDArray[np.int64]:
    """(255,) labelled pixels of each code."""
    counts = np.zeros(NODATA + 1, np.int64)
    for tile in Grid(window, _STRIP, _STRIP).tiles():
        counts += np.bincount(read_codes(pairs[item], tile.core).ravel(), minlength=NODATA + 1)
    return counts[:NODATA]


def plan_rows(areas: Sequence[Area], size: int, overlap: int) -> tuple[ChipRow, ...]:
    """The chips of all areas, row by row; those at the right and lower edge are smaller.

    Args:
        areas: what they are cut from.
        size: side of a chip in pixels.
        overlap: pixels that neighbours of one area share.

    Raises:
        SceneError: the overlap leaves no step, or two scenes have the same name.
    """
    if not 0 <= overlap < size:
        raise SceneError(f"chips of {size} pixels cannot share {overlap} with their neighbour; give less overlap")
    paths: dict[str, str] = {}
    for scene in (area.scene for area in areas):
        if paths.setdefault(scene.name, scene.path) != scene.path:
            raise SceneError(
                f"{paths[scene.name]} and {scene.path} have the same file name, and so would their chips; rename one, "
                "or cut them apart"
            )
    return tuple(ChipRow(area, windows) for area in areas for windows in _rows(area.window, size, overlap))


def _rows(extent: Window, size: int, overlap: int) -> Iterator[tuple[Window, ...]]:
    step = size - overlap
    for row in range(extent.row, extent.row + max(1, extent.height - overlap), step):
        cols = range(extent.col, extent.col + max(1, extent.width - overlap), step)
        yield tuple(Window(row, col, size, size).intersection(extent) for col in cols)
