"""Sentinel-2 products as they are delivered (.SAFE, a folder or a zip, Level-1C and Level-2A), as STAC items.

Which file holds which band, and what its numbers are, stands in the product's own metadata file: the quantification
value, and since processing baseline 04.00 an offset for each band. The date says nothing of either, for old scenes are
processed anew (Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, 14.9, Table 5-1).
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from geounet.errors import SceneError
from geounet.sources.item import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

BANDS = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Common names (STAC's EO extension) by the bands' own, in the order in which metadata number them from 0."""
_METADATA = re.compile(r"(^|/)MTD_MSIL(1C|2A)\.xml$")
_IMAGE = re.compile(r"_(B\d[\dA]|SCL|AOT|WVP|TCI|CLD|SNW)(?:_(\d\d)m)?$")
_SIZES = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "B10": 60, "TCI": 10}
_OTHER = 20


def read_safe(path: Path | str) -> Item | None:
    """The product in a `.SAFE` folder, a zip of one, or beside its `MTD_MSIL*.xml`; None where there is none.

    Returns:
        An item whose assets are named `B02`, `SCL` and so on, the finest of each, and `B02_20m` for the coarser ones.

    Raises:
        SceneError: the metadata cannot be read, or name no images.
    """
    found = _metadata_of(Path(path))
    if found is None:
        return None
    root, text = found
    try:
        tree = ET.fromstring(text)  # noqa: S314 - ElementTree resolves no external entity
    except ET.ParseError as error:
        raise SceneError(f"the metadata of {path} are damaged: {error}") from error
    images = [(file, *match.groups()) for file in _texts(tree, "IMAGE_FILE") if (match := _IMAGE.search(file))]
    if not images:
        raise SceneError(f"the metadata of {path} name no image files; products from before 2016 are not read")
    assets: dict[str, Any] = {}
    for file, name, size in sorted(images, key=lambda image: int(image[2] or 0)):
        key = name if name not in assets else f"{name}_{size}m"
        assets[key] = _asset(tree, f"{root}/{file}.jp2", name, int(size or _SIZES.get(name, _OTHER)))
    product = _first(tree, "PRODUCT_URI") or Path(path).name
    return Item(str(path), _first(tree, "PRODUCT_START_TIME"), assets, id=product.removesuffix(".SAFE"))


def _metadata_of(path: Path) -> tuple[str, bytes] | None:
    """Where the product's files are, as GDAL names it, and its metadata."""
    if path.is_file() and path.suffix.lower() == ".zip":
        return _in_zip(path)
    folder = path if path.is_dir() else path.parent if _METADATA.search(path.name) else None
    for file in sorted(folder.glob("MTD_MSIL*.xml")) if folder is not None else ():
        if _METADATA.search(file.name):
            return str(file.parent), file.read_bytes()
    return None


def _in_zip(path: Path) -> tuple[str, bytes] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if _METADATA.search(name):
                    return f"/vsizip/{path.absolute()}/{PurePosixPath(name).parent}", archive.read(name)
    except zipfile.BadZipFile as error:
        raise SceneError(f"{path} is no zip file, or was cut off: {error}") from error
    return None


def _asset(tree: ET.Element, href: str, name: str, size: int) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": href, "gsd": size, "roles": ["data"]}
    if name not in BANDS:
        return asset
    number = list(BANDS).index(name)
    quantification = float(_first(tree, "BOA_QUANTIFICATION_VALUE") or _first(tree, "QUANTIFICATION_VALUE"))
    offsets = {
        key: float(value) for tag in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET") for key, value in _by_band(tree, tag)
    }
    stated = {"scale": 1 / quantification, "offset": offsets.get(str(number), 0.0) / quantification, "nodata": 0}
    return asset | {
        "roles": ["data", "reflectance"],
        "eo:bands": [{"name": name, "common_name": BANDS[name]}],
        "raster:bands": [stated],
    }


def _by_band(tree: ET.Element, tag: str) -> Iterator[tuple[str, str]]:
    return ((str(node.get("band_id")), str(node.text)) for node in tree.iter(tag))


def _texts(tree: ET.Element, tag: str) -> list[str]:
    return [str(node.text).strip() for node in tree.iter(tag) if node.text]


def _first(tree: ET.Element, tag: str) -> str:
    return next(iter(_texts(tree, tag)), "")
