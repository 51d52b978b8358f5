"""Class colours and names for QGIS and other desktop programs: QML, SLD and the style table of a GeoPackage.

The elements are those that QGIS 3.28 writes (`QgsPalettedRasterRenderer`, `QgsCategorizedSymbolRenderer`); QGIS reads
a `.qml` of a file's own stem, and the default row of a GeoPackage's `layer_styles`, when it opens the file.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from geounet.errors import OutputError
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.classes import LandClass

_VERSION = "3.28.0"
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_OUTLINE = (35, 35, 35)
_OUTLINE_WIDTH = 0.1
"""Millimetres."""
_SE = "http://www.opengis.net/se"
_OGC = "http://www.opengis.net/ogc"
_SLD = "http://www.opengis.net/sld"


def raster_qml(classes: Sequence[LandClass]) -> str:
    """A QGIS style for a class raster: each value in its class's colour, named."""
    root = _root()
    _add_raster(root, classes)
    return _text(root)


def vector_qml(classes: Sequence[LandClass], attribute: str = "class") -> str:
    """A QGIS style for polygons: filled in the colour of the class whose value the attribute holds."""
    root = _root()
    _add_vector(root, classes, attribute)
    return _text(root)


def sidecar_qml(classes: Sequence[LandClass], attribute: str = "class") -> str:
    """Both in one, as a raster and polygons of the same stem share one `.qml`."""
    root = _root()
    _add_raster(root, classes)
    _add_vector(root, classes, attribute)
    return _text(root)


def write_qml(path: Path, classes: Sequence[LandClass], attribute: str = "class") -> Path:
    """Write the style of a class raster or polygon file beside it, and return its path; an older one is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    sidecar = path.with_suffix(".qml")
    with atomic(sidecar) as draft:
        draft.write_text(sidecar_qml(classes, attribute), encoding="utf-8")
    return sidecar


def _root() -> ET.Element:
    return ET.Element("qgis", version=_VERSION, styleCategories="Symbology")


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def _add_raster(root: ET.Element, classes: Sequence[LandClass]) -> None:
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for item in classes:
        ET.SubElement(palette, "paletteEntry", value=str(item.value), color=item.color, alpha="255", label=item.name)


def _add_vector(root: ET.Element, classes: Sequence[LandClass], attribute: str) -> None:
    renderer = ET.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=attribute, symbollevels="0", forceraster="0"
    )
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, item in enumerate(classes):
        entry = {"symbol": str(number), "value": str(item.value), "type": "integer", "label": item.name}
        ET.SubElement(categories, "category", entry, render="true")
        symbols.append(_symbol(number, item))
    ET.SubElement(root, "blendMode").text = "0"
    # Qgis::GeometryType::Polygon: QGIS refuses the style for layers of points and lines.
    ET.SubElement(root, "layerGeometryType").text = "2"


def _symbol(number: int, item: LandClass) -> ET.Element:
    symbol = ET.Element("symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0")
    layer.set("pass", "0")
    options = ET.SubElement(layer, "Option", type="Map")
    properties = {
        "color": _rgba(item.rgb),
        "style": "solid",
        "outline_color": _rgba(_OUTLINE),
        "outline_style": "solid",
        "outline_width": str(_OUTLINE_WIDTH),
        "outline_width_unit": "MM",
    }
    for name, value in properties.items():
        ET.SubElement(options, "Option", name=name, type="QString", value=value)
    return symbol


def _rgba(color: tuple[int, int, int]) -> str:
    return ",".join(map(str, (*color, 255)))


def vector_sld(classes: Sequence[LandClass], layer: str, attribute: str = "class") -> str:
    """The same as OGC Styled Layer Descriptor 1.1 (https://www.ogc.org/standards/sld/), for other programs."""
    root = ET.Element(_in(_SLD, "StyledLayerDescriptor"), version="1.1.0")
    named = ET.SubElement(root, _in(_SLD, "NamedLayer"))
    ET.SubElement(named, _in(_SE, "Name")).text = layer
    style = ET.SubElement(named, _in(_SLD, "UserStyle"))
    ET.SubElement(style, _in(_SE, "Name")).text = layer
    rules = ET.SubElement(style, _in(_SE, "FeatureTypeStyle"))
    for item in classes:
        rules.append(_rule(item, attribute))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _in(space: str, name: str) -> str:
    return f"{{{space}}}{name}"


for _prefix, _space in (("sld", _SLD), ("se", _SE), ("ogc", _OGC)):
    ET.register_namespace(_prefix, _space)


def _rule(item: LandClass, attribute: str) -> ET.Element:
    rule = ET.Element(_in(_SE, "Rule"))
    ET.SubElement(rule, _in(_SE, "Name")).text = item.name
    equal = ET.SubElement(ET.SubElement(rule, _in(_OGC, "Filter")), _in(_OGC, "PropertyIsEqualTo"))
    ET.SubElement(equal, _in(_OGC, "PropertyName")).text = attribute
    ET.SubElement(equal, _in(_OGC, "Literal")).text = str(item.value)
    symbolizer = ET.SubElement(rule, _in(_SE, "PolygonSymbolizer"))
    fill = ET.SubElement(symbolizer, _in(_SE, "Fill"))
    ET.SubElement(fill, _in(_SE, "SvgParameter"), name="fill").text = item.color
    stroke = ET.SubElement(symbolizer, _in(_SE, "Stroke"))
    ET.SubElement(stroke, _in(_SE, "SvgParameter"), name="stroke").text = "#" + bytes(_OUTLINE).hex()
    return rule


# As QGIS creates it (`QgsOgrProviderMetadata::saveStyle`); it looks for empty texts, not null, as catalog and schema.
_STYLE_TABLE = """
CREATE TABLE IF NOT EXISTS layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)"""
_REGISTER = """
INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', 0)"""
_INSERT = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
                          styleSLD, useAsDefault, description, owner)
VALUES ('', '', ?, ?, 'classes', ?, ?, 1, 'Class colours', '')"""


def write_layer_style(gpkg: Path, layer: str, classes: Sequence[LandClass], attribute: str = "class") -> None:
    """Store the class colours in a GeoPackage as the default style of a layer; earlier styles of it go.

    Raises:
        OutputError: the file is no GeoPackage with that layer, or cannot be written.
    """
    try:
        with closing(sqlite3.connect(f"{gpkg.absolute().as_uri()}?mode=rw", uri=True)) as connection, connection:
            found = connection.execute(
                "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
            ).fetchone()
            if found is None:
                raise OutputError(f"{gpkg} has no layer {layer} to give a style to")
            connection.execute(_STYLE_TABLE)
            connection.execute(_REGISTER)
            connection.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (layer,))
            styles = vector_qml(classes, attribute), vector_sld(classes, layer, attribute)
            connection.execute(_INSERT, (layer, found[0], *styles))
    except sqlite3.Error as error:
        raise OutputError(f"{gpkg} cannot be given a style: {error}") from error
