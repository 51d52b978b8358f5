"""What changed between two maps: a raster of changes, their polygons, and how much went where."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.changes.comparing import Rules
from geounet.changes.kinds import UNCHANGED
from geounet.changes.sides import Side, classes_by_value, lay, open_side, with_probabilities
from geounet.changes.tiles import Done, Work, compared
from geounet.changes.transitions import NO_CHANGE, Transition, transitions_of, write_transitions
from geounet.classes import NODATA
from geounet.errors import SceneError
from geounet.formats.vector_io import check_format, check_place
from geounet.metrics.assessment import Asked
from geounet.metrics.sides import Reading
from geounet.outputs import check_output, claimed, workspace_of
from geounet.pages.change_picture import change_picture
from geounet.products.change_item import write_change_item
from geounet.products.record import RECORD
from geounet.raster.cog import RasterProfile, cog_writer
from geounet.raster.identity import request_hash
from geounet.raster.remote import public_name
from geounet.raster.scene import load_scene, small_cache
from geounet.sources.polygon_files import read_polygons
from geounet.tasks.evaluate import evaluate
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from geounet.changes.kinds import Kinds
    from geounet.classes import LandClass
    from geounet.metrics.area_estimation import AreaEstimate

    Progress = Callable[[int, int], None]

__all__ = ["Change", "Rules", "change"]

_log = logging.getLogger(__name__)
CHANGE, SHARE, TRANSITIONS, PICTURE = "change.tif", "confidence.tif", "transitions.csv", "preview.png"
"""What the files are called."""
FORMATS = frozenset({"parquet", "gpkg", "fgb", "geojson", "shp"})
"""Endings that the polygons may have."""


@dataclass(frozen=True, slots=True)
class Change:
    """What came of a comparison."""

    transitions: tuple[Transition, ...]
    """Ground by class before and after; what does not count as a change has stayed."""
    polygons: int
    """Connected changes."""
    doubtful: int
    """Pixels that differ, but with less than the least confidence."""
    shifted: int
    """Pixels that differ no more than a shift within the tolerance explains."""
    small: int
    """Pixels of changes that are too small."""
    resampled: int
    """Maps that lie on another lattice than the comparison: 0 or 1."""
    height: int
    """Rows of the common lattice."""
    width: int
    """Columns of the common lattice."""
    estimate: AreaEstimate | None
    """Of the areas, where there was a sample."""

    @property
    def changed_ha(self) -> float:
        """Hectares that changed; NaN without a CRS."""
        return sum(row.hectares for row in self.transitions if row.changed)

    @property
    def total_ha(self) -> float:
        """Hectares that are valid in both maps."""
        return sum(row.hectares for row in self.transitions)


def change(
    before: str | Path,
    after: str | Path,
    folder: Path,
    rules: Rules | None = None,
    *,
    confidence: tuple[Path, Path] | None = None,
    probabilities: tuple[Path, Path] | None = None,
    sample: Path | None = None,
    vector_format: str = "parquet",
    tile_size: int = 1024,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Change:
    """Compare two maps of one place.

    They are compared on the lattice that more of their pixels lie on, where both cover it; what lies on another is
    brought there by nearest pixels, classes are never interpolated. The result depends neither on the tile size nor on
    the number of threads.

    Args:
        before: a product (its folder or record; here or in an object store), or a class raster such as a mosaic.
        after: likewise.
        folder: gets `change.tif` (code of each change, 0 where there is none), `confidence.tif` (its probability, where
            there are confidences), `change.parquet` or in another format (connected changes: `from`, `to`, `area_ha`,
            `confidence`, `before`, `after`), `transitions.csv`, `preview.png`, and `item.json`, a STAC item.
        rules: what counts, see :mod:`geounet.changes.comparing`.
        confidence: of class rasters the confidences of their pixels; products have their own.
        probabilities: rasters with one band for each class, in place of the confidences.
        sample: points with what really happened there (`from` and `to`, or a field of `evaluate` with a kind's name
            such as `forest to built_up`, or `no change`): areas are estimated with 95 % intervals, as `evaluate` does.
        vector_format: ending of the polygon file.
        tile_size: rows and columns worked on at once.
        workers: threads; by default as many as there are processors.
        overwrite: replace what another comparison has left in the folder.
        progress: called with the tiles done and the tiles in all.

    Raises:
        SceneError: a map cannot be read, has no CRS, or they have no ground in common.
        LabelError: one value stands for several classes, or there are too many kinds of changes.
        OutputError: the folder holds another comparison, or cannot be written.
    """
    rules = rules or Rules()
    polygons = folder / f"change.{vector_format}"
    check_format(polygons)
    sides = tuple(map(open_side, (before, after), confidence or (None, None)))
    if probabilities is not None:
        classes = classes_by_value(sides, ())
        sides = tuple(with_probabilities(side, path, classes) for side, path in zip(sides, probabilities, strict=True))
    # Before any work, for it may be the wrong file.
    points = None if sample is None else read_polygons(sample)
    _tell_what_is_known(sides)
    table = lay(*sides)
    check_place(polygons, table.frame.crs.to_wkt())
    digests = [side.layer.digest for side in sides], [*map(str, confidence or ()), *map(str, probabilities or ())]
    request = request_hash("change", [], digests, asdict(rules), vector_format, str(sample))
    files = [folder / name for name in (RECORD, CHANGE, SHARE, TRANSITIONS, PICTURE)]
    with claimed(files, request, overwrite) as claim, ExitStack() as stack:
        check_output(polygons, claim.may_replace or claim.resumed)
        stack.enter_context(small_cache())
        work = Work(sides, table, rules, tile_size, workers or os.cpu_count() or 1, progress)
        aside = workspace_of(folder / RECORD)
        done = stack.enter_context(compared(work, aside))
        shown = done.kinds.table(np.flatnonzero(done.pixels[UNCHANGED + 1 : NODATA]) + 1)
        _write_rasters(folder, work, done, shown)
        made = vectorize(
            folder / CHANGE,
            polygons,
            confidence=folder / SHARE if work.is_sure else None,
            only=[item.value for item in shown if item.value != UNCHANGED],
            columns=partial(_columns, done.kinds, sides),
            workers=workers,
            overwrite=True,
        )
        _drop_other_formats(folder, vector_format)
        estimate = None if sample is None else _estimate(folder / CHANGE, sample, points, done.kinds, aside)
        rows = transitions_of(done.kinds, done.tally, done.pixels, done.areas, work.unit)
        write_transitions(folder / TRANSITIONS, rows, estimate)
        raster, names = load_scene(folder / CHANGE), [_shown_name(side) for side in sides]
        change_picture(
            folder / PICTURE, (sides[0].layer.classes, sides[1].layer.classes), raster, done.kinds.classes, shown,
            (names[0], names[1]),
        )  # fmt: skip
        found = Change(
            rows, made.polygons, done.tally.doubtful, done.tally.shifted, done.small, table.resampled,
            table.frame.height, table.frame.width, estimate,
        )  # fmt: skip
        _write_item(folder, polygons, work, found, shown)
    return found


def _drop_other_formats(folder: Path, kept: str) -> None:
    """Remove the polygons that an earlier comparison has left in another format."""
    parts = ("shx", "dbf", "prj", "cpg")
    for ending in (*FORMATS, *parts):
        if ending != kept and not (kept == "shp" and ending in parts):
            (folder / f"change.{ending}").unlink(missing_ok=True)


def _tell_what_is_known(sides: tuple[Side, ...]) -> None:
    bare = [side.place for side in sides if not side.shares]
    if bare:
        what = "labels alone are compared" if len(bare) == len(sides) else "its classes are taken for sure"
        _log.warning("%s without confidences: %s", " and ".join(map(public_name, bare)), what)


def _shown_name(side: Side) -> str:
    return side.layer.id if not side.date else f"{side.layer.id}, {side.date[: len('2020-07-01')]}"


def _write_rasters(folder: Path, work: Work, done: Done, shown: tuple[LandClass, ...]) -> None:
    frame = work.table.frame
    place: dict[str, Any] = {
        "height": frame.height, "width": frame.width, "transform": frame.transform, "crs": frame.crs, "dtype": "uint8",
        "nodata": NODATA,
    }  # fmt: skip
    tags = {"BEFORE": work.sides[0].date, "AFTER": work.sides[1].date}
    with ExitStack() as stack:
        write_share = None
        if work.is_sure:
            profile = RasterProfile(**place, names=("confidence",), scale=1 / (NODATA - 1))
            write_share = stack.enter_context(cog_writer(folder / SHARE, profile))
        else:
            (folder / SHARE).unlink(missing_ok=True)
        profile = RasterProfile(**place, names=("change",), classes=shown, tags=tags)
        write = stack.enter_context(cog_writer(folder / CHANGE, profile))
        for window, codes, share in done.tiles():
            write(window, codes[None])
            if write_share is not None:
                write_share(window, share[None])


def _columns(kinds: Kinds, sides: tuple[Side, ...], frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of connected changes in place of those of polygons."""
    before, after = kinds.columns(frame["class"].to_numpy())
    told = {"id": frame["id"], "class": frame["class"], "from": before, "to": after, "pixels": frame["pixels"],
            "area_ha": frame["area_ha"], "confidence": frame["confidence"],
            "confidence_min": frame["confidence_min"]}  # fmt: skip
    dates = {name: side.date or None for name, side in zip(("before", "after"), sides, strict=True)}
    return type(frame)({**told, **dates}, index=frame.index).astype(
        dict.fromkeys(("from", "to", "before", "after"), "string")
    )


def _estimate(raster: Path, sample: Path, points: Any, kinds: Kinds, aside: Path) -> AreaEstimate:
    """Areas by a stratified sample; the strata are the kinds of changes that there are.

    What happened may be of a kind that the map does not have anywhere.
    """
    table = kinds.table(range(1, len(kinds.pairs) + 1))
    if {"from", "to"} <= set(points.columns):
        names = [
            f"{old} to {new}" if old != new else NO_CHANGE
            for old, new in zip(points["from"], points["to"], strict=True)
        ]
        sample = aside / "sample.gpkg"
        points[[points.geometry.name]].assign(change=names).to_file(sample)
        reading = Reading(table, "change")
    else:
        reading = Reading(table)
    found = evaluate(raster, sample, Asked(areas=True), reading=reading)
    if found.areas is None:
        raise SceneError(f"{sample} tells nothing of areas")
    return found.areas


def _write_item(folder: Path, polygons: Path, work: Work, found: Change, kinds: tuple[LandClass, ...]) -> None:
    files = {"change": folder / CHANGE, "polygons": polygons, "transitions": folder / TRANSITIONS,
             "preview": folder / PICTURE}  # fmt: skip
    if work.is_sure:
        files["confidence"] = folder / SHARE
    told = {
        "changed_ha": round(found.changed_ha, 6), "total_ha": round(found.total_ha, 6), "changes": found.polygons,
        "left_out_pixels": {"confidence": found.doubtful, "tolerance": found.shifted, "min_area": found.small},
        "rules": asdict(work.rules),
    }  # fmt: skip
    sides = [(side.place, side.date, side.layer.taken) for side in work.sides]
    identifier = "_to_".join(side.layer.id for side in work.sides)
    write_change_item(folder / RECORD, identifier, load_scene(folder / CHANGE), kinds, sides, files, told)
