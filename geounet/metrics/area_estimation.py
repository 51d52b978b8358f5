"""Accuracy and area with confidence intervals, from a sample stratified by a map.

Olofsson et al. (2014), Good practices for estimating area and assessing accuracy of land change, Remote Sensing of
Environment 148, https://doi.org/10.1016/j.rse.2014.02.015. Written in the form of Stehman (2014), International Journal
of Remote Sensing 35, which allows strata that are not the map's classes and is the same where they are. The standard
errors take the sample within each stratum for simple and random; neighbouring pixels are alike, so that for a
wall-to-wall reference they come out too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.metrics.scores import plain, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.classes import LandClass

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]

_Z95 = 1.96
"""Standard errors to either side of a 95 % interval of the normal distribution, with the paper's decimals."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Values with their standard errors, of any shape."""

    value: Floats
    """What is estimated; NaN where the sample does not tell."""
    error: Floats
    """Standard error; NaN where a stratum that matters has a single sample unit."""

    @property
    def margin(self) -> Floats:
        """Half the width of the 95 % interval, which is `value` plus and minus this (not clipped to 0 and 1)."""
        return _Z95 * self.error

    def at(self, index: int) -> dict[str, float | None]:
        """One of them for JSON."""
        value, error, margin = (float(array.flat[index]) for array in (self.value, self.error, self.margin))
        named = {"value": value, "standard_error": error, "low": value - margin, "high": value + margin}
        return {name: plain(number) for name, number in named.items()}


@dataclass(frozen=True, slots=True, eq=False)
class AreaEstimate:
    """Accuracy weighted by area, and areas corrected for the map's mistakes."""

    classes: tuple[LandClass, ...]
    """The classes, in the order of the arrays."""
    unit: str
    """Of areas: `ha`, or `px` without a CRS."""
    sample: int
    """Sample units."""
    mapped: Floats
    """`(classes,)`: area that the map gives to each."""
    total: float
    """Area of the strata that have sample units."""
    unsampled: float
    """Area of the strata that have none: nothing is said about it."""
    accuracy: Estimates
    """Overall accuracy: share of `total` that is mapped right."""
    users: Estimates
    """`(classes,)`: user's accuracy, the precision."""
    producers: Estimates
    """`(classes,)`: producer's accuracy, the recall."""
    area: Estimates
    """`(classes,)`: adjusted area, within `total`."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {
            "unit": self.unit,
            "sample": self.sample,
            "total_area": self.total,
            "unsampled_area": self.unsampled,
            "accuracy": self.accuracy.at(0),
            "classes": [
                {
                    "value": item.value, "name": item.name, "mapped_area": float(self.mapped[index]),
                    "area": self.area.at(index), "users_accuracy": self.users.at(index),
                    "producers_accuracy": self.producers.at(index),
                }
                for index, item in enumerate(self.classes)
            ],
        }  # fmt: skip


def estimate(
    counts: Counts, areas: Floats, classes: tuple[LandClass, ...], *, mapped: Floats | None = None, unit: str = "px"
) -> AreaEstimate:
    """Estimate accuracy and areas.

    Args:
        counts: `(strata, classes, classes)`: sample units by stratum, mapped class and reference class. Where the
            strata are the mapped classes, `(classes, classes)` by mapped class and reference class does.
        areas: `(strata,)`: area of each.
        classes: the classes.
        mapped: `(classes,)`: area that the map gives to each; the strata's by default.
        unit: of the areas.

    Raises:
        ValueError: the shapes do not belong together.
    """
    size = len(classes)
    counts = _by_stratum(counts) if counts.ndim == 2 else counts  # noqa: PLR2004
    if counts.shape != (len(areas), size, size):
        raise ValueError(f"counts of shape {counts.shape} for {len(areas)} strata and {size} classes")
    sampled = counts.sum(axis=(1, 2)) > 0
    strata = _Strata(counts[sampled], np.asarray(areas, np.float64)[sampled])
    right = np.einsum("hii->hi", strata.counts)  # (strata, classes)
    is_mapped, is_so = strata.counts.sum(axis=2), strata.counts.sum(axis=1)  # (strata, classes)
    units = strata.units[:, None]
    return AreaEstimate(
        classes=classes,
        unit=unit,
        sample=int(counts.sum()),
        mapped=np.asarray(areas if mapped is None else mapped, np.float64),
        total=float(strata.areas.sum()),
        unsampled=float(np.asarray(areas)[~sampled].sum()),
        accuracy=strata.ratio(right.sum(axis=1, keepdims=True), units),
        users=strata.ratio(right, is_mapped),
        producers=strata.ratio(right, is_so),
        area=strata.total(is_so),
    )


def _by_stratum(matrix: Counts) -> Counts:
    """Counts by mapped and reference class, the mapped classes being the strata."""
    counts = np.zeros((len(matrix), *matrix.shape), np.int64)
    places = np.arange(len(matrix))
    counts[places, places] = matrix
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class _Strata:
    """Strata with sample units: what Stehman's estimators are made of, all quantities being 0 or 1 in a unit."""

    counts: Counts
    """`(strata, classes, classes)`."""
    areas: Floats
    """`(strata,)`."""

    @property
    def units(self) -> Counts:
        """`(strata,)`: sample units."""
        return np.asarray(self.counts.sum(axis=(1, 2)))

    def _covariance_of_means(self, one: Counts, other: Counts, both: Counts) -> Floats:
        """`(strata, n)`: of the means of two indicators, from how many units have the one, the other and both."""
        units = self.units[:, None]
        return ratio(both / units - one / units * (other / units), units - 1)

    def _total(self, having: Counts) -> Floats:
        """`(n,)`: area of what a unit may have, from `(strata, n)`, how many have it."""
        return np.asarray(self.areas @ (having / self.units[:, None]))

    def _sum(self, variances: Floats, counts: Counts) -> Floats:
        """`(n,)`: over strata, of what has a part in them: one that has none adds 0 even with a single unit."""
        weighed = (self.areas**2)[:, None] * np.where(counts > 0, variances, 0.0)
        return np.asarray(np.sqrt(np.maximum(weighed.sum(axis=0), 0)))

    def total(self, having: Counts) -> Estimates:
        """Area of each of `(strata, n)`."""
        return Estimates(self._total(having), self._sum(self._covariance_of_means(having, having, having), having))

    def ratio(self, part: Counts, whole: Counts) -> Estimates:
        """Area of the part over that of the whole, `part` being counted within `whole`, both `(strata, n)`."""
        share = ratio(self._total(part), self._total(whole))
        variances = (
            self._covariance_of_means(part, part, part)
            + share**2 * self._covariance_of_means(whole, whole, whole)
            - 2 * share * self._covariance_of_means(part, whole, part)
        )
        error = ratio(self._sum(variances, whole), self._total(whole))
        return Estimates(share, np.where(np.isnan(share), np.nan, error))
