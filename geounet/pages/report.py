"""One page about a product, a map, a batch or a change: to look at, without a network."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from geounet.outputs import atomic
from geounet.pages import explorer
from geounet.pages.charts import histogram
from geounet.pages.markup import bar, document, facts, png_url, remarks, section, swatch, table, tiles
from geounet.pages.pictures import color_bands, paint_classes, stretch
from geounet.pages.plane import NODATA, doubtful, few, plane_of, stored_overview
from geounet.raster.scene import read_overview, small_cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.pages.plane import Fields, Place, Plane
    from geounet.raster.scene import Scene

_BINS = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows of one map."""

    title: str
    """What it is called."""
    facts: Mapping[str, str]
    """What is known of it."""
    numbers: tuple[tuple[str, str], ...]
    """What stands in large type: a number and what it is."""
    notes: tuple[str, ...]
    """What must not be overlooked."""
    classes: Scene
    """Class raster."""
    legend: tuple[LandClass, ...]
    """Its classes."""
    confidence: Scene | None
    """Probability of the class, stored as 0 to 254."""
    scene: Scene | None
    """What was predicted, on the ground of the class raster, in its CRS."""
    fields: Fields | None
    """Its polygons."""
    more: tuple[str, ...] = ()
    """Further sections, in HTML."""


def write_page(out: Path, shown: Shown) -> None:
    """Write the page of a map.

    Raises:
        OutputError: it cannot be written, or Bokeh is not installed.
        SceneError: a raster cannot be read.
    """
    with small_cache():
        page = _page(shown)
    with atomic(out) as draft:
        draft.write_text(page, encoding="utf-8")


def _page(shown: Shown) -> str:
    plane = plane_of(shown.classes)
    view = explorer.Explorer(plane, shown.legend)
    shape = few(shown.classes)
    notes = [*shown.notes]
    if shown.scene is not None:
        view.add_scene(_scene_picture(shown.scene))
    codes = stored_overview(shown.classes, shape)
    view.add_rasters(codes, None if shown.confidence is None else _stored_share(shown.confidence, shape))
    if shown.fields is not None and shown.fields.largest is not None:
        drawn, all_of_them = len(shown.fields.largest), len(shown.fields.areas)
        view.add_polygons(shown.fields.largest, shown.classes)
        if drawn < all_of_them:
            notes.append(f"Of {all_of_them:,} polygons the {drawn:,} largest are drawn; all are counted.")
    if shape != (shown.classes.height, shown.classes.width):
        size = f"{shown.classes.height:,} x {shown.classes.width:,}"
        notes.append(f"The map is drawn in {shape[0]:,} x {shape[1]:,} of its {size} pixels.")
    parts = [
        facts(shown.facts) + tiles(shown.numbers) + remarks(notes),
        section("Map", f"Coordinates in {plane.unit}. Point at a pixel or a field to read it.", view.html(shown.title)),
        *([] if shown.fields is None else area_section(shown.fields, shown.legend)),
        *([] if shown.fields is None else field_sections(shown.fields)),
        *_places(shown, plane),
        *shown.more,
    ]
    return document(shown.title, parts, view.scripts(), explorer.STYLE)


def _scene_picture(scene: Scene) -> Any:
    shown = scene.only(color_bands(scene.band_names))
    return stretch(*read_overview(shown, *few(scene)))


def _stored_share(confidence: Scene, shape: tuple[int, int]) -> Any:
    """Confidence as it is stored, 0 to 254, whatever its scale."""
    values, valid = read_overview(confidence, *shape)
    return np.where(valid, np.rint(values[0] * 254), NODATA).astype(np.uint8)


def area_section(fields: Fields, legend: Sequence[LandClass]) -> list[str]:
    """A table with bars of all classes, and the same to download."""
    total = sum(fields.hectares.values())
    known = {item.value: item for item in legend}
    rows, lines = [], [("class", "name", "polygons", "area_ha", "share")]
    for value in sorted(fields.hectares, key=lambda value: -fields.hectares[value]):
        area, count = fields.hectares[value], fields.counts[value]
        share = area / total if total else math.nan
        name, color = (known[value].name, known[value].color) if value in known else (f"class {value}", "#808080")
        rows.append([swatch(name, color), f"{count:,}", f"{area:,.2f}", bar(share)])
        lines.append((str(value), name, str(count), f"{area:.4f}", f"{share:.6f}"))
    foot = ["All", f"{len(fields.areas):,}", f"{total:,.2f}", ""]
    content = table(("Class", "Polygons", "Hectares", "Share"), rows, foot) + _download("areas.csv", lines)
    return [section("Areas", "Of all polygons, on the ellipsoid.", content)]


def _download(name: str, lines: Sequence[Sequence[str]]) -> str:
    """A link that holds a table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return (
        f'<p><a download="{name}" href="data:text/csv;charset=utf-8,{quote(text.getvalue())}">Download {name}</a></p>'
    )


def field_sections(fields: Fields) -> list[str]:
    """Histograms of sizes and confidences; nothing without polygons."""
    if not len(fields.areas):
        return []
    charts = [_sizes(fields.areas)]
    sure = fields.confidences[np.isfinite(fields.confidences)]
    if len(sure):
        edges = np.linspace(0, 1, _BINS + 1)
        counts = np.histogram(sure, edges)[0].tolist()
        labels = [f"{edge:.0%}" if place % 4 == 0 else "" for place, edge in enumerate(edges)]
        title = "<h3>Confidence of fields</h3>"
        charts.append(title + histogram(counts, labels, label="Polygons by mean confidence", across="mean confidence"))
    inner = "".join(f"<div>{chart}</div>" for chart in charts)
    return [section("Fields", "How many there are of each size, and how sure their classes are.",
                    f'<div class="charts">{inner}</div>')]  # fmt: skip


def _sizes(areas: Any) -> str:
    """Sizes span orders of magnitude, so that each bin is as many times the one before."""
    found = areas[areas > 0]
    if not len(found):
        return ""
    low, high = math.floor(np.log10(found.min()) * 2) / 2, math.ceil(np.log10(found.max()) * 2 + 1e-9) / 2
    edges = np.logspace(low, max(high, low + 0.5), _BINS + 1)
    counts = np.histogram(np.clip(found, edges[0], edges[-1]), edges)[0].tolist()
    labels = [_rounded(edge) if place % 4 == 0 else "" for place, edge in enumerate(edges)]
    return "<h3>Sizes of fields</h3>" + histogram(counts, labels, label="Polygons by area", across="hectares")


def _rounded(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"  # noqa: PLR2004 - two digits


def _places(shown: Shown, plane: Plane) -> list[str]:
    if shown.confidence is None:
        return []
    buttons = [_place(place, shown, plane) for place in doubtful(shown.classes, shown.confidence)]
    if not buttons:
        return []
    how = "Where the map is least sure of its classes; choose one, and the map above goes there."
    return [section("Doubtful places", how, f'<div class="places">{"".join(buttons)}</div>')]


def _place(place: Place, shown: Shown, plane: Plane) -> str:
    image = paint_classes(place.codes, place.codes != NODATA, shown.legend)
    window = place.window
    corners = [plane.to_plane @ corner for corner in ((window.col, window.row), (window.col_stop, window.row_stop))]
    xs, ys = sorted(x for x, _ in corners), sorted(y for _, y in corners)
    view = ",".join(f"{value:.8g}" if abs(value) < 1000 else f"{value:.2f}" for value in (xs[0], ys[0], xs[1], ys[1]))  # noqa: PLR2004
    text = f"{place.confidence:.0%} sure"
    picture = f'<img alt="Classes at a place that is {escape(text)}" src="{png_url(image)}">'
    return f'<button type="button" data-view="{view}">{picture}{escape(text)}</button>'
