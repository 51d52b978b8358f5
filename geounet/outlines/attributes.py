"""Polygons to a table: the columns that users see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geounet.components.zonal import STATISTICS, Scale, statistic
from geounet.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.outlines.polygons import Polygons
    from geounet.raster.scene import Scene

    Floats = NDArray[np.float64]

OWN = ("id", "class", "class_name", "pixels", "area_ha", "perimeter_m", "confidence", "confidence_min", "geometry")
"""Columns of every table, in their order; those of other rasters stand before the last."""


@dataclass(frozen=True, slots=True)
class Zonal:
    """A raster whose values are summed up for each polygon."""

    path: Path
    """A raster on any grid: each pixel counts with the value nearest to it."""
    statistics: tuple[str, ...] = ("mean",)
    """Of :data:`geounet.components.zonal.STATISTICS`; each becomes a column `<name of the file>_<statistic>`, or of a
    raster of several bands `<name of the file>_<band>_<statistic>`."""
    band: int | str | None = None
    """The band that is summed up, by its number from 1 or by its name; None: all but an alpha band."""

    def __post_init__(self) -> None:
        wrong = [name for name in self.statistics if name not in STATISTICS]
        if wrong or not self.statistics:
            raise ValueError(f"no statistics called {', '.join(wrong) or 'so'}; there are {', '.join(STATISTICS)}")

    def columns(self, band: Scene) -> tuple[tuple[str, str], ...]:
        """For one of the raster's bands the names of its columns, and the statistic in each."""
        lead = self.path.stem if band.count == 1 else f"{self.path.stem}_{band.band_names[0]}"
        return tuple((f"{lead}_{name}", name) for name in self.statistics)


def check_columns(zones: Sequence[tuple[Zonal, Scene]]) -> None:
    """Make sure that no two columns have one name.

    Args:
        zones: as of :class:`Meaning`.

    Raises:
        SceneError: two have.
    """
    columns = [*OWN, *(column for zone, band in _bands(zones) for column, _ in zone.columns(band))]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise SceneError(f"two columns would be called {', '.join(twice)}; rename a raster of the statistics")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the numbers of polygons stand for."""

    names: NDArray[Any]
    """`(255,)`: a name for each class."""
    confidence: Scene | None
    """The first raster that was summed up; None if there is none."""
    zones: tuple[tuple[Zonal, Scene], ...]
    """The others, each with the bands that are summed up."""


def to_columns(found: Polygons, meaning: Meaning, first_id: int) -> pd.DataFrame:
    """A row a polygon, in the columns of :data:`OWN` and those of other rasters, without the geometry.

    Raises:
        SceneError: the confidence reaches beyond 1.
    """
    states = found.statistics if meaning.confidence is None else found.statistics[1:]
    return pd.DataFrame(
        {
            "id": np.arange(first_id, first_id + len(found), dtype=np.int64),
            "class": found.classes,
            "class_name": meaning.names[found.classes],
            "pixels": found.pixels,
            "area_ha": found.areas / 1e4,
            "perimeter_m": found.lengths,
            **_confidence(found, meaning.confidence),
            **{
                column: statistic(name, state, Scale(band.scales[0], band.offsets[0]))
                for (zone, band), state in zip(_bands(meaning.zones), states, strict=True)
                for column, name in zone.columns(band)
            },
        }
    )


def _bands(zones: Sequence[tuple[Zonal, Scene]]) -> Iterator[tuple[Zonal, Scene]]:
    return ((zone, band) for zone, scene in zones for band in scene.singles)


def _confidence(found: Polygons, confidence: Scene | None) -> dict[str, Floats]:
    if confidence is None:
        empty = np.full(len(found), np.nan)
        return {"confidence": empty, "confidence_min": empty}
    scale, state = _probability(confidence), found.statistics[0]
    means = statistic("mean", state, scale)
    greatest = np.nanmax(statistic("max", state, scale), initial=0.0)
    if greatest > 1 + 1e-6:
        raise SceneError(
            f"{confidence.path} reaches {greatest:.6g}; probabilities lie between 0 and 1: set the band's scale"
        )
    return {"confidence": means, "confidence_min": statistic("min", state, scale)}


def _probability(confidence: Scene) -> Scale:
    scale, offset = confidence.scales[0], confidence.offsets[0]
    if confidence.dtype == "uint8" and (scale, offset) == (1.0, 0.0):
        scale = 1 / 254
    return Scale(scale, offset)
