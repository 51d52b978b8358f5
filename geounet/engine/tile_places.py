"""Where a tile store is: a folder, or a prefix in an object store."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import zarr

from geounet.object_stores import (
    in_sentences,
    is_bucket,
    object_store,
    objects_under,
    read_object,
    remove_objects,
    write_object,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Fill = Callable[[Any], None]

IDENTITY = "identity.json"
"""What the pixels of a store depend on; where it stands, the store has its arrays."""


class TilePlace(Protocol):
    """What holds a store's arrays and files."""

    def group(self, mode: Any) -> Any:
        """The arrays, see :func:`zarr.open_group`."""

    def exists(self) -> bool:
        """Whether something is there."""

    def create(self, fill: Fill, identity: bytes, aside: Path) -> None:
        """Make the arrays by what fills a group, and the identity; all at once, or the identity last."""

    def read(self, name: str) -> bytes | None:
        """A file; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all."""

    def remove(self, aside: Path) -> None:
        """Delete everything, in such a way that what is left of it when that is cut off is no store."""

    def files(self, aside: Path) -> Path:
        """A folder on this machine with the store's files, which may get more; see :meth:`keep`."""

    def keep(self, folder: Path) -> None:
        """Put there what :meth:`files` has got."""


def place_of(path: str) -> TilePlace:
    """A folder, or a prefix."""
    return _Prefix(path) if is_bucket(path) else _Folder(Path(path))


def guarded(path: str) -> AbstractContextManager[None]:
    """What an object store answers to the block is raised as one of our errors."""
    return in_sentences(path) if is_bucket(path) else nullcontext()


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def group(self, mode: Any) -> Any:
        return zarr.open_group(self._path, mode=mode)

    def exists(self) -> bool:
        return self._path.exists()

    def create(self, fill: Fill, identity: bytes, aside: Path) -> None:
        staged = Path(tempfile.mkdtemp(dir=aside), self._path.name)
        staged.mkdir()
        fill(zarr.open_group(staged, mode="w"))
        (staged / IDENTITY).write_bytes(identity)
        staged.replace(self._path)
        staged.parent.rmdir()

    def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        place = self._path / name
        staged = place.with_suffix(f".{os.getpid()}")
        try:
            staged.write_bytes(content)
        except FileNotFoundError:
            place.parent.mkdir(exist_ok=True)
            staged.write_bytes(content)
        staged.replace(place)

    def remove(self, aside: Path) -> None:
        if self._path.exists():
            gone = Path(tempfile.mkdtemp(dir=aside))
            self._path.rename(gone / "store")
            shutil.rmtree(gone, ignore_errors=True)

    def files(self, aside: Path) -> Path:
        del aside
        return self._path

    def keep(self, folder: Path) -> None:
        pass


class _Prefix:
    def __init__(self, url: str) -> None:
        self._url = url

    def group(self, mode: Any) -> Any:
        from zarr.storage import ObjectStore

        return zarr.open_group(ObjectStore(object_store(self._url), read_only=mode == "r"), mode=mode)

    def exists(self) -> bool:
        return self.read(IDENTITY) is not None

    def create(self, fill: Fill, identity: bytes, aside: Path) -> None:
        self.remove(aside)
        fill(self.group("w"))
        self.write(IDENTITY, identity)

    def read(self, name: str) -> bytes | None:
        return read_object(self._url, name)

    def write(self, name: str, content: bytes) -> None:
        write_object(self._url, name, content)

    def remove(self, aside: Path) -> None:
        del aside
        found = objects_under(self._url)
        remove_objects(self._url, sorted(found, key=lambda name: name != IDENTITY))

    def files(self, aside: Path) -> Path:
        folder = Path(tempfile.mkdtemp(dir=aside))
        for name in objects_under(self._url):
            content = None if "/" in name else self.read(name)
            if content is not None:
                (folder / name).write_bytes(content)
        return folder

    def keep(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.is_file():
                write_object(self._url, path.name, path)
