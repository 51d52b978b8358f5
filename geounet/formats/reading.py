"""Polygon files read batch by batch, so that memory does not grow with the file."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from geounet.errors import LabelError
from geounet.sources.polygon_files import chosen_layer, split_layer, with_layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_ROWS = 20_000
_PARQUET = (".parquet", ".geoparquet")
_AREAS = ("Polygon", "MultiPolygon")
# Whole numbers and truths of which some are missing stay what they are.
_WHOLE = {
    pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.int16(): pd.Int16Dtype(), pa.int8(): pd.Int8Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.bool_(): pd.BooleanDtype(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PolygonFile:
    """What a polygon file is, but for its features."""

    crs: CRS | None
    """Coordinate reference system; None for pixel coordinates."""
    multi: bool
    """Whether it may hold multipolygons."""
    columns: tuple[str, ...]
    """Attributes, without the geometry."""
    count: int
    """Features."""


def describe_polygons(path: str | Path) -> PolygonFile:
    """What a file or a layer of one (`file.gpkg:layer`) holds.

    Raises:
        LabelError: it is missing or cannot be read, holds no polygons, or has several layers and none is named.
    """
    file, layer = split_layer(path)
    with _sentences(file):
        return _describe_parquet(file) if file.suffix.lower() in _PARQUET else _describe_layer(file, layer)


def columns_of(path: str | Path) -> tuple[str, ...]:
    """The attributes of a polygon file, see :func:`describe_polygons`."""
    return describe_polygons(path).columns


def read_batches(
    path: str | Path, columns: Sequence[str] | None = None, rows: int = _ROWS
) -> Iterator[gpd.GeoDataFrame]:
    """The features of a polygon file, in frames of at most `rows`, at least one; those without a shape are left out.

    Args:
        path: see :func:`describe_polygons`.
        columns: attributes to read; all by default.
        rows: features of a frame.

    Raises:
        LabelError: see :func:`describe_polygons`; or a shape is neither polygon nor multipolygon.
    """
    about = describe_polygons(path)
    wanted = about.columns if columns is None else tuple(columns)
    file, layer = split_layer(path)
    read = _read_parquet if file.suffix.lower() in _PARQUET else _read_layer
    with _sentences(file):
        for batch, geometry in _whole(read(file, layer, wanted, rows), about.count):
            yield _frame(batch, geometry, wanted, about.crs, file)


def read_values(path: str | Path, columns: Sequence[str]) -> dict[int, str]:
    """The values of the first column, each with what the second says where they first stand, or nothing."""
    file, layer = split_layer(path)
    read = _read_parquet if file.suffix.lower() in _PARQUET else _read_layer
    found: dict[int, str] = {}
    with _sentences(file):
        for batch, _ in read(file, layer, tuple(columns), _ROWS, shapes=False):
            pairs = pa.Table.from_batches([batch.select(list(columns))]).group_by(list(columns)).aggregate([])
            for row in pairs.to_pylist():
                if row[columns[0]] is not None:
                    found.setdefault(int(row[columns[0]]), str(row.get(columns[-1]) or "") if columns[1:] else "")
    return found


def read_table(path: str | Path) -> pd.DataFrame:
    """The attributes of all features, those without a shape too, in the file's order.

    Raises:
        LabelError: it is missing, cannot be read, or has several layers and none is named.
    """
    file, layer = split_layer(path)
    in_parquet = file.suffix.lower() in _PARQUET
    with _sentences(file):
        about = _describe_parquet(file) if in_parquet else _about_layer(file, layer)
        if not about.columns:
            return pd.DataFrame(index=range(about.count))
        read = _read_parquet if in_parquet else _read_layer
        batches = [batch for batch, _ in _whole(read(file, layer, about.columns, _ROWS, shapes=False), about.count)]
    table: pd.DataFrame = pa.Table.from_batches(batches).select(list(about.columns)).to_pandas(types_mapper=_WHOLE.get)
    return table


def read_shapes(path: str | Path, rows: int = _ROWS) -> Iterator[gpd.GeoSeries]:
    """The shapes of all features of any kind, at most so many at a time; None where a feature has none.

    Raises:
        LabelError: as :func:`read_table`.
    """
    file, layer = split_layer(path)
    in_parquet = file.suffix.lower() in _PARQUET
    with _sentences(file):
        about = _describe_parquet(file) if in_parquet else _about_layer(file, layer)
        read = _read_parquet if in_parquet else _read_layer
        for batch, geometry in _whole(read(file, layer, (), rows), about.count):
            yield gpd.GeoSeries(_shapes(batch, geometry), crs=about.crs)


def one_layer(path: Path) -> Path:
    """The name of the layer of a file that can be meant, so that it is looked for, and told of, once.

    Raises:
        LabelError: the file is missing or unreadable, or has several layers and none is named; or no layer with shapes.
    """
    file, layer = split_layer(path)
    with _sentences(file):
        if layer is not None or file.suffix.lower() in _PARQUET:
            return path
        layer = chosen_layer(file, None)
    # A name of a layer with a colon in it cannot be told from a file's.
    return path if ":" in layer else with_layer(path, layer)


@contextmanager
def _sentences(file: Path) -> Iterator[None]:
    import pyogrio.errors

    if not file.exists():
        raise LabelError(f"polygon file {file} does not exist")
    try:
        yield
    except (
        pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pa.ArrowException, shapely.errors.ShapelyError,
        KeyError, OSError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        raise LabelError(f"polygon file {file} cannot be read: {' '.join(str(error).split())}") from error


def _describe_layer(file: Path, layer: str | None) -> PolygonFile:
    import pyogrio

    name = chosen_layer(file, layer)
    kind = str(pyogrio.read_info(file, layer=name)["geometry_type"])
    if not any(word in kind for word in (*_AREAS, "Unknown", "None")):
        raise LabelError(f"{file} holds {kind}s, and polygons are needed")
    return _about_layer(file, name)


def _about_layer(file: Path, layer: str | None) -> PolygonFile:
    """As :func:`describe_polygons`, of shapes of any kind."""
    import pyogrio

    about = pyogrio.read_info(file, layer=chosen_layer(file, layer), force_feature_count=True)
    kind = str(about["geometry_type"])
    crs = None if about["crs"] is None else CRS.from_user_input(about["crs"])
    return PolygonFile(crs, kind != "Polygon", tuple(map(str, about["fields"])), int(about["features"]))


def _describe_parquet(file: Path) -> PolygonFile:
    about = pq.ParquetFile(file)
    column, geo = _geometry_of(file, about)
    boxes = {paths[0] for paths in geo.get("covering", {}).get("bbox", {}).values()}
    names = tuple(name for name in about.schema_arrow.names if name not in {column, *boxes})
    # GeoParquet, "crs": where it is missing, OGC:CRS84; null where it is not known.
    told = geo.get("crs", "OGC:CRS84")
    crs = None if told is None else CRS.from_user_input(told)
    return PolygonFile(crs, set(geo.get("geometry_types", ())) != {"Polygon"}, names, about.metadata.num_rows)


def _geometry_of(file: Path, about: pq.ParquetFile) -> tuple[str, dict[str, Any]]:
    told = (about.schema_arrow.metadata or {}).get(b"geo") or (about.metadata.metadata or {}).get(b"geo")
    if told is None:
        raise LabelError(f"{file} is Parquet without geometry, and polygons are needed")
    geo = json.loads(told)
    column = geo["primary_column"]
    return column, geo["columns"][column]


def _read_parquet(
    file: Path, _layer: str | None, columns: Sequence[str], rows: int, *, shapes: bool = True
) -> Iterator[tuple[pa.RecordBatch, str]]:
    about = pq.ParquetFile(file)
    geometry, _ = _geometry_of(file, about)
    wanted = [*columns, *([geometry] if shapes else [])]
    for batch in about.iter_batches(rows, columns=wanted):
        yield batch, geometry
    if not about.metadata.num_rows:
        yield _empty(pa.schema([about.schema_arrow.field(name) for name in wanted])), geometry


def _read_layer(
    file: Path, layer: str | None, columns: Sequence[str], rows: int, *, shapes: bool = True
) -> Iterator[tuple[pa.RecordBatch, str]]:
    import pyogrio.raw

    with pyogrio.raw.open_arrow(
        file, layer=chosen_layer(file, layer), columns=list(columns), batch_size=rows, read_geometry=shapes,
        use_pyarrow=True,
    ) as (about, reader):  # fmt: skip
        geometry, count = about["geometry_name"] or "wkb_geometry", 0
        for batch in reader:
            yield batch, geometry
            count += batch.num_rows
        if not count:
            yield _empty(reader.schema), geometry


def _whole(batches: Iterator[tuple[pa.RecordBatch, str]], count: int) -> Iterator[tuple[pa.RecordBatch, str]]:
    """The batches; GDAL ends without a word where a file is damaged.

    Raises:
        OSError: not all features came.
    """
    read = 0
    for batch, geometry in batches:
        read += batch.num_rows
        yield batch, geometry
    if read != count:
        raise OSError(f"of {count} features only {read} could be read; it is damaged")


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _shapes(batch: pa.RecordBatch, geometry: str) -> Any:
    """The shapes of a batch, as WKB or as GeoArrow has them."""
    column = batch.column(geometry)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    return gpd.GeoDataFrame.from_arrow(pa.Table.from_batches([batch.select([geometry])])).geometry.to_numpy()


def _frame(
    batch: pa.RecordBatch, geometry: str, columns: Sequence[str], crs: CRS | None, file: Path
) -> gpd.GeoDataFrame:
    shapes = _shapes(batch, geometry)
    kept = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    kinds = shapely.get_type_id(shapes[kept])
    if not np.isin(kinds, [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON]).all():
        raise LabelError(f"{file} holds other shapes than polygons, and polygons are needed")
    attributes = batch.select(list(columns)).to_pandas(types_mapper=_WHOLE.get)
    return gpd.GeoDataFrame(attributes[kept].reset_index(drop=True), geometry=shapes[kept], crs=crs)
