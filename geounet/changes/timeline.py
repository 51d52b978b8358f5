"""Ground by class and date, and how it went from one date to another."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geounet.changes.comparing import count_codes, count_pairs
from geounet.classes import NODATA
from geounet.grid import Grid, Window
from geounet.maps.layers import open_layer
from geounet.outlines.pixel_areas import whole_areas
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geounet.changes.blocks import Observation, ProductReaders, Watch
    from geounet.changes.ledger import Seen
    from geounet.maps.layers import LayerOf
    from geounet.outlines.pixel_areas import WholeAreas

    Row = tuple[int, int, int, float]
    """Values before and after, pixels, hectares."""

TIMELINE, TRANSITIONS = "timeline.parquet", "transitions.parquet"
"""What the tables are called."""
_TILE = 1024
_SEASON = 45
"""Days from a year before that a scene may be away and is of the same season."""
_YEAR = 365
LAST, YEAR_BEFORE = "last", "year before"
"""What a scene is compared with."""


def hectares_by_class(
    one: Observation, layer: LayerOf, watch: Watch, readers: ProductReaders
) -> dict[str, tuple[int, float]]:
    """Pixels of the lattice and hectares of each class of a product, by its value."""
    unit = _areas(one.area, layer, watch)
    pixels, areas = (np.zeros(NODATA + 1, np.int64) for _ in range(2))
    for window in _tiles(one.area):
        codes = readers.read(one, window)[0]
        top = window.row - one.area.row
        found = count_codes(codes, unit.rows[top : top + window.height])
        pixels, areas = pixels + found[0], areas + found[1]
    hectares = unit.hectares(areas)
    return {
        str(value): (int(pixels[value]), round(float(hectares[value]), 6)) for value in np.flatnonzero(pixels[:NODATA])
    }


def _areas(area: Window, layer: LayerOf, watch: Watch) -> WholeAreas:
    frame = watch.frame(area)
    return whole_areas(frame.transform, frame.height, frame.width, frame.crs, layer.classes)


def _tiles(area: Window) -> list[Window]:
    return [tile.core for tile in Grid(area, _TILE, _TILE).tiles()]


def write_timeline(path: Path, scenes: Sequence[Seen], names: Mapping[int, str]) -> None:
    """Write a row for each scene and class: date, scene, class, pixels, hectares, the scene's valid share.

    Raises:
        OutputError: it cannot be written.
    """
    rows = [
        (seen.taken, seen.id, names.get(int(value), f"class_{value}"), pixels, hectares, seen.valid_share)
        for seen in scenes
        for value, (pixels, hectares) in sorted(seen.classes.items(), key=lambda item: int(item[0]))
    ]
    _write(path, rows, ("date", "scene", "class", "pixels", "hectares", "valid_share"))


def _write(path: Path, rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> None:
    numbers = {"pixels": "int64", "hectares": "float64", "valid_share": "float64"}
    frame = pd.DataFrame(rows, columns=list(columns)).astype({name: numbers.get(name, "string") for name in columns})
    for name in ("date", "against_date"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    with atomic(path) as draft:
        frame.to_parquet(draft, index=False)


def pairs_to_compare(scenes: Sequence[Seen]) -> list[tuple[Seen, Seen, str]]:
    """Each scene with the last one before it on its ground, and with that of a year before, where there is one.

    Args:
        scenes: in the order of their time.

    Returns:
        The later one, the earlier one, and which of both it is.
    """
    days, found = [seen.day for seen in scenes], []
    for place, later in enumerate(scenes):
        stop = bisect_left(days, later.day, 0, place)
        last = next((one for one in reversed(scenes[:stop]) if _meet(one, later)), None)
        if last is not None:
            found.append((later, last, LAST))
        around = later.day - _YEAR
        near = scenes[bisect_left(days, around - _SEASON) : bisect_right(days, around + _SEASON)]
        ago = [(abs(one.day - around), one.id, one) for one in near if _meet(one, later)]
        if ago:
            found.append((later, min(ago)[2], YEAR_BEFORE))
    return found


def _meet(one: Seen, other: Seen) -> bool:
    return bool(one.window.intersection(other.window).pixels)


class Matrices:
    """Transitions between two products, kept in a folder: they are worked out once."""

    def __init__(self, folder: Path, watch: Watch, products: Path, readers: ProductReaders) -> None:
        self._folder, self._watch = folder, watch
        self._products, self._readers = products, readers
        self._key, self._used = watch.lattice_key, set[str]()

    def of(self, earlier: Seen, later: Seen) -> list[Row]:
        """Values before and after, pixels of the lattice that are valid in both, and hectares."""
        path = self._folder / f"{earlier.digest[:16]}_{later.digest[:16]}.json"
        self._used.add(path.name)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["lattice"] == self._key:
                return [tuple(row) for row in found["rows"]]
        except (OSError, ValueError, KeyError):
            # What is not there, or damaged, is worked out.
            pass
        rows = self._compared(earlier, later)
        with atomic(path) as draft:
            draft.write_text(json.dumps({"lattice": self._key, "rows": rows}), encoding="utf-8")
        return rows

    def _compared(self, earlier: Seen, later: Seen) -> list[Row]:
        area = earlier.window.intersection(later.window)
        unit = _areas(area, open_layer(self._products / later.folder), self._watch)
        sides = [seen.observation(self._products) for seen in (earlier, later)]
        pixels, areas = (np.zeros((NODATA + 1, NODATA + 1), np.int64) for _ in range(2))
        for window in _tiles(area):
            before, after = (self._readers.read(side, window)[0] for side in sides)
            top = window.row - area.row
            count_pairs(before, after, unit.rows[top : top + window.height], pixels, areas)
        hectares = unit.hectares(areas)
        return [
            (int(a), int(b), int(pixels[a, b]), round(float(hectares[a, b]), 6))
            for a, b in np.argwhere(pixels[:NODATA, :NODATA])
        ]

    def forget_others(self) -> None:
        """Remove what no pair of scenes needs any more."""
        for path in self._folder.glob("*.json"):
            if path.name not in self._used:
                path.unlink()


def write_transitions(path: Path, pairs: Sequence[tuple[Seen, Seen, str, list[Row]]], names: Mapping[int, str]) -> None:
    """Write a row for each pair of scenes and of classes.

    Its columns are date, scene, against, against_date, from, to, pixels, hectares.

    Raises:
        OutputError: it cannot be written.
    """
    called = [names.get(value, f"class_{value}") for value in range(NODATA)]
    rows = [
        (later.taken, later.id, which, earlier.taken, called[a], called[b], pixels, area)
        for later, earlier, which, matrix in pairs
        for a, b, pixels, area in matrix
    ]
    _write(path, rows, ("date", "scene", "against", "against_date", "from", "to", "pixels", "hectares"))
