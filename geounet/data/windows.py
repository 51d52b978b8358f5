"""Windows of a scene as a network reads them, without PyTorch, which takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.raster.scene import Scene, opened, read_stored, scale_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.grid import Window

_AT_HAND = 1 << 15
"""Pixels that a processor's cache holds in all their forms."""


def read_windows(
    scene: Scene, windows: Iterable[Window], mean: Sequence[float], std: Sequence[float]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Images (bands, height, width), normalised, 0 where invalid, and their valid masks (height, width).

    Just what :class:`geounet.data.sampling.SceneDataset` gives. A window may reach beyond the scene and is continued by
    reflection there.

    Args:
        scene: what is read.
        windows: the windows, in the order in which they are given out.
        mean: of each band, in the unit of the scaled values.
        std: of each band.

    Raises:
        SceneError: the scene is damaged there.
    """
    planes = by_band(mean), by_band(std)
    with opened(scene) as dataset:
        for window in windows:
            stored, valid = read_stored(dataset, scene, window)
            yield normalised(stored, valid, scene, *planes), valid


def by_band(values: Sequence[float]) -> NDArray[np.float32]:
    """(bands, 1, 1)."""
    return np.asarray(values, np.float32)[:, None, None]


def normalised(
    stored: NDArray[Any], valid: NDArray[np.bool_], scene: Scene, mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Stored values in float32, normalised by band, 0 where invalid: some rows at a time, while they are at hand."""
    image = np.empty(stored.shape, np.float32)
    hidden = None if valid.all() else ~valid
    step = max(1, _AT_HAND // max(1, stored.shape[2]))
    for rows in (slice(row, row + step) for row in range(0, stored.shape[1], step)):
        part = image[:, rows]
        scale_into(part, stored[:, rows], scene)
        part -= mean
        part /= std
        if hidden is not None:
            np.copyto(part, 0, where=hidden[rows])
    return image
