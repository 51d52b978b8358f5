"""What hides clouds and the like: a quality band of the scene, or a raster of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.errors import SceneError
from geounet.raster.placement import bounds_of
from geounet.raster.remote import is_remote
from geounet.raster.scene import Scene, load_scene
from geounet.raster.screens import RasterScreen
from geounet.sources.stac import layers_of

if TYPE_CHECKING:
    from geounet.sources.item import Item

PRESETS = {"scl": "SCL:0,1,3,8,9,10,11", "qa_pixel": "QA_PIXEL:bits:0,1,2,3,4,5"}
"""Of Sentinel-2's scene classification: no data, saturated, cloud shadow, cloud of medium and high probability, cirrus,
snow. Of Landsat's QA_PIXEL: fill, dilated cloud, cirrus, cloud, cloud shadow, snow."""
_SPEC = re.compile(r"^(?P<what>.+?)(?::(?P<bits>bits:)?(?P<numbers>\d+(?:,\d+)*))?$")
_MOST_BITS = 63


def screen_of(spec: str, scene: Scene, name: str, item: Item | None, dilate: int = 0) -> RasterScreen:
    """What a mask hides of a scene.

    Args:
        spec: a key of :data:`PRESETS`; `BAND:VALUES` or `BAND:bits:NUMBERS` of the scene's own bands (numbers, names,
            keys of assets), such as `SCL:3,8,9` and `QA_PIXEL:bits:3,4`; or a raster, alone (all values but 0 hide) or
            with values or bits in the same way.
        scene: what is screened.
        name: how it was named.
        item: what describes it; None for a plain raster.
        dilate: pixels around what is hidden that are hidden too.

    Raises:
        SceneError: there is no such band or raster, or it lies on another place.
    """
    match = _SPEC.match(PRESETS.get(spec.lower(), spec))
    if match is None:
        raise SceneError(f"the mask {spec!r} is none of {', '.join(PRESETS)}, BAND:VALUES, BAND:bits:NUMBERS, a raster")
    numbers = tuple(int(part) for part in (match["numbers"] or "").split(",") if part)
    if match["bits"] and max(numbers) > _MOST_BITS:
        raise SceneError(f"the mask {spec!r} asks for bit {max(numbers)}; bits are 0 to {_MOST_BITS}")
    marking = _raster(match["what"], name, item, alone=not numbers)
    _check_place(marking, scene, spec)
    bits = sum(1 << number for number in numbers) if match["bits"] else 0
    return RasterScreen(marking, () if match["bits"] else numbers, bits, dilate)


def _raster(what: str, name: str, item: Item | None, *, alone: bool) -> Scene:
    """The raster of one band that a mask names."""
    if is_remote(what) or what.startswith("/vsi") or Path(what).is_file():
        return load_scene(what, [1])
    if alone and (item is None or Path(what).suffix):
        raise SceneError(
            f"the mask {what!r} is neither a raster that is there nor one of {', '.join(PRESETS)}; of a band say which "
            "values hide: BAND:3,8,9 or BAND:bits:3,4"
        )
    band = int(what) if what.isdecimal() else what
    return load_scene(name, [band]) if item is None else layers_of(item, [str(band)])[0]


def _check_place(marking: Scene, scene: Scene, spec: str) -> None:
    if scene.crs is None or marking.crs is None:
        return  # Shapes are compared where it is read.
    if marking.crs != scene.crs:
        raise SceneError(
            f"the mask {spec!r} is in another CRS than {scene.label}; bring it to that, for instance with gdalwarp "
            "-t_srs and -r near"
        )
    left, bottom, right, top = bounds_of(scene)
    its_left, its_bottom, its_right, its_top = bounds_of(marking)
    slack = abs(marking.transform.determinant) ** 0.5
    if its_left > left + slack or its_bottom > bottom + slack or its_right < right - slack or its_top < top - slack:
        raise SceneError(
            f"the mask {spec!r} covers only part of {scene.label}, {bounds_of(marking)} of {bounds_of(scene)}; give "
            "one that covers it"
        )
