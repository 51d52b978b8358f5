"""Polygons are exact, valid, and the same set whatever the tile size."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pandas.testing import assert_frame_equal

from geounet.components import join, label_tile, summarize
from geounet.errors import LabelError, SceneError
from geounet.grid import Grid, Window
from geounet.polygons import assemble, gather_parts, outline_tile
from geounet.vectorize import polygon_frame, vectorize

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_430_000)
ROTATED = Affine(8.66, 3.5, 480_000, 5, -6.06, 5_430_000)
PIXELS = Affine.identity()

rasters = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 254, 255])
)


def polygonize(classes, tile_height=100, tile_width=100, transform=NORTH_UP, reverse=False):
    """Polygons of the 4-connected components of a raster, found tile by tile."""
    extent = Window(0, 0, *classes.shape)
    around = np.pad(classes, 1, constant_values=255)
    cores = [tile.core for tile in Grid(extent, tile_height, tile_width).tiles()]
    parts, outlines = [], []
    for core in cores[::-1] if reverse else cores:
        piece = np.ascontiguousarray(around[core.padded(1).within(extent.padded(1))])
        inner = np.ascontiguousarray(piece[1:-1, 1:-1])
        labels = label_tile(inner)
        parts.append(summarize(labels, inner, core, extent.width))
        outlines.append(outline_tile(piece, labels, core, extent.width))
    return assemble(outlines, join(parts, extent.width), transform)


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
    assert (shapely.to_wkb(found.geometry) == shapely.to_wkb(expected.geometry)).all()
    for name in ("components", "classes", "pixels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@settings(max_examples=100)
@given(rasters, st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_polygons_are_the_same_for_any_tiling_in_any_order(classes, tile_height, tile_width, reverse):
    assert_same(polygonize(classes, tile_height, tile_width, reverse=reverse), polygonize(classes))


@settings(max_examples=100)
@given(rasters, st.integers(1, 5), st.sampled_from([NORTH_UP, SOUTH_UP, ROTATED, PIXELS]))
def test_polygons_are_exact(classes, tile_size, transform):
    """Burning them gives the raster back; they are valid, run the right way, and their areas are their pixels."""
    found = polygonize(classes, tile_size, tile_size, transform)
    np.testing.assert_array_equal(burnt(found.geometry, found.classes, classes.shape, transform), classes)
    assert shapely.is_valid(found.geometry).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(found.geometry)).all()
    np.testing.assert_allclose(shapely.area(found.geometry), found.pixels * abs(transform.determinant))
    assert found.pixels.sum() == (classes != 255).sum()
    rings, owners = shapely.get_rings(found.geometry, return_index=True)
    assert all(is_corner(ring).all() for ring in rings)
    holes = rings[np.diff(owners, prepend=-1) == 0]
    assert not shapely.is_ccw(holes).any()


@settings(max_examples=60)
@given(rasters)
def test_polygons_are_those_of_gdal(classes):
    shapes = rasterio.features.shapes(classes, mask=classes != 255, transform=NORTH_UP)
    expected = [shapely.normalize(shapely.geometry.shape(shape)) for shape, _ in shapes]
    found = shapely.normalize(polygonize(classes, 3, 4).geometry)
    assert sorted(shape.wkt for shape in found) == sorted(shape.wkt for shape in expected)


def test_areas_in_pixel_space_are_exact_integers():
    classes = np.random.default_rng(3).integers(0, 3, (50, 70)).astype(np.uint8)
    found = polygonize(classes, 9, 9, PIXELS)
    assert (shapely.area(found.geometry) == found.pixels).all()


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


@pytest.mark.parametrize("tile_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes(name, tile_size):
    classes = HOSTILE[name]
    found = polygonize(classes, tile_size, tile_size)
    assert_same(found, polygonize(classes))
    assert shapely.is_valid(found.geometry).all()
    np.testing.assert_array_equal(burnt(found.geometry, found.classes, classes.shape, NORTH_UP), classes)


def test_a_component_over_all_tiles_has_four_vertices():
    """Seams leave no vertex behind."""
    found = polygonize(np.zeros((9, 13), np.uint8), 2, 3, PIXELS)
    assert found.geometry[0].equals_exact(shapely.Polygon([(0, 0), (13, 0), (13, 9), (0, 9)]), 0)
    assert shapely.get_num_coordinates(found.geometry[0]) == 5


def test_holes_that_touch_at_a_corner_are_two_rings():
    found = polygonize(HOSTILE["hole at a corner"], transform=PIXELS)
    around = found.geometry[found.classes == 1][0]
    assert [shapely.area(shapely.Polygon(hole)) for hole in around.interiors] == [1, 1]
    assert found.pixels.tolist() == [14, 1, 1]


def test_parts_that_share_a_corner_become_one_multipolygon():
    found = polygonize(np.array([[1, 0], [0, 1]], np.uint8), transform=PIXELS)
    united = gather_parts(found, np.array([1, 2, 2, 1]))
    assert shapely.get_num_geometries(united.geometry).tolist() == [2, 2]
    assert united.classes.tolist() == [1, 0]
    assert united.pixels.tolist() == [2, 2]


# The rest goes through files, as users do.


@pytest.fixture
def raster(tmp_path, write_scene):
    """A function that writes a class raster and returns its path."""
    return lambda classes, name="classes.tif", **profile: write_scene(
        tmp_path / name, classes, **({"nodata": 255} | profile)
    )


@pytest.fixture(scope="module")
def blobs():
    """Regions of 20 pixels or so, with nodata in a corner."""
    values = np.random.default_rng(5).integers(0, 4, (16, 20)).astype(np.uint8)
    classes = np.kron(values, np.ones((4, 3), np.uint8))
    classes[:9, :7] = 255
    return classes


def assert_same_frame(found, expected):
    """Equal to the last bit, geometries included."""
    assert_frame_equal(found.to_wkb(), expected.to_wkb(), check_exact=True)
    assert found.crs == expected.crs


@pytest.mark.parametrize("connectivity", [4, 8])
def test_the_frame_is_the_same_for_every_tile_size(raster, blobs, connectivity):
    doubt = np.random.default_rng(6).integers(0, 256, blobs.shape).astype(np.uint8)
    path, confidence = raster(blobs), raster(doubt, "confidence.tif", scales=[1 / 254])
    frames = [
        polygon_frame(path, confidence=confidence, connectivity=connectivity, tile_size=size)
        for size in (1000, 1, 7, 16)
    ]
    for frame in frames[1:]:
        assert_same_frame(frame, frames[0])
    assert frames[0].is_valid.all()
    shapes = rasterio.features.shapes(blobs, mask=blobs != 255, connectivity=connectivity)
    assert len(frames[0]) == len(list(shapes))


def test_columns_and_their_order(raster):
    classes = np.array([[3, 3, 255], [7, 3, 7]], np.uint8)
    frame = polygon_frame(raster(classes))
    assert list(frame.columns) == [
        "id", "class", "class_name", "pixels", "area_ha", "perimeter_m", "confidence", "geometry",
    ]  # fmt: skip
    assert frame["id"].tolist() == [1, 2, 3]
    assert frame["class"].tolist() == [3, 7, 7]
    assert frame["class_name"].tolist() == ["class_3", "class_7", "class_7"]
    assert frame["pixels"].tolist() == [3, 1, 1]
    assert frame["confidence"].isna().all()
    assert frame.crs == "EPSG:32633"


def test_confidence_is_the_mean_of_the_valid_pixels(raster):
    classes = np.array([[1, 1, 2, 3]], np.uint8)
    doubt = np.array([[254, 127, 255, 0]], np.uint8)
    frame = polygon_frame(raster(classes), confidence=raster(doubt, "c.tif", scales=[1 / 254]))
    np.testing.assert_allclose(frame["confidence"], [0.75, np.nan, 0.0])


def test_confidence_without_a_scale_is_divided_by_254(raster):
    frame = polygon_frame(raster([[1]], dtype="uint8"), confidence=raster([[254]], "c.tif", dtype="uint8"))
    assert frame["confidence"].tolist() == [1.0]


def test_confidence_may_be_of_floating_type(raster):
    classes = np.array([[1, 1]], np.uint8)
    doubt = np.array([[0.5, 0.25]], np.float32)
    frame = polygon_frame(raster(classes), confidence=raster(doubt, "c.tif", nodata=None), tile_size=1)
    np.testing.assert_allclose(frame["confidence"], [0.375])


def test_confidence_beyond_one_is_refused(raster):
    doubt = np.array([[97]], np.int16)
    with pytest.raises(SceneError, match="reaches 97; probabilities lie between 0 and 1"):
        polygon_frame(raster([[1]], dtype="uint8"), confidence=raster(doubt, "c.tif", nodata=-1))


def test_confidence_on_another_grid_is_refused(raster):
    with pytest.raises(SceneError, match=r"\(1 x 2 pixels\) does not lie on the grid of .*\(1 x 1 pixels\)"):
        polygon_frame(raster([[1]], dtype="uint8"), confidence=raster([[9, 9]], "c.tif", dtype="uint8"))


def test_small_polygons_are_left_out_after_merging(raster):
    """A component of 60 pixels, 0.6 ha, survives although each of its pieces is smaller; ids are counted anew."""
    classes = np.zeros((8, 8), np.uint8)
    classes[0, 0:4] = 1
    frame = polygon_frame(raster(classes), min_area=0.5, tile_size=2)
    assert frame["pixels"].tolist() == [60]
    assert frame["id"].tolist() == [1]


def test_a_minimum_area_needs_a_crs(raster):
    with pytest.raises(SceneError, match="has no CRS, so there are no hectares"):
        polygon_frame(raster([[1]], dtype="uint8", crs=None), min_area=0.5)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", Affine(0.25, 0, 10, 0, -0.5, 70)),
        ("EPSG:3857", Affine(300, 0, 1_000_000, 0, -200, 6_000_000)),
        ("EPSG:5070", Affine(30, 0, -106_095, 0, -30, 1_822_605)),
    ],
)
def test_areas_add_up_to_the_area_of_the_raster(raster, blobs, crs, transform):
    frame = polygon_frame(raster(blobs, crs=crs, transform=transform))
    valid = polygon_frame(raster(np.where(blobs == 255, 255, 0), "v.tif", dtype="uint8", crs=crs, transform=transform))
    np.testing.assert_allclose(frame["area_ha"].sum(), valid["area_ha"].sum(), rtol=2e-7)


def test_without_a_crs_there_are_pixel_coordinates_and_no_hectares(raster):
    frame = polygon_frame(raster([[1, 1]], dtype="uint8", crs=None, transform=None))
    assert frame.crs is None
    assert frame.geometry[0].bounds == (0, 0, 2, 1)
    assert frame[["area_ha", "perimeter_m"]].isna().all(axis=None)


def test_nodata_of_another_value_and_a_signed_type(raster):
    classes = np.array([[0, -9999, 5]], np.int16)
    frame = polygon_frame(raster(classes, nodata=-9999))
    assert frame["class"].tolist() == [0, 5]


@pytest.mark.parametrize(("value", "dtype"), [(255, "uint8"), (300, "int16"), (-1, "int16"), (1.5, "float32")])
def test_values_that_are_no_classes_are_refused(raster, value, dtype):
    path = raster([[1, value]], dtype=dtype, nodata=None)
    with pytest.raises(LabelError, match=f"holds the value {value}; classes are whole numbers from 0 to 254"):
        polygon_frame(path)


def test_several_bands_are_refused(raster):
    with pytest.raises(SceneError, match="has 2 bands; a class raster has one"):
        polygon_frame(raster(np.zeros((2, 3, 3), np.uint8)))


def test_a_raster_without_a_valid_pixel_gives_an_empty_frame(raster, tmp_path):
    path = raster(np.full((5, 4), 255, np.uint8))
    for connectivity in (4, 8):
        assert len(polygon_frame(path, connectivity=connectivity, tile_size=2)) == 0
    summary = vectorize(path, tmp_path / "none.gpkg")
    assert (summary.polygons, summary.pixels, summary.area_ha) == (0, 0, 0.0)


def test_a_palette_names_what_has_no_class_table_by_its_value(raster):
    frame = polygon_frame(raster([[4]], dtype="uint8", colormap={4: (10, 20, 30, 255)}))
    assert frame["class_name"].tolist() == ["class_4"]


@pytest.mark.real
def test_crops_of_kansas_burn_back_to_every_pixel(data):
    path = data / "kansas_crops" / "2021_30m_cdls.tif"
    with rasterio.open(path) as file:
        classes, transform = file.read(1), file.transform
    frame = polygon_frame(path, tile_size=300)
    assert_same_frame(frame, polygon_frame(path))
    np.testing.assert_array_equal(burnt(frame.geometry, frame["class"], classes.shape, transform), classes)
    assert frame.is_valid.all()
    assert set(frame["class"]) == set(np.unique(classes).tolist())
    np.testing.assert_allclose(frame["area_ha"].sum(), classes.size * 0.09, rtol=1e-6)
