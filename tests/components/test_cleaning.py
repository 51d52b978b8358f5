"""Cleaning does its steps in their order, and tiles leave no trace in it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.windows
from hypothesis import given, settings
from hypothesis import strategies as st
from tiled import HOLES, HOSTILE, WHOLE, clean_in_tiles, patches, rasters, reader

from geounet.classes import LandClass
from geounet.components.cleaning import Cleaning, clean_tiles, fill_holes, sieve
from geounet.components.morphology import close_classes, majority, open_classes
from geounet.errors import LabelError, OutputError
from geounet.grid import Window
from geounet.raster.cog import RasterProfile, classes_of, write_cog
from geounet.tasks.clean import clean

radii = st.integers(0, 3)
counts = st.integers(0, 6)
cleanings = st.builds(
    Cleaning, radii, radii, counts, counts, radii, st.sampled_from(["border", "largest"]), st.sampled_from([4, 8])
)


def in_one_piece(classes, steps):
    """All steps on the whole array."""
    classes = close_classes(open_classes(majority(classes, steps.majority), steps.open_radius), steps.close_radius)
    return fill_holes(sieve(classes, steps.sieve, steps.sieve_to, steps.connectivity), steps.fill_holes)


@settings(max_examples=100)
@given(rasters, cleanings, st.integers(1, 7))
def test_any_tile_size_gives_the_whole_rasters_result(classes, steps, tile_size):
    expected = in_one_piece(classes, steps)
    np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), expected)
    np.testing.assert_array_equal(expected == 255, classes == 255)
    assert set(np.unique(expected)) <= set(np.unique(classes))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_in_tiles_of_every_size(name):
    steps = Cleaning(open_radius=1, close_radius=1, sieve=6, fill_holes=9, majority=1)
    for tile_size in (1, 5):
        np.testing.assert_array_equal(
            clean_in_tiles(HOSTILE[name], steps, tile_size), in_one_piece(HOSTILE[name], steps)
        )


@pytest.mark.parametrize("steps", [Cleaning(open_radius=2), Cleaning(close_radius=2), Cleaning(majority=3)])
def test_the_margin_is_as_wide_as_it_must_be_and_no_wider(steps):
    """Patches are cleaned alike in small tiles; with one pixel of the margin unseen, they no longer are."""
    whole = [clean_in_tiles(patches(seed), steps, WHOLE) for seed in range(10)]
    for blind, same in ((0, True), (1, False)):
        found = [clean_in_tiles(patches(seed), steps, 4, blind) for seed in range(10)]
        assert all(np.array_equal(*pair) for pair in zip(found, whole, strict=True)) is same


def test_each_tile_is_read_once_and_comes_in_order():
    windows = []
    read = reader(patches(1))

    def noted(window):
        windows.append(window)
        return read(window)

    extent = Window(0, 0, 33, 36)
    tiles = clean_tiles(noted, extent, Cleaning(sieve=5, fill_holes=5, majority=1), 16)
    cores = [window for window, _ in tiles]
    assert [window.padded(1) for window in cores] == windows
    assert [(window.row, window.col) for window in cores] == [(row, col) for row in (0, 16, 32) for col in (0, 16, 32)]


def test_an_empty_raster_has_no_tiles():
    assert list(clean_tiles(reader(np.empty((0, 5), np.uint8)), Window(0, 0, 0, 5), Cleaning(sieve=3), 4)) == []
    assert sieve(np.empty((0, 5), np.uint8), 3).shape == (0, 5)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path):
    tiles = clean_tiles(reader(patches(1)), Window(0, 0, 33, 36), Cleaning(sieve=5, fill_holes=5), 16, tmp_path)
    next(tiles)
    tiles.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_asked_for_changes_nothing():
    np.testing.assert_array_equal(clean_in_tiles(patches(1), Cleaning(), 7), patches(1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"close_radius": -1}, "close_radius is -1: it must not be negative"),
        ({"majority": -2}, "majority is -2: it must not be negative"),
        ({"sieve_to": "any"}, "sieve_to is 'any': it must be border or largest"),
        ({"connectivity": 6}, "connectivity is 6: it must be 4 or 8"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Cleaning(**given)


# The rest goes through files, as users do.


def test_a_cleaned_raster_keeps_what_is_known_about_it(tmp_path, write_scene):
    table = (LandClass(1, "field", "#123456"), LandClass(2, "road", "#abcdef"))
    source = tmp_path / "classes.tif"
    with rasterio.open(write_scene(tmp_path / "plain.tif", HOLES)) as file:
        transform, crs = file.transform, file.crs
    profile = RasterProfile(*HOLES.shape, transform, crs, "uint8", 255, table, tags={"MODEL": "m1"})
    write_cog(source, profile, [(Window(0, 0, *HOLES.shape), HOLES[None])])
    summary = clean(source, tmp_path / "out.tif", Cleaning(fill_holes=2), tile_size=4)
    assert (summary.changed, summary.valid) == (2, 41)
    assert classes_of(tmp_path / "out.tif") == table
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), fill_holes(HOLES, 2))
        assert (file.nodata, file.crs, file.transform) == (255, crs, transform)
        assert file.tags()["MODEL"] == "m1"
        assert file.colormap(1)[2] == (0xAB, 0xCD, 0xEF, 255)
        assert file.descriptions == ("class",)


@pytest.mark.parametrize(("nodata", "written"), [(0, 0), (254, 254), (None, None), (255, 255)])
def test_the_nodata_value_stays(tmp_path, write_scene, nodata, written):
    classes = np.array([[0, 1, 1], [1, 254, 1]], np.uint8)
    path = write_scene(tmp_path / "classes.tif", classes, nodata=nodata)
    clean(path, tmp_path / "out.tif", Cleaning(open_radius=1))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.nodata == written
        np.testing.assert_array_equal(file.read(1)[classes == nodata], classes[classes == nodata])


def test_nodata_that_no_byte_holds_becomes_255(tmp_path, write_scene):
    path = write_scene(tmp_path / "classes.tif", np.array([[-9999, 4]], np.int16), nodata=-9999)
    clean(path, tmp_path / "out.tif", Cleaning())
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.nodata, file.read(1).tolist()) == (255, [[255, 4]])


def test_an_existing_output_and_values_that_are_no_classes_are_refused(tmp_path, write_scene):
    path = write_scene(tmp_path / "classes.tif", np.array([[300]], np.int16))
    with pytest.raises(OutputError, match="exists; give another name, or --overwrite"):
        clean(path, path, Cleaning())
    with pytest.raises(LabelError, match="holds the value 300"):
        clean(path, tmp_path / "out.tif", Cleaning())
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.real
@pytest.mark.parametrize("name", ["kansas_crops/2021_30m_cdls.tif", "austria_two_dates/mask.tif"])
@pytest.mark.parametrize("to", ["border", "largest"])
def test_real_class_rasters_in_tiles_of_any_size(data, name, to):
    """Crops with many specks, and large fields; with `largest` the sieve is GDAL's."""
    with rasterio.open(data / name) as file:
        classes = file.read(1, window=rasterio.windows.Window(0, 0, 1500, 1400)).astype(np.uint8)
    steps = Cleaning(sieve=12, sieve_to=to)
    whole = clean_in_tiles(classes, steps, 2048)
    for tile_size in (250, 700):
        np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), whole)
    if to == "largest":
        expected = rasterio.features.sieve(classes, 12, mask=classes != 255)
        np.testing.assert_array_equal(whole, np.where(classes == 255, 255, expected))
    both = Cleaning(majority=1, sieve=12, fill_holes=12)
    np.testing.assert_array_equal(clean_in_tiles(classes, both, 333), in_one_piece(classes, both))
