"""To which neighbour a small component goes, as choices on a graph: components are nodes that meet others.

Nothing here knows of pixels. A choice that cannot depend on what lies beyond a seam is sure, so that a tile can
settle it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geounet.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.components.pieces import Meetings

    Mask = NDArray[np.bool_]
    Integers = NDArray[np.int64]

BORDER, LARGEST = "border", "largest"
NEIGHBOURS = (BORDER, LARGEST)
"""The neighbour with the longest shared border, or the largest one (GDAL's)."""
NOWHERE = np.iinfo(np.int64).max
"""Steps where no way leads to a large component."""
REACH = 16
"""Steps at most: without an end, what a tile can settle would depend on tiles far away."""


def steps_to(met: Meetings, known: Integers) -> Integers:
    """How many steps from neighbour to neighbour lead from each node to a large one; beyond :data:`REACH`, NOWHERE.

    Args:
        met: who is whose neighbour.
        known: `(nodes,)`: the steps where they are known (0 for large nodes), else :data:`NOWHERE`.
    """
    given = np.flatnonzero(known != NOWHERE)
    given = given[np.argsort(known[given], kind="stable")]
    starts, near = _neighbours(met.one, met.other, known.size)
    return _walk(starts, near, known.copy(), given)


@compiled
def _neighbours(one: Integers, other: Integers, count: int) -> tuple[Integers, Integers]:
    """The neighbours of node `n` are `near[starts[n] : starts[n + 1]]`."""
    starts = np.zeros(count + 2, np.int64)
    for pair in range(one.size):
        starts[one[pair] + 2] += 1
        starts[other[pair] + 2] += 1
    starts = np.cumsum(starts)
    near = np.empty(2 * one.size, np.int64)
    for pair in range(one.size):
        near[starts[one[pair] + 1]] = other[pair]
        near[starts[other[pair] + 1]] = one[pair]
        starts[one[pair] + 1] += 1
        starts[other[pair] + 1] += 1
    return starts[:-1], near


@compiled
def _walk(starts: Integers, near: Integers, steps: Integers, given: Integers) -> Integers:
    """Breadth first, the given nodes each in its turn."""
    queue, head, tail, at = np.empty(steps.size, np.int64), 0, 0, 0
    while head < tail or at < given.size:
        if at < given.size and (head == tail or steps[given[at]] <= steps[queue[head]]):
            node = given[at]
            at += 1
        else:
            node = queue[head]
            head += 1
        for index in range(starts[node], starts[node + 1]):
            if steps[near[index]] == NOWHERE and steps[node] < REACH:
                steps[near[index]] = steps[node] + 1
                queue[tail] = near[index]
                tail += 1
    return steps


def choose(
    met: Meetings, to: str, sizes: Integers, deciding: Mask, steps: Integers, partial: Mask
) -> tuple[Integers, Mask]:
    """Where each node goes, itself for those that go nowhere; and whether that may change at a seam.

    Args:
        met: who is whose neighbour.
        to: one of :data:`NEIGHBOURS`.
        sizes: `(nodes,)`: pixels, as far as known.
        deciding: `(nodes,)`: True for the nodes that go somewhere.
        steps: `(nodes,)`: steps to a large node; for `border`, only neighbours one step nearer are candidates.
        partial: `(nodes,)`: True for nodes that may grow, or become one with others of their class, beyond a seam.
    """
    goes, ties, seam_ties, seams = _choose(
        met.one, met.other, met.sides, met.first, sizes, deciding, steps, partial, to == BORDER
    )
    unsure: Mask = (ties > 1) & seam_ties
    if to == LARGEST:
        unsure |= (seams > 1) | ((seams == 1) & ~partial[goes])
    return goes, unsure


@compiled
def _choose(
    one: Integers, other: Integers, sides: Integers, first: Integers,
    sizes: Integers, deciding: Mask, steps: Integers, partial: Mask, by_border: bool,
) -> tuple[Integers, Integers, Mask, Integers]:  # fmt: skip
    """The choices; how many candidates weigh as much, whether a partial one is among these; and all partial ones."""
    count = sizes.size
    goes, weight, place = np.arange(count), np.full(count, -1), np.zeros(count, np.int64)
    ties, seam_ties, seams = np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.int64)
    for at in range(2 * one.size):
        pair = at // 2
        node, near = (one[pair], other[pair]) if at % 2 else (other[pair], one[pair])
        if not deciding[node] or (by_border and steps[near] != steps[node] - 1):
            continue
        heavy = sides[pair] if by_border else sizes[near]
        seams[node] += partial[near]
        if heavy > weight[node]:
            ties[node], seam_ties[node] = 0, False
        if heavy >= weight[node]:
            ties[node] += 1
            seam_ties[node] |= partial[near]
        larger = sizes[near] - sizes[goes[node]]
        if heavy > weight[node] or (
            heavy == weight[node] and (larger > 0 or (larger == 0 and first[pair] < place[node]))
        ):
            goes[node], weight[node], place[node] = near, heavy, first[pair]
    return goes, ties, seam_ties, seams


def follow(goes: Integers) -> Integers:
    """Where the ways end: at a node that goes to itself, or somewhere on a circle."""
    for _ in range(int(goes.size).bit_length()):
        further = goes[goes]
        if np.array_equal(further, goes):
            break
        goes = further
    return goes


def may_be_one(met: Meetings, classes: NDArray[np.uint8], partial: Mask) -> Mask:
    """Nodes with two partial neighbours of one class, whose borders add up if they are one beyond the seam."""
    pairs = [(met.one, met.other), (met.other, met.one)]
    keys = np.concatenate([one[partial[other]] * 256 + classes[other[partial[other]]] for one, other in pairs])
    found, number = np.unique(keys, return_counts=True)
    twins = np.zeros(classes.size, np.bool_)
    twins[found[number > 1] // 256] = True
    return twins


def may_be_nearer(met: Meetings, least: Integers, most: Integers) -> Mask:
    """Nodes whose steps, or whose candidates, are not known: steps lie between `least` and `most`."""
    unknown = least != most
    found: Mask = unknown.copy()
    for one, other in ((met.one, met.other), (met.other, met.one)):
        found[one[unknown[other] & (least[other] < most[one])]] = True
    return found
