"""Polygons are exact, valid, and the same in the same order whatever the tile size and the number of workers."""

from __future__ import annotations

from dataclasses import fields

import cc3d
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import CRS
from scipy import ndimage

from geounet.outlines.ground import survey
from geounet.outlines.polygons import take
from geounet.outlines.stitching import Raster
from geounet.outlines.streaming import Readers, raster_polygons

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_430_000)
ROTATED = Affine(8.66, 3.5, 480_000, 5, -6.06, 5_430_000)
PIXELS = Affine.identity()
PLANE = CRS.from_wkt('ENGCRS["plan",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["m",1]]')

rasters = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 254, 255])
)


def without_layers(read_classes):
    """What reads strips where nothing is summed up."""
    return Readers(read_classes, lambda _: (), 0)


def array_reader(classes):
    """What reads strips of a raster in memory."""
    return without_layers(lambda window: classes[window.row : window.row_stop])


def concatenate(batches):
    """Several batches as one."""
    return take(batches, np.arange(sum(map(len, batches))))


def polygonize(classes, tile_size=100, transform=NORTH_UP, *, connectivity=4, workers=2, band=1024, measure=None):
    """All polygons of a raster, in one batch."""
    raster = Raster(classes.shape[1], transform, connectivity, measure)
    batches = raster_polygons(
        array_reader(classes), classes.shape[0], raster, tile_size=tile_size, workers=workers, band=band
    )
    return concatenate(list(batches))


def burnt(geometry, classes, shape, transform):
    """The raster that GDAL makes of polygons."""
    if not len(geometry):
        return np.full(shape, 255, np.uint8)
    shapes = zip(geometry, classes.tolist(), strict=True)
    return rasterio.features.rasterize(shapes, shape, fill=255, transform=transform, dtype="uint8")


def is_corner(ring):
    """Whether each vertex of a closed ring is a turn."""
    points = shapely.get_coordinates(ring)[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9


def assert_same(found, expected):
    """The same polygons to the last bit, in the same order."""
    for name in (item.name for item in fields(found) if item.name != "statistics"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@settings(max_examples=100)
@given(rasters, st.integers(1, 5), st.sampled_from([4, 8]), st.sampled_from([2, 3, 1024]), st.sampled_from([1, 3]))
def test_polygons_are_the_same_for_any_tiling_and_any_number_of_workers(classes, size, connectivity, band, workers):
    found = polygonize(classes, size, connectivity=connectivity, band=band, workers=workers)
    assert_same(found, polygonize(classes, connectivity=connectivity, band=band))


@settings(max_examples=60)
@given(rasters, st.integers(1, 5), st.sampled_from([1, 3, 1024]))
def test_the_order_is_that_of_bands_and_cells_and_then_of_first_pixels(classes, size, band):
    found = polygonize(classes, size, band=band)
    keys = np.stack([found.last_rows // band, found.first_cols // band, found.first_rows, found.first_cols])
    assert np.lexsort(keys[::-1]).tolist() == list(range(len(found)))


@settings(max_examples=60)
@given(rasters, st.integers(1, 5), st.sampled_from([4, 8]))
def test_what_is_known_of_each_polygon(classes, size, connectivity):
    """First pixel, last row, box and number of pixels are those of the pixels that it burns."""
    found = polygonize(classes, size, connectivity=connectivity)
    for number, shape in enumerate(found.geometry()):
        rows, cols = np.nonzero(rasterio.features.rasterize([shape], classes.shape, transform=NORTH_UP))
        assert (found.first_rows[number], found.first_cols[number]) == (rows[0], cols[0])
        assert (found.last_rows[number], found.pixels[number]) == (rows[-1], rows.size)
        assert (classes[rows, cols] == found.classes[number]).all()
        assert found.boxes[number].tolist() == list(shape.bounds)


@settings(max_examples=100)
@given(rasters, st.integers(1, 5), st.sampled_from([4, 8]))
def test_polygons_are_the_components_of_the_whole(classes, size, connectivity):
    """As a partition: numbers burnt into pixels meet the numbers of cc3d and of scipy one to one."""
    found = polygonize(classes, size, connectivity=connectivity)
    numbers = np.zeros(classes.shape, np.int32)
    if len(found):
        shapes = zip(found.geometry(), range(1, len(found) + 1), strict=True)
        numbers = rasterio.features.rasterize(shapes, classes.shape, transform=NORTH_UP, dtype="int32")
    labels = cc3d.connected_components(classes + np.uint8(1), connectivity=connectivity)
    one_to_one = len(np.unique(np.stack([numbers.ravel(), labels.ravel()]), axis=1).T)
    assert one_to_one == len(np.unique(numbers)) == len(np.unique(labels))
    structure = np.ones((3, 3)) if connectivity == 8 else None
    counts = [ndimage.label(classes == value, structure)[1] for value in (0, 1, 254)]
    assert len(found) == sum(counts)


@settings(max_examples=100)
@given(rasters, st.integers(1, 5), st.sampled_from([NORTH_UP, SOUTH_UP, ROTATED, PIXELS]), st.sampled_from([4, 8]))
def test_polygons_are_exact(classes, tile_size, transform, connectivity):
    """Burning them gives the raster back; they are valid, run the right way, and their areas are their pixels."""
    found = polygonize(classes, tile_size, transform, connectivity=connectivity)
    geometry = found.geometry()
    np.testing.assert_array_equal(burnt(geometry, found.classes, classes.shape, transform), classes)
    assert shapely.is_valid(geometry).all()
    np.testing.assert_allclose(shapely.area(geometry), found.pixels * abs(transform.determinant))
    assert found.pixels.sum() == (classes != 255).sum()
    parts = shapely.get_parts(geometry)
    assert shapely.is_ccw(shapely.get_exterior_ring(parts)).all()
    rings, owners = shapely.get_rings(parts, return_index=True)
    assert all(is_corner(ring).all() for ring in rings)
    holes = rings[np.diff(owners, prepend=-1) == 0]
    assert not shapely.is_ccw(holes).any()


@settings(max_examples=60)
@given(rasters, st.sampled_from([4, 8]))
def test_polygons_are_those_of_gdal(classes, connectivity):
    """GDAL's polygons of 8-connected components touch themselves; as sets of points they are ours."""
    shapes = rasterio.features.shapes(classes, mask=classes != 255, transform=NORTH_UP, connectivity=connectivity)
    expected = [shapely.normalize(shapely.make_valid(shapely.geometry.shape(shape))) for shape, _ in shapes]
    found = shapely.normalize(polygonize(classes, 3, connectivity=connectivity).geometry())
    assert len(found) == len(expected)
    if connectivity == 4:
        assert sorted(shape.wkt for shape in found) == sorted(shape.wkt for shape in expected)
    for one, other in zip(*(sorted(some, key=lambda shape: shape.bounds) for some in (found, expected)), strict=True):
        assert one.bounds == other.bounds


@settings(max_examples=60)
@given(rasters, st.integers(1, 5), st.sampled_from([4, 8]))
def test_measures_are_taken_of_all_rings(classes, size, connectivity):
    """Area and length in a plane are those of shapely, whatever the tiling."""
    ground = survey(NORTH_UP, *classes.shape, PLANE)
    found = polygonize(classes, size, connectivity=connectivity, measure=ground.measure)
    np.testing.assert_allclose(found.areas, shapely.area(found.geometry()))
    np.testing.assert_allclose(found.lengths, shapely.length(found.geometry()))
    whole = polygonize(classes, connectivity=connectivity, measure=ground.measure)
    np.testing.assert_array_equal(found.areas, whole.areas)
    np.testing.assert_array_equal(found.lengths, whole.lengths)


def test_areas_in_pixel_space_are_exact_integers():
    classes = np.random.default_rng(3).integers(0, 3, (50, 70)).astype(np.uint8)
    found = polygonize(classes, 9, PIXELS)
    assert (shapely.area(found.geometry()) == found.pixels).all()


def checkerboard(size):
    return (np.indices((size, size + 1)).sum(axis=0) % 2).astype(np.uint8)


def rings_in_rings(size):
    """Squares in squares, each a hole of the one before."""
    rows, cols = np.indices((size, size))
    return (np.minimum.reduce([rows, cols, size - 1 - rows, size - 1 - cols]) % 3).astype(np.uint8)


def spiral(size):
    """Two arms that wind around each other over every tile."""
    rows, cols = np.indices((size, size)) - size // 2
    return ((np.hypot(rows, cols) / 2 + np.arctan2(rows, cols) / np.pi).astype(int) % 2).astype(np.uint8)


def sponge(size):
    """One component around holes that touch each other at their corners."""
    return np.where(checkerboard(size) & (np.indices((size, size + 1)).min(axis=0) % 4 > 0), 1, 0).astype(np.uint8)


HOSTILE = {
    "checkerboard": checkerboard(11),
    "rings in rings": rings_in_rings(17),
    "spiral": spiral(24),
    "sponge": sponge(12),
    "one class": np.zeros((9, 13), np.uint8),
    "nodata": np.full((9, 13), 255, np.uint8),
    "one row": np.array([[0, 0, 1, 255, 1, 1, 0]], np.uint8),
    "one column": np.array([[0, 0, 1, 255, 1, 1, 0]], np.uint8).T,
    "one pixel": np.array([[254]], np.uint8),
    "hole at a corner": np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], np.uint8),
    "open at a corner": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8),
}


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("tile_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes(name, tile_size, connectivity):
    classes = HOSTILE[name]
    found = polygonize(classes, tile_size, connectivity=connectivity, band=4)
    assert_same(found, polygonize(classes, connectivity=connectivity, band=4))
    assert shapely.is_valid(found.geometry()).all()
    np.testing.assert_array_equal(burnt(found.geometry(), found.classes, classes.shape, NORTH_UP), classes)


def test_65536_components():
    """More than 16 bits count, in one tile and in many."""
    classes = checkerboard(256)[:, :256]
    found = polygonize(classes, 100)
    assert len(found) == 65_536
    assert (found.pixels == 1).all()
    assert_same(found, polygonize(classes, 256))
    assert [shape.geom_type for shape in polygonize(classes, 100, connectivity=8).geometry()] == ["MultiPolygon"] * 2


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_comb_is_joined_only_at_its_foot(connectivity):
    """Teeth of all strips wait for the last row, and the gaps between them, open at the top, for nothing."""
    classes = np.zeros((40, 31), np.uint8)
    classes[:-1, 1::2] = 1
    found = polygonize(classes, 7, connectivity=connectivity)
    assert found.pixels.tolist() == [40 * 16 + 15, *[39] * 15]
    assert_same(found, polygonize(classes, connectivity=connectivity))


def test_a_component_over_all_tiles_has_four_vertices():
    """Seams leave no vertex behind."""
    (shape,) = polygonize(np.zeros((9, 13), np.uint8), 3, PIXELS).geometry()
    assert shape.equals_exact(shapely.Polygon([(0, 0), (13, 0), (13, 9), (0, 9)]), 0)
    assert shapely.get_num_coordinates(shape) == 5


def test_holes_that_touch_at_a_corner_are_two_rings():
    found = polygonize(HOSTILE["hole at a corner"], transform=PIXELS)
    around = found.geometry()[found.classes == 1][0]
    assert [shapely.area(shapely.Polygon(hole)) for hole in around.interiors] == [1, 1]
    assert found.pixels.tolist() == [14, 1, 1]


@pytest.mark.parametrize("tile_size", [1, 2])
def test_parts_that_share_a_corner_become_one_multipolygon(tile_size):
    found = polygonize(np.array([[1, 0], [0, 1]], np.uint8), tile_size, PIXELS, connectivity=8)
    assert shapely.get_num_geometries(found.geometry()).tolist() == [2, 2]
    assert found.classes.tolist() == [1, 0]
    assert found.pixels.tolist() == [2, 2]


def test_each_row_is_read_once_from_the_top():
    """Strips come one after the other, also where the last is lower."""
    classes, read = np.zeros((23, 6), np.uint8), []

    def reader(window):
        read.append((window.row, window.height, window.col, window.width))
        return classes[window.row : window.row_stop]

    list(raster_polygons(without_layers(reader), 23, Raster(6, PIXELS), tile_size=5, workers=2, band=1024))
    assert read == [(0, 5, 0, 6), (5, 5, 0, 6), (10, 5, 0, 6), (15, 5, 0, 6), (20, 3, 0, 6)]


def test_layers_are_read_after_the_classes_that_outlines_wait_for():
    """Tiles are traced while what is summed up over them is still being read."""
    classes, read = np.zeros((12, 6), np.uint8), []

    def read_classes(window):
        read.append(("classes", window.row))
        return classes[window.row : window.row_stop]

    def read_layers(window):
        read.append(("layers", window.row))
        ones = np.ones((window.height, window.width), np.uint8)
        return ((ones, ones > 0),)

    readers = Readers(read_classes, read_layers, 1)
    [found] = raster_polygons(readers, 12, Raster(6, PIXELS), tile_size=4, workers=2, band=1024)
    assert found.statistics[0][:, :2].tolist() == [[72, 72]]
    order = [("classes", 0), ("classes", 4), ("layers", 0), ("classes", 8), ("layers", 4), ("layers", 8)]
    assert read == order


def test_polygons_are_handed_out_while_others_are_open():
    """A frame around everything is open to the end; what it holds is known long before."""
    classes = np.zeros((60, 9), np.uint8)
    classes[1:-1:2, 1:-1] = 1
    batches = raster_polygons(array_reader(classes), 60, Raster(9, PIXELS), tile_size=4, workers=1, band=8)
    sizes = [len(batch) for batch in batches]
    assert sizes == [4, 4, 4, 4, 4, 4, 4, 2]


def test_batches_of_a_band_are_of_bounded_size(monkeypatch):
    monkeypatch.setattr("geounet.outlines.streaming._BATCH", 7)
    classes = checkerboard(8)
    raster = Raster(9, PIXELS)
    batches = list(raster_polygons(array_reader(classes), 8, raster, tile_size=4, workers=1, band=1024))
    assert [len(batch) for batch in batches] == [7] * 10 + [2]
    assert_same(concatenate(batches), polygonize(classes, transform=PIXELS))
    monkeypatch.setattr("geounet.outlines.streaming._BYTES", 3 * 93)
    batches = list(raster_polygons(array_reader(classes), 8, raster, tile_size=4, workers=1, band=1024))
    assert [len(batch) for batch in batches] == [3] * 24
    monkeypatch.setattr("geounet.outlines.streaming._BYTES", 1)
    batches = list(raster_polygons(array_reader(classes), 8, raster, tile_size=4, workers=1, band=1024))
    assert [len(batch) for batch in batches] == [1] * 72


def test_the_fault_of_a_reader_comes_out():
    def broken(window):
        raise OSError(f"row {window.row} is gone")

    with pytest.raises(OSError, match="row 0 is gone"):
        list(raster_polygons(without_layers(broken), 9, Raster(9, PIXELS), tile_size=4, workers=2, band=8))
