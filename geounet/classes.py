"""Classes of a map: value, name and colour, as they stand in a class table file, a model file and a raster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterable

NODATA = 255
"""The value of a class raster where there is no valid pixel."""
CONFIDENCE_LEVELS = 254
"""A confidence of 1.0 is stored as this, and 255 is nodata."""

# Okabe and Ito's palette (2008), which the colour-blind can tell apart, then lighter shades of it.
_PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999",
    "#f5cf80", "#abdaf4", "#80cfb9", "#f8f2a1", "#80b9d9", "#eaaf80", "#e6bcd3", "#cccccc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LandClass:
    """One class of a map."""

    value: int
    """The code in label and class rasters, 0 to 254."""
    name: str
    """What people call it."""
    color: str
    """`#rrggbb`."""

    def __post_init__(self) -> None:
        if not 0 <= self.value < NODATA:
            raise LabelError(
                f"class value {self.value} ({self.name}) is outside 0 to 254 (255 is nodata in a class raster); "
                "give the classes codes in that range"
            )
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise LabelError(f"colour {self.color!r} of class {self.value} is not of the form #rrggbb")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        code = int(self.color[1:], 16)
        return code >> 16, code >> 8 & 255, code & 255


def default_class(value: int, position: int = 0) -> LandClass:
    """A class known by its value only: named `class_<value>`, coloured by its position in the table."""
    return LandClass(value, f"class_{value}", _PALETTE[position % len(_PALETTE)])


def classes_from_values(values: Iterable[int]) -> tuple[LandClass, ...]:
    """Classes for the values found in labels, in ascending order.

    Raises:
        LabelError: a value is outside 0 to 254.
    """
    return tuple(default_class(value, position) for position, value in enumerate(sorted(set(values))))


def joined(tables: Iterable[tuple[str, Iterable[LandClass]]]) -> tuple[LandClass, ...]:
    """One class table of several, by value.

    Args:
        tables: whose each is, and its classes.

    Raises:
        LabelError: a value stands for several classes.
    """
    whole: dict[int, tuple[LandClass, str]] = {}
    for owner, table in tables:
        for item in table:
            known, whose = whole.setdefault(item.value, (item, owner))
            if known.name != item.name:
                raise LabelError(
                    f"class {item.value} is {known.name!r} in {whose} and {item.name!r} in {owner}; one map has one "
                    "class table"
                )
    return tuple(item for _, (item, _) in sorted(whole.items()))
