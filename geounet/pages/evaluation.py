"""An evaluation as one HTML file; see markup.py for what all pages have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.metrics.objects import THRESHOLDS
from geounet.outputs import atomic
from geounet.pages import markup
from geounet.pages.pictures import paint_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.metrics.area_estimation import Estimates
    from geounet.metrics.assessment import Assessment
    from geounet.metrics.evaluation import Picture
    from geounet.metrics.objects import ObjectScores

    Colors = NDArray[np.uint8]

_AGREED, _DIFFERS = (176, 196, 210), markup.WRONG
_TIMES = "\N{MULTIPLICATION SIGN}"
_LINE = 220, 18
"""Width and height of an interval's drawing, in CSS pixels."""


def write_page(assessment: Assessment, out: Path) -> None:
    """Write the page to a file, which replaces what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(out) as draft:
        draft.write_text(page(assessment), encoding="utf-8")


def page(assessment: Assessment) -> str:
    """The whole page as HTML."""
    parts = [
        _sides(assessment),
        markup.tiles(_headline(assessment)),
        markup.remarks(assessment.notes),
        *_sections(assessment),
        markup.origin(assessment.command, assessment.versions),
    ]
    return markup.document("Evaluation of " + markup.file_name(assessment.prediction), parts)


def _sides(assessment: Assessment) -> str:
    rows = {"Predicted": assessment.prediction, "Reference": assessment.reference}
    rows["Compared"] = f"{assessment.evaluation.pixels:,} {assessment.unit} that have a class on both sides"
    return markup.facts(rows)


def _headline(assessment: Assessment) -> Iterator[tuple[str, str]]:
    """Numbers with what they are."""
    scores = assessment.evaluation
    if assessment.areas:
        accuracy = assessment.areas.accuracy
        yield markup.score(accuracy.value.item()), f"accuracy by area, ± {markup.score(accuracy.margin.item())} (95 %)"
    else:
        yield markup.score(scores.accuracy), "accuracy"
    yield markup.score(scores.mean_iou), "mean IoU"
    yield markup.score(scores.kappa), "Cohen's kappa"
    if assessment.boundary:
        yield markup.score(assessment.boundary.mean_iou), f"mean boundary IoU, {assessment.boundary.distance} px"
    if assessment.objects:
        overall = assessment.objects.overall
        yield markup.score(overall.f1[0]), "object F1 at IoU 0.5"
        yield markup.score(overall.f1.mean()), "object F1 over IoU 0.5 to 0.95"
    if assessment.seams:
        yield (
            _number(assessment.seams.ratio, _TIMES),
            f"changes at tile borders (z = {_signed(assessment.seams.z_score)})",
        )


def _sections(assessment: Assessment) -> Iterator[str]:
    if assessment.picture:
        yield markup.section("Where they differ", "", _pictures(assessment.picture, assessment.evaluation.classes))
    yield markup.section("Classes", _HOW["classes"], _classes(assessment))
    yield markup.section("Confusion matrix", _HOW["matrix"], markup.matrix(assessment.evaluation))
    if assessment.areas:
        yield markup.section("Accuracy and area by stratified estimation", _HOW["areas"], _areas(assessment))
    if assessment.objects:
        how = _HOW["objects"] + f" Areas and overlaps are those of {assessment.objects.plane}."
        yield markup.section("Objects", how, _objects(assessment))
    if assessment.seams:
        yield markup.section("Seams", _HOW["seams"], _seams(assessment))


_HOW = {
    "classes": (
        "IoU: pixels that are so on both sides over those that are so on either. Precision: share of what is predicted "
        "that is right (user's accuracy). Recall: share of the reference that is found (producer's accuracy). F1: "
        "their harmonic mean. Boundary: IoU of the pixels near an outline (Cheng et al. 2021). Means are over the "
        "classes that occur."
    ),
    "matrix": (
        "Rows are the reference, columns the prediction; each row adds up to 100 %, with the counts below. Blue is "
        "right, orange is wrong."
    ),
    "areas": (
        "Estimated from the sample in each stratum, weighted by the area of the strata (Olofsson et al. 2014), with "
        "95 % intervals. The adjusted area is what the reference would give for the whole map. In the drawing the dot "
        "and the line are the adjusted area and its interval, the upright stroke the area as mapped."
    ),
    "objects": (
        "Objects are matched one to one by IoU, the greatest first. Over- and under-segmentation (Persello & Bruzzone "
        "2010): the share of a reference object outside the predicted one that covers most of it, and the share of "
        "that one outside the reference object; 0 is best."
    ),
    "seams": (
        "How often neighbouring pixels are of two classes, in pairs across the borders of tiles and in all others. "
        "Without seams the ratio is about 1; z says how far the pairs at borders stand out against those at the other "
        "places in a tile. Above 3 the tiling most likely shows."
    ),
}


def _signed(value: float) -> str:
    return markup.NONE if math.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float, unit: str = "") -> str:
    return f"{value:,.2f}{unit}" if math.isfinite(value) else markup.NONE


def _with_margin(estimates: Estimates, index: int, form: str = ".3f") -> str:
    value, margin = float(estimates.value.flat[index]), float(estimates.margin.flat[index])
    if math.isnan(value):
        return markup.NONE
    return f"{value:{form}} ± " + ("?" if math.isnan(margin) else f"{margin:{form}}")


def _classes(assessment: Assessment) -> str:
    scores, boundary = assessment.evaluation, assessment.boundary
    columns = [scores.iou, scores.f1, scores.precision, scores.recall, *([boundary.iou] if boundary else [])]
    heads = ["Class", "Value", "Reference", "Predicted", "IoU", "F1", "Precision", "Recall"]
    rows = [
        (
            markup.class_name(item),
            str(item.value),
            f"{scores.support[at]:,}",
            f"{scores.predicted[at]:,}",
            *(markup.bar(c[at]) for c in columns),
        )
        for at, item in enumerate(scores.classes)
    ]
    means = (markup.mean_score(c) for c in columns)
    foot = ("All", "", f"{scores.pixels:,}", f"{scores.pixels:,}", *means)
    return markup.table([*heads, *([f"Boundary ({boundary.distance} px)"] if boundary else [])], rows, foot)


def _areas(assessment: Assessment) -> str:
    found = assessment.areas
    if found is None:
        return ""
    most = float(np.nanmax([*(found.area.value + np.nan_to_num(found.area.margin)), *found.mapped, 1e-12]))
    rows = [
        (
            markup.class_name(item), _area(found.mapped[at]), _with_margin(found.area, at, ",.1f"),
            _interval(float(found.area.value[at]), float(found.area.margin[at]), float(found.mapped[at]), most),
            _with_margin(found.users, at), _with_margin(found.producers, at),
        )
        for at, item in enumerate(found.classes)
    ]  # fmt: skip
    unit = found.unit
    heads = ["Class", f"Mapped ({unit})", f"Adjusted ({unit})", "Interval", "User's accuracy", "Producer's accuracy"]
    foot = ("All", _area(float(found.mapped.sum())), _area(found.total), "", _with_margin(found.accuracy, 0), "")
    return (
        markup.table(heads, rows, foot)
        + f'<p class="how">{found.sample:,} sample units; the last row holds the overall accuracy.</p>'
    )


def _area(value: float) -> str:
    return f"{value:,.1f}"


def _interval(value: float, margin: float, mapped: float, most: float) -> str:
    """The estimate as a dot on a line, and what is mapped as a stroke."""
    width, height = _LINE
    margin = 0.0 if math.isnan(margin) else margin
    low, dot, high, stroke = (
        4 + (width - 8) * min(1.0, max(0.0, place / most)) for place in (value - margin, value, value + margin, mapped)
    )
    middle = height / 2
    return (
        f'<svg class="interval" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="adjusted area with its interval">'
        f'<line class="axis" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke-width="4"/>'
        f'<line class="mapped" x1="{stroke:.1f}" x2="{stroke:.1f}" y1="2" y2="{height - 2}" stroke-width="1.5"/>'
        f'<circle class="best" cx="{dot:.1f}" cy="{middle}" r="4.5"/></svg>'
    )


def _objects(assessment: Assessment) -> str:
    objects = assessment.objects
    if objects is None:
        return ""
    heads = [
        "Class", "Predicted", "Reference", "Matched at 0.5", "Precision", "Recall", "F1", "F1 0.5 to 0.95",
        "F1 by area", "Over-segm.", "Under-segm.",
    ]  # fmt: skip
    rows = [
        (markup.class_name(item), *_object_cells(scores))
        for item, scores in zip(objects.classes, objects.scores, strict=True)
    ]
    by_iou = objects.overall.f1
    steps = markup.table(
        ["IoU at least", *(f"{at:.2f}" for at in THRESHOLDS)],
        [("F1 of all", *(markup.score(float(value)) for value in by_iou))],
    )
    return markup.table(heads, rows, ("All", *_object_cells(objects.overall, bars=False))) + steps


def _object_cells(scores: ObjectScores, *, bars: bool = True) -> list[str]:
    show = markup.bar if bars else markup.score
    counts = [f"{count:,}" for count in (scores.predicted, scores.reference, int(scores.matched[0]))]
    shares = [scores.precision[0], scores.recall[0], scores.f1[0], float(scores.f1.mean()), scores.area_f1[0]]
    errors = [scores.over_segmentation[0], scores.under_segmentation[0]]
    return [*counts, *(show(float(value)) for value in shares), *(markup.score(float(value)) for value in errors)]


def _seams(assessment: Assessment) -> str:
    seams = assessment.seams
    if seams is None:
        return ""
    rows = [
        (f"Across borders of tiles of {seams.tile_size:,} px", f"{seams.pairs[0]:,}", f"{seams.at_borders:.4%}"),
        ("Elsewhere", f"{seams.pairs[1:].sum():,}", f"{seams.elsewhere:.4%}"),
    ]
    told = f"<p>Ratio {_number(seams.ratio, _TIMES)}, z-score {_signed(seams.z_score)}.</p>"
    return told + markup.table(["Pairs of neighbours", "Pairs", "Of two classes"], rows)


def _pictures(picture: Picture, classes: Sequence[LandClass]) -> str:
    both = (picture.predicted != NODATA) & (picture.reference != NODATA)
    agreement = np.zeros((*both.shape, 4), np.uint8)
    agreement[both] = (*_DIFFERS, 255)
    agreement[both & (picture.predicted == picture.reference)] = (*_AGREED, 255)
    shown = {
        "Predicted": paint_classes(picture.predicted, picture.predicted != NODATA, classes),
        "Reference": paint_classes(picture.reference, picture.reference != NODATA, classes),
        "Agreement, where both have a class": agreement,
    }  # fmt: skip
    figures = "".join(markup.figure(name, image) for name, image in shown.items())
    names = [(item.name, item.color) for item in classes]
    marks = [*names, ("agree", markup.hexadecimal(_AGREED)), ("differ", markup.hexadecimal(_DIFFERS))]
    less = f"Every {picture.step}th pixel of each row and column. " if picture.step > 1 else ""
    return f'<div class="pictures">{figures}</div>{markup.legend(marks)}<p class="how">{less}Blank: no class.</p>'
