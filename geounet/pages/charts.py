"""Charts and maps of the HTML pages, as SVG in the text: in the page's own colours, light or dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

_WIDTH, _HEIGHT = 640, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 12, 40
_TICKS = 6
_TALLEST = 520
"""Pixels: of a map, however far it reaches from north to south."""
_LEAST = 7
"""Pixels across a footprint below which its place is marked by a ring as well."""
_EARTH = 6371.0
"""Mean radius in kilometres: a map's scale bar needs no better."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart."""

    name: str
    """What it shows."""
    color: str
    """Of CSS."""
    values: tuple[float, ...]
    """At 1, 2, 3 and so on; NaN where there is none."""
    dashed: bool = False
    """Whether it is broken."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Footprints that are drawn alike."""

    name: str
    """What they have in common."""
    color: str
    """Of CSS."""
    outlines: tuple[BaseGeometry, ...]
    """Polygons in longitude and latitude, degrees."""


def line_chart(
    lines: Sequence[Line], *, label: str, across: str, mark: int | None = None, most: float | None = None
) -> str:
    """Curves over 1, 2, 3 and so on; nothing where no curve has a value.

    Args:
        lines: the curves.
        label: what they measure, on the upright axis, which begins at 0 or at the lowest value below it.
        across: what is counted.
        mark: a place to mark with an upright line.
        most: where the upright axis ends; by default with the highest value.
    """
    heights = [value for line in lines for value in line.values if math.isfinite(value)]
    if not heights:
        return ""
    count = max(len(line.values) for line in lines)
    low, high = min(0.0, *heights), max(heights) if most is None else most
    scale_x = _Scale(min(1, count - 1), count, _LEFT, _WIDTH - _RIGHT)
    scale_y = _Scale(low, high if high > low else low + 1, _HEIGHT - _BOTTOM, _TOP)
    marked = "" if mark is None else _upright(scale_x(mark), "at", _TOP, _HEIGHT - _BOTTOM)
    parts = [
        *(_grid_row(scale_y(value), _number(value)) for value in _ticks(low, scale_y.high)),
        *(_tick_below(scale_x(value), f"{value:g}") for value in _ticks(scale_x.low, count) if value.is_integer()),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across, "middle"),
        marked,
        *(_curve(line, scale_x, scale_y) for line in lines),
    ]
    return _svg(_HEIGHT, label, parts)


def histogram(counts: Sequence[int], edges: Sequence[str], *, label: str, across: str) -> str:
    """Upright bars, side by side; nothing where all are empty.

    Args:
        counts: how many there are in each bin.
        edges: what stands below the bins' edges, one more than there are bins; empty for nothing.
        label: what is counted.
        across: what the bins divide.
    """
    if not any(counts):
        return ""
    scale_y = _Scale(0.0, float(max(counts)), _HEIGHT - _BOTTOM, _TOP)
    scale_x = _Scale(0.0, float(len(counts)), _LEFT, _WIDTH - _RIGHT)
    parts = [
        *(_grid_row(scale_y(value), f"{value:,.0f}") for value in _ticks(0.0, scale_y.high) if value.is_integer()),
        *(_tick_below(scale_x(place), text) for place, text in enumerate(edges) if text and place < len(counts)),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, across, "middle"),
        *(_upright_bar(scale_x, scale_y, place, count, edges) for place, count in enumerate(counts) if count),
    ]
    return _svg(_HEIGHT, label, parts)


def _upright_bar(scale_x: _Scale, scale_y: _Scale, place: int, count: int, edges: Sequence[str]) -> str:
    left, top = scale_x(place) + 1, scale_y(count)
    told = f"{edges[place]} to {edges[place + 1]}: {count:,}" if edges[place] and edges[place + 1] else f"{count:,}"
    size = f'width="{scale_x(place + 1) - left - 1:.1f}" height="{scale_y(0) - top:.1f}"'
    return f'<rect x="{left:.1f}" y="{top:.1f}" {size} style="fill:var(--mark)"><title>{escape(told)}</title></rect>'


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two."""
    from matplotlib.ticker import MaxNLocator

    values = MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    room = 1e-9 * (high - low)
    return [float(value) for value in values if low - room <= value <= high + room]


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _curve(line: Line, scale_x: _Scale, scale_y: _Scale) -> str:
    """Interrupted where there is no value; a value between two gaps is a dot."""
    path, dots = "", ""
    for index, value in enumerate(line.values):
        if not math.isfinite(value):
            continue
        at = f"{scale_x(index + 1):.1f} {min(max(scale_y(value), _TOP), _HEIGHT - _BOTTOM):.1f}"
        before, after = (_finite(line.values, index + step) for step in (-1, 1))
        path += ("L" if before else "M") + at
        if not before and not after:
            x, y = at.split()
            dots += f'<circle cx="{x}" cy="{y}" r="3.5" style="fill:{line.color}"/>'
    dash = ";stroke-dasharray:5 4" if line.dashed else ""
    return (
        f'<path d="{path}" style="stroke:{line.color};stroke-width:2{dash}"><title>{escape(line.name)}</title></path>'
        + dots
    )


def _finite(values: Sequence[float], index: int) -> bool:
    return 0 <= index < len(values) and math.isfinite(values[index])


def footprint_map(grounds: Sequence[Ground]) -> str:
    """Footprints on a plain map: north is up, as long to the east as to the north at the middle's latitude.

    Args:
        grounds: drawn in their order; with none of them, nothing is returned.
    """
    shapes = [shape for ground in grounds for shape in ground.outlines if not shape.is_empty]
    if not shapes:
        return ""
    west, south, east, north = _frame(shapely.total_bounds(np.array(shapes)))
    shrink = math.cos(math.radians((south + north) / 2))
    aspect = (north - south) / ((east - west) * shrink)
    inner = _WIDTH - _LEFT - _RIGHT
    tall = min(inner * aspect, _TALLEST - _TOP - _BOTTOM)
    left = _LEFT + (inner - tall / aspect) / 2
    across = _Scale(west, east, left, left + tall / aspect)
    down = _Scale(north, south, _TOP, _TOP + tall)
    height = round(_TOP + tall + _BOTTOM + 16)
    parts = [
        *(_grid_row(down(value), _degrees(value, "NS"), left, across.stop) for value in _ticks(south, north)),
        *(_grid_column(across(value), _degrees(value, "EW"), _TOP, down.stop) for value in _ticks(west, east)),
        *(_outline(shape, ground, across, down) for ground in grounds for shape in ground.outlines),
        _scale_bar(across, math.radians(1) * _EARTH * shrink, height - 10),
    ]
    return _svg(height, "map of the footprints", parts)


def _frame(bounds: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """A twentieth wider on each side, and never so narrow in one direction that there is nothing to see."""
    west, south, east, north = bounds.tolist()
    margin = max(east - west, north - south, 1e-6)
    wide, tall = (max(length * 0.05, margin * 0.02) for length in (east - west, north - south))
    lengthen = [max(0.0, margin * 0.25 - length) / 2 for length in (east - west, north - south)]
    wide, tall = wide + lengthen[0], tall + lengthen[1]
    return west - wide, max(-90.0, south - tall), east + wide, min(90.0, north + tall)


def _degrees(value: float, signs: str) -> str:
    return f"{abs(value):.6g}° {signs[value < 0]}" if value else "0°"


def _outline(shape: BaseGeometry, ground: Ground, across: _Scale, down: _Scale) -> str:
    """Filled, half transparent, so that what lies below shows; a ring around what would be too small to see."""
    style = f"stroke:{ground.color};fill:{ground.color};fill-opacity:.25;stroke-width:1.5"
    path = "".join(_ring(ring, across, down) for ring in shapely.get_rings(shapely.get_parts(shape)))
    west, south, east, north = shape.bounds
    small = max(across(east) - across(west), down(south) - down(north)) < _LEAST
    x, y = across((west + east) / 2), down((south + north) / 2)
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" style="stroke:{ground.color};fill:none"/>' if small else ""
    return f'<path d="{path}" style="{style}" fill-rule="evenodd"><title>{escape(ground.name)}</title></path>{ring}'


def _ring(ring: BaseGeometry, across: _Scale, down: _Scale) -> str:
    points = shapely.get_coordinates(ring)
    return "M" + "L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in points[:-1].tolist()) + "Z"


def _scale_bar(across: _Scale, kilometres: float, y: float) -> str:
    """A round length of at most a third of the map's width; `kilometres` is that of a degree."""
    from geounet.pages.pictures import scale_bar_metres

    metres = scale_bar_metres((across.high - across.low) * kilometres * 1000)
    length = metres / 1000 / kilometres / (across.high - across.low) * (across.stop - across.start)
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"  # noqa: PLR2004
    start = across.start
    bar = f'<path d="M{start:.1f} {y}H{start + length:.1f}" style="stroke:var(--ink);stroke-width:4"/>'
    return bar + _text(start + length + 8, y + 4, label, "start")


def _grid_row(y: float, label: str, left: float = _LEFT, right: float = _WIDTH - _RIGHT) -> str:
    line = f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(left - 6, y + 4, label, "end")


def _grid_column(x: float, label: str, top: float, bottom: float) -> str:
    return _upright(x, "grid", top, bottom) + _text(x, bottom + 16, label, "middle")


def _tick_below(x: float, label: str) -> str:
    return _text(x, _HEIGHT - _BOTTOM + 16, label, "middle")


def _upright(x: float, kind: str, top: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )
