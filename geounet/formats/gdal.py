"""GeoPackage, FlatGeobuf and Shapefile: GDAL reads a stream of record batches that a thread hands it."""

from __future__ import annotations

import logging
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyogrio.raw
import shapely

from geounet.errors import OutputError
from geounet.formats.batches import (
    Encoded,
    attributes_of,
    geometries_of,
    schema_of_attributes,
    slices,
    to_batch,
    to_encoded_batch,
    to_multi,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import geopandas as gpd
    import numpy as np
    from numpy.typing import NDArray

    from geounet.formats.batches import Layer, Put

_LOG = logging.getLogger("geounet")
_SHAPEFILE = "ESRI Shapefile"
_ROWS = 5_000
"""Rows handed over at once: while GDAL writes them, no other Python code runs."""
_DBF_NAME = 10
"""Characters of a field name in a shapefile's dBASE table."""
_DBF_TEXT = 254
"""Bytes of a text there."""
_SHORT = {"perimeter_m": "perim_m", "confidence": "conf", "confidence_min": "conf_min"}
SHAPEFILE_BYTES = 2**31 - 1
"""What software of the field reads at most of a shapefile's parts."""


def geopackage(path: Path, layer: Layer) -> Any:
    """Writer of a GeoPackage with one layer, named as the file, and its spatial index."""
    return _writer(path, layer, "GPKG", layer_options={"GEOMETRY_NAME": "geom"})


def flatgeobuf(path: Path, layer: Layer) -> Any:
    """Writer of a FlatGeobuf; its spatial index orders the features anew."""
    return _writer(path, layer, "FlatGeobuf")


@contextmanager
def dated(moment: str) -> Iterator[None]:
    """GeoPackages that are written meanwhile say that they were changed at a moment (ISO 8601), not now.

    So that the same content has the same bytes.
    """
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


@contextmanager
def shapefile(path: Path, layer: Layer) -> Iterator[Put]:
    """A function that takes batches; field names and long texts are cut with a warning, and 2 GB are an error."""
    names: dict[str, str] = {}
    limits = _Limits(path)
    # GDAL writes this ending in small letters, however it is asked for.
    small = path.with_suffix(".shp")
    with _writer(small, layer, _SHAPEFILE, encoding="UTF-8") as put:

        def put_short(frame: gpd.GeoDataFrame) -> None:
            if not names:
                names.update(short_names(list(attributes_of(frame).columns)))
                _warn_of_names(path, names)
            put(limits.keep(frame).rename(columns=names))

        yield put_short
    small.replace(path)


@contextmanager
def _writer(path: Path, layer: Layer, driver: str, **options: Any) -> Iterator[Put]:
    write = partial(
        pyogrio.raw.write_arrow,
        path=path,
        layer=path.stem,
        driver=driver,
        # A shapefile's polygons have any number of parts anyway.
        geometry_type="MultiPolygon" if layer.multi and driver != _SHAPEFILE else "Polygon",
        crs=None if layer.crs is None else layer.crs.to_wkt(),
        **options,
    )
    sink = _Sink(write, layer, driver)
    try:
        yield sink.put
        sink.finish()
    finally:
        sink.close()


class _Sink:
    """Opens the stream with the first batch's columns, and feeds it."""

    def __init__(self, write: Callable[[pa.RecordBatchReader], None], layer: Layer, driver: str) -> None:
        self._write, self._layer, self._driver = write, layer, driver
        self._schema: pa.Schema | None = None
        self._stream: _Stream | None = None

    def put(self, frame: gpd.GeoDataFrame | Encoded) -> None:
        if self._stream is None:
            attributes = frame.attributes if isinstance(frame, Encoded) else attributes_of(frame)
            self._schema = schema_of_attributes(attributes, self._layer)
            self._stream = _Stream(self._write, self._schema)
        if isinstance(frame, Encoded):
            whole = to_encoded_batch(frame, self._schema)
            for start in range(0, len(frame), _ROWS):
                self._stream.put(whole.slice(start, _ROWS))
            return
        for piece in slices(frame, _ROWS):
            self._stream.put(to_batch(piece, self._schema, self._shapes(piece)))

    def _shapes(self, frame: gpd.GeoDataFrame) -> NDArray[np.object_]:
        shapes = geometries_of(frame)
        if self._driver == _SHAPEFILE:
            return shapes
        if self._layer.multi:
            return to_multi(shapes)
        if (shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON).any():
            raise OutputError("a multipolygon came to a layer that was opened for polygons only; open it with multi")
        return shapes

    def finish(self) -> None:
        if self._stream is not None:
            self._stream.finish()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Stream:
    """Batches that are put, turned into a stream that is read, in another thread."""

    def __init__(self, consume: Callable[[pa.RecordBatchReader], None], schema: pa.Schema) -> None:
        # One batch in the making, one waiting, one being written.
        self._batches: queue.Queue[pa.RecordBatch | None] = queue.Queue(1)
        self._given_up = False
        self._pool = ThreadPoolExecutor(1, "geounet-vectors")
        self._outcome: Future[None] = self._pool.submit(
            consume, pa.RecordBatchReader.from_batches(schema, self._read())
        )

    def _read(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._batches.get()) is not None:
            yield batch
        if self._given_up:
            raise RuntimeError("no more polygons come")

    def put(self, batch: pa.RecordBatch) -> None:
        """Hand over a batch; raises what the reader met."""
        if not self._offer(batch):
            self._outcome.result()

    def _offer(self, batch: pa.RecordBatch | None) -> bool:
        """Whether the batch found room before the reader ended."""
        while not self._outcome.done():
            try:
                self._batches.put(batch, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def finish(self) -> None:
        """Wait until all is written; raises what the reader met."""
        self._offer(None)
        self._outcome.result()

    def close(self) -> None:
        """End the thread, whatever came before."""
        self._given_up = True
        self._offer(None)
        self._pool.shutdown()


def short_names(names: list[str]) -> dict[str, str]:
    """For each field name one of at most ten characters, none twice."""
    short: dict[str, str] = {}
    for name in names:
        wanted = _SHORT.get(name, name) if len(name) > _DBF_NAME else name
        wanted = _cut(wanted, _DBF_NAME)
        number = 1
        while wanted.lower() in {taken.lower() for taken in short.values()}:
            number += 1
            wanted = f"{_cut(name, _DBF_NAME - len(str(number)) - 1)}_{number}"
        short[name] = wanted
    return short


def _cut(text: str, size: int) -> str:
    """As many whole characters as fit into `size` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def _warn_of_names(path: Path, names: dict[str, str]) -> None:
    listed = ", ".join(f"{name} as {short}" for name, short in names.items() if name != short)
    if listed:
        _LOG.warning("%s: a shapefile's field names have at most ten characters: %s", path.name, listed)


class _Limits:
    """What a shapefile can hold: counts its bytes, cuts its texts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 100
        self._cut: set[str] = set()

    def keep(self, frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        """A batch whose texts fit.

        Raises:
            OutputError: with this batch there would be more than a shapefile holds.
        """
        self._bytes += _shapefile_bytes(geometries_of(frame))
        if self._bytes > SHAPEFILE_BYTES:
            raise OutputError(
                f"{self._path.name} would pass {SHAPEFILE_BYTES / 2**30:.3g} GiB, the most that a shapefile holds; "
                "write .gpkg, .fgb or .parquet"
            )
        long = {name: texts for name, column in attributes_of(frame).items() if (texts := _long_texts(column))}
        for name in set(long) - self._cut:
            self._cut.add(name)
            _LOG.warning("%s: texts of %s are cut to the %d bytes of a shapefile", self._path.name, name, _DBF_TEXT)
        return frame.assign(**{name: frame[name].replace(texts) for name, texts in long.items()})


def _shapefile_bytes(shapes: NDArray[np.object_]) -> int:
    """ESRI Shapefile Technical Description (1998), page 8: header, type, box, counts, part offsets, points."""
    parts = shapely.get_parts(shapes)
    rings = int(shapely.get_num_interior_rings(parts).sum()) + len(parts)
    return 52 * len(shapes) + 4 * rings + 16 * int(shapely.get_num_coordinates(shapes).sum())


def _long_texts(column: Any) -> dict[str, str]:
    """The texts of a column that are too long for dBASE, and what is kept of them."""
    if column.dtype.kind in "biufM":
        return {}
    texts = (text for text in column.dropna().unique() if isinstance(text, str))
    return {text: _cut(text, _DBF_TEXT) for text in texts if len(text.encode()) > _DBF_TEXT}
