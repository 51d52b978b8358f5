"""Labels: rasters or polygon files, brought onto an image's pixels as class codes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.burning import Outlines, burn, outlines
from geounet.classes import NODATA, LandClass
from geounet.errors import LabelError
from geounet.placement import bounds_of
from geounet.scene import Scene, aligned, load_scene, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window

    Codes = NDArray[np.uint8]

_log = logging.getLogger(__name__)

POLYGON_ENDINGS = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".gml", ".kml")
"""Files that hold polygons; all else is taken for a raster."""
IMAGE_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".vrt", ".img", ".webp")
"""Files that are taken from a folder."""
_COLOR_BANDS = 3


@dataclass(frozen=True, slots=True)
class Polygons:
    """Labelled polygons on the pixels of the image they label."""

    path: str
    """Where they came from."""
    outlines: Outlines
    """Their edges and class codes, in the order in which they are burnt: the last one wins."""
    all_touched: bool = False
    """Whether a polygon labels all pixels that it shares some area with, not only those whose centre it holds."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and what labels it."""

    image: Scene
    """The image."""
    label: Scene | Polygons
    """A label raster on any grid, or polygons."""
    colors: tuple[tuple[tuple[int, int, int], int], ...] = ()
    """For a label picture in colour: which colour is which code."""
    background: int = NODATA
    """The code outside all polygons; NODATA leaves it out of training."""


def list_rasters(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The files given, and those in the folders given, in order of their names.

    Raises:
        LabelError: a path does not exist, or a folder holds no raster or polygon file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [item for item in sorted(path.iterdir()) if item.suffix.lower() in IMAGE_ENDINGS + POLYGON_ENDINGS]
        if not inside:
            raise LabelError(f"folder {path} holds no raster and no polygon file")
        found += inside
    return tuple(found)


def pair_labels(
    images: Sequence[Path],
    labels: Sequence[Path],
    *,
    bands: Sequence[int] | None = None,
    classes: Sequence[LandClass] = (),
    label_field: str | None = None,
    background: int = NODATA,
    all_touched: bool = False,
) -> tuple[Pair, ...]:
    """Join images and labels: by name where names match, else the one label file that serves all.

    Args:
        images: image files.
        labels: label rasters or polygon files.
        bands: the image bands to read, from 1.
        classes: the class table, needed for label pictures in colour and for polygons with class names.
        label_field: the polygons' field with the class; the first of `class`, `value`, `label`, `code` by default.
        background: the code outside all polygons.
        all_touched: polygons label all pixels that they touch, not only those whose centre they hold.

    Raises:
        LabelError: no image has a label, or a label file cannot be used.
        SceneError: an image cannot be opened.
    """
    named = {_key(path): path for path in labels}
    pairs = []
    for path in images:
        label = named.get(_key(path)) or (labels[0] if len(labels) == 1 else None)
        if label is None:
            _log.warning("%s has no label of its name; it is left out", path)
            continue
        image = load_scene(path, bands)
        pair = pair_on(image, label, classes, label_field, background, all_touched)
        if _overlaps(pair):
            pairs.append(pair)
        else:
            _log.warning("labels %s do not overlap %s; it is left out", label, path)
    if not pairs:
        raise LabelError(_no_pairs(images, labels))
    return tuple(pairs)


def _key(path: Path) -> str:
    stem = path.stem.lower()
    for ending in ("_labels", "_label", "_mask", "_classes"):
        stem = stem.removesuffix(ending)
    return stem


def _no_pairs(images: Sequence[Path], labels: Sequence[Path]) -> str:
    return (
        f"no image overlaps a label: {len(images)} image(s) such as {images[0] if images else '(none)'} and "
        f"{len(labels)} label file(s) such as {labels[0] if labels else '(none)'}; labels need the name of their "
        "image, or to be one file for all, and must cover the same ground"
    )


def pair_on(
    image: Scene,
    label: Path,
    classes: Sequence[LandClass],
    label_field: str | None,
    background: int,
    all_touched: bool = False,
) -> Pair:
    """An image and one label file: a raster on any grid, a picture in colour, or polygons.

    Raises:
        LabelError: the label cannot be used; see :func:`pair_labels`.
    """
    if label.suffix.lower() in POLYGON_ENDINGS:
        polygons = polygons_on(image, read_polygons(label), label, classes, label_field, all_touched)
        return Pair(image, polygons, background=background)
    scene = load_scene(label)
    if len(scene.bands) < _COLOR_BANDS:
        return Pair(image, scene)
    if not classes:
        raise LabelError(f"label {label} is a picture in colour; --classes must say which colour is which class")
    colors = tuple((item.rgb, item.value) for item in classes)
    return Pair(image, load_scene(label, scene.bands[:_COLOR_BANDS]), colors)


def _overlaps(pair: Pair) -> bool:
    if isinstance(pair.label, Polygons):
        return bool(pair.label.outlines.codes.size)
    if pair.image.crs is None or pair.label.crs is None:
        return True
    from rasterio.warp import transform_bounds

    left, bottom, right, top = bounds_of(pair.image)
    other = transform_bounds(pair.label.crs, pair.image.crs, *bounds_of(pair.label))
    return bool(left < other[2] and other[0] < right and bottom < other[3] and other[1] < top)


def polygons_on(
    image: Scene,
    frame: Any,
    path: Path,
    classes: Sequence[LandClass],
    label_field: str | None,
    all_touched: bool = False,
) -> Polygons:
    """The polygons of a GeoDataFrame that meet an image, on its pixels; those of no class are left out.

    Raises:
        LabelError: there is no such field, or it holds no class.
    """
    from shapely.geometry import box

    frame = in_crs_of(image, frame)
    codes = codes_of(frame, path, classes, label_field)
    meets = frame.geometry.intersects(box(*bounds_of(image))).to_numpy() & (codes >= 0)
    return Polygons(str(path), outlines(frame.geometry.array[meets], codes[meets], ~image.transform), all_touched)


def in_crs_of(image: Scene, frame: Any) -> Any:
    """The GeoDataFrame in the image's CRS; as it is where either has none."""
    return frame.to_crs(image.crs.to_wkt()) if image.crs is not None and frame.crs is not None else frame


def read_polygons(path: Path) -> Any:
    """The GeoDataFrame of a polygon file.

    Raises:
        LabelError: there is no such file, it cannot be read, or it is empty.
    """
    import geopandas
    import pyogrio.errors

    if not path.exists():
        raise LabelError(f"label file {path} does not exist")
    try:
        parquet = path.suffix.lower() in (".parquet", ".geoparquet")
        frame = geopandas.read_parquet(path) if parquet else geopandas.read_file(path)
    except (pyogrio.errors.DataSourceError, ValueError, OSError) as error:
        raise LabelError(f"label file {path} cannot be read: {error}") from error
    if not len(frame) or not hasattr(frame, "geometry"):
        raise LabelError(f"label file {path} is empty: it holds no polygon")
    return frame


def class_field(frame: Any, path: Path, label_field: str | None) -> str:
    """The field with the classes: the one that is named, else the first of the usual ones.

    Raises:
        LabelError: there is none.
    """
    known = [column for column in frame.columns if column != frame.geometry.name]
    field = label_field or next((name for name in ("class", "value", "label", "code") if name in known), "")
    if field not in known:
        raise LabelError(
            f"{path} has no field {field or 'class'!r} with the classes; name one with --label-field: "
            f"{', '.join(known)}"
        )
    return field


def codes_of(frame: Any, path: Path, classes: Sequence[LandClass], label_field: str | None) -> NDArray[np.int64]:
    """The class code of each polygon, -1 where it is in no class.

    Raises:
        LabelError: there is no such field, or it holds no class.
    """
    field = class_field(frame, path, label_field)
    names = {item.name: item.value for item in classes}
    values = [names.get(str(value), code_of(value)) for value in frame[field]]
    if all(value < 0 for value in values):
        raise LabelError(f"field {field!r} of {path} holds no class code 0 to 254 and no name of the class table")
    return np.array(values, np.int64)


def code_of(value: Any) -> int:
    """A whole number from 0 to 254, as number or text; -1 for all else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return -1
    return int(number) if number.is_integer() and 0 <= number < NODATA else -1


def read_codes(pair: Pair, window: Window) -> Codes:
    """Class codes of a window of the pair's image, NODATA where there is no label or no image.

    Returns:
        `(height, width)` uint8.
    """
    inside = window.intersection(pair.image.extent)
    codes = np.full((window.height, window.width), NODATA, np.uint8)
    if not inside.pixels:
        return codes
    label = pair.label
    if isinstance(label, Polygons):
        codes[inside.within(window)] = burn(label.outlines, inside, pair.background, label.all_touched)
    else:
        codes[inside.within(window)] = _read(pair, label, inside)
    return codes


def _read(pair: Pair, label: Scene, window: Window) -> Codes:
    with aligned(label, pair.image) as (dataset, scene):
        stored, valid = read_stored(dataset, scene, window)
    codes = _codes_of_colors(stored, pair.colors) if pair.colors else _codes_of_values(stored[0])
    return np.where(valid, codes, np.uint8(NODATA))


def _codes_of_values(stored: NDArray[Any]) -> Codes:
    fits = (stored >= 0) & (stored < NODATA)
    return np.where(fits, stored, NODATA).astype(np.uint8)


def _codes_of_colors(stored: NDArray[Any], colors: Iterable[tuple[tuple[int, int, int], int]]) -> Codes:
    """Colours (3, height, width) to codes (height, width)."""
    codes = np.full(stored.shape[1:], NODATA, np.uint8)
    for rgb, code in colors:
        codes[(stored == np.array(rgb)[:, None, None]).all(axis=0)] = code
    return codes
