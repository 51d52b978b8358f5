"""Holes are filled as their definition says; tiles leave no trace in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tiled import HOLES, HOSTILE, clean_in_tiles, patches, rasters

from geounet.components.cleaning import Cleaning, fill_holes


def filled(classes, size):
    """The definition: each component by scipy, and the classes that its dilation meets."""
    padded = np.pad(classes, 1, constant_values=255)
    out = padded.copy()
    for value in np.unique(classes[classes != 255]):
        labels, count = ndimage.label(padded == value)
        for label in range(1, count + 1):
            around = np.unique(padded[ndimage.binary_dilation(labels == label) & (labels != label)])
            if (labels == label).sum() <= size and around.size == 1 and around[0] != 255:
                out[labels == label] = around[0]
    return out[1:-1, 1:-1]


@pytest.mark.parametrize(
    ("size", "places"), [(0, []), (1, []), (2, [(1, 1), (1, 2)]), (3, [(1, 1), (1, 2), (3, 3), (4, 3), (4, 4)])]
)
def test_holes_within_one_class_are_filled_up_to_their_size(size, places):
    """Not those of two classes, beside nodata, or at the edge."""
    expected = HOLES.copy()
    for place in places:
        expected[place] = 1
    np.testing.assert_array_equal(fill_holes(HOLES, size), expected)


@settings(max_examples=150)
@given(rasters, st.integers(0, 12), st.integers(1, 9))
def test_in_tiles_of_any_size_it_is_its_definition(classes, size, tile_size):
    steps = Cleaning(fill_holes=size)
    np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), filled(classes, size))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_in_tiles_of_every_size(name):
    for size in (1, 8, 1000):
        for tile_size in (1, 3, 8):
            found = clean_in_tiles(HOSTILE[name], Cleaning(fill_holes=size), tile_size)
            np.testing.assert_array_equal(found, filled(HOSTILE[name], size))


@pytest.mark.parametrize("seed", range(6))
def test_holes_over_seams_are_filled_as_those_within_tiles(seed):
    """Specks in a field, some of them holes, others beside nodata or another speck."""
    classes = np.where(patches(seed) == 3, 255 if seed % 2 else 4, np.where(patches(seed + 9) == 0, 2, 1))
    classes = classes.astype(np.uint8)
    expected = filled(classes, 9)
    assert (expected != classes).any()
    for tile_size in (4, 7, 16):
        np.testing.assert_array_equal(clean_in_tiles(classes, Cleaning(fill_holes=9), tile_size), expected)
