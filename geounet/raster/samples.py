"""A look at some of a raster's pixels: small windows spread over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.grid import Window
from geounet.raster.scene import opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from geounet.raster.scene import Scene

_PLACES = 4
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """Some pixels of a scene, as they are stored; of windows of 64 x 64 at 16 places, or all where there are no more.

    Neither the whole file nor its overviews are read: those may be means, of no data too.
    """

    pixels: NDArray[Any]
    """`(bands, pixels)`: the valid ones."""
    valid_share: float
    """Share of the pixels that are valid."""
    corners: NDArray[Any]
    """`(bands, up to 4)`: the valid ones of those in the corners."""
    alpha: NDArray[Any] | None
    """`(pixels,)`: what the alpha band holds, of valid pixels and others; None without one."""


def read_sample(scene: Scene, region: Window | None = None) -> Sample:
    """Look at a scene, always at the same places.

    Args:
        scene: the bands to read.
        region: the part over which the places are spread; the whole scene by default.

    Raises:
        SceneError: the scene is damaged there, or cannot be opened.
    """
    area = scene.extent if region is None else region
    windows = list(_spread(area))
    with opened(scene) as dataset:
        stored, valid = _read(dataset, scene, windows)
        corners, corners_valid = _read(dataset, scene, _corners(area))
        # An alpha band that GDAL adds to a scene that it warps says where the scene ends.
        of_file = scene.alpha is not None and scene.alpha <= scene.count
        alpha = _read(dataset, _alpha_of(scene), windows)[0][0] if of_file else None
    share = float(valid.mean()) if valid.size else 0.0
    return Sample(stored[:, valid], share, corners[:, corners_valid], alpha)


def _alpha_of(scene: Scene) -> Scene:
    """The alpha band as data."""
    band = (scene.alpha or 0,)
    return replace(scene, bands=band, band_names=("alpha",), nodata=(None,), scales=(1.0,), offsets=(0.0,), alpha=None)


def _read(dataset: Any, scene: Scene, windows: Iterable[Window]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values `(bands, pixels)` as stored, and which of the pixels are valid."""
    parts = [read_stored(dataset, scene, window) for window in windows]
    stored = np.concatenate([values.reshape(len(values), -1) for values, _valid in parts], axis=1)
    return stored, np.concatenate([valid.ravel() for _values, valid in parts])


def _corners(area: Window) -> Iterator[Window]:
    for row in (area.row, area.row_stop - 1):
        for col in (area.col, area.col_stop - 1):
            yield Window(row, col, 1, 1)


def _spread(area: Window) -> Iterator[Window]:
    for row, height in _starts(area.row, area.height):
        for col, width in _starts(area.col, area.width):
            yield Window(row, col, height, width)


def _starts(first: int, length: int) -> list[tuple[int, int]]:
    """Where windows start along one side, and how long they are."""
    if length <= _PLACES * _SIDE:
        return [(first, length)]
    return [(first + (length - _SIDE) * place // (_PLACES - 1), _SIDE) for place in range(_PLACES)]
