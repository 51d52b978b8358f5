"""Test-time augmentation: the mean over the eight flips and rotations of a square window.

A square has eight symmetries (the dihedral group D4). The network sees each turned window, its probabilities are turned
back, and their mean is taken. A window that starts at a multiple of the stride, and whose side is one, still does so in
the turned scene, so each of the eight is as independent of the tiling as the network itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Estimator = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SYMMETRIES = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""Quarter turns, and whether the columns are mirrored before them; the first is the identity."""


def turned(array: NDArray[Any], quarters: int, mirrored: bool) -> NDArray[Any]:
    """A view of (..., height, width), its columns mirrored if wanted and then turned counterclockwise."""
    return np.rot90(array[..., ::-1] if mirrored else array, quarters, axes=(-2, -1))


def turned_back(array: NDArray[Any], quarters: int, mirrored: bool) -> NDArray[Any]:
    """The inverse of :func:`turned`."""
    upright = np.rot90(array, -quarters, axes=(-2, -1))
    return upright[..., ::-1] if mirrored else upright


def over_symmetries(estimate: Estimator) -> Estimator:
    """The mean of an estimator over the eight symmetries, always summed in the same order.

    Args:
        estimate: square images (bands, side, side) to probabilities (classes, core, core), in arrays of their own.
    """

    def mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
        total = estimate(image)
        for symmetry in SYMMETRIES[1:]:
            total += turned_back(estimate(np.ascontiguousarray(turned(image, *symmetry))), *symmetry)
        total /= np.float32(len(SYMMETRIES))
        return total

    return mean


def square_core(core: tuple[int, int], halo: int, height: int, width: int) -> tuple[int, int]:
    """The square core that a scene needs the fewest pixels of windows with: as high or as wide as `core`.

    A turned window must have the shape that the network was made ready for.

    Args:
        core: height and width of what is kept of a window.
        halo: pixels around it.
        height: of the scene.
        width: of the scene.
    """

    def pixels(side: int) -> int:
        return -(-height // side) * -(-width // side) * (side + 2 * halo) ** 2

    side = min(core, key=pixels)
    return side, side
