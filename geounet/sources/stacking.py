"""Several rasters of one place as one scene: bands of unequal grids, and dates, on one reference grid (a GDAL VRT).

What is written is a small text that names the files; all commands read it as they read any raster. GDAL's VRT gives
the same pixels whatever the window that is asked for, which the tiling needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.placement import transform_of
from geounet.raster.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affine import Affine

    from geounet.raster.scene import Scene

RESAMPLING = ("nearest", "bilinear", "cubic")
"""What gives the same pixels whatever the window; GDAL's average does not."""
_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layer:
    """A band of the stack: a band of a file."""

    scene: Scene
    """The file."""
    index: int
    """Which of the scene's bands, from 0."""
    name: str
    """Its name in the stack."""


def stack_text(scenes: Sequence[Scene], reference: Scene, resampling: str, title: str) -> str:
    """The VRT as a text, which GDAL opens like a file's name.

    Raises:
        SceneError: the scenes have different CRSs, share no ground, or more than one has a mask.
    """
    for scene in scenes:
        _check(scene, reference)
    window = _common(scenes, reference)
    root = ET.Element("VRTDataset", rasterXSize=str(window.width), rasterYSize=str(window.height))
    if reference.crs is not None:
        ET.SubElement(root, "SRS").text = reference.crs.to_wkt()
    frame = transform_of(reference, window)
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, map(float, frame.to_gdal())))
    ET.SubElement(ET.SubElement(root, "Metadata"), "MDI", key="title").text = title
    kind = _TYPES[np.result_type(*(scene.dtype for scene in scenes)).name]
    for number, layer in enumerate(_layers(scenes), 1):
        _add_band(root, number, layer, kind, frame, window, resampling)
    _add_mask(root, [scene for scene in scenes if scene.alpha or scene.has_mask], frame, window)
    return ET.tostring(root, encoding="unicode")


def _check(scene: Scene, reference: Scene) -> None:
    if scene.crs != reference.crs or not (scene.rectilinear and reference.rectilinear):
        raise SceneError(
            f"{scene.label} and {reference.label} differ in their CRS, or one of them is turned; bring them to one CRS "
            "first, for instance with gdalwarp -t_srs"
        )


def _common(scenes: Sequence[Scene], reference: Scene) -> Window:
    """The pixels of the reference that lie within all scenes as a whole."""
    window = reference.extent
    for scene in scenes:
        rows, cols = _edges(scene, reference.transform)
        top, left = int(np.ceil(min(rows) - 1e-3)), int(np.ceil(min(cols) - 1e-3))
        bottom, right = int(np.floor(max(rows) + 1e-3)), int(np.floor(max(cols) + 1e-3))
        window = window.intersection(Window(top, left, max(0, bottom - top), max(0, right - left)))
    if not window.pixels:
        raise SceneError(f"{', '.join(scene.label for scene in scenes)} have no ground in common on {reference.label}")
    return window


def _edges(scene: Scene, frame: Affine) -> tuple[tuple[float, float], tuple[float, float]]:
    """The first and last row, and the first and last column, of a scene in the pixels of a frame."""
    to_pixels = ~frame @ scene.transform
    (left, top), (right, bottom) = to_pixels @ (0, 0), to_pixels @ (scene.width, scene.height)
    return (top, bottom), (left, right)


def _layers(scenes: Sequence[Scene]) -> Iterator[Layer]:
    """All bands in order; a name that several bands share is led by its file's."""
    names = [name for scene in scenes for name in scene.band_names]
    for scene in scenes:
        for index, name in enumerate(scene.band_names):
            alone = len(scene.bands) == 1 and name == f"band_{scene.bands[0]}"
            told = scene.name if alone else f"{scene.name} {name}" if names.count(name) > 1 else name
            yield Layer(scene, index, told)


def _add_band(
    root: ET.Element, number: int, layer: Layer, kind: str, frame: Affine, window: Window, resampling: str
) -> None:
    scene = layer.scene
    band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(number))
    ET.SubElement(band, "Description").text = layer.name
    nodata = scene.nodata[layer.index]
    parts = {"NoDataValue": nodata, "Scale": scene.scales[layer.index], "Offset": scene.offsets[layer.index]}
    for name, value in parts.items():
        if value is not None:
            ET.SubElement(band, name).text = repr(float(value))
    source = ET.SubElement(band, "ComplexSource" if nodata is not None else "SimpleSource", resampling=resampling)
    _add_source(source, scene, str(scene.bands[layer.index]), frame, window)
    if nodata is not None:
        ET.SubElement(source, "NODATA").text = repr(float(nodata))


def _add_source(source: ET.Element, scene: Scene, band: str, frame: Affine, window: Window) -> None:
    name = scene.path if is_remote(scene.path) else _absolute(scene.path)
    ET.SubElement(source, "SourceFilename", relativeToVRT="0").text = name
    ET.SubElement(source, "SourceBand").text = band
    to_pixels = ~scene.transform @ frame
    (left, top), (right, bottom) = to_pixels @ (0, 0), to_pixels @ (window.width, window.height)
    # What differs from a whole pixel by rounding alone would make GDAL resample.
    left, top, right, bottom = (round(value, 6) for value in (left, top, right, bottom))
    sizes = {"xOff": left, "yOff": top, "xSize": right - left, "ySize": bottom - top}
    ET.SubElement(source, "SrcRect", {key: repr(float(value)) for key, value in sizes.items()})
    place = {"xOff": 0, "yOff": 0, "xSize": window.width, "ySize": window.height}
    ET.SubElement(source, "DstRect", {key: str(value) for key, value in place.items()})


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if Path(path).exists() else path


def _add_mask(root: ET.Element, masked: Sequence[Scene], frame: Affine, window: Window) -> None:
    if len(masked) > 1:
        raise SceneError(
            f"{masked[0].label} and {masked[1].label} both carry a mask or an alpha band, and a stack has room "
            "for one; give the others nodata values instead"
        )
    for scene in masked:
        band = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        source = ET.SubElement(band, "SimpleSource")
        _add_source(source, scene, f"mask,{scene.bands[0]}", frame, window)
