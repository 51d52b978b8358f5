"""Pictures for people: a scene beside its class map, with outlines, legend and scale bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.outputs import atomic
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import pixel_size
from geounet.raster.scene import Scene, load_scene, read_overview
from geounet.sources.scenes import view_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from affine import Affine
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline
    from numpy.typing import NDArray

    from geounet.classes import LandClass

    Pixels = NDArray[Any]
    Mask = NDArray[np.bool_]

_DPI = 100
# Inches: a panel's width and the legend's, the bands above and below the panels, and the gap between things.
_PANEL, _LEGEND, _TOP, _BOTTOM, _GAP = 6.4, 2.8, 0.75, 0.35, 0.2
_TALLEST = 9.0
# Pixels that percentiles are taken of.
_LOOK = 50_000
_COMPRESSION = 1
_MOST_CLASSES = 22
_CODES = 256
_LONGEST_NAME = 22
_RGB = 3
# Sentinel-2's names and Landsat 8's, which agree on these three, and plain words.
_COLOR_NAMES = ({"red", "b04", "b4"}, {"green", "b03", "b3"}, {"blue", "b02", "b2"})


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture to be drawn, and where its pixels lie in the raster that it was read from."""

    image: Pixels
    """`(height, width, 4)`: red, green, blue, alpha, uint8; perhaps fewer pixels than the raster has."""
    height: int
    """Rows of the raster."""
    width: int
    """Columns of the raster."""
    aspect: float = 1.0
    """Height of one of the raster's pixels in widths of it, on the ground."""
    flipped: tuple[bool, bool] = (False, False)
    """Whether rows run northward, and columns westward: drawn mirrored, so that north is up."""
    name: str = ""
    """What stands above it."""


@dataclass(frozen=True, slots=True)
class LegendRow:
    """One line of the legend."""

    name: str
    """What the class is called."""
    color: str
    """`#rrggbb`."""
    share: float
    """Of the valid pixels, 0 to 1."""


def preview(
    scene_path: str | Path,
    class_raster_path: str | Path,
    out_png: Path,
    classes: Sequence[LandClass],
    polygons: GeoDataFrame | None = None,
    title: str = "",
    *,
    opening: Opening = AS_IS,
) -> None:
    """Draw a scene beside its class map, about 1600 pixels wide, to a PNG that replaces what stands there.

    Large rasters are read decimated, and the legend's shares are then those of the pixels that were read.

    Args:
        scene_path: any scene; in true colour where its bands' names tell which they are.
        class_raster_path: its class map, on the scene's grid or another.
        out_png: where to write.
        classes: names and colours; values that have none are drawn in grey as `other`.
        polygons: outlined on the class map; any CRS.
        title: one line above the picture.
        opening: what the user says of the scene.

    Raises:
        SceneError: a raster cannot be read.
        OutputError: the PNG cannot be written.
    """
    scene, class_map = view_of(scene_path, opening), load_scene(class_raster_path, (1,))
    scene = scene.only(color_bands(scene.band_names))
    values, valid = read_overview(scene, *few_pixels(scene))
    codes, labelled = read_overview(class_map, *few_pixels(class_map))
    panels = (
        panel_of(scene, stretch(values, valid), "Scene"),
        panel_of(class_map, paint_classes(codes[0], labelled, classes), "Class map"),
    )
    lines = [] if polygons is None else outlines(_in_crs_of(class_map, polygons), class_map.transform)
    legend = legend_rows(codes[0], labelled, classes)
    size = pixel_size(class_map)
    figure = draw(panels, lines, legend, title or scene.name, size[1] if size else None)
    write_png(figure, out_png)


def write_png(figure: Figure, out: Path) -> None:
    """Write a figure as a PNG that replaces what stands there.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic(out) as draft:
        _write_png(figure, draft)


def _write_png(figure: Figure, path: Path) -> None:
    """Without transparency, and quickly: a tenth larger than by default, in half the time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(path, "PNG", compress_level=_COMPRESSION)


def color_bands(names: Sequence[str]) -> tuple[int, ...]:
    """Which bands to show as red, green and blue, from 0: by name, else the first three, else the first as grey."""
    lower = [name.lower() for name in names]
    found = [next((i for i, name in enumerate(lower) if name in wanted), None) for wanted in _COLOR_NAMES]
    known = tuple(index for index in found if index is not None)
    if len(known) == _RGB:
        return known
    return (0, 1, 2) if len(names) >= _RGB else (0,)


def stretch(values: Pixels, valid: Mask) -> Pixels:
    """Bands as a picture: each from its 2nd to its 98th percentile over valid pixels.

    Args:
        values: `(1 or 3, height, width)`.
        valid: `(height, width)`; elsewhere the picture is transparent.

    Returns:
        `(height, width, 4)` uint8.
    """
    image = np.zeros((*valid.shape, 4), np.uint8)
    if valid.any():
        few = values[:, valid][:, :: max(1, int(valid.sum()) // _LOOK)].astype(np.float64)
        low, high = np.percentile(few, (2, 98), axis=1).astype(np.float32)
        # What is invalid may be anything, NaN too, and is blotted out.
        with np.errstate(invalid="ignore"):
            for band, place in enumerate(range(_RGB)):
                source = band if len(values) > 1 else 0
                scaled = (values[source] - low[source]) * np.float32(255 / max(high[source] - low[source], 1e-12))
                np.rint(np.clip(scaled, 0, 255, out=scaled), out=scaled)
                image[..., place] = scaled.astype(np.uint8)
        image[~valid] = 0
    image[valid, 3] = 255
    return image


def paint_classes(codes: Pixels, valid: Mask, classes: Sequence[LandClass]) -> Pixels:
    """A class map in its colours: `(height, width, 4)` uint8, codes without a class grey, transparent if invalid."""
    colors = np.full((_CODES, 4), (128, 128, 128, 255), np.uint8)
    for item in classes:
        colors[item.value, :_RGB] = item.rgb
    inside = valid & (codes >= 0) & (codes < _CODES)
    image = np.asarray(colors[np.where(inside, codes, _CODES - 1).astype(np.intp)])
    image[~valid] = 0
    return image


def legend_rows(codes: Pixels, valid: Mask, classes: Sequence[LandClass]) -> list[LegendRow]:
    """Each class with its share of the valid pixels, in the table's order; codes without a class last, as `other`.

    Of more classes than a legend holds, the smaller ones become one line.
    """
    total = max(1, int(valid.sum()))
    shares = [float((codes[valid] == item.value).sum()) / total for item in classes]
    rows = [LegendRow(item.name, item.color, share) for item, share in zip(classes, shares, strict=True)]
    known = np.isin(codes[valid], [item.value for item in classes])
    if not known.all():
        rows.append(LegendRow("other", "#808080", 1 - float(known.mean())))
    if len(rows) <= _MOST_CLASSES:
        return rows
    kept = sorted(rows, key=lambda row: -row.share)[:_MOST_CLASSES]
    rest = [row for row in rows if row not in kept]
    return [*kept, LegendRow(f"{len(rest)} smaller ones", "#ffffff", sum(row.share for row in rest))]


def outlines(polygons: GeoDataFrame, transform: Affine) -> list[Pixels]:
    """Rings of polygons, holes too, as `(points, 2)` arrays of column and row in the raster of `transform`."""
    import shapely

    shapes = polygons.geometry.to_numpy()
    plain = (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON).all()
    parts = shapes if plain else shapely.get_parts(shapes)
    rings = shapely.get_rings(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])
    points, ring_of = shapely.get_coordinates(rings, return_index=True)
    back = ~transform
    pixels = np.column_stack(back @ (points[:, 0], points[:, 1]))  # (all points, 2)
    return np.split(pixels, np.flatnonzero(np.diff(ring_of)) + 1) if len(pixels) else []


def draw(
    panels: Sequence[Panel],
    lines: Sequence[Pixels],
    legend: Sequence[LegendRow],
    title: str,
    metres: float | None,
    legend_title: str = "Share of the valid area",
) -> Figure:
    """Pictures side by side, such as a scene and its class map.

    Args:
        panels: the pictures.
        lines: outlines on the last of them, in its pixels.
        legend: what the colours mean.
        title: above all.
        metres: width of one of the last picture's pixels on the ground, for a scale bar; None for no bar.
        legend_title: above the legend.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch

    tallest = max(panel.height * panel.aspect / panel.width for panel in panels)
    height = min(max(_PANEL * tallest, 3.6, 0.29 * len(legend) + 1.0), _TALLEST)
    beside = len(panels) * (_PANEL + _GAP)
    width = beside + _LEGEND + 2 * _GAP
    figure = Figure(figsize=(width, height + _TOP + _BOTTOM), facecolor="white")
    figure.text(
        _GAP / width, 1 - 0.15 / (height + _TOP), _shortened(title, 110), va="top", fontsize=16, parse_math=False
    )
    for number, panel in enumerate(panels):
        left = _GAP + number * (_PANEL + _GAP)
        axes = figure.add_axes(_fractions(figure, left, _PANEL, height))
        _show(axes, panel)
    if lines:
        axes.add_artist(PathPatch(_one_path(lines), facecolor="none", edgecolor="#202020", linewidth=0.6))
    side = figure.add_axes(_fractions(figure, beside + _GAP, _LEGEND, height))
    write_legend(side, legend, legend_title)
    if metres:
        _add_scale_bar(axes, panels[-1], metres)
    return figure


def _one_path(lines: Sequence[Pixels]) -> Outline:
    """All of them as one: to make an object of each and to draw it takes longer than everything else."""
    from matplotlib.path import Path as Outline

    codes = np.full(sum(len(line) for line in lines), Outline.LINETO, Outline.code_type)
    codes[np.cumsum([0, *(len(line) for line in lines[:-1])])] = Outline.MOVETO
    return Outline(np.concatenate(lines), codes)


def shows_outlines(scene: Scene) -> bool:
    """Whether outlines of a class raster's polygons can be told apart in its picture, rather than blacken it."""
    return few_pixels(scene) == (scene.height, scene.width)


def few_pixels(scene: Scene) -> tuple[int, int]:
    """Rows and columns of a raster that a panel shows."""
    shrink = max(1.0, scene.width / (_PANEL * _DPI), scene.height / (_TALLEST * _DPI))
    return max(1, round(scene.height / shrink)), max(1, round(scene.width / shrink))


def panel_of(scene: Scene, image: Pixels, name: str) -> Panel:
    """A picture of a raster: `(height, width, 4)`, perhaps of fewer pixels than it has."""
    size = pixel_size(scene)
    aspect = size[0] / size[1] if size else 1.0
    flipped = (scene.transform.e > 0, scene.transform.a < 0) if size and scene.rectilinear else (False, False)
    return Panel(image, scene.height, scene.width, aspect, flipped, name)


def _in_crs_of(scene: Scene, polygons: GeoDataFrame) -> GeoDataFrame:
    if scene.crs is None or polygons.crs is None:
        return polygons
    return polygons.to_crs(scene.crs.to_wkt())


def _fractions(figure: Figure, left: float, width: float, height: float) -> tuple[float, float, float, float]:
    """A box that stands on the bottom margin, inches to fractions of the figure."""
    wide, tall = figure.get_size_inches()
    return left / wide, _BOTTOM / tall, width / wide, height / tall


def _show(axes: Axes, panel: Panel) -> None:
    """Each pixel of the raster is one unit of the axes, whatever was read of it."""
    axes.imshow(panel.image, extent=(0, panel.width, panel.height, 0), interpolation="nearest", aspect=panel.aspect)
    axes.set_xlim((panel.width, 0) if panel.flipped[1] else (0, panel.width))
    axes.set_ylim((0, panel.height) if panel.flipped[0] else (panel.height, 0))
    axes.set_anchor("NW")
    axes.set_title(panel.name, loc="left", fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def write_legend(axes: Axes, rows: Sequence[LegendRow], title: str) -> None:
    """Fill axes with the classes' colours, shares and names, under a title."""
    from matplotlib.patches import Patch

    axes.set_axis_off()
    patches = [Patch(facecolor=row.color, edgecolor="#202020", linewidth=0.6, label=_legend_text(row)) for row in rows]
    legend = axes.legend(
        handles=patches, title=title, loc="upper left", bbox_to_anchor=(0, 1), frameon=False,
        borderaxespad=0, borderpad=0, fontsize=10, title_fontsize=10, alignment="left",
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _legend_text(row: LegendRow) -> str:
    return f"{row.share:6.1%}  {_shortened(row.name, _LONGEST_NAME)}"


def _shortened(text: str, longest: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def scale_bar_metres(metres_across: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most a quarter of the width."""
    power = 10.0 ** math.floor(math.log10(metres_across / 4))
    return max(step * power for step in (1, 2, 5) if step * power <= metres_across / 4 * (1 + 1e-9))


def _add_scale_bar(axes: Axes, panel: Panel, metres: float) -> None:
    """Below the panel's left corner, where it hides nothing."""
    from matplotlib.transforms import ScaledTranslation

    length = scale_bar_metres(panel.width * metres)
    share = length / (panel.width * metres)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"  # noqa: PLR2004
    below = axes.transAxes + ScaledTranslation(0, -0.16, axes.figure.dpi_scale_trans)
    beside = below + ScaledTranslation(0.08, 0, axes.figure.dpi_scale_trans)
    axes.plot([0, share], [0, 0], "black", linewidth=4, solid_capstyle="butt", transform=below, clip_on=False)
    axes.text(share, 0, label, fontsize=10, va="center", transform=beside)
