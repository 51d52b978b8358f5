"""Class colours and names for QGIS: a QML file beside a raster or a polygon file.

The elements are those that QGIS 3.28 writes (`QgsPalettedRasterRenderer`, `QgsCategorizedSymbolRenderer`); QGIS reads
a `.qml` of a file's own stem when it opens the file. A GeoPackage's own table of styles is not used: to every reader of
the file it is a layer more, of which GDAL's and geopandas' warn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from geounet.classes import LandClass
from geounet.errors import LabelError
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_VERSION = "3.28.0"
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_OUTLINE = (35, 35, 35)
_OUTLINE_WIDTH = 0.1
"""Millimetres."""


def raster_qml(classes: Sequence[LandClass]) -> str:
    """A QGIS style for a class raster: each value in its class's colour, named."""
    root = _root()
    add_raster_style(root, classes)
    return _text(root)


def vector_qml(classes: Sequence[LandClass], attribute: str = "class") -> str:
    """A QGIS style for polygons: filled in the colour of the class whose value the attribute holds."""
    root = _root()
    add_vector_style(root, classes, attribute)
    return _text(root)


def sidecar_qml(classes: Sequence[LandClass], attribute: str = "class") -> str:
    """Both in one, as a raster and polygons of the same stem share one `.qml`."""
    root = _root()
    add_raster_style(root, classes)
    add_vector_style(root, classes, attribute)
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


def legend_of(path: Path) -> tuple[LandClass, ...]:
    """The classes of a style that :func:`write_qml` wrote; nothing where there is none, or another's."""
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - a file of the user's own, and expat limits entities
        return tuple(
            LandClass(int(entry.attrib["value"]), entry.attrib["label"], entry.attrib["color"])
            for entry in root.iterfind("pipe/rasterrenderer/colorPalette/paletteEntry")
        )
    except (OSError, ET.ParseError, KeyError, ValueError, LabelError):
        return ()


def _root() -> ET.Element:
    return ET.Element("qgis", version=_VERSION, styleCategories="Symbology")


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def add_raster_style(root: ET.Element, classes: Sequence[LandClass]) -> None:
    """Add the style of a class raster to an element: of a `.qml`, or of a layer in a project."""
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for item in classes:
        ET.SubElement(palette, "paletteEntry", value=str(item.value), color=item.color, alpha="255", label=item.name)


def add_vector_style(root: ET.Element, classes: Sequence[LandClass], attribute: str = "class") -> None:
    """The same of polygons."""
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
