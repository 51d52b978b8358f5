"""Two maps, pixel by pixel: what counts as a change.

A pixel whose classes differ has changed with the probability that both maps give to it together, the two being taken
for independent: one less the sum, over all classes, of the product of both probabilities (post-classification
comparison; Singh 1989, International Journal of Remote Sensing 10). Where only the probability of the chosen class is
known, what is left is shared out among the other classes alike.

Maps that lie a little beside each other differ along every border. With a tolerance, a change counts only where such a
shift does not explain it: where its new class was within reach before, and its old class is within reach after, it may
be either map's border that is moved. A shift by up to the tolerance, in any direction, thus makes no change at all,
while what is wider than twice the tolerance stays whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Integers = NDArray[np.int64]

LEVELS = NODATA - 1
"""What a probability of 1 is stored as."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a difference counts."""

    min_confidence: float = 0.5
    """Least probability that a pixel has changed."""
    tolerance: int = 0
    """Pixels by which the maps may lie beside each other."""
    min_area: float = 0.0
    """Least hectares of what is connected."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"the least confidence is {self.min_confidence}: it must be from 0 to 1")
        if self.tolerance < 0 or self.min_area < 0:
            raise ValueError("tolerance and least area must not be negative")

    @property
    def least(self) -> int:
        """The confidence as it is stored."""
        return int(np.ceil(self.min_confidence * LEVELS - 1e-9))


@dataclass(slots=True, eq=False)
class Tally:
    """Pixels counted by the value before, and what of differences did not count."""

    pixels: Integers = field(default_factory=lambda: np.zeros(NODATA + 1, np.int64))
    """`(256,)`: pixels valid on both sides, by their value before."""
    areas: Integers = field(default_factory=lambda: np.zeros(NODATA + 1, np.int64))
    """`(256,)`: their area, see :class:`geounet.outlines.pixel_areas.WholeAreas`."""
    doubtful: int = 0
    """Pixels that differ with less than the least confidence."""
    shifted: int = 0
    """Pixels that differ no more than a shift within the tolerance explains."""

    def add(self, other: Tally) -> None:
        """Add another part's."""
        self.pixels += other.pixels
        self.areas += other.areas
        self.doubtful += other.doubtful
        self.shifted += other.shifted


def change_table(count: int) -> NDArray[np.uint8]:
    """`(256, 256)`: probability of a change, 0 to 254, by the stored confidences of two classes that differ.

    Args:
        count: how many classes there are.
    """
    sure = np.minimum(np.arange(NODATA + 1), LEVELS) / LEVELS
    rest = (1 - sure) / max(count - 1, 1)
    same = np.outer(sure, rest) + np.outer(rest, sure) + (count - 2) * np.outer(rest, rest)
    table: NDArray[np.uint8] = np.rint((1 - same).clip(0, 1) * LEVELS).astype(np.uint8)
    return table


def chances(before: Bytes, after: Bytes, table: Bytes) -> Bytes:
    """Probability, 0 to 254, that each pixel whose classes differ has changed.

    Args:
        before: `(rasters, height, width)`: classes, then what is known of their probability: nothing, that of the
            class, or those of all classes.
        after: likewise, of as many classes.
        table: of :func:`change_table`.
    """
    if len(before) > 2 and len(after) > 2:  # noqa: PLR2004 - classes, and more than one probability
        return _by_all(before[1:], after[1:])
    one, other = (side[1] if len(side) > 1 else np.full(side[0].shape, LEVELS, np.uint8) for side in (before, after))
    return np.asarray(table[one, other])


@compiled
def _by_all(before: Bytes, after: Bytes) -> Bytes:
    count, height, width = before.shape
    out = np.zeros((height, width), np.uint8)
    for row in range(height):
        for col in range(width):
            both, one, other = np.int64(0), np.int64(0), np.int64(0)
            for place in range(count):
                both += np.int64(before[place, row, col]) * np.int64(after[place, row, col])
                one += before[place, row, col]
                other += after[place, row, col]
            if one > 0 and other > 0:
                # Rounded sums are not quite 1.
                out[row, col] = np.uint8(round(254.0 * (1.0 - both / (np.float64(one) * np.float64(other)))))
    return out


def decide(
    before: Bytes, after: Bytes, margin: int, lookup: Bytes, chance: Bytes, rules: Rules, row_areas: Integers
) -> tuple[Bytes, Bytes, Tally]:
    """Codes of the changes that count, and their probability.

    Args:
        before: `(height + 2 margin, width + 2 margin)`: classes, 255 for nodata and beyond the raster.
        after: likewise.
        margin: the tolerance, or more.
        lookup: `(256, 256)`, see :meth:`geounet.changes.kinds.Kinds.lookup`.
        chance: `(height, width)`, of :func:`chances`.
        rules: what counts.
        row_areas: `(height,)`.

    Returns:
        Codes `(height, width)`, 0 where nothing has changed and 255 where either side has no data; probabilities of
        the changes as 0 to 254, 255 elsewhere; what was counted.

    Raises:
        UnknownValueError: a class is not in the table.
    """
    codes, share = (np.full(chance.shape, NODATA, np.uint8) for _ in range(2))
    tally, counts = Tally(), np.zeros(3, np.int64)
    _decide(
        before, after, margin, lookup, chance, np.array([rules.least, rules.tolerance]), row_areas, codes, share,
        tally.pixels, tally.areas, counts,
    )  # fmt: skip
    if counts[2]:
        raise UnknownValueError
    tally.doubtful, tally.shifted = int(counts[0]), int(counts[1])
    return codes, share, tally


class UnknownValueError(Exception):
    """A class raster holds values that are not in its class table."""


@compiled
def _decide(
    before: Any,
    after: Any,
    margin: Any,
    lookup: Any,
    chance: Any,
    rules: Any,
    row_areas: Any,
    codes: Any,
    share: Any,
    pixels: Any,
    areas: Any,
    counts: Any,
) -> None:
    least, tolerance = rules
    for row in range(codes.shape[0]):
        for col in range(codes.shape[1]):
            old, new = before[row + margin, col + margin], after[row + margin, col + margin]
            if NODATA in (old, new):
                continue
            pixels[old] += 1
            areas[old] += row_areas[row]
            code = lookup[old, new]
            if code == NODATA:
                counts[2] += 1
            elif code == 0:
                codes[row, col] = 0
            elif chance[row, col] < least:
                counts[0] += 1
                codes[row, col] = 0
            elif tolerance and _explained(before, after, row + margin, col + margin, tolerance):
                counts[1] += 1
                codes[row, col] = 0
            else:
                codes[row, col], share[row, col] = code, chance[row, col]


@compiled
def _explained(before: Any, after: Any, row: Any, col: Any, tolerance: Any) -> bool:
    """Whether a shift can be all of a difference: what is new was near, and what was there is.

    What lies beyond the data cannot be told; of the two, one must be seen.
    """
    old, new = before[row, col], after[row, col]
    was, still, may_was, may_still = False, False, False, False
    for r in range(row - tolerance, row + tolerance + 1):
        for c in range(col - tolerance, col + tolerance + 1):
            was = was or before[r, c] == new
            still = still or after[r, c] == old
            may_was = may_was or before[r, c] == NODATA
            may_still = may_still or after[r, c] == NODATA
    return bool((was or may_was) and (still or may_still) and (was or still))


@compiled
def count_codes(codes: Bytes, row_areas: Integers) -> tuple[Integers, Integers]:
    """`(256,)` each: pixels of each code, and their area."""
    pixels, areas = np.zeros(NODATA + 1, np.int64), np.zeros(NODATA + 1, np.int64)
    for row in range(codes.shape[0]):
        for col in range(codes.shape[1]):
            pixels[codes[row, col]] += 1
            areas[codes[row, col]] += row_areas[row]
    return pixels, areas


@compiled
def count_pairs(before: Bytes, after: Bytes, row_areas: Integers, pixels: Integers, areas: Integers) -> None:
    """Add pixels and their area to `(256, 256)` each, by values before and after."""
    for row in range(before.shape[0]):
        for col in range(before.shape[1]):
            pixels[before[row, col], after[row, col]] += 1
            areas[before[row, col], after[row, col]] += row_areas[row]


def pairs_in(before: Bytes, after: Bytes) -> NDArray[Any]:
    """`(pairs, 2)`: values before and after that there are, both valid."""
    joined = np.unique(before.astype(np.uint16) << 8 | after)
    pairs = np.stack([joined >> 8, joined & NODATA], axis=1)
    return np.asarray(pairs[(pairs != NODATA).all(axis=1)])
