"""A training as one HTML file; see markup.py for what all pages have in common."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from geounet.classes import NODATA
from geounet.outputs import atomic
from geounet.pages import markup
from geounet.pages.charts import Ground, Line, footprint_map, line_chart
from geounet.pages.pictures import paint_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.metrics.pixels import Evaluation
    from geounet.pages.review import PatchView, Review

_TRAINING, _VALIDATION = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette (2008)."""
_SECONDS = 60
_RARE = 1e-3
_COLORS = (markup.hexadecimal(_TRAINING), markup.hexadecimal(_VALIDATION))


def write_training_page(review: Review, out: Path) -> None:
    """Write the page to a file, which replaces what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(out) as draft:
        draft.write_text(training_page(review), encoding="utf-8")


def training_page(review: Review) -> str:
    """The whole page as HTML."""
    scores = review.evaluation
    parts = [
        markup.facts({"Model": review.model, **review.facts}),
        markup.tiles(_headline(review, scores)),
        markup.remarks([*review.notes, *_concerns(review, scores)]),
        *_sections(review, scores),
        markup.origin(review.card.command, review.card.versions),
    ]
    return markup.document("Training of " + markup.file_name(review.model), parts)


def _headline(review: Review, scores: Evaluation | None) -> Iterator[tuple[str, str]]:
    chosen, last = review.chosen, review.history[-1] if review.history else None
    if scores is not None:
        yield markup.score(scores.mean_iou), "mean IoU on validation"
        yield markup.score(scores.accuracy), "accuracy on validation"
    if chosen is not None and last is not None:
        yield str(chosen.epoch), f"epoch that was kept, of {last.epoch}"
        yield _duration(last.seconds), "of training"


def _duration(seconds: float) -> str:
    if seconds < _SECONDS:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _SECONDS)
    return f"{minutes} min" if minutes < 2 * _SECONDS else f"{minutes // _SECONDS} h {minutes % _SECONDS} min"


def _concerns(review: Review, scores: Evaluation | None) -> Iterator[str]:
    """What the numbers themselves warn of."""
    if scores is None:
        yield "Nothing was validated: how good this model is on other ground is not known. Its last epoch was kept."
        return
    for item, support in zip(review.card.classes, scores.support, strict=True):
        share = support / max(1, scores.pixels)
        if not support:
            yield f"No validation label is of class {item.name}: nothing here says how well it is found."
        elif share < _RARE:
            yield (
                f"Class {item.name} is {support:,} of {scores.pixels:,} validation pixels ({share:.2%}): its scores "
                "rest on little."
            )
    lost = [item.name for item, count in zip(scores.classes, scores.predicted, strict=True) if not count]
    if lost:
        yield f"No pixel is predicted as {' or '.join(lost)}: the network has not learnt to find it."
    chosen = review.chosen
    if chosen is not None and chosen.epoch == review.history[-1].epoch > 1:
        yield "The last epoch was the best one: longer training may be better still."


def _sections(review: Review, scores: Evaluation | None) -> Iterator[str]:
    yield markup.section("Curves", _HOW["curves"], curves(review))
    if scores is not None:
        yield markup.section("Classes on validation", _HOW["classes"], _classes(scores))
        yield markup.section("Confusion matrix on validation", _HOW["matrix"], markup.matrix(scores))
    if review.worst:
        yield markup.section("Worst validation patches", _HOW["worst"], patch_rows(review.worst, review.card.classes))
    if review.best:
        yield markup.section("Best validation patches", _HOW["best"], patch_rows(review.best, review.card.classes))
    yield markup.section("Class balance", _HOW["balance"], _balance(review, scores))
    yield markup.section("Where the data are", "", _map(review))


_HOW = {
    "curves": (
        "By epoch; the broken upright line is the epoch that the model file holds. A validation loss that rises while "
        "the training loss falls says that the network learns its training images by heart."
    ),
    "classes": (
        "IoU: pixels that are so on both sides over those that are so on either. Precision: share of what is predicted "
        "that is right. Recall: share of the reference that is found. F1: their harmonic mean. All at the epoch that "
        "was kept. Since it was chosen by these scores, they flatter a little: keep other ground apart for a last test."
    ),
    "matrix": (
        "Rows are the reference, columns the prediction; each row adds up to 100 %, with the counts below. Blue is "
        "right, orange is wrong."
    ),
    "worst": "By mean IoU over the classes that a patch has, the lowest first. Often the labels are to blame: look.",
    "best": "By the same measure, the highest first, of patches with more than one class where there are such.",
    "balance": "Valid labelled pixels. A class that is rare in training and common in validation will score low.",
}


def curves(review: Review) -> str:
    """Loss, IoU and learning rate by epoch."""
    mark = review.chosen.epoch if review.chosen and len(review.history) > 1 else None
    history = review.history
    losses = [
        Line("training", _COLORS[0], tuple(result.loss for result in history)),
        Line("validation", _COLORS[1], tuple(result.validation_loss for result in history)),
    ]
    per_class = zip(*(result.iou or (math.nan,) * len(review.card.classes) for result in history), strict=True)
    ious = [
        *(Line(item.name, item.color, values) for item, values in zip(review.card.classes, per_class, strict=True)),
        Line("mean", "var(--ink)", tuple(result.mean_iou for result in history), dashed=True),
    ]
    rates = [Line("learning rate", "var(--mark)", tuple(result.learning_rate for result in history))]
    charts = (
        _chart("Loss", losses, mark),
        _chart("IoU on validation", ious, mark, 1.0),
        _chart("Learning rate", rates, mark),
    )
    return f'<div class="charts">{"".join(charts)}</div>'


def _chart(title: str, lines: Sequence[Line], mark: int | None, most: float | None = None) -> str:
    drawn = [line for line in lines if any(math.isfinite(value) for value in line.values)]
    chart = line_chart(drawn, label=title, across="epoch", mark=mark, most=most)
    named = markup.legend((line.name, line.color) for line in drawn) if len(drawn) > 1 else ""
    return f"<div><h3>{escape(title)}</h3>{chart}{named}</div>" if chart else ""


def _classes(scores: Evaluation) -> str:
    columns = [scores.iou, scores.f1, scores.precision, scores.recall]
    rows = [
        (markup.class_name(item), str(item.value), f"{scores.support[at]:,}", *(markup.bar(c[at]) for c in columns))
        for at, item in enumerate(scores.classes)
    ]
    foot = ("All", "", f"{scores.pixels:,}", *(markup.mean_score(c) for c in columns))
    return markup.table(["Class", "Value", "Pixels", "IoU", "F1", "Precision", "Recall"], rows, foot)


def patch_rows(
    patches: Sequence[PatchView],
    classes: Sequence[LandClass],
    *,
    reference: str = "Reference",
    predicted: str = "Predicted",
) -> str:
    """Patches below each other, each with its image, its reference and what was predicted, under these names."""
    rows = "".join(_patch(patch, classes, reference, predicted) for patch in patches)
    return rows + markup.legend((item.name, item.color) for item in classes)


def _patch(patch: PatchView, classes: Sequence[LandClass], reference: str, predicted: str) -> str:
    window = patch.window
    where = f"{markup.file_name(patch.scene)}, row {window.row:,}, column {window.col:,}"
    shown = {
        "Image": patch.image,
        reference: paint_classes(patch.reference, patch.reference != NODATA, classes),
        predicted: paint_classes(patch.predicted, patch.predicted != NODATA, classes),
    }
    figures = "".join(markup.figure(f"{name} of {where}", image, name) for name, image in shown.items())
    return f'<h3>{escape(where)}: mean IoU {markup.score(patch.mean_iou)}</h3><div class="pictures">{figures}</div>'


def _balance(review: Review, scores: Evaluation | None) -> str:
    classes = review.card.classes
    trained = review.counts[[item.value for item in classes]]
    columns = {"Training": trained} | ({} if scores is None else {"Validation": scores.support})
    heads = ["Class", *(head for name in columns for head in (f"{name}, pixels", f"{name}, share"))]
    rows = [
        (markup.class_name(item), *(cell for counts in columns.values() for cell in _share(counts, at)))
        for at, item in enumerate(classes)
    ]
    without = int(review.counts[NODATA])
    told = f'<p class="how">{without:,} valid training pixels are unlabelled and count nowhere.</p>' if without else ""
    return markup.table(heads, rows) + told


def _share(counts: NDArray[np.int64], at: int) -> tuple[str, str]:
    share = float(counts[at] / max(1, counts.sum()))
    return f"{counts[at]:,}", f'<td class="bar" style="--share:{share:.1%}">{share:.1%}</td>'


def _map(review: Review) -> str:
    colors = dict(zip(("training", "validation"), _COLORS, strict=True))
    grounds = [Ground(part.name, colors[part.name], part.outlines) for part in review.footprints]
    drawn = footprint_map(grounds)
    if not drawn:
        return "<p>The images have no georeference, so there is no map to draw.</p>"
    named = ((f"{ground.name} ({len(ground.outlines)})", ground.color) for ground in grounds)
    return drawn + markup.legend(named)
