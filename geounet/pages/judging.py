"""A student beside its teachers, on ground that it did not learn from: agreement, outlines, labels, speed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from geounet.classes import NODATA
from geounet.engine.cluster import usable_cores
from geounet.engine.runtimes import make_classifier, pick_runtime
from geounet.grid import round_up
from geounet.metrics.boundaries import BoundaryScores, boundary_counts
from geounet.metrics.pixels import Evaluation
from geounet.models.losses import IGNORE_INDEX
from geounet.models.model_file import load_model
from geounet.training.batches import ValidationBatches, dataset_of
from geounet.training.loop import confusion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from geounet.data.labels import Pair
    from geounet.models.model_file import ModelCard

DISTANCE = 2
"""Pixels from an outline that count as near it."""
_SIDE = 1024
_PASSES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """One side's classes beside a reference's."""

    pixels: Evaluation
    """By pixels."""
    boundary: BoundaryScores
    """By pixels near outlines."""


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A student and its teachers on ground that was held back."""

    agreement: Agreement
    """The student's classes beside the teachers'."""
    student: Agreement | None
    """The student's classes beside people's labels; None where there are none."""
    teacher: Agreement | None
    """The teachers' beside people's labels, on the same pixels."""


class _Counts:
    """What two maps have in common, window by window."""

    def __init__(self, card: ModelCard) -> None:
        self.classes = card.classes
        count = len(card.classes)
        self.matrix, self.bands = torch.zeros(count, count, dtype=torch.int64), np.zeros((3, NODATA), np.int64)

    def add(self, reference: Tensor, found: Tensor, core: tuple[slice, slice]) -> None:
        """Class indices (height, width), IGNORE_INDEX where there is none, and the part that counts."""
        self.matrix += confusion(found[core], reference[core], len(self.classes))
        known = (reference != IGNORE_INDEX) & (found != IGNORE_INDEX)
        one, other = (torch.where(known, side, NODATA).numpy().astype(np.uint8) for side in (reference, found))
        self.bands += boundary_counts(one, other, DISTANCE, core)

    @property
    def agreement(self) -> Agreement:
        bands: NDArray[np.int64] = self.bands[:, : len(self.classes)]
        return Agreement(Evaluation(self.classes, self.matrix.numpy()), BoundaryScores(self.classes, DISTANCE, *bands))


def judge(
    student: torch.nn.Module, card: ModelCard, pairs: Sequence[Pair], labels: Sequence[Pair | None]
) -> Judgement | None:
    """Compare a student with its teachers, and both with people's labels.

    Args:
        student: of the card, in eval mode, on the CPU.
        card: the student's.
        pairs: scenes with the teachers' classes, each within its extent.
        labels: of each pair people's labels, where there are any.

    Returns:
        None where there is no pair.
    """
    if not pairs:
        return None
    both, ours, theirs = (_Counts(card) for _ in range(3))
    for pair, label in zip(pairs, labels, strict=True):
        told, wanted = (
            ValidationBatches(dataset_of([side], card.bands, card.classes), card.stride)
            for side in (pair, label or pair)
        )
        for batch, other in zip(told, wanted, strict=True):
            core, taught = batch["core"], batch["mask"][0]
            with torch.inference_mode():
                found = student(batch["image"]).argmax(1)[0]
            both.add(taught, found, core)
            if label is not None:
                known = torch.where(taught != IGNORE_INDEX, other["mask"][0], IGNORE_INDEX)
                ours.add(known, found, core)
                theirs.add(known, torch.where(taught != IGNORE_INDEX, taught, 0), core)
    if not int(ours.matrix.sum()):
        return Judgement(both.agreement, None, None)
    return Judgement(both.agreement, ours.agreement, theirs.agreement)


def speed(model: Path) -> float:
    """Megapixels a second of a model's network on this machine's CPU, in float32, by the faster runtime there is."""
    network, card = load_model(model)
    side = round_up(_SIDE, card.stride)
    image = np.random.default_rng(0).standard_normal((len(card.bands), side, side), np.float32)
    run = make_classifier(
        network, (len(card.bands), side, side), 0, runtime=pick_runtime("auto", "cpu"), device="cpu",
        precision="fp32", threads=len(usable_cores()),
    )  # fmt: skip
    walls = []
    for _ in range(1 + _PASSES):
        start = time.perf_counter()
        run(image)
        walls.append(time.perf_counter() - start)
    return side**2 / 1e6 / statistics.median(walls[1:])
