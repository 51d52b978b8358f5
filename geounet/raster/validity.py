"""Which pixels hold a measurement, by their values."""

from __future__ import annotations

import math
import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[Any]
    Mask = NDArray[np.bool_]


def valid_mask(stored: Values, nodata: Sequence[float | None]) -> Mask:
    """Which pixels hold a measurement.

    NaN or infinity in any band makes a pixel invalid, and so does a nodata value that is no possible measurement
    (signed and floating types). In unsigned types the nodata value is a possible measurement as well, a black shadow
    for instance, so there it counts only where all bands hold it, as in GDAL's dataset mask.

    Args:
        stored: `(bands, height, width)`, as in the file.
        nodata: the nodata value of each band, None where there is none.

    Returns:
        `(height, width)`, True where valid.
    """
    hits = (_equals(band, value) for band, value in zip(stored, nodata, strict=True))
    # Not by a ufunc's reduce, which would first lay all bands' hits out as one array.
    valid = reduce(operator.and_ if stored.dtype.kind == "u" else operator.or_, hits)
    np.logical_not(valid, out=valid)
    if stored.dtype.kind == "f":
        valid &= np.isfinite(stored).all(axis=0)
    return valid


def _equals(band: Values, value: float | None) -> Mask:
    if value is None or math.isnan(value):
        return np.zeros(band.shape, np.bool_)
    if band.dtype.kind == "f":
        return np.asarray(band == np.asarray(value).astype(band.dtype))
    info = np.iinfo(band.dtype)
    fits = float(value).is_integer() and info.min <= value <= info.max
    return np.asarray(band == band.dtype.type(value)) if fits else np.zeros(band.shape, np.bool_)
