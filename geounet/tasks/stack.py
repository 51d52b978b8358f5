"""Bands of unequal grids, and dates, as one scene on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geounet.outputs import atomic, check_ending, claimed
from geounet.raster.identity import request_hash
from geounet.raster.scene import Scene, load_scene
from geounet.sources.stacking import stack_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def stack(
    scenes: Sequence[Scene],
    out: Path,
    *,
    like: str | Path | None = None,
    resampling: str = "nearest",
    overwrite: bool = False,
) -> Scene:
    """Write a VRT whose bands are those of all scenes, in their order, on one grid.

    Args:
        scenes: rasters of one CRS, each with the bands that are wanted of it.
        out: the VRT.
        like: the raster whose grid the stack gets; by default the one with the smallest pixels.
        resampling: `nearest`, `bilinear` or `cubic`, for scenes on other grids.
        overwrite: whether an existing file is replaced.

    Returns:
        The stack, as large as the ground that all scenes cover.

    Raises:
        SceneError: the scenes have different CRSs or share no ground, or `like` cannot be opened.
        OutputError: `out` exists or cannot be written.
    """
    check_ending(out, ".vrt")
    reference = load_scene(like) if like else min(scenes, key=lambda scene: abs(scene.transform.determinant))
    text = stack_text(scenes, reference, resampling, title=out.name)
    with claimed([out], request_hash("stack", [], text), overwrite), atomic(out) as staged:
        staged.write_text(text, encoding="utf-8")
    return load_scene(out)
