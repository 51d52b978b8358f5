"""STAC collections of items: item collections, static catalogues, stac-geoparquet; each item gets a name.

An item within a file is named by both: `items.json#ID`, `items.parquet#ID`.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import SceneError
from geounet.raster.remote import fetch_bytes, fetch_text, is_remote, public_name
from geounet.sources.stac import complete, item_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geounet.sources.item import Item

_TREES = ("Catalog", "Collection")
_FIELDS = ("type", "stac_version", "stac_extensions", "id", "bbox", "links", "assets", "collection")


def item_names(name: str) -> tuple[str, ...] | None:
    """The names of all items that a file or a URL stands for, in its order; None where it is no such thing.

    Raises:
        SceneError: a catalogue leads back to itself, holds no item, or two items of one name.
        UnreachableError: a server does not answer, or refuses.
    """
    if name.lower().endswith(".parquet") and "#" not in name:
        found = [str(row["id"]) for row in _rows(name, ["id"])]
        return _checked(name, [f"{name}#{key}" for key in found], found)
    content = _json(name)
    if content is None:
        return None
    if content.get("type") == "FeatureCollection" and any("stac_version" in item for item in content["features"]):
        found = [str(item["id"]) for item in content["features"]]
        return _checked(name, [f"{name}#{key}" for key in found], found)
    if content.get("type") in _TREES or ("stac_version" in content and content.get("type") is None):
        pairs = list(_walk(name, content, ()))
        return _checked(name, [place for place, _id in pairs], [key for _place, key in pairs])
    return None


def item_in(name: str) -> Item | None:
    """The item that a name such as `items.json#ID` stands for; None where it is no such name.

    Raises:
        SceneError: the file has no such item.
    """
    file, mark, key = name.rpartition("#")
    if not mark or not file.lower().endswith((".json", ".geojson", ".parquet")):
        return None
    rows = _rows(file, only=key) if file.lower().endswith(".parquet") else (_json(file) or {}).get("features", [])
    found = next((row for row in rows if str(row.get("id")) == key), None)
    if found is None:
        raise SceneError(f"{public_name(file)} holds no item {key!r}")
    return item_of(found, name, file)


def _checked(name: str, places: list[str], ids: list[str]) -> tuple[str, ...]:
    twice = sorted({key for key in ids if ids.count(key) > 1})
    if twice:
        raise SceneError(
            f"{public_name(name)} holds several items of one id: {', '.join(twice)}; products have one each"
        )
    if not places:
        raise SceneError(f"{public_name(name)} is a STAC catalogue without an item")
    return tuple(places)


def _walk(name: str, content: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Place and id of each item below a catalogue."""
    if name in above:
        raise SceneError(f"the STAC catalogue {public_name(above[0])} leads back to itself at {public_name(name)}")
    for link in content.get("links", []):
        place = complete(name, link.get("href", ""))
        if link.get("rel") == "item":
            yield place, str((_json(place) or _missing(name, place))["id"])
        elif link.get("rel") == "child":
            yield from _walk(place, _json(place) or _missing(name, place), (*above, name))


def _missing(name: str, place: str) -> dict[str, Any]:
    raise SceneError(
        f"the STAC catalogue {public_name(name)} names {public_name(place)}, which is not there or no STAC"
    )


def _json(name: str) -> dict[str, Any] | None:
    """The object in a JSON file or at a URL; None where there is another kind of file."""
    if not name.partition("?")[0].lower().endswith((".json", ".geojson")):
        return None
    try:
        content = json.loads(fetch_text(name) if is_remote(name) else Path(name).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return content if isinstance(content, dict) else None


def _rows(name: str, columns: list[str] | None = None, only: str | None = None) -> list[dict[str, Any]]:
    """The items of a stac-geoparquet file (https://github.com/radiantearth/stac-geoparquet-spec), or one by its id."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pa.BufferReader(fetch_bytes(name)) if is_remote(name) else name
        known = pyarrow.parquet.read_schema(file).names
        if not {"id", "assets"} <= set(known):
            raise SceneError(f"{public_name(name)} is no stac-geoparquet file: it has no columns id and assets")
        chosen = columns or [column for column in known if column != "geometry"]
        filters = None if only is None else [("id", "=", only)]
        table = pyarrow.parquet.read_table(file, columns=chosen, filters=filters)
    except (OSError, pa.ArrowException) as error:
        raise SceneError(f"{public_name(name)} cannot be read: {' '.join(str(error).split())}") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    return [_as_item(_plain(row)) for row in rows]


def _as_item(row: dict[str, Any]) -> dict[str, Any]:
    """A row as an item: what is no field of an item stands among its properties."""
    content = {key: value for key, value in row.items() if key in _FIELDS}
    return content | {"properties": {key: value for key, value in row.items() if key not in _FIELDS}}


def _plain(value: Any) -> Any:
    """Without the fields that a column has for other rows alone."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(part) for part in value] if isinstance(value, list) else value
