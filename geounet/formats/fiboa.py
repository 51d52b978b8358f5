"""Field boundaries as fiboa 0.3 (https://fiboa.org/specification/v0.3.0/schema.yaml) on Vecorel 0.1, in GeoParquet.

Collection metadata is JSON under the key `collection` of the Parquet file; see
https://github.com/vecorel/specification/tree/main/geoparquet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from geounet.errors import LabelError, OutputError
from geounet.formats.batches import GEOMETRY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import geopandas as gpd

    from geounet.classes import LandClass

SCHEMAS = (
    "https://vecorel.org/specification/v0.1.0/schema.yaml",
    "https://fiboa.org/specification/v0.3.0/schema.yaml",
)
_SDL = "https://vecorel.org/sdl/v0.2.0/schema.json"
REQUIRED = frozenset({"id", GEOMETRY})
"""Columns that the specification wants without null."""
LARGEST_AREA = 1e9
"""Square metres, in the specification."""
LONGEST_PERIMETER = 1.25e9
"""Metres, in the specification."""
_OWN = frozenset({"id", "metrics:area", "metrics:perimeter", "determination:method", "determination:datetime"})


@dataclass(frozen=True, slots=True)
class Fiboa:
    """What a collection of field boundaries is."""

    collection: str
    """Identifier of the collection; with it an `id` is unique."""
    fields: frozenset[int] = frozenset()
    """Values of the classes that are fields; none for all."""
    observed: datetime | None = None
    """When the fields were last seen: the time of the last image, UTC where it says no zone."""
    details: str = ""
    """How the boundaries came about, if it is to be told."""

    def __post_init__(self) -> None:
        if not self.collection.strip():
            raise OutputError("a fiboa collection needs an identifier, such as austria-2024")


def field_values(classes: Sequence[LandClass], wanted: Sequence[str]) -> frozenset[int]:
    """The values of classes that a user calls by name or value.

    Raises:
        LabelError: there is no such class.
    """
    values = {item.name: item.value for item in classes} | {str(item.value): item.value for item in classes}
    unknown = [name for name in wanted if name not in values]
    if unknown:
        known = ", ".join(f"{item.value} {item.name}" for item in classes)
        raise LabelError(f"there is no class {', '.join(unknown)}; the classes are {known or 'without a table'}")
    return frozenset(values[name] for name in wanted)


def to_fiboa(frame: gpd.GeoDataFrame, about: Fiboa) -> gpd.GeoDataFrame:
    """The fields of a frame of polygons, in the specification's columns.

    Args:
        frame: with `id`, `class`, `area_ha` (hectares) and `perimeter_m` (metres); further attributes are kept.
        about: which classes are fields, and when they were seen.

    Returns:
        `id` as text, `metrics:area` in square metres and `metrics:perimeter` in metres (null beyond what the
        specification allows), `determination:method`, `determination:datetime` where it is known, and the rest.

    Raises:
        OutputError: a column is missing.
    """
    missing = {"id", "class", "area_ha", "perimeter_m"} - set(frame.columns)
    if missing:
        raise OutputError(f"polygons without {', '.join(sorted(missing))} cannot become fiboa fields")
    fields = frame[frame["class"].isin(about.fields)] if about.fields else frame
    columns: dict[str, Any] = {
        "id": fields["id"].astype(str),
        "metrics:area": _within(fields["area_ha"] * 10_000, LARGEST_AREA),
        "metrics:perimeter": _within(fields["perimeter_m"], LONGEST_PERIMETER),
        "determination:method": pd.Series("auto-imagery", index=fields.index, dtype=object),
    }
    if about.observed is not None:
        seen = pd.Timestamp(about.observed)
        seen = seen.tz_localize("UTC") if seen.tz is None else seen.tz_convert("UTC")
        columns["determination:datetime"] = pd.Series(seen, index=fields.index, dtype="datetime64[ms, UTC]")
    rest = fields.drop(columns=["id", "area_ha", "perimeter_m"])
    return rest.assign(**columns)[[*columns, *rest.columns]].reset_index(drop=True)


def _within(values: pd.Series[float], most: float) -> pd.Series[float]:
    values = values.astype(np.float32)
    return values.where((values > 0) & (values <= most))


def collection_metadata(about: Fiboa, schema: pa.Schema) -> dict[str, str]:
    """The entry of the Parquet file's metadata, with a description of the attributes that fiboa does not know."""
    collection: dict[str, Any] = {
        "schemas": {about.collection: list(SCHEMAS)},
        "collection": about.collection,
        "schemas:custom": {"$schema": _SDL, "required": [], "collection": {}, "properties": _custom(schema)},
    }
    if about.details:
        collection["determination:details"] = about.details
    return {"collection": json.dumps(collection)}


def _custom(schema: pa.Schema) -> dict[str, dict[str, str]]:
    known = _OWN | {GEOMETRY}
    return {column.name: {"type": _name_of(column.type)} for column in schema if column.name not in known}


def _name_of(kind: pa.DataType) -> str:
    """The type in the Vecorel Schema Definition Language."""
    if pa.types.is_timestamp(kind):
        return "date-time"
    return {"bool": "boolean", "date32[day]": "date"}.get(str(kind), str(kind))
