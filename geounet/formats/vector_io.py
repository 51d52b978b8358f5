"""Polygon files: GeoPackage, GeoParquet, GeoJSON, FlatGeobuf and Shapefile, by the file's ending.

Written batch by batch, so that memory does not grow with the file; read whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pyarrow as pa
from pyproj import CRS

from geounet.errors import OutputError
from geounet.formats import gdal, geojson, geoparquet
from geounet.formats.batches import Layer, decode
from geounet.formats.fiboa import REQUIRED, collection_metadata, to_fiboa
from geounet.outputs import atomic, check_ending, check_output
from geounet.raster import styles
from geounet.raster.globe import has_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.formats.batches import Encoded, Put
    from geounet.formats.fiboa import Fiboa

_GEOJSON = (".geojson", ".json")
_SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".sbn", ".sbx", ".qix", ".shp.xml")


class _NotOursError(Exception):
    """Carries what the caller's own code raised past the handlers of the writing."""


class VectorWriter:
    """An open polygon file; see :func:`open_writer`."""

    def __init__(self, path: Path, layer: Layer, put: Put, fiboa: Fiboa | None) -> None:
        self.path = path
        self.rows = 0
        self._layer, self._put, self._fiboa = layer, put, fiboa
        self._columns: tuple[str, ...] | None = None

    def write(self, frame: gpd.GeoDataFrame) -> None:
        """Append the polygons of a frame, which may be empty.

        Args:
            frame: the columns of the first batch, in any order, and polygons or multipolygons in the file's CRS.

        Raises:
            OutputError: columns or CRS differ from the first batch's, or the file cannot be written.
        """
        self._check(frame)
        frame = frame if self._fiboa is None else to_fiboa(frame, self._fiboa)
        self._append(frame.reset_index(drop=True).set_crs(self._layer.crs), len(frame))

    def write_encoded(self, batch: Encoded) -> None:
        """Append polygons that are well-known binary already; GeoParquet and layers of plain polygons take it as it is.

        Args:
            batch: in the file's CRS, with the columns of the first batch.

        Raises:
            OutputError: columns differ from the first batch's, or the file cannot be written.
        """
        if self._fiboa is not None or not _takes_bytes(self.path, self._layer):
            self.write(decode(batch, self._layer.crs))
            return
        self._check_columns(tuple(batch.attributes.columns))
        self._append(batch, len(batch))

    def _append(self, batch: gpd.GeoDataFrame | Encoded, rows: int) -> None:
        with _sentences(self.path):
            self._put(batch)
        self.rows += rows

    def _check(self, frame: gpd.GeoDataFrame) -> None:
        self._check_columns(tuple(name for name in frame.columns if name != frame.geometry.name))
        if frame.crs is not None and frame.crs != self._layer.crs:
            raise OutputError(f"a batch for {self.path} is in {frame.crs.name}; the file is in another CRS")

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        self._columns = columns if self._columns is None else self._columns
        if set(columns) != set(self._columns):
            raise OutputError(
                f"a batch for {self.path} has the columns {', '.join(columns)}; "
                f"the first had {', '.join(self._columns)}"
            )

    def finish(self) -> None:
        """Give a file without any batch its layer."""
        if self._columns is None:
            self.write(gpd.GeoDataFrame(geometry=[], crs=self._layer.crs))


@contextmanager
def open_writer(
    path: Path,
    *,
    crs: Any,
    overwrite: bool = False,
    multi: bool = True,
    classes: Sequence[LandClass] = (),
    fiboa: Fiboa | None = None,
) -> Iterator[VectorWriter]:
    """A file that takes polygons batch by batch, in the format of the path's ending.

    It appears whole under its name when the block is left, or, after an error, not at all: then what stood there
    before stays as it was. Memory holds a few batches, whatever the file's size. With no batch at all the file is
    empty and has no attributes; write an empty frame to give it some.

    `.gpkg` GeoPackage, its layer named as the file; `.parquet` or `.geoparquet` GeoParquet 1.1 with a box for each
    polygon; `.fgb` FlatGeobuf, whose spatial index orders the features anew; `.geojson` or `.json` GeoJSON (RFC
    7946: longitude and latitude, seven decimals, cut at the antimeridian; a CRS is needed); `.shp` Shapefile, field
    names cut to ten characters with a warning.

    Args:
        path: where to; its folder is made if there is none.
        crs: of all batches, in any form that pyproj takes; None for pixel coordinates.
        overwrite: whether an existing file may be replaced.
        multi: whether multipolygons may come. GeoPackage and FlatGeobuf have layers of one type, so that there
            all polygons become multipolygons; with False a multipolygon is an error in these two.
        classes: the classes of the attribute `class`, whose colours and names QGIS then shows, by a `.qml` of the
            file's stem beside it.
        fiboa: makes a GeoParquet file a fiboa collection of those polygons that are fields.

    Raises:
        OutputError: the ending is unknown, the file exists, or it cannot be written; fiboa is asked of another
            format than GeoParquet, or without a CRS.
    """
    open_format = _format_of(path)
    check_place(path, crs)
    layer = _layer(path, crs, multi, fiboa)
    check_output(path, overwrite)
    try:
        with _sentences(path), atomic(path) as draft:
            with open_format(draft, layer) as put:
                yield from _hand_out(VectorWriter(path, layer, put, fiboa))
            if classes:
                styles.write_qml(draft, classes)
            if path.suffix.lower() == ".shp":
                _drop_stale_parts(path)
    except _NotOursError as error:
        raise error.args[0] from error.args[0].__cause__


def check_place(path: Path, crs: Any) -> None:
    """Make sure, before any work is done, that what is written has the place that its format asks for.

    Args:
        path: the file.
        crs: of what is written, in any form that pyproj takes; None for pixel coordinates.

    Raises:
        OutputError: it is GeoJSON, and the CRS does not lead to longitude and latitude.
    """
    if path.suffix.lower() in _GEOJSON and not has_place(None if crs is None else CRS.from_user_input(crs)):
        why = "without a CRS" if crs is None else f"in {CRS.from_user_input(crs).name}, which leads to no place"
        raise OutputError(
            f"{path} would hold coordinates {why}, and GeoJSON is longitude and latitude (RFC 7946): write "
            ".gpkg, .parquet, .fgb or .shp, which keep coordinates as they are"
        )


def _layer(path: Path, crs: Any, multi: bool, fiboa: Fiboa | None) -> Layer:
    found = None if crs is None else CRS.from_user_input(crs)
    if fiboa is None:
        return Layer(found, multi)
    if path.suffix.lower() not in (".parquet", ".geoparquet") or found is None:
        reason = "there is no CRS" if found is None else f"{path.name} is none"
        raise OutputError(f"fiboa fields are GeoParquet with a CRS, and {reason}; write .parquet, or leave fiboa out")
    return Layer(found, multi, REQUIRED, partial(collection_metadata, fiboa))


def _hand_out(writer: VectorWriter) -> Iterator[VectorWriter]:
    try:
        yield writer
    except Exception as error:
        # The body reads rasters too: its errors are no errors of the writing.
        raise _NotOursError(error) from error
    writer.finish()


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn the errors of GDAL and Arrow into one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, OSError, pa.ArrowException) as error:
        raise OutputError(f"{path} cannot be written: {' '.join(str(error).split())}") from error


def write_vectors(frame: gpd.GeoDataFrame, path: Path, overwrite: bool = False) -> None:
    """Write polygons in the format of the path's ending, see :func:`open_writer`.

    Args:
        frame: polygons and multipolygons, with or without a CRS; it may be empty.
        path: where to; its folder is made if there is none.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the ending is unknown, the file exists, or it cannot be written.
    """
    multi = bool((frame.geom_type == "MultiPolygon").any())
    with open_writer(path, crs=frame.crs, overwrite=overwrite, multi=multi) as writer:
        writer.write(frame)


def check_format(path: Path) -> None:
    """Make sure, before any work is done, that the ending names a format that can be written.

    Raises:
        OutputError: it does not.
    """
    _format_of(path)


_FORMATS: dict[str, Callable[[Path, Layer], AbstractContextManager[Put]]] = {
    ".gpkg": gdal.geopackage,
    ".parquet": geoparquet.writer,
    ".geoparquet": geoparquet.writer,
    ".geojson": geojson.writer,
    ".json": geojson.writer,
    ".fgb": gdal.flatgeobuf,
    ".shp": gdal.shapefile,
}


def _format_of(path: Path) -> Callable[[Path, Layer], AbstractContextManager[Put]]:
    check_ending(path, *_FORMATS)
    return _FORMATS[path.suffix.lower()]


def _takes_bytes(path: Path, layer: Layer) -> bool:
    kind = path.suffix.lower()
    return kind in (".parquet", ".geoparquet") or (kind in (".gpkg", ".fgb") and not layer.multi)


def _drop_stale_parts(path: Path) -> None:
    """Remove the companions of a shapefile that is about to be replaced: an old projection, an old index."""
    for ending in _SHAPEFILE_PARTS:
        path.with_suffix(ending).unlink(missing_ok=True)
