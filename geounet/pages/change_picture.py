"""A picture of a comparison: both maps, and what changed between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geounet.pages.pictures import LegendRow, draw, few_pixels, legend_rows, paint_classes, panel_of, write_png
from geounet.raster.placement import pixel_size
from geounet.raster.scene import read_overview

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.raster.scene import Scene

_MOST_KINDS = 12


def change_picture(
    out: Path,
    maps: tuple[Scene, Scene],
    changes: Scene,
    classes: Sequence[LandClass],
    kinds: Sequence[LandClass],
    names: tuple[str, str],
) -> None:
    """Draw both maps beside what changed, to a PNG that replaces what stands there.

    Large rasters are read decimated, and the legend's shares are then those of the pixels that were read.

    Args:
        out: where to write.
        maps: the class rasters.
        changes: the raster of changes, on a grid of its own.
        classes: class table of the maps.
        kinds: class table of the changes; the first is what has not changed.
        names: above the maps.

    Raises:
        SceneError: a raster cannot be read.
        OutputError: the PNG cannot be written.
    """
    panels = []
    for scene, table, name in zip((*maps, changes), (classes, classes, kinds), (*names, "Changes"), strict=True):
        codes, valid = read_overview(scene, *few_pixels(scene))
        panels.append(panel_of(scene, paint_classes(codes[0], valid, table), name))
    # `codes` and `valid` are those of the changes.
    changed = sorted(legend_rows(codes[0], valid, kinds)[1:], key=lambda row: -row.share)
    more = [LegendRow(f"{len(changed) - _MOST_KINDS} more", "#ffffff", sum(row.share for row in changed[_MOST_KINDS:]))]
    rows = [*changed[:_MOST_KINDS], *(more if len(changed) > _MOST_KINDS else [])]
    rows = rows or [LegendRow("no change", kinds[0].color, 1.0)]
    size = pixel_size(changes)
    write_png(draw(panels, [], rows, out.parent.name, size[1] if size else None, "Changed, share of the area"), out)
