"""What a job file names: whether it is there, and fits the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rasterio import CRS
from rasterio.errors import CRSError

from geounet.changes.confirmation import Confirmation, parse_confirmation
from geounet.changes.kinds import has_room
from geounet.errors import GeounetError
from geounet.jobs.job import JobError, Lines, several
from geounet.models.model_file import read_card

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geounet.jobs.job import Job

    Fault = tuple[str, str, str]
    """Section, key, and what is wrong."""


def check_job(job: Job) -> None:
    """Look at all that a job names, before anything runs.

    Raises:
        JobError: files that are not there, classes that the model has not, rules that are none: each with its line.
    """
    lines = Lines(job.path.read_text(encoding="utf-8"))
    faults = [*_of_files(job), *_of_rules(job), *_of_model(job)]
    if faults:
        raise JobError("\n".join(f"{job.path}:{lines.of(section, key)}: {what}" for section, key, what in faults))


def _of_files(job: Job) -> Iterator[Fault]:
    for name in several(job.source.path):
        place = job.at(name).removeprefix("@")
        if _is_local(place) and not any(sign in place for sign in "*?[{#") and not Path(place).exists():
            yield "source", "path", f"{name} does not exist; it is looked for as {place}"
    if job.aoi and not Path(job.aoi).is_file():
        yield "", "aoi", f"there is no file {job.aoi}"
    for rule in job.alerts.rules:
        if rule.within and not Path(job.at(rule.within)).is_file():
            yield "alerts.rules", "within", f"there is no file {job.at(rule.within)}"
    if job.alerts.secret_env and not os.environ.get(job.alerts.secret_env):
        yield "alerts", "secret_env", f"the environment variable {job.alerts.secret_env} is not set"


def _is_local(place: str) -> bool:
    return "://" not in place and not place.startswith("/vsi") and place != "-"


def _of_rules(job: Job) -> Iterator[Fault]:
    try:
        confirmation_of(job)
    except GeounetError as error:
        yield "change", "confirm", str(error)
    if not 0 <= job.change.min_confidence <= 1:
        yield "change", "min_confidence", "min_confidence is from 0 to 1"
    if not 0 <= job.source.min_valid <= 1:
        yield "source", "min_valid", "min_valid is a share, from 0 to 1"
    if job.grid.crs:
        try:
            CRS.from_user_input(job.grid.crs)
        except (CRSError, ValueError):
            yield "grid", "crs", f"{job.grid.crs!r} is no CRS; write one such as EPSG:32633"
    if job.grid.resolution is not None and job.grid.resolution <= 0:
        yield "grid", "resolution", "resolution is a positive number"


def confirmation_of(job: Job) -> Confirmation:
    """When the job believes a change.

    Raises:
        GeounetError: what it says is no rule.
    """
    again, of, days = parse_confirmation(job.change.confirm)
    least = int(-(-job.change.min_confidence * 254 // 1))
    return Confirmation(again, of, days, least, job.change.baseline)


def _of_model(job: Job) -> Iterator[Fault]:
    try:
        card = read_card(Path(job.at(job.model.file)))
    except GeounetError as error:
        yield "model", "file", str(error)
        return
    names = [item.name for item in card.classes]
    asked = [("change", "from", job.change.before), ("change", "to", job.change.after)]
    for rule in job.alerts.rules:
        asked += [("alerts.rules", "from", rule.before), ("alerts.rules", "to", rule.after)]
    for section, key, value in asked:
        for name in several(value):
            if name not in names:
                yield section, key, f"the model has no class {name!r}; its classes are {', '.join(names)}"
    if not has_room(card.classes):
        yield "model", "file", f"the model has {len(names)} classes; a job tells the changes between 16 apart, at most"
    if job.model.precision not in ("fp32", "bf16"):
        yield "model", "precision", "precision is fp32 or bf16: the same for all scenes, whenever they come"
