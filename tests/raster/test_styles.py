"""Colours and names arrive where QGIS looks for them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geounet.classes import LandClass
from geounet.errors import OutputError
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


def rules(sld, attribute="class"):
    """What a Styled Layer Descriptor says: value, name, colour of each class."""
    spaces = {
        "sld": "http://www.opengis.net/sld",
        "se": "http://www.opengis.net/se",
        "ogc": "http://www.opengis.net/ogc",
    }
    found = []
    for rule in parse(sld).findall("sld:NamedLayer/sld:UserStyle/se:FeatureTypeStyle/se:Rule", spaces):
        equal = rule.find("ogc:Filter/ogc:PropertyIsEqualTo", spaces)
        assert equal.find("ogc:PropertyName", spaces).text == attribute
        color = rule.find("se:PolygonSymbolizer/se:Fill/se:SvgParameter[@name='fill']", spaces).text
        found.append((int(equal.find("ogc:Literal", spaces).text), rule.find("se:Name", spaces).text, color))
    return found


def table(classes, lower=False):
    return [(item.value, item.name, item.color.lower() if lower else item.color) for item in classes]


@given(tables)
def test_every_style_holds_the_class_table(classes):
    """Values, names with any character, and colours, in the table's order."""
    assert palette(styles.raster_qml(classes)) == table(classes)
    assert categories(styles.vector_qml(classes)) == table(classes, lower=True)
    assert rules(styles.vector_sld(classes, "fields")) == table(classes)
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


@pytest.fixture
def package(tmp_path):
    frame = gpd.GeoDataFrame(
        {"class": np.array([3, 0], np.uint8)}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs="EPSG:3857"
    )
    with open_writer(tmp_path / "Felder 'ä.gpkg", crs=frame.crs, classes=CLASSES) as writer:
        writer.write(frame)
    return tmp_path / "Felder 'ä.gpkg"


def rows(package, query):
    with closing(sqlite3.connect(package)) as connection:
        return connection.execute(query).fetchall()


def test_a_geopackage_holds_its_default_style(package):
    """The row that QGIS asks for: by empty catalog and schema, the layer's name and its geometry column."""
    query = "SELECT f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault FROM layer_styles"
    assert rows(package, query) == [("", "", "Felder 'ä", "geom", 1)]
    ((qml, sld, time),) = rows(package, "SELECT styleQML, styleSLD, update_time FROM layer_styles")
    assert categories(qml) == table(CLASSES, lower=True)
    assert rules(sld) == table(CLASSES)
    assert time.startswith("20")


def test_a_styled_geopackage_is_still_one(package):
    """Registered as a table of attributes, so that GDAL lists it without a geometry, after the polygons."""
    assert pyogrio.list_layers(package).tolist() == [["Felder 'ä", "MultiPolygon"], ["layer_styles", None]]
    assert pyogrio.read_dataframe(package, layer="Felder 'ä")["class"].tolist() == [3, 0]
    assert rows(package, "SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'") == [("attributes",)]
    assert rows(package, "PRAGMA integrity_check") == [("ok",)]
    assert rows(package, "PRAGMA foreign_key_check") == []


def test_a_style_is_replaced_not_added(package):
    styles.write_layer_style(package, "Felder 'ä", CLASSES[1:], "kind")
    ((qml,),) = rows(package, "SELECT styleQML FROM layer_styles")
    assert categories(qml, "kind") == table(CLASSES[1:], lower=True)


def test_what_cannot_have_a_style_is_a_sentence(package, tmp_path):
    with pytest.raises(OutputError, match="has no layer fields to give a style to"):
        styles.write_layer_style(package, "fields", CLASSES)
    with pytest.raises(OutputError, match="cannot be given a style: unable to open"):
        styles.write_layer_style(tmp_path / "none.gpkg", "fields", CLASSES)
    assert not (tmp_path / "none.gpkg").exists()
    (tmp_path / "bad.gpkg").write_bytes(b"no database, but long enough to be one" * 100)
    with pytest.raises(OutputError, match="cannot be given a style: file is not a database"):
        styles.write_layer_style(tmp_path / "bad.gpkg", "fields", CLASSES)
