"""What a STAC item says of its bands' numbers: scale and offset to a physical unit, and the value of no data.

For Sentinel-2 the offset of processing baseline 04.00 is told in several places, by catalogue: in `raster:bands`, by
`s2:processing_baseline`, by `earthsearch:boa_offset_applied`. The date of a scene tells nothing: old scenes are
processed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geounet.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geounet.raster.scene import Scene
    from geounet.sources.item import Item

_OFFSET = -0.1
"""Of Sentinel-2 since baseline 04.00, in reflectance: -1000 / 10000."""
_QUANTIFICATION = 1e-4
_SINCE = (4, 0)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a band's numbers are: value = stored * scale + offset."""

    scale: float | None
    """None where nothing is stated."""
    offset: float | None
    """None where nothing is stated."""
    nodata: float | None
    """The stored value of no data; None where nothing is stated."""


def stated_numbers(item: Item, asset: Mapping[str, Any], number: int, *, settled: bool = False) -> Numbers:
    """What an item states of a band's numbers.

    Args:
        item: the item.
        asset: the asset that holds the band.
        number: which of the asset's bands, from 1.
        settled: whether the user has said how numbers are read, so that a contradiction may stand.

    Raises:
        SceneError: the item contradicts itself.
    """
    bands = asset.get("raster:bands") or asset.get("bands") or []
    told = {**asset, **(bands[number - 1] if number <= len(bands) else {})}
    found = Numbers(*(_number(told, key) for key in ("scale", "offset", "nodata")))
    if not _is_reflectance(asset, number):
        return found
    baseline, applied = _baseline(item.properties), item.properties.get("earthsearch:boa_offset_applied")
    if applied and found.offset and not settled:
        raise SceneError(
            f"{item.label} says both that the offset of Sentinel-2 is applied to its pixels and that {found.offset:g} "
            "is to be added; settle it with --radiometry as-is or scaled"
        )
    if found.scale is None and baseline is not None:
        offset = _OFFSET if baseline >= _SINCE and not applied else 0.0
        return Numbers(_QUANTIFICATION, offset, 0.0 if found.nodata is None else found.nodata)
    return found


def with_numbers(scene: Scene, numbers: Numbers) -> Scene:
    """A scene of one band with what is stated of it; where nothing is, what its file says stays."""
    return replace(
        scene,
        scales=scene.scales if numbers.scale is None else (numbers.scale,) * len(scene.bands),
        offsets=scene.offsets if numbers.scale is None else (numbers.offset or 0.0,) * len(scene.bands),
        nodata=tuple(numbers.nodata if value is None else value for value in scene.nodata),
    )


def _number(told: Mapping[str, Any], key: str) -> float | None:
    """As the raster extension has it, alone (`scale`, 1.1) or with its prefix (`raster:scale`, 2.0)."""
    value = told.get(key, told.get(f"raster:{key}"))
    return None if value is None else float(value)


def _is_reflectance(asset: Mapping[str, Any], number: int) -> bool:
    bands = asset.get("bands") or asset.get("eo:bands") or []
    band = bands[number - 1] if number <= len(bands) and isinstance(bands[number - 1], dict) else {}
    return any(band.get(key) for key in ("common_name", "eo:common_name")) or "reflectance" in asset.get("roles", ())


def _baseline(properties: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Sentinel-2's processing baseline, such as (5, 9); None where none is told."""
    text = str(properties.get("s2:processing_baseline") or "")
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else None
