"""GeoJSON (RFC 7946): longitude and latitude, cut at the antimeridian.

Written here rather than by GDAL, whose driver takes three times as long for the same digits.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pyarrow as pa
import shapely

from geounet.formats.batches import geometries_of, schema_of, slices, to_columns
from geounet.raster.globe import WGS84, to_globe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import geopandas as gpd

    from geounet.formats.batches import Layer, Put

_DECIMALS = 7
"""Of coordinates: a centimetre in degrees."""
_ROWS = 10_000
# Made once: `json.dumps` would make one for each feature.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


@contextmanager
def writer(path: Path, layer: Layer) -> Iterator[Put]:
    """A function that takes batches, of a layer whose CRS leads to the globe."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        head = {"type": "FeatureCollection", "name": path.stem}
        file.write(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "features": [')
        sink = _Features(file, layer)
        yield sink.put
        file.write("\n]}\n")


class _Features:
    """Writes features, a comma between them."""

    def __init__(self, file: TextIO, layer: Layer) -> None:
        self._file, self._layer = file, layer
        self._schema: pa.Schema | None = None
        self._separator = "\n"

    def put(self, frame: gpd.GeoDataFrame) -> None:
        self._schema = self._schema or schema_of(frame, self._layer)
        if self._layer.crs is None:
            raise TypeError("GeoJSON without a CRS is refused when the file is opened")
        for piece in slices(frame, _ROWS):
            self._write(piece.set_geometry(to_globe(geometries_of(piece), self._layer.crs), crs=WGS84))

    def _write(self, frame: gpd.GeoDataFrame) -> None:
        if len(frame):
            self._file.write(self._separator + ",\n".join(_features(frame, self._schema)))
            self._separator = ",\n"


def _features(frame: gpd.GeoDataFrame, schema: pa.Schema) -> Iterator[str]:
    shapes = shapely.transform(geometries_of(frame), lambda points: np.round(points, _DECIMALS))
    # RFC 7946, 3.1.6: exteriors are counterclockwise, holes clockwise.
    texts = shapely.to_geojson(shapely.orient_polygons(shapes))
    for properties, geometry in zip(_properties(frame, schema), texts, strict=True):
        yield f'{{"type": "Feature", "properties": {_encode(properties)}, "geometry": {geometry or "null"}}}'


def _properties(frame: gpd.GeoDataFrame, schema: pa.Schema) -> list[dict[str, Any]]:
    """Attributes of each feature; what is missing or infinite is None, as JSON has no word for it."""
    if len(schema) == 1:
        return [{} for _ in range(len(frame))]
    finite = frame.replace([np.inf, -np.inf], np.nan)
    records = pa.RecordBatch.from_arrays(to_columns(finite, schema), names=schema.names[:-1])
    properties: list[dict[str, Any]] = records.to_pylist()
    return properties
