"""Events: connected changes of one kind, each with an id that stays when it grows or more is seen of it."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa

from geounet.changes.state_rasters import SEED_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geounet.changes.kinds import Kinds
    from geounet.grid import Window

COLUMNS = ("id", "from", "to", "first_seen", "confirmed_on", "last_seen", "area_ha", "confidence", "status")
"""Of the table of events, before the geometry."""
_EPOCH = date(1970, 1, 1)
_DAY = pd.ArrowDtype(pa.date32())


def events_of(
    polygons: Sequence[tuple[str, gpd.GeoDataFrame]], kinds: Kinds, area: Window, crs: Any
) -> gpd.GeoDataFrame:
    """The table of events, by first sighting and id.

    An event's id comes from its kind and the place on the lattice of the pixel that was seen first (of several on one
    day the northernmost, then westernmost): it stays when the event grows, joins a later one, or is confirmed.

    Args:
        polygons: for each phase the polygons of its raster, with the columns `known_key_min`, `known_confirmed_min`,
            `known_last_max` and `known_confidence_mean`.
        kinds: what classes of polygons stand for.
        area: of the rasters, on the lattice.
        crs: of the polygons.

    Returns:
        The columns of :data:`COLUMNS`, dates as such (null where there is none), and the geometry.
    """
    frames = [_events(phase, frame, kinds, area) for phase, frame in polygons if len(frame)]
    if not frames:
        return _typed(gpd.GeoDataFrame({name: pd.array([], object) for name in COLUMNS}, geometry=[], crs=crs))
    found = pd.concat(frames, ignore_index=True)
    found = found.sort_values(["first_seen", "id", "status", "last_seen"], kind="stable", ignore_index=True)
    # A place may change, go back, and change once more.
    again = found.groupby("id").cumcount()
    found["id"] = np.where(again > 0, found["id"] + "-" + (again + 1).astype(str), found["id"])
    return _typed(gpd.GeoDataFrame(found, geometry="geometry", crs=crs))


def _events(phase: str, frame: gpd.GeoDataFrame, kinds: Kinds, area: Window) -> gpd.GeoDataFrame:
    keys = frame["known_key_min"].to_numpy().astype(np.int64)
    days, numbers = keys >> SEED_SHIFT, keys & ((1 << SEED_SHIFT) - 1)
    rows, cols = numbers // area.width + area.row, numbers % area.width + area.col
    before, after = kinds.columns(frame["class"].to_numpy())
    seeds = zip(before, after, rows.tolist(), cols.tolist(), strict=True)
    columns = {
        "id": [event_id(*seed) for seed in seeds],
        "from": before,
        "to": after,
        "first_seen": _dates(days),
        "confirmed_on": _dates(frame["known_confirmed_min"]),
        "last_seen": _dates(frame["known_last_max"]),
        "area_ha": frame["area_ha"].to_numpy(),
        "confidence": frame["known_confidence_mean"].round(6).to_numpy(),
        "status": phase,
    }
    return gpd.GeoDataFrame(columns, geometry=frame.geometry.to_numpy(), crs=frame.crs)


def event_id(before: str, after: str, row: int, col: int) -> str:
    """What a change of a kind that was seen first in a pixel of the lattice is called."""
    return hashlib.sha256(f"{before}\n{after}\n{row}\n{col}".encode()).hexdigest()[:12]


def _dates(days: Iterable[float]) -> Any:
    found = [_EPOCH + timedelta(days=int(day)) if day > 0 else None for day in days]
    return pd.Series(found, dtype=_DAY).array


def _typed(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The same types whatever there is."""
    texts = dict.fromkeys(("id", "from", "to", "status"), "string")
    days = dict.fromkeys(("first_seen", "confirmed_on", "last_seen"), _DAY)
    typed = frame.astype({**texts, **days, "area_ha": "float64", "confidence": "float64"})
    return typed[[*COLUMNS, "geometry"]]
