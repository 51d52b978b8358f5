"""What a scene's own pixels say of a model: how small a halo does, and how little precision.

A few small windows, always the same for a scene, go through the network in float32 with the exact halo; what is
cheaper is taken where it changes nothing that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.data.windows import read_windows
from geounet.engine.runtimes import NetworkSetup, prepared
from geounet.grid import Window
from geounet.models.model_file import fingerprint
from geounet.raster.identity import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.engine.compiled import Classifier
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

AGREEMENT = 0.999
"""Share of the class pixels that a lower precision must keep on the probed windows."""

SAMPLED_CORE = 192
"""Side in pixels of a probed core."""
# Eighths of the region's height and width: along its two diagonals, where no symmetry of the scene makes them alike.
_PROBED = ((1, 3), (3, 7), (5, 1), (7, 5))
_CALIBRATED = ((2, 6), (6, 2), (4, 4), (2, 2), (6, 6), (0, 4))


@dataclass(frozen=True, slots=True)
class Sample:
    """A probed window."""

    image: NDArray[np.float32]
    """(bands, height, width), normalised, with the exact halo around the core."""
    valid: NDArray[np.bool_]
    """(core, core), True where valid."""
    classes: NDArray[np.uint8]
    """(core, core): class indices, by the network in float32."""


def draw_samples(scene: Scene, setup: NetworkSetup, halo: int, region: Window | None = None) -> tuple[Sample, ...]:
    """Windows spread over the scene or a part of it, aligned to the stride, those without a valid pixel left out.

    Args:
        scene: whose pixels.
        setup: model, device and runtime of the network; what float32 gives is found by the same.
        halo: the exact one.
        region: the part; the whole by default.

    Raises:
        ModelError: the model file cannot be loaded.
        SceneError: the scene is damaged there.
    """
    side = SAMPLED_CORE + 2 * halo
    plain = replace(
        setup, precision="fp32", window=(side, side), halo=halo, probabilities=False, tta=False, quantized=None
    )
    return _drawn(scene, plain, f"{fingerprint(Path(setup.model))} {identity_of(scene.path)}", region or scene.extent)


# The last ones: the precision and the integers are both judged by them.
@lru_cache(maxsize=1)
def _drawn(scene: Scene, setup: NetworkSetup, _identity: str, region: Window) -> tuple[Sample, ...]:
    run, card = prepared(setup)
    found = probed_windows(scene, card, setup.halo, region)
    return tuple(Sample(image, valid, run(image)[0]) for image, valid in found)


def probed_windows(
    scene: Scene, card: ModelCard, halo: int, region: Window
) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Where :func:`draw_samples` looks: images (bands, height, width) with their halo, and the masks of their cores.

    Raises:
        SceneError: the scene is damaged there.
    """
    return list(_read(scene, card, _PROBED, halo, region))


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
    windows = [window.padded(halo) for window in _windows(region, card.stride, places)]
    inner = slice(halo, halo + SAMPLED_CORE)
    moments = [band.mean for band in card.bands], [band.std for band in card.bands]
    for image, seen in read_windows(scene, windows, *moments):
        valid = seen[inner, inner]
        if valid.any():
            yield image, valid


def _windows(region: Window, stride: int, shares: Sequence[tuple[int, int]]) -> list[Window]:
    """Cores that start at so many eighths of a region's height and width."""
    rows = [(region.row + region.height * row // 8) // stride * stride for row, _ in shares]
    cols = [(region.col + region.width * col // 8) // stride * stride for _, col in shares]
    return [Window(row, col, SAMPLED_CORE, SAMPLED_CORE) for row, col in zip(rows, cols, strict=True)]


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
    halo = (side[0] - SAMPLED_CORE) // 2
    cells = [
        (row, col) for row in range(0, shape[0] - height + 1, height) for col in range(0, shape[1] - width + 1, width)
    ]
    for start in range(0, len(samples), len(cells)):
        image, placed = np.zeros((bands, *shape), np.float32), []
        for sample, (row, col) in zip(samples[start : start + len(cells)], cells, strict=False):
            image[:, row : row + height, col : col + width] = sample.image[:, top : top + height, left : left + width]
            placed.append((sample, Window(row + halo - top, col + halo - left, SAMPLED_CORE, SAMPLED_CORE)))
        yield image, placed
