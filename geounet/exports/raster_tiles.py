"""Rasters as tiles, by GDAL: coloured ones in Web Mercator (MBTiles), and their own values in a GeoPackage."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.errors
import rasterio.shutil
import rasterio.windows
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geounet.errors import OutputError
from geounet.exports.pyramid import HALF, TILE, Zooms, box_of, resolution_at
from geounet.raster.scene import load_scene, opened, small_cache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass

_MERCATOR = "EPSG:3857"
_HIDDEN = 255
"""The stored value of pixels without data."""


def paint_of(legend: Sequence[LandClass]) -> NDArray[np.uint8]:
    """Red, green, blue and alpha of each stored value of a class raster, `(256, 4)`; what is no class is grey."""
    table = np.full((256, 4), (128, 128, 128, 255), np.uint8)
    for item in legend:
        table[item.value, :3] = item.rgb
    table[_HIDDEN] = 0
    return table


def grey_ramp() -> NDArray[np.uint8]:
    """The same for a confidence stored as 0 to 254: from black to white."""
    table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1)
    table[:, 3] = 255
    table[_HIDDEN] = 0
    return table


def write_mbtiles(path: Path, raster: Path, paint: NDArray[np.uint8], zooms: Zooms, name: str) -> None:
    """Write a raster of stored bytes as coloured tiles; by nearest pixels at each zoom level, so that none is mixed.

    Memory holds a row of tiles.

    Args:
        path: the file.
        raster: one band of uint8, in any CRS.
        paint: see :func:`paint_of`.
        zooms: levels of tiles.
        name: what the tiles are called.

    Raises:
        OutputError: the file cannot be written.
        SceneError: the raster cannot be read, or has no place; see :func:`geounet.exports.pyramid.box_of`.
    """
    scene = load_scene(raster)
    transform, height, width = _lattice(box_of(scene), zooms.most)
    about: dict[str, Any] = {"NAME": name, "TYPE": "overlay", "TILE_FORMAT": "PNG", "DESCRIPTION": raster.name}
    grid = {"crs": _MERCATOR, "transform": transform, "height": height, "width": width}
    try:
        with (
            small_cache(),
            opened(scene) as source,
            WarpedVRT(source, **grid, resampling=Resampling.nearest, nodata=_HIDDEN) as warped,
            rasterio.open(path, "w", driver="MBTiles", count=4, dtype="uint8", **grid, **about) as tiles,
        ):
            for row in range(0, height, TILE):
                window = rasterio.windows.Window(0, row, width, min(TILE, height - row))
                tiles.write(np.moveaxis(paint[warped.read(1, window=window)], -1, 0), window=window)
        if zooms.least < zooms.most:
            with small_cache(), rasterio.open(path, "r+") as tiles:
                tiles.build_overviews([2**step for step in range(1, zooms.most - zooms.least + 1)], Resampling.nearest)
    except rasterio.errors.RasterioError as error:
        raise OutputError(f"{path} cannot be written: {' '.join(str(error).split())}") from error


def _lattice(box: tuple[float, float, float, float], zoom: int) -> tuple[rasterio.Affine, int, int]:
    """Transform, rows and columns of the pixels of a zoom level that cover a box of degrees."""
    move = Transformer.from_crs("EPSG:4326", _MERCATOR, always_xy=True)
    side = resolution_at(zoom)
    (west, east), (south, north) = move.transform(box[::2], box[1::2])
    left, right = math.floor((west + HALF) / side), math.ceil((east + HALF) / side)
    top, bottom = math.floor((HALF - north) / side), math.ceil((HALF - south) / side)
    transform = rasterio.Affine(side, 0, left * side - HALF, 0, -side, HALF - top * side)
    return transform, max(bottom - top, 1), max(right - left, 1)


def write_geopackage_raster(path: Path, raster: Path, table: str) -> None:
    """Add a raster of stored bytes to a GeoPackage, or make one: on its own grid, values and palette as they are.

    Raises:
        OutputError: it cannot be written.
        SceneError: the raster cannot be read.
    """
    scene = load_scene(raster)
    try:
        with small_cache():
            _copy_as_table(raster, path, table)
        steps = [2**step for step in range(1, 12) if max(scene.height, scene.width) > TILE << (step - 1)]
        with small_cache(), rasterio.open(f"GPKG:{path}:{table}", "r+") as copy:
            copy.build_overviews(steps, Resampling.nearest)
    except rasterio.errors.RasterioError as error:
        raise OutputError(f"{path} cannot be written: {' '.join(str(error).split())}") from error


def _copy_as_table(raster: Path, path: Path, table: str) -> None:
    """GDAL names a table as the file, or, of one that is added, as its source; rasterio would ask in capitals."""
    named = path.with_name(f"{table}{raster.suffix}")
    try:
        named.symlink_to(raster.resolve())
    except OSError:  # a system without links
        shutil.copyfile(raster, named)
    if path.exists():
        rasterio.shutil.copy(named, path, driver="GPKG", TILE_FORMAT="PNG", APPEND_SUBDATASET="YES")
    else:
        alone = path.with_name(f"{table}.gpkg")
        rasterio.shutil.copy(named, alone, driver="GPKG", TILE_FORMAT="PNG")
        alone.replace(path)
    named.unlink()
