"""The sentence: a scene becomes tiles, tiles one raster, the raster components, and components polygons."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
from pyproj import CRS

from geounet import clean as cleaning
from geounet import components, polygons
from geounet.classes import NODATA, default_class
from geounet.cog import CLASSES_TAG, RasterProfile, classes_of, write_cog
from geounet.errors import LabelError, SceneError
from geounet.grid import Grid
from geounet.measures import measure
from geounet.outputs import check_output
from geounet.scene import load_scene, opened, read_stored
from geounet.vector_io import check_format, write_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.scene import Scene

    ReadClasses = Callable[[Window], NDArray[np.uint8]]
    ReadStored = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class VectorSummary:
    """What came of vectorising a raster."""

    polygons: int
    """Polygons written."""
    pixels: int
    """Pixels they cover."""
    area_ha: float
    """Hectares they cover; NaN without a CRS."""


def vectorize(
    raster: Path,
    out: Path,
    *,
    confidence: Path | None = None,
    min_area: float = 0.0,
    connectivity: int = 4,
    tile_size: int = 2048,
    overwrite: bool = False,
) -> VectorSummary:
    """Write the polygons of a class raster: :func:`polygon_frame` to a file, see :mod:`geounet.vector_io`.

    Raises:
        SceneError: a raster cannot be read, or the confidence does not fit the classes.
        LabelError: the raster holds values that are no classes.
        OutputError: `out` exists, cannot be written, or has an unknown ending.
    """
    check_format(out)
    check_output(out, overwrite)
    frame = polygon_frame(
        raster, confidence=confidence, min_area=min_area, connectivity=connectivity, tile_size=tile_size
    )
    write_vectors(frame, out, overwrite)
    area = float(frame["area_ha"].sum(skipna=False))
    return VectorSummary(len(frame), int(frame["pixels"].sum()), area)


def polygon_frame(
    raster: Path,
    *,
    confidence: Path | None = None,
    min_area: float = 0.0,
    connectivity: int = 4,
    tile_size: int = 2048,
) -> gpd.GeoDataFrame:
    """The polygons of a class raster, the same whatever the tile size.

    Args:
        raster: one band of whole numbers from 0 to 254; nodata belongs to no polygon.
        confidence: a raster on the same grid with a probability for each pixel: stored integers times the band's
            scale, or divided by 254 where an 8-bit band states no scale.
        min_area: polygons of fewer hectares are left out.
        connectivity: 4 joins pixels that share a side, 8 also those that share a corner (multipolygons).
        tile_size: rows and columns worked on at once.

    Returns:
        One row a connected component, in raster order of their first pixels: `id` (from 1, counted after
        `min_area`), `class`, `class_name`, `pixels`, `area_ha`, `perimeter_m` (both on the ellipsoid, NaN without a
        CRS), `confidence` (mean probability, NaN where there is none) and `geometry`.

    Raises:
        SceneError: a raster cannot be read, the confidence does not fit the classes, or there is a minimum area but
            no CRS.
        LabelError: the raster holds values that are no classes.
    """
    scene = load_class_raster(raster)
    if min_area > 0 and scene.crs is None:
        raise SceneError(f"{raster} has no CRS, so there are no hectares; leave the minimum area of {min_area} ha out")
    doubt = None if confidence is None else _load_confidence(confidence, scene)
    found, means = _trace(scene, doubt, connectivity, tile_size)
    crs = None if scene.crs is None else CRS.from_wkt(scene.crs.to_wkt())
    area, perimeter = measure(found.geometry, crs)
    frame = gpd.GeoDataFrame(
        {
            "class": found.classes,
            "class_name": _class_names(raster)[found.classes],
            "pixels": found.pixels,
            "area_ha": area,
            "perimeter_m": perimeter,
            "confidence": means,
        },
        geometry=found.geometry,
        crs=crs,
    )
    if min_area > 0:
        frame = frame[frame["area_ha"] >= min_area].reset_index(drop=True)
    frame.insert(0, "id", np.arange(1, len(frame) + 1, dtype=np.int64))
    return frame


@dataclass(frozen=True, slots=True)
class CleanSummary:
    """What came of cleaning a raster."""

    changed: int
    """Pixels that have another class now."""
    valid: int
    """Pixels that have a class."""


def clean(
    raster: Path,
    out: Path,
    *,
    open_radius: int = 0,
    close_radius: int = 0,
    sieve: int = 0,
    fill_holes: int = 0,
    tile_size: int = 2048,
    overwrite: bool = False,
) -> CleanSummary:
    """Write a cleaned copy of a class raster, with its class table, colours, nodata and tags.

    The steps are those of :class:`geounet.clean.Cleaning`, in that order; the result is the same whatever the tile
    size.

    Raises:
        SceneError: the raster cannot be read.
        LabelError: it holds values that are no classes.
        OutputError: `out` exists or cannot be written.
    """
    check_output(out, overwrite)
    scene = load_class_raster(raster)
    steps = cleaning.Cleaning(open_radius, close_radius, sieve, fill_holes)
    changed = valid = 0
    with class_reader(scene) as read:

        def counted() -> Iterator[tuple[Window, NDArray[np.uint8]]]:
            nonlocal changed, valid
            for window, classes in cleaning.clean_tiles(read, scene.extent, steps, tile_size):
                before = read(window)
                changed += int((classes != before).sum())
                valid += int((before != NODATA).sum())
                yield window, _from_classes(classes, scene)[None]

        write_cog(out, _profile_of(scene, raster), counted())
    return CleanSummary(changed, valid)


def _nodata_of(scene: Scene) -> int | None:
    """The scene's own nodata value if a byte holds it, 255 if there is another or a mask, None if there is none."""
    value = scene.nodata[0]
    if value is None and not scene.has_mask and scene.alpha is None:
        return None
    whole = value is not None and 0 <= value <= NODATA and float(value).is_integer()
    return int(value) if whole and value is not None else NODATA


def _from_classes(classes: NDArray[np.uint8], scene: Scene) -> NDArray[np.uint8]:
    nodata = _nodata_of(scene)
    if nodata in (None, NODATA):
        return classes
    return np.where(classes == NODATA, np.uint8(nodata), classes)


def _profile_of(scene: Scene, raster: Path) -> RasterProfile:
    with opened(scene) as dataset:
        tags = {key: text for key, text in dataset.tags().items() if key != CLASSES_TAG}
    return RasterProfile(
        height=scene.height,
        width=scene.width,
        transform=scene.transform,
        crs=scene.crs,
        dtype="uint8",
        nodata=_nodata_of(scene),
        classes=classes_of(raster),
        names=scene.band_names,
        tags=tags,
    )


def _class_names(raster: Path) -> NDArray[Any]:
    """A name for each value from 0 to 254."""
    names = np.array([default_class(value).name for value in range(NODATA)], object)
    for item in classes_of(raster):
        names[item.value] = item.name
    return names


def load_class_raster(path: Path) -> Scene:
    """Describe a raster of one band.

    Raises:
        SceneError: it cannot be opened or has more bands.
    """
    scene = load_scene(path)
    if len(scene.bands) != 1:
        raise SceneError(f"{path} has {len(scene.bands)} bands; a class raster has one")
    return scene


def _load_confidence(path: Path, classes: Scene) -> Scene:
    scene = load_class_raster(path)
    shapes = (scene.height, scene.width), (classes.height, classes.width)
    if shapes[0] != shapes[1] or not scene.transform.almost_equals(classes.transform, 1e-6):
        raise SceneError(
            f"{path} ({shapes[0][0]} x {shapes[0][1]} pixels) does not lie on the grid of {classes.path} "
            f"({shapes[1][0]} x {shapes[1][1]} pixels); confidence needs the same shape and transform"
        )
    return scene


@contextmanager
def stored_reader(scene: Scene) -> Iterator[ReadStored]:
    """A function from a window to stored values and valid mask `(height, width)`, for any thread."""
    lock = Lock()
    with opened(scene) as dataset:

        def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
            with lock:
                stored, valid = read_stored(dataset, scene, window)
            return stored[0], valid

        yield read


@contextmanager
def class_reader(scene: Scene) -> Iterator[ReadClasses]:
    """A function from a window to its classes `(height, width)` in uint8: 255 for nodata and beyond the raster."""
    with stored_reader(scene) as read:

        def read_classes(window: Window) -> NDArray[np.uint8]:
            inner = window.intersection(scene.extent)
            classes = np.full((window.height, window.width), NODATA, np.uint8)
            classes[inner.within(window)] = _to_classes(*read(inner), scene.path)
            return classes

        yield read_classes


def _to_classes(stored: NDArray[Any], valid: NDArray[np.bool_], path: str) -> NDArray[np.uint8]:
    classes = np.where(valid, stored, NODATA)
    wrong = valid & ((classes < 0) | (classes >= NODATA) | (classes != np.trunc(classes)))
    if wrong.any():
        raise LabelError(
            f"{path} holds the value {classes[wrong][0]}; classes are whole numbers from 0 to 254, and 255 is for "
            "nodata: recode the raster, or declare the value as its nodata"
        )
    return classes.astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _TracedTile:
    """What is kept of a tile."""

    parts: components.TileComponents
    """Its 4-connected components."""
    groups: components.TileComponents | None
    """Its 8-connected components, if asked for."""
    group_of_part: NDArray[np.uint32]
    """For each 4-connected component the 8-connected one."""
    outlines: polygons.TileOutlines
    """The outlines of the 4-connected components."""
    sums: NDArray[np.int64]
    """For each label the sum and the number of its confidence values."""


def _trace(
    scene: Scene, confidence: Scene | None, connectivity: int, tile_size: int
) -> tuple[polygons.Polygons, NDArray[np.float64]]:
    """The polygons of a class raster and the mean confidence of each."""
    cores = [tile.core for tile in Grid(scene.extent, tile_size, tile_size).tiles()]
    doubts = nullcontext(None) if confidence is None else stored_reader(confidence)
    with class_reader(scene) as read, doubts as read_doubt, ThreadPoolExecutor(os.cpu_count()) as pool:
        tiles = list(pool.map(lambda core: _trace_tile(read, read_doubt, core, scene.width, connectivity), cores))
    tables = components.join([tile.parts for tile in tiles], scene.width)
    found = polygons.assemble([tile.outlines for tile in tiles], tables, scene.transform)
    groups = _groups(tiles, tables, scene.width, len(found.components))
    means = _means([tile.sums for tile in tiles], tables, groups, confidence)
    return (found if connectivity == 4 else polygons.gather_parts(found, groups)), means  # noqa: PLR2004


def _trace_tile(
    read: ReadClasses, read_doubt: ReadStored | None, core: Window, width: int, connectivity: int
) -> _TracedTile:
    classes = read(core.padded(1))
    inner = np.ascontiguousarray(classes[1:-1, 1:-1])
    labels = components.label_tile(inner)
    parts = components.summarize(labels, inner, core, width)
    groups, group_of_part = None, np.zeros(0, np.uint32)
    if connectivity == 8:  # noqa: PLR2004 - corners count
        wide = components.label_tile(inner, 8)
        groups = components.summarize(wide, inner, core, width)
        group_of_part = components.labels_at(wide, parts.first_places, core, width)
    return _TracedTile(
        parts=parts,
        groups=groups,
        group_of_part=group_of_part,
        outlines=polygons.outline_tile(classes, labels, core, width),
        sums=_sum_confidence(labels, parts.first_places.size, core, read_doubt),
    )


def _groups(tiles: list[_TracedTile], tables: list[NDArray[np.int64]], width: int, count: int) -> NDArray[np.int64]:
    """The polygon that each 4-connected component goes to: its 8-connected one, if asked for, else itself."""
    groups = np.arange(1, count + 1)
    wide = [tile.groups for tile in tiles if tile.groups is not None]
    for tile, table, numbers in zip(tiles, tables, components.join(wide, width, 8), strict=False):
        groups[table[1:] - 1] = numbers[tile.group_of_part]
    return groups


_FIXED_POINT = 2.0**30
"""Probabilities of floating type become integers of this scale, so that their sums do not depend on the tiling."""


def _sum_confidence(labels: NDArray[np.uint32], count: int, core: Window, read: ReadStored | None) -> NDArray[np.int64]:
    if read is None:
        return np.zeros((count + 1, 2), np.int64)
    stored, valid = read(core)
    if stored.dtype.kind == "f":
        stored = np.rint(np.where(valid, stored, 0) * _FIXED_POINT).astype(np.int64)
    return np.asarray(components.sum_by_label(labels, stored, valid, count))


def _means(
    sums: list[NDArray[np.int64]],
    tables: list[NDArray[np.int64]],
    groups: NDArray[np.int64],
    confidence: Scene | None,
) -> NDArray[np.float64]:
    """Mean confidence of each polygon, NaN where no pixel has one."""
    totals = np.zeros((groups.max(initial=0) + 1, 2), np.int64)
    polygon_of = np.append(0, groups)
    for part, table in zip(sums, tables, strict=True):
        np.add.at(totals, polygon_of[table], part)
    if confidence is None:
        return np.full(len(totals) - 1, np.nan)
    counts = totals[1:, 1]
    means = np.divide(totals[1:, 0], counts, out=np.full(counts.size, np.nan), where=counts > 0)
    return _to_probability(means, confidence)


def _to_probability(stored: NDArray[np.float64], confidence: Scene) -> NDArray[np.float64]:
    scale, offset = confidence.scales[0], confidence.offsets[0]
    if confidence.dtype == "uint8" and (scale, offset) == (1.0, 0.0):
        scale = 1 / 254
    if np.dtype(confidence.dtype).kind == "f":
        scale /= _FIXED_POINT
    means = stored * scale + offset
    if np.nanmax(means, initial=0.0) > 1 + 1e-6:
        raise SceneError(
            f"{confidence.path} reaches {np.nanmax(means):.6g}; probabilities lie between 0 and 1: set the band's scale"
        )
    return means
