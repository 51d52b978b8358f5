"""A raster in STAC's words: the fields of the extensions Projection 2 and Classification 2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from geounet.raster.placement import transform_of

if TYPE_CHECKING:
    from geounet.classes import LandClass
    from geounet.grid import Window
    from geounet.raster.scene import Scene

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
TIFF = "image/tiff; application=geotiff"
JSON, GEOJSON = "application/json", "application/geo+json"


def projection_of(scene: Scene, window: Window | None = None) -> dict[str, Any]:
    """`proj:code` (or `proj:wkt2` where the CRS has none), `proj:shape` and `proj:transform` of a window."""
    area = scene.extent if window is None else window
    authority = scene.crs.to_authority() if scene.crs else None
    crs: dict[str, Any] = {"proj:code": ":".join(authority) if authority else None}
    if scene.crs and not authority:
        crs["proj:wkt2"] = scene.crs.to_wkt(version="WKT2_2019")
    return {
        **crs,
        "proj:shape": [area.height, area.width],
        "proj:transform": list(transform_of(scene, area))[:6],
    }


def class_entry(item: LandClass) -> dict[str, Any]:
    """One of `classification:classes`; the extension's `name` is for machines: letters, digits, dash, underscore."""
    name = re.sub(r"[^0-9A-Za-z_-]+", "_", item.name).strip("_") or f"class_{item.value}"
    return {"value": item.value, "name": name, "title": item.name, "color_hint": item.color[1:].upper()}
