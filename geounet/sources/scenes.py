"""A scene by any of its names: a raster, several files of one scene, a delivery, a STAC item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.raster.identity import file_identity, identity_of
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import pixel_size
from geounet.raster.remote import is_remote, public_text, stem_of
from geounet.raster.scene import Scene, acquired, load_scene
from geounet.sources.catalogs import item_in
from geounet.sources.grouping import read_group
from geounet.sources.landsat import read_landsat
from geounet.sources.masks import screen_of
from geounet.sources.sentinel2 import read_safe
from geounet.sources.stac import lacking, measured_bands, read_item, scene_of
from geounet.sources.stacking import stack_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geounet.sources.item import Item

_IN_COLOUR = ("red", "green", "blue")
_SAME = 1e-3
"""Share by which resolutions may differ and are the same."""


def open_scene(
    name: str | Path, bands: Sequence[int | str] | None = None, opening: Opening = AS_IS, *, settled: bool = False
) -> Scene:
    """Describe the scene of a name; no pixel is read.

    Args:
        name: anything GDAL opens; a STAC item (file, URL, or `items.json#ID`); a Sentinel-2 `.SAFE` (folder or zip); a
            Landsat folder or tar; files of one scene (`scene_{B02,B03}.tif`).
        bands: the bands to read, by number, name, common name or key of an asset; all but alpha by default.
        opening: what the user says of it.
        settled: whether the user has said how numbers are read, so that what is stated of them may contradict itself.

    Raises:
        SceneError: it cannot be opened, lacks a band, contradicts itself, or a mask or an area does not fit it.
        UnreachableError: a server does not answer, or refuses.
    """
    text, item = str(name), described(name)
    scene = load_scene(text, bands, opening) if item is None else scene_of(item, bands, opening, settled=settled)
    if opening.resolution is not None and opening.resolution != "model":
        scene = _resampled(scene, float(opening.resolution))
    screens = tuple(screen_of(spec, scene, text, item, opening.mask_dilate) for spec in opening.masks)
    scene = replace(scene, screens=screens) if screens else scene
    if opening.aoi is None:
        return scene
    from geounet.sources.areas import within_area

    return within_area(scene, opening.aoi)


def described(name: str | Path) -> Item | None:
    """What describes a scene whose bands lie in several files or that has metadata; None for a plain raster.

    Raises:
        SceneError: its metadata are damaged.
        UnreachableError: a server does not answer, or refuses.
    """
    return item_in(str(name)) or read_safe(name) or read_landsat(name) or read_group(str(name)) or read_item(name)


def frame_of(name: str | Path, bands: Sequence[int | str] | None = None, opening: Opening = AS_IS) -> Scene:
    """A scene for its place and size, with the bands that are named or any; as :func:`open_scene` else.

    Raises:
        SceneError: see :func:`open_scene`.
        UnreachableError: a server does not answer, or refuses.
    """
    item = described(name)
    if item is None or bands:
        return open_scene(name, bands, opening)
    found = measured_bands(item)
    return open_scene(name, found or None, opening)


def view_of(name: str | Path, opening: Opening = AS_IS) -> Scene:
    """A scene with the bands in which people look at it: all, or red, green and blue of what has many files.

    Raises:
        SceneError: see :func:`open_scene`.
        UnreachableError: a server does not answer, or refuses.
    """
    item = described(name)
    if item is None:
        return open_scene(name, None, opening)
    found = measured_bands(item)
    return open_scene(name, (found[:1] or None) if lacking(item, _IN_COLOUR) else _IN_COLOUR, opening)


def scene_id(name: str | Path, item: Item | None = None) -> str:
    """What a scene is called: its item's id, or the file's name without folder and ending."""
    found = item or described(name)
    if found is not None and found.id:
        return found.id
    return stem_of(str(name)) if is_remote(str(name)) else Path(name).stem


def scene_time(name: str | Path, scene: Scene, item: Item | None = None) -> str:
    """When a scene was taken, as its metadata or its file say (ISO 8601); empty without a word."""
    found = item or described(name)
    return found.taken if found is not None and found.taken else acquired(scene)


def source_identity(name: str | Path, opening: Opening = AS_IS) -> list[Any]:
    """What a name and what is said of its scene stand for at present, as JSON.

    Of a raster it is :func:`geounet.raster.identity.identity_of`. Of an item it is what it says of its assets, and the
    state of those that are files here.
    """
    item = described(name)
    if item is None:
        known = identity_of(str(name))
    else:
        hrefs = sorted(str(asset["href"]) for asset in item.assets.values())
        stated = [item.id, item.taken, item.properties.get("updated")]
        known = [item.label, *stated, *(file_identity(href) for href in hrefs if not is_remote(href))]
        known += [public_text(href) for href in hrefs if is_remote(href)]
    beside = [opening.aoi, *(spec.split(":")[0] for spec in opening.masks)]
    return known + [file_identity(place) for place in beside if place is not None and Path(place).is_file()]


def _nominal_size(scene: Scene) -> tuple[float, float] | None:
    """Height and width of a pixel in metres, by the CRS's own where that has metres; None without a CRS."""
    if scene.crs is not None and scene.crs.is_projected and scene.rectilinear:
        unit = scene.crs.linear_units_factor[1]
        return abs(scene.transform.e) * unit, abs(scene.transform.a) * unit
    return pixel_size(scene)


def _resampled(scene: Scene, resolution: float) -> Scene:
    """The scene in pixels of so many metres from the same corner, as a VRT; itself where it has them."""
    size = _nominal_size(scene)
    if size is None or all(abs(side / resolution - 1) < _SAME for side in size):
        return scene
    down, across = resolution / size[0], resolution / size[1]
    frame = scene.transform * scene.transform.scale(across, down)
    reference = replace(
        scene, transform=frame, width=max(1, int(scene.width / across)), height=max(1, int(scene.height / down))
    )
    return load_scene(stack_text([scene], reference, "bilinear", title=scene.label))
