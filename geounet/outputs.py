"""Outputs appear whole or not at all, and a request that was cut off knows its own work again.

Whatever moment a process dies at, its outputs are told as the unfinished work of its request: before the first appears,
a folder `.NAME.unfinished` beside each says which request they belong to, and it goes when the last is there. The same
request goes on from there without being asked to; a finished output of other work is still refused. In that folder
lie all drafts, so that the next run of the same output removes what a dead one left; and a file in it is locked as long
as the process lives, so that no other takes its work for that of a dead one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from geounet.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_UNFINISHED = ".unfinished"
_MANIFEST = "request.json"
_held: dict[Path, Path] = {}
"""The outputs that this process has claimed, and the folder of each."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Outputs that are one request's until they are finished."""

    resumed: bool
    """Whether an earlier run of the same request left them unfinished."""
    may_replace: bool
    """Whether finished outputs of other work may be replaced: this run or the one that it goes on from was told so."""


def check_output(path: Path, overwrite: bool = False) -> None:
    """Make sure, before any work is done, that `path` can be written; its folder is made where there is none.

    Raises:
        OutputError: `path` exists and may not be overwritten, is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; give another name, or --overwrite to replace it")
    _make_folder(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def check_ending(path: Path, *endings: str) -> None:
    """Make sure, before any work is done, that an output's name says what will be written.

    Args:
        path: the output.
        endings: what its name may end in, in small letters and with the dot.

    Raises:
        OutputError: it ends in none of these.
    """
    if path.suffix.lower() not in endings:
        raise OutputError(f"{path} ends in none of {', '.join(endings)}: give the output one of these endings")


@contextmanager
def claimed(paths: Sequence[Path], request: str, overwrite: bool = False) -> Iterator[Claim]:
    """Several outputs of one request, checked, and no other process's until the block is left.

    Where the block fails after one of them has appeared, the rest is known as unfinished, as after a kill.

    Args:
        paths: the outputs, the one that is finished last first.
        request: what tells this request from others: all that the outputs depend on.
        overwrite: whether outputs of other requests may be replaced.

    Raises:
        OutputError: one exists that is none of this request's unfinished ones, and may not be overwritten; another
            process is writing it; or it cannot be written.
    """
    with ExitStack() as stack:
        folders = {path: stack.enter_context(_locked(path)) for path in dict.fromkeys(map(_key, paths))}
        before = [found for folder in folders.values() if (found := _read(folder)).get("request") == request]
        known = {name for found in before for name in found["outputs"]}
        for path in folders:
            check_output(path, overwrite or str(path) in known)
        claim = Claim(bool(before), overwrite or any(found["may_replace"] for found in before))
        _write(folders, request, claim)
        stamps = {path: _stamp(path) for path in folders}
        _held.update(folders)
        try:
            yield claim
        except BaseException:
            for folder in folders.values():
                _clear(folder, keep=claim.resumed or any(_stamp(path) != stamp for path, stamp in stamps.items()))
            raise
        finally:
            for path in folders:
                _held.pop(path, None)
        for folder in reversed(folders.values()):
            _clear(folder)


@contextmanager
def atomic(path: Path, companions: Sequence[Path] = ()) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside `path`; its files are renamed into place on success.

    Companion files (a shapefile's parts, a raster's `.aux.xml`) go along, `path` itself last, so that where
    it exists it is complete. On failure all are removed, and what stood at `path` before stays as it was.

    Args:
        path: the output; it is replaced.
        companions: files that belong to what stood there before: those that are not written anew go with it.

    Raises:
        OutputError: the operating system refuses to write, for want of room or of permission; or another process is
            writing this output.
    """
    try:
        with _workspace(path) as folder:
            draft = Path(tempfile.mkdtemp(dir=folder), path.name)
            try:
                yield draft
                _publish(draft, path, companions)
            finally:
                shutil.rmtree(draft.parent, ignore_errors=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _publish(draft: Path, path: Path, companions: Sequence[Path]) -> None:
    parts = sorted(draft.parent.iterdir(), key=lambda part: part.name == path.name)
    for stale in companions:
        if stale.name not in {part.name for part in parts}:
            stale.unlink(missing_ok=True)
    for part in parts:
        os.replace(part, path.parent / part.name)  # noqa: PTH105 - says that it replaces


def workspace_of(path: Path) -> Path:
    """The folder beside a claimed output for what no one else shall see; it goes when the output is finished.

    Raises:
        KeyError: this process has not claimed it.
    """
    return _held[_key(path)]


def is_unfinished(path: Path, request: str | None = None) -> bool:
    """Whether a request (this one, if one is given) that had claimed an output was cut off, or is at work."""
    found = _read(_folder_of(path))
    return bool(found) and request in (None, found["request"])


def holder_of(path: Path) -> dict[str, Any]:
    """Host, process and start of the living process that has claimed an output; empty where none has."""
    folder = _folder_of(path)
    found = _read(folder)
    if not found:
        return {}
    with suppress(OSError), (folder / _MANIFEST).open("rb") as file:
        if _lock(file):
            return {}
    return {name: found[name] for name in ("host", "process", "since")}


def tidy(path: Path) -> None:
    """Remove what a dead process has left of an output that is not going to be written; what is finished stays."""
    if _folder_of(path).exists():
        with _workspace(path):
            pass


def sweep(folder: Path) -> None:
    """Remove what dead processes have left of all outputs in a folder; what is finished stays."""
    for found in folder.glob(f".*{_UNFINISHED}"):
        with ExitStack() as stack:
            lock = _try_lock(found)
            if lock is not None:
                stack.enter_context(lock)
                _clear(found)


@contextmanager
def _workspace(path: Path) -> Iterator[Path]:
    """The folder of an output that this process has claimed, or claims for as long as the block lasts."""
    if _key(path) in _held:
        yield _held[_key(path)]
        return
    with _locked(path) as folder:
        try:
            yield folder
        finally:
            _clear(folder, keep=bool(_read(folder)))


def _folder_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_UNFINISHED}")


def _key(path: Path) -> Path:
    return path.absolute()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when another file takes a path; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The folder of an output, which no other process has while the block lasts."""
    folder = _folder_of(path)
    _make_folder(path)
    try:
        folder.mkdir(exist_ok=True)
        lock = _try_lock(folder)
    except OSError as error:
        raise unwritable(path, error) from error
    if lock is None:
        found = _read(folder)
        who = f"process {found['process']} on {found['host']}, since {found['since']}" if found else "another process"
        raise OutputError(f"{path} is being written by {who}; wait for it, or give another name")
    with lock:
        _drop_drafts(folder)
        try:
            yield folder
        finally:
            # A claim that was never made leaves nothing.
            if folder.exists() and not _read(folder):
                _clear(folder)


def _try_lock(folder: Path) -> IO[bytes] | None:
    """The manifest of a folder, open and locked; None where a living process has it."""
    while True:
        try:
            file = (folder / _MANIFEST).open("ab+")
        except FileNotFoundError:
            # The process that had it has just finished.
            folder.mkdir(exist_ok=True)
            continue
        if not _lock(file):
            file.close()
            return None
        if _same_file(file, folder / _MANIFEST):
            return file
        file.close()


def _lock(file: IO[bytes]) -> bool:
    """Whether the file could be locked; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: two runs of one output at once are then the user's affair.
        return True
    return True


def _same_file(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has its name: the process that had it may have removed it in the meantime."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read(folder: Path) -> dict[str, Any]:
    """What a folder's manifest says; nothing where there is none, or it was cut off while it was written."""
    try:
        text = (folder / _MANIFEST).read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return {}
    return found


def _write(folders: dict[Path, Path], request: str, claim: Claim) -> None:
    """The manifest in each folder, by its open file's name, for that file is the lock."""
    content = {
        "request": request,
        "outputs": [str(path) for path in folders],
        "may_replace": claim.may_replace,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for folder in folders.values():
        with (folder / _MANIFEST).open("r+", encoding="utf-8") as file:
            text = json.dumps(content)
            file.write(text.ljust(len((folder / _MANIFEST).read_bytes())))
            file.truncate()


def _drop_drafts(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _MANIFEST:
            entry.unlink(missing_ok=True)


def _clear(folder: Path, keep: bool = False) -> None:
    """Remove the drafts of a folder and, unless its manifest is to be kept, the folder."""
    if folder.exists():
        _drop_drafts(folder)
    if not keep:
        (folder / _MANIFEST).unlink(missing_ok=True)
        # Another process may be waiting for its turn there.
        with suppress(OSError):
            folder.rmdir()


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """The sentence for what the operating system says against writing a file."""
    return OutputError(f"{path} cannot be written: {error.strerror or error}")
