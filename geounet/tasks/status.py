"""How far a batch is that runs, has run, or died; how the last run of a monitoring job went."""

from __future__ import annotations

import tempfile
from pathlib import Path

from geounet.errors import OutputError
from geounet.jobs.report import RECORD, Report, read_report
from geounet.products.batch import RUNNING, SUMMARY, Batch, read_batch
from geounet.products.bucket import Bucket, is_bucket

__all__ = ["Batch", "Report", "status"]


def status(folder: Path | str) -> Batch | Report:
    """The state of the batch of a folder, or the last run of the job of a folder; and who is at work there.

    Args:
        folder: what `run` or `monitor` wrote to: a folder, or the URL of a prefix in an object store.

    Raises:
        OutputError: there is none, or its state cannot be read.
    """
    if not is_bucket(folder) and Path(folder, RECORD).exists():
        return read_report(Path(folder))
    found = _in_bucket(str(folder)) if is_bucket(folder) else read_batch(Path(folder))
    if found is None:
        raise OutputError(f"{folder} is no folder that geounet run has worked in: it has no summary.json")
    return found


def _in_bucket(url: str) -> Batch | None:
    """As it was last put there, with whoever is at work there now."""
    bucket = Bucket(url)
    with tempfile.TemporaryDirectory() as name:
        bucket.fetch(SUMMARY, Path(name, SUMMARY))
        found = read_batch(Path(name))
    if found is not None:
        found.holder = bucket.holder()
        found.state = RUNNING if found.holder else found.state
    return found
