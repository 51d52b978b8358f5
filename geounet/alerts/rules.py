"""Which events are worth an alert."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from geounet.changes.events import COLUMNS
from geounet.jobs.job import several
from geounet.sources.polygon_files import read_polygons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from geounet.jobs.job import Rule


@dataclass(frozen=True, slots=True)
class Told:
    """An event that an alert has been made of."""

    id: str
    """The event's."""
    before: str
    """Class that it changed from."""
    after: str
    """Class that it changed to."""
    longitude: float
    """Of a place in it, in degrees."""
    latitude: float
    """Likewise."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to be told, once."""

    id: str
    """Tells it from all others; who gets it twice knows it again by that."""
    rule: str
    """Name of the rule."""
    event: Told
    """What it is about."""
    content: dict[str, Any]
    """All of it, as JSON."""


def due(
    events: gpd.GeoDataFrame,
    rules: Iterable[Rule],
    job: str,
    at: Callable[[str], str],
    told: Mapping[str, Sequence[Told]],
) -> list[Alert]:
    """The alerts that rules ask for and that have not been told.

    Args:
        events: the table of events.
        rules: what is asked for.
        job: name of the job.
        at: makes a place of the job's file absolute.
        told: what has been told, by the name of the rule. An event that has another id since, for an older scene came
            late, is known by its place.

    Raises:
        SceneError: a file with areas cannot be read.
    """
    found = []
    for rule in rules:
        fitting = _fitting(events, rule, at).to_crs(4326)
        new = fitting[~_known(fitting, told.get(rule.name, ()))]
        if len(new) >= rule.min_count and float(new["area_ha"].sum()) >= rule.min_total:
            found += [_alert(row, rule, job) for row in new.itertuples(index=False, name=None)]
    return found


def _fitting(events: gpd.GeoDataFrame, rule: Rule, at: Callable[[str], str]) -> gpd.GeoDataFrame:
    """The events that a rule is about."""
    kept = (events["status"] == rule.status) & (events["area_ha"] >= rule.min_area)
    for column, names in (("from", several(rule.before)), ("to", several(rule.after))):
        kept &= events[column].isin(names) if names else True
    if rule.within and kept.any():
        areas = read_polygons(at(rule.within)).to_crs(events.crs)
        kept &= events.intersects(shapely.union_all(areas.geometry.to_numpy()))
    return events[kept.to_numpy(bool)]


def _known(events: gpd.GeoDataFrame, told: Sequence[Told]) -> NDArray[np.bool_]:
    """Which events have been told: by their ids, or by a place in them, `(events,)`."""
    known: NDArray[np.bool_] = events["id"].isin([one.id for one in told]).to_numpy(bool, copy=True)
    places = shapely.points(np.array([(one.longitude, one.latitude) for one in told]).reshape(-1, 2))
    inside = shapely.STRtree(events.geometry.to_numpy()).query(places, predicate="intersects")
    before, after = (events[name].to_numpy(object) for name in ("from", "to"))
    for place, event in inside.T:
        known[event] |= (before[event], after[event]) == (told[place].before, told[place].after)
    return known


def _alert(row: tuple[Any, ...], rule: Rule, job: str) -> Alert:
    told = dict(zip((*COLUMNS, "geometry"), row, strict=True))
    shape = told.pop("geometry")
    days = ("first_seen", "confirmed_on", "last_seen")
    dates = {name: None if pd.isna(told[name]) else str(told[name]) for name in days}
    identifier = hashlib.sha256(f"{job}\n{rule.name}\n{told['id']}".encode()).hexdigest()[:32]
    place = shape.representative_point()
    content = {
        "delivery": identifier, "job": job, "rule": rule.name,
        "event": {**told, **dates, "area_ha": round(told["area_ha"], 6)},
        "bbox": [round(part, 7) for part in shape.bounds],
        "geometry": json.loads(shapely.to_geojson(shapely.set_precision(shape, 1e-7))),
    }  # fmt: skip
    return Alert(identifier, rule.name, Told(told["id"], told["from"], told["to"], place.x, place.y), content)
