"""Class raster to polygons: tiles traced in parallel, joined over their seams, measured, written."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
from pyproj import CRS

from geounet import components, polygons
from geounet.class_raster import class_names, class_reader, load_class_raster, stored_reader
from geounet.errors import SceneError
from geounet.grid import Grid
from geounet.measures import measure
from geounet.outputs import check_output
from geounet.vector_io import check_format, write_vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.class_raster import ReadClasses, ReadStored
    from geounet.grid import Window
    from geounet.scene import Scene


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
            "class_name": class_names(scene)[found.classes],
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


def _load_confidence(path: Path, classes: Scene) -> Scene:
    scene = load_class_raster(path)
    shapes = (scene.height, scene.width), (classes.height, classes.width)
    if shapes[0] != shapes[1] or not scene.transform.almost_equals(classes.transform, 1e-6):
        raise SceneError(
            f"{path} ({shapes[0][0]} x {shapes[0][1]} pixels) does not lie on the grid of {classes.path} "
            f"({shapes[1][0]} x {shapes[1][1]} pixels); confidence needs the same shape and transform"
        )
    return scene


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
