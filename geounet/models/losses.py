"""Losses of semantic segmentation; labels that are ignored count in none of them.

All take logits (N, classes, H, W), labels (N, H, W) of class indices, and two weights that may be None: of the classes
(classes,) and of the pixels (N, H, W). A batch without a labelled pixel has a loss of 0 and a gradient of 0.

segmentation-models-pytorch 0.5 and 0.6 have losses of these names, and the tests compare with them where they mean the
same. Only Lovasz is theirs, because: their Dice and Tversky divide by all classes, those too that the batch has not;
their Jaccard knows no ignored label; their focal loss asks each class by itself with a sigmoid, while prediction is a
softmax, and is NaN for a batch without a label.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from geounet.errors import ModelError

Loss = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""Logits, labels, class weights, pixel weights to a scalar."""

IGNORE_INDEX = 255
"""Label of pixels that count in no loss and no metric."""

_SMOOTH = 0.5
_LEAST_PROBABILITY = 1 / 508
"""Half of the least that is stored as other than 0."""
_TERM = re.compile(r"(?:(?P<factor>\d+(?:\.\d+)?)\*)?(?P<name>[a-z]+)(?P<settings>(?::\d+(?:\.\d+)?)*)")


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
    *,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy over the labelled pixels.

    Args:
        logits: (N, classes, H, W).
        labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled.
        weights: (classes,), the weight of each class in the mean.
        pixel_weights: (N, H, W), a factor of each pixel's loss that the mean does not divide by, as in the UNet paper.
        smoothing: share of the label that all classes get alike (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567), as PyTorch counts it.
    """
    losses = F.cross_entropy(
        logits, labels, weights, ignore_index=IGNORE_INDEX, reduction="none", label_smoothing=smoothing
    )
    return _mean(losses, labels, weights, pixel_weights)


def distillation(logits: Tensor, soft: Tensor, temperature: float = 1.0, weights: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of a network's softened probabilities from a teacher's, times temperature squared.

    Hinton, Vinyals and Dean 2015 (https://arxiv.org/abs/1503.02531). A pixel counts by the teacher's confidence in it.

    Args:
        logits: (N, classes, H, W), the network's.
        soft: (N, classes, H, W), the teacher's probabilities; all 0 where it says nothing.
        temperature: by which the logits of both are divided, above 0.
        weights: (classes,): a pixel also counts by the mean of its classes' weights, as probable as the teacher takes
            them for. What is best of all stays the teacher's answer; but where a rare class may be is not left to the
            last, and a small network finds it too.
    """
    known = soft.sum(dim=1) > 0.5  # noqa: PLR2004 - probabilities add up to one
    softened = soft.clamp(min=_LEAST_PROBABILITY).pow(1 / temperature)
    softened = softened / softened.sum(dim=1, keepdim=True)
    divergence = F.kl_div((logits / temperature).log_softmax(dim=1), softened, reduction="none").sum(dim=1)
    pixels = soft.amax(dim=1) * known
    if weights is not None:
        pixels = pixels * torch.tensordot(soft, weights, dims=([1], [0]))
    return temperature**2 * (divergence * pixels).sum() / pixels.sum().clamp(min=_LEAST_PROBABILITY)


def focal(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,
    *,
    gamma: float = 2.0,
) -> Tensor:
    """Mean focal loss: cross-entropy times (1 - p) ** gamma, p the probability of the label.

    Lin et al. 2017 (https://arxiv.org/abs/1708.02002), with a softmax; arguments as of :func:`cross_entropy`.
    """
    plain = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    # At p = 1 the power's slope is infinite for gamma < 1.
    missing = (-torch.expm1(-plain)).clamp(min=torch.finfo(plain.dtype).tiny)
    losses = missing**gamma * plain
    if weights is not None:
        losses = losses * weights[labels.where(labels != IGNORE_INDEX, 0)]
    return _mean(losses, labels, weights, pixel_weights)


def _mean(losses: Tensor, labels: Tensor, weights: Tensor | None, pixel_weights: Tensor | None) -> Tensor:
    """Losses (N, H, W), 0 where unlabelled, over the labelled pixels or their class weights."""
    labelled = labels != IGNORE_INDEX
    total = labelled.sum() if weights is None else weights[labels[labelled]].sum()
    weighed = losses if pixel_weights is None else losses * pixel_weights
    # By hand: PyTorch's own mean is NaN for a batch without a labelled pixel.
    return weighed.sum() / total.clamp(min=torch.finfo(losses.dtype).tiny)


def tversky(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    pixel_weights: Tensor | None = None,  # noqa: ARG001 - it is a loss of regions, not of pixels
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
) -> Tensor:
    """One minus the mean soft Tversky index of the classes that the batch holds.

    The index is hits / (hits + alpha * false positives + beta * false negatives), each a sum of probabilities over the
    batch, with 0.5 added above and below. Salehi, Erdogmus and Gholipour 2017 (https://arxiv.org/abs/1706.05721).

    Args:
        logits: (N, classes, H, W).
        labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled.
        weights: (classes,), the weight of each class in the mean.
        pixel_weights: not used.
        alpha: of false positives.
        beta: of false negatives.
    """
    labelled = labels != IGNORE_INDEX
    indices = labels.where(labelled, 0)
    probabilities = logits.softmax(dim=1) * labelled.unsqueeze(1)
    predicted = probabilities.sum(dim=(0, 2, 3))
    # Without a one-hot copy of the labels: the probability of each pixel's own class, added up by class.
    own = probabilities.gather(1, indices.unsqueeze(1)).flatten()
    hits = torch.zeros_like(predicted).index_add(0, indices.flatten(), own)
    truth = torch.zeros_like(predicted).index_add(0, indices.flatten(), labelled.flatten().to(predicted))
    index = (hits + _SMOOTH) / (hits + alpha * (predicted - hits) + beta * (truth - hits) + _SMOOTH)
    return _mean_of_classes(1 - index, truth > 0, weights)


def _mean_of_classes(losses: Tensor, present: Tensor, weights: Tensor | None) -> Tensor:
    share = present.to(losses.dtype) * (1 if weights is None else weights)
    return (losses * share).sum() / share.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def dice(logits: Tensor, labels: Tensor, weights: Tensor | None = None, pixel_weights: Tensor | None = None) -> Tensor:
    """One minus the mean soft Dice coefficient: :func:`tversky` of 0.5 and 0.5.

    Milletari, Navab and Ahmadi 2016 (https://arxiv.org/abs/1606.04797), with plain sums in the denominator.
    """
    return tversky(logits, labels, weights, pixel_weights, alpha=0.5, beta=0.5)


def jaccard(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, pixel_weights: Tensor | None = None
) -> Tensor:
    """One minus the mean soft intersection over union: :func:`tversky` of 1 and 1.

    Rahman and Wang 2016 (https://doi.org/10.1007/978-3-319-50835-1_22).
    """
    return tversky(logits, labels, weights, pixel_weights, alpha=1.0, beta=1.0)


def lovasz(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,  # noqa: ARG001 - the classes that occur count alike
    pixel_weights: Tensor | None = None,  # noqa: ARG001 - it is a loss of regions, not of pixels
) -> Tensor:
    """The Lovasz-softmax loss, a convex surrogate of the mean IoU of the classes that the batch holds.

    Berman, Triki and Blaschko 2018 (https://arxiv.org/abs/1705.08790), by segmentation-models-pytorch.
    """
    from segmentation_models_pytorch.losses import LovaszLoss

    if not (labels != IGNORE_INDEX).any():
        return logits.sum() * 0  # where smp's result is no scalar
    value: Tensor = LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(logits, labels)
    return value


@dataclass(frozen=True, slots=True)
class _Kind:
    """One loss, as a term of a sum is made of it."""

    loss: Callable[..., Tensor]
    """The function."""
    settings: tuple[str, ...] = ()
    """Names of the numbers that may follow it, each after a colon."""
    by_pixel: bool = False
    """Whether class and pixel weights apply to it; losses of regions count all classes alike."""


KINDS = {
    "ce": _Kind(cross_entropy, by_pixel=True),
    "focal": _Kind(focal, ("gamma",), by_pixel=True),
    "dice": _Kind(dice),
    "jaccard": _Kind(jaccard),
    "lovasz": _Kind(lovasz),
    "tversky": _Kind(tversky, ("alpha", "beta")),
}
"""By the names of the command line."""


def build_loss(text: str, *, smoothing: float = 0.0) -> Loss:
    """The loss that a text names: terms joined by `+`, such as `ce+dice`, `focal:1.5`, `ce+0.5*tversky:0.3:0.7`.

    Class and pixel weights go to cross-entropy and focal; losses of regions count the classes that occur alike.

    Args:
        text: each term a name of KINDS, a factor before it, the settings behind it.
        smoothing: of the labels in cross-entropy.

    Raises:
        ModelError: the text names no loss, or none that could be weighed or smoothed as asked.
    """
    if not 0 <= smoothing < 1:
        raise ModelError(f"label smoothing lies between 0 and 1; given {smoothing:g}")
    terms = [_term(part.strip(), text, smoothing) for part in text.split("+")]

    def loss(logits: Tensor, labels: Tensor, weights: Tensor | None, pixel_weights: Tensor | None) -> Tensor:
        parts = [factor * one(logits, labels, weights, pixel_weights) for factor, one in terms]
        return torch.stack(parts).sum()

    return loss


def _term(part: str, text: str, smoothing: float) -> tuple[float, Loss]:
    match = _TERM.fullmatch(part)
    kind = KINDS.get(match["name"]) if match else None
    if match is None or kind is None:
        raise ModelError(
            f"there is no loss {part!r} (in {text!r}); known: {', '.join(KINDS)}, and sums such as ce+dice"
        )
    numbers = [float(number) for number in match["settings"].split(":")[1:]]
    if len(numbers) > len(kind.settings):
        known = f"up to {len(kind.settings)} ({', '.join(kind.settings)})" if kind.settings else "none"
        raise ModelError(f"loss {part!r} has {len(numbers)} numbers behind its name; {match['name']} takes {known}")
    settings = dict(zip(kind.settings, numbers, strict=False))
    if match["name"] == "ce" and smoothing:
        settings["smoothing"] = smoothing
    factor = float(match["factor"]) if match["factor"] else 1.0
    if not math.isfinite(factor) or factor <= 0:
        raise ModelError(f"loss {part!r} has a factor of {factor:g}; it must be above 0")
    return factor, partial(_weighed, kind, settings)


def _weighed(
    kind: _Kind,
    settings: dict[str, float],
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    pixel_weights: Tensor | None,
) -> Tensor:
    if kind.by_pixel:
        return kind.loss(logits, labels, weights, pixel_weights, **settings)
    return kind.loss(logits, labels, **settings)
