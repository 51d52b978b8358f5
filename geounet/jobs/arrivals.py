"""Scenes that have come to a job: found, dated, and made products of."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.changes.ledger import Ledger, Seen
from geounet.errors import GeounetError, NothingFoundError
from geounet.jobs.job import several
from geounet.products.batch import DONE, FAILED, KEPT, UNCHANGED
from geounet.products.record import RECORD
from geounet.raster.remote import public_name
from geounet.sources.listing import list_scenes
from geounet.sources.scenes import scene_id
from geounet.sources.search import Search, search
from geounet.sources.times import time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.jobs.job import Job
    from geounet.jobs.report import Report
    from geounet.products.batch import Batch, Entry

_log = logging.getLogger(__name__)


def predicted(
    job: Job, ledger: Ledger, products: Path, made_by: str, report: Report, run: Callable[[Sequence[str]], Batch]
) -> dict[str, tuple[Seen, Path]]:
    """Make products of the scenes that have come.

    Args:
        job: what is to be done.
        ledger: what is known.
        products: the folder that they go into.
        made_by: tells model and options from others.
        report: gets what could not be used, and why.
        run: makes products of scenes, by the names that they are opened by.

    Returns:
        By their ids the scenes, without a place on the lattice as yet, and their products' folders.
    """
    new = new_scenes(job, ledger, products, made_by, report)
    times: dict[str, datetime] = {}
    for name in list(new):
        try:
            times[name] = time_of(name, job.source.date_pattern)
        except GeounetError as error:
            report.failures[public_name(name)] = str(error)
            new.pop(name)
    made: dict[str, tuple[Seen, Path]] = {}
    if new:
        batch = run(list(new))
        for name, entry in zip(new, batch.scenes, strict=True):
            if entry.state in (DONE, UNCHANGED, KEPT):
                made[entry.id] = _seen(name, new[name], times[name], made_by, entry), products / entry.folder
            elif entry.state == FAILED:
                report.failures[entry.scene] = entry.failure
    ledger.failures = dict(report.failures)
    return made


def _seen(name: str, stamp: str, taken: datetime, made_by: str, entry: Entry) -> Seen:
    share, when = round(entry.valid_share or 0.0, 6), taken.astimezone(UTC).isoformat()
    return Seen(entry.id, name, stamp, when, entry.folder, "", share, (0, 0, 0, 0), {}, made_by)


def new_scenes(job: Job, ledger: Ledger, products: Path, made_by: str, report: Report) -> dict[str, str]:
    """Scenes that the ledger does not know, that are others now, or whose products are not there or of other options.

    Args:
        job: whose sources are looked at.
        ledger: what is known; scenes that came again under another name are noted in it.
        products: the folder of their products.
        made_by: tells model and options from others.
        report: gets the names of sources and scenes that could not be looked at, and why.

    Returns:
        What each is opened by, with its stamp.
    """
    known = {seen.name: seen.stamp for seen in ledger.scenes.values() if _is_made(seen, products, made_by)}
    if len(known) < len(ledger.scenes):
        others = sum(seen.made_by != made_by for seen in ledger.scenes.values())
        _log.warning(
            "%d scenes were predicted with another model or other options, products of %d are not there: they are made "
            "anew where their scenes still are", others, len(ledger.scenes) - len(known) - others,
        )  # fmt: skip
    found: dict[str, str] = {}
    ids: dict[str, str] = {seen.id: seen.name for seen in ledger.scenes.values()}
    for name in _listed(job, report):
        stamp = _stamp(name)
        if known.get(name) == stamp or ledger.repeated.get(name) == stamp:
            continue
        try:
            identifier = scene_id(name)
        except GeounetError as error:
            report.failures[public_name(name)] = str(error)
            continue
        if ids.setdefault(identifier, name) != name:
            report.repeated.append(public_name(name))
            ledger.repeated[name] = stamp
            continue
        found[name] = stamp
    return found


def _is_made(seen: Seen, products: Path, made_by: str) -> bool:
    return seen.made_by == made_by and (products / seen.folder / RECORD).exists()


def _listed(job: Job, report: Report) -> list[str]:
    """All scenes of all sources that can be looked at."""
    names: list[str] = []
    looks: dict[str, Callable[[], Sequence[str]]] = {}
    if job.source.stac_api:
        looks[public_name(job.source.stac_api)] = partial(search, _query(job))
    for name in several(job.source.path):
        looks[name] = partial(list_scenes, [job.at(name)], job.source.pattern or None)
    reached = 0
    for name, look in looks.items():
        try:
            names += look()
        except NothingFoundError:
            _log.info("%s holds no scene at present", name)
        except GeounetError as error:
            report.failures[name] = str(error)
            continue
        reached += 1
    report.unreachable = not reached
    return sorted(dict.fromkeys(names))


def _query(job: Job) -> Search:
    source = job.source
    box = (source.bbox[0], source.bbox[1], source.bbox[2], source.bbox[3]) if source.bbox else None
    return Search(
        source.stac_api, tuple(several(source.collection)), box, source.datetime or None, source.max_cloud, source.limit
    )


def _stamp(name: str) -> str:
    """What changes when what a name stands for is another."""
    try:
        found = Path(name).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
