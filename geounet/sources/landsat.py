"""Landsat Collection 2 products as they are delivered (a folder or a tar with its `MTL` file), as STAC items.

Gains and offsets of the bands stand in the `MTL` file alone (Landsat 8-9 Collection 2 Level-2 Science Product Guide,
LSDS-1619, 3.2).
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from geounet.errors import SceneError
from geounet.sources.item import Item

_OLI = {
    "1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir08", "6": "swir16", "7": "swir22", "8": "pan",
    "9": "cirrus", "10": "lwir11", "11": "lwir12",
}  # fmt: skip
_TM = {"1": "blue", "2": "green", "3": "red", "4": "nir08", "5": "swir16", "6": "lwir", "7": "swir22", "8": "pan"}
_MSS = {"1": "green", "2": "red", "3": "nir08", "4": "nir09"}
_LINE = re.compile(r'^\s*(\w+)\s*=\s*"?(.*?)"?\s*$')
_BAND = re.compile(r"FILE_NAME_BAND_((?:ST_B)?(\d+)(?:_VCID_\d)?)$")
_TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
_METADATA = re.compile(r"_MTL\.txt$", re.IGNORECASE)


def read_landsat(path: Path | str) -> Item | None:
    """The product in a folder or a tar that holds an `MTL.txt`, or beside it; None where there is none.

    Returns:
        An item whose assets are named as the files (`SR_B4`, `QA_PIXEL`); those that the metadata name and the
        delivery lacks are left out.

    Raises:
        SceneError: the metadata or the tar cannot be read, or hold no band.
    """
    found = _metadata_of(Path(path))
    if found is None:
        return None
    root, text, names = found
    # Of what the levels both tell, a Level-2 product's own comes first.
    fields = {match[1]: match[2] for line in reversed(text.splitlines()) if (match := _LINE.match(line))}
    product = fields.get("LANDSAT_PRODUCT_ID", "")
    common = _common_names(fields.get("SPACECRAFT_ID", ""))
    files = {key: name for key, name in fields.items() if key.startswith("FILE_NAME_") and name in names}
    assets = {
        Path(name).stem.removeprefix(product).lstrip("_"): _asset(fields, key, f"{root}/{name}", common)
        for key, name in files.items()
        if name.upper().endswith(".TIF")
    }
    if not assets:
        raise SceneError(f"{path} has metadata of {product or 'no product'}, but none of the rasters that they name")
    day, clock = fields.get("DATE_ACQUIRED", ""), fields.get("SCENE_CENTER_TIME", "")[:8]
    taken = f"{day}T{clock}Z" if day and clock else day
    return Item(str(path), taken, assets, id=product)


def _common_names(spacecraft: str) -> dict[str, str]:
    number = spacecraft[-1:]
    return _OLI if number in "89" else _TM if number in "4567" else _MSS


def _metadata_of(path: Path) -> tuple[str, str, set[str]] | None:
    """Where the product's files are, as GDAL names it, its metadata, and the names of its files."""
    if path.is_file() and _TAR.search(path.name):
        return _in_tar(path)
    folder = path if path.is_dir() else path.parent if _METADATA.search(path.name) else None
    if folder is None:
        return None
    names = {file.name for file in folder.iterdir()}
    found = sorted(name for name in names if _METADATA.search(name))
    return (str(folder), (folder / found[0]).read_text(encoding="utf-8"), names) if len(found) == 1 else None


def _in_tar(path: Path) -> tuple[str, str, set[str]] | None:
    try:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(member.name).name: member for member in archive.getmembers() if member.isfile()}
            found = [member for name, member in members.items() if _METADATA.search(name)]
            file = archive.extractfile(found[0]) if found else None
            if file is None:
                return None
            inner = PurePosixPath(found[0].name).parent
            root = f"/vsitar/{path.absolute()}" + ("" if inner == PurePosixPath() else f"/{inner}")
            return root, file.read().decode(), set(members)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SceneError(f"{path} is no tar file, or was cut off: {error}") from error


def _asset(fields: dict[str, str], key: str, href: str, common: dict[str, str]) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": href, "roles": ["data"]}
    band = _BAND.match(key)
    if band is None:
        return asset
    name, number = band.groups()
    told = {"name": f"B{number}", **({"common_name": common[number]} if number in common else {})}
    stated: dict[str, float] = {"nodata": 0}
    for quantity in ("REFLECTANCE", "TEMPERATURE", "RADIANCE"):
        gain = fields.get(f"{quantity}_MULT_BAND_{name}")
        if gain is not None:
            stated |= {"scale": float(gain), "offset": float(fields[f"{quantity}_ADD_BAND_{name}"])}
            break
    return asset | {"roles": ["data", quantity.lower()], "eo:bands": [told], "raster:bands": [stated]}
