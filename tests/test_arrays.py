"""Scenes and products as xarray DataArrays: the same pixels, places and names as rasterio gives."""

import dask
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import geounet
from geounet.classes import LandClass
from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.cog import RasterProfile, write_cog

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)


def pixels(height=37, width=52, bands=3):
    return np.random.default_rng(1).integers(0, 900, (bands, height, width)).astype(np.uint16)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk_size=st.integers(1, 60))
def test_a_scene_is_lazy_scaled_and_nan_where_invalid(write_scene, tmp_path, chunk_size):
    """Whatever the chunks: rasterio's pixels times the scale, in Dask, with names, coordinates, CRS and transform."""
    array = pixels()
    array[:, 5:9, 11:30] = 0
    path = write_scene(
        tmp_path / "s.tif", array, nodata=0, scales=[0.1] * 3, descriptions=["blue", "green", "red"], transform=NORTH_UP
    )
    found = geounet.open_scene(path, chunk_size=chunk_size)
    assert dask.is_dask_collection(found.data)
    expected = np.where((array == 0).all(axis=0), np.nan, array.astype(np.float32) * np.float32(0.1))
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)
    assert (found.rio.crs.to_epsg(), found.rio.transform()) == (32633, NORTH_UP)
    assert list(found.band.values) == ["blue", "green", "red"]
    assert float(found.x[2]) == 480_000 + 25
    assert float(found.y[3]) == 5_430_000 - 35


def test_an_analyst_selects_by_band_and_place(write_scene, tmp_path):
    """An index over a place, in xarray's own words."""
    array = pixels()
    path = write_scene(tmp_path / "s.tif", array, descriptions=["red", "green", "nir"], transform=NORTH_UP)
    scene = geounet.open_scene(path, bands=(1, 3)).sel(x=slice(480_100, 480_200), y=slice(5_429_900, 5_429_800))
    index = (scene.sel(band="nir") - scene.sel(band="red")).mean()
    part = array[:, 10:20, 10:20].astype(float)
    assert float(index) == pytest.approx((part[2] - part[0]).mean())


def test_a_product_has_names_and_colours(tmp_path):
    """A class raster in uint8, 255 where nodata, with its class table."""
    classes = (LandClass(10, "water", "#0000ff"), LandClass(254, "field", "#e6c34a"))
    codes = np.where(np.arange(70 * 40).reshape(70, 40) % 7, 10, 254).astype(np.uint8)
    codes[:9] = 255
    profile = RasterProfile(70, 40, NORTH_UP, rasterio.CRS.from_epsg(32633), "uint8", 255, classes)
    write_cog(tmp_path / "classes.tif", profile, [(Window(0, 0, 70, 40), codes[None])])
    found = geounet.open_product(tmp_path / "classes.tif", chunk_size=16).classes
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, codes)
    assert found.attrs["class_names"] == ["water", "field"]
    assert found.attrs["class_values"] == [10, 254]
    assert found.attrs["class_colors"] == ["#0000ff", "#e6c34a"]
    assert found.rio.nodata == 255


def test_what_is_no_class_raster_is_refused(write_scene, tmp_path):
    """Several bands are no classes."""
    with pytest.raises(SceneError, match="3 bands; a class raster has one"):
        geounet.open_product(write_scene(tmp_path / "s.tif", pixels()))
