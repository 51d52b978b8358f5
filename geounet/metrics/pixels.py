"""Scores that follow from counts of pixels by reference and predicted class.

They are the usual ones: intersection over union (Jaccard 1901), precision and recall (the user's and the producer's
accuracy, Congalton 1991), F1, overall accuracy, Cohen's kappa (1960).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.metrics.scores import mean, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass

    Codes = NDArray[np.integer[Any]]
    Counts = NDArray[np.int64]
    Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Counts of pixels that have a class on both sides, and the scores that follow; a score of nothing is NaN."""

    classes: tuple[LandClass, ...]
    """The classes, in the order of the matrix."""
    matrix: Counts
    """`(classes, classes)` int64: rows are the reference, columns the prediction."""

    def __post_init__(self) -> None:
        wanted = (len(self.classes), len(self.classes))
        if self.matrix.shape != wanted:
            raise ValueError(f"a matrix of shape {self.matrix.shape} for {len(self.classes)} classes: needs {wanted}")

    @property
    def pixels(self) -> int:
        """All pixels that count."""
        return int(self.matrix.sum())

    @property
    def support(self) -> Counts:
        """Pixels of each class in the reference."""
        return np.asarray(self.matrix.sum(axis=1))

    @property
    def predicted(self) -> Counts:
        """Pixels of each class in the prediction."""
        return np.asarray(self.matrix.sum(axis=0))

    @property
    def agreed(self) -> Counts:
        """Pixels of each class that are so on both sides."""
        return np.diagonal(self.matrix)

    @property
    def iou(self) -> Scores:
        """Of each class: agreed / (support + predicted - agreed); NaN for a class that neither side has."""
        return ratio(self.agreed, self.support + self.predicted - self.agreed)

    @property
    def precision(self) -> Scores:
        """Of each class: agreed / predicted; NaN where it is never predicted."""
        return ratio(self.agreed, self.predicted)

    @property
    def recall(self) -> Scores:
        """Of each class: agreed / support; NaN where the reference has none."""
        return ratio(self.agreed, self.support)

    @property
    def f1(self) -> Scores:
        """Of each class: 2 agreed / (support + predicted); NaN for a class that neither side has."""
        return ratio(2 * self.agreed, self.support + self.predicted)

    @property
    def accuracy(self) -> float:
        """Share of the pixels on which both sides agree."""
        return float(ratio(self.agreed.sum(), self.matrix.sum()))

    @property
    def mean_iou(self) -> float:
        """Mean of the classes' IoU, over the classes that either side has."""
        return mean(self.iou)

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what chance gives with these class shares; NaN if all is one class."""
        total = float(self.matrix.sum())
        chance = float(ratio(self.support.astype(np.float64) @ self.predicted, total * total))
        return float(ratio(self.accuracy - chance, 1 - chance))

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON; NaN becomes None."""
        return {
            "pixels": self.pixels,
            "accuracy": plain(self.accuracy),
            "mean_iou": plain(self.mean_iou),
            "kappa": plain(self.kappa),
            "classes": [self._class_to_dict(index) for index in range(len(self.classes))],
            "matrix": self.matrix.tolist(),
        }

    def _class_to_dict(self, index: int) -> dict[str, Any]:
        item = self.classes[index]
        scores = {"iou": self.iou, "precision": self.precision, "recall": self.recall, "f1": self.f1}
        counts = {"support": int(self.support[index]), "predicted": int(self.predicted[index])}
        known: dict[str, Any] = {"value": item.value, "name": item.name, "color": item.color}
        return known | counts | {name: plain(values[index]) for name, values in scores.items()}


def confusion(reference: Codes, predicted: Codes, values: Sequence[int]) -> Counts:
    """Count pixels by reference and predicted class.

    Args:
        reference: class codes, integers of any shape.
        predicted: the same shape.
        values: the codes that count, each once; a pixel with another on either side (nodata) counts nowhere.

    Returns:
        `(len(values), len(values))` int64, rows reference, columns predicted, in the order of `values`.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != predicted.shape:
        raise ValueError(f"reference of shape {reference.shape}, prediction of shape {predicted.shape}")
    rows, cols = _places(reference, values), _places(predicted, values)
    size = len(values)
    counted = (rows < size) & (cols < size)
    flat = rows[counted] * size + cols[counted]
    return np.bincount(flat, minlength=size * size).reshape(size, size)


def _places(codes: Codes, values: Sequence[int]) -> Counts:
    """Where each code stands in `values`; `len(values)` for codes that do not."""
    order = np.argsort(values)
    ordered = np.append(np.asarray(values, np.int64)[order], np.iinfo(np.int64).max)
    near = np.searchsorted(ordered, codes.ravel())
    found = ordered[near] == codes.ravel()
    return np.where(found, np.append(order, len(values))[near], len(values))
