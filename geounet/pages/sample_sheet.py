"""A picture of what the network sees: training patches, each beside its label in class colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.models.losses import IGNORE_INDEX
from geounet.outputs import atomic
from geounet.pages.pictures import color_bands, legend_rows, paint_classes, stretch, write_legend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from geounet.classes import LandClass

    Images = NDArray[np.floating[Any]]
    Labels = NDArray[np.integer[Any]]
    Colors = NDArray[np.uint8]

_DPI = 100
_SIDE = 1.9
"""Inches: height and width of a patch."""
_TEXT, _LEGEND, _GAP = 0.5, 2.9, 0.2
_BETWEEN, _APART = 0.01, 0.06
"""Of a patch's width: between image and label, and between two patches."""


def write_sample_sheet(
    images: Images, labels: Labels, out: Path, *, band_names: Sequence[str], classes: Sequence[LandClass], title: str
) -> None:
    """Write patches as the network gets them, each with its label to the right, as a PNG that replaces what is there.

    Images are stretched all alike, from the 2nd to the 98th percentile of each band, in true colour where the names of
    the bands tell which they are. Blank is what the network gets as 0 in all bands, and what has no label.

    Args:
        images: `(patches, bands, height, width)`, at least one, normalised and augmented.
        labels: `(patches, height, width)` class indices, IGNORE_INDEX where none.
        out: the PNG.
        band_names: of the bands.
        classes: in the order of the indices.
        title: one line above the picture.

    Raises:
        OutputError: it cannot be written.
    """
    codes = np.full(IGNORE_INDEX + 1, NODATA, np.uint8)
    codes[: len(classes)] = [item.value for item in classes]
    coded = codes[labels]
    shown = mosaic(_colors(images[:, list(color_bands(band_names))]), paint_classes(coded, coded != NODATA, classes))
    figure = _draw(shown, coded, classes, title, len(images))
    with atomic(out) as draft:
        figure.savefig(draft, format="png", dpi=_DPI)


def _colors(images: Images) -> Colors:
    """All patches stretched alike: `(patches, height, width, 4)`."""
    count, bands, height, width = images.shape
    tall = images.swapaxes(0, 1).reshape(bands, count * height, width)  # patches one above the other
    return stretch(tall, (tall != 0).any(axis=0)).reshape(count, height, width, 4)


def mosaic(images: Colors, labels: Colors) -> Colors:
    """Pictures `(patches, height, width, 4)` in rows, each label to the right of its image; transparent between."""
    count, height, width, channels = images.shape
    across = columns(count)
    rows = -(-count // across)
    inner, outer = max(1, round(width * _BETWEEN)), max(1, round(width * _APART))
    cell_height, cell_width = height + outer, 2 * width + inner + outer
    sheet = np.zeros((rows * cell_height - outer, across * cell_width - outer, channels), np.uint8)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        top, left = index // across * cell_height, index % across * cell_width
        sheet[top : top + height, left : left + width] = image
        sheet[top : top + height, left + width + inner : left + 2 * width + inner] = label
    return sheet


def columns(count: int) -> int:
    """Pairs of image and label side by side: as many as there are rows, or a few less, since pairs are wide."""
    return max(1, math.floor(math.sqrt(count)))


def _draw(sheet: Colors, codes: NDArray[np.uint8], classes: Sequence[LandClass], title: str, count: int) -> Figure:
    from matplotlib.figure import Figure

    wide = columns(count) * (2 + _BETWEEN + _APART) * _SIDE
    tall = wide * sheet.shape[0] / sheet.shape[1]
    labelled = codes != NODATA
    legend = legend_rows(codes, labelled, classes)
    height = max(tall, 0.29 * len(legend) + 1.0) + _TEXT + _GAP
    width = wide + _LEGEND + 3 * _GAP
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(_GAP / width, 1 - 0.15 / height, title, va="top", fontsize=13, parse_math=False)
    axes = figure.add_axes((_GAP / width, 1 - (_TEXT + tall) / height, wide / width, tall / height))
    axes.imshow(sheet, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
    beside = (wide + 2 * _GAP) / width
    side = figure.add_axes((beside, 0, _LEGEND / width, 1 - _TEXT / height))
    write_legend(side, legend, "Share of the labelled pixels")
    missing = 1 - labelled.mean()
    side.text(0, 0.02, f"blank: no label ({missing:.1%}), or no valid image", fontsize=9, va="bottom")
    return figure
