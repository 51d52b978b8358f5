"""Statistics of a raster's values in each component, summed up over tiles.

Sums are kept as two floating numbers, one for what the other rounds away (Knuth, The Art of Computer Programming,
volume 2, 4.2.2, theorem B), so that they are exact for whole numbers and for measured values of usual spread, and
hence do not depend on the order of the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

STATISTICS = ("mean", "std", "min", "max", "sum", "count")
"""What can be asked for; `std` is that of the population, `count` the number of valid pixels."""
FIELDS = 7
"""What is kept of a component: count, sum and its rest, sum of squares and its rest, least, greatest."""
_SHORT = 16
"""Bits of whole numbers whose squares add up over a row without rounding."""


def nothing(count: int) -> Floats:
    """The state of components without a valid pixel, `(count, 7)`."""
    state = np.zeros((count, FIELDS))
    state[:, 5], state[:, 6] = np.inf, -np.inf
    return state


def gather(labels: NDArray[np.uint32], values: NDArray[Any], valid: NDArray[np.bool_], count: int) -> Floats:
    """The state of each component of a tile.

    Args:
        labels: `(height, width)`, 0 to `count`.
        values: `(height, width)`, of any real type.
        valid: `(height, width)`, True where a value counts.
        count: number of components.

    Returns:
        `(count + 1, 7)`; row 0 is nobody's.
    """
    state = nothing(count + 1)
    # What does not count is nobody's.
    labels = labels if valid.all() else labels * valid
    short = values.dtype.kind in "ui" and values.dtype.itemsize * 8 <= _SHORT
    (_add_integers if short else _add_floats)(labels, values if short else values.astype(np.float64), state)
    return state


@compiled
def _add(state: Floats, field: int, value: float) -> None:
    """Add to a sum and keep what rounding takes from it."""
    total = state[field] + value
    part = total - state[field]
    state[field + 1] += (state[field] - (total - part)) + (value - part)
    state[field] = total


@compiled
def _product(one: float, other: float) -> tuple[float, float]:
    """A product and what rounding takes from it (Dekker, 1971)."""
    scaled = 134217729.0 * one
    high = scaled - (scaled - one)
    low = one - high
    scaled = 134217729.0 * other
    other_high = scaled - (scaled - other)
    other_low = other - other_high
    product = one * other
    rest = ((high * other_high - product) + high * other_low + low * other_high) + low * other_low
    return product, rest


@compiled
def _add_integers(labels: NDArray[np.uint32], values: NDArray[Any], state: Floats) -> None:
    """Row by row in runs of one component, whose sums are exact: first where one ends, then several pixels at once."""
    for row in range(labels.shape[0]):
        stop = 0
        while stop < labels.shape[1]:
            start, label = stop, labels[row, stop]
            while stop < labels.shape[1] and labels[row, stop] == label:
                stop += 1
            if not label:
                continue
            total, squares = np.int64(0), np.int64(0)
            least = greatest = values[row, start]
            for col in range(start, stop):
                value = values[row, col]
                total += np.int64(value)
                squares += np.int64(value) * np.int64(value)
                least, greatest = min(least, value), max(greatest, value)
            own = state[label]
            own[0] += stop - start
            _add(own, 1, float(total))
            _add(own, 3, float(squares))
            own[5], own[6] = min(own[5], float(least)), max(own[6], float(greatest))


@compiled
def _add_floats(labels: NDArray[np.uint32], values: Floats, state: Floats) -> None:
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            if labels[row, col]:
                own, value = state[labels[row, col]], values[row, col]
                own[0] += 1
                _add(own, 1, value)
                square, rest = _product(value, value)
                _add(own, 3, square)
                own[4] += rest
                own[5], own[6] = min(own[5], value), max(own[6], value)


def merge(state: Floats, components: Integers, count: int) -> Floats:
    """Sum up the states of parts.

    Args:
        state: `(parts, 7)`.
        components: `(parts,)`, the component of each part, 0 to `count - 1`.
        count: number of components.

    Returns:
        `(count, 7)`.
    """
    merged = nothing(count)
    _merge(state, components, merged)
    return merged


@compiled
def _merge(state: Floats, components: Integers, merged: Floats) -> None:
    for part in range(components.size):
        own = merged[components[part]]
        own[0] += state[part, 0]
        for field in (1, 3):
            _add(own, field, state[part, field])
            own[field + 1] += state[part, field + 1]
        own[5], own[6] = min(own[5], state[part, 5]), max(own[6], state[part, 6])


@dataclass(frozen=True, slots=True)
class Scale:
    """How stored values become what they measure: `stored * factor + offset`."""

    factor: float = 1.0
    """Factor; negative where large stored values mean small ones."""
    offset: float = 0.0
    """Summand."""


def statistic(name: str, state: Floats, scale: Scale) -> NDArray[Any]:
    """One of :data:`STATISTICS` for each component, NaN (for `count` and `sum` 0) where no pixel is valid.

    Args:
        name: which.
        state: `(components, 7)`.
        scale: of the values.
    """
    count, factor, offset = state[:, 0], scale.factor, scale.offset
    total = state[:, 1] + state[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "count":
            return count.astype(np.int64)
        if name == "sum":
            return total * factor + count * offset
        if name == "mean":
            return total / count * factor + offset
        if name == "std":
            return _deviation(state) * abs(factor)
    extreme = state[:, 5 if (name == "min") == (factor >= 0) else 6]
    return np.where(count > 0, extreme, np.nan) * factor + offset


@compiled
def _deviation(state: Floats) -> Floats:
    """Standard deviation of each population, as precise as the sums: the squares about the mean must not cancel."""
    out = np.full(state.shape[0], np.nan)
    for at in range(state.shape[0]):
        count = state[at, 0]
        if count == 0:
            continue
        # sum of squares - mean * (2 * sum - count * mean), each product with its rest
        mean = (state[at, 1] + state[at, 2]) / count
        whole, rest = _product(mean, count)
        inner = np.array([2 * state[at, 1], 2 * state[at, 2] - rest])
        _add(inner, 0, -whole)
        whole, rest = _product(mean, inner[0])
        outer = np.array([state[at, 3], state[at, 4] - rest - mean * inner[1]])
        _add(outer, 0, -whole)
        out[at] = np.sqrt(max(0.0, (outer[0] + outer[1]) / count))
    return out
