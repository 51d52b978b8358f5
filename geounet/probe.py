"""What a scene's own pixels say of a model: how small a halo does, and how little precision.

A few small windows, always the same for a scene, go through the network in float32 with the exact halo; what is
cheaper is taken where it changes nothing that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from geounet.devices import faster_precision
from geounet.grid import Window
from geounet.runtimes import make_classifier
from geounet.sampling import SceneDataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.models.model_file import ModelCard
    from geounet.scene import Scene

PROBABILITY_TOLERANCE = 1e-4
"""Largest change of a probability that a smaller halo may make on the probed windows."""
AGREEMENT = 0.999
"""Share of the class pixels that a lower precision must keep on the probed windows."""

_CORE = 192
_SAMPLES = 4
_SMALLEST_HALO = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """A probed window."""

    image: NDArray[np.float32]
    """(bands, height, width), normalised, with the exact halo around the core."""
    valid: NDArray[np.bool_]
    """(core, core), True where valid."""
    probabilities: torch.Tensor
    """(classes, core, core), by the network in float32 on the CPU."""


def draw_samples(scene: Scene, card: ModelCard, network: torch.nn.Module, halo: int) -> tuple[Sample, ...]:
    """Windows spread over the scene, aligned to the stride, those without a valid pixel left out.

    Args:
        scene: whose pixels.
        card: the model's normalisation and stride.
        network: in eval mode on the CPU.
        halo: the exact one.
    """
    dataset = SceneDataset([scene], [band.mean for band in card.bands], [band.std for band in card.bands])
    samples = []
    for window in _places(scene, card.stride):
        sample = dataset[dataset.query(0, window.padded(halo))]
        inner = slice(halo, halo + _CORE)
        valid = sample["valid"].numpy()[inner, inner]
        if valid.any():
            image = sample["image"].numpy()
            samples.append(Sample(image, valid, _probabilities(network, image, halo)))
    return tuple(samples)


def _places(scene: Scene, stride: int) -> list[Window]:
    """Cores along the scene's two diagonals, at odd eighths, which no symmetry of the scene makes alike."""
    shares = ((1, 3), (3, 7), (5, 1), (7, 5))[:_SAMPLES]
    rows = [scene.height * row // 8 // stride * stride for row, _ in shares]
    cols = [scene.width * col // 8 // stride * stride for _, col in shares]
    return [Window(row, col, _CORE, _CORE) for row, col in zip(rows, cols, strict=True)]


def _probabilities(network: torch.nn.Module, image: NDArray[np.float32], halo: int) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = network(torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last))[0]
    return logits[:, halo : halo + _CORE, halo : halo + _CORE].softmax(dim=0)


def smallest_halo(samples: Sequence[Sample], network: torch.nn.Module, exact: int, stride: int) -> int:
    """The smallest halo that changes no class of the samples, and no probability by more than the tolerance.

    Searched by halving, for the effect falls with the distance.
    """
    low, high = max(stride, _SMALLEST_HALO // stride * stride), exact
    if not samples:
        return exact
    while low < high:
        middle = (low + high) // 2 // stride * stride
        if all(_is_enough(sample, network, exact, middle) for sample in samples):
            high = middle
        else:
            low = middle + stride
    return high


def _is_enough(sample: Sample, network: torch.nn.Module, exact: int, halo: int) -> bool:
    cut = slice(exact - halo, exact + _CORE + halo)
    found = _probabilities(network, np.ascontiguousarray(sample.image[:, cut, cut]), halo)
    same = torch.equal(found.argmax(dim=0), sample.probabilities.argmax(dim=0))
    return same and float((found - sample.probabilities).abs().max()) < PROBABILITY_TOLERANCE


def choose_precision(
    samples: Sequence[Sample], network: torch.nn.Module, halo: int, *, runtime: str, device: str, threads: int
) -> tuple[str, float]:
    """The fastest precision that keeps the class of enough pixels, and the share that it keeps.

    Args:
        samples: with a halo of `halo`.
        network: in eval mode on the CPU.
        halo: of the samples.
        runtime: `torch` or `openvino`.
        device: where prediction will run.
        threads: CPU threads.

    Returns:
        A key of :data:`geounet.devices.PRECISIONS`, and its agreement with float32 on the samples.
    """
    candidate = faster_precision(torch.device(device))
    if candidate is None or not samples:
        return "fp32", 1.0
    share = agreement(samples, network, halo, candidate, runtime=runtime, device=device, threads=threads)
    return (candidate, share) if share >= AGREEMENT else ("fp32", 1.0)


def agreement(
    samples: Sequence[Sample],
    network: torch.nn.Module,
    halo: int,
    precision: str,
    *,
    runtime: str,
    device: str,
    threads: int,
) -> float:
    """Share of the samples' valid pixels to which a precision gives the class that float32 gives them."""
    shape = samples[0].image.shape
    run = make_classifier(network, shape, halo, runtime=runtime, device=device, precision=precision, threads=threads)
    equal = valid = 0
    for sample in samples:
        same = run(sample.image)[0] == sample.probabilities.argmax(dim=0).numpy()
        equal, valid = equal + int(same[sample.valid].sum()), valid + int(sample.valid.sum())
    return equal / valid
