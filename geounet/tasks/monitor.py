"""A scheduled job: new scenes are found, predicted, and brought into the state of an area; what is new is told.

The state is a function of the set of scenes that have been seen, see :mod:`geounet.changes.blocks`: the order in which
they come, repetitions, kills and double starts change nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS

from geounet.alerts.delivery import Delivered, Outbox, channels_of
from geounet.alerts.rules import due
from geounet.changes.blocks import BlockStore, ProductReaders, Watch
from geounet.changes.events import events_of
from geounet.changes.kinds import kinds_of
from geounet.changes.ledger import Ledger, Seen, read_ledger, write_ledger
from geounet.changes.state_rasters import NAMES, PHASES, Cover, event_rasters, write_states
from geounet.changes.timeline import (
    TIMELINE,
    TRANSITIONS,
    Matrices,
    hectares_by_class,
    pairs_to_compare,
    write_timeline,
    write_transitions,
)
from geounet.changes.updating import cover_of, update_blocks
from geounet.engine.devices import pick_device
from geounet.engine.plan import Engine
from geounet.engine.runtimes import pick_runtime
from geounet.errors import GeounetError, NothingFoundError, OutputError, one_line
from geounet.formats.vector_io import write_vectors
from geounet.jobs.checking import check_job, confirmation_of
from geounet.jobs.job import Rule, read_job, several
from geounet.maps.frame import lattice_for
from geounet.maps.layers import open_layer
from geounet.models.model_file import read_card
from geounet.outputs import atomic, claimed, holder_of, sweep, workspace_of
from geounet.pages.monitoring import monitoring_page
from geounet.products.batch import DONE, FAILED, KEPT, UNCHANGED
from geounet.raster.opening import Opening
from geounet.raster.remote import public_name
from geounet.raster.scene import small_cache
from geounet.sources.listing import list_scenes
from geounet.sources.scenes import scene_id
from geounet.sources.search import Search, search
from geounet.sources.times import time_of
from geounet.tasks.run import Recipe, run
from geounet.tasks.vectorize import Zonal, polygon_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import geopandas as gpd

    from geounet.jobs.job import Job
    from geounet.models.model_file import ModelCard
    from geounet.products.batch import Batch, Entry

    Progress = Callable[[int, int], None]

__all__ = ["Report", "monitor", "report_of"]

RECORD, RUNS = "monitor.json", "runs.jsonl"
"""The state of the last run, whose claim is the job's lock; a line for each run."""
EVENTS = ("events.parquet", "events.gpkg")
PAGE = "report.html"
_MADE_OF = "made_of.json"
_BLOCKS, _PRODUCTS, _PAIRS, _ALERTS = "blocks", "products", "pairs", "alerts"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """What a run of a job has done, or would do."""

    job: str
    """The job's name."""
    state: str = "running"
    """`running`, `finished`, `stopped`; `dead` of one that said running and whose process is no more."""
    started: str = ""
    """ISO 8601, UTC."""
    seconds: float = 0.0
    """From the start to the end."""
    new: list[str] = field(default_factory=list)
    """Ids of the scenes that were brought in; of a dry run, names of those that would be."""
    repeated: list[str] = field(default_factory=list)
    """Names of scenes that came again under another name."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Ids of scenes that are no observation, and why."""
    failures: dict[str, str] = field(default_factory=dict)
    """Names of scenes and sources that could not be used, and why; they are tried again by the next run."""
    unreachable: bool = False
    """Whether no source could be looked at."""
    scenes: int = 0
    """Observations that the state is made of."""
    blocks: int = 0
    """Blocks that were worked on."""
    events: dict[str, int] = field(default_factory=dict)
    """Events by status."""
    hectares: dict[str, float] = field(default_factory=dict)
    """Their hectares by status."""
    alerts: int = 0
    """Alerts that became due in this run."""
    sent: int = 0
    """Alerts that arrived."""
    waiting: int = 0
    """Alerts that are to be sent again."""
    same: bool | None = None
    """Of a replay: whether the state came out as it was."""
    holder: dict[str, Any] = field(default_factory=dict)
    """Host, process and start of the run that is at work; empty where there is none."""


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
        replay: forget the states of the pixels, work them out anew from the products, and say whether they are as before.
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
            report.new = list(_new_scenes(job, read_ledger(job.out), report))
        return report
    start = time.monotonic()
    with claimed([job.out / RECORD], "monitor", overwrite=True), small_cache():
        _keep(job, report)
        try:
            _Run(job, report, show, progress).do(replay=replay)
            report.state = "finished"
        except BaseException:
            report.state = "stopped"
            raise
        finally:
            report.seconds = round(time.monotonic() - start, 3)
            _keep(job, report)
            _log_run(job, report)
    sweep(job.out)
    return report


def report_of(path: Path) -> Report:
    """The last run of a job, by its file or its folder; whether one is at work.

    Raises:
        JobError: the job file is wrong.
        OutputError: there has been no run.
    """
    folder = path if path.is_dir() else read_job(path).out
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        report = Report(**told)
    except FileNotFoundError as error:
        raise OutputError(f"{folder} is no folder that geounet monitor has worked in: it has no {RECORD}") from error
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{folder / RECORD} is damaged ({error}); the next run writes it anew") from error
    report.holder = holder_of(folder / RECORD)
    if report.state == "running" and not report.holder:
        report.state = "dead"
    return report


def _keep(job: Job, report: Report) -> None:
    with atomic(job.out / RECORD) as draft:
        draft.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")


def _log_run(job: Job, report: Report) -> None:
    with (job.out / RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(report)) + "\n")


def _new_scenes(job: Job, ledger: Ledger, report: Report) -> dict[str, str]:
    """What scenes are opened by that the ledger does not know, or that are others now; each with its stamp."""
    known = {seen.name: seen.stamp for seen in ledger.scenes.values()}
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


class _Run:
    """One run of a job."""

    def __init__(self, job: Job, report: Report, show: Callable[[Batch], None], progress: Progress) -> None:
        self._job, self._report, self._show, self._progress = job, report, show, progress
        self._model = Path(job.at(job.model.file))
        self._card: ModelCard = read_card(self._model)
        self._ledger = read_ledger(job.out)
        self._products = job.out / _PRODUCTS
        self._threads = os.cpu_count() or 1

    def do(self, *, replay: bool) -> None:
        """Find, predict, bring in, write, tell."""
        made = self._predicted()
        watch = self._watch(made)
        if watch is None:
            write_ledger(self._job.out, self._ledger)
            return
        self._bring_in(made, watch)
        write_ledger(self._job.out, self._ledger)
        used = self._ledger.used()
        self._report.scenes = len(used)
        self._report.left_out = {seen.id: seen.left_out for seen in self._ledger.in_order() if seen.left_out}
        if used:
            events = self._state(watch, used, replay=replay)
            self._tell(events)
            monitoring_page(self._job.out, asdict(self._report), events, self._job.out / RUNS, self._job.out / PAGE)

    def _predicted(self) -> dict[str, tuple[Seen, Path]]:
        """New scenes as the batch engine has made products of them, by their ids; without their place as yet."""
        new = _new_scenes(self._job, self._ledger, self._report)
        times: dict[str, datetime] = {}
        for name in list(new):
            try:
                times[name] = time_of(name, self._job.source.date_pattern)
            except GeounetError as error:
                self._report.failures[public_name(name)] = str(error)
                new.pop(name)
        made: dict[str, tuple[Seen, Path]] = {}
        if new:
            batch = run(list(new), self._model, self._products, self._recipe(), show=self._show)
            for name, entry in zip(new, batch.scenes, strict=True):
                if entry.state in (DONE, UNCHANGED, KEPT):
                    made[entry.id] = self._seen(name, new[name], times[name], entry), self._products / entry.folder
                elif entry.state == FAILED:
                    self._report.failures[entry.scene] = entry.failure
        self._ledger.failures = dict(self._report.failures)
        return made

    def _seen(self, name: str, stamp: str, taken: datetime, entry: Entry) -> Seen:
        share = entry.valid_share or 0.0
        least = self._job.source.min_valid
        why = f"{share:.1%} of its pixels are valid, and {least:.1%} is asked for" if share < least else ""
        why = why or ("none of its pixels is valid" if share == 0 else "")
        when = taken.astimezone(UTC).isoformat()
        return Seen(entry.id, name, stamp, when, entry.folder, "", round(share, 6), (0, 0, 0, 0), {}, why)

    def _recipe(self) -> Recipe:
        """How scenes are predicted: nothing that depends on which of them come together is left open."""
        job, card = self._job, self._card
        device = pick_device(job.model.device)
        engine = Engine(
            precision=job.model.precision, halo=card.halo, runtime=pick_runtime("auto", device),
            device=job.model.device, workers=job.model.workers, scheduler=job.model.scheduler,
        )  # fmt: skip
        masks = tuple(several(job.source.mask))
        opening = Opening(masks=masks, mask_dilate=job.source.mask_dilate, aoi=job.aoi or None)
        return Recipe(
            bands=job.source.bands or None, opening=opening, radiometry=job.source.radiometry, vector_format="parquet",
            engine=engine,
        )  # fmt: skip

    def _watch(self, made: dict[str, tuple[Seen, Path]]) -> Watch | None:
        """The lattice (the job's, or that of the earliest scene) and the rule; None where there is no scene yet."""
        known = {seen.id: (seen, self._products / seen.folder) for seen in self._ledger.scenes.values()} | made
        if not known:
            return None
        first, folder = min(known.values(), key=lambda one: (datetime.fromisoformat(one[0].taken), one[0].id))
        layer, grid = open_layer(folder), self._job.grid
        crs, lattice = lattice_for([layer], grid.crs or "auto", grid.resolution)
        _log.debug("the lattice is that of %s", first.id)
        return Watch(crs, lattice, confirmation_of(self._job), self._watched())

    def _watched(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        names = {item.value: item.name for item in self._card.classes}
        before, after = (several(names_) for names_ in (self._job.change.before, self._job.change.after))
        table = np.zeros((256, 256), np.uint8)
        for old, old_name in names.items():
            for new, new_name in names.items():
                table[old, new] = (not before or old_name in before) and (not after or new_name in after)
        return table

    def _bring_in(self, made: dict[str, tuple[Seen, Path]], watch: Watch) -> None:
        """Note where products lie on the lattice, and how much of each class they hold."""
        if self._ledger.lattice != watch.lattice_key:
            if self._ledger.scenes:
                _log.warning("the lattice is another one: the state of all pixels is worked out anew")
            there = [(seen.id, self._products / seen.folder) for seen in self._ledger.scenes.values()]
            areas = [(name, watch.lattice.around([open_layer(place).classes], watch.crs)) for name, place in there]
            self._ledger.moved_to(watch.lattice_key, areas)
        with ProductReaders(watch) as readers:
            for name, (seen, folder) in sorted(made.items()):
                layer = open_layer(folder)
                area = watch.lattice.around([layer.classes], watch.crs)
                seen = replace(seen, digest=layer.digest, area=(area.row, area.col, area.height, area.width))
                classes = hectares_by_class(seen.observation(self._products), layer, watch, readers)
                self._ledger.put(replace(seen, classes=classes))
                self._report.new.append(name)

    def _state(self, watch: Watch, used: list[Seen], *, replay: bool) -> gpd.GeoDataFrame:
        """Bring the state up to the scenes, write it, and give its events."""
        out, observations = self._job.out, [seen.observation(self._products) for seen in used]
        store = BlockStore(out / _BLOCKS, watch)
        before = self._digests() if replay else {}
        if replay:
            shutil.rmtree(store.folder, ignore_errors=True)
            (out / _MADE_OF).unlink(missing_ok=True)
        self._report.blocks = update_blocks(store, watch, observations, self._threads, self._progress)
        for other in (out / _BLOCKS).iterdir():
            if other != store.folder:
                shutil.rmtree(other, ignore_errors=True)
        cover = Cover(store, watch, cover_of(observations), kinds_of(self._card.classes))
        made_of = self._made_of(watch, used)
        if not self._is_written(made_of):
            self._write(cover, used)
            with atomic(out / _MADE_OF) as draft:
                draft.write_text(json.dumps(made_of), encoding="utf-8")
        if replay:
            self._report.same = before == self._digests()
        return _read_events(out)

    def _made_of(self, watch: Watch, used: list[Seen]) -> str:
        """Tells whether what is written is what would be."""
        names = [(item.value, item.name, item.color) for item in self._card.classes]
        parts = [watch.key, self._job.change.min_area, names, [asdict(seen) for seen in used]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _is_written(self, made_of: str) -> bool:
        out = self._job.out
        try:
            same = json.loads((out / _MADE_OF).read_text(encoding="utf-8")) == made_of
        except (OSError, ValueError):
            return False
        return same and all((out / name).exists() for name in _outputs())

    def _digests(self) -> dict[str, str]:
        """Hashes of all that is written, by name."""
        places = [self._job.out / name for name in _outputs()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in places if path.exists()}

    def _write(self, cover: Cover, used: list[Seen]) -> None:
        """The state's rasters, events, timeline and transitions."""
        out = self._job.out
        write_states(out, cover)
        aside = workspace_of(out / RECORD) / "events"
        aside.mkdir()
        with event_rasters(aside, cover) as rasters:
            pass
        polygons = [(phase, self._polygons(phase, *rasters[phase])) for phase in PHASES]
        shutil.rmtree(aside)
        events = events_of(polygons, cover.kinds, cover.area, CRS.from_wkt(cover.watch.crs.to_wkt()))
        for name in EVENTS:
            write_vectors(events, out / name, overwrite=True)
        names = {item.value: item.name for item in self._card.classes}
        write_timeline(out / TIMELINE, used, names)
        with ProductReaders(cover.watch) as readers:
            matrices = Matrices(out / _PAIRS, cover.watch, self._products, readers)
            pairs = pairs_to_compare(used)
            rows = [(later, earlier, which, matrices.of(earlier, later)) for later, earlier, which in pairs]
            matrices.forget_others()
        write_transitions(out / TRANSITIONS, rows, names)

    def _polygons(self, phase: str, kinds: Path, known: Path) -> gpd.GeoDataFrame:
        wanted = {"key": "min", "confirmed": "min", "last": "max", "confidence": "mean"}
        stats = [Zonal(known, (statistic,), band) for band, statistic in wanted.items()]
        frame = polygon_frame(kinds, stats=stats, min_area=self._job.change.min_area)
        return frame.rename(columns=lambda name: name.removeprefix(f"{phase}_"))

    def _tell(self, events: gpd.GeoDataFrame) -> None:
        """Count events, and send alerts."""
        for status, found in events.groupby("status"):
            self._report.events[str(status)] = len(found)
            self._report.hectares[str(status)] = round(float(found["area_ha"].sum()), 6)
        alerts, outbox = self._job.alerts, Outbox(self._job.out / _ALERTS)
        if not alerts.wanted:
            return
        fresh = due(events, alerts.rules or [Rule()], self._job.name, self._job.at, outbox.told)
        outbox.add(fresh)
        self._report.alerts = len(fresh)
        delivered: Delivered = outbox.send(channels_of(alerts, self._job.at))
        self._report.sent, self._report.waiting = delivered.sent, delivered.waiting
        for failure in delivered.failures:
            _log.warning("%s; the next run sends it again", one_line(GeounetError(failure)))


def _outputs() -> list[str]:
    return [*(f"{name}.tif" for name in NAMES), *EVENTS, TIMELINE, TRANSITIONS]


def _read_events(folder: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_parquet(folder / EVENTS[0])
