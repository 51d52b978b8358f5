"""Kinds of changes, each from a class to another, and their codes in a raster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, LandClass
from geounet.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

UNCHANGED = 0
"""Code of what has not changed."""
_MOST = NODATA - 1
"""Kinds that have room in a raster of bytes beside `UNCHANGED` and nodata."""
_GREY = "#f0f0f0"
_TOWARD = 0.75
"""Share of the colour of what it became in that of a change."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of changes that a raster can tell."""

    classes: tuple[LandClass, ...]
    """The class table."""
    pairs: tuple[tuple[int, int], ...]
    """Values of the classes before and after; the code of a kind is its place, from 1."""

    def lookup(self) -> NDArray[np.uint8]:
        """`(256, 256)`: the code of values before and after; nodata where one of them is no class of the table."""
        table = np.full((NODATA + 1, NODATA + 1), NODATA, np.uint8)
        values = [item.value for item in self.classes]
        table[np.ix_(values, values)] = UNCHANGED
        for code, pair in enumerate(self.pairs, 1):
            table[pair] = code
        return table

    def name(self, code: int) -> str:
        """What a kind is called."""
        return self._called(*self.pairs[code - 1])

    def _called(self, before: int, after: int) -> str:
        names = {item.value: item.name for item in self.classes}
        return f"{names[before]} to {names[after]}"

    def table(self, codes: Iterable[int]) -> tuple[LandClass, ...]:
        """The class table of a raster with these codes, coloured as what they became and a little as what they were."""
        colors = {item.value: item.rgb for item in self.classes}
        found = [LandClass(UNCHANGED, "no change", _GREY)]
        for code in sorted(map(int, codes)):
            before, after = (np.array(colors[value], float) for value in self.pairs[code - 1])
            mixed = np.rint(_TOWARD * after + (1 - _TOWARD) * before).astype(int)
            found.append(LandClass(code, self.name(code), "#{:02x}{:02x}{:02x}".format(*mixed.tolist())))
        return tuple(found)

    def columns(self, codes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Names of the classes before and after, for each of some codes."""
        names = {item.value: item.name for item in self.classes}
        before, after = (np.array(["", *(names[pair[side]] for pair in self.pairs)], object) for side in (0, 1))
        return before[codes], after[codes]


def kinds_of(classes: Sequence[LandClass], seen: Collection[tuple[int, int]] | None = None) -> Kinds:
    """The kinds of changes between the classes of a table.

    Where there is room for all of them, a kind has the same code in all rasters of the table.

    Args:
        classes: the class table.
        seen: where there is no room for all, those that there are.

    Raises:
        LabelError: there is no room for them.
    """
    values = [item.value for item in classes]
    pairs = [(before, after) for before in values for after in values if before != after]
    if len(pairs) > _MOST and seen is not None:
        pairs = sorted(pair for pair in seen if pair[0] != pair[1])
    if len(pairs) > _MOST:
        raise LabelError(
            f"there are {len(pairs)} kinds of changes, and a raster has room for {_MOST}; join classes before, such as "
            "by clean or by a class map"
        )
    return Kinds(tuple(classes), tuple(pairs))


def has_room(classes: Sequence[LandClass]) -> bool:
    """Whether all kinds of changes between the classes of a table have codes."""
    return len(classes) * (len(classes) - 1) <= _MOST
