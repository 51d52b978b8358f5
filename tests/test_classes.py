"""A class table is read whole and valid, or refused by a sentence that names the file."""

import pytest

from geounet.class_tables import read_class_map, read_classes
from geounet.classes import LandClass, classes_from_values, default_class
from geounet.errors import LabelError


def test_a_table_is_read_in_its_order_with_its_colours(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("value,name,color\n70, forest ,#00AA00\n0,water,\n254,roof & wall,#ff0000\n")
    assert read_classes(path) == (
        LandClass(70, "forest", "#00aa00"),
        LandClass(0, "water", default_class(0, 1).color),
        LandClass(254, "roof & wall", "#ff0000"),
    )


def test_a_byte_order_mark_and_names_beyond_ascii_are_read(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("value,name\n1,Gewässer\n2,숲\n", encoding="utf-8-sig")
    assert [item.name for item in read_classes(path)] == ["Gewässer", "숲"]


BAD = {
    "empty file": b"",
    "header only": b"value,name,color\n",
    "other columns": b"number,what\n1,water\n",
    "no name column": b"value,color\n1,#112233\n",
    "a word for a value": b"value,name\nwater,1\n",
    "a value with decimals": b"value,name\n1.5,water\n",
    "no value": b"value,name\n,water\n",
    "a value twice": b"value,name\n1,water\n1,forest\n",
    "value 255": b"value,name\n1,water\n255,forest\n",
    "a negative value": b"value,name\n-1,water\n",
    "no colour": b"value,name,color\n1,water,bluish\n",
    "a row without a name": b"value,name\n1,water\n2\n",
    "a row without a value": b"name,value\nwater\n",
    "half of UTF-16": b"\xff\xfev\x00a",
    "a picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_table_is_refused_by_a_sentence_that_names_the_file(tmp_path, content):
    path = tmp_path / "classes.csv"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r"classes\.csv"):
        read_classes(path)


def test_a_missing_table_is_refused_by_a_sentence_that_names_the_file(tmp_path):
    with pytest.raises(LabelError, match=r"nowhere\.csv"):
        read_classes(tmp_path / "nowhere.csv")


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(LabelError, match=tmp_path.name):
        read_classes(tmp_path)


@pytest.mark.parametrize("value", [-1, 255, 256, 1000])
def test_values_outside_0_to_254_are_refused_with_the_number(value):
    with pytest.raises(LabelError, match=str(value)):
        LandClass(value, "anything", "#000000")


@pytest.mark.parametrize("color", ["", "red", "#12345", "#1234567", "#12345g", "123456", "#123456\n"])
def test_a_colour_is_six_hexadecimal_digits(color):
    with pytest.raises(LabelError, match="#rrggbb"):
        LandClass(1, "anything", color)


def test_a_colour_becomes_red_green_and_blue():
    assert LandClass(1, "anything", "#0a80fF").rgb == (10, 128, 255)


def test_classes_from_values_are_ascending_distinct_and_of_different_colours():
    found = classes_from_values([70, 10, 254, 10, 0])
    assert [item.value for item in found] == [0, 10, 70, 254]
    assert len({item.color for item in found}) == 4
    assert {item.name for item in found} == {"class_0", "class_10", "class_70", "class_254"}


def test_more_classes_than_colours_are_still_classes():
    assert len(classes_from_values(range(255))) == 255


def test_classes_from_values_refuse_the_nodata_value():
    with pytest.raises(LabelError, match="255"):
        classes_from_values([1, 255])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_spreadsheets_are_read(tmp_path, separator, encoding):
    path = tmp_path / "classes.csv"
    rows = [
        ("Value", "Name", "Colour"),
        (" 3 ", " Gewässer ", "#00f"),
        ("7.0", "wood", "#0A0B0CFF"),
        ("8", "road", "Tan"),
    ]
    path.write_bytes("\r\n".join(separator.join(row) for row in rows).encode(encoding))
    assert read_classes(path) == (
        LandClass(3, "Gewässer", "#0000ff"), LandClass(7, "wood", "#0a0b0c"), LandClass(8, "road", "#d2b48c"),
    )  # fmt: skip


def test_what_was_found_in_place_of_the_columns_is_said(tmp_path):
    (tmp_path / "c.csv").write_text("number;what\n1;water\n")
    with pytest.raises(LabelError, match=r"needs the columns value,name,color; found: 'number', 'what'$"):
        read_classes(tmp_path / "c.csv")


def test_one_name_for_several_values_is_pointed_at(tmp_path, caplog):
    (tmp_path / "c.csv").write_text("value,name\n1,Forest\n2, forest\n3,water\n")
    assert len(read_classes(tmp_path / "c.csv")) == 3
    assert "'Forest', 'forest' stand for several values" in caplog.text


def test_a_class_map_takes_codes_and_names(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("from;to\n1100;3\n 3040.0 ;4\nOld  Forest;5\n-7;0\n")
    assert read_class_map(path) == {"1100": 3, "3040": 4, "old forest": 5, "-7": 0}
    path.write_text("clc,mine\n111,1\n")
    assert read_class_map(path) == {"111": 1}


@pytest.mark.parametrize("content", ["from,to\n1,255\n", "from,to\n1,\n", "from,to\n", "code\n1\n"])
def test_a_bad_class_map_is_refused_by_a_sentence_that_names_the_file(tmp_path, content):
    (tmp_path / "map.csv").write_text(content)
    with pytest.raises(LabelError, match=r"class map .*map\.csv"):
        read_class_map(tmp_path / "map.csv")
