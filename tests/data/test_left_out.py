"""What is left out on the way from files to labels, rasters and polygons is said once, with counts."""

import logging

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from shapely import LineString, MultiPolygon, Point, Polygon, box

from geounet.data.pairing import list_labels, pair_labels
from geounet.data.polygon_classes import class_field
from geounet.errors import SceneError
from geounet.raster.burning import outlines
from geounet.sources.listing import list_scenes
from geounet.tasks.rasterize import rasterize
from geounet.tasks.tile import tile
from geounet.tasks.vectorize import vectorize

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
LEFT, TOP = 480_000, 5_430_000


@pytest.fixture
def files(tmp_path, write_scene):
    """A scene of 40 x 60 pixels, and a file of polygons and others."""
    random = np.random.default_rng(0)
    write_scene(tmp_path / "scene.tif", random.integers(1, 200, (2, 40, 60)).astype(np.uint8), transform=NORTH_UP)
    shapes = [
        box(LEFT, TOP - 100, LEFT + 100, TOP),
        MultiPolygon([box(LEFT + 200, TOP - 200, LEFT + 240, TOP - 100), box(LEFT, TOP - 300, LEFT + 50, TOP - 200)]),
        box(LEFT + 301, TOP - 4, LEFT + 304, TOP - 1),  # beside its pixel's centre
        Point(LEFT + 50, TOP - 50),
        LineString([(LEFT, TOP), (LEFT + 90, TOP - 90)]),
        Polygon(),
        None,
        box(LEFT - 900, TOP - 50, LEFT - 800, TOP),  # beside the scene
    ]
    frame = gpd.GeoDataFrame({"class": [1, 2, 3, 1, 1, 1, 1, 2]}, geometry=shapes, crs="EPSG:32633")
    frame.to_parquet(tmp_path / "scene.parquet")
    return tmp_path


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_is_not_burnt_is_counted(files, caplog):
    summary = rasterize(files / "scene.parquet", files / "scene.tif", files / "o.tif")
    told = said(caplog)
    assert sum("1 empty, 1 linestring, 1 point, 1 without geometry" in line for line in told) == 1
    assert sum("1 of 8 features" in line and "lie beside" in line for line in told) == 1
    assert sum("1 of 4 polygons" in line and "too small to hold a pixel's centre" in line for line in told) == 1
    assert summary.counts == {1: 100, 2: 40 + 50}
    caplog.clear()
    rasterize(files / "scene.parquet", files / "scene.tif", files / "t.tif", all_touched=True)
    assert not any("too small" in line for line in said(caplog))


def test_labels_for_training_say_the_same_once_for_all_images(files, write_scene, caplog):
    array = np.random.default_rng(1).integers(1, 200, (2, 40, 60)).astype(np.uint8)
    write_scene(files / "again.tif", array, transform=NORTH_UP)
    pairs = pair_labels([files / "scene.tif", files / "again.tif"], [files / "scene.parquet"])
    assert len(pairs) >= 1
    told = said(caplog)
    assert sum("are no polygons, and left out" in line for line in told) == 1
    assert sum("too small to hold a pixel's centre" in line for line in told) == 1


def test_polygons_that_hold_no_centre_are_those_that_burn_nothing():
    """Squares of half a pixel at all places: they are counted where they lie between centres."""
    places = np.arange(0, 3, 0.25)
    squares = [box(x, y, x + 0.5, y + 0.5) for x in places for y in places]
    drawn = outlines(squares, [1] * len(squares), Affine.identity())
    holding = [x for x in places if x % 1 < 0.5 <= x % 1 + 0.5]
    assert drawn.without_centre == len(squares) - len(holding) ** 2


def test_a_field_that_is_guessed_among_several_is_named(caplog):
    frame = gpd.GeoDataFrame({"value": [1], "class": [2], "name": ["a"]}, geometry=[box(0, 0, 1, 1)])
    assert class_field(frame, "p.gpkg", None) == "class"
    assert said(caplog) == ["p.gpkg: field 'class' gives the classes; it also has value (--label-field names one)"]
    caplog.clear()
    assert class_field(frame, "p.gpkg", "value") == "value"
    assert class_field(frame.drop(columns="value"), "p.gpkg", None) == "class"
    assert not said(caplog)


def test_a_folder_of_scenes_may_hold_polygons_which_are_named(files, caplog):
    assert list_scenes([files]) == (str(files / "scene.tif"),)
    assert [path.name for path in list_labels([files])] == ["scene.parquet", "scene.tif"]
    assert sum("1 polygon or JSON files such as scene.parquet are no scenes" in line for line in said(caplog)) == 1
    (files / "scene.tif").unlink()
    with pytest.raises(SceneError, match=r"holds no raster and no delivery \(1 polygon files\)"):
        list_scenes([files])


def test_chips_and_polygons_that_are_left_out_are_counted(tmp_path, write_scene, caplog):
    values = np.random.default_rng(0).integers(1, 200, (2, 64, 64)).astype(np.uint8)
    values[:, :32] = 0
    scene = write_scene(tmp_path / "scene.tif", values, nodata=0)
    assert len(tile([scene], tmp_path / "chips", size=16)) == 8
    assert "8 of 16 chips hold no valid pixel, and are left out" in said(caplog)
    codes = np.kron(np.arange(1, 5).reshape(2, 2), np.ones((8, 8))).astype(np.uint8)
    codes[0, 0] = codes[9, 9] = 9
    raster = write_scene(tmp_path / "c.tif", codes)
    assert vectorize(raster, tmp_path / "v.gpkg", min_area=0.1).polygons == 4
    assert "2 of 6 polygons have fewer than 0.1 ha, and are left out" in said(caplog)


def test_a_guessed_field_is_named_once_with_a_class_map_too(files, caplog):
    frame = gpd.read_parquet(files / "scene.parquet").assign(value=7)
    frame.to_parquet(files / "both.parquet")
    pair_labels([files / "scene.tif"], [files / "both.parquet"], class_map={"1": 5})
    rasterize(files / "both.parquet", files / "scene.tif", files / "m.tif", class_map={"1": 5})
    assert sum("gives the classes; it also has value" in line for line in said(caplog)) == 2, "once a command"
