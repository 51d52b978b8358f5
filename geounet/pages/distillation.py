"""A student beside its teachers as one HTML file; see markup.py for what all pages have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geounet.outputs import atomic
from geounet.pages import markup
from geounet.pages.training import curves, patch_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geounet.pages.judging import Agreement, Judgement
    from geounet.pages.review import Review


@dataclass(frozen=True, slots=True, eq=False)
class Distillation:
    """What is to be known of a student."""

    review: Review
    """Its training; the reference is what the teachers say."""
    judgement: Judgement | None
    """On what was held back; None where nothing was."""
    speed: float
    """Megapixels a second of its network, on this machine."""
    teaching_speed: float
    """The same of its teachers, all together."""


_HOW = {
    "agreement": (
        "On ground that was held back. IoU: pixels that are so to both over those that are so to either. Outlines: F1 "
        "of the pixels within {} of another class (Cheng et al. 2021)."
    ),
    "labels": (
        "IoU of each with the labels on ground that was held back, on the pixels that both know; in brackets the F1 of "
        "the outlines."
    ),
    "worst": "By mean IoU with the teachers over the classes that a patch has, the lowest first.",
    "curves": "By epoch; the broken upright line is the epoch that the model file holds.",
}


def write_distillation_page(told: Distillation, out: Path) -> None:
    """Write the page to a file, which replaces what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    review = told.review
    parts = [
        markup.facts({"Model": review.model, **review.facts}),
        markup.tiles(_headline(told)),
        markup.remarks(review.notes),
        *_sections(told),
        markup.origin(review.card.command, review.card.versions),
    ]
    with atomic(out) as draft:
        text = markup.document("Student " + markup.file_name(review.model) + " and its teachers", parts)
        draft.write_text(text, encoding="utf-8")


def _headline(told: Distillation) -> Iterator[tuple[str, str]]:
    if told.judgement is not None:
        found = told.judgement.agreement
        yield f"{found.pixels.accuracy:.1%}", "of the pixels are of the teachers' class"
        yield markup.score(found.pixels.mean_iou), "mean IoU with the teachers"
        yield markup.score(found.boundary.mean_f1), "F1 of the outlines"
    times = "\N{MULTIPLICATION SIGN}"
    yield f"{told.speed / told.teaching_speed:.1f}{times}", "as fast as the teachers"
    yield f"{told.speed:.2f}", f"Mpx/s of the network in float32 here; the teachers {told.teaching_speed:.2f}"


def _sections(told: Distillation) -> Iterator[str]:
    review, judged = told.review, told.judgement
    if judged is not None:
        how = _HOW["agreement"].format(f"{judged.agreement.boundary.distance} pixels")
        yield markup.section("Agreement by class", how, _agreement(judged.agreement))
        yield markup.section("Confusion matrix", "Rows are the teachers.", markup.matrix(judged.agreement.pixels))
    if judged is not None and judged.student is not None and judged.teacher is not None:
        yield markup.section("Both beside the labels", _HOW["labels"], _beside(judged.student, judged.teacher))
    yield markup.section("Curves", _HOW["curves"], curves(review))
    if review.worst:
        shown = patch_rows(review.worst, review.card.classes, reference="Teachers", predicted="Student")
        yield markup.section("Where they differ most", _HOW["worst"], shown)


def _agreement(found: Agreement) -> str:
    scores, boundary = found.pixels, found.boundary
    rows = [
        (markup.class_name(item), f"{scores.support[at]:,}", markup.bar(scores.iou[at]), markup.bar(boundary.f1[at]))
        for at, item in enumerate(scores.classes)
    ]
    foot = ("All", f"{scores.pixels:,}", markup.mean_score(scores.iou), markup.mean_score(boundary.f1))
    return markup.table(["Class", "Pixels", "IoU", "Outlines"], rows, foot)


def _beside(student: Agreement, teacher: Agreement) -> str:
    rows = [
        (markup.class_name(item), f"{student.pixels.support[at]:,}", _both(student, at), _both(teacher, at))
        for at, item in enumerate(student.pixels.classes)
    ]
    means = [
        f"{markup.score(side.pixels.mean_iou)} ({markup.score(side.boundary.mean_f1)})" for side in (student, teacher)
    ]
    return markup.table(
        ["Class", "Labelled pixels", "Student", "Teachers"], rows, ("All", f"{student.pixels.pixels:,}", *means)
    )


def _both(side: Agreement, at: int) -> str:
    return f"{markup.score(float(side.pixels.iou[at]))} ({markup.score(float(side.boundary.f1[at]))})"
