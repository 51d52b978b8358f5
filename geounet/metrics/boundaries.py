"""Boundary IoU: how well outlines agree, whatever the size of what they enclose (Cheng et al. 2021, arXiv 2103.16562).

The band of a class is those of its pixels that have another class within a distance; Boundary IoU is the IoU of the
two bands. As in the authors' code the distance is the chessboard's. Unlike theirs it is a number of pixels rather than
a share of the image's diagonal, which at the scale of a scene would be kilometres, and where the map ends (the scene's
edge, nodata on either side) there is no outline, for what lies beyond is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, LandClass
from geounet.metrics.scores import mean, plain, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Counts = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryScores:
    """Pixels of the classes' bands."""

    classes: tuple[LandClass, ...]
    """The classes, in the order of the counts."""
    distance: int
    """Width of a band in pixels."""
    support: Counts
    """`(classes,)`: pixels in the reference's band."""
    predicted: Counts
    """`(classes,)`: pixels in the prediction's band."""
    agreed: Counts
    """`(classes,)`: pixels in both."""

    @property
    def iou(self) -> Scores:
        """Of each class: agreed / (support + predicted - agreed); NaN where neither side has an outline."""
        return ratio(self.agreed, self.support + self.predicted - self.agreed)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that have an outline on either side."""
        return mean(self.iou)

    @property
    def f1(self) -> Scores:
        """Of each class: 2 agreed / (support + predicted); NaN where neither side has an outline."""
        return ratio(2 * self.agreed, self.support + self.predicted)

    @property
    def mean_f1(self) -> float:
        """Mean over the classes that have an outline on either side."""
        return mean(self.f1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        rows = zip(self.classes, self.support, self.predicted, self.agreed, self.iou, self.f1, strict=True)
        return {
            "distance_px": self.distance,
            "mean_iou": plain(self.mean_iou),
            "mean_f1": plain(self.mean_f1),
            "classes": [
                {
                    "value": item.value, "name": item.name, "support": int(support), "predicted": int(predicted),
                    "agreed": int(agreed), "iou": plain(iou), "f1": plain(f1),
                }
                for item, support, predicted, agreed, iou, f1 in rows
            ],
        }  # fmt: skip


def boundary_band(codes: Codes, distance: int) -> Mask:
    """Pixels with another class within so many rows and columns; nodata has no class.

    Args:
        codes: `(height, width)` uint8, 255 for nodata.
        distance: pixels, at least 1.

    Returns:
        `(height, width)`, False for nodata.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * distance + 1
    # 255 never is the least; one more, wrapped to 0, it never is the greatest.
    least = minimum_filter(codes, size, mode="nearest")
    greatest = maximum_filter(codes + np.uint8(1), size, mode="nearest")
    other = (least != codes) | (greatest != codes + np.uint8(1))
    return np.asarray(other & (codes != NODATA))


def boundary_counts(reference: Codes, predicted: Codes, distance: int, inner: tuple[slice, slice]) -> Counts:
    """Count the pixels of the bands by class.

    Args:
        reference: `(height, width)` uint8, 255 where either side is nodata.
        predicted: likewise.
        distance: width of the band in pixels.
        inner: rows and columns that count; the others are within the distance of them, or beyond the map.

    Returns:
        `(3, 255)`: by class in the reference's band, in the prediction's, in both.
    """
    bands = boundary_band(reference, distance)[inner], boundary_band(predicted, distance)[inner]
    actual, guessed = reference[inner], predicted[inner]
    both = bands[0] & bands[1] & (actual == guessed)
    chosen = actual[bands[0]], guessed[bands[1]], actual[both]
    return np.stack([np.bincount(codes, minlength=NODATA) for codes in chosen])
