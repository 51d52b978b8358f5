"""Whether a scene fits a model, and which of its bands the model reads."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from geounet.engine.radiometry import with_numbers
from geounet.errors import SceneError
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import pixel_size, window_of_bounds
from geounet.raster.remarks import Remark, remarks_on, tell
from geounet.raster.samples import read_sample
from geounet.raster.scene import Scene, load_scene
from geounet.sources.scenes import described, open_scene
from geounet.sources.stac import band_names, lacking, scene_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from geounet.grid import Window
    from geounet.models.model_file import ModelCard

_log = logging.getLogger(__name__)


def scene_for_model(
    path: str | Path,
    card: ModelCard,
    bands: Sequence[int | str] | None = None,
    *,
    opening: Opening = AS_IS,
    bbox: tuple[float, float, float, float] | None = None,
    radiometry: str = "auto",
    force: bool = False,
    say: Callable[[Iterable[Remark]], None] = tell,
) -> Scene:
    """The scene with the bands that the model reads, in the numbers that it was trained on.

    Bands are taken as given; else by name, where the scene has all the model's names; else by number, where the scene
    has as many bands as the training scenes; else all, where it has as many as the model.

    Args:
        path: the scene.
        card: the model's.
        bands: bands to read, by numbers from 1 or by names.
        opening: what the user says of it.
        bbox: the part of it that will be predicted, in its CRS: only its values count; all by default.
        radiometry: see :func:`geounet.engine.radiometry.with_numbers`.
        force: read the bands as given, though they are the model's own in another order.
        say: called with the remarks that there are on the scene.

    Raises:
        SceneError: it cannot be opened, or does not fit: number or names of bands, resolution, or values.
    """
    opening = _at_resolution_of(card, opening)
    chosen = bands or _bands_for(path, card, opening)
    scene = open_scene(path, chosen, opening, settled=radiometry != "auto")
    if len(scene.bands) != len(card.bands):
        raise SceneError(
            f"the model reads {len(card.bands)} bands ({_names(card)}) and --bands names {len(scene.bands)}; "
            f"name {len(card.bands)}"
        )
    _check_names(scene, card, force)
    _check_resolution(scene, card)
    sample = read_sample(scene, region_of(scene, bbox))
    say(remarks_on(scene, sample))
    return with_numbers(scene, card, radiometry, sample)


def _check_names(scene: Scene, card: ModelCard, force: bool) -> None:
    """Say where the names of bands contradict the model's, which are those of its training scenes.

    Raises:
        SceneError: they are the model's own, in another order.
    """
    names = [band.name for band in card.bands]
    pairs = [
        (wanted, found)
        for wanted, found in zip(names, scene.band_names, strict=True)
        if _telling(wanted) and _telling(found) and wanted.lower() != found.lower()
    ]
    if not pairs:
        return
    told = ", ".join(f"{wanted} gets {found}" for wanted, found in pairs)
    swapped = {found.lower() for _, found in pairs} & {name.lower() for name in names}
    if swapped and not force:
        raise SceneError(
            f"the bands of {scene.label} are the model's in another order: {told}; leave --bands out, give the right "
            "order, or go on all the same with --force"
        )
    _log.warning("%s: bands are named otherwise than the model's: %s", scene.label, told)


def region_of(scene: Scene, bbox: tuple[float, float, float, float] | None) -> Window:
    """The pixels that are asked for: those that a box touches, and an area of interest lies within.

    Raises:
        SceneError: there are none.
    """
    region = scene.extent if scene.focus is None else scene.focus
    if bbox is None:
        return region
    common = window_of_bounds(scene, bbox).intersection(region)
    if not common.pixels:
        raise SceneError(f"the box {bbox} does not meet the area of interest on {scene.label}")
    return common


def _at_resolution_of(card: ModelCard, opening: Opening) -> Opening:
    if opening.resolution != "model":
        return opening
    if card.resolution is None:
        raise SceneError("the model was trained without a resolution; say one in metres with --resolution")
    return replace(opening, resolution=card.resolution)


def _bands_for(path: str | Path, card: ModelCard, opening: Opening) -> tuple[int | str, ...]:
    """Bands of a scene that has names for them in its metadata go by name alone."""
    item, names = described(path), [band.name for band in card.bands]
    if item is None:
        return _bands_of_raster(load_scene(path, opening=opening), card)
    missing = lacking(item, names)
    if not missing:
        _log.warning("%s: the model's bands are taken by their names: %s", item.label, ", ".join(names))
        return tuple(names)
    if len(item.assets) == 1:
        return _bands_of_raster(scene_of(item, None, opening), card)
    raise SceneError(
        f"{item.label} has no band {', '.join(missing)}, which the model reads ({_names(card)}); it has "
        f"{', '.join(band_names(item))}: say which with --bands"
    )


def _bands_of_raster(scene: Scene, card: ModelCard) -> tuple[int, ...]:
    by_name = dict(zip(scene.band_names, scene.bands, strict=True))
    if len(by_name) == len(scene.bands) and all(_telling(band.name) and band.name in by_name for band in card.bands):
        return tuple(by_name[band.name] for band in card.bands)
    if scene.count == card.scene_bands:
        return tuple(band.number for band in card.bands)
    if len(scene.bands) == len(card.bands):
        return scene.bands
    enough = len(scene.bands) >= len(card.bands)
    remedy = "say which with --bands 1,2,..." if enough else "another model is needed: train one on scenes of this kind"
    raise SceneError(
        f"{scene.label} has {len(scene.bands)} band(s) ({', '.join(scene.band_names)}), but the model reads "
        f"{len(card.bands)} ({_names(card)}) of scenes with {card.scene_bands}; {remedy}"
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
            f"(+- {card.resolution_tolerance:.0%}); --resolution model brings it there"
        )
