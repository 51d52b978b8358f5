"""Areas and lengths on a raster's lattice are those on the ellipsoid, to 1e-7, for any grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from scipy import ndimage

from geounet.outlines.ground import Ground, survey

PLAN = 'ENGCRS["plan",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["km",1000]]'

GRIDS = {
    "degrees": (4326, Affine(1e-4, 0, 10, 0, -1e-4, 48)),
    "coarse degrees": (4326, Affine(0.01, 0, 10, 0, -0.02, 70)),
    "degrees, south-up": (4326, Affine(1e-3, 0, 10, 0, 1e-3, -60)),
    "degrees, rotated": (4326, Affine(2e-4, 1e-4, 10, 1e-4, -2e-4, 60)),
    "across the antimeridian": (4326, Affine(0.001, 0, 179.5, 0, -0.001, 10)),
    "Web Mercator": (3857, Affine(10, 0, 1e6, 0, -10, 8e6)),
    "Web Mercator, oblong pixels": (3857, Affine(300, 0, 1e6, 0, -200, 6e6)),
    "UTM": (32633, Affine(10, 0, 3e5, 0, -10, 5.1e6)),
    "UTM, rotated": (32633, Affine(8.66, 3.5, 480_000, 5, -6.06, 5_430_000)),
    "UTM, coarse": (32633, Affine(300, 0, 2e5, 0, -200, 7e6)),
    "Albers": (5070, Affine(30, 0, -1e5, 0, -30, 1.8e6)),
    "feet": (2263, Affine(3, 0, 9e5, 0, -3, 2.1e5)),
    "around the north pole": (3413, Affine(250, 0, -1e5, 0, -250, 1e5)),
}
HEIGHT, WIDTH = 900, 1000


def lattice_box(row, col, height, width):
    """A rectangle of pixels as a ring, clockwise on the screen."""
    return np.array([(row, col), (row, col + width), (row + height, col + width), (row + height, col)], np.int32)


def geodesic(ring, transform, crs):
    """Oracle: pyproj's geodesic square metres and metres, the edges cut into short pieces."""
    crs = CRS.from_user_input(crs)
    corners = [transform @ (float(col), float(row)) for row, col in ring]
    polygon = shapely.Polygon(corners)
    # Few pieces where the pixels are few: geodesics of millimetres lose digits.
    fine = shapely.segmentize(polygon, polygon.length / min(6000, 2 * np.ptp(ring, axis=0).sum()))
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    area, perimeter = crs.get_geod().geometry_area_perimeter(
        shapely.transform(fine, to_degrees.transform, interleaved=False)
    )
    return abs(area), perimeter


@pytest.mark.parametrize("name", GRIDS)
def test_rectangles_of_all_sizes_are_geodesic(name):
    crs, transform = GRIDS[name]
    boxes = [
        lattice_box(417, 893, 1, 1), lattice_box(31, 60, 7, 3), lattice_box(550, 20, 300, 900),
        lattice_box(0, 0, HEIGHT, WIDTH),
    ]  # fmt: skip
    ground = survey(transform, HEIGHT, WIDTH, CRS.from_user_input(crs))
    area, length = ground.measure(np.concatenate(boxes), np.arange(len(boxes) + 1) * 4)
    expected = np.array([geodesic(box, transform, crs) for box in boxes])
    np.testing.assert_allclose(length, expected[:, 1], rtol=1e-7)
    # Of single pixels the oracle itself loses digits.
    np.testing.assert_allclose(area, expected[:, 0], rtol=1e-7, atol=2e-5)


def integrals(nodes, step):
    """Along the second axis, of what is linear between nodes."""
    steps = (nodes[:, 1:] + nodes[:, :-1]) * step / 2
    return np.concatenate([np.zeros((nodes.shape[0], 1)), np.cumsum(steps, axis=1)], axis=1)


def between(nodes, row, col):
    """Bilinear values of a net at places counted in nodes."""
    return ndimage.map_coordinates(nodes, np.broadcast_arrays(row, col), order=1)


@given(st.integers(0, 17), st.integers(0, 31), st.integers(1, 18), st.integers(1, 32), st.integers(0, 2**32 - 1))
def test_any_net_is_bilinear_within_a_cell_and_across_cells(row, col, height, width, seed):
    """Pixel by pixel, for along an edge and over a pixel the middle is the mean."""
    area, across, down = np.random.default_rng(seed).uniform(1, 2, (3, 4, 5))
    ground = Ground(6, 8, area, integrals(area, 8), across, integrals(across, 8), *(down.T, integrals(down.T, 6)))
    row_stop, col_stop = min(row + height, 18), min(col + width, 32)
    rows, cols = np.arange(row, row_stop)[:, None] + 0.5, np.arange(col, col_stop) + 0.5
    box = lattice_box(row, col, row_stop - row, col_stop - col)
    found = ground.measure(box, np.array([0, 4]))
    edges = [
        *(between(across, at / 6, cols / 8).sum() for at in (row, row_stop)),
        *(between(down, rows[:, 0] / 6, at / 8).sum() for at in (col, col_stop)),
    ]
    assert found[0][0] == pytest.approx(between(area, rows / 6, cols / 8).sum(), rel=1e-9)
    assert found[1][0] == pytest.approx(sum(edges), rel=1e-9)


def test_the_whole_earth():
    ground = survey(Affine(0.5, 0, -180, 0, -0.5, 90), 360, 720, CRS.from_epsg(4326))
    area, _ = ground.measure(lattice_box(0, 0, 360, 720), np.array([0, 4]))
    assert area[0] == pytest.approx(5.10065621724e14, rel=2e-8)


def test_a_hemisphere_is_measured_to_a_few_millionths():
    """As many nodes as there may be are too few here, and the error is the stated one."""
    transform = Affine(5000, 0, -4e6, 0, -5000, 4e6)
    ground = survey(transform, 1600, 1600, CRS.from_epsg(3413))
    box = lattice_box(40, 60, 1, 1)
    area, length = ground.measure(box, np.array([0, 4]))
    assert (area[0], length[0]) == pytest.approx(geodesic(box, transform, 3413), rel=2e-6)


@given(
    st.sampled_from(["degrees, rotated", "UTM, coarse", "Web Mercator, oblong pixels"]),
    st.lists(st.tuples(st.integers(1, 899), st.integers(1, 999)), min_size=2, max_size=2),
)
def test_parts_add_up_to_the_whole(name, cuts):
    """Two cuts make a raster's four quarters and then some; signs and cells must not show."""
    crs, transform = GRIDS[name]
    ground = survey(transform, HEIGHT, WIDTH, CRS.from_user_input(crs))
    rows, cols = sorted({0, HEIGHT, *(row for row, _ in cuts)}), sorted({0, WIDTH, *(col for _, col in cuts)})
    boxes = [
        lattice_box(row, col, next_row - row, next_col - col)
        for row, next_row in pairwise(rows)
        for col, next_col in pairwise(cols)
    ]
    area, _ = ground.measure(np.concatenate(boxes), np.arange(len(boxes) + 1) * 4)
    whole, _ = ground.measure(lattice_box(0, 0, HEIGHT, WIDTH), np.array([0, 4]))
    assert area.sum() == pytest.approx(whole[0], rel=1e-12)


def test_a_ring_the_other_way_round_is_negative():
    crs, transform = GRIDS["UTM"]
    ground = survey(transform, HEIGHT, WIDTH, CRS.from_user_input(crs))
    box = lattice_box(3, 4, 50, 60)
    there, back = (ground.measure(ring, np.array([0, 4])) for ring in (box, np.ascontiguousarray(box[::-1])))
    assert there[0] == pytest.approx(-back[0])
    assert there[1] == pytest.approx(back[1])


def test_a_plan_is_measured_as_a_plane():
    ground = survey(Affine(2, 0, 0, 0, -3, 0), 10, 20, CRS.from_wkt(PLAN))
    area, length = ground.measure(lattice_box(1, 2, 4, 5), np.array([0, 4]))
    assert (area[0], length[0]) == pytest.approx((4 * 5 * 6e6, 2 * (4 * 3 + 5 * 2) * 1e3))


@pytest.mark.parametrize("crs", [None, "+proj=ortho +lat_0=40", "+proj=sinu +R=6371007.181", "+proj=robin"])
def test_no_survey_without_a_crs_beyond_its_coordinates_or_where_it_bends_too_much(crs):
    world = Affine(1e5, 0, -2e7, 0, -1e5, 1e7)
    assert survey(world, 200, 400, crs and CRS.from_user_input(crs)) is None
