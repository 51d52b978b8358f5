"""What polygons say of their class becomes a code, is refused, or is left out with a count; never in silence."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from geounet.classes import LandClass
from geounet.data.polygon_classes import codes_of, mapped, tell_strange_names
from geounet.errors import LabelError

TABLE = (LandClass(4, "Forest", "#00aa00"), LandClass(9, "wäter", "#0000ff"), LandClass(2, "7", "#111111"))


def frame_of(values):
    return gpd.GeoDataFrame({"class": values}, geometry=[box(i, 0, i + 1, 1) for i in range(len(values))], crs=32633)


def codes(values, classes=()):
    return codes_of(frame_of(values), "f.gpkg", classes, None).tolist()


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, 254],
        ["1", "0", "254"],
        [1.0, 0.0, 254.0],
        pd.array([1, 0, 254], "Int64"),
        np.array([1, 0, 254], np.uint8),
    ],
)
def test_whole_numbers_are_codes_whatever_their_type(values, caplog):
    assert codes(values) == [1, 0, 254]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ([1, 255, 256, 256, 3040, 5], "256: 2, 255: 1, 3040: 1 polygons"),
        ([1, 2.5], "2.5: 1 polygons"),
        ([3, -1], "-1: 1 polygons"),
        (["1", "1100"], "'1100': 1 polygons"),
        (list(range(250, 290)), "and 27 more values"),
    ],
)
def test_numbers_that_a_class_raster_cannot_hold_are_refused_with_their_counts(values, listed):
    with pytest.raises(
        LabelError, match=r"field 'class' of f.gpkg holds values that a class raster cannot hold"
    ) as told:
        codes(values)
    assert listed in str(told.value)
    assert "--class-map" in str(told.value)


def test_names_are_joined_by_the_table_and_what_is_left_out_is_counted(caplog):
    decomposed = "wa\N{COMBINING DIAERESIS}ter "
    assert codes(["Forest", " forest", "FOREST", decomposed, "7", None, "", "sand", "sand"], TABLE) == [
        4, 4, 4, 9, 2, -1, -1, -1, -1,
    ]  # fmt: skip
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "field 'class' of f.gpkg is empty for 2 of 9 polygons, which are left out"
    assert said[1] == "field 'class' of f.gpkg: 'sand': 2 polygons are in no class of the table, and left out"
    assert "' forest': 1, 'FOREST': 1" in said[2]
    assert len(said) == 3


def test_a_name_that_can_be_two_classes_is_none_of_them(caplog):
    table = (LandClass(1, "Rock", "#111111"), LandClass(2, "rock", "#222222"))
    assert codes(["Rock", "rock", "ROCK"], table) == [1, 2, -1]
    assert "'ROCK': 1 polygons are in no class" in caplog.text


def test_names_alike_without_a_table_are_pointed_at(caplog):
    tell_strange_names("f.gpkg", ["forest", "Forest", " forest", "water"])
    assert "'forest' and 'Forest' and ' forest' differ in case or blanks alone" in caplog.text
    assert "water" not in caplog.text


def test_a_class_map_comes_first():
    frame = mapped(frame_of([1100, 3.0, "Old  Forest", None, 8]), "f.gpkg", None, {"1100": 7, "3": 5, "old forest": 4})
    assert codes_of(frame, "f.gpkg", (), None).tolist() == [7, 5, 4, -1, 8]


def test_no_class_at_all_is_refused():
    with pytest.raises(LabelError, match="holds no class code 0 to 254 and no name of the class table"):
        codes(["a", None])
