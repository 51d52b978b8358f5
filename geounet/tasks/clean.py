"""A class raster cleaned tile by tile into another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from geounet.classes import NODATA
from geounet.components.cleaning import Cleaning, clean_tiles
from geounet.outputs import check_ending, claimed
from geounet.raster.class_raster import class_reader, load_class_raster, profile_of, to_stored
from geounet.raster.cog import ENDINGS, write_cog
from geounet.raster.identity import request_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from geounet.grid import Window


@dataclass(frozen=True, slots=True)
class CleanSummary:
    """What came of cleaning a raster."""

    changed: int
    """Pixels that have another class now."""
    valid: int
    """Pixels that have a class."""


def clean(
    raster: Path,
    out: Path,
    steps: Cleaning,
    *,
    tile_size: int = 2048,
    force: bool = False,
    overwrite: bool = False,
) -> CleanSummary:
    """Write a cleaned copy of a class raster, with its class table, colours, nodata and tags.

    The result is the same whatever the tile size.

    Args:
        raster: the class raster.
        out: the copy, `.tif`.
        steps: what is done, in its order; see :class:`geounet.components.cleaning.Cleaning`.
        tile_size: rows and columns worked on at once, in pixels.
        force: take the raster for one of classes, whatever it says of itself.
        overwrite: replace a file that exists.

    Raises:
        SceneError: the raster cannot be read.
        LabelError: it is no class raster, see :func:`geounet.raster.class_raster.load_class_raster`, or holds values
            that are no classes.
        OutputError: `out` exists or cannot be written.
    """
    check_ending(out, *ENDINGS)
    scene = load_class_raster(raster, force)
    changed = valid = 0
    request = request_hash("clean", [raster], asdict(steps))
    with claimed([out], request, overwrite), class_reader(scene) as read:

        def counted() -> Iterator[tuple[Window, NDArray[np.uint8]]]:
            nonlocal changed, valid
            for window, classes in clean_tiles(read, scene.extent, steps, tile_size, out.parent):
                before = read(window)
                changed += int((classes != before).sum())
                valid += int((before != NODATA).sum())
                yield window, to_stored(classes, scene)[None]

        write_cog(out, profile_of(scene), counted())
    return CleanSummary(changed, valid)
