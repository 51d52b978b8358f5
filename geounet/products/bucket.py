"""Products in an object store: Amazon's, Google's, Azure's, and what speaks as they do, by obstore.

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

from geounet.errors import GeounetError, OutputError, UnreachableError, one_line
from geounet.products.record import RECORD
from geounet.raster.remote import public_name

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMES = ("s3://", "az://", "gs://")
"""What URLs of object stores begin with."""
_LEASE = ".run.json"
_EVERY, _DEAD = 60.0, timedelta(minutes=10)
"""Seconds between two writings of a lease; how old one is whose run is dead."""


def is_bucket(place: str | Path) -> bool:
    """Whether a place is in an object store."""
    return str(place).startswith(SCHEMES)


def workshop_of(url: str) -> Path:
    """The folder on this machine in which products for an object store are made; unfinished work stays there."""
    import hashlib

    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "geounet" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


class Bucket:
    """A prefix in an object store."""

    def __init__(self, url: str) -> None:
        """Open it; credentials and endpoints are those of the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).

        Raises:
            GeounetError: obstore is missing.
            OutputError: there is no such store.
        """
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise GeounetError('object stores need obstore; install it with "geounet[cloud]"') from error
        self.url = url.rstrip("/")
        try:
            self._store = from_url(self.url, client_options=_http_allowed())
        except (BaseError, ValueError) as error:
            raise OutputError(f"{public_name(self.url)} cannot be opened: {one_line(error)}") from error

    def records(self) -> set[str]:
        """Names of the folders of all finished products."""
        with self._sentences():
            found = [item["path"] for chunk in self._store.list() for item in chunk]
        return {path.rpartition("/")[0] for path in found if path.rpartition("/")[2] == RECORD and path.count("/") == 1}

    def fetch(self, name: str, path: Path) -> bool:
        """Bring an object here; False where there is none."""
        content = self._read(name)
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return content is not None

    def put(self, path: Path, name: str) -> None:
        """Put a file there.

        Raises:
            UnreachableError: the store does not answer, or refuses.
        """
        with self._sentences():
            self._store.put(name, path)

    def put_product(self, folder: Path) -> None:
        """Put a product there, the record last, and remove its files here but for the record.

        An earlier record is removed before, so that it never speaks of files that are not its own.

        Raises:
            UnreachableError: the store does not answer, or refuses.
        """
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != RECORD)
        with self._sentences():
            old = {item["path"] for chunk in self._store.list(folder.name) for item in chunk}
            for name in sorted(old, key=lambda name: not name.endswith(f"/{RECORD}")):
                if name.count("/") == 1:
                    self._store.delete(name)
            for path in [*files, folder / RECORD]:
                self._store.put(f"{folder.name}/{path.name}", path)
        for path in files:
            path.unlink()

    @contextmanager
    def leased(self) -> Iterator[None]:
        """No other run works there meanwhile.

        Raises:
            OutputError: another one does.
        """
        from obstore.exceptions import AlreadyExistsError

        mine = {"host": socket.gethostname(), "process": os.getpid(), "since": _now().isoformat(timespec="seconds")}
        try:
            with self._sentences():
                self._store.put(_LEASE, _stamped(mine), mode="create")
        except _Refused as error:
            if not isinstance(error.__cause__, AlreadyExistsError):
                raise UnreachableError(str(error)) from error
            self._check_dead()
            with self._sentences():
                self._store.put(_LEASE, _stamped(mine))
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(mine, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            with self._sentences():
                self._store.delete(_LEASE)

    def holder(self) -> dict[str, Any]:
        """Host, process and start of the run that is at work there; empty where there is none."""
        content = self._read(_LEASE)
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

    def _read(self, name: str) -> bytes | None:
        from obstore.exceptions import NotFoundError

        with self._sentences():
            try:
                return bytes(self._store.get(name).bytes())
            except (NotFoundError, FileNotFoundError):
                return None

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError as error:
            raise _Refused(self.url) from error
        except (BaseError, OSError) as error:
            raise UnreachableError(f"{public_name(self.url)} cannot be used at present: {one_line(error)}") from error


class _Refused(Exception):  # noqa: N818 - no error of the user's
    """There is an object of that name."""


def _http_allowed() -> Any:
    """An endpoint that is named with http:// is meant so."""
    named = any(os.environ.get(name, "").startswith("http://") for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    return {"allow_http": True} if named else None


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
