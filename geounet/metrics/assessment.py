"""What can be asked about a prediction, and all that was measured, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.metrics.area_estimation import AreaEstimate
    from geounet.metrics.boundaries import BoundaryScores
    from geounet.metrics.evaluation import Picture
    from geounet.metrics.objects import ObjectScores
    from geounet.metrics.pixels import Evaluation
    from geounet.metrics.seams import SeamQuality


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured."""

    boundary: int = 2
    """Distance in pixels for Boundary IoU; 0 for none."""
    areas: bool = False
    """Whether accuracy and areas are estimated by strata; always so for a reference of points."""
    strata: Path | None = None
    """A class raster with the strata; the mapped classes by default."""
    objects: bool = False
    """Whether objects are matched."""
    object_classes: tuple[str, ...] = ()
    """Values or names of the classes whose objects are matched; all by default."""
    seams: int = 0
    """Rows and columns of the tiles whose borders are looked at, in pixels; 0 for none."""
    seam_offset: int = 0
    """Row and column of the first tile's corner."""
    picture: int = 0
    """The most rows or columns of a picture of both sides; 0 for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Scores of the objects."""

    classes: tuple[LandClass, ...]
    """Whose objects are matched."""
    scores: tuple[ObjectScores, ...]
    """Of each of `classes`."""
    plane: str
    """What areas and overlaps are measured in."""
    left_out: tuple[int, int]
    """Predicted and reference objects on ground that the other side does not cover."""

    @property
    def overall(self) -> ObjectScores:
        """Of all classes' objects together."""
        total = self.scores[0]
        for scores in self.scores[1:]:
            total = total + scores
        return total

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        rows = zip(self.classes, self.scores, strict=True)
        return {
            "plane": self.plane,
            "left_out_predicted": self.left_out[0],
            "left_out_reference": self.left_out[1],
            "overall": self.overall.to_dict(),
            "classes": [{"value": item.value, "name": item.name} | scores.to_dict() for item, scores in rows],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What was measured; what was not asked for, or cannot be had, is None."""

    prediction: str
    """The prediction's path."""
    reference: str
    """The reference's."""
    unit: str
    """What the confusion matrix counts: `pixels` or `points`."""
    evaluation: Evaluation
    """Confusion matrix and scores."""
    boundary: BoundaryScores | None = None
    """Agreement of outlines."""
    areas: AreaEstimate | None = None
    """Accuracy and area with confidence intervals."""
    objects: Objects | None = None
    """Agreement of objects."""
    seams: SeamQuality | None = None
    """Whether the prediction's tiles show."""
    picture: Picture | None = None
    """Both sides in few pixels."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how the scores came about."""
    command: str = ""
    """What was called."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of what measured."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None.

        Returns:
            `prediction`, `reference`, `unit`, those of :meth:`geounet.metrics.pixels.Evaluation.to_dict`, then each
            `to_dict` under `boundary`, `areas`, `objects` and `seams` (None where it was not measured), `notes`,
            `command` and `versions`.
        """
        parts = {name: getattr(self, name) for name in ("boundary", "areas", "objects", "seams")}
        return {
            "prediction": self.prediction,
            "reference": self.reference,
            "unit": self.unit,
            **self.evaluation.to_dict(),
            **{name: part and part.to_dict() for name, part in parts.items()},
            "notes": list(self.notes),
            "command": self.command,
            "versions": self.versions,
        }
