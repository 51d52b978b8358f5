"""An evaluation as one HTML file: no script, nothing fetched, legible in light and dark and on paper."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.object_metrics import THRESHOLDS
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.area_estimation import Estimates
    from geounet.assessment import Assessment
    from geounet.classes import LandClass
    from geounet.evaluation import Picture
    from geounet.object_metrics import ObjectScores
    from geounet.pixel_metrics import Evaluation

    Colors = NDArray[np.uint8]

_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette (2008), which the colour-blind can tell apart."""
_AGREED, _DIFFERS = (176, 196, 210), _WRONG
_STRONGEST = 0.55
"""Opacity of a cell that holds all of its row: text must stay legible on it, in light and in dark."""
_NARROW = 8
"""Classes from which on the matrix' column heads stand upright."""
_NONE, _TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"
_LINE = 220, 18
"""Width and height of an interval's drawing, in CSS pixels."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2429; --soft: #5b6870; --line: #d9dfe3; --paper: #ffffff; --tint: #f4f6f7;
  --bar: #cfe1ee; --mark: #0072b2; --warn: #fdf3e7; --warnline: #d98a2b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ec; --soft: #9aa8b0; --line: #37434a; --paper: #14191c;
  --tint: #1c2327; --bar: #1f4560; --mark: #6bb7e8; --warn: #33270f; --warnline: #d98a2b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem; font-weight: 650; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .35rem; font-weight: 650; }
p { margin: .35rem 0 .9rem; max-width: 46rem; }
p.how, figcaption, footer { color: var(--soft); font-size: .9rem; }
dl.what { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1.5rem; }
dl.what dt { color: var(--soft); } dl.what dd { margin: 0; overflow-wrap: anywhere; }
ul.tiles { list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 0; padding: 0; }
ul.tiles li { background: var(--tint); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
ul.tiles b { display: block; font-size: 1.55rem; line-height: 1.25; font-weight: 600;
  font-variant-numeric: tabular-nums; }
ul.tiles span { color: var(--soft); font-size: .85rem; }
ul.notes { background: var(--warn); border-left: 4px solid var(--warnline); margin: 1.5rem 0 0;
  padding: .7rem 1rem .7rem 2rem; }
.wide { overflow-x: auto; } .wide + .wide { margin-top: 1.25rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .38rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--soft); font-weight: 550; vertical-align: bottom; white-space: normal;
  border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; } th:first-child { text-align: left; }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0; border-top: 2px solid var(--line); }
td.bar { background: linear-gradient(90deg, var(--bar) var(--share), transparent var(--share))
  no-repeat 0 50% / 100% 72%; }
i.swatch { display: inline-block; width: .85em; height: .85em; border-radius: .15em; margin-right: .45em;
  border: 1px solid color-mix(in srgb, var(--ink) 35%, transparent); vertical-align: -.06em; }
table.matrix { width: auto; } table.matrix td { border: 1px solid var(--paper); text-align: center; min-width: 4.2rem; }
table.matrix td.hit { font-weight: 600; }
table.matrix small { display: block; color: inherit; opacity: .75; font-size: .78em; }
table.matrix.many thead th.of { writing-mode: vertical-rl; text-align: left; padding: .5rem .3rem; }
table.matrix.many thead i.swatch { margin: 0 0 .45em; }
table.matrix.many td { min-width: 3rem; padding: .25rem .3rem; font-size: .85rem; }
svg.interval { vertical-align: middle; } svg.interval .axis { stroke: var(--line); }
svg.interval .range { stroke: var(--mark); }
svg.interval .best { fill: var(--mark); } svg.interval .mapped { stroke: var(--ink); }
div.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem;
  margin-top: .75rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; background: var(--tint);
  border: 1px solid var(--line); image-rendering: pixelated; }
figcaption { padding-top: .3rem; }
p.legend { max-width: none; font-size: .92rem; }
p.legend span { display: inline-block; margin-right: 1.1rem; white-space: nowrap; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .88rem; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #f4f6f7;
    --bar: #cfe1ee; --mark: #0072b2; --warn: #fdf3e7; }
  body { max-width: none; padding: 0; font-size: 10pt; } h2 { break-after: avoid; }
  tr, figure, ul.tiles li { break-inside: avoid; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; } table.matrix td { min-width: 0; }
  svg.interval { width: 110px; height: auto; }
  .wide { overflow: visible; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  div.pictures { grid-template-columns: repeat(3, 1fr); } ul.tiles { grid-template-columns: repeat(4, 1fr); } }
"""


def write_page(assessment: Assessment, out: Path) -> None:
    """Write the page to a file, which replaces what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(out) as draft:
        draft.write_text(page(assessment), encoding="utf-8")


def page(assessment: Assessment) -> str:
    """The whole page as HTML; it forbids the browser itself to fetch anything."""
    title = "Evaluation of " + _file(assessment.prediction)
    parts = [
        f"<h1>{escape(title)}</h1>",
        _sides(assessment),
        _tiles(_headline(assessment)),
        _notes(assessment.notes),
        *_sections(assessment),
        _origin(assessment),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _file(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _sides(assessment: Assessment) -> str:
    rows = {"Predicted": assessment.prediction, "Reference": assessment.reference}
    rows["Compared"] = f"{assessment.evaluation.pixels:,} {assessment.unit} that have a class on both sides"
    inner = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in rows.items())
    return f'<dl class="what">{inner}</dl>'


def _headline(assessment: Assessment) -> Iterator[tuple[str, str]]:
    """Numbers with what they are."""
    scores = assessment.evaluation
    if assessment.areas:
        accuracy = assessment.areas.accuracy
        yield _score(accuracy.value.item()), f"accuracy by area, ± {_score(accuracy.margin.item())} (95 %)"
    else:
        yield _score(scores.accuracy), "accuracy"
    yield _score(scores.mean_iou), "mean IoU"
    yield _score(scores.kappa), "Cohen's kappa"
    if assessment.boundary:
        yield _score(assessment.boundary.mean_iou), f"mean boundary IoU, {assessment.boundary.distance} px"
    if assessment.objects:
        overall = assessment.objects.overall
        yield _score(overall.f1[0]), "object F1 at IoU 0.5"
        yield _score(overall.f1.mean()), "object F1 over IoU 0.5 to 0.95"
    if assessment.seams:
        yield (
            _number(assessment.seams.ratio, _TIMES),
            f"changes at tile borders (z = {_signed(assessment.seams.z_score)})",
        )


def _tiles(items: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f"<li><b>{number}</b><span>{escape(text)}</span></li>" for number, text in items)
    return f'<ul class="tiles">{inner}</ul>'


def _notes(notes: Sequence[str]) -> str:
    inner = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{inner}</ul>' if notes else ""


def _sections(assessment: Assessment) -> Iterator[str]:
    if assessment.picture:
        yield _section("Where they differ", "", _pictures(assessment.picture, assessment.evaluation.classes))
    yield _section("Classes", _HOW["classes"], _classes(assessment))
    yield _section("Confusion matrix", _HOW["matrix"], _matrix(assessment.evaluation))
    if assessment.areas:
        yield _section("Accuracy and area by stratified estimation", _HOW["areas"], _areas(assessment))
    if assessment.objects:
        how = _HOW["objects"] + f" Areas and overlaps are those of {assessment.objects.plane}."
        yield _section("Objects", how, _objects(assessment))
    if assessment.seams:
        yield _section("Seams", _HOW["seams"], _seams(assessment))


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


def _section(title: str, how: str, content: str) -> str:
    told = f'<p class="how">{escape(how)}</p>' if how else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Cells are HTML; those that begin with `<td` are whole."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "".join(_row(row) for row in rows)
    feet = f"<tfoot>{_row(foot)}</tfoot>" if foot else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{feet}</table></div>'


def _row(cells: Sequence[str]) -> str:
    rest = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>'


def _name(item: LandClass) -> str:
    return f'<i class="swatch" style="background:{item.color}"></i>{escape(item.name)}'


def _bar(value: float) -> str:
    if math.isnan(value):
        return _NONE
    return f'<td class="bar" style="--share:{value:.1%}">{_score(value)}</td>'


def _score(value: float) -> str:
    return _NONE if math.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return _NONE if math.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float, unit: str = "") -> str:
    return f"{value:,.2f}{unit}" if math.isfinite(value) else _NONE


def _with_margin(estimates: Estimates, index: int, form: str = ".3f") -> str:
    value, margin = float(estimates.value.flat[index]), float(estimates.margin.flat[index])
    if math.isnan(value):
        return _NONE
    return f"{value:{form}} ± " + ("?" if math.isnan(margin) else f"{margin:{form}}")


def _classes(assessment: Assessment) -> str:
    scores, boundary = assessment.evaluation, assessment.boundary
    columns = [scores.iou, scores.f1, scores.precision, scores.recall, *([boundary.iou] if boundary else [])]
    heads = ["Class", "Value", "Reference", "Predicted", "IoU", "F1", "Precision", "Recall"]
    rows = [
        (
            _name(item),
            str(item.value),
            f"{scores.support[at]:,}",
            f"{scores.predicted[at]:,}",
            *(_bar(c[at]) for c in columns),
        )
        for at, item in enumerate(scores.classes)
    ]
    means = (_score(float(np.nanmean(c)) if not np.isnan(c).all() else math.nan) for c in columns)
    foot = ("All", "", f"{scores.pixels:,}", f"{scores.pixels:,}", *means)
    return _table([*heads, *([f"Boundary ({boundary.distance} px)"] if boundary else [])], rows, foot)


def _matrix(scores: Evaluation) -> str:
    many = len(scores.classes) > _NARROW
    heads = "".join(f'<th scope="col" class="of">{_name(item)}</th>' for item in scores.classes)
    rows = "".join(
        f'<tr><th scope="row">{_name(item)}</th>'
        + "".join(_cell(int(count), int(scores.support[at]), at == to) for to, count in enumerate(scores.matrix[at]))
        + f"<td>{scores.support[at]:,}</td></tr>"
        for at, item in enumerate(scores.classes)
    )
    corner = '<th scope="col">Reference ↓ Predicted →</th>'
    return (
        f'<div class="wide"><table class="matrix{" many" if many else ""}"><thead><tr>{corner}{heads}'
        f'<th scope="col">Sum</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(count: int, row: int, right: bool) -> str:
    share = count / row if row else 0.0
    red, green, blue = _RIGHT if right else _WRONG
    color = f"rgba({red},{green},{blue},{share * _STRONGEST:.3f})"
    text = f"{share:.1%}<small>{count:,}</small>" if row else _NONE
    return f'<td class="{"hit" if right else "miss"}" style="background:{color}">{text}</td>'


def _areas(assessment: Assessment) -> str:
    found = assessment.areas
    if found is None:
        return ""
    most = float(np.nanmax([*(found.area.value + np.nan_to_num(found.area.margin)), *found.mapped, 1e-12]))
    rows = [
        (
            _name(item), _area(found.mapped[at]), _with_margin(found.area, at, ",.1f"),
            _interval(float(found.area.value[at]), float(found.area.margin[at]), float(found.mapped[at]), most),
            _with_margin(found.users, at), _with_margin(found.producers, at),
        )
        for at, item in enumerate(found.classes)
    ]  # fmt: skip
    unit = found.unit
    heads = ["Class", f"Mapped ({unit})", f"Adjusted ({unit})", "Interval", "User's accuracy", "Producer's accuracy"]
    foot = ("All", _area(float(found.mapped.sum())), _area(found.total), "", _with_margin(found.accuracy, 0), "")
    return (
        _table(heads, rows, foot)
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
    rows = [(_name(item), *_object_cells(scores)) for item, scores in zip(objects.classes, objects.scores, strict=True)]
    by_iou = objects.overall.f1
    steps = _table(
        ["IoU at least", *(f"{at:.2f}" for at in THRESHOLDS)],
        [("F1 of all", *(_score(float(value)) for value in by_iou))],
    )
    return _table(heads, rows, ("All", *_object_cells(objects.overall, bars=False))) + steps


def _object_cells(scores: ObjectScores, *, bars: bool = True) -> list[str]:
    show = _bar if bars else _score
    counts = [f"{count:,}" for count in (scores.predicted, scores.reference, int(scores.matched[0]))]
    shares = [scores.precision[0], scores.recall[0], scores.f1[0], float(scores.f1.mean()), scores.area_f1[0]]
    errors = [scores.over_segmentation[0], scores.under_segmentation[0]]
    return [*counts, *(show(float(value)) for value in shares), *(_score(float(value)) for value in errors)]


def _seams(assessment: Assessment) -> str:
    seams = assessment.seams
    if seams is None:
        return ""
    rows = [
        (f"Across borders of tiles of {seams.tile_size:,} px", f"{seams.pairs[0]:,}", f"{seams.at_borders:.4%}"),
        ("Elsewhere", f"{seams.pairs[1:].sum():,}", f"{seams.elsewhere:.4%}"),
    ]
    told = f"<p>Ratio {_number(seams.ratio, _TIMES)}, z-score {_signed(seams.z_score)}.</p>"
    return told + _table(["Pairs of neighbours", "Pairs", "Of two classes"], rows)


def _pictures(picture: Picture, classes: Sequence[LandClass]) -> str:
    table = np.zeros((NODATA + 1, 4), np.uint8)
    table[:NODATA] = (128, 128, 128, 255)
    for item in classes:
        table[item.value, :3] = item.rgb
    both = (picture.predicted != NODATA) & (picture.reference != NODATA)
    agreement = np.zeros((*both.shape, 4), np.uint8)
    agreement[both] = (*_DIFFERS, 255)
    agreement[both & (picture.predicted == picture.reference)] = (*_AGREED, 255)
    shown = {
        "Predicted": table[picture.predicted], "Reference": table[picture.reference],
        "Agreement, where both have a class": agreement,
    }  # fmt: skip
    figures = "".join(
        f'<figure><img alt="{escape(name)}" src="{_png(image)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, image in shown.items()
    )
    marks = [*((item.name, item.color) for item in classes), ("agree", _hex(_AGREED)), ("differ", _hex(_DIFFERS))]
    legend = "".join(
        f'<span><i class="swatch" style="background:{color}"></i>{escape(name)}</span>' for name, color in marks
    )
    less = f"Every {picture.step}th pixel of each row and column. " if picture.step > 1 else ""
    return (
        f'<div class="pictures">{figures}</div><p class="legend">{legend}</p><p class="how">{less}Blank: no class.</p>'
    )


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _png(image: Colors) -> str:
    """Red, green, blue and alpha, `(rows, columns, 4)`, as a URL that holds it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _origin(assessment: Assessment) -> str:
    command = f"<h2>Command</h2><pre>{escape(assessment.command)}</pre>" if assessment.command else ""
    versions = ", ".join(f"{escape(name)} {escape(number)}" for name, number in assessment.versions.items())
    return f"{command}<footer>{versions}</footer>"
