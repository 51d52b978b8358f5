"""A map as a GDAL virtual raster: products on one lattice, one over another, and not a pixel copied."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from geounet.classes import NODATA
from geounet.outputs import atomic
from geounet.raster.cog import CLASSES_TAG
from geounet.raster.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.classes import LandClass
    from geounet.maps.frame import Frame
    from geounet.maps.placing import Placed


def write_vrt(path: Path, frame: Frame, above: Sequence[Placed], classes: Sequence[LandClass] = ()) -> None:
    """Write the virtual raster of the class rasters, or without a class table of the confidences.

    Args:
        path: the file; products that are not in an object store are named relative to it.
        frame: the map's grid.
        above: the products, all on the map's lattice, the one that lies on top first.
        classes: the class table.

    Raises:
        OutputError: it cannot be written.
    """
    root = Element("VRTDataset", rasterXSize=str(frame.width), rasterYSize=str(frame.height))
    SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = frame.crs.to_wkt()
    place = frame.transform
    SubElement(root, "GeoTransform").text = ", ".join(
        repr(float(x)) for x in (place.c, place.a, place.b, place.f, place.d, place.e)
    )
    if classes:
        table = [{"value": item.value, "name": item.name, "color": item.color} for item in classes]
        SubElement(SubElement(root, "Metadata"), "MDI", key=CLASSES_TAG).text = json.dumps(table)
    band = SubElement(root, "VRTRasterBand", dataType="Byte", band="1")
    SubElement(band, "Description").text = "class" if classes else "confidence"
    SubElement(band, "NoDataValue").text = str(NODATA)
    if classes:
        _write_table(band, classes)
    else:
        SubElement(band, "Scale").text = repr(1 / 254)
    # The last source that holds a value is seen.
    for placed in reversed(above):
        _write_source(band, placed, path, classes=bool(classes))
    indent(root)
    with atomic(path) as draft:
        draft.write_bytes(tostring(root))


def _write_table(band: Element, classes: Sequence[LandClass]) -> None:
    by_value = {item.value: item for item in classes}
    SubElement(band, "ColorInterp").text = "Palette"
    table, names = SubElement(band, "ColorTable"), SubElement(band, "CategoryNames")
    for value in range(max(by_value) + 1):
        red, green, blue = by_value[value].rgb if value in by_value else (0, 0, 0)
        SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4="255")
        SubElement(names, "Category").text = by_value[value].name if value in by_value else ""


def _write_source(band: Element, placed: Placed, path: Path, *, classes: bool) -> None:
    scene = placed.layer.classes if classes else placed.layer.confidence
    assert scene is not None, "a product has a confidence"
    source = SubElement(band, "ComplexSource")
    if is_remote(scene.path):
        SubElement(source, "SourceFilename", relativeToVRT="0").text = scene.path
    else:
        relative = Path(os.path.relpath(Path(scene.path).absolute(), path.absolute().parent)).as_posix()
        SubElement(source, "SourceFilename", relativeToVRT="1").text = relative
    SubElement(source, "SourceBand").text = "1"
    size: dict[str, Any] = {"xSize": str(scene.width), "ySize": str(scene.height)}
    SubElement(source, "SrcRect", xOff="0", yOff="0", **size)
    SubElement(source, "DstRect", xOff=str(placed.area.col), yOff=str(placed.area.row), **size)
    SubElement(source, "NODATA").text = str(NODATA)
