"""A class table is read whole and valid, or refused by a sentence that names the file."""

import pytest

from geounet.classes import LandClass, classes_from_values, default_class, read_classes
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
    "other columns": b"code,label\n1,water\n",
    "no name column": b"value,color\n1,#112233\n",
    "semicolons": b"value;name\n1;water\n",
    "a word for a value": b"value,name\nwater,1\n",
    "a value with decimals": b"value,name\n1.5,water\n",
    "no value": b"value,name\n,water\n",
    "a value twice": b"value,name\n1,water\n1,forest\n",
    "value 255": b"value,name\n1,water\n255,forest\n",
    "a negative value": b"value,name\n-1,water\n",
    "a colour by name": b"value,name,color\n1,water,blue\n",
    "a row without a name": b"value,name\n1,water\n2\n",
    "a row without a value": b"name,value\nwater\n",
    "no text": b"value,name\n1,\xff\xfe\n",
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
