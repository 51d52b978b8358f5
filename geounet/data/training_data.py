"""What a training learns from and is checked on: pairs, split by place or given, and what is odd about them said."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.data.labels import Polygons, read_codes
from geounet.data.leaks import describe_leaks, find_leaks
from geounet.data.splits import split_by_place
from geounet.errors import LabelError, SceneError
from geounet.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.data.labels import Pair
    from geounet.data.statistics import Statistics
    from geounet.grid import Window

    Sides = tuple[tuple[Pair, ...], tuple[Pair, ...]]

_log = logging.getLogger(__name__)
_STRIP = 1024


def check_numbers(pairs: Sequence[Pair]) -> None:
    """Make sure that the numbers of all images mean one thing: all state a scale or an offset, or none does.

    What is stated may differ from image to image, for numbers are read by it.

    Raises:
        SceneError: some images state what others of their data type do not.
    """
    tagged = [any(scale != 1 for scale in pair.image.scales) or any(pair.image.offsets) for pair in pairs]
    if any(tagged) and not all(tagged):
        one, other = pairs[tagged.index(True)].image, pairs[tagged.index(False)].image
        raise SceneError(
            f"{sum(tagged)} of {len(pairs)} images state a scale or an offset, such as {one.label} (scale "
            f"{one.scales[0]:.6g}, offset {one.offsets[0]:.6g}), and the others, such as {other.label}, do not: a "
            "network would learn two things; give all the tags, or none (gdal_edit.py -scale, -offset)"
        )


def split_pairs(
    pairs: Sequence[Pair], fraction: float, seed: int, least: int
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Pairs for training and for validation, that share no ground and no pixels.

    Args:
        pairs: all of them.
        fraction: of the pixels that validation gets.
        seed: of the split.
        least: side in pixels that a block should have; see :func:`geounet.data.splits.split_by_place`.

    Raises:
        SceneError: there is too little ground.
    """

    def counts(item: int, window: Window) -> NDArray[np.int64]:
        return count_codes(replace(pairs[item], region=window))[:NODATA]

    names = {"training": 1 - fraction, "validation": fraction}
    parts = split_by_place([pair.image for pair in pairs], names, seed=seed, least=least, counts=counts)
    sides: dict[str, list[Pair]] = {name: [] for name in names}
    for part in parts:
        sides[part.name].append(replace(pairs[part.item], region=part.window))
    for name, side in sides.items():
        _log.info("%s: %d rectangles of %d images", name, len(side), len({pair.image.path for pair in side}))
    return tuple(sides["training"]), tuple(sides["validation"])


def count_codes(pair: Pair) -> NDArray[np.int64]:
    """`(256,)`: the pixels of each label code within the pair's extent, valid or not."""
    tiles = Grid(pair.extent, _STRIP, _STRIP).tiles()
    found: NDArray[np.int64] = sum(
        (np.bincount(read_codes(pair, tile.core).ravel(), minlength=NODATA + 1) for tile in tiles),
        np.zeros(NODATA + 1, np.int64),
    )
    return found


def check_leaks(pairs: Sequence[Pair], checks: Sequence[Pair], *, allowed: bool) -> None:
    """Say what training and validation share.

    Raises:
        LabelError: they share something, and it is not allowed.
    """
    leaks = find_leaks([pair.image for pair in pairs], [pair.image for pair in checks])
    if leaks and not allowed:
        raise LabelError(
            f"{describe_leaks(leaks)}; a score on what was trained on says nothing: take them out of one side, split "
            "by --val-fraction, or go on all the same with --allow-overlap"
        )
    if leaks:
        _log.warning("%s; the score on them is too good", describe_leaks(leaks))


def teaching(pairs: Sequence[Pair], statistics: Statistics) -> tuple[tuple[Pair, ...], Statistics]:
    """The pairs with at least one pixel to learn from, and what belongs to them; the others are named."""
    kept = [index for index, coverage in enumerate(statistics.coverages) if coverage.cells]
    for index in sorted(set(range(len(pairs))) - set(kept)):
        _log.warning(
            "labels %s give no known class to any valid pixel of %s; it is left out",
            label_of(pairs[index]),
            pairs[index].image.label,
        )
    coverages = tuple(statistics.coverages[index] for index in kept)
    return tuple(pairs[index] for index in kept), replace(statistics, coverages=coverages)


def label_of(pair: Pair) -> str:
    """The pair's label file that comes first."""
    return pair.label.path if isinstance(pair.label, Polygons) else pair.label.label


def tell_absent(checks: Sequence[Pair], classes: Sequence[LandClass]) -> None:
    """Say which classes validation cannot judge."""
    counts = np.sum([count_codes(pair) for pair in checks], axis=0)
    for item in classes:
        if checks and not counts[item.value]:
            _log.warning(
                "class %d (%s) occurs in no validation label, %s for one; its IoU counts only where it is predicted",
                item.value, item.name, label_of(checks[0]),
            )  # fmt: skip


def class_shares(balance: str, counts: NDArray[np.int64], classes: Sequence[LandClass]) -> dict[int, float]:
    """The share of the patches that each class is drawn for, by its code.

    Args:
        balance: `none`: by area alone; `equal`: all classes alike; `sqrt`: by the square root of their pixels;
            or shares by value or name, such as `10=0.3,road=0.2`, the rest by area.
        counts: `(256,)` labelled pixels of each code.
        classes: the class table.

    Raises:
        LabelError: it is none of these, or names no class.
    """
    present = [item.value for item in classes if counts[item.value]]
    if balance == "none":
        return {}
    if balance in ("equal", "sqrt"):
        weights = counts[present] ** (0.5 if balance == "sqrt" else 0.0)
        return dict(zip(present, (weights / weights.sum()).tolist(), strict=True))
    known = {str(item.value): item.value for item in classes} | {item.name: item.value for item in classes}
    shares = {}
    for part in balance.split(","):
        name, _, share = part.rpartition("=")
        try:
            shares[known[name.strip()]] = float(share)
        except (KeyError, ValueError) as error:
            raise LabelError(
                f"{part!r} of --balance is no share of a class, such as {classes[0].value}=0.3 or "
                f"{classes[0].name}=0.3; the classes are {', '.join(known)}"
            ) from error
    return shares
