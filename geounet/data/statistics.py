"""What the training scenes hold, by streaming over their pixels once: moments of the bands, counts of the classes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, LandClass, classes_from_values
from geounet.data.coverage import Coverage
from geounet.data.labels import Pair, read_codes
from geounet.errors import LabelError, SceneError
from geounet.grid import Grid
from geounet.models.model_file import Band
from geounet.raster.scene import opened, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_STRIP = 1024
_SAMPLE = 1_000_000
_NORMAL_98 = 2.0537489
"""The 98th percentile of the normal law, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of all pairs together."""

    bands: tuple[Band, ...]
    """Moments and extremes of each band over valid pixels."""
    counts: NDArray[np.int64]
    """(256,) valid pixels of each label code; the last one counts the unlabelled."""
    coverages: tuple[Coverage, ...] = ()
    """Where each pair has valid and labelled pixels."""


class _Moments:
    """Sums over valid pixels, in float64, shifted by the first mean so that they do not cancel."""

    def __init__(self, bands: int) -> None:
        self.count = 0
        self.shift: NDArray[Any] | None = None
        self.first, self.second = np.zeros(bands), np.zeros(bands)
        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)

    def add(self, pixels: NDArray[Any]) -> None:
        """Pixels (bands, count)."""
        if not pixels.shape[1]:
            return
        if self.shift is None:
            self.shift = pixels.mean(axis=1, dtype=np.float64)
        centred = pixels - self.shift[:, None]
        self.count += pixels.shape[1]
        self.first += centred.sum(axis=1)
        self.second += (centred**2).sum(axis=1)
        self.low = np.minimum(self.low, pixels.min(axis=1))
        self.high = np.maximum(self.high, pixels.max(axis=1))

    def mean_and_std(self) -> tuple[NDArray[Any], NDArray[Any]]:
        shift = np.zeros_like(self.first) if self.shift is None else self.shift
        offset = self.first / self.count
        return shift + offset, np.sqrt(np.maximum(0, self.second / self.count - offset**2))


class _Sample:
    """Pixels drawn at random from all that come by, each as likely as the other; all of them while they are few."""

    def __init__(self, size: int) -> None:
        self.size, self.random = size, np.random.default_rng(0)
        self.keys, self.pixels = np.zeros(0), np.zeros((0, 0))

    def add(self, pixels: NDArray[Any]) -> None:
        """Pixels (bands, count); of all so far those with the smallest keys stay."""
        keys = np.concatenate([self.keys, self.random.random(pixels.shape[1])])
        held = self.pixels if self.pixels.size else np.zeros((len(pixels), 0))
        kept = np.argpartition(keys, self.size - 1)[: self.size] if keys.size > self.size else np.arange(keys.size)
        fresh = kept[kept >= self.keys.size]
        self.pixels = np.concatenate([held[:, kept[kept < self.keys.size]], pixels[:, fresh - self.keys.size]], axis=1)
        self.keys = np.concatenate([keys[kept[kept < self.keys.size]], keys[fresh]])

    def centre_and_spread(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The median, and what lies between the 2nd and the 98th percentile in standard deviations of a normal law."""
        low, middle, high = np.percentile(self.pixels, (2, 50, 98), axis=1)
        return middle, (high - low) / (2 * _NORMAL_98)


def collect(pairs: Sequence[Pair], *, robust: bool = False, known: Sequence[int] = ()) -> Statistics:
    """Statistics of the pairs' images and labels, in one pass over their pixels.

    Args:
        pairs: images and labels.
        robust: bands are normalised by median and percentiles (of a million pixels drawn at random, or of all where
            there are fewer), which outliers do not move, and not by mean and standard deviation.
        known: the codes that count as labelled in the coverages; all where there are none.

    Raises:
        SceneError: the images differ in their number of bands, or hold no valid pixel.
    """
    numbers = {len(pair.image.bands) for pair in pairs}
    if len(numbers) != 1:
        few = min(pairs, key=lambda pair: len(pair.image.bands)).image.path
        raise SceneError(f"the images have {sorted(numbers)} bands, {few} the fewest; choose common ones with --bands")
    moments, counts = _Moments(numbers.pop()), np.zeros(256, np.int64)
    sample = _Sample(_SAMPLE) if robust else None
    coverages = tuple(_add(pair, moments, sample, counts, known) for pair in pairs)
    if not moments.count:
        raise SceneError(f"none of the {len(pairs)} images holds a valid pixel, {pairs[0].image.path} for one")
    return Statistics(_bands(pairs[0], moments, sample), counts, coverages)


def _add(
    pair: Pair, moments: _Moments, sample: _Sample | None, counts: NDArray[np.int64], known: Sequence[int]
) -> Coverage:
    coverage = Coverage(pair.extent)
    with opened(pair.image) as dataset:
        for tile in Grid(pair.extent, _STRIP, _STRIP).tiles():
            values, valid = read(dataset, pair.image, tile.core)
            moments.add(values[:, valid])
            if sample is not None:
                sample.add(values[:, valid])
            codes = read_codes(pair, tile.core)
            counts += np.bincount(codes[valid], minlength=256)
            codes[~valid if not known else ~valid | ~np.isin(codes, known)] = NODATA
            coverage.add(tile.core, codes)
    return coverage


def _bands(pair: Pair, moments: _Moments, sample: _Sample | None) -> tuple[Band, ...]:
    means, stds = moments.mean_and_std()
    if sample is not None:
        means, spread = sample.centre_and_spread()
        # A band that is constant but for few pixels has no percentiles apart.
        stds = np.where(spread > 0, spread, stds)
    bands = []
    for index, (name, number) in enumerate(zip(pair.image.band_names, pair.image.bands, strict=True)):
        if stds[index] == 0:
            _log.warning(
                "band %d (%s) is constant (%g) in all training images, %s for one",
                number,
                name,
                means[index],
                pair.image.label,
            )
        std = float(stds[index]) or 1.0
        bands.append(
            Band(
                name,
                float(means[index]),
                std,
                float(moments.low[index]),
                float(moments.high[index]),
                number,
                pair.image.scales[index],
                pair.image.offsets[index],
            )
        )
    return tuple(bands)


def choose_classes(counts: NDArray[np.int64], table: Sequence[LandClass], where: str = "") -> tuple[LandClass, ...]:
    """The class table, or without one the values found.

    Args:
        counts: `(256,)` pixels of each label code.
        table: the class table.
        where: a label file that the error may name.

    Raises:
        LabelError: no labelled pixel, or fewer than two classes, are left.
    """
    classes = tuple(table) or classes_from_values(np.flatnonzero(counts[:NODATA]).tolist())
    found = [item for item in classes if counts[item.value]]
    if len(classes) < 2 or not found:  # noqa: PLR2004
        values = np.flatnonzero(counts[:NODATA]).tolist()
        named = f", {where} for one," if where else ""
        raise LabelError(
            f"training needs labelled pixels and at least two classes; the labels{named} hold the values {values}, "
            f"the class table {[item.value for item in classes]}"
        )
    for item in classes:
        if not counts[item.value]:
            _log.warning("class %d (%s) occurs in no training label", item.value, item.name)
    return classes


_POWERS = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}


def class_weights(counts: NDArray[np.int64], classes: Sequence[LandClass], text: str = "sqrt") -> NDArray[np.float32]:
    """Weights (classes,) for the loss, scaled to a mean of 1 over the classes that occur; 0 for those that do not.

    Args:
        counts: (256,) pixels of each label code.
        classes: the class table.
        text: `none` for equal weights, `inverse` for the inverse of each class's frequency, `sqrt` for its square root,
            or a number for each class, separated by commas, which are taken as they are.

    Raises:
        LabelError: the text is neither, or has not a number of at least 0 for each class.
    """
    if text in _POWERS:
        frequency = counts[[item.value for item in classes]] / max(1, counts[:NODATA].sum())
        weights = np.where(frequency > 0, np.maximum(frequency, 1e-12) ** -_POWERS[text], 0.0)
        scaled: NDArray[np.float32] = (weights / weights[weights > 0].mean()).astype(np.float32)
        return scaled
    try:
        given = np.array([float(number) for number in text.split(",")], np.float32)
    except ValueError as error:
        raise LabelError(f"class weights are {', '.join(_POWERS)}, or numbers such as 1,2.5; given {text!r}") from error
    if len(given) != len(classes) or not np.isfinite(given).all() or given.min() < 0 or not given.any():
        raise LabelError(
            f"class weights need a number of at least 0 for each of the {len(classes)} classes "
            f"({', '.join(item.name for item in classes)}), one of them above 0; given {text}"
        )
    return given
