"""All scenes to products and a catalogue: one cluster, one model, one choice for each kind of scene."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.errors import RasterioError

from geounet.engine.cluster import SchedulerGoneError, threads_per_worker
from geounet.engine.compatibility import region_of, scene_for_model
from geounet.engine.devices import pick_device
from geounet.engine.plan import HERE, choice_for
from geounet.engine.tuning import Choice
from geounet.errors import GeounetError, OutputError, SceneError, UnreachableError
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import claimed, is_unfinished, sweep
from geounet.products.batch import (
    DONE,
    FAILED,
    KEPT,
    RUNNING,
    SUMMARY,
    UNCHANGED,
    Batch,
    Entry,
    Journal,
    read_batch,
)  # fmt: skip
from geounet.products.bucket import Bucket, is_bucket, workshop_of
from geounet.products.catalogue import TABLE, write_catalogue
from geounet.products.names import folder_name
from geounet.products.record import CATALOG, COLLECTION, RECORD, is_whole, read_record
from geounet.raster.placement import pixel_size
from geounet.raster.remote import public_name
from geounet.raster.scene import small_cache
from geounet.sources.listing import list_scenes
from geounet.sources.scenes import frame_of, scene_id
from geounet.tasks.predict import connected
from geounet.tasks.product import Recipe, making_of, product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Client

    from geounet.models.model_file import ModelCard
    from geounet.products.record import Product

    Show = Callable[[Batch], None]

__all__ = ["Batch", "Recipe", "run"]

_AT_ONCE = 3
"""Scenes at work on one machine: one is read while the network is busy with another, and a third becomes polygons."""
_MOST_AT_ONCE = 64
_DEATHS = 2
"""How many workers may die over a scene."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Seconds before something is tried again; the first time, and at most."""
_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The batch is being stopped, and what is at work with it."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be done for a scene."""

    entry: Entry
    name: str
    """What the scene is opened by."""
    recipe: Recipe
    """With what was chosen for its kind."""
    overwrite: bool
    reuse: bool


def run(
    names: Sequence[str | Path],
    model: Path,
    folder: Path | str,
    recipe: Recipe | None = None,
    *,
    pattern: str | None = None,
    changed: str = "redo",
    on_error: str = "skip",
    retries: int = 2,
    overwrite: bool = False,
    dry_run: bool = False,
    show: Show = lambda _batch: None,
) -> Batch:
    """Make a product of each scene (:func:`geounet.tasks.product.product`) in a folder of its own, and a catalogue.

    Finished products are passed over, unfinished ones gone on with, those whose scene, model or options have changed
    made anew. One run at a time works in a folder.

    Args:
        names: any source, see :func:`geounet.sources.listing.list_scenes`.
        model: the model file.
        folder: gets the products, `catalog.json`, `collection.json`, `items.parquet` and `summary.json`; or the URL of
            a prefix in an object store, see :mod:`geounet.products.bucket`.
        recipe: what is made of each scene.
        pattern: of folders, only the files whose name fits it.
        changed: `redo` or `skip` finished products whose scene, model or options are others now.
        on_error: `skip` a scene that fails, or `stop`.
        retries: how often a scene is tried again after the network or a disk failed, with growing pauses.
        overwrite: make all of them anew.
        dry_run: only say what would be done.
        show: called with the state of the batch whenever it changes.

    Returns:
        The batch; scenes that failed are among its entries.

    Raises:
        GeounetError: no scene is named, two have one id, the model cannot be used, or another run is at work there.
        SchedulerGoneError: it did.
    """
    bucket = Bucket(str(folder)) if is_bucket(folder) else None
    place = Path(folder) if bucket is None else workshop_of(str(folder))
    recipe = recipe or Recipe()
    recipe = replace(recipe, opening=recipe.opening.anywhere)
    work = _Work(model, place, recipe, changed, overwrite, read_card(model), bucket)
    tasks = _entries(names, pattern)
    batch = Batch([entry for entry, _ in tasks])
    if dry_run:
        with work.elsewhere() as looking:
            looking.begin(batch)
            for entry, name in tasks:
                _look_only(looking, entry, name)
        return batch
    with claimed([place / SUMMARY], "batch", overwrite=True), ExitStack() as stack:
        if bucket is not None:
            stack.enter_context(bucket.leased())
        work.begin(batch)
        journal = Journal(place, batch, show)
        runner = _Runner(work, journal, on_error, retries, stack)
        try:
            runner.run(tasks)
        except BaseException:
            runner.stop()
            journal.end("stopped")
            raise
        write_catalogue(place)
        journal.end("stopped" if runner.stopped else "finished")
        work.put_all()
    sweep(place)
    return batch


def _look_only(work: _Work, entry: Entry, name: str) -> None:
    try:
        work.look(entry, name)
    except GeounetError as error:
        entry.state, entry.failure = FAILED, str(error)


def _entries(names: Sequence[str | Path], pattern: str | None) -> list[tuple[Entry, str]]:
    """An entry for each scene, and what the scene is opened by.

    Raises:
        SceneError: two scenes have one id.
    """
    tasks: list[tuple[Entry, str]] = []
    owners: dict[str, str] = {}
    for name in list_scenes(names, pattern):
        identifier = _id_of(name)
        entry = Entry(identifier, public_name(name), folder_name(identifier))
        other = owners.setdefault(entry.folder.casefold(), entry.scene)
        if other != entry.scene:
            raise SceneError(
                f"{other} and {entry.scene} have the same id, {identifier}, and would share a folder; run them into "
                "two folders, or rename one"
            )
        tasks.append((entry, name))
    return tasks


def _id_of(name: str) -> str:
    """A scene's id; of one that cannot be read, which is said when it is its turn, the name of its file."""
    try:
        return scene_id(name)
    except SceneError:
        return Path(public_name(name)).stem


@dataclass(frozen=True, slots=True)
class _Work:
    """What is asked for, for all scenes alike."""

    model: Path
    folder: Path
    recipe: Recipe
    changed: str
    overwrite: bool
    card: ModelCard
    bucket: Bucket | None = None
    """Where products go from the folder, if they do not stay there."""
    there: set[str] = field(default_factory=set)
    """Names of the folders of products that are there."""

    @contextmanager
    def elsewhere(self) -> Iterator[_Work]:
        """The same in a folder where no other run's files are in the way; itself where it stays in its folder."""
        if self.bucket is None:
            yield self
            return
        with tempfile.TemporaryDirectory() as name:
            yield replace(self, folder=Path(name))

    def begin(self, batch: Batch) -> None:
        """Take up what earlier runs have chosen, and bring records and state of an object store here."""
        if self.bucket is not None:
            self._fetch(self.bucket)
        before = read_batch(self.folder)
        if before is not None:
            batch.kinds, batch.speed = before.kinds, before.speed

    def _fetch(self, bucket: Bucket) -> None:
        self.there.update(bucket.records())
        bucket.fetch(SUMMARY, self.folder / SUMMARY)
        for name in self.there:
            if not is_unfinished(self.folder / name / RECORD):
                bucket.fetch(f"{name}/{RECORD}", self.folder / name / RECORD)

    def make(self, task: _Task, make: Callable[..., Product]) -> Product:
        """Make a product and, where they go elsewhere, put it there."""
        place = self.folder / task.entry.folder
        tiles = None if self.bucket is None else self.bucket.tiles_of(task.entry.folder)
        how = {"overwrite": task.overwrite, "reuse": task.reuse, "tiles": tiles}
        made = make(task.name, self.model, place, task.recipe, **how)
        if self.bucket is not None:
            self.bucket.put_product(place)
            self.bucket.put(self.folder / SUMMARY, SUMMARY)
            self.there.add(task.entry.folder)
        return made

    def put_all(self) -> None:
        """Put what is of all products together where they are."""
        if self.bucket is not None:
            for name in (CATALOG, COLLECTION, TABLE, SUMMARY):
                if (self.folder / name).exists():
                    self.bucket.put(self.folder / name, name)

    def look(self, entry: Entry, name: str) -> tuple[bool, bool] | None:
        """Say in the entry whether and why a scene is to be done.

        Returns:
            Whether what is there is replaced, and whether its prediction may be kept; None where nothing is to be done.

        Raises:
            GeounetError: the scene cannot be opened, or its folder holds other work.
        """
        place = self.folder / entry.folder
        frame = frame_of(name, self.recipe.bands, self.recipe.opening)
        entry.pixels = region_of(frame, self.recipe.bbox).pixels
        if self.overwrite:
            entry.reason = "--overwrite"
            return True, False
        if is_unfinished(place / RECORD):
            entry.reason = "unfinished"
            return True, False
        found = read_record(place)
        if found is None:
            entry.reason = "new"
            return False, False
        old, new = found[1], making_of(name, self.model, self.recipe)
        differences = new.differences(old)
        entry.reason = ", ".join(differences)
        if not (is_whole(found[0]) if self.bucket is None else entry.folder in self.there):
            entry.reason = "files of it are missing" if self.bucket is None else "not put there yet"
        elif not differences or self.changed == "skip":
            entry.state, entry.share = (KEPT if differences else UNCHANGED), 1.0
            entry.take(found[0])
            return None
        return True, old.options.get("steps") == new.options.get("steps")

    def choose(self, name: str, pixels: int) -> Choice:
        """What an engine leaves open, chosen on a scene for so many pixels of its kind together."""
        engine, device = self.recipe.engine, pick_device(self.recipe.engine.device)
        scene = scene_for_model(name, self.card, **_for_model(self.recipe), say=lambda _remarks: None)
        return choice_for(scene, self.card, self.model, device, engine, region_of(scene, self.recipe.bbox), pixels)

    def kind_of(self, name: str) -> dict[str, Any]:
        """What scenes of one kind have in common, and what else a choice depends on."""
        frame = frame_of(name, self.recipe.bands, self.recipe.opening)
        engine, size = self.recipe.engine, pixel_size(frame)
        return {
            "bands": list(frame.band_names),
            "dtype": frame.dtype,
            "resolution": None if size is None else round(size[0], 3),
            "model": fingerprint(self.model),
            "asked": [engine.window_size, engine.halo, engine.device, engine.precision, engine.runtime],
        }


def _for_model(recipe: Recipe) -> dict[str, Any]:
    names = ("bands", "bbox", "opening", "radiometry", "force")
    return {name: getattr(recipe, name) for name in names}


class _Runner:
    """Several scenes at work at once, begun in their order, by one cluster that starts with the first of them."""

    def __init__(self, work: _Work, journal: Journal, on_error: str, retries: int, stack: ExitStack) -> None:
        self.stopped = False
        self._work, self._journal, self._on_error, self._retries = work, journal, on_error, retries
        self._stack = stack
        self._pool: ThreadPoolExecutor | None = None
        self._slots = _AT_ONCE
        self._cluster: _Cluster | None = None
        self._held = False
        self._flying: set[Future[None]] = set()

    def run(self, tasks: list[tuple[Entry, str]]) -> None:
        """Do them all.

        Raises:
            SchedulerGoneError: it did.
        """
        for entry, name in tasks:
            if self.stopped:
                break
            task = self._attempt(entry, partial(self._prepared, entry, name))
            if task is not None:
                pool = self._started()
                if entry.pixels > task.recipe.engine.tile_size**2:
                    self._hold()
                while len(self._flying) >= self._slots:
                    self._land()
                self._flying.add(pool.submit(self._do, task))
        while self._flying:
            self._land()

    def stop(self) -> None:
        """Begin nothing any more, and let what is at work end at its next block."""
        self.stopped = True
        wait(self._flying)

    def _land(self) -> None:
        landed, self._flying = wait(self._flying, return_when=FIRST_COMPLETED)
        for future in landed:
            future.result()

    def _started(self) -> ThreadPoolExecutor:
        """The threads that scenes are done in; with them come the cluster and a small cache, until the batch ends."""
        if self._pool is None:
            engine = self._work.recipe.engine
            self._stack.enter_context(small_cache())
            if engine.scheduler != "local" or engine.workers > 1:
                self._cluster = _Cluster(self._stack.enter_context(connected(engine)))
                self._held = True
                self._slots = min(_AT_ONCE - 1 + self._cluster.threads, _MOST_AT_ONCE)
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self._slots))
        return self._pool

    def _hold(self) -> None:
        """Keep the cluster within this process from the first scene of several blocks to the end of the batch."""
        if not self._held:
            self._stack.enter_context(connected(self._work.recipe.engine))
            self._held = True

    def _prepared(self, entry: Entry, name: str) -> _Task | None:
        """What is to be done for a scene; None where nothing is."""
        found = self._work.look(entry, name)
        if found is None:
            self._journal.change(entry, state=entry.state)
            sweep(self._work.folder / entry.folder)
            return None
        recipe = self._work.recipe
        choice = self._choice(entry, name)
        return _Task(entry, name, replace(recipe, engine=replace(recipe.engine, choice=choice)), *found)

    def _choice(self, entry: Entry, name: str) -> Choice:
        """What was chosen for the scene's kind, by an earlier run too; else it is chosen now, and noted."""
        batch, kind = self._journal.batch, self._work.kind_of(name)
        for known in batch.kinds:
            if kind.items() <= known.items():
                return Choice(**known["choice"])
        choice = self._work.choose(name, entry.pixels * len(batch.scenes))
        self._journal.keep({**kind, "probed": entry.scene, "choice": asdict(choice)})
        return choice

    def _do(self, task: _Task) -> None:
        entry, start = task.entry, time.monotonic()
        self._journal.change(entry, state=RUNNING)

        def progress(done: int, blocks: int) -> None:
            if self.stopped:
                raise _StoppedError
            self._journal.change(entry, share=done / blocks if blocks else 1.0)

        def make() -> Product:
            entry.attempts += 1
            if self._cluster is not None and entry.pixels <= task.recipe.engine.tile_size**2:
                return self._work.make(task, self._cluster.make)
            return self._work.make(task, partial(product, progress=progress))

        made = self._attempt(entry, make)
        if made is not None:
            entry.take(made)
            self._journal.change(entry, state=DONE, share=1.0, seconds=round(time.monotonic() - start, 3))

    def _attempt(self, entry: Entry, function: Callable[[], Any]) -> Any:
        """What the function gives, tried again where the network or a disk failed; None where it fails for good.

        A scene's failure is noted, whatever it is: it shall not cost another scene.

        Raises:
            SchedulerGoneError: it did.
        """
        from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_random_exponential

        persistently = Retrying(
            stop=stop_after_attempt(self._retries + 1),
            wait=wait_random_exponential(_FIRST_WAIT, _LONGEST_WAIT),
            retry=retry_if_exception(_may_pass),
            before_sleep=before_sleep_log(_log, logging.INFO),
            reraise=True,
        )
        try:
            return persistently(function)
        except SchedulerGoneError:
            raise
        except _StoppedError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, the other scenes are done
            failure = str(error) if isinstance(error, GeounetError) else f"{type(error).__name__}: {error}"
            _log.debug("%s failed", entry.scene, exc_info=True)
            self._journal.change(entry, state=FAILED, failure=" ".join(failure.split()), share=0.0)
            self.stopped = self.stopped or self._on_error == "stop"
        return None


class _Cluster:
    """Workers elsewhere, or processes of their own: a scene of one block is as a whole the task of one of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._share = threads_per_worker(client)
        self.threads = max(1, sum(client.nthreads().values()))

    def make(self, name: str, model: Path, folder: Path, recipe: Recipe, **how: Any) -> Product:
        """As :func:`geounet.tasks.product.product`; what is said there is said here.

        Raises:
            SchedulerGoneError: it did.
        """
        from distributed import CancelledError

        engine = replace(recipe.engine, scheduler=HERE, threads=self._share)
        # A worker may have been started in another folder.
        place = str(Path(name).absolute()) if Path(name).exists() else name
        work = partial(_made_there, place, model.absolute(), folder.absolute(), replace(recipe, engine=engine), how)
        future = self._client.submit(work, pure=False, retries=_DEATHS)
        try:
            outcome: _Outcome = future.result()
        except CancelledError as gone:
            raise SchedulerGoneError from gone
        for logger, level, text in outcome.said:
            logging.getLogger(logger).log(level, "%s", text)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.product is not None
        return replace(outcome.product, folder=folder, polygons=folder / outcome.product.polygons.name)


class _Said(logging.Handler):
    """Keeps what this thread says."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[tuple[str, int, str]] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.records.append((record.name, record.levelno, record.getMessage()))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a scene where a worker did all of it."""

    product: Product | None
    error: Exception | None
    said: list[tuple[str, int, str]]
    """Name of a logger, level, and text."""


def _made_there(name: str, model: Path, folder: Path, recipe: Recipe, how: dict[str, Any]) -> _Outcome:
    """Make a product, as the task of a worker."""
    said, logger = _Said(), logging.getLogger("geounet")
    logger.addHandler(said)
    try:
        return _Outcome(product(name, model, folder, recipe, **how), None, said.records)
    except Exception as error:  # noqa: BLE001 - raised where the batch is
        return _Outcome(None, _portable(error), said.records)
    finally:
        logger.removeHandler(said)


def _portable(error: Exception) -> Exception:
    """The error without its cause, which may not survive the journey; what may pass stays so."""
    if isinstance(error, GeounetError):
        return UnreachableError(*error.args) if _may_pass(error) else type(error)(*error.args)
    return error if isinstance(error, OSError) else RuntimeError(f"{type(error).__name__}: {error}")


def _may_pass(error: BaseException) -> bool:
    """Whether it is of the network or a disk, so that it may be gone another time."""
    cause = error.__cause__ if isinstance(error, OutputError) else error
    by_gdal = isinstance(cause, RasterioError)
    return isinstance(error, UnreachableError) or (
        isinstance(cause, OSError) and not isinstance(cause, SchedulerGoneError) and not by_gdal
    )
