"""Arrays put aside in a temporary file, compressed, and fetched again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fast both ways; class rasters shrink to a few percent of their size.
_CODEC = "lz4"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in the file."""

    offset: int
    """First byte."""
    length: int
    """Bytes."""
    shape: tuple[int, ...]
    """Of the array."""
    dtype: str
    """NumPy's name of its type."""


def put(file: BinaryIO, array: NDArray[Any]) -> Place:
    """Append an array."""
    packed = pa.compress(np.ascontiguousarray(array), codec=_CODEC, asbytes=True)
    offset = file.seek(0, 2)
    file.write(packed)
    return Place(offset, len(packed), array.shape, array.dtype.name)


def fetch(file: BinaryIO, place: Place) -> NDArray[Any]:
    """An array that was put there."""
    file.seek(place.offset)
    dtype = np.dtype(place.dtype)
    plain = pa.decompress(file.read(place.length), math.prod(place.shape) * dtype.itemsize, codec=_CODEC)
    return np.frombuffer(plain, dtype).reshape(place.shape)
