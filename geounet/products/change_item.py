"""The record of a comparison of two maps: a STAC item, written last."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from geounet.outputs import atomic
from geounet.products.record import POLYGON_TYPES, day_of, from_here, moment_of
from geounet.raster.footprints import footprint
from geounet.raster.globe import bbox_of
from geounet.raster.stac_terms import CLASSIFICATION, COG, PROCESSING, PROJECTION, RASTER, class_entry, projection_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.raster.scene import Scene


def write_change_item(
    path: Path,
    identifier: str,
    changes: Scene,
    kinds: Sequence[LandClass],
    sides: Sequence[tuple[str, str, datetime]],
    files: Mapping[str, Path],
    told: Mapping[str, Any],
) -> None:
    """Write the item; its time is from the earlier map to the later one.

    Args:
        path: `item.json`.
        identifier: the item's id.
        changes: the raster of changes.
        kinds: its class table.
        sides: of both maps what they are opened by, when they were taken (a moment, a day, or empty), and the first
            moment at which that may have been.
        files: the other files beside it by their keys: `change`, `polygons`, `transitions`, `preview`, `confidence`.
        told: more properties.

    Raises:
        OutputError: it cannot be written.
    """
    import pystac

    ground = footprint(changes)
    first, last = (_start(date, taken) for _, date, taken in sides)
    item = pystac.Item(
        identifier,
        None if ground is None else ground.__geo_interface__,
        None if ground is None else bbox_of(ground),
        None,
        {
            **projection_of(changes),
            "processing:software": {"geounet": version("geounet")},
            "processing:lineage": "Two maps compared pixel by pixel.",
            **{f"geounet:{name}": value for name, value in told.items()},
        },
        start_datetime=min(first, last),
        end_datetime=max(first, last),
        stac_extensions=[PROJECTION, RASTER, CLASSIFICATION, PROCESSING],
    )
    for name, _, _ in sides:
        item.add_link(pystac.Link("derived_from", from_here(name, path.parent)))
    for key, file in files.items():
        item.add_asset(key, _asset(key, file, kinds))
    with atomic(path) as draft:
        text = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=2)
        draft.write_text(text, encoding="utf-8")


def _start(date: str, taken: datetime) -> datetime:
    day = day_of(date)
    return moment_of(date) or (day[0] if day else taken)


def _asset(key: str, file: Path, kinds: Sequence[LandClass]) -> Any:
    import pystac

    band = {"data_type": "uint8", "nodata": 255}
    title, media, roles = {
        "change": ("What each pixel changed from and to", COG, ["data"]),
        "confidence": ("Probability of the change", COG, ["data"]),
        "polygons": ("Connected changes", POLYGON_TYPES.get(file.suffix), ["data"]),
        "transitions": ("Ground by class before and after", "text/csv", ["data"]),
        "preview": ("Both maps and the changes", "image/png", ["overview"]),
    }[key]
    more: dict[str, Any] = {}
    if key == "change":
        more = {"classification:classes": [class_entry(item) for item in kinds], "raster:bands": [band]}
    elif key == "confidence":
        more = {"raster:bands": [{**band, "scale": 1 / 254, "unit": "1"}]}
    return pystac.Asset(f"./{file.name}", title, None, media, roles, more)
