"""What all tests share: tiny scenes drawn in code, the real data where there is some, and hypothesis' settings."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import settings

settings.register_profile("geounet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("geounet")

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)


def _write_scene(
    path, array, *, descriptions=None, scales=None, offsets=None, colorinterp=None, colormap=None, mask=None, **profile
):
    """Write `array`, (height, width) or (bands, height, width), as a GeoTIFF; a profile's value of None leaves it out.

    By default north-up pixels of 10 m in EPSG:32633; `mask`, (height, width), becomes an internal mask.
    """
    array = np.asarray(array)
    array = array[None] if array.ndim == 2 else array
    wanted = {"driver": "GTiff", "crs": "EPSG:32633", "transform": NORTH_UP, "dtype": array.dtype.name} | profile
    shape = dict(zip(("count", "height", "width"), array.shape, strict=True))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **shape, **{key: value for key, value in wanted.items() if value is not None}) as file,
    ):
        for name, value in {"scales": scales, "offsets": offsets, "colorinterp": colorinterp}.items():
            if value is not None:
                setattr(file, name, value)
        if descriptions is not None:
            file.descriptions = descriptions
        if colormap is not None:
            file.write_colormap(1, colormap)
        file.write(array)
        if mask is not None:
            file.write_mask(np.asarray(mask, np.bool_))
    return path


@pytest.fixture(scope="session")
def write_scene():
    """A function that writes a tiny GeoTIFF and returns its path."""
    return _write_scene


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("GEOUNET_DATA")
    if not folder:
        pytest.skip("GEOUNET_DATA is not set: no real data here")
    return Path(folder)
