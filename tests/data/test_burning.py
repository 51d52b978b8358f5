"""Burnt polygons are GDAL's on the whole raster, and every window is a crop of the whole."""

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from geounet.grid import Window
from geounet.raster.burning import _col_at, burn, outlines

HEIGHT, WIDTH = 23, 31
WHOLE = Window(0, 0, HEIGHT, WIDTH)
SAME = Affine.identity()


def burnt(shapes, window=WHOLE, all_touched=False, to_pixels=SAME):
    geometries, codes = [shape for shape, _ in shapes], [code for _, code in shapes]
    return burn(outlines(geometries, codes, to_pixels), window, 255, all_touched)


def gdal(shapes, all_touched=False):
    return rasterio.features.rasterize(shapes, (HEIGHT, WIDTH), fill=255, dtype="uint8", all_touched=all_touched)


@st.composite
def stars(draw, places):
    """A polygon whose corners lie around a middle, anywhere on and beside the raster; some with a hole."""
    count = draw(st.integers(3, 8))
    middle = np.array([draw(st.floats(-5, WIDTH + 5)), draw(st.floats(-5, HEIGHT + 5))])
    angles = (np.arange(count) + [draw(st.floats(0.05, 0.95)) for _ in range(count)]) * 2 * np.pi / count
    radii = np.array([draw(st.floats(0.5, 14)) for _ in range(count)])
    corners = places(middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    polygon = Polygon(corners)
    assume(polygon.is_valid and polygon.area > 0)
    if draw(st.booleans()):
        hole = Polygon(places(middle + 0.4 * (corners - middle)))
        # A hole that crosses the outline would put corners where the two meet: at places that are rounded.
        polygon = polygon.difference(hole) if hole.is_valid and polygon.contains(hole) else polygon
    return polygon


def anywhere(corners):
    """Places that no number holds exactly, nor what is worked out from them."""
    return corners


def off_the_middles(corners):
    """Eighths: exact in floating point, and no row on the middle of a pixel, where GDAL minds a ring's direction."""
    return np.round(corners * 4) / 4 + 0.125


def on_the_grid(corners):
    """Corners, sides and middles of pixels: all that is hard to decide."""
    return np.round(corners * 2) / 2


def layers(places):
    return st.lists(st.tuples(stars(places), st.integers(0, 254)), min_size=1, max_size=4)


@given(layers(off_the_middles))
def test_the_whole_is_that_of_gdal(shapes):
    """Centres, holes and the order of overlapping polygons."""
    np.testing.assert_array_equal(burnt(shapes), gdal(shapes))


@given(layers(off_the_middles))
def test_all_that_is_touched_is_all_that_shares_area_with_the_polygon(shapes):
    """Oracle: shapely's intersection with each pixel's square."""
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    rows, cols = np.indices((HEIGHT, WIDTH))
    squares = shapely.box(cols, rows, cols + 1, rows + 1)
    for shape, code in shapes:
        expected[shapely.area(shapely.intersection(squares, shape)) > 1e-12] = code
    np.testing.assert_array_equal(burnt(shapes, all_touched=True), expected)


@given(stars(off_the_middles))
def test_all_that_is_touched_holds_what_gdal_finds_touched(shape):
    """GDAL's and ours differ by no more than pixels that an outline barely grazes."""
    ours, theirs = (found == 1 for found in (burnt([(shape, 1)], all_touched=True), gdal([(shape, 1)], True)))
    for row, col in np.argwhere(ours != theirs):
        assert shape.intersection(box(col, row, col + 1, row + 1)).area < 0.02


@given(
    layers(on_the_grid) | layers(off_the_middles) | layers(anywhere), st.booleans(),
    st.integers(-8, 30), st.integers(-8, 38), st.integers(1, 25), st.integers(1, 25),
)  # fmt: skip
def test_a_window_is_the_crop_of_the_whole(shapes, all_touched, row, col, height, width):
    """Also where corners lie on pixels' sides and middles, where they are rounded, and beyond the raster."""
    padded = burnt(shapes, Window(-40, -40, HEIGHT + 80, WIDTH + 80), all_touched)
    window = Window(row, col, height, width)
    expected = padded[row + 40 : row + 40 + height, col + 40 : col + 40 + width]
    np.testing.assert_array_equal(burnt(shapes, window, all_touched), expected)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_neighbours_leave_no_gap_and_share_no_pixel(seed, all_touched):
    """Triangles that tile the raster, some corners on middles of pixels: each pixel is in just one by its centre."""
    random = np.random.default_rng(seed)
    inner = np.round(random.uniform(0, (WIDTH, HEIGHT), (12, 2)) * 2) / 2
    points = shapely.MultiPoint(np.concatenate([inner, [(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)]]))
    triangles = shapely.get_parts(shapely.delaunay_triangles(points))
    times = sum((burnt([(triangle, 1)], all_touched=all_touched) == 1).astype(int) for triangle in triangles)
    assert (times >= 1).all()
    assert all_touched or (times == 1).all()


def test_an_edge_is_crossed_at_the_same_place_from_either_end():
    """So neighbours that share it part there, to the last bit."""
    for edge in np.random.default_rng(1).uniform(0, 1000, (200, 4)):
        at = edge[[1, 3]].mean()
        assert _col_at(edge, at) == _col_at(edge[[2, 3, 0, 1]], at)


def test_squares_on_the_grid_are_themselves_touched_or_not():
    """An outline along the pixels' sides touches none beyond it."""
    for all_touched in (False, True):
        found = burnt([(box(3, 4, 9, 6), 7)], all_touched=all_touched)
        assert found[4:6, 3:9].tolist() == [[7] * 6] * 2
        assert (found == 7).sum() == 12


def test_a_sliver_is_seen_only_where_all_touched():
    sliver = box(2.6, 3.6, 8.9, 3.9)
    assert (burnt([(sliver, 1)]) == 255).all()
    assert np.argwhere(burnt([(sliver, 1)], all_touched=True) == 1).tolist() == [[3, col] for col in range(2, 9)]


def test_parts_and_collections_are_burnt_and_what_is_no_polygon_is_not():
    parts = MultiPolygon([box(0, 0, 2, 2), box(5, 5, 7, 8)])
    nested = GeometryCollection([LineString([(0, 9), (9, 9)]), GeometryCollection([box(10, 1, 12, 2), Point(3, 3)])])
    shapes = [(parts, 1), (nested, 2), (LineString([(0, 15), (20, 15)]), 3), (Polygon(), 4), (None, 5)]
    found = burnt(shapes, all_touched=True)
    assert {code: int((found == code).sum()) for code in range(1, 6)} == {1: 10, 2: 2, 3: 0, 4: 0, 5: 0}


def test_no_polygon_at_all_leaves_the_background():
    drawn = outlines([], [], SAME)
    assert (burn(drawn, WHOLE, 9) == 9).all()


def test_a_polygon_that_a_projection_threw_to_infinity_is_left_out():
    thrown = Polygon([(0, 0), (np.inf, 0), (5, 5)])
    found = burnt([(thrown, 1), (box(1, 1, 3, 3), 2)])
    assert (found == 1).sum() == 0
    assert (found == 2).sum() == 4


@pytest.mark.parametrize("transform", [Affine(10, 0, 500, 0, -10, 900), Affine(10, 0, 500, 0, 10, 900)])
def test_coordinates_become_pixels(transform):
    polygon = Polygon([(2, 3), (20, 5), (9, 20)])
    on_ground = shapely.transform(polygon, lambda points: np.stack(transform @ points.T, axis=1))
    np.testing.assert_array_equal(burnt([(on_ground, 1)], to_pixels=~transform), burnt([(polygon, 1)]))


@given(st.integers(0, 99), st.integers(-20, 120), st.integers(-20, 120), st.integers(1, 60), st.integers(1, 60))
def test_the_polygons_near_a_window_are_those_whose_bounds_meet_it(seed, row, col, height, width):
    """Many small ones and few that go from end to end: none is missed, and the order stays."""
    random = np.random.default_rng(seed)
    corners, sizes = random.uniform(-30, 110, (300, 2)), random.uniform(0.5, 9, (300, 2))
    sizes[::120] *= 20
    boxes = shapely.box(*corners.T, *(corners + sizes).T)
    window = Window(row, col, height, width)
    meets = shapely.intersects(boxes, box(col, row, window.col_stop, window.row_stop))
    np.testing.assert_array_equal(outlines(boxes, np.zeros(300), SAME).near(window), np.flatnonzero(meets))
