"""STAC items as scenes and labels: which asset holds which band, by its common name."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from geounet.errors import SceneError
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.remote import fetch_text, is_remote, public_name
from geounet.raster.scene import Scene, load_scene
from geounet.sources.stacking import stack_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 2**20
"""Bytes of an item at most; a larger file holds polygons."""


@dataclass(frozen=True, slots=True)
class Item:
    """A STAC item (https://github.com/radiantearth/stac-spec), as far as it is needed here."""

    path: str
    """Where it was read: a file or a URL."""
    taken: str
    """When its scene was taken, as it says; empty where it does not."""
    assets: dict[str, Any]
    """Its assets by key, their `href` complete."""


def read_item(path: Path | str) -> Item | None:
    """The item in a JSON file or at a URL; None where there is another kind of file.

    Raises:
        UnreachableError: a server does not answer, or refuses.
    """
    name = str(path)
    if not name.partition("?")[0].lower().endswith(".json") or not (is_remote(name) or _is_small(Path(name))):
        return None
    try:
        content = json.loads(fetch_text(name) if is_remote(name) else Path(name).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    if not isinstance(content, dict) or content.get("type") != "Feature" or "stac_version" not in content:
        return None
    taken = content["properties"].get("datetime") or content["properties"].get("start_datetime") or ""
    assets = {key: {**asset, "href": _complete(name, asset["href"])} for key, asset in content["assets"].items()}
    return Item(name, taken, assets)


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST


def _complete(item: str, href: str) -> str:
    if is_remote(href) or Path(href).is_absolute():
        return href
    return urljoin(item, href) if is_remote(item) else str(Path(item).parent / href)


def scene_of(item: Item, bands: Sequence[int | str] | None = None, opening: Opening = AS_IS) -> Scene:
    """The item's bands as one scene; those of several assets on the grid of the finest, by nearest neighbour.

    Args:
        item: the item.
        bands: common names (`red`, `nir`, `swir16`), names, or keys of assets; without them, or by numbers, the
            bands of the one asset that holds data.
        opening: what the user says of its files.

    Raises:
        SceneError: it has no such band, or several assets with data and none is named; or an asset cannot be opened.
    """
    names = [str(band) for band in bands or () if isinstance(band, str)]
    if not names:
        return load_scene(_only(item, "data")["href"], bands, opening)
    layers = layers_of(item, names, opening)
    if len(layers) == 1:
        return layers[0]
    reference = min(layers, key=lambda scene: abs(scene.transform.determinant))
    return load_scene(stack_text(layers, reference, "nearest", title=public_name(item.path)))


def layers_of(item: Item, names: Sequence[str], opening: Opening = AS_IS) -> list[Scene]:
    """The bands of an item: one scene where one file holds them all, else one for each.

    Raises:
        SceneError: it has no such band, or an asset cannot be opened.
    """
    chosen = [(name, *_find(item, name)) for name in names]
    if len({href for _name, href, _number in chosen}) == 1:
        scene = load_scene(chosen[0][1], [number for _name, _href, number in chosen], opening)
        return [replace(scene, band_names=tuple(names))]
    return [replace(load_scene(href, [number], opening), band_names=(name,)) for name, href, number in chosen]


def label_of(item: Item) -> str:
    """The file with the item's labels: the asset of the role `labels` or the like, else the one that holds data.

    Raises:
        SceneError: there is none, or there are several.
    """
    return str(_only(item, "label")["href"])


def _only(item: Item, role: str) -> Any:
    told = {key: " ".join(asset.get("roles", ())) for key, asset in item.assets.items()}
    for wanted in (role, "data"):
        found = [key for key, roles in told.items() if wanted in roles]
        if len(found) == 1:
            return item.assets[found[0]]
        if found:
            raise SceneError(
                f"STAC item {public_name(item.path)} has {len(found)} assets with the role {wanted!r}; name bands with "
                f"--bands: {', '.join(_names(item))}"
            )
    if len(item.assets) == 1:
        return next(iter(item.assets.values()))
    raise SceneError(
        f"STAC item {public_name(item.path)} has no asset with the role {role!r}; it has {', '.join(item.assets)}"
    )


def _find(item: Item, name: str) -> tuple[str, int]:
    """The file and the number of a band."""
    if name in item.assets:
        return item.assets[name]["href"], 1
    for asset in item.assets.values():
        for number, band in enumerate(_bands(asset), 1):
            if name in _names_of(band):
                return asset["href"], number
    raise SceneError(f"STAC item {public_name(item.path)} has no band {name!r}; it has {', '.join(_names(item))}")


def _bands(asset: Any) -> list[Any]:
    """As STAC 1.1 tells them, or the EO extension of 1.0."""
    return list(asset.get("bands") or asset.get("eo:bands") or ())


def _names_of(band: Any) -> tuple[Any, ...]:
    return band.get("name"), band.get("common_name"), band.get("eo:common_name")


def _names(item: Item) -> list[str]:
    told = [name for asset in item.assets.values() for band in _bands(asset) for name in _names_of(band) if name]
    return list(dict.fromkeys([*told, *item.assets]))
