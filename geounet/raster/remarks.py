"""What a raster says of itself and its values contradict: no data that is not declared, alpha that is a measurement."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.raster.samples import Sample, read_sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)

_FILLS = (
    -9999.0,
    -32768.0,
    -32767.0,
    -999.0,
    -99999.0,
    -3.4028234663852886e38,
    -1.7976931348623157e308,
    1e20,
    9.969209968386869e36,
)
"""What signed and floating rasters are filled with where nothing was measured: habits, and netCDF's default."""
_FEWEST = 0.001
_FEWEST_IN_RANGE = 0.01
_MASK_VALUES = 16


@dataclass(frozen=True, slots=True)
class Remark:
    """One oddity of one raster."""

    kind: str
    """What is the same for rasters with the same oddity."""
    text: str
    """A sentence that begins with the raster's name."""


def remarks_on(scene: Scene, sample: Sample) -> tuple[Remark, ...]:
    """The oddities of a scene that a sample of its pixels shows, and that it is not placed though it could be."""
    return (*unplaced(scene), *_undeclared(scene, sample), *_measured_alpha(scene, sample))


def tell_remarks(scenes: Iterable[Scene]) -> None:
    """Say what is odd about scenes: each kind once, with the number of scenes that have it.

    Raises:
        SceneError: one is damaged, or cannot be opened.
    """
    tell(remark for scene in scenes for remark in remarks_on(scene, read_sample(scene)))


def tell(remarks: Iterable[Remark]) -> None:
    """Say each kind of remark once, with the number of those that are left out."""
    found: dict[str, list[str]] = {}
    for remark in remarks:
        found.setdefault(remark.kind, []).append(remark.text)
    for texts in found.values():
        more = f" (and so in {len(texts) - 1} more)" if len(texts) > 1 else ""
        _log.warning("%s%s", texts[0], more)


def unplaced(scene: Scene) -> tuple[Remark, ...]:
    """That a raster lies in pixel coordinates, though something could place it."""
    if not scene.unused_place:
        return ()
    kind = next((kind for kind, word in (("gcp", "control"), ("rpc", "RPC")) if word in scene.unused_place), None)
    how = f"--georeference {kind} where scenes are read (info, predict, run, tile, train), or gdalwarp, uses them"
    text = f"{scene.label} has no transform, and its {scene.unused_place} are not used: it lies in pixel coordinates"
    return (Remark("place", f"{text}; {how if kind else 'gdalwarp uses them'}"),)


def _undeclared(scene: Scene, sample: Sample) -> Iterator[Remark]:
    """Values that stand for no data by habit, and are read as measurements."""
    if not sample.pixels.size:
        return
    for value, share in _candidates(sample.pixels, sample.corners):
        yield Remark(
            f"nodata {value:g}",
            f"{scene.label}: {share:.1%} of a sample of its pixels hold {value:.10g}, which is not declared as nodata, "
            f"so they are read as measurements; if they are none, --nodata {value:.10g}",
        )


def _candidates(pixels: NDArray[Any], corners: NDArray[Any]) -> Iterator[tuple[float, float]]:
    """Suspicious values, each with the share of the pixels that hold it."""
    if pixels.dtype.kind != "u":
        for value in _FILLS:
            hits = np.any(_same(pixels, value), axis=0)
            if hits.mean() >= _FEWEST:
                yield value, float(hits.mean())
    # What can be measured as well is suspicious where it fills a corner, in all bands.
    ends = [0.0] if pixels.dtype.kind != "u" else [0.0, float(np.iinfo(pixels.dtype).max)]
    for value in ends:
        hits = np.all(_same(pixels, value), axis=0)
        if hits.mean() >= _FEWEST_IN_RANGE and np.all(_same(corners, value), axis=0).any():
            yield value, float(hits.mean())


def _same(pixels: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Where pixels hold a value, as far as their type can; None of integers holds what is none of them."""
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(np.isclose(pixels, np.asarray(value).astype(pixels.dtype), rtol=1e-6, atol=0))
    info = np.iinfo(pixels.dtype)
    return np.asarray(pixels == value) if info.min <= value <= info.max else np.zeros(pixels.shape, np.bool_)


def _measured_alpha(scene: Scene, sample: Sample) -> Iterator[Remark]:
    if sample.alpha is None:
        return
    found = np.unique(sample.alpha)
    what = f"band {scene.alpha} of {scene.label} is tagged as alpha"
    if len(found) == 1 and found[0] != _opaque(scene):
        masked = "nothing" if found[0] > 0 else "all"
        yield Remark("flat alpha", f"{what} but is {found[0]:g} everywhere: it is no data, and masks {masked} out")
    if len(found) > _MASK_VALUES:
        yield Remark(
            "measured alpha",
            f"{what} but has {len(found)} values, {found[0]:g} to {found[-1]:g}, as a measured band does: it is used "
            "as a mask; --alpha-is-data reads it as data",
        )


def _opaque(scene: Scene) -> float:
    return float(np.iinfo(scene.dtype).max) if np.dtype(scene.dtype).kind == "u" else 1.0
