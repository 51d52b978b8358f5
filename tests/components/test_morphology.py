"""Majority, opening and closing follow their definitions to the pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tiled import patches, rasters

from geounet.components.morphology import close_classes, majority, open_classes


def disk_mask(radius):
    return np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius


def in_frame(function, classes, radius, value):
    """A function of the mask of one class, with nodata and a wide frame around it counted in (`True`)."""
    padded = np.pad(classes, 3 * radius, constant_values=255)
    result = function(padded == value, padded == 255)
    return result[3 * radius : -3 * radius, 3 * radius : -3 * radius]


@settings(max_examples=80)
@given(rasters, st.integers(1, 4))
def test_majority_is_the_class_with_most_votes_in_the_disk(classes, radius):
    """Votes by scipy's correlation, class by class; of equals the pixel's own, else the lowest."""
    values = np.unique(classes[classes != 255])
    shape = disk_mask(radius).astype(np.int64)
    votes = np.array(
        [ndimage.correlate((classes == value).astype(np.int64), shape, mode="constant") for value in values]
    )
    expected = classes.copy()
    for row, col in np.argwhere(classes != 255):
        most = values[votes[:, row, col] == votes[:, row, col].max()]
        expected[row, col] = classes[row, col] if classes[row, col] in most else most.min()
    np.testing.assert_array_equal(majority(classes, radius), expected)


def test_majority_keeps_nodata_and_gives_it_no_vote():
    """Five of nine pixels are nodata: the two of class 7 outvote the one of class 3 that they surround."""
    classes = np.array([[255, 7, 255], [255, 3, 7], [255, 255, 255]], np.uint8)
    assert majority(classes, 1).tolist() == [[255, 7, 255], [255, 7, 7], [255, 255, 255]]


def test_majority_prefers_the_pixels_own_class_then_the_lowest():
    assert majority(np.array([[9, 4]], np.uint8), 1).tolist() == [[9, 4]]
    cross = np.array([[0, 5, 0], [8, 200, 8], [0, 5, 0]], np.uint8)
    assert majority(cross, 1)[1, 1] == 5


def test_majority_of_radius_0_and_of_an_empty_raster_changes_nothing():
    assert majority(np.array([[1, 2]], np.uint8), 0).tolist() == [[1, 2]]
    assert majority(np.empty((0, 4), np.uint8), 2).shape == (0, 4)


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


@pytest.mark.parametrize("rule", [majority, open_classes, close_classes])
def test_what_is_far_away_changes_nothing(rule):
    """A raster beside 40 columns of something else is cleaned as alone, but for the columns that see it."""
    one, other = patches(1), patches(2)
    alone, together = rule(one, 2), rule(np.concatenate([one, other], axis=1), 2)
    np.testing.assert_array_equal(together[:, :20], alone[:, :20])
