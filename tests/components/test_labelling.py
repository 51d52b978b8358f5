"""Components joined over seams are the components of the whole, whatever the tiling."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from geounet.components.labelling import edge_of, join, label_tile, number, open_labels
from geounet.grid import Grid, Window

# Few classes and 255 for nodata: small rasters that are full of seams, holes and corners.
rasters = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 1, 254, 255])
)
connectivities = st.sampled_from([4, 8])


def in_raster_order(labels):
    """Labels numbered anew, in raster order of their first pixels; 0 stays."""
    values, first = np.unique(labels, return_index=True)
    order = values[np.argsort(first)]
    numbers = np.zeros(labels.max() + 1, np.int64)
    numbers[order[order > 0]] = np.arange(1, (order > 0).sum() + 1)
    return numbers[labels]


def label_in_tiles(classes, tile_height, tile_width, connectivity, reverse=False):
    """The components of a raster, `(height, width)`, found tile by tile, in raster order."""
    extent = Window(0, 0, *classes.shape)
    cores = [tile.core for tile in Grid(extent, tile_height, tile_width).tiles()]
    cores = cores[::-1] if reverse else cores
    pieces = [np.ascontiguousarray(classes[core.within(extent)]) for core in cores]
    labels = [label_tile(piece, connectivity) for piece in pieces]
    edges = [
        edge_of(label, piece, np.arange(label.max() + 1), core, extent.width)
        for label, piece, core in zip(labels, pieces, cores, strict=True)
    ]
    whole = np.zeros(classes.shape, np.int64)
    for core, label, table in zip(cores, labels, join(edges, extent.width, connectivity), strict=True):
        whole[core.within(extent)] = table[label]
    return in_raster_order(whole)


def whole_components(classes, connectivity):
    """Brute force: scipy labels one class at a time; numbers follow the first pixels in raster order."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    labels = np.zeros(classes.shape, np.int64)
    for value in np.unique(classes[classes != 255]):
        found, _ = ndimage.label(classes == value, structure)
        labels += np.where(found > 0, found + labels.max(), 0)
    return in_raster_order(labels)


@settings(max_examples=150, deadline=None)
@given(rasters, st.integers(1, 6), st.integers(1, 6), connectivities, st.booleans())
def test_any_tiling_gives_the_components_of_the_whole(classes, tile_height, tile_width, connectivity, reverse):
    found = label_in_tiles(classes, tile_height, tile_width, connectivity, reverse)
    np.testing.assert_array_equal(found, whole_components(classes, connectivity))


def spiral(size):
    """One component one pixel wide, winding over every tile."""
    classes = np.full((size, size + 1), 255, np.uint8)
    row, col, row_step, col_step = 0, 0, 0, 1
    classes[0, 0] = 7
    for length in [size, *(n for k in range(size - 1, 0, -2) for n in (k, k))]:
        for _ in range(length):
            row, col = row + row_step, col + col_step
            classes[row, col] = 7
        row_step, col_step = col_step, -row_step
    return classes


@pytest.mark.parametrize("tile_size", [1, 2, 3, 5, 100])
def test_a_spiral_over_all_tiles_is_one_component(tile_size):
    classes = spiral(17)
    found = label_in_tiles(classes, tile_size, tile_size, 4)
    np.testing.assert_array_equal(found, whole_components(classes, 4))
    assert found.max() == whole_components(classes, 4).max() < 4


@pytest.mark.parametrize("tile_size", [1, 2, 4])
def test_corners_that_meet_where_four_tiles_meet_count_in_8_connectivity_only(tile_size):
    classes = np.full((8, 8), 255, np.uint8)
    classes[3, 3], classes[4, 4], classes[3, 4], classes[4, 3] = 1, 1, 2, 2
    assert label_in_tiles(classes, tile_size, tile_size, 8).max() == 2
    assert label_in_tiles(classes, tile_size, tile_size, 4).max() == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 7)])
@pytest.mark.parametrize("value", [0, 254, 255])
def test_one_component_over_everything_and_nothing_at_all(shape, value):
    found = label_in_tiles(np.full(shape, value, np.uint8), 2, 2, 4)
    assert (found == (0 if value == 255 else 1)).all()


def test_rows_do_not_wrap_around_into_the_next():
    """The last pixel of a row and the first of the next are neighbours in memory only."""
    classes = np.array([[255, 1], [1, 255]], np.uint8)
    assert label_in_tiles(classes, 1, 1, 4).max() == 2
    classes = np.array([[1, 255, 255], [255, 255, 1], [1, 255, 255]], np.uint8)
    assert label_in_tiles(classes, 1, 1, 8).max() == 3


def test_joining_nothing_gives_nothing():
    assert join([], 5) == []


def test_labels_agree_with_the_labelling_library_as_a_whole():
    classes = np.random.default_rng(1).integers(0, 3, (40, 60)).astype(np.uint8)
    expected = cc3d.connected_components(classes.astype(np.uint8) + 1, connectivity=4)
    pairs = np.unique(np.stack([label_in_tiles(classes, 7, 11, 4).ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == expected.max()


@settings(max_examples=100, deadline=None)
@given(rasters, connectivities)
def test_a_component_is_open_where_the_raster_goes_on_with_it(classes, connectivity):
    """A tile without its raster's outermost pixels: open are the components that grow when those come back."""
    wide = np.pad(classes, 1, mode="edge") if min(classes.shape) < 3 else classes
    inner = np.ascontiguousarray(wide[1:-1, 1:-1])
    labels = label_tile(inner, connectivity)
    found = open_labels(np.ascontiguousarray(wide), labels, int(labels.max()), connectivity)
    whole = whole_components(wide, connectivity)
    grows = [
        bool((np.isin(whole, whole[1:-1, 1:-1][labels == label]) & (np.pad(labels, 1) == 0) & border(whole)).any())
        for label in range(1, labels.max() + 1)
    ]
    # What comes back through another component's pixels outside is no neighbour: the flags may only be fewer.
    touching = [touches(wide, labels == label, connectivity) for label in range(1, labels.max() + 1)]
    assert found[1:].tolist() == touching
    assert all(grown or not flag for grown, flag in zip(grows, touching, strict=True))
    assert not found[0]


def border(whole):
    """The outermost pixels of an array."""
    flags = np.ones(whole.shape, bool)
    flags[1:-1, 1:-1] = False
    return flags


def touches(wide, member, connectivity):
    """Brute force: whether a component of the inner pixels meets its class among the outermost."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    grown = ndimage.binary_dilation(np.pad(member, 1), structure)
    return bool((grown & border(wide) & (wide == wide[1:-1, 1:-1][member][0])).any())


def test_numbers_count_what_is_flagged():
    assert number(np.array([False, True, False, True])).tolist() == [0, 1, 0, 2]


def test_components_that_take_no_part_are_not_joined():
    classes = np.array([[1, 1]], np.uint8)
    cores = [Window(0, 0, 1, 1), Window(0, 1, 1, 1)]
    edges = [edge_of(np.array([[1]], np.uint32), classes[:, :1], np.array([0, part]), core, 2)
             for core, part in zip(cores, (1, 0), strict=True)]  # fmt: skip
    assert [table.tolist() for table in join(edges, 2)] == [[0, 1], [0]]
