"""Outputs appear whole or not at all: checked before the work, written aside, renamed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        raise _unwritable(path, error) from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside `path`; its files are renamed into place on success.

    Companion files (a shapefile's parts, a raster's `.aux.xml`) go along, `path` itself last, so that where
    it exists it is complete. On failure all are removed, and what stood at `path` before stays as it was.

    Raises:
        OutputError: the operating system refuses to write, for want of room or of permission.
    """
    _make_folder(path)
    folder: str | None = None
    try:
        folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(folder, path.name)
        yield draft
        for part in sorted(draft.parent.iterdir(), key=lambda part: part.name == path.name):
            os.replace(part, path.parent / part.name)  # noqa: PTH105 - says that it replaces
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror or error}")
