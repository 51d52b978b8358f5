"""A map against a stratified sample: what it says at points, and how much ground each stratum covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS

from geounet.classes import NODATA, LandClass, default_class
from geounet.data.labels import Pair, read_codes
from geounet.errors import LabelError
from geounet.metrics.area_estimation import AreaEstimate, estimate
from geounet.metrics.evaluation import windows_of
from geounet.metrics.pixels import Evaluation
from geounet.metrics.sides import Places, known_codes
from geounet.outlines.ground import survey
from geounet.outlines.pixel_areas import HECTARE, row_areas
from geounet.raster.class_raster import load_class_raster
from geounet.raster.placement import pixel_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.metrics.sides import Sides
    from geounet.raster.scene import Scene

    Codes = NDArray[np.uint8]
    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Progress = Callable[[int, int], None] | None

_SIZE = NODATA + 1


@dataclass(frozen=True, slots=True, eq=False)
class SampleEvaluation:
    """What a sample says about a map."""

    evaluation: Evaluation
    """The sample units counted by reference and mapped class, unweighted."""
    areas: AreaEstimate
    """Accuracy and areas, weighted by the strata."""
    left_out: int
    """Points that lie beside the map, on its nodata, or are in no class of the table."""


def evaluate_sample(
    sides: Sides,
    classes: Sequence[LandClass] = (),
    *,
    strata: str | Path | None = None,
    force: bool = False,
    progress: Progress = None,
) -> SampleEvaluation:
    """Estimate accuracy and areas of the predicted map (Olofsson et al. 2014).

    See :mod:`geounet.metrics.area_estimation`.

    Args:
        sides: the reference may be points; of pixels each that has a class on both sides is a sample unit.
        classes: the class table, as for :func:`geounet.metrics.evaluation.evaluate`.
        strata: a class raster on any grid with the strata of the sample; by default the mapped classes are the strata.
        force: take the strata for classes, whatever the raster says of itself.
        progress: called with windows done and windows in all.

    Raises:
        LabelError: no sample unit lies where the map has a class.
        SceneError: a raster cannot be read.
    """
    if sides.predicted.pair is None:
        raise LabelError(f"{sides.predicted.path} holds points; a map covers ground")
    layers = sides.predicted.pair, None if strata is None else Pair(sides.like, load_class_raster(strata, force))
    points = sides.reference.shapes if sides.sampled else None
    places = Places.on(sides.like, points.geometries) if points else None
    known = known_codes(classes)
    ground = _Areas(sides.like)
    counts = np.zeros((0, 2), np.int64)
    for window in windows_of(sides.like, progress):
        mapped, stratum = _read(layers, window)
        ground.add(window, mapped, stratum)
        if points and places:
            which, at = places.within(window)
            units = mapped[at], stratum[at], points.codes[which].astype(np.uint8)
        else:
            units = mapped.ravel(), stratum.ravel(), _codes(sides.reference.pair, window).ravel()
        counts = _added(counts, *units, known)
    if not len(counts):
        raise LabelError(
            f"no {'point' if sides.sampled else 'pixel'} of {sides.reference.path} lies where {sides.predicted.path} "
            "has a class, and is in a class itself"
        )
    total = int(counts[:, 1].sum())
    left_out = len(points.codes) - total if points else 0
    return _result(counts, ground, classes, by_class=strata is None, left_out=left_out)


def _codes(pair: Pair | None, window: Window) -> Codes:
    if pair is None:
        raise TypeError("points have no pixels")
    return read_codes(pair, window)


def _read(layers: tuple[Pair, Pair | None], window: Window) -> tuple[Codes, Codes]:
    """Mapped class and stratum of each pixel, both nodata where one is."""
    mapped = read_codes(layers[0], window)
    if layers[1] is None:
        return mapped, mapped
    stratum = read_codes(layers[1], window)
    apart = (mapped == NODATA) | (stratum == NODATA)
    mapped[apart], stratum[apart] = NODATA, NODATA
    return mapped, stratum


def _added(counts: Counts, mapped: Codes, stratum: Codes, reference: Codes, known: NDArray[np.bool_]) -> Counts:
    """Rows of key and count, with some sample units more; a key is stratum, mapped and reference class in one."""
    # Pairs can be counted, which is quicker than sorting the triples that strata of their own need.
    pairs = mapped.astype(np.int64) * _SIZE + np.where(known[reference], reference, NODATA)
    if stratum is mapped or np.array_equal(stratum, mapped):
        found = np.bincount(pairs, minlength=_SIZE**2)
        keys = np.flatnonzero(found)
        keys, found = keys // _SIZE * _SIZE**2 + keys, found[keys]
    else:
        keys, found = np.unique(stratum * np.int64(_SIZE**2) + pairs, return_counts=True)
    counted = (keys // _SIZE % _SIZE != NODATA) & (keys % _SIZE != NODATA)
    keys = np.concatenate([counts[:, 0], keys[counted]])
    values, place = np.unique(keys, return_inverse=True)
    sums = np.bincount(place, np.concatenate([counts[:, 1], found[counted]]), len(values)).astype(np.int64)
    return np.stack([values, sums], axis=1)


def _result(
    counts: Counts, ground: _Areas, classes: Sequence[LandClass], *, by_class: bool, left_out: int
) -> SampleEvaluation:
    stratum, mapped, reference = counts[:, 0] // _SIZE**2, counts[:, 0] // _SIZE % _SIZE, counts[:, 0] % _SIZE
    table = _table(classes, np.union1d(mapped, reference), np.flatnonzero(ground.mapped))
    values = np.array([item.value for item in table])
    # Classes that are only mapped, in no sample unit, are strata nevertheless.
    strata = values if by_class else np.flatnonzero(ground.strata)
    cube = np.zeros((len(strata), len(values), len(values)), np.int64)
    order, position = np.argsort(strata), np.argsort(values)
    places = [
        order[np.searchsorted(strata[order], stratum)],
        *(position[np.searchsorted(values[position], codes)] for codes in (mapped, reference)),
    ]
    cube[tuple(places)] = counts[:, 1]
    areas = estimate(cube, ground.strata[strata], table, mapped=ground.mapped[values], unit=ground.unit)
    return SampleEvaluation(Evaluation(table, cube.sum(axis=0).T), areas, left_out)


def _table(classes: Sequence[LandClass], sampled: Integers, mapped: Integers) -> tuple[LandClass, ...]:
    given = [item.value for item in classes]
    more = [value for value in np.union1d(sampled, mapped).tolist() if value not in given]
    return (*classes, *(default_class(value, len(given) + place) for place, value in enumerate(more)))


class _Areas:
    """Ground by mapped class and by stratum, in hectares on the ellipsoid, or in pixels without a CRS."""

    def __init__(self, like: Scene) -> None:
        """For the pixels of a grid."""
        self._ground = survey(
            like.transform, like.height, like.width, None if like.crs is None else CRS.from_wkt(like.crs.to_wkt())
        )
        size = pixel_size(like)
        self._pixel = math.prod(size) if size else HECTARE
        self.unit = "ha" if size else "px"
        self.mapped, self.strata = np.zeros(NODATA), np.zeros(NODATA)

    def add(self, window: Window, mapped: Codes, stratum: Codes) -> None:
        """Add a window's pixels."""
        areas = np.repeat(self._pixel_areas(window) / HECTARE, window.width)
        self.mapped += np.bincount(mapped.ravel(), areas, _SIZE)[:NODATA]
        self.strata += np.bincount(stratum.ravel(), areas, _SIZE)[:NODATA]

    def _pixel_areas(self, window: Window) -> Floats:
        """Square metres of a pixel in each row, the mean over the window's columns: it may change from row to row."""
        if self._ground is None:
            return np.full(window.height, self._pixel)
        return row_areas(self._ground, window)
