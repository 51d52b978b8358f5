"""How small a halo does for a network that looks far: measured on windows of the scene, by PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from geounet.engine.probe import SAMPLED_CORE, Sample
from geounet.models.cropping import Cropped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PROBABILITY_TOLERANCE = 1e-4
"""Largest change of a probability that a smaller halo may make on the probed windows, beside float32's rounding."""
_ROUNDING = 32 * 2.0**-23
"""Float32's rounding of a logit, as a share of the largest one: some dozens of units in its last place."""
_SMALLEST_HALO = 64


@dataclass(frozen=True, slots=True)
class Reference:
    """What the network says of a window with the exact halo."""

    image: NDArray[np.float32]
    """(bands, height, width), normalised, with the exact halo around the core."""
    probabilities: torch.Tensor
    """(classes, core, core), in float32 on the CPU."""
    rounding: float
    """How far another order of sums may move a probability: no further than it moves a logit."""


def refer(network: torch.nn.Module, image: NDArray[np.float32], halo: int) -> Reference:
    """The reference of a window (bands, core + 2 halo, core + 2 halo)."""
    logits = _logits(network, image, halo)
    return Reference(image, logits.softmax(dim=0), _ROUNDING * float(logits.abs().max()))


def measured_halo(
    windows: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]], network: torch.nn.Module, exact: int, stride: int
) -> tuple[int, tuple[Sample, ...]]:
    """The smallest halo that changes no class of the windows, and no probability by more than the tolerance.

    Args:
        windows: as :func:`geounet.engine.probe.probed_windows` gives them.
        network: in eval mode, on the CPU.
        exact: the halo around them.
        stride: the network's.

    Returns:
        The halo; and the windows as samples, for they are classified on the way.
    """
    references = [refer(network, image, exact) for image, _ in windows]
    samples = tuple(
        Sample(image, valid, found.probabilities.argmax(dim=0).to(torch.uint8).numpy())
        for (image, valid), found in zip(windows, references, strict=True)
    )
    return _smallest(references, network, exact, stride), samples


def _smallest(references: Sequence[Reference], network: torch.nn.Module, exact: int, stride: int) -> int:
    """Searched by halving, for the effect falls with the distance: on one window, then on the others from there."""
    halo = max(stride, _SMALLEST_HALO // stride * stride) if references else exact
    for reference in references:
        low, high = halo, exact
        # The first one's answer does for most of the others.
        middle = low if reference is not references[0] else (low + high) // 2 // stride * stride
        while low < high:
            if is_enough(reference, network, exact, middle):
                high = middle
            else:
                low = middle + stride
            middle = (low + high) // 2 // stride * stride
        halo = high
    return halo


def is_enough(reference: Reference, network: torch.nn.Module, exact: int, halo: int) -> bool:
    """Whether a halo does for a window."""
    cut = slice(exact - halo, exact + SAMPLED_CORE + halo)
    found = _logits(network, np.ascontiguousarray(reference.image[:, cut, cut]), halo).softmax(dim=0)
    best = reference.probabilities.topk(min(2, len(found)), dim=0).values
    # Rounding alone may turn a tie, on one kind of CPU and not on another.
    clear = best[0] - best[-1] > 2 * reference.rounding
    changed = (found.argmax(dim=0) != reference.probabilities.argmax(dim=0)) & clear
    furthest = float((found - reference.probabilities).abs().max())
    return not bool(changed.any()) and furthest < PROBABILITY_TOLERANCE + reference.rounding


def _logits(network: torch.nn.Module, image: NDArray[np.float32], halo: int) -> torch.Tensor:
    batch = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        logits: torch.Tensor = Cropped(network, halo)(batch)[0]
    return logits
