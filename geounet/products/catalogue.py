"""A folder of products as a static STAC collection, and its items as one table (stac-geoparquet 1.1)."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.outputs import atomic
from geounet.products.record import CATALOG, COLLECTION, RECORD, read_record
from geounet.raster.stac_terms import GEOJSON, JSON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pystac

_log = logging.getLogger(__name__)

TABLE = "items.parquet"
_GLOBE = [-180.0, -90.0, 180.0, 90.0]


def write_catalogue(folder: Path) -> None:
    """Write `catalog.json`, `collection.json` and `items.parquet` of the products in a folder; without any nothing.

    Products without a CRS have no place on the globe: they stand in the collection, and not in the table.

    Raises:
        OutputError: a file cannot be written.
    """
    places = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    damaged = [place.name for place in places if not _is_sound(place)]
    if damaged:
        _log.warning("%d records are damaged, and not in the catalogue: %s", len(damaged), ", ".join(damaged[:5]))
    places = [place for place in places if place.name not in damaged]
    items = [json.loads((place / RECORD).read_text(encoding="utf-8")) for place in places]
    if not items:
        return
    placed = [_from_here(item, place.name) for item, place in zip(items, places, strict=True) if item["geometry"]]
    if placed:
        _write_table(folder / TABLE, placed)
    collection = _collection(items, [place.name for place in places], has_table=bool(placed))
    for name, content in ((COLLECTION, collection), (CATALOG, _catalog())):
        with atomic(folder / name) as draft:
            draft.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _is_sound(place: Path) -> bool:
    try:
        return read_record(place) is not None
    except OutputError:
        return False


def _from_here(item: dict[str, Any], name: str) -> dict[str, Any]:
    """The item with what is relative to its own folder relative to the folder above."""

    def moved(href: str) -> str:
        return f"./{name}/{href[2:]}" if href.startswith("./") else href.replace("../", "./", 1)

    assets = {key: {**asset, "href": moved(asset["href"])} for key, asset in item["assets"].items()}
    links = [{**link, "href": moved(link["href"])} for link in item["links"]]
    return {**item, "assets": assets, "links": links}


def _write_table(path: Path, items: Sequence[dict[str, Any]]) -> None:
    from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

    with atomic(path) as draft:
        to_parquet(parse_stac_items_to_arrow(items), draft)


def _collection(items: Sequence[dict[str, Any]], names: Sequence[str], *, has_table: bool) -> dict[str, Any]:
    import pystac

    boxes = [item["bbox"] for item in items if item.get("bbox")]
    spans = [_span(item["properties"]) for item in items]
    whole = [min(box[0] for box in boxes), min(box[1] for box in boxes), max(box[2] for box in boxes),
             max(box[3] for box in boxes)] if boxes else _GLOBE  # fmt: skip
    collection = pystac.Collection(
        "geounet-products",
        f"Class rasters and polygons of {len(items)} scenes, made by geounet.",
        pystac.Extent(
            pystac.SpatialExtent([_around(boxes, whole)]),
            pystac.TemporalExtent([[min(first for first, _ in spans), max(last for _, last in spans)]]),
        ),
        title="Products",
        license="other",
    )
    for rel in ("root", "parent"):
        collection.add_link(pystac.Link(rel, f"./{CATALOG}", JSON))
    for name in names:
        collection.add_link(pystac.Link("item", f"./{name}/{RECORD}", GEOJSON))
    if has_table:
        collection.add_asset("items", _table_asset())
    return collection.to_dict(include_self_link=False, transform_hrefs=False)


def _catalog() -> dict[str, Any]:
    """What clients that begin with a catalogue begin with."""
    import pystac

    catalog = pystac.Catalog("geounet", "Class rasters and polygons of scenes, made by geounet.", "geounet")
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", JSON))
    catalog.add_link(pystac.Link("child", f"./{COLLECTION}", JSON))
    return catalog.to_dict(include_self_link=False, transform_hrefs=False)


def _around(boxes: Sequence[Sequence[float]], whole: list[float]) -> list[float]:
    """A box around all; where one crosses the antimeridian (its west is east of its east), around the globe."""
    crossing = any(box[0] > box[2] for box in boxes)
    return [-180.0, whole[1], 180.0, whole[3]] if crossing else whole


def _span(properties: dict[str, Any]) -> tuple[datetime, datetime]:
    moment = properties["datetime"]
    told = (moment, moment) if moment else (properties["start_datetime"], properties["end_datetime"])
    return datetime.fromisoformat(told[0]), datetime.fromisoformat(told[1])


def _table_asset() -> pystac.Asset:
    import pystac

    kind = "application/vnd.apache.parquet"
    return pystac.Asset(f"./{TABLE}", "Items", "stac-geoparquet", kind, ["collection-mirror"])
