"""How well polygons agree with reference polygons, object by object, with a spatial index.

Objects are matched one to one, the pairs of greatest IoU first. Where the objects of a side do not overlap one
another, pairs above 0.5 can be matched in one way only, so this is the optimal assignment.

Over- and under-segmentation are those of Persello & Bruzzone (2010), IEEE Transactions on Geoscience and Remote
Sensing 48(3): for a reference object O and the predicted object S that covers most of it, 1 - |O and S| / |O| and
1 - |O and S| / |S|. They are averaged over the reference objects that any prediction meets, each counted once, and
weighted by their area.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geounet.metrics.scores import plain, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Geometries = NDArray[Any]

THRESHOLDS = np.arange(50, 100, 5) / 100
"""0.50, 0.55 ... 0.95, as in COCO (Lin et al. 2014)."""
_TOLERANCE = 1e-9
"""What rounding may take from an IoU that reaches a threshold exactly."""
_PAIRS = 50_000
"""Pairs whose intersections are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """Objects counted and their areas; sums over classes are sums of these."""

    predicted: int
    """Predicted objects."""
    reference: int
    """Reference objects."""
    predicted_area: float
    """Their area, in the square of the coordinates' unit."""
    reference_area: float
    """Likewise."""
    matched: Integers
    """`(thresholds,)`: pairs with at least that IoU."""
    matched_predicted_area: Floats
    """`(thresholds,)`: area of their predicted objects."""
    matched_reference_area: Floats
    """`(thresholds,)`: area of their reference objects."""
    met: Floats
    """`(2,)`: reference objects that a predicted one covers in part, and their area."""
    over: Floats
    """`(2,)`: their over-segmentation summed, each once and weighted by area."""
    under: Floats
    """`(2,)`: likewise."""

    def __add__(self, other: ObjectScores) -> ObjectScores:
        return ObjectScores(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def precision(self) -> Floats:
        """`(thresholds,)`: share of the predicted objects that are matched."""
        return ratio(self.matched, self.predicted)

    @property
    def recall(self) -> Floats:
        """`(thresholds,)`: share of the reference objects that are matched."""
        return ratio(self.matched, self.reference)

    @property
    def f1(self) -> Floats:
        """`(thresholds,)`: 2 matched / (predicted + reference)."""
        return ratio(2 * self.matched, self.predicted + self.reference)

    @property
    def area_precision(self) -> Floats:
        """`(thresholds,)`: share of the predicted objects' area that matched ones hold."""
        return ratio(self.matched_predicted_area, self.predicted_area)

    @property
    def area_recall(self) -> Floats:
        """`(thresholds,)`: share of the reference objects' area that matched ones hold."""
        return ratio(self.matched_reference_area, self.reference_area)

    @property
    def area_f1(self) -> Floats:
        """`(thresholds,)`: harmonic mean of the two before, 0 where nothing is matched."""
        one, other = self.area_precision, self.area_recall
        return np.where(one + other == 0, 0.0, ratio(2 * one * other, one + other))

    @property
    def over_segmentation(self) -> Floats:
        """`(2,)`: mean over objects, and weighted by area; 0 is best, NaN where no reference object is met."""
        return ratio(self.over, self.met)

    @property
    def under_segmentation(self) -> Floats:
        """`(2,)`: likewise."""
        return ratio(self.under, self.met)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {
            "predicted": self.predicted,
            "reference": self.reference,
            "matched_at_50": int(self.matched[0]),
            "by_count": _summary(self.precision, self.recall, self.f1),
            "by_area": _summary(self.area_precision, self.area_recall, self.area_f1),
            "over_segmentation": _pair(self.over_segmentation),
            "under_segmentation": _pair(self.under_segmentation),
        }


def _summary(precision: Floats, recall: Floats, f1: Floats) -> dict[str, Any]:
    """At an IoU of 0.5, the mean over all thresholds, and F1 at each."""
    scores = {"precision": precision, "recall": recall, "f1": f1}
    at_50 = {f"{name}_at_50": plain(values[0]) for name, values in scores.items()}
    means = {f"{name}_50_95": plain(values.mean()) for name, values in scores.items()}
    return at_50 | means | {"f1_by_iou": {f"{at:.2f}": plain(value) for at, value in zip(THRESHOLDS, f1, strict=True)}}


def _pair(values: Floats) -> dict[str, float | None]:
    return {"by_count": plain(values[0]), "by_area": plain(values[1])}


def score_objects(
    predicted: Geometries, reference: Geometries, progress: Callable[[int, int], None] | None = None
) -> ObjectScores:
    """Match the objects of one class.

    Args:
        predicted: valid polygons and multipolygons, `(n,)`.
        reference: likewise, in the same coordinates. Areas are those of the plane: let it be an equal-area one where
            its scale changes much.
        progress: called with pairs done and pairs in all.
    """
    sizes = np.asarray(shapely.area(predicted)), np.asarray(shapely.area(reference))
    one, other, common = overlaps(predicted, reference, progress)
    iou = common / (sizes[0][one] + sizes[1][other] - common)
    kept = match(one, other, iou)
    reached = iou[kept] >= THRESHOLDS[:, None] - _TOLERANCE  # (thresholds, matches)
    return ObjectScores(
        len(predicted),
        len(reference),
        float(sizes[0].sum()),
        float(sizes[1].sum()),
        reached.sum(axis=1),
        reached @ sizes[0][one[kept]],
        reached @ sizes[1][other[kept]],
        *_segmentation(one, other, common, sizes),
    )


def overlaps(
    predicted: Geometries, reference: Geometries, progress: Callable[[int, int], None] | None = None
) -> tuple[Integers, Integers, Floats]:
    """All pairs of objects that share area: indices of the predicted and of the reference object, and the area."""
    shapely.prepare(predicted)
    one, other = shapely.STRtree(reference).query(predicted, predicate="intersects")
    common = np.empty(len(one))
    for start in range(0, len(one), _PAIRS):
        part = slice(start, start + _PAIRS)
        common[part] = _common_area(predicted[one[part]], reference[other[part]])
        if progress is not None:
            progress(min(start + _PAIRS, len(one)), len(one))
    shares = common > 0
    return one[shares], other[shares], common[shares]


def _common_area(one: Geometries, other: Geometries) -> Floats:
    # What lies within a prepared polygon need not be cut: large polygons with many holes meet thousands of others.
    within = shapely.contains_properly(one, other)
    common = np.asarray(shapely.area(other))
    common[~within] = shapely.area(shapely.intersection(one[~within], other[~within]))
    return common


def match(one: Integers, other: Integers, iou: Floats) -> Integers:
    """Pairs of an IoU of 0.5 or more, greatest first, each object once.

    Cutting the result at a higher threshold gives what matching at that threshold would.

    Returns:
        Places in the arguments.
    """
    near = np.flatnonzero(iou >= THRESHOLDS[0] - _TOLERANCE)
    near = near[np.lexsort((other[near], one[near], -iou[near]))]
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for place, left, right in zip(near.tolist(), one[near].tolist(), other[near].tolist(), strict=True):
        if left not in taken[0] and right not in taken[1]:
            taken[0].add(left)
            taken[1].add(right)
            kept.append(place)
    return np.array(kept, np.int64)


def _segmentation(
    one: Integers, other: Integers, common: Floats, sizes: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Objects met, over- and under-segmentation: sums, each once and weighted by the reference object's area."""
    order = np.lexsort((one, -common, other))
    found, first = np.unique(other[order], return_index=True)
    largest = order[first]
    size = sizes[1][found]
    weights = np.stack([np.ones_like(size), size])  # (2, objects)
    over = np.maximum(0, 1 - common[largest] / size)
    under = np.maximum(0, 1 - common[largest] / sizes[0][one[largest]])
    return weights.sum(axis=1), weights @ over, weights @ under
