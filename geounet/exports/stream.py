"""The polygons of several subjects in one stream: in one CRS, with the name of whose each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geounet.errors import OutputError
from geounet.formats.reading import describe_polygons, read_batches
from geounet.raster.globe import WGS84, has_place, to_globe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import geopandas as gpd
    from pyproj import CRS

    from geounet.exports.subjects import Subject

    Progress = Callable[[int, int], None]
    Files = tuple[tuple[Subject, Path], ...]

PRODUCT = "product"
"""The column that says whose a polygon is."""
_GEOJSON = (".geojson", ".json")


@dataclass(slots=True)
class Stream:
    """The polygons of all subjects, and what became of them."""

    files: Files
    """Each subject with its polygon file."""
    crs: CRS | None
    """What they are brought to."""
    several: bool
    """Whether they have a column that says whose they are."""
    progress: Progress
    """Called with the polygons done and the polygons in all."""
    count: int = 0
    """Polygons that have been handed out."""
    empty: int = 0
    """Features that have no shape."""
    moved: list[str] = field(default_factory=list)
    """Names of subjects that were brought to another CRS."""

    @property
    def multi(self) -> bool:
        """Whether multipolygons may come."""
        about = [describe_polygons(path) for _, path in self.files]
        # What is brought to the globe may be cut.
        moves = self.crs is not None and not all(_same(file.crs, self.crs) for file in about)
        return moves or any(file.multi for file in about)

    def batches(self) -> Iterator[tuple[Subject, gpd.GeoDataFrame]]:
        """Frames with the subject that they are of, at least one of each."""
        expected = [describe_polygons(path).count for _, path in self.files]
        for (subject, path), count in zip(self.files, expected, strict=True):
            done = 0
            for frame in read_batches(path):
                done += len(frame)
                self.count += len(frame)
                yield subject, self._placed(frame, subject)
                self.progress(self.count, sum(expected))
            self.empty += count - done

    def _placed(self, frame: gpd.GeoDataFrame, subject: Subject) -> gpd.GeoDataFrame:
        if self.several and PRODUCT not in frame.columns:
            frame.insert(0, PRODUCT, np.full(len(frame), subject.name, object))
        if self.crs is None:
            return frame
        if _same(frame.crs, self.crs):
            return frame.set_crs(self.crs, allow_override=True)
        if frame.crs is None:
            raise OutputError(f"the polygons of {subject.name} have no CRS, so they cannot be brought to another")
        if subject.name not in self.moved:
            self.moved.append(subject.name)
        if self.crs.equals(WGS84):
            return frame.set_geometry(to_globe(np.asarray(frame.geometry.array, object), frame.crs), crs=self.crs)
        moved = frame.to_crs(self.crs)
        if not np.isfinite(shapely.bounds(np.asarray(moved.geometry.array, object))).all():
            raise OutputError(
                f"polygons of {subject.name} lie where {self.crs.name} has no coordinates; give another CRS"
            )
        return moved


def check_columns(files: Files) -> None:
    """Make sure that all have the same attributes.

    Raises:
        OutputError: two have not.
    """
    first = files[0][0].name, set(describe_polygons(files[0][1]).columns) - {PRODUCT}
    for subject, file in files[1:]:
        found = set(describe_polygons(file).columns) - {PRODUCT}
        if found != first[1]:
            apart = ", ".join(sorted(found ^ first[1]))
            raise OutputError(f"{subject.name} and {first[0]} have different attributes ({apart}); export them apart")


def common_crs(files: Files, path: Path | None = None) -> CRS | None:
    """The CRS that all are in; None where they are in none; WGS 84 for several that go into GeoJSON anyway.

    Raises:
        OutputError: they are in several.
    """
    found = [describe_polygons(file).crs for _, file in files]
    kinds = [crs for index, crs in enumerate(found) if not any(_same(crs, other) for other in found[:index])]
    if len(kinds) == 1:
        return found[0]
    if path is not None and path.suffix.lower() in _GEOJSON and all(map(has_place, kinds)):
        return WGS84
    named = ", ".join("no CRS" if crs is None else crs.name for crs in kinds)
    raise OutputError(f"the polygons are in several CRSs ({named}); give one for all, such as --crs EPSG:4326")


def _same(one: CRS | None, other: CRS | None) -> bool:
    """Whether coordinates are the same in both, whatever else files say of their CRS."""
    return one is other if one is None or other is None else one.equals(other, ignore_axis_order=True)
