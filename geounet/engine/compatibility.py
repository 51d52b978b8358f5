"""Whether a scene fits a model, and which of its bands the model reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import SceneError
from geounet.raster.placement import pixel_size
from geounet.raster.scene import Scene, load_scene, read_overview

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.models.model_file import ModelCard

_SAMPLE = 256
_SPREAD_FACTOR = 8.0


def scene_for_model(path: str | Path, card: ModelCard, bands: Sequence[int] | None = None) -> Scene:
    """The scene with the bands that the model reads.

    Bands are taken as given; else by name, where the scene has all the model's names; else by number, where the scene
    has as many bands as the training scenes; else all, where it has as many as the model.

    Raises:
        SceneError: it cannot be opened, or does not fit: number of bands, resolution, or range of values.
    """
    scene = load_scene(path)
    scene = load_scene(path, bands or _bands_for(scene, card))
    if len(scene.bands) != len(card.bands):
        raise SceneError(
            f"the model reads {len(card.bands)} bands ({_names(card)}) and --bands names {len(scene.bands)}; "
            f"name {len(card.bands)}"
        )
    _check_resolution(scene, card)
    _check_range(scene, card)
    return scene


def _bands_for(scene: Scene, card: ModelCard) -> tuple[int, ...]:
    by_name = dict(zip(scene.band_names, scene.bands, strict=True))
    if len(by_name) == len(scene.bands) and all(_telling(band.name) and band.name in by_name for band in card.bands):
        return tuple(by_name[band.name] for band in card.bands)
    if scene.count == card.scene_bands:
        return tuple(band.number for band in card.bands)
    if len(scene.bands) == len(card.bands):
        return scene.bands
    raise SceneError(
        f"{scene.label} has {len(scene.bands)} band(s) ({', '.join(scene.band_names)}), but the model reads "
        f"{len(card.bands)} ({_names(card)}) of scenes with {card.scene_bands}; say which with --bands 1,2,..."
    )


def _telling(name: str) -> bool:
    return not name.startswith("band_")


def _names(card: ModelCard) -> str:
    return ", ".join(band.name for band in card.bands)


def _check_resolution(scene: Scene, card: ModelCard) -> None:
    size = pixel_size(scene)
    if size is None or card.resolution is None:
        return
    found = math.sqrt(size[0] * size[1])
    if abs(found / card.resolution - 1) > card.resolution_tolerance:
        raise SceneError(
            f"{scene.label} has pixels of {found:.3g} m, but the model was trained on {card.resolution:.3g} m "
            f"(+- {card.resolution_tolerance:.0%}); resample it first, for instance with gdalwarp -tr"
        )


def _check_range(scene: Scene, card: ModelCard) -> None:
    """Refuse reflectance in another unit: only where the data type differs, for scenes of one type do vary."""
    if scene.dtype == card.dtype:
        return
    values, valid = read_overview(scene, min(scene.height, _SAMPLE), min(scene.width, _SAMPLE))
    if not valid.any():
        return
    low, high = np.percentile(values[:, valid], (2, 98), axis=1)
    # The central 96 % of a normal distribution spans about four standard deviations.
    ratios = (high - low) / (4 * np.array([band.std for band in card.bands]))
    typical = float(np.median(ratios))
    if typical and not 1 / _SPREAD_FACTOR < typical < _SPREAD_FACTOR:
        raise SceneError(
            f"{scene.label} ({scene.dtype}) spreads its values {typical:.2g} times as wide as the scenes the model was "
            f"trained on ({card.dtype}, {card.bands[0].minimum:g} to {card.bands[0].maximum:g} in "
            f"{card.bands[0].name}); bring it to the same unit"
        )
