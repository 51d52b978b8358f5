"""A scheduled job: new scenes are found, predicted, and brought into the state of an area; what is new is told.

The state is a function of the set of scenes that have been seen, see :mod:`geounet.changes.blocks`: the order in which
they come, repetitions, kills and double starts change nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.alerts.delivery import Outbox, channels_of
from geounet.alerts.rules import due
from geounet.changes.ledger import read_ledger, write_ledger
from geounet.engine.devices import pick_device
from geounet.engine.plan import Engine
from geounet.engine.runtimes import pick_runtime
from geounet.errors import GeounetError, one_line
from geounet.jobs.arrivals import new_scenes, predicted
from geounet.jobs.checking import check_job
from geounet.jobs.job import Rule, read_job, several
from geounet.jobs.report import RECORD, Report, read_report
from geounet.jobs.state import JobState
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import atomic, claimed, sweep, workspace_of
from geounet.pages.monitoring import monitoring_page
from geounet.raster.opening import Opening
from geounet.raster.scene import small_cache
from geounet.tasks.run import Recipe, run
from geounet.tasks.vectorize import polygon_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd

    from geounet.jobs.job import Job
    from geounet.models.model_file import ModelCard
    from geounet.products.batch import Batch

    Progress = Callable[[int, int], None]

__all__ = ["Report", "monitor", "report_of"]

RUNS = "runs.jsonl"
"""A line for each run."""
PAGE, PRODUCTS, ALERTS = "report.html", "products", "alerts"
"""What else is in a job's folder, beside the outputs of its state."""
KEPT = (ALERTS, "blocks", "pairs")
"""Folders in which a dead run may have left drafts."""
_log = logging.getLogger(__name__)


def monitor(
    path: Path,
    *,
    date_pattern: str = "",
    check: bool = False,
    dry_run: bool = False,
    replay: bool = False,
    show: Callable[[Batch], None] = lambda _batch: None,
    progress: Progress = lambda _done, _all: None,
) -> Report:
    """Do what a job file says, once.

    Args:
        path: the job file, see :mod:`geounet.jobs.example`.
        date_pattern: how the date is written in scenes' names, in place of what the job says.
        check: only look at the job.
        dry_run: only look for scenes that are new.
        replay: forget the states of the pixels, work them out anew from the products, and say whether they are as
            they were.
        show: called with the state of the batch of predictions whenever it changes.
        progress: called with the blocks of the state done and the blocks in all.

    Raises:
        JobError: the job file is wrong, with the lines and remedies.
        OutputError: another run of the job is at work.
        GeounetError: the model cannot be used, or an output cannot be written.
    """
    job = read_job(path)
    if date_pattern:
        job = replace(job, source=replace(job.source, date_pattern=date_pattern))
    check_job(job)
    report = Report(job.name, started=datetime.now(UTC).isoformat(timespec="seconds"))
    if check or dry_run:
        report.state = "finished"
        if dry_run:
            model = Path(job.at(job.model.file))
            made_by = _made_by(model, _recipe(job, read_card(model)))
            report.new = list(new_scenes(job, read_ledger(job.out), job.out / PRODUCTS, made_by, report))
        return report
    start = time.monotonic()
    with claimed([job.out / RECORD], "monitor", overwrite=True), small_cache():
        _keep(job, report)
        try:
            _run(job, report, show, progress, replay=replay)
            report.state = "finished"
        except BaseException:
            report.state = "stopped"
            raise
        finally:
            report.seconds = round(time.monotonic() - start, 3)
            _keep(job, report)
            _log_run(job, report)
    for folder in (job.out, *(place for kept in KEPT for place in (job.out / kept, *(job.out / kept).glob("*/")))):
        sweep(folder)
    return report


def report_of(path: Path) -> Report:
    """The last run of a job, by its file; whether one is at work.

    Raises:
        JobError: the job file is wrong.
        OutputError: there has been no run.
    """
    return read_report(read_job(path).out)


def _keep(job: Job, report: Report) -> None:
    with atomic(job.out / RECORD) as draft:
        draft.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")


def _log_run(job: Job, report: Report) -> None:
    with (job.out / RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(report)) + "\n")


def _run(job: Job, report: Report, show: Callable[[Batch], None], progress: Progress, *, replay: bool) -> None:
    """Find, predict, bring in, write, tell."""
    ledger, products = read_ledger(job.out), job.out / PRODUCTS
    model = Path(job.at(job.model.file))
    card = read_card(model)
    state = JobState(job, card, ledger, products, polygon_frame)
    recipe = _recipe(job, card)
    made_by = _made_by(model, recipe)
    made = predicted(job, ledger, products, made_by, report, lambda new: run(new, model, products, recipe, show=show))
    watch = state.watch(made)
    if watch is not None:
        state.bring_in(made, watch)
        report.new = sorted(made)
    write_ledger(job.out, ledger)
    report.left_out = ledger.left_out(job.source.min_valid, made_by, products)
    used = [seen for seen in ledger.in_order() if seen.id not in report.left_out]
    report.scenes = len(used)
    if watch is None or not used:
        return
    known = state.digests() if replay else {}
    if replay:
        state.forget()
    report.blocks = state.update(watch, used, workspace_of(job.out / RECORD), progress)
    if replay:
        report.same = known == state.digests()
    events = state.events()
    _tell(job, report, events)
    monitoring_page(job.out, asdict(report), events, job.out / RUNS, job.out / PAGE)


def _made_by(model: Path, recipe: Recipe) -> str:
    """Tells model and options from others."""
    told = json.dumps([fingerprint(model), recipe.options()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _recipe(job: Job, card: ModelCard) -> Recipe:
    """How scenes are predicted: nothing that depends on which of them come together is left open."""
    device = pick_device(job.model.device)
    engine = Engine(
        precision=job.model.precision, halo=card.halo, runtime=pick_runtime("auto", device),
        device=job.model.device, workers=job.model.workers, scheduler=job.model.scheduler,
    )  # fmt: skip
    masks = tuple(map(job.mask_at, several(job.source.mask)))
    opening = Opening(masks=masks, mask_dilate=job.source.mask_dilate, aoi=job.aoi or None)
    return Recipe(
        bands=job.source.bands or None, opening=opening, radiometry=job.source.radiometry, vector_format="parquet",
        engine=engine,
    )  # fmt: skip


def _tell(job: Job, report: Report, events: gpd.GeoDataFrame) -> None:
    """Count events, and send alerts."""
    for status, found in events.groupby("status"):
        report.events[str(status)] = len(found)
        report.hectares[str(status)] = round(float(found["area_ha"].sum()), 6)
    if not job.alerts.wanted:
        return
    outbox = Outbox(job.out / ALERTS)
    fresh = due(events, job.alerts.rules or [Rule()], job.name, job.at, outbox.told)
    outbox.add(fresh)
    delivered = outbox.send(channels_of(job.alerts, job.at))
    report.alerts, report.sent, report.waiting = len(fresh), delivered.sent, delivered.waiting
    for failure in delivered.failures:
        _log.warning("%s; the next run sends it again", one_line(GeounetError(failure)))
