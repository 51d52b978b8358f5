"""Cleaning follows its definitions to the pixel, and tiles leave no trace in it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.features
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geounet.classes import LandClass
from geounet.clean import Cleaning, clean_tiles, close_classes, fill_holes, open_classes, sieve
from geounet.cog import RasterProfile, classes_of, write_cog
from geounet.errors import LabelError, OutputError
from geounet.grid import Window
from geounet.segment import clean


def enlarge(classes, height, width):
    """Each pixel repeated, so that some disks fit."""
    return classes.repeat(height, axis=0).repeat(width, axis=1)


values = st.sampled_from([0, 1, 1, 2, 254, 255])
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
rasters = st.builds(enlarge, hnp.arrays(np.uint8, shapes, elements=values), st.integers(1, 3), st.integers(1, 3))
radii = st.integers(0, 3)


def clean_in_tiles(classes, steps, tile_size, blind=0):
    """A cleaned raster, tile by tile; a reader blind to that many pixels sees nodata instead at a window's rim."""
    extent = Window(0, 0, *classes.shape)

    def read(window):
        out = np.full((window.height, window.width), 255, np.uint8)
        inner = window.intersection(extent)
        out[inner.within(window)] = classes[inner.within(extent)]
        if blind:
            out[:blind], out[-blind:], out[:, :blind], out[:, -blind:] = 255, 255, 255, 255
        return out

    whole = np.full(classes.shape, 77, np.uint8)
    for window, piece in clean_tiles(read, extent, steps, tile_size):
        assert piece.shape == (window.height, window.width)
        whole[window.within(extent)] = piece
    return whole


def disk_mask(radius):
    return np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius


def in_frame(function, classes, radius, value):
    """A function of the mask of one class, with nodata and a wide frame around it counted in (`True`)."""
    padded = np.pad(classes, 3 * radius, constant_values=255)
    result = function(padded == value, padded == 255)
    return result[3 * radius : -3 * radius, 3 * radius : -3 * radius]


@settings(max_examples=60)
@given(rasters, radii, radii, st.integers(0, 6), st.integers(0, 6), st.integers(1, 7))
def test_any_tile_size_gives_the_same_raster(classes, open_radius, close_radius, size, holes, tile_size):
    steps = Cleaning(open_radius, close_radius, size, holes)
    whole = clean_in_tiles(classes, steps, 1000)
    np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), whole)
    np.testing.assert_array_equal(whole == 255, classes == 255)
    assert set(np.unique(whole)) <= set(np.unique(classes))


def patches(seed):
    """Patches of three pixels, specks of one, and nodata here and there."""
    random = np.random.default_rng(seed)
    classes = enlarge(random.integers(0, 3, (12, 11)).astype(np.uint8), 3, 3)
    specks = random.random(classes.shape)
    classes[specks < 0.03] = random.integers(0, 3, (specks < 0.03).sum())
    classes[specks > 0.98] = 255
    return classes


@pytest.mark.parametrize("steps", [Cleaning(open_radius=2), Cleaning(close_radius=2)])
def test_the_margin_is_as_wide_as_it_must_be_and_no_wider(steps):
    """Patches are cleaned alike in small tiles; with one pixel of the margin unseen, they no longer are."""
    whole = [clean_in_tiles(patches(seed), steps, 1000) for seed in range(10)]
    for blind, same in ((0, True), (1, False)):
        found = [clean_in_tiles(patches(seed), steps, 4, blind) for seed in range(10)]
        assert all(np.array_equal(*pair) for pair in zip(found, whole, strict=True)) is same


@settings(max_examples=60)
@given(rasters, st.integers(1, 3))
def test_opening_is_that_of_scipy_class_by_class(classes, radius):
    """What stays is scipy's opening of each class, nodata counted in; the rest takes the nearest class that stays."""
    shape = disk_mask(radius)

    def opened(mask, nodata):
        core = ndimage.binary_erosion(mask | nodata, shape, border_value=1) & mask
        return ndimage.binary_dilation(core, shape) & mask

    stays = np.zeros(classes.shape, bool)
    for value in np.unique(classes[classes != 255]):
        stays |= in_frame(opened, classes, radius, value)
    expected = classes.copy()
    rows, cols = np.nonzero(stays)
    for row, col in np.argwhere(~stays & (classes != 255)):
        squares = (rows - row) ** 2 + (cols - col) ** 2
        if squares.size and squares.min() <= (2 * radius) ** 2:
            expected[row, col] = classes[rows, cols][squares == squares.min()].min()
    np.testing.assert_array_equal(open_classes(classes, radius), expected)


@settings(max_examples=60)
@given(rasters, st.integers(1, 3))
def test_closing_is_that_of_scipy_class_by_class(classes, radius):
    shape = disk_mask(radius)

    def closed(mask, nodata):
        wide = ndimage.binary_dilation(mask, shape) | nodata
        return ndimage.binary_erosion(wide, shape, border_value=1)

    expected = classes.copy()
    for value in np.unique(classes[classes != 255])[::-1]:
        claimed = in_frame(closed, classes, radius, value)
        expected[claimed & (classes != 255) & (classes != value)] = value
    np.testing.assert_array_equal(close_classes(classes, radius), expected)


def test_closing_takes_more_classes_than_a_word_has_bits():
    """Stripes of 100 classes, each with a gap one pixel wide that the stripe closes over."""
    classes = np.repeat(np.arange(100, dtype=np.uint8), 7)[None].repeat(9, axis=0)
    gaps = classes.copy()
    gaps[4, 3::7] = 200
    np.testing.assert_array_equal(close_classes(gaps, 2), classes)


def test_opening_removes_a_line_and_keeps_the_edge_of_the_data():
    classes = np.zeros((12, 14), np.uint8)
    classes[:, 6] = 3
    classes[3:7, 0] = 255
    expected = np.where(classes == 3, 0, classes)
    np.testing.assert_array_equal(open_classes(classes, 2), expected)


def test_a_pixel_with_nothing_near_keeps_its_class():
    classes = (np.indices((9, 9)).sum(axis=0) % 2).astype(np.uint8)
    inner = np.s_[4:5, 4:5]
    assert open_classes(np.pad(classes, 9, mode="wrap"), 2)[9:-9, 9:-9][inner] == classes[inner]


def test_sieve_is_that_of_gdal():
    classes = np.random.default_rng(2).integers(0, 3, (30, 40)).astype(np.uint8)
    classes[5:9, 5:20] = 255
    expected = rasterio.features.sieve(classes, 6, mask=classes != 255)
    np.testing.assert_array_equal(sieve(classes, 6), expected)


def test_a_small_component_beside_nodata_alone_stays():
    classes = np.full((5, 5), 255, np.uint8)
    classes[2, 2] = 4
    np.testing.assert_array_equal(sieve(classes, 10), classes)


HOLES = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 2, 1, 3, 4, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 1, 2, 1, 1, 5],
        [1, 255, 1, 2, 2, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    np.uint8,
)


@pytest.mark.parametrize(
    ("size", "filled"), [(0, []), (1, []), (2, [(1, 1), (1, 2)]), (3, [(1, 1), (1, 2), (3, 3), (4, 3), (4, 4)])]
)
def test_holes_within_one_class_are_filled_up_to_their_size(size, filled):
    """Not those of two classes, beside nodata, or at the edge."""
    expected = HOLES.copy()
    for place in filled:
        expected[place] = 1
    np.testing.assert_array_equal(fill_holes(HOLES, size), expected)


def test_nothing_asked_for_changes_nothing():
    np.testing.assert_array_equal(clean_in_tiles(HOLES, Cleaning(), 3), HOLES)


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="close_radius is -1: it must not be negative"):
        Cleaning(close_radius=-1)


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
