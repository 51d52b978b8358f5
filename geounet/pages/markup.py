"""What the HTML pages are made of: one file each, nothing fetched, legible in light, in dark, on paper."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.metrics.pixels import Evaluation

    Colors = NDArray[np.uint8]

ENDINGS = (".html", ".htm")
"""What a page's name ends in, see :func:`geounet.outputs.check_ending`."""
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion of Okabe and Ito's palette (2008), which the colour-blind can tell apart."""
NONE = "\N{EN DASH}"
"""In the place of a number that there is not."""
_STRONGEST = 0.55
"""Opacity of a cell that holds all of its row: text must stay legible on it, in light and in dark."""
_NARROW = 8
"""Classes from which on the matrix' column heads stand upright."""

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
svg.chart { display: block; width: 100%; max-width: 46rem; height: auto; margin: .5rem 0 .25rem; font-size: 12px; }
svg.chart text { fill: var(--soft); } svg.chart .grid { stroke: var(--line); } svg.chart path { fill: none; }
svg.chart .at { stroke: var(--soft); stroke-dasharray: 3 3; }
div.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: .5rem 1.5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .1rem; font-weight: 600; }
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


def document(title: str, parts: Iterable[str], scripts: Sequence[str] = (), style: str = "") -> str:
    """A whole page of parts in HTML, below its title; it forbids the browser itself to fetch anything.

    Args:
        title: the page's.
        parts: HTML, one below the other.
        scripts: JavaScript that is run at the end of the page; without any the browser runs none.
        style: more CSS.
    """
    # BokehJS makes functions of texts.
    allowed = "script-src 'unsafe-inline' 'unsafe-eval'; " if scripts else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"{allowed}style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "".join(f"\n<script>{script}</script>" for script in scripts)
        + "\n</body>\n</html>\n"
    )


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def facts(rows: Mapping[str, str]) -> str:
    """What is said in a word or a sentence, each under its name."""
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows.items())
    return f'<dl class="what">{inner}</dl>'


def tiles(items: Iterable[tuple[str, str]]) -> str:
    """Numbers in large type, each with what it is."""
    inner = "".join(f"<li><b>{value}</b><span>{escape(text)}</span></li>" for value, text in items)
    return f'<ul class="tiles">{inner}</ul>'


def remarks(sentences: Sequence[str]) -> str:
    """Sentences that must not be overlooked; nothing where there is none."""
    inner = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notes">{inner}</ul>' if sentences else ""


def section(title: str, how: str, content: str) -> str:
    """HTML under a heading and, if there is any, a paragraph on how to read it."""
    told = f'<p class="how">{escape(how)}</p>' if how else ""
    return f"<section><h2>{escape(title)}</h2>{told}{content}</section>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """Cells are HTML; those that begin with `<td` are whole."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "".join(_row(row) for row in rows)
    feet = f"<tfoot>{_row(foot)}</tfoot>" if foot else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{feet}</table></div>'


def _row(cells: Sequence[str]) -> str:
    rest = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>'


def class_name(item: LandClass) -> str:
    """A class by its colour and name."""
    return swatch(item.name, item.color)


def swatch(name: str, color: str) -> str:
    """A square of a colour, and what it stands for."""
    return f'<i class="swatch" style="background:{color}"></i>{escape(name)}'


def legend(marks: Iterable[tuple[str, str]]) -> str:
    """Names, each after its colour."""
    inner = "".join(f"<span>{swatch(name, color)}</span>" for name, color in marks)
    return f'<p class="legend">{inner}</p>'


def bar(value: float) -> str:
    """A cell that is filled as far as the score goes."""
    if math.isnan(value):
        return NONE
    return f'<td class="bar" style="--share:{value:.1%}">{score(value)}</td>'


def score(value: float) -> str:
    """A number between 0 and 1."""
    return NONE if math.isnan(value) else f"{value:.3f}"


def mean_score(values: NDArray[np.float64]) -> str:
    """The mean of the scores that there are."""
    return score(float(np.nanmean(values)) if not np.isnan(values).all() else math.nan)


def matrix(scores: Evaluation) -> str:
    """A confusion matrix as a table: shares of each row, with the counts below."""
    many = len(scores.classes) > _NARROW
    heads = "".join(f'<th scope="col" class="of">{class_name(item)}</th>' for item in scores.classes)
    rows = "".join(
        f'<tr><th scope="row">{class_name(item)}</th>'
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
    red, green, blue = RIGHT if right else WRONG
    color = f"rgba({red},{green},{blue},{share * _STRONGEST:.3f})"
    text = f"{share:.1%}<small>{count:,}</small>" if row else NONE
    return f'<td class="{"hit" if right else "miss"}" style="background:{color}">{text}</td>'


def figure(alternative: str, image: Colors, caption: str = "") -> str:
    """A picture `(rows, columns, 4)`, red, green, blue and alpha, with a line of HTML below it."""
    below = f"<figcaption>{caption or escape(alternative)}</figcaption>"
    return f'<figure><img alt="{escape(alternative)}" src="{png_url(image)}">{below}</figure>'


def png_url(image: Colors) -> str:
    """The picture as a URL that holds it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def hexadecimal(rgb: tuple[int, int, int]) -> str:
    """A colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def origin(command: str, versions: Mapping[str, str]) -> str:
    """How a page came about: the command, if it is known, and what ran."""
    told = f"<h2>Command</h2><pre>{escape(command)}</pre>" if command else ""
    named = ", ".join(f"{escape(name)} {escape(number)}" for name, number in versions.items())
    return f"{told}<footer>{named}</footer>"
