"""What users name is turned into scenes: files, folders, patterns, lists, standard input, deliveries, STAC."""

from __future__ import annotations

import fnmatch
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.errors import NothingFoundError, SceneError
from geounet.raster.remote import is_remote
from geounet.sources.catalogs import item_names
from geounet.sources.grouping import grouped
from geounet.sources.landsat import read_landsat
from geounet.sources.polygon_files import is_polygons
from geounet.sources.sentinel2 import read_safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_log = logging.getLogger(__name__)

RASTER_ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".vrt", ".img", ".webp")
"""Rasters that are taken from a folder."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def list_scenes(names: Iterable[str | Path], pattern: str | None = None) -> tuple[str, ...]:
    """The scenes that names stand for, each by a name that one scene is opened by.

    A folder stands for the deliveries and rasters in it and in the folders below, in order of their names, files of one
    scene grouped; a pattern with `*`, `?` or `[]` (`**` for folders within folders) for what it matches;
    `@list.txt` or a file that ends in `.txt` for the names in its lines, which are relative to it, and `-` for those
    on standard input; a STAC catalogue, item collection or stac-geoparquet file for its items. All else stands for
    itself. What is named twice counts once.

    Args:
        names: what the user named.
        pattern: of a folder, only the files whose name fits it, such as `*_B*.tif`.

    Raises:
        SceneError: a folder, a pattern or a list holds no scene; a list names what is not there.
    """
    return tuple(dict.fromkeys(scene for name in names for scene in _expanded(str(name), pattern)))


def _expanded(name: str, pattern: str | None) -> Iterable[str]:
    if name == "-":
        return _of_lines("standard input", sys.stdin.read().splitlines(), Path(), pattern)
    path = Path(name.removeprefix("@"))
    if name.startswith("@") or (path.suffix.lower() == ".txt" and read_landsat(path) is None):
        return _of_lines(f"list {path}", _lines(path), path.parent, pattern)
    if is_remote(name) or name.startswith("/vsi"):
        return item_names(name) or [name]
    if path.is_dir():
        found = list(_in_folder(path, pattern))
        polygons = [file for file in path.rglob("*") if is_polygons(file)]
        if not found:
            fitting = "" if pattern is None else f" that fits {pattern!r}"
            others = f" ({len(polygons)} polygon files)" if polygons else ""
            raise NothingFoundError(f"folder {path} holds no raster and no delivery{fitting}{others}")
        if polygons and pattern is None:
            _log.warning(
                "folder %s: %d polygon or JSON files such as %s are no scenes, and left out",
                path, len(polygons), polygons[0].name,
            )  # fmt: skip
        return found
    if not path.exists() and re.search(r"[*?\[]", name):
        return _matched(path, pattern)
    return item_names(name) or [name]


def _in_folder(folder: Path, pattern: str | None) -> Iterator[str]:
    """The scenes of a folder: itself, where it is a delivery; else what lies in it."""
    if read_safe(folder) or read_landsat(folder):
        yield str(folder)
        return
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file() and (not pattern or fnmatch.fnmatch(entry.name, pattern))]
    yield from grouped(file for file in files if file.suffix.lower() in RASTER_ENDINGS)
    yield from (str(file) for file in files if _is_archive(file) and (read_safe(file) or read_landsat(file)))
    for entry in entries:
        if entry.is_dir():
            yield from _in_folder(entry, pattern)


def _is_archive(file: Path) -> bool:
    return file.name.lower().endswith(_ARCHIVES)


def _matched(path: Path, pattern: str | None) -> Iterable[str]:
    anchor = Path(path.anchor)
    found = sorted(anchor.glob(str(path.relative_to(anchor))))
    files = grouped(item for item in found if item.is_file() and item.suffix.lower() in RASTER_ENDINGS)
    others = [item for item in found if item.is_dir() or item.suffix.lower() not in RASTER_ENDINGS]
    scenes = [*files, *(scene for item in others for scene in _expanded(str(item), pattern))]
    if not scenes:
        raise NothingFoundError(f"pattern {path} matches no raster, delivery or STAC item")
    return scenes


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"list {path} cannot be read: {error}") from error


def _of_lines(what: str, lines: Iterable[str], folder: Path, pattern: str | None) -> Iterable[str]:
    named = [(number, text) for number, line in enumerate(lines, 1) if (text := line.partition(" #")[0].strip())]
    named = [(number, text) for number, text in named if not text.startswith("#")]
    if not named:
        raise NothingFoundError(f"{what} names no scene; it has one a line")
    scenes: list[str] = []
    for number, text in named:
        place = text if is_remote(text) or text.startswith("/vsi") else str(folder / text)
        if not (is_remote(place) or place.startswith("/vsi") or _is_there(place)):
            raise SceneError(f"{what}, line {number}: {text} does not exist")
        scenes += _expanded(place, pattern)
    return scenes


def _is_there(place: str) -> bool:
    return bool(re.search(r"[*?\[{#]", place)) or Path(place).exists()
