"""One class where products overlap: the surest, the newest, the oldest, or the one that most of them have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Parts = Iterable[tuple[Bytes, Bytes]]

PREFERENCES = ("confidence", "newest", "oldest", "vote")
"""What decides; where that leaves several, the newest of them, and then the first by id."""


def merge(parts: Parts, shape: tuple[int, int], prefer: str) -> tuple[Bytes, Bytes]:
    """Classes and confidences of several products on the same pixels as one.

    Args:
        parts: classes and confidences `(height, width)` of each product, 255 where it has none; newest first.
        shape: height and width.
        prefer: one of :data:`PREFERENCES`. A vote counts products; where classes have as many, the one of which they
            are surer together, then the lower value. Its confidence is the mean of those that voted for it.
    """
    return _MERGES[prefer](parts, shape)


def _by_confidence(parts: Parts, shape: tuple[int, int]) -> tuple[Bytes, Bytes]:
    classes, confidence = _nothing(shape)
    for found, share in parts:
        better = (found != NODATA) & ((classes == NODATA) | (share > confidence))
        np.copyto(classes, found, where=better)
        np.copyto(confidence, share, where=better)
    return classes, confidence


def _by_first(parts: Parts, shape: tuple[int, int]) -> tuple[Bytes, Bytes]:
    classes, confidence = _nothing(shape)
    for found, share in parts:
        free = classes == NODATA
        np.copyto(classes, found, where=free)
        np.copyto(confidence, share, where=free)
    return classes, confidence


def _by_vote(parts: Parts, shape: tuple[int, int]) -> tuple[Bytes, Bytes]:
    votes: dict[int, NDArray[np.uint16]] = {}
    sums: dict[int, NDArray[np.uint32]] = {}
    for found, share in parts:
        for value in np.unique(found[found != NODATA]).tolist():
            of_it = found == value
            votes.setdefault(value, np.zeros(shape, np.uint16))[of_it] += 1
            sums.setdefault(value, np.zeros(shape, np.uint32))[of_it] += share[of_it]
    classes, confidence = _nothing(shape)
    most, surest = np.zeros(shape, np.uint16), np.zeros(shape, np.uint32)
    for value in sorted(votes):
        better = (votes[value] > most) | ((votes[value] == most) & (sums[value] > surest))
        better &= votes[value] > 0
        most[better], surest[better] = votes[value][better], sums[value][better]
        classes[better] = value
        # Half a level is rounded up.
        confidence[better] = (sums[value][better] + votes[value][better] // 2) // votes[value][better]
    return classes, confidence


def _nothing(shape: tuple[int, int]) -> tuple[Bytes, Bytes]:
    return np.full(shape, NODATA, np.uint8), np.full(shape, NODATA, np.uint8)


_MERGES: dict[str, Callable[[Parts, tuple[int, int]], tuple[Bytes, Bytes]]] = {
    "confidence": _by_confidence,
    "newest": _by_first,
    "oldest": lambda parts, shape: _by_first(reversed(list(parts)), shape),
    "vote": _by_vote,
}
