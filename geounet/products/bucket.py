"""Products in an object store.

A product is made in a folder here and put there file by file, the record last: where that stands, the others are whole.
A run holds a lease of its prefix, an object that says who is at work and that is written anew every minute; one that
has not been for ten is of a dead run.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.object_stores import (
    in_sentences,
    is_bucket,
    object_store,
    objects_under,
    read_object,
    remove_objects,
    write_object,
)
from geounet.products.record import RECORD
from geounet.raster.remote import public_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bucket", "is_bucket", "workshop_of"]

_LEASE = ".run.json"
_TILES = "tiles"
_EVERY, _DEAD = 60.0, timedelta(minutes=10)
"""Seconds between two writings of a lease; how old one is whose run is dead."""


def workshop_of(url: str) -> Path:
    """The folder on this machine in which products for an object store are made; unfinished work stays there."""
    import hashlib

    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "geounet" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


class Bucket:
    """A prefix in an object store."""

    def __init__(self, url: str) -> None:
        """Open it, see :mod:`geounet.object_stores`.

        Raises:
            GeounetError: obstore is missing.
            OutputError: there is no such store.
        """
        self.url = url.rstrip("/")
        self._store = object_store(self.url)

    def records(self) -> set[str]:
        """Names of the folders of all finished products."""
        found = (path.rpartition("/") for path in objects_under(self.url))
        return {folder for folder, _, name in found if name == RECORD and folder and "/" not in folder}

    def fetch(self, name: str, path: Path) -> bool:
        """Bring an object here; False where there is none."""
        content = read_object(self.url, name)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return content is not None

    def put(self, path: Path, name: str) -> None:
        """Put a file there.

        Raises:
            UnreachableError: the store does not answer, or refuses.
        """
        write_object(self.url, name, path)

    def tiles_of(self, folder: str) -> str:
        """Where the finished blocks of a product are until it is there."""
        return f"{self.url}/{folder}/{_TILES}"

    def put_product(self, folder: Path) -> None:
        """Put a product there, the record last, and remove its files here but for the record.

        An earlier record is removed before, so that it never speaks of files that are not its own.

        Raises:
            UnreachableError: the store does not answer, or refuses.
        """
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != RECORD)
        old = objects_under(self.url, folder.name)
        remove_objects(self.url, sorted(old, key=lambda name: name != f"{folder.name}/{RECORD}"))
        for path in [*files, folder / RECORD]:
            self.put(path, f"{folder.name}/{path.name}")
        for path in files:
            path.unlink()

    @contextmanager
    def leased(self) -> Iterator[None]:
        """No other run works there meanwhile.

        Raises:
            OutputError: another one does.
        """
        mine = {"host": socket.gethostname(), "process": os.getpid(), "since": _now().isoformat(timespec="seconds")}
        try:
            with in_sentences(self.url):
                self._store.put(_LEASE, _stamped(mine), mode="create")
        except FileExistsError:
            self._check_dead()
            write_object(self.url, _LEASE, _stamped(mine))
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(mine, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            remove_objects(self.url, [_LEASE])

    def holder(self) -> dict[str, Any]:
        """Host, process and start of the run that is at work there; empty where there is none."""
        content = read_object(self.url, _LEASE)
        found: dict[str, Any] = json.loads(content) if content else {}
        if not found or _now() - datetime.fromisoformat(found.pop("alive")) > _DEAD or _is_dead_here(found):
            return {}
        return found

    def _check_dead(self) -> None:
        found = self.holder()
        if found:
            raise OutputError(
                f"{public_name(self.url)} is being written by process {found['process']} on {found['host']}, since "
                f"{found['since']}; wait for it, or give another place"
            )

    def _keep(self, mine: dict[str, Any], done: threading.Event) -> None:
        while not done.wait(_EVERY):
            try:
                self._store.put(_LEASE, _stamped(mine))
            except Exception:  # noqa: BLE001, S112 - the next one may go through
                continue


def _stamped(mine: dict[str, Any]) -> bytes:
    return json.dumps({**mine, "alive": _now().isoformat()}).encode()


def _is_dead_here(found: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    if found["host"] != socket.gethostname():
        return False
    try:
        os.kill(found["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _now() -> datetime:
    return datetime.now(UTC)
