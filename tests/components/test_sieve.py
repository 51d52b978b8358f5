"""The sieve is GDAL's, or gives to the neighbour with the longest border; tiles leave no trace in it."""

import numpy as np
import pytest
import rasterio.features
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tiled import HOSTILE, WHOLE, clean_in_tiles, enlarge, patches, rasters

from geounet.components.cleaning import Cleaning, sieve
from geounet.components.sieve import Sieve
from geounet.grid import Window

connectivities = st.sampled_from([4, 8])


def gdal(classes, size, connectivity=4):
    """GDAL's sieve with a mask; it wants a size that the raster exceeds."""
    if not 1 < size < classes.size or (classes == 255).all():
        return classes
    sieved = rasterio.features.sieve(classes, size, mask=classes != 255, connectivity=connectivity)
    return np.where(classes == 255, 255, sieved)


# The definition, with a loop for each thing it says.

SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def components(classes, connectivity):
    """Labels from 1 by scipy, class by class, 0 for nodata."""
    labels = np.zeros(classes.shape, int)
    shape = np.ones((3, 3)) if connectivity == 8 else None
    for value in np.unique(classes[classes != 255]):
        found, _ = ndimage.label(classes == value, shape)
        labels[found > 0] = found[found > 0] + labels.max()
    return labels


def borders(labels, connectivity):
    """For each pair of labels: sides shared, and where a walk in raster order meets it first."""
    found = {}
    looks = [(-1, 0), (-1, -1), (-1, 1), (0, -1)] if connectivity == 8 else [(-1, 0), (0, -1)]
    for row, col in np.ndindex(labels.shape):
        for rank, (row_step, col_step) in enumerate(looks):
            near = row + row_step, col + col_step
            if min(near) < 0 or near[1] >= labels.shape[1] or not labels[near] or not labels[row, col]:
                continue
            if labels[near] != labels[row, col]:
                pair = tuple(sorted((labels[row, col], labels[near])))
                sides, first = found.get(pair, (0, (row, col, rank)))
                found[pair] = (sides + (0 in (row_step, col_step)), first)
    return found


def sieved_by_border(classes, size, connectivity):
    labels = components(classes, connectivity)
    sizes = np.bincount(labels.ravel())
    met = borders(labels, connectivity)
    steps = {label: 0 for label in range(1, sizes.size) if sizes[label] >= size}
    becomes = {label: classes[labels == label][0] for label in steps}
    for step in range(1, 17):
        ring = {}
        for pair, (sides, first) in met.items():
            for one, other in (pair, pair[::-1]):
                if one not in steps and steps.get(other) == step - 1:
                    rank = (sides, sizes[other], tuple(-at for at in first))
                    ring[one] = max(ring.get(one, (rank, other)), (rank, other))
        for label, (_, other) in ring.items():
            steps[label], becomes[label] = step, becomes[other]
    out = classes.copy()
    for label, value in becomes.items():
        out[labels == label] = value
    return out


@settings(max_examples=150)
@given(rasters, st.integers(0, 12), connectivities)
def test_with_largest_it_is_that_of_gdal(classes, size, connectivity):
    np.testing.assert_array_equal(sieve(classes, size, "largest", connectivity), gdal(classes, size, connectivity))


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("size", [3, 12, 60])
def test_with_largest_it_is_that_of_gdal_on_patches_with_specks(size, connectivity):
    """Chains of small components, circles of them, and nodata between."""
    for seed in range(12):
        classes = patches(seed, 70, 64)
        expected = gdal(classes, size, connectivity)
        assert (expected != classes).any()
        np.testing.assert_array_equal(sieve(classes, size, "largest", connectivity), expected)


@settings(max_examples=150)
@given(rasters, st.integers(0, 12), connectivities)
def test_with_border_it_is_its_definition(classes, size, connectivity):
    expected = sieved_by_border(classes, size, connectivity)
    np.testing.assert_array_equal(sieve(classes, size, "border", connectivity), expected)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("size", [3, 12, 60])
def test_with_border_it_is_its_definition_on_patches_with_specks(size, connectivity):
    for seed in range(4):
        classes = patches(seed, 40, 44)
        expected = sieved_by_border(classes, size, connectivity)
        np.testing.assert_array_equal(sieve(classes, size, "border", connectivity), expected)


@settings(max_examples=150)
@given(rasters, st.integers(0, 12), st.sampled_from(["border", "largest"]), connectivities, st.integers(1, 9))
def test_any_tile_size_gives_the_same(classes, size, to, connectivity, tile_size):
    steps = Cleaning(sieve=size, sieve_to=to, connectivity=connectivity)
    np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), clean_in_tiles(classes, steps, WHOLE))


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("to", ["border", "largest"])
@pytest.mark.parametrize("size", [3, 15, 60])
def test_what_a_tile_settles_alone_is_right(to, connectivity, size):
    """Tiles that hold many components wholly, beside some that cross the seams."""
    steps = Cleaning(sieve=size, sieve_to=to, connectivity=connectivity)
    for seed in range(8):
        classes = enlarge(patches(seed, 48, 52), 1, 1 + seed % 2)
        whole = clean_in_tiles(classes, steps, WHOLE)
        for tile_size in (9, 17, 30):
            np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), whole)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("to", ["border", "largest"])
def test_hostile_shapes_in_tiles_of_every_size(name, to):
    classes = HOSTILE[name]
    for size in (2, 5, 40):
        steps = Cleaning(sieve=size, sieve_to=to)
        expected = gdal(classes, size) if to == "largest" else sieved_by_border(classes, size, 4)
        for tile_size in (1, 3, 8):
            np.testing.assert_array_equal(clean_in_tiles(classes, steps, tile_size), expected)


def drawn(*rows):
    return np.array([[int(char) for char in row] for row in rows], np.uint8)


LONG = drawn("22222", "23332", "11111", "11111", "11111", "11111")


def test_the_longest_border_and_the_largest_neighbour_may_differ():
    """Class 3 has five sides to class 2 and three to class 1, the larger."""
    assert sieve(LONG, 4, "border")[1].tolist() == [2, 2, 2, 2, 2]
    assert sieve(LONG, 4, "largest")[1].tolist() == [2, 1, 1, 1, 2]


def test_of_equal_borders_the_larger_neighbour_wins_then_the_first_met():
    assert sieve(drawn("113222"), 2).tolist() == [[1, 1, 2, 2, 2, 2]]
    assert sieve(drawn("11322"), 2).tolist() == [[1, 1, 1, 2, 2]]


def test_a_chain_of_small_components_follows_to_what_it_leads_to():
    assert sieve(drawn("1111234"), 3).tolist() == [[1] * 7]
    assert sieve(drawn("1111234"), 3, "largest").tolist() == [[1] * 7]


def test_a_circle_of_small_components_stays_with_gdal_and_not_with_border():
    """The two of size 2 are each other's largest neighbours; the large one is beyond the single pixel."""
    classes = drawn("11112334455")
    assert sieve(classes, 3, "largest").tolist() == gdal(classes, 3).tolist()
    assert sieve(classes, 3, "largest").tolist() != sieve(classes, 3).tolist() == [[1] * 11]


@pytest.mark.parametrize("tile_size", [7, 16, WHOLE])
def test_a_chain_is_followed_for_16_steps(tile_size):
    """A row of single pixels between a field of 1 and one of 4, nearer than that to neither in its middle."""
    chain = np.tile(np.array([2, 3], np.uint8), 25)
    row = np.concatenate([np.ones(5, np.uint8), chain, np.full(5, 4, np.uint8)])[None]
    found = clean_in_tiles(row, Cleaning(sieve=3), tile_size)
    expected = np.concatenate([np.ones(21, np.uint8), chain[16:-16], np.full(21, 4, np.uint8)])[None]
    np.testing.assert_array_equal(found, expected)


def test_a_raster_of_nothing_but_small_components_is_settled_but_for_its_seams():
    """Singles far from the seams cannot be reached; they are not kept."""
    classes = np.random.default_rng(1).integers(0, 50, (300, 300)).astype(np.uint8)
    survey = Sieve(30).survey(classes, Window(300, 300, 300, 300), Window(0, 0, 900, 900))
    assert survey.kept.seeds.size < 0.35 * 300 * 300


def test_a_small_component_beside_nodata_alone_stays():
    classes = np.full((5, 5), 255, np.uint8)
    classes[2, 2] = 4
    for to in ("border", "largest"):
        np.testing.assert_array_equal(sieve(classes, 10, to), classes)


def test_corners_join_with_8_and_part_with_4():
    diagonal = np.where(np.eye(5, dtype=bool), 7, 1).astype(np.uint8)
    assert (sieve(diagonal, 5, "border", 8) == diagonal).all()
    assert (sieve(diagonal, 5, "border", 4) == 1).all()


def test_a_neighbour_in_two_pieces_that_are_one_beyond_the_seam_counts_as_one():
    """Class 3 has three sides to class 1, and to class 2 two above and two below; 9 is nodata."""
    classes = drawn("12222222", "11222222", "13339222", "11222222", "12222222")
    classes[classes == 9] = 255
    found = clean_in_tiles(classes, Cleaning(sieve=4), 5)
    assert found[2, 1:4].tolist() == [2, 2, 2]


@pytest.mark.parametrize("to", ["border", "largest"])
def test_a_tile_keeps_what_touches_a_seam_or_is_left_open_and_nothing_else(to):
    """Specks in the middle of fields are settled in their tile: few of its 900 components are kept."""
    random = np.random.default_rng(3)
    classes = enlarge(random.integers(0, 5, (30, 30)).astype(np.uint8), 9, 9)
    classes[4::9, 4::9] = 9
    survey = Sieve(20, to).survey(classes, Window(270, 270, 270, 270), Window(0, 0, 810, 810))
    assert survey.settled[0].size >= 890
    assert survey.kept.seeds.size <= 4 * 30
    assert survey.kept.meetings.one.size == 0
