"""A monitoring job as one HTML page: its events on a map, its timeline, its last runs, and what failed."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from geounet.outputs import atomic
from geounet.pages.charts import Line, line_chart
from geounet.pages.markup import document, facts, figure, legend, remarks, section, table, tiles
from geounet.pages.pictures import few_pixels, paint_classes
from geounet.raster.cog import classes_of
from geounet.raster.scene import load_scene, read_overview

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import geopandas as gpd

_MOST_EVENTS = 100
_MOST_RUNS = 15


def monitoring_page(folder: Path, report: Mapping[str, Any], events: gpd.GeoDataFrame, runs: Path, out: Path) -> None:
    """Write the page.

    Args:
        folder: the job's, with its rasters and tables.
        report: of the run that is ending, see :class:`geounet.tasks.monitor.Report`.
        events: the table of events.
        runs: the log of earlier runs, a line of JSON each.
        out: the page.

    Raises:
        OutputError: it cannot be written.
        SceneError: a raster cannot be read.
    """
    parts = [
        _head(report),
        remarks([f"{name}: {why}" for name, why in {**report["failures"], **report["left_out"]}.items()]),
        section("Map", "What each pixel's change is; where nothing was seen there is no colour.", _map(folder)),
        section("Events", _how_many(events), _events(events)),
        section(
            "Timeline",
            "Hectares of each class, scene by scene; where one is clouded there are fewer.",
            _timeline(folder),
        ),
        section("Runs", f"The last {_MOST_RUNS}, newest first.", _runs(runs)),
    ]
    with atomic(out) as draft:
        draft.write_text(document(f"Monitoring: {report['job']}", parts), encoding="utf-8")


def _head(report: Mapping[str, Any]) -> str:
    numbers = [(str(report["scenes"]), "scenes"), (str(len(report["new"])), "new in this run")]
    numbers += [
        (str(report["events"].get(name, 0)), f"{name} events") for name in ("provisional", "confirmed", "ended")
    ]
    hectares = report["hectares"].get("confirmed", 0.0)
    numbers.append((f"{hectares:.2f}", "ha confirmed"))
    told = f"{report['alerts']} due, {report['sent']} sent, {report['waiting']} waiting"
    return facts({"Run": report["started"], "Alerts": told}) + tiles(numbers)


def _map(folder: Path) -> str:
    scene = load_scene(folder / "status.tif")
    codes, valid = read_overview(scene, *few_pixels(scene))
    picture = paint_classes(codes[0], valid, classes_of(scene.path))
    return figure("Map of the status of each pixel", picture) + legend(
        (item.name, item.color) for item in classes_of(scene.path)
    )


def _how_many(events: gpd.GeoDataFrame) -> str:
    more = f" The largest {_MOST_EVENTS} of {len(events)}." if len(events) > _MOST_EVENTS else ""
    return f"Connected changes, largest first.{more}"


def _events(events: gpd.GeoDataFrame) -> str:
    if not len(events):
        return "<p>There are none.</p>"
    heads = ("id", "from", "to", "first seen", "confirmed on", "last seen", "ha", "confidence", "status")
    rows = []
    for row in events.sort_values("area_ha", ascending=False).head(_MOST_EVENTS).itertuples(index=False, name=None):
        words = ["" if pd.isna(cell) else escape(str(cell)) for cell in row[:9]]
        rows.append([*words[:6], f"{row[6]:.2f}", f"{row[7]:.0%}" if not pd.isna(row[7]) else "", words[8]])
    return table(heads, rows)


def _timeline(folder: Path) -> str:
    frame = pd.read_parquet(folder / "timeline.parquet")
    scenes = list(dict.fromkeys(zip(frame["date"], frame["scene"], strict=True)))
    if not scenes:
        return ""
    colors = {item.name: item.color for item in classes_of(folder / "baseline.tif")}
    lines = []
    for name, rows in frame.groupby("class", sort=True):
        found = dict(zip(zip(rows["date"], rows["scene"], strict=True), rows["hectares"], strict=True))
        color = colors.get(str(name), "#808080")
        lines.append(Line(str(name), color, tuple(found.get(scene, 0.0) for scene in scenes)))
    across = f"scenes, from {scenes[0][0].date()} to {scenes[-1][0].date()}"
    chart = line_chart(lines, label="Hectares of each class", across=across)
    return chart + legend((line.name, line.color) for line in lines)


def _runs(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = []
    for told in map(json.loads, reversed(lines[-_MOST_RUNS:])):
        events = ", ".join(f"{count} {status}" for status, count in told["events"].items())
        rows.append([told["started"], told["state"], f"{told['seconds']:.1f}", str(len(told["new"])), events,
                     str(told["alerts"]), str(len(told["failures"]))])  # fmt: skip
    return table(("started", "state", "s", "new scenes", "events", "alerts", "failures"), rows)
