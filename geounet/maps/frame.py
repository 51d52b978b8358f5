"""The grid of a map: a CRS, and a lattice of pixels that most of its products lie on already."""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.errors import CRSError
from rasterio.warp import calculate_default_transform

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.placement import bounds_of, outline_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.maps.layers import LayerOf
    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)
_NEAR = 1e-3
"""Pixels by which lattices may be apart and are one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The grid of a map."""

    crs: rasterio.CRS
    """Its coordinate reference system."""
    transform: Affine
    """From (column, row) to coordinates, north up."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    @property
    def extent(self) -> Window:
        """All of it."""
        return Window(0, 0, self.height, self.width)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where corners of pixels lie: at whole numbers of pixels from a phase."""

    across: float
    """Width of a pixel in the CRS's units."""
    down: float
    """Height of a pixel."""
    phase_x: float
    """Where the corner of column 0 lies."""
    phase_y: float
    """Where the corner of row 0 lies; rows run southward from there."""

    def frame(self, crs: rasterio.CRS, area: Window) -> Frame:
        """Some of its pixels, by their rows and columns on it."""
        corner = Affine(self.across, 0, self.phase_x + area.col * self.across,
                        0, -self.down, self.phase_y - area.row * self.down)  # fmt: skip
        return Frame(crs, corner, area.height, area.width)

    def around(self, scenes: Sequence[Scene], crs: rasterio.CRS) -> Window:
        """Rows and columns on which scenes find room.

        Raises:
            SceneError: a scene cannot be brought to the CRS.
        """
        west, south, east, north = _bounds(scenes, crs)
        left = math.floor((west - self.phase_x) / self.across + _NEAR)
        right = math.ceil((east - self.phase_x) / self.across - _NEAR)
        top = math.floor((self.phase_y - north) / self.down + _NEAR)
        bottom = math.ceil((self.phase_y - south) / self.down - _NEAR)
        return Window(top, left, bottom - top, right - left)


def lattice_for(
    layers: Sequence[LayerOf], crs: str = "auto", resolution: float | None = None
) -> tuple[rasterio.CRS, Lattice]:
    """The CRS of a map, and the lattice that most pixels lie on; see :func:`frame_for`."""
    scenes = [layer.classes for layer in layers]
    chosen = _most(scenes) if crs == "auto" else _parsed(crs)
    own = [scene for scene in scenes if scene.crs == chosen]
    return chosen, _lattice(scenes, own, chosen, resolution)


def frame_for(layers: Sequence[LayerOf], crs: str = "auto", resolution: float | None = None) -> Frame:
    """The grid on which all products find room.

    Args:
        layers: the products.
        crs: `auto` for the one that most of their pixels have, or what GDAL understands, such as `EPSG:3035`.
        resolution: side of a pixel in the CRS's units; None for the products' own.

    Raises:
        SceneError: there is no such CRS, or a product cannot be brought to it.
    """
    chosen, lattice = lattice_for(layers, crs, resolution)
    scenes = [layer.classes for layer in layers]
    frame = lattice.frame(chosen, lattice.around(scenes, chosen))
    others = sum(offset_on(scene, frame) is None for scene in scenes)
    if others:
        _log.warning(
            "%d of %d products are on other grids than the map's (%s, pixels of %g): resampled by nearest pixels",
            others, len(scenes), CRS.from_wkt(chosen.to_wkt()).name, lattice.across,
        )  # fmt: skip
    return frame


def _parsed(text: str) -> rasterio.CRS:
    try:
        return rasterio.CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise SceneError(f"{text!r} is no CRS; give auto, or one such as EPSG:3035") from error


def _most(scenes: Sequence[Scene]) -> rasterio.CRS:
    """The CRS that most pixels have; of several the first by name."""
    counts: Counter[str] = Counter()
    for scene in scenes:
        if scene.crs is not None:
            counts[scene.crs.to_wkt()] += scene.extent.pixels
    return rasterio.CRS.from_wkt(min(counts, key=lambda wkt: (-counts[wkt], wkt)))


def _lattice(scenes: Sequence[Scene], own: Sequence[Scene], crs: rasterio.CRS, resolution: float | None) -> Lattice:
    """The lattice that most pixels of this CRS lie on; where there is none, pixels of the finest product's size."""
    counts: Counter[Lattice] = Counter()
    for scene in own:
        if resolution is None and scene.rectilinear:
            counts[_lattice_of(scene.transform)] += scene.extent.pixels
    if counts:
        return min(counts, key=lambda one: (-counts[one], one.across, one.down, one.phase_x, one.phase_y))
    if resolution is None:
        sizes = [_size_in(scene, crs) for scene in scenes]
        resolution = float(f"{min(sizes):.4g}")
    return Lattice(resolution, resolution, 0.0, 0.0)


def _lattice_of(transform: Affine) -> Lattice:
    across, down = abs(transform.a), abs(transform.e)
    return Lattice(across, down, _phase(transform.c, across), _phase(transform.f, down))


def _phase(start: float, step: float) -> float:
    """Where a lattice's corners lie, from 0 on, to a thousandth of a pixel."""
    pixels = (start / step) % 1.0
    return (round(pixels / _NEAR) * _NEAR) % 1.0 * step


def _size_in(scene: Scene, crs: rasterio.CRS) -> float:
    """Side of the scene's pixels in the units of a CRS."""
    mine: Any = scene.crs
    if mine.is_projected and crs.is_projected and mine.linear_units == crs.linear_units:
        return float(math.hypot(scene.transform.a, scene.transform.d))
    transform, _, _ = calculate_default_transform(mine, crs, scene.width, scene.height, *bounds_of(scene))
    return abs(float(transform.a))


def _bounds(scenes: Sequence[Scene], crs: rasterio.CRS) -> tuple[float, float, float, float]:
    boxes = [_box(scene, crs) for scene in scenes]
    west, south = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return west, south, max(box[2] for box in boxes), max(box[3] for box in boxes)


def _box(scene: Scene, crs: rasterio.CRS) -> tuple[float, float, float, float]:
    """What a scene covers, a pixel more on each side where its edges are no straight lines of the CRS.

    Raises:
        SceneError: it cannot be brought there.
    """
    if scene.crs == crs:
        return bounds_of(scene)
    outline = outline_of(scene, CRS.from_wkt(crs.to_wkt()))
    if outline.is_empty:
        raise SceneError(f"{scene.label} cannot be brought to {CRS.from_wkt(crs.to_wkt()).name}; name another --crs")
    west, south, east, north = outline.bounds
    slack = max(east - west, north - south) / max(scene.height, scene.width)
    return west - slack, south - slack, east + slack, north + slack


def offset_on(scene: Scene, frame: Frame) -> tuple[int, int] | None:
    """Row and column of the frame where a scene's first pixel lies; None where its pixels are not the frame's."""
    if scene.crs != frame.crs:
        return None
    between = ~frame.transform @ scene.transform
    turned = abs(between.b) + abs(between.d)
    stretched = max(abs(between.a - 1) * scene.width, abs(between.e - 1) * scene.height)
    row, col = round(between.f), round(between.c)
    if turned > 0 or stretched > 2 * _NEAR or max(abs(between.f - row), abs(between.c - col)) > 2 * _NEAR:
        return None
    return row, col
