"""Losses of semantic segmentation; labels that are ignored count in none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

IGNORE_INDEX = 255
"""Label of pixels that count in no loss and no metric."""

_SMOOTH = 1.0


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the labelled pixels, 0 where there is none.

    Args:
        logits: (N, classes, H, W).
        labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled.
        weights: (classes,), the weight of each class in the mean.
    """
    # By hand: PyTorch's own mean is NaN for a batch without a labelled pixel.
    losses = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE_INDEX, reduction="sum")
    labelled = labels != IGNORE_INDEX
    total = labelled.sum() if weights is None else weights[labels[labelled]].sum()
    return losses / total.clamp(min=torch.finfo(losses.dtype).tiny)


def dice(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """One minus the mean soft Dice coefficient of the classes that the batch holds.

    Milletari, Navab and Ahmadi 2016 (https://arxiv.org/abs/1606.04797), with plain sums in the denominator.

    Args:
        logits: (N, classes, H, W).
        labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled.
        weights: (classes,), the weight of each class in the mean.
    """
    labelled = (labels != IGNORE_INDEX).unsqueeze(1)
    probabilities = logits.softmax(dim=1) * labelled
    truth = F.one_hot(labels.where(labels != IGNORE_INDEX, 0), logits.shape[1]).movedim(-1, 1) * labelled
    axes = (0, 2, 3)
    truth_sum = truth.sum(axes)
    overlap = (probabilities * truth).sum(axes)
    coefficient = (2 * overlap + _SMOOTH) / (probabilities.sum(axes) + truth_sum + _SMOOTH)
    share = (truth_sum > 0).to(logits.dtype) * (1 if weights is None else weights)
    return ((1 - coefficient) * share).sum() / share.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def cross_entropy_dice(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The sum of both: weighted cross-entropy, and Dice over all classes alike."""
    return cross_entropy(logits, labels, weights) + dice(logits, labels)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "ce": cross_entropy,
    "dice": dice,
    "ce+dice": cross_entropy_dice,
}
"""By the names of the command line."""
