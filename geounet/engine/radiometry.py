"""What a scene's numbers are, brought to what the model was trained on: as stored, or with a scale and an offset.

Statements come from the scene's tags and from the model card, which says what the training scenes' tags were; the
values of a sample must agree with what is chosen. See docs/numbers.md.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geounet.errors import SceneError
from geounet.raster.samples import Sample, read_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)

RADIOMETRY = ("auto", "as-is", "scaled")
"""How numbers are read: by statements and values, as they are stored, or by the scene's own tags."""
_WIDEST = 8.0
"""How many times as wide as the training scenes' a scene's values may spread."""
_NARROWEST, _NARROWEST_OF_ITS_TYPE = 1 / 8, 1 / 64
"""The same for narrow ones; within one data type scenes of water, snow or winter are narrow indeed, in another a wide
range is a matter of units."""
_UNITS = (10.0, 100.0, 255.0, 1e3, 1e4, 65535.0)


@dataclass(frozen=True, slots=True)
class Numbers:
    """One way to read a scene's numbers: value = stored * scale + offset."""

    how: str
    """In words."""
    scales: tuple[float, ...]
    """Of each band."""
    offsets: tuple[float, ...]
    """Of each band."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a sample's values lie to those of the training scenes, the median over the bands."""

    spread: float
    """Range of the central 96 % over that of the training scenes."""
    level: float
    """Size of the middle value over that of the training scenes."""

    def within(self, narrowest: float) -> bool:
        """Whether they can be in the same unit."""
        size = max(self.spread, self.level)
        return self.spread <= _WIDEST and (size == 0 or size >= narrowest)


def with_numbers(scene: Scene, card: ModelCard, radiometry: str = "auto", sample: Sample | None = None) -> Scene:
    """The scene, read such that its numbers are what the model was trained on; what is done with tags is said.

    Args:
        scene: with the bands that the model reads.
        card: the model's.
        radiometry: one of :data:`RADIOMETRY`.
        sample: pixels of it, whose values count; by default those of the whole scene.

    Raises:
        SceneError: statements contradict each other or the values, or the values are in another unit.
        ValueError: there is no such radiometry.
    """
    if radiometry not in RADIOMETRY:
        raise ValueError(f"radiometry is {', '.join(RADIOMETRY)}, not {radiometry!r}")
    stored, tagged = _stored(scene), Numbers("by its tags", scene.scales, scene.offsets)
    _check_tags(scene)
    if radiometry != "auto":
        chosen = stored if radiometry == "as-is" else tagged
        return _told(scene, chosen, card, "as --radiometry asks for")
    pixels = (sample or read_sample(scene)).pixels.astype(np.float32)
    choices = [tagged, stored] if is_tagged(scene) else [stored, *_of_model(scene, card)]
    fits = [choice for choice in choices if not pixels.size or _fits(pixels, choice, scene, card)]
    if not fits:
        raise SceneError(_in_another_unit(pixels, choices, scene, card))
    return _told(scene, _chosen(scene, card, fits), card, statement(card))


def is_tagged(scene: Scene) -> bool:
    """Whether a scene states a scale or an offset for one of its bands."""
    return any(scale != 1 for scale in scene.scales) or any(scene.offsets)


def read_how(scene: Scene, read: Scene) -> str:
    """In words what :func:`with_numbers` made of a scene, whose tags say what they say."""
    if not is_tagged(read):
        return "as stored" if not is_tagged(scene) else "as stored, without the scale and offset of its tags"
    return "by scale and offset, " + _tags(read).removeprefix("states ")


def statement(card: ModelCard) -> str:
    """What a model card says of its numbers, in words."""
    if any(band.scale is None for band in card.bands):
        return "the model does not say what its numbers are"
    if not _has_tags(card):
        return "the model was trained on untagged numbers"
    scales = ", ".join(sorted({f"{band.scale:.6g}" for band in card.bands}))
    offsets = ", ".join(sorted({f"{band.offset or 0:.6g}" for band in card.bands}))
    return f"the model was trained on numbers with scale {scales} and offset {offsets}"


def _has_tags(card: ModelCard) -> bool:
    return any(band.scale not in (None, 1.0) or band.offset for band in card.bands)


def _check_tags(scene: Scene) -> None:
    wrong = [scale for scale in scene.scales if not np.isfinite(scale) or scale == 0]
    wrong += [offset for offset in scene.offsets if not np.isfinite(offset)]
    if wrong:
        raise SceneError(
            f"{scene.label} states the scale or offset {wrong[0]:g}, by which no number can be read; mend its tags "
            "(gdal_edit.py -scale 1 -offset 0)"
        )


def _stored(scene: Scene) -> Numbers:
    count = len(scene.bands)
    return Numbers("as stored", (1.0,) * count, (0.0,) * count)


def _of_model(scene: Scene, card: ModelCard) -> list[Numbers]:
    """The model's own scale, for an untagged scene of its data type."""
    if not _has_tags(card) or scene.dtype != card.dtype:
        return []
    scales = tuple(1.0 if band.scale is None else band.scale for band in card.bands)
    return [Numbers("by the model's scale and offset", scales, tuple(band.offset or 0.0 for band in card.bands))]


def _read_by(scene: Scene, numbers: Numbers) -> Scene:
    return replace(scene, scales=numbers.scales, offsets=numbers.offsets)


def _chosen(scene: Scene, card: ModelCard, fits: list[Numbers]) -> Numbers:
    """Of the ways that fit the values the one that statements agree with.

    Raises:
        SceneError: they contradict the values, or leave it open.
    """
    first = fits[0]
    if not is_tagged(scene):
        if len(fits) > 1:
            raise SceneError(_open(scene, card, fits))
        return first
    if _has_tags(card):
        if first.how != "by its tags":
            raise SceneError(
                f"{scene.label} {_tags(scene)}, but its stored numbers are those that fit: {statement(card)}; settle "
                "it with --radiometry as-is or scaled"
            )
        return first
    if len(fits) > 1 and _differ(fits):
        raise SceneError(_open(scene, card, fits))
    return first


def _differ(fits: list[Numbers]) -> bool:
    return (fits[0].scales, fits[0].offsets) != (fits[1].scales, fits[1].offsets)


def _open(scene: Scene, card: ModelCard, fits: list[Numbers]) -> str:
    ways = " and ".join(fit.how for fit in fits)
    stated = _tags(scene) if is_tagged(scene) else "states no scale"
    return (
        f"{scene.label} {stated}, {statement(card)}, and its values fit {ways}; say which is right: --radiometry "
        f"as-is or scaled{'' if is_tagged(scene) else ' (after giving it the tags)'}"
    )


def _tags(scene: Scene) -> str:
    parts = []
    for name, values in (("scale", scene.scales), ("offset", scene.offsets)):
        parts.append(f"{name} {', '.join(f'{value:.6g}' for value in dict.fromkeys(values))}")
    return f"states {' and '.join(parts)}"


def _told(scene: Scene, chosen: Numbers, card: ModelCard, reason: str) -> Scene:
    """The scene as it is read; said where tags on either side make that a choice."""
    if is_tagged(scene) or _has_tags(card):
        stated = _tags(scene) if is_tagged(scene) else "states no scale"
        _log.warning("%s %s; its numbers are read %s (%s)", scene.label, stated, chosen.how, reason)
    return _read_by(scene, chosen)


def _fit(pixels: NDArray[np.float32], numbers: Numbers, card: ModelCard) -> Fit:
    scale, offset = (np.array(part)[:, None] for part in (numbers.scales, numbers.offsets))
    low, middle, high = np.percentile(pixels * scale + offset, (2, 50, 98), axis=1)
    # The central 96 % of a normal distribution spans about four standard deviations.
    spread = np.abs(high - low) / (4 * np.array([band.std for band in card.bands]))
    means = np.array([band.mean for band in card.bands])
    level = np.abs(middle[means != 0] / means[means != 0])
    return Fit(float(np.median(spread)), float(np.median(level)) if level.size else 0.0)


def _fits(pixels: NDArray[np.float32], numbers: Numbers, scene: Scene, card: ModelCard) -> bool:
    own = scene.dtype == card.dtype
    fit = _fit(pixels, numbers, card)
    if not own:
        # Of another type the spread alone tells, for offsets go with types (bytes, signed numbers).
        return fit.spread == 0 or _NARROWEST < fit.spread < _WIDEST
    return fit.within(_NARROWEST_OF_ITS_TYPE)


def _in_another_unit(pixels: NDArray[np.float32], choices: list[Numbers], scene: Scene, card: ModelCard) -> str:
    spreads = [_fit(pixels, choice, card).spread for choice in choices]
    read = " and ".join(f"{spread:.2g} times ({choice.how})" for spread, choice in zip(spreads, choices, strict=True))
    band = card.bands[0]
    away = abs(np.log(spreads[0])) if spreads[0] else 0.0
    near = min(_UNITS, key=lambda unit: abs(away - np.log(unit)))
    likely = f"; a factor of {near:g} seems to lie between them" if spreads[0] else ""
    return (
        f"{scene.label} ({scene.dtype}) spreads its values {read} as wide as the scenes the model was trained on "
        f"({card.dtype}, {band.minimum:g} to {band.maximum:g} in {band.name}){likely}; bring it to the same unit, or "
        "say with --radiometry as-is or scaled that it is right"
    )
