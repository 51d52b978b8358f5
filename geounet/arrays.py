"""The face for analysis: scenes and class rasters as Dask-backed xarray DataArrays.

With CRS and transform where rioxarray's accessor finds them (`array.rio.crs`, `array.rio.transform()`). For windows
by the thousand :mod:`geounet.raster.scene` is the faster way.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import SceneError
from geounet.grid import Grid
from geounet.raster.cog import classes_of
from geounet.raster.scene import load_scene, opened, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import xarray

    from geounet.grid import Window
    from geounet.raster.scene import Scene


def open_scene(path: str | Path, bands: Sequence[int] | None = None, chunk_size: int = 1024) -> xarray.DataArray:
    """A scene as `(band, y, x)` float32, scaled to what it measures and NaN where invalid; read when computed.

    Args:
        path: anything GDAL opens.
        bands: the bands to read, from 1; all but alpha by default.
        chunk_size: side of a chunk in pixels.

    Raises:
        SceneError: it cannot be opened.
    """
    scene = load_scene(path, bands)
    array: xarray.DataArray = _labelled(scene, _chunks(scene, chunk_size)).rio.write_nodata(np.nan, encoded=False)
    return array


def class_array(path: str | Path, chunk_size: int = 1024) -> xarray.DataArray:
    """A class raster as `(y, x)` uint8, 255 where nodata, with its class table in the attributes.

    `attrs["class_values"]`, `attrs["class_names"]` and `attrs["class_colors"]` run in parallel.

    Args:
        path: the class raster.
        chunk_size: side of a chunk in pixels.

    Raises:
        SceneError: it cannot be opened, or is no raster of one 8-bit band.
    """
    scene = load_scene(path)
    if scene.dtype != "uint8" or len(scene.bands) != 1:
        raise SceneError(f"{path} has {len(scene.bands)} band(s) of {scene.dtype}; a class raster has one of uint8")
    array = _labelled(scene, _chunks(scene, chunk_size))[0].drop_vars("band")
    classes = classes_of(path)
    codes: xarray.DataArray = array.fillna(255).astype(np.uint8).rename("class").rio.write_nodata(255)
    return codes.assign_attrs(
        class_values=[item.value for item in classes],
        class_names=[item.name for item in classes],
        class_colors=[item.color for item in classes],
    )


@contextmanager
def on_disk(scene: str | Path | xarray.DataArray) -> Iterator[str | Path]:
    """The name of a scene's file; an array is written to one that is there as long as the block lasts.

    Args:
        scene: a name; or an array `(band, y, x)` as :func:`open_scene` gives, with whatever was done to it since: its
            numbers as they are, its bands by their names, NaN where invalid.
    """
    if isinstance(scene, (str, Path)):
        yield scene
        return
    import rioxarray  # noqa: F401 - registers the accessor

    with tempfile.TemporaryDirectory(prefix="geounet-") as folder:
        path = Path(folder, f"{scene.name or 'scene'}.tif")
        names = tuple(str(name) for name in scene["band"].values)
        named = scene.assign_attrs(long_name=names).rio.write_nodata(np.nan, encoded=False)
        named.rio.to_raster(path, tiled=True, windowed=True, bigtiff="IF_SAFER")
        yield path


def _chunks(scene: Scene, chunk_size: int) -> Any:
    """The scene as a Dask array (bands, height, width), a task a chunk."""
    import dask.array

    def block(window: Window) -> Any:
        shape = (len(scene.bands), window.height, window.width)
        return dask.array.from_delayed(dask.delayed(_read)(scene, window), shape, np.float32)

    tiles = [tile.core for tile in Grid(scene.extent, chunk_size, chunk_size).tiles()]
    rows = sorted({window.row for window in tiles})
    return dask.array.block([[block(window) for window in tiles if window.row == row] for row in rows])


def _read(scene: Scene, window: Window) -> Any:
    with opened(scene) as dataset:
        values, valid = read(dataset, scene, window)
    return np.where(valid, values, np.float32(np.nan))


def _labelled(scene: Scene, data: Any) -> xarray.DataArray:
    """With band names, and the coordinates of pixel centres where rows and columns run along the axes."""
    import rioxarray  # noqa: F401 - registers the accessor
    import xarray

    coordinates: dict[str, Any] = {"band": list(scene.band_names)}
    if scene.rectilinear:
        coordinates["x"] = scene.transform.c + scene.transform.a * (np.arange(scene.width) + 0.5)
        coordinates["y"] = scene.transform.f + scene.transform.e * (np.arange(scene.height) + 0.5)
    array = xarray.DataArray(data, coords=coordinates, dims=("band", "y", "x"), name=scene.name)
    placed: xarray.DataArray = array.rio.write_transform(scene.transform)
    if scene.crs is not None:
        placed = placed.rio.write_crs(scene.crs.to_wkt())
    return placed
