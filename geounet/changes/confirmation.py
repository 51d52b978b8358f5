"""From what is seen of a pixel at many dates to what is believed of it: when a change is provisional, confirmed, ended.

As operational alert systems keep it (GLAD: Hansen et al. 2016, Environmental Research Letters 11; RADD: Reiche et al.
2021, Environmental Research Letters 16; OPERA DIST): one sighting of another class is provisional; it is confirmed when
the class is seen again in so many of the next valid observations, within so many days of the first. A confirmed change
is ended when its old class is confirmed again in the same way, or a third class is.

The state after all observations of a pixel in the order of their time is a function of them alone. It is small, so that
the next one can be added without the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.compiling import compiled
from geounet.errors import GeounetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

NONE, PROVISIONAL, CONFIRMED, ENDED = range(4)
"""What a pixel's change is: there is none, seen once, confirmed, or went back or on to something else."""
STATUSES = ("none", "provisional", "confirmed", "ended")
_MOST = 15
"""Observations that are kept of a pixel, at most."""
_RULE = re.compile(r"\s*(\d+)\s+of\s+(\d+)(?:\s+within\s+(\d+)\s+days?)?\s*", re.IGNORECASE)
_FOREVER = 65535

BYTE_LAYERS = ("baseline", "held", "status", "before", "after", "old_before", "old_after", "fill")
"""Layers of classes and states: the first class; the one that is believed; what the change is, from and to; the same of
the change before it; how many observations are kept."""
DAY_LAYERS = ("first", "confirmed", "last", "ended", "old_first", "old_confirmed", "old_last", "old_ended", "seen")
"""Layers of days since 1970-01-01, 0 for none: of the change its first sighting, confirmation, last sighting and end;
the same of the change before it; the last valid observation."""
COUNT_LAYERS = ("count", "sum", "old_count", "old_sum")
"""Sightings, and the sum of their stored confidences."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """When a change is believed."""

    again: int = 2
    """Times that the class must be seen again,"""
    of: int = 3
    """in so many valid observations after the first sighting,"""
    days: int = 180
    """and within so many days of it."""
    least: int = 0
    """Stored confidence (0 to 254) below which an observation is none."""
    baseline: int = 1
    """Observations whose commonest class is the baseline; of as many the one that was seen first."""

    def __post_init__(self) -> None:
        if not 1 <= self.again <= self.of <= _MOST:
            raise GeounetError(
                f"{self.again} of {self.of} cannot be seen: the first number is from 1 to the second, and that is at "
                f"most {_MOST}"
            )
        if not 1 <= self.baseline <= _MOST:
            raise GeounetError(f"a baseline of {self.baseline} observations: it is made of 1 to {_MOST}")

    @property
    def kept(self) -> int:
        """Observations that are kept of a pixel."""
        return max(self.of + 1, self.baseline)


def parse_confirmation(text: str) -> tuple[int, int, int]:
    """`2 of 3 within 180 days` as its three numbers; without days it is any time.

    Raises:
        GeounetError: it is no such rule.
    """
    found = _RULE.fullmatch(text)
    if found is None:
        raise GeounetError(f"{text!r} is no confirmation rule; write such as '2 of 3 within 180 days'")
    days = int(found[3]) if found[3] else _FOREVER
    return int(found[1]), int(found[2]), min(days, _FOREVER)


@dataclass(slots=True, eq=False)
class PixelStates:
    """The states of some pixels, as arrays of one length."""

    bytes: NDArray[np.uint8]
    """`(layers, pixels)`, see :data:`BYTE_LAYERS`."""
    days: NDArray[np.uint16]
    """`(layers, pixels)`, see :data:`DAY_LAYERS`."""
    counts: NDArray[np.uint32]
    """`(layers, pixels)`, see :data:`COUNT_LAYERS`."""
    ring: NDArray[np.uint8]
    """`(2, kept, pixels)`: classes and confidences of the last valid observations, oldest first."""
    ring_days: NDArray[np.uint16]
    """`(kept, pixels)`: their days."""

    @classmethod
    def blank(cls, pixels: int, kept: int) -> PixelStates:
        """Of pixels of which nothing has been seen."""
        states = cls(
            np.zeros((len(BYTE_LAYERS), pixels), np.uint8),
            np.zeros((len(DAY_LAYERS), pixels), np.uint16),
            np.zeros((len(COUNT_LAYERS), pixels), np.uint32),
            np.zeros((2, kept, pixels), np.uint8),
            np.zeros((kept, pixels), np.uint16),
        )
        for name in ("baseline", "held", "before", "after", "old_before", "old_after"):
            states.bytes[BYTE_LAYERS.index(name)] = NODATA
        return states

    def layer(self, name: str) -> NDArray[Any]:
        """One of the layers, `(pixels,)`."""
        for names, arrays in ((BYTE_LAYERS, self.bytes), (DAY_LAYERS, self.days), (COUNT_LAYERS, self.counts)):
            if name in names:
                return np.asarray(arrays[names.index(name)])
        raise KeyError(name)

    def observe(self, classes: Bytes, confidence: Bytes, day: int, rule: Confirmation, watched: Bytes) -> None:
        """Add an observation that is not older than those before it; a second one on a day is none.

        Args:
            classes: `(pixels,)`, 255 where nothing was seen.
            confidence: `(pixels,)`, 0 to 254.
            day: since 1970-01-01.
            rule: when a change is believed.
            watched: `(256, 256)`: whether a change from one value to another counts.
        """
        numbers = np.array([rule.again, rule.of, rule.days, rule.least, rule.baseline], np.int64)
        _observe(
            classes, confidence, day, numbers, watched, self.bytes, self.days, self.counts, self.ring, self.ring_days
        )


# Places of the layers, for the kernels.
_BASELINE, _HELD, _STATUS, _BEFORE, _AFTER, _OLD_BEFORE, _OLD_AFTER, _FILL = range(8)
_FIRST, _CONFIRMED_ON, _LAST, _ENDED_ON, _OLD_FIRST, _OLD_CONFIRMED, _OLD_LAST, _OLD_ENDED, _SEEN = range(9)
_COUNT, _SUM, _OLD_COUNT, _OLD_SUM = range(4)


@compiled
def _observe(
    classes: Any,
    confidence: Any,
    day: Any,
    rule: Any,
    watched: Any,
    flags: Any,
    days: Any,
    counts: Any,
    ring: Any,
    ring_days: Any,
) -> None:
    for pixel in range(classes.size):
        seen = classes[pixel]
        if seen == NODATA or confidence[pixel] < rule[3] or days[_SEEN, pixel] == day:
            continue
        days[_SEEN, pixel] = day
        _keep(seen, confidence[pixel], day, pixel, flags, ring, ring_days)
        if flags[_BASELINE, pixel] == NODATA:
            _begin(rule[4], pixel, flags, ring)
        elif seen == flags[_HELD, pixel]:
            if flags[_STATUS, pixel] == CONFIRMED:
                days[_LAST, pixel] = day
                counts[_COUNT, pixel] += 1
                counts[_SUM, pixel] += confidence[pixel]
            elif flags[_STATUS, pixel] == PROVISIONAL:
                _reconsider(rule, watched, pixel, flags, days, counts, ring, ring_days)
        elif not _confirm(seen, rule, watched, pixel, flags, days, counts, ring, ring_days):
            _reconsider(rule, watched, pixel, flags, days, counts, ring, ring_days)


@compiled
def _keep(seen: Any, sure: Any, day: Any, pixel: Any, flags: Any, ring: Any, ring_days: Any) -> None:
    """Put an observation behind the others; the oldest goes where there is no room."""
    fill, room = flags[_FILL, pixel], ring_days.shape[0]
    if fill == room:
        for place in range(room - 1):
            ring[0, place, pixel], ring[1, place, pixel] = ring[0, place + 1, pixel], ring[1, place + 1, pixel]
            ring_days[place, pixel] = ring_days[place + 1, pixel]
        fill -= 1
    ring[0, fill, pixel], ring[1, fill, pixel], ring_days[fill, pixel] = seen, sure, day
    flags[_FILL, pixel] = fill + 1


@compiled
def _begin(wanted: Any, pixel: Any, flags: Any, ring: Any) -> None:
    """Take the commonest class for the baseline, once there are enough observations."""
    fill = flags[_FILL, pixel]
    if fill < wanted:
        return
    best, most = ring[0, 0, pixel], 0
    for place in range(fill):
        times = 0
        for other in range(fill):
            times += ring[0, other, pixel] == ring[0, place, pixel]
        if times > most:
            best, most = ring[0, place, pixel], times
    flags[_BASELINE, pixel] = flags[_HELD, pixel] = best
    flags[_FILL, pixel] = 0


@compiled
def _confirm(
    seen: Any, rule: Any, watched: Any, pixel: Any, flags: Any, days: Any, counts: Any, ring: Any, ring_days: Any
) -> bool:
    """Whether the newest observation confirms a change to its class, which is then believed."""
    again, window, within = rule[0], rule[1], rule[2]
    held, status, fill = flags[_HELD, pixel], flags[_STATUS, pixel], np.int64(flags[_FILL, pixel])
    back = status == CONFIRMED and seen == flags[_BEFORE, pixel]
    if not (watched[held, seen] or back):
        return False
    found, total, start = 0, 0, -1
    for place in range(fill - 1, max(fill - window - 2, -1), -1):
        if ring[0, place, pixel] == seen:
            found += 1
            total += ring[1, place, pixel]
            if found == again + 1:
                start = place
                break
    if start < 0 or np.int64(ring_days[fill - 1, pixel]) - np.int64(ring_days[start, pixel]) > within:
        return False
    first, now = ring_days[start, pixel], ring_days[fill - 1, pixel]
    if status == CONFIRMED:
        days[_ENDED_ON, pixel] = first
        _put_away(pixel, flags, days, counts)
    flags[_HELD, pixel] = seen
    flags[_FILL, pixel] = 0
    if back:
        flags[_STATUS, pixel] = ENDED
        return True
    flags[_STATUS, pixel], flags[_BEFORE, pixel], flags[_AFTER, pixel] = CONFIRMED, held, seen
    days[_FIRST, pixel], days[_CONFIRMED_ON, pixel], days[_LAST, pixel], days[_ENDED_ON, pixel] = first, now, now, 0
    counts[_COUNT, pixel], counts[_SUM, pixel] = found, total
    return True


@compiled
def _put_away(pixel: Any, flags: Any, days: Any, counts: Any) -> None:
    """Remember the change as the one before the next."""
    flags[_OLD_BEFORE, pixel], flags[_OLD_AFTER, pixel] = flags[_BEFORE, pixel], flags[_AFTER, pixel]
    days[_OLD_FIRST, pixel], days[_OLD_CONFIRMED, pixel] = days[_FIRST, pixel], days[_CONFIRMED_ON, pixel]
    days[_OLD_LAST, pixel], days[_OLD_ENDED, pixel] = days[_LAST, pixel], days[_ENDED_ON, pixel]
    counts[_OLD_COUNT, pixel], counts[_OLD_SUM, pixel] = counts[_COUNT, pixel], counts[_SUM, pixel]


@compiled
def _reconsider(
    rule: Any, watched: Any, pixel: Any, flags: Any, days: Any, counts: Any, ring: Any, ring_days: Any
) -> None:
    """Where nothing is confirmed: the earliest sighting that may still be confirmed is provisional, if there is one."""
    if flags[_STATUS, pixel] == CONFIRMED:
        return
    again, window, within = rule[0], rule[1], rule[2]
    held, fill = flags[_HELD, pixel], np.int64(flags[_FILL, pixel])
    for start in range(max(fill - window - 1, 0), fill):
        seen = ring[0, start, pixel]
        if seen == held or not watched[held, seen]:
            continue
        hits, total, last = 0, np.int64(ring[1, start, pixel]), ring_days[start, pixel]
        for place in range(start + 1, fill):
            if ring[0, place, pixel] == seen:
                hits += 1
                total += ring[1, place, pixel]
                last = ring_days[place, pixel]
        left = window - (fill - 1 - start)
        late = np.int64(ring_days[fill - 1, pixel]) - np.int64(ring_days[start, pixel]) > within
        if left > 0 and hits + left >= again and not late:
            flags[_STATUS, pixel], flags[_BEFORE, pixel], flags[_AFTER, pixel] = PROVISIONAL, held, seen
            days[_FIRST, pixel], days[_CONFIRMED_ON, pixel] = ring_days[start, pixel], 0
            days[_LAST, pixel], days[_ENDED_ON, pixel] = last, 0
            counts[_COUNT, pixel], counts[_SUM, pixel] = hits + 1, total
            return
    if flags[_STATUS, pixel] == PROVISIONAL:
        flags[_STATUS, pixel], flags[_BEFORE, pixel], flags[_AFTER, pixel] = NONE, NODATA, NODATA
        days[_FIRST, pixel], days[_LAST, pixel], counts[_COUNT, pixel], counts[_SUM, pixel] = 0, 0, 0, 0
