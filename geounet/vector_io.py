"""Polygon files: GeoPackage, GeoParquet, GeoJSON, FlatGeobuf and Shapefile, by the file's ending."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pyogrio

from geounet.errors import LabelError, OutputError
from geounet.outputs import atomic, check_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOG = logging.getLogger("geounet")
_DBF_NAME = 10
"""Characters of a field name in a shapefile's dBASE table."""
_SHORT = {"perimeter_m": "perim_m"}
_SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".sbn", ".sbx", ".qix", ".shp.xml")


def write_vectors(frame: gpd.GeoDataFrame, path: Path, overwrite: bool = False) -> None:
    """Write polygons in the format of the path's ending; the file appears whole or not at all.

    `.gpkg` GeoPackage, its layer named as the file; `.parquet` or `.geoparquet` GeoParquet 1.1 with a box for each
    polygon; `.fgb` FlatGeobuf, whose spatial index orders the features anew; `.geojson` or `.json` GeoJSON (RFC
    7946: longitude and latitude, nine decimals; pixel coordinates where there is no CRS); `.shp` Shapefile, field
    names cut to ten characters with a warning.

    Args:
        frame: polygons and multipolygons, with or without a CRS; it may be empty.
        path: where to; its folder is made if there is none.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the ending is unknown, the file exists, or it cannot be written.
    """
    write = _writer(path)
    check_output(path, overwrite)
    try:
        with atomic(path) as draft, warnings.catch_warnings():
            # A frame without a CRS is what pixel coordinates are.
            warnings.filterwarnings("ignore", "'crs' was not provided")
            write(frame.reset_index(drop=True), draft)
            if path.suffix.lower() == ".shp":
                _drop_stale_parts(path)
    except (RuntimeError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {' '.join(str(error).split())}") from error


def check_format(path: Path) -> None:
    """Make sure, before any work is done, that the ending names a format that can be written.

    Raises:
        OutputError: it does not.
    """
    _writer(path)


def _writer(path: Path) -> Callable[[gpd.GeoDataFrame, Path], None]:
    if path.suffix.lower() not in _WRITERS:
        raise OutputError(f"{path} ends in none of {', '.join(_WRITERS)}: give the output one of these endings")
    return _WRITERS[path.suffix.lower()]


def _write_parquet(frame: gpd.GeoDataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")


def _write_geopackage(frame: gpd.GeoDataFrame, path: Path) -> None:
    _write_ogr(frame, path, "GPKG", layer=path.stem, use_arrow=True)


def _write_flatgeobuf(frame: gpd.GeoDataFrame, path: Path) -> None:
    _write_ogr(frame, path, "FlatGeobuf", use_arrow=True)


def _write_geojson(frame: gpd.GeoDataFrame, path: Path) -> None:
    if frame.crs is None:
        _write_ogr(frame, path, "GeoJSON", COORDINATE_PRECISION=9)
    else:
        _write_ogr(frame.to_crs("EPSG:4326"), path, "GeoJSON", RFC7946="YES", COORDINATE_PRECISION=9)


def _write_shapefile(frame: gpd.GeoDataFrame, path: Path) -> None:
    names = _short_names([name for name in frame.columns if name != frame.geometry.name])
    renamed = {name: short for name, short in names.items() if name != short}
    if renamed:
        listed = ", ".join(f"{name} as {short}" for name, short in renamed.items())
        _LOG.warning("%s: a shapefile's field names have at most ten characters: %s", path.name, listed)
    _write_ogr(frame.rename(columns=renamed), path, "ESRI Shapefile", encoding="UTF-8")


def _short_names(names: list[str]) -> dict[str, str]:
    """For each field name one of at most ten characters, none twice."""
    short: dict[str, str] = {}
    for name in names:
        wanted = _SHORT.get(name, name[:_DBF_NAME])
        number = 1
        while wanted in short.values():
            number += 1
            wanted = f"{name[: _DBF_NAME - len(str(number)) - 1]}_{number}"
        short[name] = wanted
    return short


def _write_ogr(frame: gpd.GeoDataFrame, path: Path, driver: str, **options: Any) -> None:
    multi = bool((frame.geom_type == "MultiPolygon").any())
    pyogrio.write_dataframe(
        frame,
        path,
        driver=driver,
        geometry_type="MultiPolygon" if multi else "Polygon",
        promote_to_multi=multi,
        **options,
    )


def _drop_stale_parts(path: Path) -> None:
    """Remove the companions of a shapefile that is about to be replaced: an old projection, an old index."""
    for ending in _SHAPEFILE_PARTS:
        path.with_suffix(ending).unlink(missing_ok=True)


_WRITERS = {
    ".gpkg": _write_geopackage,
    ".parquet": _write_parquet,
    ".geoparquet": _write_parquet,
    ".geojson": _write_geojson,
    ".json": _write_geojson,
    ".fgb": _write_flatgeobuf,
    ".shp": _write_shapefile,
}


def read_vectors(path: Path) -> gpd.GeoDataFrame:
    """Read the features of a polygon file: GeoParquet, or anything that GDAL opens (its first layer).

    Raises:
        LabelError: the file is missing, unreadable, or has no features with a geometry.
    """
    if not path.exists():
        raise LabelError(f"polygon file {path} does not exist")
    try:
        frame = _read(path)
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"polygon file {path} cannot be read: {reason}") from error
    if frame.geometry.isna().all() or frame.geometry.is_empty.all():
        raise LabelError(f"polygon file {path} is empty: it holds no feature with a geometry")
    return frame


def _read(path: Path) -> gpd.GeoDataFrame:
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        return gpd.read_parquet(path)
    frame = pyogrio.read_dataframe(path, layer=pyogrio.list_layers(path)[0][0])
    # A table without geometry comes as a plain frame.
    return frame if isinstance(frame, gpd.GeoDataFrame) else gpd.GeoDataFrame(frame, geometry=[None] * len(frame))
