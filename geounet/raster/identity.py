"""Which pixels a path stands for at present: what a resumed run compares before it goes on with unfinished work."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.errors import SceneError, UnreachableError
from geounet.grid import Window
from geounet.raster.remote import ask, is_remote, over_network, public_name, public_text
from geounet.raster.scene import load_scene, opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geounet.raster.scene import Scene

_AT_ONCE = 8
_BLOCKS = 256
_ROWS = 256


def identity_of(path: str | Path) -> list[Any]:
    """The files behind a raster, each with what changes when its content does; as JSON.

    Sidecars that GDAL reads and the sources of a VRT, of VRTs within it too, are among them.

    Returns:
        The raster's own name, then a list for each file, sorted: of a local one its absolute path, its size in bytes
        and its time of modification in nanoseconds; of a remote one its URL without credentials and signature, its
        size in bytes, and its ETag or Last-Modified, or where there is neither a hash of how its blocks are laid out.

    Raises:
        SceneError: it cannot be opened.
        UnreachableError: a server does not answer, or refuses.
    """
    name = str(path)
    files = _files(name)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [_absolute(name), *pool.map(file_identity, sorted(files))]


def request_hash(verb: str, inputs: Iterable[str | Path], *choices: Any) -> str:
    """What tells a request from others: a hash of what it does, of the files that it reads as they are, and of how.

    Args:
        verb: what is done.
        inputs: rasters and other files.
        choices: all else that the outputs depend on, as JSON or with a telling `repr`.
    """
    known = [_identity(name) for name in inputs]
    text = json.dumps([verb, known, choices, version("geounet")], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(name: str | Path) -> list[Any]:
    """As :func:`identity_of`; of what is no raster, the file's own."""
    try:
        return identity_of(name)
    except SceneError:
        return file_identity(str(name)) if Path(name).exists() else [str(name)]


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else public_name(name)


def _files(path: str) -> set[str]:
    """What GDAL reads for a raster; a VRT names its sources, and they may have files beside them or be VRTs."""
    seen: set[str] = set()
    left = [path]
    while left:
        name = left.pop()
        if name not in seen:
            seen |= {name, *_beside(name)}
            left += _listed(name) if name == path or name.lower().endswith(".vrt") else []
    return seen


def _listed(path: str) -> list[str]:
    scene = load_scene(path)
    with opened(scene) as dataset, over_network(is_remote(path)):
        # The first is the raster itself, a remote one by another name (/vsicurl/https://...).
        return list(dataset.files[1:] if is_remote(path) else dataset.files)


def _beside(name: str) -> Iterator[str]:
    """Files of GDAL's beside a local one: mask, overviews, and what it notes of a raster."""
    return (name + ending for ending in (".msk", ".ovr", ".aux.xml") if Path(name + ending).is_file())


def file_identity(name: str) -> list[Any]:
    """Of one file alone, local or remote, as :func:`identity_of` has it; of what is no file, its name."""
    if is_remote(name):
        return _remote_file(name)
    place = _on_disk(name)
    if place is None:
        return [public_text(name)]
    status = place.stat()
    return [str(place.absolute()), status.st_size, status.st_mtime_ns]


def _on_disk(name: str) -> Path | None:
    """The file that holds `name`: itself, or the archive it lies in."""
    inner = Path(re.sub(r"^(/vsi\w+/)+(?=/|\w)", "", name) if name.startswith("/vsi") else name)
    return next((place for place in (inner, *inner.parents) if place.is_file()), None)


def _remote_file(name: str) -> list[Any]:
    answer = ask(name)
    if answer.version is not None:
        return [public_name(name), answer.size, answer.version]
    if answer.trouble and not answer.denied:
        raise UnreachableError(f"{public_name(name)} {answer.trouble}")
    # GDAL may hold credentials that we do not know of, so a refusal to us is not the last word.
    return [public_name(name), answer.size, _layout(name)]


def pixels_of(scene: Scene) -> str:
    """A hash of what a scene's bands hold, whatever the file's name, place, compression or data type.

    Raises:
        SceneError: the file has gone or is damaged.
    """
    digest = hashlib.sha256(f"{len(scene.bands)} {scene.height} {scene.width}".encode())
    with opened(scene) as dataset, over_network(scene.remote):
        for row in range(0, scene.height, _ROWS):
            strip = Window(row, 0, min(_ROWS, scene.height - row), scene.width)
            stored, _valid = read_stored(dataset, scene, strip)
            digest.update(np.ascontiguousarray(stored, np.float64).tobytes())
    return digest.hexdigest()


def _layout(name: str) -> str:
    """A hash of a raster's description and of the stored sizes of some blocks: compressed, they differ as pixels do."""
    scene = load_scene(name)
    with opened(scene) as dataset, over_network(remote=True):
        parts = [dataset.driver, repr(sorted(dataset.tags().items())), repr({**dataset.profile, "crs": None})]
        cells = [index for index, _ in dataset.block_windows(1)]
        some = cells[:: len(cells) // _BLOCKS + 1]
        parts += [str(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)) for row, col in some]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
