"""Polygons lie within the globe's longitudes, are cut at the antimeridian and hold their poles; their ground stays."""

import numpy as np
import pytest
import shapely
from pyproj import CRS, Geod, Transformer
from shapely.geometry import box

from geounet.raster.globe import bbox_of, cut, has_place, to_globe

GEOD = Geod(ellps="WGS84")
UTM60S, UTM1N, POLAR, MERCATOR = (CRS.from_epsg(code) for code in (32760, 32601, 3031, 3857))


def ground(shape):
    """Square metres on the ellipsoid."""
    return abs(sum(GEOD.geometry_area_perimeter(part)[0] for part in shapely.get_parts(shape)))


def expected_ground(shape, crs, pieces=300):
    """The area by triangles' worth of small cells, each measured where it does not cross."""
    west, south, east, north = shape.bounds
    xs, ys = np.linspace(west, east, pieces), np.linspace(south, north, pieces)
    x, y = np.meshgrid((xs[1:] + xs[:-1]) / 2, (ys[1:] + ys[:-1]) / 2)
    inside = shapely.contains_xy(shape, x, y)
    move = Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = move.transform(x, y)
    right, up = move.transform(x + 1, y), move.transform(x, y + 1)
    one, two = GEOD.inv(lon, lat, *right), GEOD.inv(lon, lat, *up)
    angle = np.radians(np.subtract(two[0], one[0]))
    return float((np.abs(np.sin(angle)) * one[2] * two[2])[inside].sum() * (xs[1] - xs[0]) * (ys[1] - ys[0]))


CASES = {
    "over the meridian in UTM 60S": (box(785_000, 8_000_000, 849_000, 8_100_000), UTM60S),
    "over it with a hole over it": (
        box(785_000, 8_000_000, 849_000, 8_100_000).difference(box(805_000, 8_020_000, 825_000, 8_060_000)), UTM60S,
    ),
    "from the other side": (box(100_000, 5_000_000, 260_000, 5_100_000), UTM1N),
    "two parts of which one crosses": (
        shapely.MultiPolygon([box(785_000, 8_000_000, 849_000, 8_050_000), box(7e5, 8_060_000, 710_000, 8_070_000)]),
        UTM60S,
    ),
    "the pole": (box(-300_000, -200_000, 400_000, 500_000), POLAR),
    "the pole's own corner": (box(0, 0, 400_000, 500_000), POLAR),
    "around the pole with a hole": (box(-9e5, -9e5, 9e5, 9e5).difference(box(-2e5, -3e5, 1e5, 2e5)), POLAR),
    "beyond Web Mercator's edge": (box(19_500_000, 1_000_000, 20_600_000, 1_500_000), MERCATOR),
    "nothing special": (box(500_000, 8_000_000, 549_000, 8_100_000), UTM60S),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "crs"), CASES.values(), ids=CASES.keys())
def test_polygons_keep_their_ground(shape, crs):
    (found,) = to_globe(np.array([shape], object), crs)
    assert shapely.is_valid(found)
    west, south, east, north = found.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    assert ground(found) == pytest.approx(expected_ground(shape, crs), rel=6e-3)
    for part in shapely.get_parts(found):
        assert shapely.is_ccw(part.exterior)
        assert not any(shapely.is_ccw(ring) for ring in part.interiors)
        assert part.bounds[2] - part.bounds[0] < 181 or "pole" in str(crs).lower() or crs == POLAR


def test_longitudes_from_0_to_360_are_brought_back():
    (found,) = to_globe(np.array([box(170, -10, 200, 20)], object), CRS.from_epsg(4326))
    assert found.equals(shapely.MultiPolygon([box(170, -10, 180, 20), box(-180, -10, -160, 20)]))
    (whole,) = to_globe(np.array([box(0, -10, 360, 20)], object), CRS.from_epsg(4326))
    assert whole.equals(box(-180, -10, 180, 20))


def test_a_long_edge_in_degrees_is_no_crossing():
    belt = box(-180, -10, 180, 20).difference(box(-170, 0, 170, 5))
    (found,) = to_globe(np.array([belt], object), CRS.from_epsg(4326))
    assert found.equals(belt)


def test_others_keep_their_vertices_whatever_is_beside_them():
    shapes = np.array([box(700_000, 8_000_000, 710_000, 8_010_000), CASES["over the meridian in UTM 60S"][0]], object)
    alone = to_globe(shapes[:1], UTM60S)
    both = to_globe(shapes, UTM60S)
    assert both[0].wkb == alone[0].wkb
    assert shapely.get_num_coordinates(both[0]) == 5
    assert both[1].geom_type == "MultiPolygon"


def test_a_box_over_the_meridian_begins_in_the_east():
    crossing = cut(shapely.Polygon([(179, 0), (-178, 0), (-178, 2), (179, 2)]))
    assert bbox_of(crossing) == [179, 0, -178, 2]
    assert bbox_of(box(1, 2, 3, 4)) == [1, 2, 3, 4]
    assert bbox_of(box(-180, -90, 180, -80)) == [-180, -90, 180, -80]


def test_where_there_is_no_place():
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]')
    assert [has_place(crs) for crs in (None, local, UTM60S)] == [False, False, True]
