"""A QGIS project (`.qgz`): rasters and polygons with their classes' colours and names, grouped by product.

The elements are those that QGIS 3.22 to 3.40 read (`QgsProject::read`, `QgsMapLayer::readLayerXml`); files are named
relative to the project, so that a folder that is moved or zipped still opens.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from geounet.pages.pictures import color_bands
from geounet.raster.placement import bounds_of
from geounet.raster.scene import read_overview
from geounet.raster.styles import add_raster_style, add_vector_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyproj import CRS

    from geounet.classes import LandClass
    from geounet.raster.scene import Scene

_VERSION = "3.22.0-Bialowieza"
_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_LOOK = 512
"""Pixels along each side of what is read of a scene to tell how bright it is."""
_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class ProjectLayer:
    """A file that the project shows."""

    name: str
    """What the legend calls it."""
    kind: str
    """`classes`, `confidence`, `scene` or `polygons`."""
    path: Path
    """The file."""
    crs: CRS | None
    """Its reference system."""
    scene: Scene | None
    """The raster; None for polygons."""
    legend: tuple[LandClass, ...]
    """Classes of a class raster or of polygons."""
    shown: bool = True
    """Whether it is switched on when the project opens."""


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that belong together."""

    name: str
    """What the legend calls them."""
    layers: tuple[ProjectLayer, ...]
    """From top to bottom."""


def write_project(draft: Path, place: Path, title: str, groups: Sequence[Group], crs: CRS | None) -> None:
    """Write a project.

    Args:
        draft: the file to write.
        place: where it will lie: files are named from there.
        title: what it is called.
        groups: what it shows, from top to bottom.
        crs: the map's; None for pixel coordinates.
    """
    root = ET.Element("qgis", projectname=title, version=_VERSION)
    ET.SubElement(root, "homePath", path="")
    ET.SubElement(root, "title").text = title
    _add_crs(ET.SubElement(root, "projectCrs"), crs)
    tree = ET.SubElement(root, "layer-tree-group")
    files = ET.SubElement(root, "projectlayers")
    box = _view(groups)
    _add_canvas(root, box, crs)
    for number, group in enumerate(groups):
        branch = ET.SubElement(tree, "layer-tree-group", name=group.name, checked="Qt::Checked", expanded="1")
        for index, layer in enumerate(group.layers):
            # QGIS gives a new id to what has one of ten characters or fewer.
            identifier = f"{layer.kind}_of_product_{number}_{index}"
            _add_to_tree(branch, identifier, layer, place)
            files.append(_layer(identifier, layer, place))
    properties = ET.SubElement(root, "properties")
    ET.SubElement(ET.SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    # Without it QGIS does not look for the CRS.
    system = ET.SubElement(properties, "SpatialRefSys")
    ET.SubElement(system, "ProjectionsEnabled", type="int").text = "0" if crs is None else "1"
    ET.indent(root)
    text = _DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as file:
        # A date of its own would make other bytes of the same project.
        file.writestr(zipfile.ZipInfo(f"{place.stem}.qgs", (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)


def _view(groups: Sequence[Group]) -> tuple[float, float, float, float]:
    """What is seen first: all rasters of the first CRS, with a margin."""
    scenes = [layer.scene for group in groups for layer in group.layers if layer.scene is not None]
    boxes = np.array([bounds_of(scene) for scene in scenes if scene.crs == scenes[0].crs] or [(0.0, 0.0, 1.0, 1.0)])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = (high - low) * _MARGIN
    return tuple(np.concatenate([low - margin, high + margin]).tolist())


def _add_crs(parent: ET.Element, crs: CRS | None) -> None:
    system = ET.SubElement(parent, "spatialrefsys", nativeFormat="Wkt")
    if crs is None:
        return
    ET.SubElement(system, "wkt").text = crs.to_wkt("WKT2_2019")
    authority = crs.to_authority()
    if authority:
        ET.SubElement(system, "authid").text = ":".join(authority)


def _add_box(parent: ET.Element, box: tuple[float, float, float, float]) -> None:
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
        ET.SubElement(parent, name).text = repr(float(value))


def _add_canvas(root: ET.Element, box: tuple[float, float, float, float], crs: CRS | None) -> None:
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    ET.SubElement(canvas, "units").text = "degrees" if crs is not None and crs.is_geographic else "meters"
    _add_box(ET.SubElement(canvas, "extent"), box)
    ET.SubElement(canvas, "rotation").text = "0"
    _add_crs(ET.SubElement(canvas, "destinationsrs"), crs)
    settings = ET.SubElement(root, "ProjectViewSettings", UseProjectScales="0")
    sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(repr, box), strict=True))
    _add_crs(ET.SubElement(settings, "DefaultViewExtent", sides), crs)


def _source(path: Path, place: Path) -> str:
    try:
        near = Path(os.path.relpath(path.resolve(), place.parent.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())
    return near if near.startswith("..") else f"./{near}"


def _add_to_tree(branch: ET.Element, identifier: str, layer: ProjectLayer, place: Path) -> None:
    checked = "Qt::Checked" if layer.shown else "Qt::Unchecked"
    given = {"id": identifier, "name": layer.name, "source": _source(layer.path, place), "checked": checked,
             "expanded": "1" if layer.legend and layer.shown else "0",
             "providerKey": "ogr" if layer.kind == "polygons" else "gdal"}  # fmt: skip
    ET.SubElement(branch, "layer-tree-layer", given)


def _layer(identifier: str, layer: ProjectLayer, place: Path) -> ET.Element:
    is_vector = layer.kind == "polygons"
    element = ET.Element("maplayer", type="vector" if is_vector else "raster", styleCategories="AllStyleCategories")
    ET.SubElement(element, "id").text = identifier
    ET.SubElement(element, "datasource").text = _source(layer.path, place)
    ET.SubElement(element, "layername").text = layer.name
    _add_crs(ET.SubElement(element, "srs"), layer.crs)
    if is_vector:
        element.set("geometry", "Polygon")
        ET.SubElement(element, "provider", encoding="UTF-8").text = "ogr"
        add_vector_style(element, layer.legend)
        return element
    ET.SubElement(element, "provider").text = "gdal"
    if layer.kind == "classes":
        add_raster_style(element, layer.legend)
    elif layer.kind == "confidence":
        _add_grey(element)
    else:
        _add_colors(element, layer.scene)
    return element


def _renderer(element: ET.Element, kind: str, given: dict[str, str]) -> ET.Element:
    pipe = ET.SubElement(element, "pipe")
    plain = {"type": kind, "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    return ET.SubElement(pipe, "rasterrenderer", {**plain, **given})


def _add_stretch(parent: ET.Element, name: str, low: float, high: float) -> None:
    stretch = ET.SubElement(parent, name)
    ET.SubElement(stretch, "minValue").text = repr(float(low))
    ET.SubElement(stretch, "maxValue").text = repr(float(high))
    ET.SubElement(stretch, "algorithm").text = "StretchToMinimumMaximum"


def _add_grey(element: ET.Element) -> None:
    """Confidences from 0 to 1: QGIS applies the band's scale."""
    grey = _renderer(element, "singlebandgray", {"grayBand": "1", "gradient": "BlackToWhite"})
    _add_stretch(grey, "contrastEnhancement", 0.0, 1.0)


def _add_colors(element: ET.Element, scene: Scene | None) -> None:
    """True colours, or the first bands, between the 2nd and the 98th of a hundred parts of their values."""
    assert scene is not None, "a raster has a scene"
    shown = scene.only(color_bands(scene.band_names))
    values, valid = read_overview(shown, min(_LOOK, scene.height), min(_LOOK, scene.width))
    names = ("red", "green", "blue")
    bands = shown.bands if len(shown.bands) == len(names) else shown.bands[:1] * 3
    given = {f"{name}Band": str(band) for name, band in zip(names, bands, strict=True)}
    colors = _renderer(element, "multibandcolor", given)
    for name, band in zip(names, bands, strict=True):
        seen = values[shown.bands.index(band)][valid]
        low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
        _add_stretch(colors, f"{name}ContrastEnhancement", low, high)
