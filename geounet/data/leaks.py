"""What training and validation share: ground, in any CRS, and pixels, under any name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.grid import Grid, Window
from geounet.raster.identity import pixels_of
from geounet.raster.placement import bounds_of, overlapping, pixel_size, window_of_bounds
from geounet.raster.scene import aligned, opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.raster.scene import Scene

_STRIP = 1024
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Leak:
    """What one validation scene shares with training scenes."""

    scene: str
    """The validation scene."""
    others: tuple[str, ...]
    """The training scenes that it shares pixels with."""
    identical: bool
    """Whether a training scene holds the same pixels."""
    pixels: int
    """Its valid pixels that lie on valid pixels of a training scene, or are pixels of one."""
    valid: int
    """Its valid pixels."""
    hectares: float | None
    """The shared pixels on the ground; None without a CRS."""

    @property
    def share(self) -> float:
        """Of its valid pixels."""
        return self.pixels / self.valid if self.valid else 0.0


def find_leaks(training: Sequence[Scene], validation: Sequence[Scene]) -> tuple[Leak, ...]:
    """What each validation scene shares with the training scenes, counted pixel by pixel; those that share nothing not.

    Two scenes share ground where both have valid pixels, whatever their dates and CRSs. They share pixels where all
    bands hold the same, whatever their names and places.

    Raises:
        SceneError: a file is damaged.
    """
    near: dict[int, list[Scene]] = {index: [] for index in range(len(validation))}
    for index, other in overlapping(validation, training):
        near[index].append(training[other])
    twins = _twins(training, validation)
    found = [
        _leak(scene, twins.get(index, []), near[index])
        for index, scene in enumerate(validation)
        if near[index] or index in twins
    ]
    return tuple(leak for leak in found if leak.pixels)


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """One sentence that names the worst and tells how much there is of all."""
    worst = sorted(leaks, key=lambda leak: -leak.pixels)
    told = "; ".join(_described(leak) for leak in worst[:_NAMED])
    more = f"; and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
    total, valid = sum(leak.pixels for leak in leaks), sum(leak.valid for leak in leaks)
    return (
        f"{len(leaks)} validation image(s) share {total} pixels with training images, {total / valid:.1%} of theirs: "
        f"{told}{more}"
    )


def _described(leak: Leak) -> str:
    area = "" if leak.hectares is None else f", {leak.hectares:.1f} ha"
    what = "holds the same pixels as" if leak.identical else "shares ground with"
    others = ", ".join(leak.others[:_NAMED]) + (" ..." if len(leak.others) > _NAMED else "")
    return f"{leak.scene} {what} {others} ({leak.share:.0%}{area})"


def _twins(training: Sequence[Scene], validation: Sequence[Scene]) -> dict[int, list[Scene]]:
    """For each validation scene the training scenes with its pixels; only scenes of one shape are read."""
    common = {_shape(scene) for scene in training} & {_shape(scene) for scene in validation}
    known: dict[str, list[Scene]] = {}
    for scene in training:
        if _shape(scene) in common:
            known.setdefault(pixels_of(scene), []).append(scene)
    alike = ((index, known.get(pixels_of(scene))) for index, scene in enumerate(validation) if _shape(scene) in common)
    return {index: scenes for index, scenes in alike if scenes}


def _shape(scene: Scene) -> tuple[int, int, int]:
    return len(scene.bands), scene.height, scene.width


def _leak(scene: Scene, twins: Sequence[Scene], near: Sequence[Scene]) -> Leak:
    shared, valid = 0, 0
    windows = [(other, _window_on(scene, other)) for other in near if other not in twins]
    met = {twin.label for twin in twins}
    with opened(scene) as dataset:
        for tile in Grid(scene.extent, _STRIP, _STRIP).tiles():
            _stored, mine = read_stored(dataset, scene, tile.core)
            common = np.full(mine.shape, bool(twins))
            for other, window in windows:
                inside = window.intersection(tile.core)
                if inside.pixels:
                    at = inside.within(tile.core)
                    theirs = _valid(other, scene, inside) & mine[at]
                    common[at] |= theirs
                    met |= {other.label} if theirs.any() else set()
            shared += int((common & mine).sum())
            valid += int(mine.sum())
    size = pixel_size(scene)
    hectares = None if size is None else shared * size[0] * size[1] / 10_000
    return Leak(scene.label, tuple(sorted(met)), bool(twins), shared, valid, hectares)


def _window_on(scene: Scene, other: Scene) -> Window:
    """The pixels of a scene around what it shares with another."""
    from rasterio.warp import transform_bounds

    bounds = bounds_of(other)
    if other.crs != scene.crs:
        bounds = transform_bounds(other.crs, scene.crs, *bounds)
    return window_of_bounds(scene, bounds)


def _valid(other: Scene, like: Scene, window: Window) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    with aligned(other, like) as (dataset, there):
        return read_stored(dataset, there, window)[1]
