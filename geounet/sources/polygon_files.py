"""Polygon files: which of their layers is meant, and its features."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

POLYGON_ENDINGS = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".gml", ".kml")
"""Files that hold polygons; all else is taken for a raster."""
_PARQUET = (".parquet", ".geoparquet")
_AREAS = ("Polygon", "Surface", "Unknown", "GeometryCollection")
"""What the geometry types of layers are called that may hold polygons."""


def is_polygons(path: str | Path) -> bool:
    """Whether a name is that of a file of polygons or points, or of a layer of one, rather than of pixels."""
    return split_layer(path)[0].suffix.lower() in POLYGON_ENDINGS


def split_layer(path: str | Path) -> tuple[Path, str | None]:
    """File and layer of a name such as `file.gpkg:layer`; None where it names no layer."""
    file, colon, layer = str(path).rpartition(":")
    if colon and layer and Path(file).suffix.lower() in POLYGON_ENDINGS and not Path(path).exists():
        return Path(file), layer
    return Path(path), None


def with_layer(path: str | Path, layer: str | None) -> Path:
    """The name of a layer of a file; of a name that is none of a polygon file, or has a layer already, itself."""
    return Path(path) if layer is None or not is_polygons(path) or split_layer(path)[1] else Path(f"{path}:{layer}")


def read_polygons(path: str | Path) -> Any:
    """The GeoDataFrame of a polygon file: GeoParquet, or anything that GDAL opens.

    Args:
        path: the file, or one of its layers as `file.gpkg:layer`. Without a layer the one that holds polygons is taken,
            or the one that holds points where none does.

    Raises:
        LabelError: the file is missing, unreadable, or has no features with a geometry; it has no such layer, or
            several and none is named.
    """
    import pyogrio.errors

    file, layer = split_layer(path)
    if not file.exists():
        raise LabelError(f"polygon file {file} does not exist")
    try:
        with _unheard():
            frame = _read(file, layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"polygon file {file} cannot be read: {reason}") from error
    if not len(frame) or frame.geometry.isna().all() or frame.geometry.is_empty.all():
        raise LabelError(f"polygon file {path} is empty: it holds no feature with a geometry")
    return frame


@contextmanager
def _unheard() -> Iterator[None]:
    """What libraries have to say of a file is said here in our words, or is not worth saying."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(file: Path, layer: str | None) -> Any:
    import geopandas
    import pyogrio

    if file.suffix.lower() in _PARQUET:
        if layer is not None:
            raise LabelError(f"{file} is GeoParquet and has no layers; leave {layer!r} out")
        return geopandas.read_parquet(file)
    frame = pyogrio.read_dataframe(file, layer=chosen_layer(file, layer))
    # A table without geometry comes as a plain frame.
    is_spatial = isinstance(frame, geopandas.GeoDataFrame)
    return frame if is_spatial else geopandas.GeoDataFrame(frame, geometry=[None] * len(frame))


def chosen_layer(file: Path, layer: str | None) -> str:
    """The layer that is named, else the one that can be meant.

    Raises:
        LabelError: there is no such layer, or there are several.
    """
    import pyogrio

    kinds = {str(name): kind for name, kind in pyogrio.list_layers(file)}
    if layer is not None:
        if layer not in kinds:
            raise LabelError(f"{file} has no layer {layer!r}; its layers are {', '.join(_listed(kinds))}")
        return layer
    spatial = {name: str(kind) for name, kind in kinds.items() if kind is not None}
    areas = [name for name, kind in spatial.items() if any(word in kind for word in _AREAS)]
    points = [name for name, kind in spatial.items() if "Point" in kind]
    found = areas or points or list(spatial)
    if len(found) > 1:
        raise LabelError(
            f"{file} has several layers ({', '.join(_listed(spatial))}); name one with --layer, or as {file.name}:LAYER"
        )
    if not found:
        return next(iter(kinds))
    if len(spatial) > 1:
        others = ", ".join(_listed({name: kind for name, kind in spatial.items() if name != found[0]}))
        _log.warning("%s: layer %s is read; it also has %s", file, found[0], others)
    return found[0]


def _listed(kinds: dict[str, Any]) -> Iterator[str]:
    return (f"{name} ({kind or 'a table'})" for name, kind in kinds.items())
