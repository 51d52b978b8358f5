"""Batches of polygons as Arrow record batches: attributes with one set of types, geometries as WKB."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import shapely

from geounet.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from pyproj import CRS

    Put = Callable[[gpd.GeoDataFrame | "Encoded"], None]
    """Takes one batch after another; shapes as bytes only where a format says that it takes them."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch whose shapes are bytes already, for formats that store them so."""

    attributes: Any
    """pandas frame of the attributes."""
    wkb: pa.Array
    """Well-known binary of each shape, null where there is none."""
    boxes: NDArray[np.float64]
    """`(features, 4)`: least x and y, greatest x and y; NaN where there is no shape."""
    kinds: frozenset[int]
    """Types of the shapes, as :class:`shapely.GeometryType` numbers them."""

    def __len__(self) -> int:
        return len(self.attributes)


def encode(frame: gpd.GeoDataFrame) -> Encoded:
    """A frame with its shapes as bytes."""
    shapes = geometries_of(frame)
    wkb, kinds = pa.array(shapely.to_wkb(shapes), pa.binary()), np.unique(shapely.get_type_id(shapes))
    return Encoded(attributes_of(frame), wkb, shapely.bounds(shapes), frozenset(kinds.tolist()))


def to_encoded_batch(batch: Encoded, schema: pa.Schema) -> pa.RecordBatch:
    """As :func:`to_batch`."""
    return pa.RecordBatch.from_arrays([*to_columns(batch.attributes, schema), batch.wkb], schema=schema)


def decode(batch: Encoded, crs: CRS | None) -> gpd.GeoDataFrame:
    """A batch as a frame."""
    shapes = shapely.from_wkb(batch.wkb.to_numpy(zero_copy_only=False))
    return gpd.GeoDataFrame(batch.attributes, geometry=shapes, crs=crs)


GEOMETRY = "geometry"
"""Name of the geometry column, unless a format has its own."""
_WKB = {"ARROW:extension:name": "geoarrow.wkb"}


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer of polygons is, but for its features."""

    crs: CRS | None
    """Coordinate reference system, None for pixel coordinates."""
    multi: bool = True
    """Whether multipolygons may come; formats whose layers have one type then hold multipolygons only."""
    required: frozenset[str] = frozenset()
    """Columns without null, and declared so where the format can."""
    describe: Callable[[pa.Schema], dict[str, str]] = field(default=lambda _: {})
    """Entries for the file's own metadata, from its columns, where the format has room for them."""


def geometries_of(frame: gpd.GeoDataFrame) -> NDArray[np.object_]:
    """The shapes of a frame, `(features,)`."""
    return np.asarray(frame.geometry.array, object)


def attributes_of(frame: gpd.GeoDataFrame) -> Any:
    """The frame without its geometry, as a pandas frame."""
    return frame.drop(columns=frame.geometry.name)


def schema_of(frame: gpd.GeoDataFrame, layer: Layer) -> pa.Schema:
    """Columns and types of a frame's record batches: its attributes, then the geometry."""
    return schema_of_attributes(attributes_of(frame), layer)


def schema_of_attributes(attributes: Any, layer: Layer) -> pa.Schema:
    """As :func:`schema_of`, from a pandas frame."""
    found = pa.Schema.from_pandas(attributes, preserve_index=False)
    fields = [pa.field(column.name, _plain(column.type), column.name not in layer.required) for column in found]
    return pa.schema([*fields, pa.field(GEOMETRY, pa.binary(), GEOMETRY not in layer.required, _WKB)])


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type that all formats have: categories by their values, texts with 32-bit offsets, nothing as text."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_null(kind) else kind


def to_batch(frame: gpd.GeoDataFrame, schema: pa.Schema, shapes: NDArray[np.object_] | None = None) -> pa.RecordBatch:
    """A frame as a record batch of a schema; NaN in an attribute becomes null.

    Args:
        frame: attributes by the schema's names.
        schema: of :func:`schema_of`, for this or an earlier frame.
        shapes: geometries in place of the frame's own.

    Raises:
        OutputError: an attribute is of another type, or null where it must not be.
    """
    shapes = geometries_of(frame) if shapes is None else shapes
    wkb = pa.array(shapely.to_wkb(shapes), pa.binary())
    return pa.RecordBatch.from_arrays([*to_columns(frame, schema), wkb], schema=schema)


def to_columns(frame: Any, schema: pa.Schema) -> list[pa.Array]:
    """The attributes of a frame in a schema's order and types, see :func:`to_batch`."""
    return [_to_array(frame[column.name], column) for column in list(schema)[:-1]]


def _to_array(values: Any, column: pa.Field) -> pa.Array:
    try:
        array = pa.array(values, from_pandas=True)
        # pandas keeps texts in Arrow's chunks, several where frames were joined.
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        array = array.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise OutputError(f"column {column.name} is {column.type} in the first batch, and this one: {error}") from error
    if array.null_count and not column.nullable:
        raise OutputError(f"column {column.name} must hold a value for each polygon; {array.null_count} have none")
    return array


def to_multi(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Polygons as multipolygons of one part; what is a multipolygon or missing stays."""
    single = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    wide = shapes.copy()
    wide[single] = shapely.multipolygons(shapes[single], indices=np.arange(np.count_nonzero(single)))
    return wide


def slices(frame: gpd.GeoDataFrame, rows: int) -> Iterator[gpd.GeoDataFrame]:
    """A frame in pieces of at most `rows` rows, at least one piece."""
    for start in range(0, max(len(frame), 1), rows):
        yield frame.iloc[start : start + rows]
