"""The weight map of the UNet paper: pixels in the narrow gaps between objects count for more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cc3d
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NEGLIGIBLE = 1e-3


def boundary_weights(
    labels: NDArray[np.integer[Any]], classes: Sequence[int], *, height: float = 10.0, sigma: float = 5.0
) -> NDArray[np.float32]:
    """A factor for each pixel's loss: 1 + height * exp(-(d1 + d2)**2 / (2 sigma**2)).

    d1 and d2 are the distances to the nearest and the second nearest object, as in Ronneberger, Fischer and Brox 2015
    (https://arxiv.org/abs/1505.04597), equation 2. An object is a component (4 neighbours) of a class; what lies
    between two objects of one class counts, be it ground or a class of boundaries, and of several classes the narrowest
    gap. The paper's w_c are class weights, which the loss applies by itself. Terms below a thousandth are left out.

    Args:
        labels: (H, W) class indices; others than `classes` are no objects.
        classes: those whose components are objects.
        height: the paper's w_0, at least 0.
        sigma: in pixels, above 0.
    """
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(_NEGLIGIBLE)))
    gap = np.full(labels.shape, np.inf, np.float32)
    for value in classes:
        inside = labels == value
        both = _two_distances(inside, reach).sum(axis=0)
        gap = np.where(inside, gap, np.minimum(gap, both))
    weights: NDArray[np.float32] = (1 + height * np.exp(-(gap**2) / (2 * sigma**2))).astype(np.float32)
    return weights


def _two_distances(inside: NDArray[np.bool_], reach: int) -> NDArray[np.float32]:
    """Distances (2, H, W) to the nearest two components, in pixels; infinite beyond `reach`."""
    components = cc3d.connected_components(inside.astype(np.uint8), connectivity=4)
    nearest = np.full((2, *inside.shape), np.inf, np.float32)
    for number, place in enumerate(ndimage.find_objects(components), 1):
        around = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in place)
        distance = ndimage.distance_transform_edt(components[around] != number).astype(np.float32)
        distance[distance > reach] = np.inf
        first, second = nearest[0][around], nearest[1][around]
        # In place: what is farther than the first may still be nearer than the second.
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    return nearest
