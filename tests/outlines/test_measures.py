"""Areas and perimeters are those on the ellipsoid, in every CRS."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from geounet.outlines.measures import measure

UTM_FEET = "+proj=utm +zone=33 +ellps=WGS84 +units=us-ft"
MOON = "+proj=eqc +lat_ts=0 +lon_0=0 +R=1737400 +units=m"


def oracle(polygon, crs):
    """Geodesic area in hectares and perimeter in metres of a polygon whose edges are cut into 4000 pieces."""
    crs = CRS.from_user_input(crs)
    min_x, min_y, max_x, max_y = polygon.bounds
    fine = shapely.segmentize(polygon, max(max_x - min_x, max_y - min_y) / 4000)
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    area, perimeter = crs.get_geod().geometry_area_perimeter(
        shapely.transform(fine, to_degrees.transform, interleaved=False)
    )
    return abs(area) / 1e4, perimeter


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:4326", (10, 45, 10.001, 45.002)),
        ("EPSG:4326", (10, -70, 40, -30)),
        ("EPSG:3857", (1e6, 8e6, 1.01e6, 8.02e6)),
        ("EPSG:32633", (5e5, 5e6, 500_010, 5_000_001)),
        ("EPSG:32633", (2e5, 7e6, 6e5, 7.3e6)),
        ("EPSG:5070", (-1e5, 1.8e6, -0.9e5, 1.83e6)),
        ("EPSG:2263", (9e5, 2e5, 9.1e5, 2.1e5)),
        (UTM_FEET, (1.5e6, 1.6e7, 1.6e6, 1.61e7)),
        (MOON, (1e5, 1e5, 2e5, 3e5)),
        ("EPSG:32601", (1e5, 5e6, 5e5, 5.1e6)),
        ("EPSG:3413", (-1e6, -1e6, 1.2e6, 1e6)),
        ("EPSG:3031", (-1e6, -1e6, 1.2e6, 1e6)),
    ],
    ids=["degrees, small", "degrees, large", "Web Mercator", "one pixel", "UTM", "Albers", "US feet", "UTM in feet",
         "Moon", "across the antimeridian", "around the north pole", "around the south pole"],
)  # fmt: skip
def test_area_and_perimeter_are_geodesic(crs, bounds):
    polygon = shapely.box(*bounds)
    area, perimeter = measure(np.array([polygon]), crs)
    assert (area[0], perimeter[0]) == pytest.approx(oracle(polygon, crs), rel=1e-7)


@pytest.mark.parametrize(("crs", "x", "y"), [("EPSG:32633", 302_610, 5_398_290), ("EPSG:5070", -106_095, 1_822_605)])
def test_small_polygons_with_one_long_edge(crs, x, y):
    """A staircase over a straight foot: what bends in the long edge is not made up for by the short ones."""
    tops = [(x + 10 * col, y + 10 * (1 + row % 3)) for row in range(80) for col in (row, row + 1)]
    polygon = shapely.Polygon([(x, y), *tops, (x + 800, y)])
    area, perimeter = measure(np.array([polygon]), crs)
    assert (area[0], perimeter[0]) == pytest.approx(oracle(polygon, crs), rel=2e-7)


def test_holes_take_area_and_give_perimeter():
    whole, hole = shapely.box(5e5, 5e6, 501_000, 5_002_000), shapely.box(500_100, 5_000_100, 500_300, 5_000_400)
    area, perimeter = measure(np.array([whole, hole, whole - hole]), 32633)
    assert area[2] == pytest.approx(area[0] - area[1])
    assert perimeter[2] == pytest.approx(perimeter[0] + perimeter[1])


def test_orientation_and_parts_do_not_matter():
    left, right = shapely.box(10, 45, 10.1, 45.1), shapely.box(10.1, 45.1, 10.3, 45.2)
    both = shapely.MultiPolygon([left, shapely.reverse(right)])
    area, perimeter = measure(np.array([both, left, right]), 4326)
    assert area[0] == pytest.approx(area[1] + area[2])
    assert perimeter[0] == pytest.approx(perimeter[1] + perimeter[2])


def test_the_whole_earth():
    area, _ = measure(np.array([shapely.box(-180, -90, 180, 90)]), 4326)
    assert area[0] == pytest.approx(5.10065621724e10, rel=1e-9)


def test_a_corner_at_the_pole():
    """Four squares that meet at the pole, as polar grids have them, make the square around it."""
    squares = [shapely.box(x, y, x + 1e6, y + 1e6) for x in (-1e6, 0) for y in (-1e6, 0)]
    area, _ = measure(np.array([*squares, shapely.box(-1e6, -1e6, 1e6, 1e6)]), 3413)
    assert area[:4].sum() == pytest.approx(area[4], rel=1e-8)


def test_without_a_crs_nothing_is_known():
    area, perimeter = measure(np.array([shapely.box(0, 0, 1, 1)]), None)
    assert np.isnan([area[0], perimeter[0]]).all()


def test_a_plan_is_measured_as_a_plane():
    plan = CRS.from_wkt(
        'ENGCRS["plan",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["km",1000]]'
    )
    area, perimeter = measure(np.array([shapely.box(3, 4, 5, 7)]), plan)
    assert (area[0], perimeter[0]) == pytest.approx((600, 10_000))


def test_nothing_at_all():
    area, perimeter = measure(np.array([], object), 4326)
    assert area.size == perimeter.size == 0


def test_many_polygons_are_measured_as_each_alone():
    """The vertices are taken in chunks; a polygon's measure must not depend on its chunk."""
    polygon = shapely.Point(5e5, 5e6).buffer(1000, quad_segs=6000)
    area, perimeter = measure(np.array([polygon] * 12), 32633)
    assert set(area) == set(measure(np.array([polygon]), 32633)[0])
    assert set(perimeter) == set(measure(np.array([polygon]), 32633)[1])
