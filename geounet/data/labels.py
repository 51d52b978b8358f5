"""Labels: rasters or polygon files, brought onto an image's pixels as class codes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.raster.placement import bounds_of
from geounet.raster.scene import Scene, aligned, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.raster.burning import Outlines

    Codes = NDArray[np.uint8]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Polygons:
    """Labelled polygons on the pixels of the image they label."""

    path: str
    """Where they came from."""
    outlines: Outlines
    """Their edges and class codes, in the order in which they are burnt: the last one wins."""
    all_touched: bool = False
    """Whether a polygon labels all pixels that it shares some area with, not only those whose centre it holds."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and what labels it."""

    image: Scene
    """The image."""
    label: Scene | Polygons
    """A label raster on any grid, or polygons."""
    colors: tuple[tuple[tuple[int, int, int], int], ...] = ()
    """For a label picture in colour: which colour is which code."""
    indices: tuple[tuple[int, int], ...] = ()
    """For a palette picture: which index is which code; nothing where the index is the code."""
    background: int = NODATA
    """The code outside all polygons and label rasters; NODATA leaves it out of training."""
    ground: Outlines | None = None
    """Where a label raster lies on the image's pixels; None where it covers them all."""
    below: Pair | None = None
    """Another label of the same image, which counts where this one says nothing."""
    instances: bool = False
    """Whether a label raster numbers its objects instead of naming classes; see :mod:`geounet.data.instances`."""
    region: Window | None = None
    """The pixels of the image that this pair stands for; None for all."""

    @property
    def extent(self) -> Window:
        """The pixels that this pair stands for; beyond them it has no label."""
        return self.image.extent if self.region is None else self.region


def polygons_near(image: Scene, frame: Any, codes: NDArray[np.int64], path: Path | str, all_touched: bool) -> Polygons:
    """The polygons of a geopandas object in an image's CRS that meet it, on its pixels.

    Args:
        image: the image.
        frame: its shapes.
        codes: the class of each, -1 for no class; these are left out.
        path: where they come from.
        all_touched: see :class:`Polygons`.
    """
    from shapely.geometry import box

    from geounet.raster.burning import outlines

    near = np.sort(frame.sindex.query(box(*bounds_of(image)), predicate="intersects"))
    near = near[codes[near] >= 0]
    return Polygons(str(path), outlines(frame.geometry.array[near], codes[near], ~image.transform), all_touched)


def tell_unseen(unseen: int, polygons: int, path: Path | str) -> None:
    """Say how many polygons are too small to be seen on their images' pixels."""
    if unseen:
        _log.warning(
            "%d of %d polygons of %s are too small to hold a pixel's centre, and burn none; --all-touched burns them",
            unseen, polygons, path,
        )  # fmt: skip


def tell_unseen_of(labels: Iterable[Polygons]) -> None:
    """As :func:`tell_unseen`, of all files together."""
    looked_at = [label for label in labels if not label.all_touched]
    if looked_at:
        unseen = sum(label.outlines.without_centre for label in looked_at)
        tell_unseen(unseen, sum(label.outlines.codes.size for label in looked_at), looked_at[0].path)


def in_crs_of(image: Scene, frame: Any) -> Any:
    """The GeoDataFrame in the image's CRS; as it is where either has none."""
    return frame.to_crs(image.crs.to_wkt()) if image.crs is not None and frame.crs is not None else frame


def read_codes(pair: Pair, window: Window) -> Codes:
    """Class codes of a window of the pair's image, NODATA where there is no label or no image.

    Returns:
        `(height, width)` uint8.
    """
    inside = window.intersection(pair.extent)
    codes = np.full((window.height, window.width), NODATA, np.uint8)
    if inside.pixels:
        codes[inside.within(window)] = _labelled(pair, inside)
    return codes


def _labelled(pair: Pair, window: Window) -> Codes:
    """As :func:`read_codes`, of a window within the pair's extent."""
    codes = np.full((window.height, window.width), NODATA, np.uint8)
    bare = np.ones(codes.shape, np.bool_)
    part: Pair | None = pair
    while part is not None:
        found, covered = _of_one(part, window)
        np.copyto(codes, found, where=codes == NODATA)
        bare &= ~covered
        part = part.below
    codes[bare & (codes == NODATA)] = pair.background
    return codes


def _of_one(part: Pair, window: Window) -> tuple[Codes, NDArray[np.bool_]]:
    """Codes of one label alone, and what it speaks of: a raster's ground, also where that holds no code."""
    from geounet.raster.burning import burn

    label = part.label
    if isinstance(label, Polygons):
        codes = burn(label.outlines, window, NODATA, label.all_touched)
        return codes, codes != NODATA
    codes = _read(part, label, window)
    if part.ground is None:
        return codes, np.ones(codes.shape, np.bool_)
    return codes, burn(part.ground, window, 0) == 1


def _read(pair: Pair, label: Scene, window: Window) -> Codes:
    if pair.instances:
        return _read_instances(pair, label, window)
    with aligned(label, pair.image) as (dataset, scene):
        stored, valid = read_stored(dataset, scene, window)
    codes = _codes_of_colors(stored, pair.colors) if pair.colors else _codes_of_values(stored[0])
    if pair.indices:
        table = np.full(NODATA + 1, NODATA, np.uint8)
        table[[index for index, _code in pair.indices]] = [code for _index, code in pair.indices]
        codes = table[codes]
    return np.where(valid, codes, np.uint8(NODATA))


def _read_instances(pair: Pair, label: Scene, window: Window) -> Codes:
    from geounet.data.instances import REACH, instance_codes

    around = window.padded(REACH).intersection(pair.image.extent)
    with aligned(label, pair.image) as (dataset, scene):
        ids, valid = read_stored(dataset, scene, around)
    codes = np.where(valid, instance_codes(np.where(valid, ids[0], 0)), np.uint8(NODATA))
    return codes[window.within(around)]


def _codes_of_values(stored: NDArray[Any]) -> Codes:
    fits = (stored >= 0) & (stored < NODATA)
    return np.where(fits, stored, NODATA).astype(np.uint8)


def _codes_of_colors(stored: NDArray[Any], colors: Iterable[tuple[tuple[int, int, int], int]]) -> Codes:
    """Colours (3, height, width) to codes (height, width)."""
    codes = np.full(stored.shape[1:], NODATA, np.uint8)
    for rgb, code in colors:
        codes[(stored == np.array(rgb)[:, None, None]).all(axis=0)] = code
    return codes
