"""Colours and names arrive where QGIS looks for them."""

from __future__ import annotations

import warnings
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geounet.classes import LandClass
from geounet.formats.vector_io import open_writer
from geounet.raster import styles

CLASSES = (
    LandClass(3, "Äcker & <Wiesen>", "#e69f00"),
    LandClass(0, 'a "quote"', "#0072b2"),
    LandClass(254, "水", "#00FF7f"),
)
# Characters that XML 1.0 can hold.
names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
colors = st.integers(0, 0xFFFFFF).map("#{:06x}".format)
tables = st.lists(
    st.builds(LandClass, st.integers(0, 254), names, colors), unique_by=lambda item: item.value, max_size=5
)


def parse(text):
    return ET.fromstring(text.encode())  # noqa: S314 - our own


def palette(qml):
    """What a QGIS raster style says: value, name, colour of each class."""
    renderer = parse(qml).find("pipe/rasterrenderer")
    assert renderer.get("type") == "paletted"
    assert renderer.get("band") == "1"
    entries = renderer.findall("colorPalette/paletteEntry")
    assert {entry.get("alpha") for entry in entries} <= {"255"}
    return [(int(entry.get("value")), entry.get("label"), entry.get("color")) for entry in entries]


def categories(qml, attribute="class"):
    """What a QGIS polygon style says: value, name, colour of each class."""
    root = parse(qml)
    renderer = root.find("renderer-v2")
    assert renderer.attrib.items() >= {"type": "categorizedSymbol", "attr": attribute}.items()
    assert root.find("layerGeometryType").text == "2"
    fills = {}
    for symbol in renderer.findall("symbols/symbol"):
        assert symbol.get("type") == "fill"
        assert symbol.find("layer").get("class") == "SimpleFill"
        options = {option.get("name"): option.get("value") for option in symbol.findall("layer/Option/Option")}
        *rgb, alpha = map(int, options["color"].split(","))
        assert alpha == 255
        fills[symbol.get("name")] = "#" + bytes(rgb).hex()
    found = renderer.findall("categories/category")
    assert all(category.get("render") == "true" for category in found)
    return [(int(item.get("value")), item.get("label"), fills[item.get("symbol")]) for item in found]


def table(classes, lower=False):
    return [(item.value, item.name, item.color.lower() if lower else item.color) for item in classes]


@given(tables)
def test_every_style_holds_the_class_table(classes):
    """Values, names with any character, and colours, in the table's order."""
    assert palette(styles.raster_qml(classes)) == table(classes)
    assert categories(styles.vector_qml(classes)) == table(classes, lower=True)
    both = styles.sidecar_qml(classes)
    assert (palette(both), categories(both)) == (table(classes), table(classes, lower=True))


def test_each_style_is_for_its_own_kind():
    assert parse(styles.raster_qml(CLASSES)).find("renderer-v2") is None
    assert parse(styles.vector_qml(CLASSES)).find("pipe") is None
    assert styles.vector_qml(CLASSES).startswith(
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<qgis version="
    )
    assert categories(styles.vector_qml(CLASSES, "kind"), "kind") == table(CLASSES, lower=True)


def test_a_sidecar_has_the_stem_of_its_file_and_is_replaced(tmp_path):
    """`classes.tif` has `classes.qml`, as QGIS looks for it."""
    assert styles.write_qml(tmp_path / "classes.v2.tif", CLASSES) == tmp_path / "classes.v2.qml"
    styles.write_qml(tmp_path / "classes.v2.tif", CLASSES[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["classes.v2.qml"]
    assert palette((tmp_path / "classes.v2.qml").read_text(encoding="utf-8")) == table(CLASSES[:1])


def test_a_geopackage_has_one_layer_and_its_style_beside_it(tmp_path):
    """Readers that warn of further layers have no reason to."""
    path = tmp_path / "Felder 'ä.gpkg"
    frame = gpd.GeoDataFrame(
        {"class": np.array([3, 0], np.uint8)}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:3857"
    )
    with open_writer(path, crs=frame.crs, classes=CLASSES) as writer:
        writer.write(frame)
    assert pyogrio.list_layers(path).tolist() == [["Felder 'ä", "MultiPolygon"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(gpd.read_file(path)) == 2
    assert categories((tmp_path / "Felder 'ä.qml").read_text(encoding="utf-8")) == table(CLASSES, lower=True)
