"""Of a file with several layers the one that is meant is read, or all are named; nothing is left out without a word."""

import warnings

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
from shapely.geometry import LineString, Point, box

from geounet.errors import LabelError
from geounet.sources.polygon_files import is_polygons, read_polygons, split_layer, with_layer

AREAS = gpd.GeoDataFrame({"class": [3, 7]}, geometry=[box(0, 0, 3, 2), box(3, 0, 5, 2)], crs=32633)
LINES = gpd.GeoDataFrame({"class": [1]}, geometry=[LineString([(0, 0), (9, 4)])], crs=32633)
POINTS = gpd.GeoDataFrame({"class": [1, 2, 5]}, geometry=[Point(0, 0), Point(1, 2), Point(4, 1)], crs=32633)
TABLE = pd.DataFrame({"note": ["hello"]})


def write(path, **layers):
    for name, frame in layers.items():
        pyogrio.write_dataframe(frame, path, layer=name, append=path.exists())
    return path


@pytest.fixture(autouse=True)
def no_raw_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    ("layers", "rows", "said"),
    [
        ({"about": TABLE, "roads": LINES, "fields": AREAS}, 2, "layer fields is read; it also has roads (LineString)"),
        ({"about": TABLE, "fields": AREAS}, 2, ""),
        ({"fields": AREAS, "about": TABLE}, 2, ""),
        ({"places": POINTS, "roads": LINES}, 3, "layer places is read; it also has roads (LineString)"),
        ({"roads": LINES}, 1, ""),
    ],
)
def test_the_layer_that_can_be_meant_is_read(tmp_path, caplog, layers, rows, said):
    assert len(read_polygons(write(tmp_path / "f.gpkg", **layers))) == rows
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_several_layers_of_polygons_are_named_and_one_may_be_chosen(tmp_path):
    path = write(tmp_path / "f.gpkg", a=AREAS, b=AREAS.iloc[:1], roads=LINES)
    with pytest.raises(
        LabelError, match=r"several layers \(a \(Polygon\), b \(Polygon\), roads \(LineString\)\); name one"
    ):
        read_polygons(path)
    assert len(read_polygons(f"{path}:b")) == 1
    assert len(read_polygons(with_layer(path, "a"))) == 2
    with pytest.raises(LabelError, match=r"has no layer 'c'; its layers are a \(Polygon\), b"):
        read_polygons(f"{path}:c")


def test_a_name_with_a_colon_is_a_layer_only_behind_a_polygon_file(tmp_path):
    there = tmp_path / "odd.gpkg:name.gpkg"
    AREAS.to_file(there)
    assert split_layer(there) == (there, None)
    assert split_layer("C:/a.gpkg") == (tmp_path.__class__("C:/a.gpkg"), None)
    assert split_layer("a.GPKG:fields")[1] == "fields"
    assert is_polygons("a.gpkg:fields")
    assert not is_polygons("a.tif:fields")
    assert with_layer("a.tif", "fields") == tmp_path.__class__("a.tif")


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb", "parquet"])
def test_a_file_of_one_layer_is_read_without_a_word(tmp_path, caplog, ending):
    path = tmp_path / f"f.{ending}"
    AREAS.to_parquet(path) if ending == "parquet" else AREAS.to_file(path)
    assert sorted(read_polygons(path)["class"]) == [3, 7]
    assert caplog.text == ""


def test_geoparquet_has_no_layers(tmp_path):
    AREAS.to_parquet(tmp_path / "f.parquet")
    with pytest.raises(LabelError, match="is GeoParquet and has no layers; leave 'a' out"):
        read_polygons(f"{tmp_path / 'f.parquet'}:a")
