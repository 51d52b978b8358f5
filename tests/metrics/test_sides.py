"""Both sides come to one grid, whatever they are; what is wrong with them is mended and said, or refused."""

import geopandas
import numpy as np
import pytest
from shapely.geometry import Point, Polygon, box

from geounet.classes import LandClass
from geounet.errors import LabelError
from geounet.metrics.evaluation import compare
from geounet.metrics.sides import Reading, open_sides

CLASSES = (LandClass(1, "water", "#0000ff"), LandClass(2, "land", "#00ff00"))
LEFT, TOP = 480_000, 5_430_000


def square(col, row, width, height):
    """In pixels of 10 m from the corner of the scene."""
    return box(LEFT + 10 * col, TOP - 10 * (row + height), LEFT + 10 * (col + width), TOP - 10 * row)


def polygons(path, shapes, codes, crs="EPSG:32633"):
    geopandas.GeoDataFrame({"class": codes}, geometry=shapes, crs="EPSG:32633").to_crs(crs).to_file(path)
    return path


@pytest.fixture
def raster(tmp_path, write_scene):
    classes = np.ones((6, 9), np.uint8)
    classes[:, 4:] = 2
    return write_scene(tmp_path / "p.tif", classes, nodata=255)


def test_invalid_polygons_are_mended_and_counted(tmp_path, raster, caplog):
    bow = Polygon([(LEFT, TOP), (LEFT + 40, TOP - 40), (LEFT + 40, TOP), (LEFT, TOP - 40)])
    path = polygons(tmp_path / "r.gpkg", [bow, square(5, 0, 2, 2), None], [1, 2, 2])
    sides = open_sides(raster, path, Reading(CLASSES))
    told = (
        f"1 of 3 geometries of {path} are invalid, crossing themselves for instance, and were repaired; "
        f"1 of 3 geometries of {path} are empty and were left out"
    )
    assert sides.notes == (told,)
    assert "were repaired" in caplog.text
    assert sides.reference.shapes.geometries[0].is_valid
    assert sides.reference.shapes.geometries[0].area == pytest.approx(800)
    # A centre on an edge is the polygon's or not: at most the four of the bow's diagonals on each side of it.
    assert compare(sides, CLASSES).evaluation.matrix[1].tolist() == [0, 4]
    assert 8 <= compare(sides, CLASSES).evaluation.matrix[0, 0] <= 12


def test_a_file_of_nothing_but_empty_geometries_is_refused(tmp_path, raster):
    path = polygons(tmp_path / "r.gpkg", [None, Polygon()], [1, 2])
    with pytest.raises(LabelError, match="is empty"):
        open_sides(raster, path, Reading(CLASSES))


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_two_polygon_files_are_compared_on_pixels_of_a_given_size(tmp_path, crs):
    one = polygons(tmp_path / "p.gpkg", [square(0, 0, 3, 4), square(3, 0, 5, 4)], [1, 2])
    other = polygons(tmp_path / "r.gpkg", [square(0, 0, 4, 4), square(4, 0, 4, 3)], [1, 2], crs)
    with pytest.raises(LabelError, match=r"one of the two must be a raster, or --resolution"):
        open_sides(one, other, Reading(CLASSES))
    sides = open_sides(one, other, Reading(CLASSES), 5.0)
    assert (sides.like.height, sides.like.width) == (8, 16)
    assert (compare(sides, CLASSES).evaluation.matrix == 4 * np.array([[12, 4], [0, 12]])).all()


def test_polygon_files_apart_are_refused(tmp_path):
    one = polygons(tmp_path / "p.gpkg", [square(0, 0, 3, 4)], [1])
    other = polygons(tmp_path / "r.gpkg", [square(30, 0, 3, 4)], [1])
    with pytest.raises(LabelError, match=r"r\.gpkg does not overlap .*p\.gpkg: .*480300"):
        open_sides(one, other, Reading(CLASSES), 10)


def test_points_are_a_reference_but_no_prediction(tmp_path, raster):
    path = polygons(tmp_path / "r.geojson", [Point(LEFT + 5, TOP - 5)], [1])
    sides = open_sides(raster, path, Reading(CLASSES))
    assert sides.sampled
    with pytest.raises(LabelError, match="points can be the reference"):
        open_sides(path, raster, Reading(CLASSES))
    with pytest.raises(LabelError, match="a sample"):
        compare(sides, CLASSES)


def test_a_point_beside_the_map_is_said_to_lie_there(tmp_path, raster):
    path = polygons(tmp_path / "r.geojson", [Point(LEFT - 5, TOP - 5)], [1])
    with pytest.raises(LabelError, match=r"r\.geojson does not overlap"):
        open_sides(raster, path, Reading(CLASSES))
