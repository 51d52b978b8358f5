"""How far a batch is that runs, has run, or died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geounet.errors import OutputError
from geounet.products.batch import Batch, read_batch

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Batch", "status"]


def status(folder: Path) -> Batch:
    """The state of the batch of a folder, and who is at work there.

    Raises:
        OutputError: there is none, or its state cannot be read.
    """
    found = read_batch(folder)
    if found is None:
        raise OutputError(f"{folder} is no folder that geounet run has worked in: it has no summary.json")
    return found
