"""GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/), written row group by row group."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geounet.errors import OutputError
from geounet.formats.batches import GEOMETRY, Encoded, encode, schema_of_attributes, slices, to_encoded_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import geopandas as gpd

    from geounet.formats.batches import Layer, Put

ROW_GROUP = 20_000
"""Rows of a row group, the least that a reader can skip."""
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_BOX = pa.struct([(side, pa.float64()) for side in _SIDES])
_TYPES = {3: "Polygon", 6: "MultiPolygon"}


@contextmanager
def writer(path: Path, layer: Layer) -> Iterator[Put]:
    """A function that takes batches; each polygon has its box, so that readers skip row groups by place."""
    sink = _RowGroups(path, layer)
    try:
        yield sink.put
        sink.finish()
    finally:
        sink.close()


class _RowGroups:
    """Batches gathered into row groups, and what the file's metadata say of them."""

    def __init__(self, path: Path, layer: Layer) -> None:
        self._path, self._layer = path, layer
        self._schema: pa.Schema | None = None
        self._file: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._types: set[int] = set()

    def put(self, batch: gpd.GeoDataFrame | Encoded) -> None:
        pieces = [batch] if isinstance(batch, Encoded) else map(encode, slices(batch, ROW_GROUP))
        for piece in pieces:
            if self._schema is None:
                self._open(piece)
            self._waiting += [self._to_batch(piece)] if len(piece) else []
            if sum(waiting.num_rows for waiting in self._waiting) >= ROW_GROUP:
                self._flush(ROW_GROUP)

    def _open(self, batch: Encoded) -> None:
        self._schema = schema_of_attributes(batch.attributes, self._layer)
        stored = self._schema.append(pa.field("bbox", _BOX))
        # The box is what readers skip by; the least and greatest of WKB mean nothing.
        sides = [f"bbox.{side}" for side in _SIDES]
        attributes = [column.name for column in list(self._schema)[:-1]]
        if "bbox" in attributes:
            raise OutputError("column bbox is where GeoParquet keeps the boxes; give the attribute another name")
        self._file = pq.ParquetWriter(
            self._path,
            stored,
            compression="zstd",
            write_statistics=[*attributes, *sides],
            use_dictionary=[column.name for column in self._schema if pa.types.is_string(column.type)],
            # pyarrow would let its own copy of the schema hide the metadata that comes last.
            store_schema=False,
        )

    def _to_batch(self, batch: Encoded) -> pa.RecordBatch:
        boxes = batch.boxes
        # Unlike min and max, these pass over the NaN of a missing shape.
        self._bounds[:2] = np.fmin(self._bounds[:2], np.fmin.reduce(boxes[:, :2]))
        self._bounds[2:] = np.fmax(self._bounds[2:], np.fmax.reduce(boxes[:, 2:]))
        self._types.update(batch.kinds)
        sides = [pa.array(side, from_pandas=True) for side in boxes.T]
        plain = to_encoded_batch(batch, self._schema)
        return plain.append_column(pa.field("bbox", _BOX), pa.StructArray.from_arrays(sides, fields=list(_BOX)))

    def _flush(self, rows: int) -> None:
        """Write the waiting batches in row groups of `rows`; what is left over goes on waiting."""
        table = pa.Table.from_batches(self._waiting)
        whole = len(table) - len(table) % rows
        self._file.write_table(table.slice(0, whole), row_group_size=rows)
        self._waiting = table.slice(whole).to_batches()

    def finish(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting), row_group_size=ROW_GROUP)
        self._file.add_key_value_metadata({"geo": json.dumps(self._about()), **self._layer.describe(self._schema)})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _about(self) -> dict[str, Any]:
        """The `geo` entry of the file's metadata."""
        crs = self._layer.crs
        column = {
            "encoding": "WKB",
            "geometry_types": [name for code, name in _TYPES.items() if code in self._types],
            "crs": None if crs is None else _without_member_ids(crs.to_json_dict()),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if np.isfinite(self._bounds).all():
            column["bbox"] = self._bounds.tolist()
        return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _without_member_ids(projjson: Any) -> Any:
    """PROJJSON without identifiers of a datum ensemble's members, which older readers refuse (as GeoPandas does)."""
    if isinstance(projjson, list):
        return [_without_member_ids(item) for item in projjson]
    if not isinstance(projjson, dict):
        return projjson
    for member in projjson.get("datum_ensemble", {}).get("members", ()):
        member.pop("id", None)
    return {key: _without_member_ids(value) for key, value in projjson.items()}
