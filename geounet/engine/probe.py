"""What a scene's own pixels say of a model: how small a halo does, and how little precision.

A few small windows, always the same for a scene, go through the network in float32 with the exact halo; what is
cheaper is taken where it changes nothing that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from geounet.data.sampling import SceneDataset
from geounet.grid import Window
from geounet.models.cropping import Cropped
from geounet.models.model_file import fingerprint, load_model
from geounet.raster.identity import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.engine.runtimes import Classifier
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

PROBABILITY_TOLERANCE = 1e-4
"""Largest change of a probability that a smaller halo may make on the probed windows, beside float32's rounding."""
_ROUNDING = 32 * 2.0**-23
"""Float32's rounding of a logit, as a share of the largest one: some dozens of units in its last place."""
AGREEMENT = 0.999
"""Share of the class pixels that a lower precision must keep on the probed windows."""

_CORE = 192
# Eighths of the region's height and width: along its two diagonals, where no symmetry of the scene makes them alike.
_PROBED = ((1, 3), (3, 7), (5, 1), (7, 5))
_CALIBRATED = ((2, 6), (6, 2), (4, 4), (2, 2), (6, 6), (0, 4))
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
    rounding: float
    """How far another order of sums may move a probability: no further than it moves a logit."""

    @property
    def classes(self) -> NDArray[np.int64]:
        """(core, core): class indices."""
        return self.probabilities.argmax(dim=0).numpy()


def draw_samples(scene: Scene, model: Path, halo: int, region: Window | None = None) -> tuple[Sample, ...]:
    """Windows spread over the scene or a part of it, aligned to the stride, those without a valid pixel left out.

    Args:
        scene: whose pixels.
        model: the model file.
        halo: the exact one.
        region: the part; the whole by default.

    Raises:
        ModelError: the model file cannot be loaded.
        SceneError: the scene is damaged there.
    """
    return _drawn(
        scene, model.absolute(), f"{fingerprint(model)} {identity_of(scene.path)}", halo, region or scene.extent
    )


# The last ones: the halo, the precision and the integers are all judged by them.
@lru_cache(maxsize=1)
def _drawn(scene: Scene, model: Path, _identity: str, halo: int, region: Window) -> tuple[Sample, ...]:
    network, card = load_model(model)
    found = []
    for image, valid in _read(scene, card, _PROBED, halo, region):
        logits = _logits(network, image, halo)
        found.append(Sample(image, valid, logits.softmax(dim=0), _ROUNDING * float(logits.abs().max())))
    return tuple(found)


def draw_images(scene: Scene, card: ModelCard, halo: int) -> list[NDArray[np.float32]]:
    """Windows as :func:`draw_samples` draws them, (bands, height, width), at other places: to calibrate on.

    Where those hold no valid pixel, they are at the same places.
    """
    everywhere = scene.extent
    found = list(_read(scene, card, _CALIBRATED, halo, everywhere)) or list(
        _read(scene, card, _PROBED, halo, everywhere)
    )
    return [image for image, _ in found]


def _read(
    scene: Scene, card: ModelCard, places: Sequence[tuple[int, int]], halo: int, region: Window
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Windows with their halo, normalised, and the valid mask of their core, where that holds a valid pixel."""
    dataset = SceneDataset([scene], [band.mean for band in card.bands], [band.std for band in card.bands])
    inner = slice(halo, halo + _CORE)
    for window in _windows(region, card.stride, places):
        sample = dataset[dataset.query(0, window.padded(halo))]
        valid = sample["valid"].numpy()[inner, inner]
        if valid.any():
            yield sample["image"].numpy(), valid


def _windows(region: Window, stride: int, shares: Sequence[tuple[int, int]]) -> list[Window]:
    """Cores that start at so many eighths of a region's height and width."""
    rows = [(region.row + region.height * row // 8) // stride * stride for row, _ in shares]
    cols = [(region.col + region.width * col // 8) // stride * stride for _, col in shares]
    return [Window(row, col, _CORE, _CORE) for row, col in zip(rows, cols, strict=True)]


def _logits(network: torch.nn.Module, image: NDArray[np.float32], halo: int) -> torch.Tensor:
    batch = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        logits: torch.Tensor = Cropped(network, halo)(batch)[0]
    return logits


def smallest_halo(samples: Sequence[Sample], network: torch.nn.Module, exact: int, stride: int) -> int:
    """The smallest halo that changes no class of the samples, and no probability by more than the tolerance.

    Searched by halving, for the effect falls with the distance: on one sample, then on the others from there.
    """
    halo = max(stride, _SMALLEST_HALO // stride * stride) if samples else exact
    for sample in samples:
        low, high = halo, exact
        # The first sample's answer does for most of the others.
        middle = low if sample is not samples[0] else (low + high) // 2 // stride * stride
        while low < high:
            if _is_enough(sample, network, exact, middle):
                high = middle
            else:
                low = middle + stride
            middle = (low + high) // 2 // stride * stride
        halo = high
    return halo


def _is_enough(sample: Sample, network: torch.nn.Module, exact: int, halo: int) -> bool:
    cut = slice(exact - halo, exact + _CORE + halo)
    found = _logits(network, np.ascontiguousarray(sample.image[:, cut, cut]), halo).softmax(dim=0)
    best = sample.probabilities.topk(min(2, len(found)), dim=0).values
    # Rounding alone may turn a tie, on one kind of CPU and not on another.
    clear = best[0] - best[-1] > 2 * sample.rounding
    changed = (found.argmax(dim=0) != sample.probabilities.argmax(dim=0)) & clear
    furthest = float((found - sample.probabilities).abs().max())
    return not bool(changed.any()) and furthest < PROBABILITY_TOLERANCE + sample.rounding


def agreement(samples: Sequence[Sample], run: Classifier, shape: tuple[int, int], margin: int, stride: int) -> float:
    """Share of the samples' valid pixels to which a network made ready gives the class that float32 gives them.

    It is run as it will be, at its own window's size: the samples are laid side by side into windows, each with its
    halo around it, so that none sees another.

    Args:
        samples: where there is none, all agree.
        run: see :func:`geounet.engine.runtimes.make_classifier`.
        shape: height and width of its window.
        margin: pixels that it crops on each side.
        stride: the network's.
    """
    equal = valid = 0
    for image, placed in _sheets(samples, shape, stride):
        winner = run(image)[0]
        for sample, core in placed:
            kept = core.intersection(Window(0, 0, *shape).padded(-margin))
            same = winner[kept.within(Window(margin, margin, 0, 0))] == sample.classes[kept.within(core)]
            seen = sample.valid[kept.within(core)]
            equal, valid = equal + int(same[seen].sum()), valid + int(seen.sum())
    return equal / valid if valid else 1.0


def _sheets(
    samples: Sequence[Sample], shape: tuple[int, int], stride: int
) -> Iterator[tuple[NDArray[np.float32], list[tuple[Sample, Window]]]]:
    """Windows (bands, *shape) filled with samples, and where in them each sample's core lies."""
    if not samples:
        return
    bands, *side = samples[0].image.shape
    # A sample larger than the window loses the outer parts of its halo.
    height, width = (min(length, room) for length, room in zip(side, shape, strict=True))
    top, left = (side[0] - height) // 2 // stride * stride, (side[1] - width) // 2 // stride * stride
    halo = (side[0] - _CORE) // 2
    cells = [
        (row, col) for row in range(0, shape[0] - height + 1, height) for col in range(0, shape[1] - width + 1, width)
    ]
    for start in range(0, len(samples), len(cells)):
        image, placed = np.zeros((bands, *shape), np.float32), []
        for sample, (row, col) in zip(samples[start : start + len(cells)], cells, strict=False):
            image[:, row : row + height, col : col + width] = sample.image[:, top : top + height, left : left + width]
            placed.append((sample, Window(row + halo - top, col + halo - left, _CORE, _CORE)))
        yield image, placed
