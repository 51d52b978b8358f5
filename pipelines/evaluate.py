"""`geounet evaluate`: a prediction against a reference."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.classes import LandClass
    from geounet.metrics.area_estimation import AreaEstimate
    from geounet.metrics.assessment import Asked, Assessment, Objects
    from geounet.metrics.objects import ObjectScores
    from geounet.metrics.seams import SeamQuality

_PICTURE = 1000
"""Rows or columns of the page's pictures at most."""
_WIDE = (7, 15, 15, 8, 11, 8, 8, 10)
"""Characters of the table's columns after the class."""
_PATH = click.Path(path_type=Path, allow_dash=True)


@click.command()
@click.argument("predicted")
@click.argument("reference")
@options.option(
    "--json",
    "json_file",
    type=_PATH,
    metavar="FILE",
    help="Scores and confusion matrix as JSON; - writes them to standard output in place of the table.",
)
@options.option(
    "--field",
    "--label-field",
    "field",
    help="Field of a polygon file with the class; class, value, label or code by default.",
)
@options.option(
    "--classes",
    "class_file",
    type=_PATH,
    help="Class table, CSV with value,name,color; by default the one that a raster carries.",
)
@options.class_map
@options.layer
@options.option(
    "--all-touched", is_flag=True, help="Polygons count on every pixel they touch, not only where they hold the centre."
)
@options.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="All of it as one HTML page, with pictures of both sides.",
)
@options.option(
    "--boundary",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    metavar="PIXELS",
    help="Boundary IoU: pixels so near to an outline; 0: none.",
)
@options.option(
    "--objects", is_flag=True, help="Match objects (polygons, or connected pixels of a class) one to one by IoU."
)
@options.option(
    "--class",
    "object_classes",
    multiple=True,
    metavar="CLASS",
    help="With --objects: only objects of this class, by name or value; may be repeated. All by default.",
)
@options.option(
    "--areas",
    is_flag=True,
    help="Accuracy by area, and areas in hectares, with 95 % intervals, the mapped classes being the strata (Olofsson "
    "et al. 2014). Always so where REFERENCE is points.",
)
@options.option(
    "--strata",
    type=click.Path(path_type=Path),
    metavar="RASTER",
    help="Strata of the sample for --areas, a class raster; by default the mapped classes.",
)
@options.option(
    "--seams",
    type=click.IntRange(min=2),
    metavar="PIXELS",
    help="Tile size of PREDICTED: how often classes change across tile borders, and how often elsewhere.",
)
@options.option(
    "--seam-offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="PIXELS",
    help="Row and column of the first tile's corner.",
)
@options.option(
    "--resolution",
    type=click.FloatRange(min=0, min_open=True),
    help="Side of the pixels on which two polygon files are compared, in the unit of PREDICTED's CRS.",
)
@options.force("Take rasters for ones of classes, whatever they say of themselves.")
@options.overwrite
@options.common
@options.depends(object_classes=("objects",), seam_offset=("seams",))
def command(
    predicted: str,
    reference: str,
    json_file: Path | None,
    html_file: Path | None,
    field: str | None,
    class_file: Path | None,
    class_map: dict[str, int],
    layer: str | None,
    all_touched: bool,
    resolution: float | None,
    force: bool,
    overwrite: bool,
    quiet: bool,
    **asked: Any,
) -> None:
    """Compare PREDICTED with REFERENCE: class rasters or polygon files, or points with a class as REFERENCE.

    The comparison happens on the prediction's pixels (the reference's if the prediction is polygons). Nodata on
    either side counts nowhere. Points are taken for a sample, stratified by the mapped classes.
    """
    from geounet.metrics.sides import Reading
    from geounet.outputs import atomic, check_ending, claimed
    from geounet.pages.evaluation import write_page
    from geounet.pages.markup import ENDINGS as PAGES
    from geounet.raster.identity import request_hash
    from geounet.sources.polygon_files import with_layer
    from geounet.tasks.evaluate import evaluate

    from .progress import bar

    predicted, reference = (str(with_layer(side, layer)) for side in (predicted, reference))
    to_stdout = str(json_file) == "-"
    if not to_stdout and json_file:
        check_ending(json_file, ".json")
    if html_file:
        check_ending(html_file, *PAGES)
    files = [file for file in (None if to_stdout else json_file, html_file) if file]
    wanted = _asked(picture=_PICTURE if html_file else 0, **asked)
    reading = Reading(_class_table(class_file, predicted, reference), field, all_touched, class_map, force)
    request = request_hash("evaluate", [predicted, reference], wanted, reading, resolution)
    with claimed(files, request, overwrite):
        result = evaluate(
            predicted,
            reference,
            wanted,
            reading=reading,
            resolution=resolution,
            command=options.command_line(),
            step=lambda label: bar(f"evaluate: {label}", quiet),
        )
        text = json.dumps(result.to_dict(), indent=2, allow_nan=False)
        if json_file and not to_stdout:
            with atomic(json_file) as draft:
                draft.write_text(text + "\n", encoding="utf-8")
        if html_file:
            write_page(result, html_file)
    click.echo(text if to_stdout else summary(result))


def _asked(*, seams: int | None, object_classes: tuple[str, ...], objects: bool, **more: Any) -> Asked:
    from geounet.tasks.evaluate import Asked

    return Asked(seams=seams or 0, object_classes=object_classes, objects=objects, **more)


def _class_table(class_file: Path | None, *sides: str) -> tuple[LandClass, ...]:
    """The class table that was given, else that of the first raster which carries one."""
    from geounet.class_tables import read_classes
    from geounet.raster.cog import classes_of
    from geounet.raster.scene import load_scene
    from geounet.sources.polygon_files import is_polygons

    if class_file:
        return read_classes(class_file)
    rasters = [side for side in sides if not is_polygons(side)]
    # Opened as scenes first: what GDAL says against a file is one sentence there.
    return next((found for side in rasters if (found := classes_of(load_scene(side).path))), ())


def summary(result: Assessment) -> str:
    """All that was measured: a table for each subject, the overall scores last."""
    blocks = [
        result.areas and _areas_table(result.areas),
        result.objects and _objects_table(result.objects),
        result.seams and _seams_line(result.seams),
        table(result),
    ]
    return "\n\n".join(block for block in blocks if block)


def table(result: Assessment) -> str:
    """One line a class, and the overall scores below."""
    scores, boundary = result.evaluation, result.boundary
    heads = ["class", "value", "support", "predicted", "IoU", "precision", "recall", "F1"]
    columns = [scores.iou, scores.precision, scores.recall, scores.f1, *([boundary.iou] if boundary else [])]
    rows = [
        [item.name, str(item.value), f"{support:,}", f"{predicted:,}", *map(_score, shares)]
        for item, support, predicted, *shares in zip(
            scores.classes, scores.support, scores.predicted, *columns, strict=True
        )
    ]
    overall = (
        f"accuracy {_score(scores.accuracy)}, mean IoU {_score(scores.mean_iou)}, kappa {_score(scores.kappa)}, "
        f"{scores.pixels:,} {result.unit}"
    )
    return "\n".join([*_lines([[*heads, *(["boundary"] if boundary else [])], *rows], _WIDE), "", overall])


def _lines(rows: Sequence[Sequence[str]], wide: Sequence[int]) -> list[str]:
    """Columns below each other: the first as wide as it must be, the others flush right."""
    first = max(len(row[0]) for row in rows)
    return [f"{row[0]:{first}}" + "".join(f"{cell:>{wide[at]}}" for at, cell in enumerate(row[1:])) for row in rows]


def _areas_table(areas: AreaEstimate) -> str:
    unit = areas.unit
    heads = ["area", f"mapped {unit}", f"adjusted {unit}", "+-", "user's", "+-", "producer's", "+-"]
    rows = [
        [
            item.name,
            f"{areas.mapped[at]:,.1f}",
            *(f"{number[at]:,.1f}" for number in (areas.area.value, areas.area.margin)),
            *(_score(n[at]) for of in (areas.users, areas.producers) for n in (of.value, of.margin)),
        ]
        for at, item in enumerate(areas.classes)
    ]
    accuracy = areas.accuracy
    overall = (
        f"accuracy by area {_score(accuracy.value.item())} +- {_score(accuracy.margin.item())} (95 %), "
        f"{areas.sample:,} sample units"
    )
    return "\n".join([*_lines([heads, *rows], (18, 18, 15, 9, 8, 12, 8)), "", overall])


def _objects_table(objects: Objects) -> str:
    heads = ["objects", "predicted", "reference", "precision", "recall", "F1", "F1 .5-.95", "over", "under"]
    named = [*zip((item.name for item in objects.classes), objects.scores, strict=True), ("all", objects.overall)]
    rows = [
        [
            name,
            f"{scores.predicted:,}",
            f"{scores.reference:,}",
            *(_score(float(value)) for value in (scores.precision[0], scores.recall[0], scores.f1[0])),
            *(_score(float(value)) for value in (scores.f1.mean(), *_first(scores))),
        ]
        for name, scores in named
    ]
    return "\n".join(_lines([heads, *rows], (12, 12, 11, 8, 8, 11, 8, 8)))


def _first(scores: ObjectScores) -> tuple[float, float]:
    return scores.over_segmentation[0], scores.under_segmentation[0]


def _seams_line(seams: SeamQuality) -> str:
    return (
        f"seams of tiles of {seams.tile_size} px: {seams.at_borders:.4%} of the neighbours differ across borders, "
        f"{seams.elsewhere:.4%} elsewhere: ratio {_score(seams.ratio)}, z {_score(seams.z_score)}"
    )


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
