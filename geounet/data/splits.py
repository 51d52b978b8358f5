"""Scenes split by place: parts of different names share no ground, and so no pixel, chip or patch does.

The unit that goes to one part as a whole is a *place*: scenes whose footprints overlap (of other dates, in other CRSs,
under other names) are one. Where too few places are left to come near the fractions, the largest is cut into blocks.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.identity import pixels_of
from geounet.raster.placement import overlapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.raster.scene import Scene

    Counts = Callable[[int, Window], NDArray[np.int64]]
    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_TRIES = 200
_BLOCKS_IN_SMALLEST = 4
_NEAR = 0.25
_ABSENT = 10.0
_EVEN = 0.15
_WORTH_A_CUT = 0.05
_MORE_CUTS = 3
_STRAIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a scene, and the part of the split that it belongs to."""

    item: int
    """Which of the scenes."""
    window: Window
    """Which of its pixels."""
    name: str
    """The part's name, such as `train`."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What goes to one part as a whole: rectangles of scenes on one piece of ground."""

    cells: tuple[tuple[int, Window], ...]
    """Scene and window of each rectangle."""
    divisible: bool = True
    """Whether these are scenes that can be cut into blocks of a lattice."""

    @property
    def pixels(self) -> int:
        """In all rectangles together."""
        return sum(window.pixels for _item, window in self.cells)


def split_by_place(
    scenes: Sequence[Scene],
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    least: int = 256,
    counts: Counts | None = None,
) -> tuple[Part, ...]:
    """Give each scene, or rectangles of it, to a part, so that parts share no ground.

    Scenes with a common piece of ground go to one part, and so do scenes that hold the same pixels. A place is cut
    into blocks only where the fractions cannot be met otherwise.

    Args:
        scenes: in any CRS, or in none.
        fractions: of the pixels, for each part's name; above 0 and with a sum of 1.
        seed: the same one gives the same split.
        least: side in pixels that blocks have where the ground allows it: a patch or chip should fit in.
        counts: of the labels of each class in a window of a scene; with it classes spread over the parts alike.

    Returns:
        Disjoint rectangles in order of the scenes; together they cover all scenes, but for less than a pixel along
        the borders of parts where scenes' grids differ.

    Raises:
        SceneError: the fractions are none, or the scenes lie so that they cannot be split.
    """
    if not fractions or min(fractions.values()) <= 0 or not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        raise SceneError(f"the fractions of a split must be above 0 and have a sum of 1; given {dict(fractions)}")
    places = _places(scenes)
    goals = np.array(list(fractions.values()))
    random = np.random.default_rng(seed)
    places, chosen = _plan(places, scenes, goals, least, random, counts)
    if len(set(chosen.tolist())) < len(fractions):
        raise SceneError(
            f"{len(scenes)} scene(s), {scenes[0].label if scenes else 'none'} for one, are too little ground to split "
            f"by place into {', '.join(fractions)}; give the parts by hand (--val)"
        )
    return _parts(places, chosen, list(fractions))


def _places(scenes: Sequence[Scene]) -> list[_Place]:
    """Scenes that share ground or hold the same pixels, over any number of steps."""
    twins = _twins(scenes)
    at = np.array([*overlapping(scenes, scenes), *twins], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(len(scenes), len(scenes)))
    count, labels = connected_components(graph, directed=False)
    # The same pixels at two places would come into two blocks of a lattice.
    moved = {labels[one] for one, other in twins if not _same_place(scenes[one], scenes[other])}
    groups = (np.flatnonzero(labels == label).tolist() for label in range(count))
    return [
        _Place(tuple((i, scenes[i].extent) for i in group), label not in moved) for label, group in enumerate(groups)
    ]


def _same_place(one: Scene, other: Scene) -> bool:
    frame = _frame(one, other)
    return frame is not None and frame.almost_equals(Affine.identity(), 1e-3)


def _twins(scenes: Sequence[Scene]) -> list[tuple[int, int]]:
    """Pairs of scenes with the same pixels; only scenes of one shape are read."""
    shapes = Counter(_shape(scene) for scene in scenes)
    first: dict[str, int] = {}
    alike = [index for index, scene in enumerate(scenes) if shapes[_shape(scene)] > 1]
    pairs = [(first.setdefault(pixels_of(scenes[index]), index), index) for index in alike]
    return [(one, other) for one, other in pairs if one != other]


def _shape(scene: Scene) -> tuple[int, int, int]:
    return len(scene.bands), scene.height, scene.width


# --- who gets what


def _plan(
    places: list[_Place], scenes: Sequence[Scene], goals: Floats, least: int, random: np.random.Generator,
    counts: Counts | None,
) -> tuple[list[_Place], Integers]:  # fmt: skip
    """Places and their parts: cut until the goals are near, and a few times more where classes lie unevenly."""
    best, best_near, lowest, spare = None, False, math.inf, _MORE_CUTS if counts else 0
    left: list[_Place] | None = places
    while left is not None:
        chosen, score = _assign(left, goals, random, counts)
        near = _near(left, chosen, goals)
        if best is None or (near and not best_near) or (near == best_near and score < lowest - _WORTH_A_CUT):
            best, best_near, lowest = (left, chosen), near, score
        if near and (lowest <= _EVEN or not spare):
            break
        spare -= near
        left = _cut_largest(left, scenes, least, float(goals.min()))
    assert best is not None
    return best


def _assign(
    places: Sequence[_Place], goals: Floats, random: np.random.Generator, counts: Counts | None
) -> tuple[Integers, float]:
    """The index of each place's part, the best of many random ways to deal places out, and how far it is from even."""
    pixels = np.array([place.pixels for place in places], np.float64)
    classes = _class_counts(places, counts)
    best, lowest = np.zeros(len(places), np.int64), math.inf
    for _ in range(max(20, _TRIES * 50 // max(50, len(places)))):
        chosen = _deal(pixels, goals, random)
        score = _score(pixels, classes, chosen, goals)
        if score < lowest:
            best, lowest = chosen, score
    return best, lowest


def _class_counts(places: Sequence[_Place], counts: Counts | None) -> Floats:
    """Labelled pixels (places, classes); no classes without counts."""
    if counts is None:
        return np.empty((len(places), 0))
    table = np.array([sum(counts(item, window) for item, window in place.cells) for place in places], np.float64)
    return np.asarray(table[:, table.sum(axis=0) > 0])


def _deal(pixels: Floats, goals: Floats, random: np.random.Generator) -> Integers:
    """Large places first, in an order shuffled a little, each to the part that lacks most; none stays without."""
    order = np.argsort(-pixels * random.uniform(0.3, 1, pixels.size))
    lacking = goals * pixels.sum()
    chosen = np.zeros(pixels.size, np.int64)
    for position, place in enumerate(order):
        empty = np.setdiff1d(np.arange(goals.size), chosen[order[:position]])
        among = empty if empty.size >= pixels.size - position else np.arange(goals.size)
        part = among[np.argmax(lacking[among] * random.uniform(0.8, 1, among.size))]
        chosen[place] = part
        lacking[part] -= pixels[place]
    return chosen


def _score(pixels: Floats, classes: Floats, chosen: Integers, goals: Floats) -> float:
    """How far the parts are from what they should hold, in pixels and in each class; 0 is best."""
    score = _distance(pixels, chosen, goals)
    for column in classes.T:
        shares = _shares(column, chosen, goals.size)
        score += float(np.abs(shares - goals).mean() + _ABSENT * (shares == 0).sum()) / classes.shape[1]
    return score


def _shares(weights: Floats, chosen: Integers, parts: int) -> Floats:
    shares: Floats = np.bincount(chosen, weights, parts) / weights.sum()
    return shares


def _distance(pixels: Floats, chosen: Integers, goals: Floats) -> float:
    """The largest deviation from a goal, as a share of it."""
    return float((np.abs(_shares(pixels, chosen, goals.size) - goals) / goals).max())


def _near(places: Sequence[_Place], chosen: Integers, goals: Floats) -> bool:
    return _distance(np.array([place.pixels for place in places], np.float64), chosen, goals) <= _NEAR


# --- blocks of one place


def _cut_largest(places: Sequence[_Place], scenes: Sequence[Scene], least: int, smallest: float) -> list[_Place] | None:
    """The places, the largest among them cut into blocks; None where none can."""
    left = [place for place in places if place.divisible]
    for place in sorted(left, key=lambda place: -place.pixels):
        blocks = _blocks(place, scenes, least, smallest)
        if blocks:
            return [other for other in places if other is not place] + blocks
    return None


def _blocks(place: _Place, scenes: Sequence[Scene], least: int, smallest: float) -> list[_Place]:
    """The place on a lattice that all its scenes share; nothing where their pixels lie askew."""
    items = [item for item, _window in place.cells]
    frames = [_frame(scenes[items[0]], scenes[item]) for item in items]
    corners = np.array([
        frame @ corner
        for frame, item in zip(frames, items, strict=True)
        if frame is not None
        for corner in ((0, 0), (scenes[item].width, scenes[item].height))
    ])  # fmt: skip
    if None in frames:
        return []
    lines = _lattice(corners.min(axis=0), corners.max(axis=0), least, smallest)
    cells: dict[tuple[int, int], list[tuple[int, Window]]] = {}
    for frame, item in zip(frames, items, strict=True):
        for at, window in _cells(~frame, *lines) if frame is not None else ():
            inside = window.intersection(scenes[item].extent)
            if inside.pixels:
                cells.setdefault(at, []).append((item, inside))
    return [_Place(tuple(found), divisible=False) for _at, found in sorted(cells.items())]


def _frame(like: Scene, scene: Scene) -> Affine | None:
    """From a scene's pixels to those of another; None where their axes differ, or it is not known."""
    if scene.crs != like.crs:
        return None
    frame = ~like.transform @ scene.transform
    return frame if max(abs(frame.b), abs(frame.d)) < _STRAIGHT else None


def _lattice(low: Floats, high: Floats, least: int, smallest: float) -> tuple[Floats, Floats]:
    """The columns and rows at which blocks begin and end, equal ones: enough for the smallest part, and not smaller."""
    lengths = high - low
    side = max(float(least), math.sqrt(lengths.prod() * smallest / _BLOCKS_IN_SMALLEST))
    numbers = np.maximum(1, lengths // side).astype(np.int64)
    while numbers.prod() < 1 / smallest and (numbers < lengths).any():
        numbers[np.argmax(lengths / numbers)] += 1
    return _lines(low[0], high[0], numbers[0]), _lines(low[1], high[1], numbers[1])


def _lines(low: float, high: float, number: int) -> Floats:
    """Where so many equal blocks begin and end, in whole pixels."""
    return np.asarray(np.round(np.linspace(low, high, number + 1)), np.float64)


def _cells(to_pixels: Affine, columns: Floats, rows: Floats) -> Iterator[tuple[tuple[int, int], Window]]:
    """Each block of the lattice in a scene's pixels: those that lie in it whole."""
    across, down = to_pixels.a * columns + to_pixels.c, to_pixels.e * rows + to_pixels.f
    for i in range(rows.size - 1):
        top, bottom = _whole(down[i], down[i + 1])
        for j in range(columns.size - 1):
            left, right = _whole(across[j], across[j + 1])
            yield (i, j), Window(top, left, max(0, bottom - top), max(0, right - left))


def _whole(one: float, other: float) -> tuple[int, int]:
    """The first pixel, and the one after the last, that lie between; a thousandth of one is rounding."""
    return math.ceil(min(one, other) - 1e-3), math.floor(max(one, other) + 1e-3)


# --- from places back to scenes


def _parts(places: Sequence[_Place], chosen: Integers, names: Sequence[str]) -> tuple[Part, ...]:
    windows: dict[tuple[int, str], list[Window]] = {}
    for place, part in zip(places, chosen, strict=True):
        for item, window in place.cells:
            windows.setdefault((item, names[part]), []).append(window)
    return tuple(
        Part(item, window, name) for (item, name), found in sorted(windows.items()) for window in _merged(found)
    )


def _merged(windows: Sequence[Window]) -> list[Window]:
    """Neighbours joined to larger rectangles: along rows first, then equal ones down the columns.

    Between two that are neighbours there may be a pixel that lies in both of their blocks.
    """
    rows: list[Window] = []
    for window in sorted(windows, key=lambda window: (window.row, window.col)):
        last = rows[-1] if rows else None
        if last and (last.row, last.height) == (window.row, window.height) and window.col - last.col_stop in (0, 1):
            rows[-1] = Window(last.row, last.col, last.height, window.col_stop - last.col)
        else:
            rows.append(window)
    joined: list[Window] = []
    for window in sorted(rows, key=lambda window: (window.col, window.width, window.row)):
        last = joined[-1] if joined else None
        if last and (last.col, last.width) == (window.col, window.width) and window.row - last.row_stop in (0, 1):
            joined[-1] = Window(last.row, last.col, window.row_stop - last.row, last.width)
        else:
            joined.append(window)
    return sorted(joined, key=lambda window: (window.row, window.col))
