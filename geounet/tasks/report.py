"""A page to look at: of a product, a map, a batch, a change, or a monitoring job."""

from __future__ import annotations

import csv
import tempfile
from contextlib import suppress
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import OutputError, SceneError
from geounet.exports.subjects import Subject, find_subjects
from geounet.formats.reading import read_batches
from geounet.jobs.report import RECORD as JOB_RECORD
from geounet.jobs.report import read_report
from geounet.outputs import atomic, check_ending, check_output
from geounet.pages.charts import Ground, footprint_map
from geounet.pages.markup import ENDINGS, document, facts, file_name, remarks, section, table, tiles
from geounet.pages.monitoring import monitoring_page
from geounet.pages.plane import gather
from geounet.pages.report import Shown, area_section, field_sections, write_page
from geounet.products.batch import SUMMARY, read_batch
from geounet.products.record import RECORD, read_record
from geounet.raster.cog import classes_of
from geounet.raster.globe import WGS84
from geounet.raster.placement import crs_name, outline_of
from geounet.raster.scene import load_scene
from geounet.sources.scenes import view_of
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from geounet.classes import LandClass
    from geounet.pages.plane import Fields
    from geounet.products.batch import Batch
    from geounet.raster.scene import Scene

__all__ = ["report"]

_CHANGE, _TRANSITIONS, _RUNS = "change.tif", "transitions.csv", "runs.jsonl"


def report(source: str | Path, out: Path, *, overwrite: bool = False) -> Path:
    """Write one self-contained page, which needs no network.

    A product, a class raster or the folder of a change becomes a map with layers, areas by class, histograms of the
    fields and doubtful places; a batch a table of its scenes with what failed, areas and histograms of all, and a map
    of footprints; a monitoring job its events, timeline and runs.

    Args:
        source: a product's folder, a class raster, the folder of `geounet run`, `change` or `monitor`.
        out: the page, `.html`.
        overwrite: replace a page that exists.

    Raises:
        OutputError: the source is none of these, the page exists or cannot be written, or Bokeh is not installed.
        SceneError: a raster cannot be read.
        LabelError: a raster is none of classes, or a polygon file cannot be read.
    """
    check_ending(out, *ENDINGS)
    check_output(out, overwrite)
    place = Path(source)
    if (place / JOB_RECORD).exists():
        _write_job(place, out)
    elif (place / _CHANGE).exists():
        write_page(out, _of_change(place))
    elif place.is_dir() and not (place / RECORD).exists() and (place / SUMMARY).exists():
        _write_batch(place, out)
    else:
        subjects = find_subjects([place])
        if len(subjects) > 1:
            _write_products(subjects, None, place.name, out)
        else:
            write_page(out, _of_subject(subjects[0]))
    return out


# --- one product or map


def _of_subject(subject: Subject) -> Shown:
    if subject.classes is None:
        raise OutputError(f"{subject.name} is a polygon file; a page is made of a product, a class raster or a batch")
    classes = load_scene(subject.classes)
    scene, notes = _scene_of(subject, classes)
    fields = _fields_of(subject)
    known, numbers = _what_is_known(subject, classes, fields)
    confidence = None if subject.confidence is None else load_scene(subject.confidence)
    return Shown(subject.name, known, numbers, tuple(notes), classes, subject.legend, confidence, scene, fields)


def _fields_of(subject: Subject) -> Fields:
    """Counted of a product's polygons; those of a class raster are traced for the purpose."""
    if subject.polygons is not None:
        return gather(read_batches(subject.polygons))
    assert subject.classes is not None, "a subject has a raster or polygons"
    with tempfile.TemporaryDirectory(prefix="geounet-") as folder:
        traced = Path(folder, "polygons.parquet")
        vectorize(subject.classes, traced, confidence=subject.confidence)
        return gather(read_batches(traced))


def _scene_of(subject: Subject, classes: Scene) -> tuple[Scene | None, list[str]]:
    """The scene below the map, where it is there and in the map's CRS."""
    if subject.scene is None:
        return None, []
    try:
        scene = view_of(subject.scene)
    except (SceneError, OSError) as error:
        return None, [f"The scene cannot be shown: {error}"]
    if scene.crs != classes.crs or scene.transform != classes.transform or scene.extent != classes.extent:
        return None, ["The scene is not shown: it is on another grid than the map."]
    return scene, []


def _what_is_known(
    subject: Subject, classes: Scene, fields: Fields | None
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    known = {"Raster": f"{classes.height:,} x {classes.width:,} pixels", "CRS": crs_name(classes) or "none"}
    numbers = []
    found = (
        read_record(subject.classes.parent) if subject.classes is not None and subject.polygons is not None else None
    )
    if found is not None:
        product, making = found
        options = ", ".join(f"{name} {value}" for name, value in making.options.items() if name != "vector_format")
        known |= {
            "Scene": file_name(product.scene),
            "Model": making.model[:12],
            **({"Options": options} if options else {}),
        }
        numbers += [(f"{product.valid_share:.1%}", "valid"), (f"{product.masked_share:.1%}", "masked")]
    if fields is not None:
        sure = fields.confidences[np.isfinite(fields.confidences)]
        numbers += [(f"{len(fields.areas):,}", "polygons"), (f"{sum(fields.hectares.values()):,.0f}", "ha")]
        numbers += [(f"{np.median(fields.areas):.2f}", "ha, median field")] if len(fields.areas) else []
        numbers += [(f"{sure.mean():.0%}", "mean confidence of fields")] if len(sure) else []
    return known, tuple(numbers)


# --- a change


def _of_change(folder: Path) -> Shown:
    raster = folder / _CHANGE
    classes = load_scene(raster)
    confidence = folder / "confidence.tif"
    with (folder / _TRANSITIONS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    changed = [row for row in rows if row["from"] != row["to"]]
    hectares = sum(float(row["hectares"] or 0) for row in changed)
    total = sum(float(row["hectares"] or 0) for row in rows)
    numbers = (
        (f"{hectares:,.2f}", "ha changed"),
        (f"{total:,.2f}", "ha compared"),
        (str(len(changed)), "kinds of change"),
    )
    known = {"Raster": f"{classes.height:,} x {classes.width:,} pixels", "CRS": crs_name(classes) or "none"}
    return Shown(
        title=f"Change: {folder.name}",
        facts=known,
        numbers=numbers,
        notes=(),
        classes=classes,
        legend=classes_of(raster),
        confidence=load_scene(confidence) if confidence.exists() else None,
        scene=None,
        fields=None,
        more=(section("Transitions", "Hectares from the class of the row to that of the column.", _matrix(rows)),),
    )


def _matrix(rows: list[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in (row["from"], row["to"])))
    found = {(row["from"], row["to"]): row["hectares"] for row in rows}
    cells = [
        [escape(one), *(f"{float(found[one, other] or 0):,.2f}" if (one, other) in found else "" for other in names)]
        for one in names
    ]
    return table(("from \N{DOWNWARDS ARROW} to \N{RIGHTWARDS ARROW}", *map(escape, names)), cells)


# --- a monitoring job


def _write_job(folder: Path, out: Path) -> None:
    import geopandas as gpd

    try:
        events = gpd.read_parquet(folder / "events.parquet")
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder} has no table of events yet: run the job first") from error
    monitoring_page(folder, asdict(read_report(folder)), events, folder / _RUNS, out)


# --- a batch


def _write_batch(folder: Path, out: Path) -> None:
    batch = read_batch(folder)
    subjects: tuple[Subject, ...] = ()
    with suppress(OutputError):
        subjects = find_subjects([folder])
    _write_products(subjects, batch, folder.resolve().name, out)


def _write_products(subjects: tuple[Subject, ...], batch: Batch | None, title: str, out: Path) -> None:
    from itertools import chain

    legend: dict[int, LandClass] = {item.value: item for subject in subjects for item in subject.legend}
    files = [subject.polygons for subject in subjects if subject.polygons is not None]
    fields = gather(chain.from_iterable(map(read_batches, files)), most=0)
    scenes = [load_scene(subject.classes) for subject in subjects if subject.classes is not None]
    grounds = [
        Ground(scene.label, "var(--mark)", (outline_of(scene, WGS84),)) for scene in scenes if scene.crs is not None
    ]
    numbers = [(f"{len(subjects):,}", "products"), (f"{len(fields.areas):,}", "polygons"),
               (f"{sum(fields.hectares.values()):,.0f}", "ha")]  # fmt: skip
    failed = [] if batch is None else [entry for entry in batch.scenes if entry.state == "failed"]
    known = {} if batch is None else {"State": batch.state, "Started": batch.started, "Updated": batch.updated}
    parts = [
        facts(known) + tiles([*numbers, (f"{len(failed):,}", "scenes failed")])
        if batch
        else facts(known) + tiles(numbers),
        remarks([f"{entry.id}: {entry.failure}" for entry in failed]),
        *([section("Footprints", "In longitude and latitude.", footprint_map(grounds))] if grounds else []),
        *([section("Scenes", "In the order in which they were begun.", _scenes(batch))] if batch else []),
        *area_section(fields, tuple(legend.values())),
        *field_sections(fields),
    ]
    with atomic(out) as draft:
        draft.write_text(document(title, parts), encoding="utf-8")


def _scenes(batch: Batch) -> str:
    heads = ("Scene", "State", "Seconds", "Valid", "Masked", "Polygons", "Hectares", "Failure")
    rows = [
        [
            escape(entry.id),
            escape(entry.state),
            f"{entry.seconds:.1f}",
            _share(entry.valid_share),
            _share(entry.masked_share),
            "" if entry.polygons is None else f"{entry.polygons:,}",
            "" if entry.area_ha is None else f"{entry.area_ha:,.2f}",
            escape(entry.failure),
        ]
        for entry in batch.scenes
    ]
    return table(heads, rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
