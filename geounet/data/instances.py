"""Instance maps, one number an object, as classes that a network learns: background, object, boundary.

Only pixels of an object near another one are boundary, as many as a watershed needs to tell the two apart, and never
background: the classes above 0 are exactly the objects' pixels. See docs/training.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from geounet.classes import LandClass

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

BACKGROUND, OBJECT, BOUNDARY = 0, 1, 2
"""Codes of the pixels of no object, of an object, and of an object beside another one."""
INSTANCE_CLASSES = (
    LandClass(BACKGROUND, "background", "#000000"),
    LandClass(OBJECT, "object", "#56b4e9"),
    LandClass(BOUNDARY, "boundary", "#e69f00"),
)
"""Their table."""
REACH = 2
"""Pixels, also diagonally, within which another object makes an object's pixel one of the boundary."""


def instance_codes(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Class codes of an instance map.

    A pixel's code depends on the pixels up to REACH rows and columns away.

    Args:
        ids: (height, width) integers, 0 where there is no object.

    Returns:
        (height, width), BACKGROUND where `ids` is 0; BOUNDARY where an object's pixel has another object within REACH;
        OBJECT elsewhere.
    """
    size = 2 * REACH + 1
    highest = ndimage.maximum_filter(ids, size, mode="nearest")
    no_object = np.where(ids == 0, np.iinfo(ids.dtype).max, ids)
    lowest = ndimage.minimum_filter(no_object, size, mode="nearest")
    codes = np.where((highest != ids) | (lowest != ids), BOUNDARY, OBJECT)
    return np.where(ids == 0, BACKGROUND, codes).astype(np.uint8)
