"""STAC items as scenes and labels: which asset holds which band, by its key, name or common name."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from geounet.errors import SceneError
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.remote import fetch_text, is_remote, public_name
from geounet.raster.scene import Scene, load_scene
from geounet.sources.item import Item
from geounet.sources.radiometry import stated_numbers, with_numbers
from geounet.sources.stacking import stack_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 2**20
"""Bytes of an item at most; a larger file holds polygons."""
_OF_API = re.compile(r"https?://\S+/collections/[^/?#]+/items/[^/?#]+")
"""URLs of items as the specification of STAC APIs lays them out."""
_FRESH = 60
"""Seconds for which an item of an API is taken for what it was."""
_FOR_EYES = {"overview", "visual", "thumbnail"}
"""Roles of assets that repeat bands as pictures."""


def _text(name: str) -> str:
    return fetch_text(name) if is_remote(name) else Path(name).read_text(encoding="utf-8")


@lru_cache(maxsize=64)
def _fetched(url: str, _period: int) -> str:
    """An item of an API, asked for once in a while, and not for each thing that is to be known of it."""
    return fetch_text(url)


def read_item(path: Path | str) -> Item | None:
    """The item in a JSON file or at a URL; None where there is another kind of file.

    Raises:
        UnreachableError: a server does not answer, or refuses.
        SceneError: it has no assets.
    """
    name = str(path)
    of_api = _OF_API.fullmatch(name) is not None
    if not (of_api or name.partition("?")[0].lower().endswith((".json", ".geojson"))):
        return None
    if not (is_remote(name) or _is_small(Path(name))):
        return None
    try:
        text = _fetched(name, int(time.monotonic() // _FRESH)) if of_api else _text(name)
        content = json.loads(text)
    except (ValueError, OSError):
        return None
    if not isinstance(content, dict) or content.get("type") != "Feature" or "stac_version" not in content:
        return None
    return item_of(content, name, name)


def item_of(content: dict[str, Any], name: str, base: str) -> Item:
    """The item that an object holds.

    Args:
        content: as JSON has it.
        name: how it is named.
        base: the file or URL that relative places start from.

    Raises:
        SceneError: it has no assets.
    """
    assets, properties = content.get("assets"), content.get("properties") or {}
    if not assets:
        raise SceneError(f"STAC item {public_name(name)} has no assets, so no pixels; name one that has")
    taken = properties.get("datetime") or properties.get("start_datetime") or ""
    whole = {key: {**asset, "href": complete(base, str(asset["href"]))} for key, asset in assets.items()}
    return Item(name, str(taken), whole, id=str(content.get("id", "")), properties=properties)


def complete(base: str, href: str) -> str:
    """A place that a file names, which is relative to the file or stands for itself."""
    if is_remote(href) or Path(href).is_absolute() or href.startswith("/vsi"):
        return href
    return urljoin(base, href) if is_remote(base) else os.path.normpath(Path(base).parent / href)


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST


def scene_of(
    item: Item, bands: Sequence[int | str] | None = None, opening: Opening = AS_IS, *, settled: bool = False
) -> Scene:
    """The item's bands as one scene; those of several assets on the grid of the finest, by nearest neighbour.

    Args:
        item: the item.
        bands: common names (`red`, `nir`, `swir16`), names, or keys of assets; without them, or by numbers, the
            bands of the one asset that holds data.
        opening: what the user says of its files.
        settled: whether the user has said how numbers are read, so that statements may contradict each other.

    Raises:
        SceneError: it has no such band, or several assets with data and none is named; it contradicts itself; or an
            asset cannot be opened.
    """
    names = [str(band) for band in bands or () if isinstance(band, str)]
    if not names:
        return load_scene(_only(item, "data")["href"], bands, opening)
    layers = layers_of(item, names, opening, settled=settled)
    if len({layer.path for layer in layers}) == 1:
        whole = load_scene(layers[0].path, [layer.bands[0] for layer in layers], opening)
        parts = ("band_names", "nodata", "scales", "offsets")
        told: dict[str, Any] = {part: tuple(getattr(layer, part)[0] for layer in layers) for part in parts}
        return replace(whole, **told)
    reference = min(layers, key=lambda scene: abs(scene.transform.determinant))
    return load_scene(stack_text(layers, reference, "nearest", title=item.label))


def layers_of(item: Item, names: Sequence[str], opening: Opening = AS_IS, *, settled: bool = False) -> list[Scene]:
    """The bands of an item, a scene for each, in the numbers that the item states.

    Raises:
        SceneError: it has no such band, it contradicts itself, or an asset cannot be opened.
    """
    missing = lacking(item, names)
    if missing:
        raise SceneError(f"{item.label} has no band {', '.join(missing)}; it has {', '.join(band_names(item))}")
    return [_layer(item, name, opening, settled) for name in names]


def lacking(item: Item, names: Sequence[str]) -> list[str]:
    """Those of the names that no band of the item has."""
    return [name for name in names if not _places(item, name)]


def _layer(item: Item, name: str, opening: Opening, settled: bool) -> Scene:
    key, number = _place(item, name)
    asset = item.assets[key]
    scene = replace(load_scene(asset["href"], [number], opening), band_names=(name,))
    return with_numbers(scene, stated_numbers(item, asset, number, settled=settled))


def label_of(item: Item) -> str:
    """The file with the item's labels: the asset of the role `labels` or the like, else the one that holds data.

    Raises:
        SceneError: there is none, or there are several.
    """
    return str(_only(item, "label")["href"])


def _only(item: Item, role: str) -> Any:
    told = {key: " ".join(asset.get("roles") or ()) for key, asset in item.assets.items()}
    for wanted in (role, "data"):
        found = [key for key, roles in told.items() if wanted in roles]
        if len(found) == 1:
            return item.assets[found[0]]
        if found:
            raise SceneError(
                f"{item.label} has {len(found)} assets with the role {wanted!r}; name bands with --bands: "
                f"{', '.join(band_names(item))}"
            )
    if len(item.assets) == 1:
        return next(iter(item.assets.values()))
    raise SceneError(
        f"{item.label} has no asset with the role {role!r}; name bands with --bands: {', '.join(band_names(item))}"
    )


def _place(item: Item, name: str) -> tuple[str, int]:
    """The asset and the number in it of a band of a name.

    Raises:
        SceneError: several bands share the name.
    """
    places = _places(item, name)
    found = [(key, _bands(item.assets[key])[number - 1].get("name")) for key, number in places if key != name]
    own = {told for _key, told in found}
    if len(own) > 1 and places[0][0].lower() != name.lower():
        raise SceneError(
            f"{item.label} has several bands called {name} ({', '.join(sorted(map(str, own)))}); name one by its own "
            f"name or by its asset: {', '.join(key for key, _told in found)}"
        )
    return places[0]


def _places(item: Item, name: str) -> list[tuple[str, int]]:
    """The assets, and the number in each, that hold a band of a name in upper or lower case; the best first."""
    wanted = name.lower()
    keyed = [(key, 1) for key in item.assets if key == name] or [(k, 1) for k in item.assets if k.lower() == wanted]
    return keyed[:1] + [
        (key, number)
        for key, asset in sorted(item.assets.items(), key=lambda pair: _rank(pair[1]))
        for number, band in enumerate(_bands(asset), 1)
        if wanted in _names_of(band) and (key, number) not in keyed
    ]


def _rank(asset: Any) -> tuple[bool, int, float]:
    """Bands of their own come before pictures made of several, and the finest before copies of it."""
    told = [asset, *(asset.get("raster:bands") or ()), *_bands(asset)]
    sizes = [
        part[key]
        for part in told
        for key in ("gsd", "spatial_resolution", "raster:spatial_resolution")
        if part.get(key)
    ]
    return bool(_FOR_EYES & set(asset.get("roles") or ())), len(_bands(asset)), float(min(sizes, default=0))


def _bands(asset: Any) -> list[Any]:
    """As STAC 1.1 tells them, or the EO extension of 1.0."""
    return list(asset.get("bands") or asset.get("eo:bands") or ())


def _names_of(band: Any) -> list[str]:
    told = (band.get("name"), band.get("common_name"), band.get("eo:common_name"))
    return [str(name).lower() for name in told if name]


def measured_bands(item: Item) -> list[str]:
    """The keys of the assets that hold bands, each band once, in its finest form; of all assets where none tells."""
    found: dict[str, str] = {}
    for key, asset in sorted(item.assets.items(), key=lambda pair: _rank(pair[1])):
        roles = set(asset.get("roles") or ())
        told = _bands(asset)
        if len(told) == 1 and not _FOR_EYES & roles:
            found.setdefault(str(told[0].get("name", key)), key)
    order = list(item.assets)
    return sorted(found.values(), key=order.index)


def band_names(item: Item) -> list[str]:
    """All names that bands of the item can be asked for by: their own, common ones, keys of assets."""
    keys = ("name", "common_name", "eo:common_name")
    told = [band.get(key) for asset in item.assets.values() for band in _bands(asset) for key in keys]
    return [str(name) for name in dict.fromkeys([*told, *item.assets]) if name]
