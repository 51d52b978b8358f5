"""A map in a page, by Bokeh: scene, classes, confidence and polygons as layers (https://docs.bokeh.org).

The page's own controls, which stand in plain HTML, switch classes, set opacities and move the view; so they follow the
page's colours, and the keyboard reaches them.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.errors import OutputError
from geounet.pages.markup import png_url, swatch
from geounet.pages.plane import NODATA, rings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.pages.plane import Plane
    from geounet.raster.scene import Scene

_VALUES = 256
_LINES = 40
"""Percent: how opaque outlines are at first."""
_HOVER_CLASS = "return names[value] === undefined ? 'no data' : names[value]"
_HOVER_SHARE = "return value === 255 ? 'none' : (value / 254 * 100).toFixed(0) + ' %'"

STYLE = """
#map { height: 34rem; max-height: 80vh; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; }
fieldset { border: 1px solid var(--line); border-radius: .4rem; margin: .6rem 0; padding: .4rem .8rem .6rem; }
legend { color: var(--soft); font-size: .9rem; padding: 0 .3rem; }
.controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0 1rem; }
.controls label { display: flex; align-items: center; gap: .5rem; padding: .15rem 0; }
.controls input[type=range] { flex: 1; min-width: 5rem; accent-color: var(--mark); }
.controls label span { min-width: 6rem; }
.classes { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; }
.classes label { display: inline-flex; align-items: center; gap: .35rem; }
button { font: inherit; color: var(--ink); background: var(--tint); border: 1px solid var(--line);
  border-radius: .35rem; padding: .25rem .7rem; cursor: pointer; }
button:hover { border-color: var(--mark); }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 1px; }
div.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; }
div.places button { padding: .35rem; text-align: left; }
div.places img { width: 100%; display: block; image-rendering: pixelated; margin-bottom: .3rem; }
"""

_SCRIPT = """
(function () {
  const layers = {}, whole = WHOLE;
  let plot, lines = LINES;
  function bokeh() { return Bokeh.documents[0]; }
  function find() {
    plot = bokeh().get_model_by_name('plot');
    for (const name of ['scene', 'classes', 'confidence', 'polygons']) {
      const found = bokeh().get_model_by_name(name);
      if (found) layers[name] = found;
    }
    recolor();
    view(...whole);
    document.documentElement.dataset.ready = 'yes';
  }
  function view(x0, y0, x1, y1) {
    // As long to the right as upward on the ground, whatever the shape of the frame.
    const wide = plot.inner_width || 1, tall = plot.inner_height || 1;
    const unit = Math.max((x1 - x0) / wide, (y1 - y0) * ASPECT / tall);
    const cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
    plot.x_range.setv({start: cx - unit * wide / 2, end: cx + unit * wide / 2});
    plot.y_range.setv({start: cy - unit * tall / 2 / ASPECT, end: cy + unit * tall / 2 / ASPECT});
  }
  function zoom(factor) {
    const x = plot.x_range, y = plot.y_range;
    const cx = (x.start + x.end) / 2, cy = (y.start + y.end) / 2;
    const from = [cx + (x.start - cx) * factor, cy + (y.start - cy) * factor];
    view(...from, cx + (x.end - cx) * factor, cy + (y.end - cy) * factor);
  }
  function pan(across, up) {
    const x = plot.x_range, y = plot.y_range;
    const dx = (x.end - x.start) * across, dy = (y.end - y.start) * up;
    view(x.start + dx, y.start + dy, x.end + dx, y.end + dy);
  }
  function recolor() {
    const soft = getComputedStyle(document.documentElement).getPropertyValue('--soft').trim();
    for (const axis of [...plot.below, ...plot.left]) {
      axis.major_label_text_color = soft; axis.axis_line_color = soft;
      axis.major_tick_line_color = soft; axis.minor_tick_line_color = null;
    }
  }
  function opacity(name, value) {
    if (name === 'polygons') { lines = value; outline(); return; }
    layers[name].visible = value > 0;
    layers[name].glyph.global_alpha = value;
  }
  function off() {
    return new Set([...document.querySelectorAll('input[data-class]')].filter(box => !box.checked)
      .map(box => Number(box.dataset.class)));
  }
  function outline() {
    // Invisible lines still tell what they are of.
    if (!layers.polygons) return;
    const hidden = off(), source = layers.polygons.data_source;
    const alpha = Array.from(source.data.value, value => hidden.has(value) ? 0 : lines);
    source.data = Object.assign({}, source.data, {alpha: alpha});
  }
  function classes() {
    const hidden = off();
    layers.classes.glyph.color_mapper.palette = PALETTE.map((color, value) => hidden.has(value) ? '#00000000' : color);
    outline();
  }
  document.addEventListener('input', event => {
    const box = event.target;
    if (box.dataset.layer) opacity(box.dataset.layer, box.value / 100);
    if (box.dataset.class) classes();
  });
  document.addEventListener('click', event => {
    const button = event.target.closest('button');
    if (!button) return;
    if (button.dataset.zoom) zoom(Number(button.dataset.zoom));
    if (button.dataset.whole) view(...whole);
    if (button.dataset.pan) pan(...button.dataset.pan.split(',').map(Number));
    if (button.dataset.view) {
      view(...button.dataset.view.split(',').map(Number));
      document.getElementById('map').scrollIntoView({behavior: 'smooth', block: 'center'});
    }
    if (button.dataset.all) {
      for (const box of document.querySelectorAll('input[data-class]')) box.checked = button.dataset.all === 'on';
      classes();
    }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolor);
  (function wait() { Bokeh.documents.length && bokeh().is_idle ? find() : setTimeout(wait, 30); })();
})();
"""


class Explorer:
    """A map in the making; see the module."""

    def __init__(self, plane: Plane, legend: Sequence[LandClass]) -> None:
        try:
            from bokeh.models import ColumnDataSource, DataRange1d, Range1d  # noqa: F401 - asked for where it is missing
            from bokeh.plotting import figure
        except ImportError as error:
            raise OutputError("a page with a map needs bokeh: pip install 'geounet[report]'") from error
        self._plane, self._legend = plane, tuple(legend)
        west, south, east, north = plane.bounds
        margin = 0.02 * max(east - west, north - south)
        self._view = (west - margin, south - margin, east + margin, north + margin)
        self._plot: Any = figure(
            name="plot", sizing_mode="stretch_both",
            x_range=(self._view[0], self._view[2]), y_range=(self._view[1], self._view[3]),
            tools="pan,wheel_zoom,box_zoom,reset", active_scroll="wheel_zoom", toolbar_location="above",
            background_fill_alpha=0, border_fill_alpha=0, outline_line_alpha=0, output_backend="canvas",
        )  # fmt: skip
        self._plot.toolbar.logo = None
        self._plot.grid.visible = False
        for axis in (self._plot.xaxis, self._plot.yaxis):
            axis.formatter.use_scientific = False
            axis.ticker.desired_num_ticks = 4
        self._layers: list[tuple[str, str, int]] = []
        self._palette = self._colors()

    def _colors(self) -> list[str]:
        palette = ["#808080"] * _VALUES
        for item in self._legend:
            palette[item.value] = item.color
        palette[NODATA] = "#00000000"
        return palette

    def _box(self) -> dict[str, float]:
        west, south, east, north = self._plane.bounds
        return {"x": west, "y": south, "dw": east - west, "dh": north - south}

    def add_scene(self, image: NDArray[np.uint8]) -> None:
        """The scene below all: `(height, width, 4)`, first row of the raster first."""
        box = self._box()
        upright = self._plane.upright(image)[::-1]
        given = {"x": [box["x"]], "y": [box["y"] + box["dh"]], "w": [box["dw"]], "h": [box["dh"]]}
        self._plot.image_url(url=[png_url(np.ascontiguousarray(upright))], anchor="top_left", name="scene", **given)
        self._layers.append(("scene", "Scene", 100))

    def add_rasters(self, codes: NDArray[np.uint8], confidence: NDArray[np.uint8] | None) -> None:
        """Classes, which tell their names where they are pointed at, and confidence, both stored values."""
        from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool, LinearColorMapper

        columns: Any = {"codes": [self._plane.upright(codes)]}
        if confidence is not None:
            columns["share"] = [self._plane.upright(confidence)]
        source, box = ColumnDataSource(columns), self._box()
        # One colour a value, so that the value is the place in the palette.
        mapper = LinearColorMapper(palette=self._palette, low=-0.5, high=_VALUES - 0.5)
        drawn = self._plot.image(image="codes", source=source, color_mapper=mapper, name="classes", **box)
        self._layers.append(("classes", "Classes", 100))
        told = [("class", "@codes{custom}")]
        names = {str(item.value): item.name for item in self._legend}
        formatters: dict[str, Any] = {
            "@codes": CustomJSHover(code=f"const names = {json.dumps(names)}; {_HOVER_CLASS}")
        }
        if confidence is not None:
            told.append(("confidence", "@share{custom}"))
            formatters["@share"] = CustomJSHover(code=_HOVER_SHARE)
            grey = LinearColorMapper(palette=_greys(), low=-0.5, high=_VALUES - 0.5)
            self._plot.image(image="share", source=source, color_mapper=grey, name="confidence", visible=False, **box)
            self._layers.append(("confidence", "Confidence", 0))
        self._plot.add_tools(HoverTool(renderers=[drawn], tooltips=told, formatters=formatters, description="Pixels"))

    def add_polygons(self, frame: Any, scene: Scene) -> None:
        """Outlines of polygons, which tell class, area and confidence where they are pointed at."""
        from bokeh.models import ColumnDataSource, HoverTool

        xs, ys = rings_of(frame.geometry.to_numpy(), scene, self._plane)
        confidence = (
            frame["confidence"].to_numpy(float, na_value=np.nan) if "confidence" in frame else [np.nan] * len(frame)
        )
        data: Any = {
            "xs": xs,
            "ys": ys,
            "value": frame["class"].to_numpy(int).tolist(),
            "name": frame["class_name"].astype(str).tolist(),
            "area": [f"{area:,.2f} ha" if np.isfinite(area) else "unknown" for area in frame["area_ha"]],
            "sure": [f"{share:.0%}" if np.isfinite(share) else "none" for share in confidence],
            "alpha": [_LINES / 100] * len(frame),
        }
        drawn = self._plot.multi_polygons(
            xs="xs", ys="ys", source=ColumnDataSource(data), name="polygons", fill_alpha=0, line_color="#101010",
            line_width=0.8, line_alpha="alpha", hover_line_color="#ffffff", hover_fill_color="#ffffff",
            hover_fill_alpha=0.25,
        )  # fmt: skip
        told = [("field", "@name"), ("area", "@area"), ("mean confidence", "@sure")]
        self._plot.add_tools(HoverTool(renderers=[drawn], tooltips=told, description="Polygons"))
        self._layers.append(("polygons", "Polygons", _LINES))

    def html(self, caption: str) -> str:
        """The map and its controls."""
        from bokeh.embed import components

        self._script, div = components(self._plot, wrap_script=False)
        return (
            f'<div id="map" role="application" aria-label="{escape(caption)}">{div}</div>'
            f'<div class="controls">{self._movements()}{self._opacities()}</div>{self._switches()}'
        )

    def _movements(self) -> str:
        buttons = [("data-zoom='0.5'", "Zoom in"), ("data-zoom='2'", "Zoom out"), ("data-whole='yes'", "Whole map"),
                   ("data-pan='-0.25,0'", "West"), ("data-pan='0.25,0'", "East"), ("data-pan='0,0.25'", "North"),
                   ("data-pan='0,-0.25'", "South")]  # fmt: skip
        inner = " ".join(f"<button type='button' {does}>{text}</button>" for does, text in buttons)
        return f"<fieldset><legend>View</legend>{inner}</fieldset>"

    def _opacities(self) -> str:
        rows = "".join(
            f'<label><span>{title}</span><input type="range" min="0" max="100" step="5" value="{value}" '
            f'data-layer="{name}" aria-label="Opacity of {title}"></label>'
            for name, title, value in self._layers
        )
        return f"<fieldset><legend>Opacity</legend>{rows}</fieldset>"

    def _switches(self) -> str:
        boxes = "".join(
            f'<label><input type="checkbox" checked data-class="{item.value}"> {swatch(item.name, item.color)}</label>'
            for item in self._legend
        )
        both = " ".join(
            f"<button type='button' data-all='{state}'>{text}</button>"
            for state, text in (("on", "All"), ("off", "None"))
        )
        return f'<fieldset><legend>Classes</legend><div class="classes">{boxes}</div><p>{both}</p></fieldset>'

    def scripts(self) -> list[str]:
        """What the page runs: the library, the map's data, and the controls; to be asked for after :meth:`html`."""
        from bokeh.resources import Resources

        library = Resources(mode="inline", components=["bokeh"], minified=True).js_raw
        own = _SCRIPT
        given = {"WHOLE": self._view, "PALETTE": self._palette, "ASPECT": self._plane.aspect, "LINES": _LINES / 100}
        for name, value in given.items():
            own = own.replace(name, json.dumps(value))
        return [*library, self._script, own]


def _greys() -> list[str]:
    return [*(f"#{value:02x}{value:02x}{value:02x}" for value in range(NODATA)), "#00000000"]
