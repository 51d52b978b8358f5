"""Scene to class raster: plan the blocks, let Dask run them, gather the tile store into COGs."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.arrays import on_disk
from geounet.classes import CONFIDENCE_LEVELS, NODATA
from geounet.engine.cluster import connect, map_unordered, threads_per_worker, usable_cores
from geounet.engine.compatibility import region_of, scene_for_model
from geounet.engine.devices import count_devices, pick_device
from geounet.engine.inference import PROBABILITIES, Job, run_block
from geounet.engine.plan import HERE, Engine, Plan, choice_for, plan_prediction
from geounet.engine.provenance import Work, request_of, store_identity, tags_for
from geounet.engine.quantization import quantize
from geounet.engine.runtimes import NetworkSetup
from geounet.engine.tile_places import place_of
from geounet.engine.tile_store import BlockRecord, Layer, TileStore, open_store
from geounet.engine.tuning import Tuning, fit
from geounet.errors import GeounetError, OutputError, SceneError, UnreachableError
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import check_ending, claimed, workspace_of
from geounet.raster.cog import ENDINGS, RasterProfile, write_cog
from geounet.raster.identity import identity_of
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import transform_of
from geounet.raster.scene import small_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import xarray
    from distributed import Client

    from geounet.classes import LandClass
    from geounet.grid import Block
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

    Progress = Callable[[int, int], None]

__all__ = ["Engine", "Prediction", "predict", "request_of"]

PROBABILITY_TYPES = ("uint8", "float16")
"""How probabilities are stored: 0 to 254 with a scale of 1/254 and 255 for nodata, or half precision and NaN."""
VALID_PIXELS = "VALID_PIXELS"
"""The tag of a prediction's rasters that tells how many of their pixels have a class."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What came of it."""

    pixels: int
    """Of the region."""
    valid: int
    """Pixels with a class."""
    class_pixels: tuple[tuple[LandClass, int], ...]
    """Pixels of each class."""
    windows: int
    """Windows that went through the network."""
    skipped: int
    """Windows without a valid pixel."""
    resumed: int
    """Blocks that an earlier run had finished."""
    blocks: int
    """Blocks in all."""
    seconds: float
    """Time it took."""
    tuning: Tuning
    """What it ran with."""


def predict(
    path: str | Path | xarray.DataArray,
    model: Path,
    out: Path,
    *,
    confidence: Path | None = None,
    probabilities: Path | None = None,
    probabilities_dtype: str = "uint8",
    bands: Sequence[int] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    opening: Opening = AS_IS,
    radiometry: str = "auto",
    force: bool = False,
    engine: Engine | None = None,
    tiles: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Prediction:
    """Predict a scene into a class raster (COG) and, if wanted, rasters of the confidence and of all probabilities.

    Finished blocks stand in a tile store beside `out` (its name and `.tiles`) until the rasters are written; a run
    that was interrupted goes on from there.

    Args:
        path: the scene: a name, or an array of :func:`geounet.open_scene`, which is written to a file meanwhile.
        model: the model file.
        out: class raster: class values, 255 where nodata.
        confidence: probability of the class, stored as 0 to 254 with a scale of 1/254, 255 where nodata.
        probabilities: one band a class, in the model's order, with its name.
        probabilities_dtype: one of :data:`PROBABILITY_TYPES`.
        bands: bands of the scene to read, from 1; see :func:`geounet.engine.compatibility.scene_for_model`.
        bbox: minimum x, minimum y, maximum x, maximum y in the scene's CRS: only the pixels that it touches.
        opening: what the user says of the scene.
        radiometry: see :func:`geounet.engine.radiometry.with_numbers`.
        force: see :func:`geounet.engine.compatibility.scene_for_model`.
        engine: how to run.
        tiles: a prefix in an object store of which no other run makes use: there the tile store stands instead, and
            unfinished work of other requests is replaced.
        overwrite: replace outputs that exist, and start unfinished work of other requests anew.
        progress: called with the blocks done and the blocks in all.

    Raises:
        GeounetError: a scene or model that cannot be used, or an output that cannot be written.
        ValueError: there is no such data type for probabilities.
    """
    if probabilities_dtype not in PROBABILITY_TYPES:
        raise ValueError(f"probabilities are {' or '.join(PROBABILITY_TYPES)}, not {probabilities_dtype}")
    start = time.perf_counter()
    engine = engine or Engine()
    outputs = _Outputs(out, confidence, probabilities)
    outputs.check()
    with on_disk(path) as place:
        request = request_of(
            place, model, bands=bands, bbox=bbox, opening=opening, radiometry=radiometry, engine=engine
        )
        dtype = None if probabilities is None else probabilities_dtype
        with claimed(outputs.paths, f"{request} {dtype}", overwrite) as claim:
            card = read_card(model)
            scene = scene_for_model(place, card, bands, opening=opening, bbox=bbox, radiometry=radiometry, force=force)
            device = pick_device(engine.device)
            plan = _plan(scene, card, model, device, engine, bbox)
            work = Work(plan, model.absolute(), fingerprint(model), device, request, dtype)
            store = _open_store(work, out, tiles, restart=overwrite and not claim.resumed)
            done = _fill(work, outputs, store, engine, progress)
    return _summary(plan, *done, time.perf_counter() - start)


def _plan(
    scene: Scene,
    card: ModelCard,
    model: Path,
    device: str,
    engine: Engine,
    bbox: tuple[float, float, float, float] | None,
) -> Plan:
    region = region_of(scene, bbox)
    choice = engine.choice or choice_for(scene, card, model, device, engine, region)
    tuning = fit(choice, scene, card, region=region, window_size=engine.window_size)
    plan = plan_prediction(scene, card, tuning, engine.tile_size, region, tta=engine.tta)
    if plan.tiling.startswith("approximate"):
        _log.warning("the tiling may show; %s", plan.tiling)
    return plan


def _fill(
    work: Work, outputs: _Outputs, store: TileStore, engine: Engine, progress: Progress
) -> tuple[Tuning, list[BlockRecord], int]:
    """Run what is missing in the tile store, and make the rasters of it.

    Returns:
        What it ran with, the records of all blocks, and how many of them an earlier run had finished.
    """
    aside, before = workspace_of(outputs.classes), store_identity(work)["scene"]
    try:
        work = _with_integers(work, store, aside) if work.plan.tuning.precision == "int8" else work
        with small_cache():
            records, resumed = _run_blocks(work, store, engine, progress)
        _check_unchanged(work.plan.scene, before)
    except UnreachableError:
        # A server's trouble passes, and a fresh signed URL is the same scene: the finished blocks stay.
        raise
    except GeounetError:
        # Known to be wrong with the input, so trying again would end the same way: nothing is left to resume.
        store.remove(aside)
        raise
    _gather(work, store, outputs, sum(record.valid for record in records))
    store.remove(aside)
    return work.plan.tuning, records, resumed


@dataclass(frozen=True, slots=True)
class _Outputs:
    """The rasters to write."""

    classes: Path
    confidence: Path | None
    probabilities: Path | None

    @property
    def paths(self) -> list[Path]:
        """All of them, the one that is written last first."""
        return [path for path in (self.classes, self.confidence, self.probabilities) if path is not None]

    def check(self) -> None:
        for index, path in enumerate(self.paths):
            if path.absolute() in [other.absolute() for other in self.paths[:index]]:
                raise OutputError(f"two rasters (classes, confidence, probabilities) have the same name: {path}")
            check_ending(path, *ENDINGS)


def _check_unchanged(scene: Scene, before: list[Any]) -> None:
    if identity_of(scene.path) != before:
        raise SceneError(
            f"{scene.label} was written anew while it was read; nothing is kept of this run, start it again"
        )


def _open_store(work: Work, out: Path, tiles: str | None, *, restart: bool) -> TileStore:
    plan, layers = work.plan, [Layer("classes"), Layer("confidence")]
    if work.probabilities:
        layers.append(Layer(PROBABILITIES, len(plan.card.classes), work.probabilities))
    return open_store(
        tiles or out.with_name(f"{out.name}.tiles"),
        plan.grid.region,
        plan.block_shape,
        layers,
        store_identity(work),
        aside=workspace_of(out),
        corner=(plan.grid.origin_row - plan.reach, plan.grid.origin_col - plan.reach),
        # Blended blocks are large and come piece by piece: neither here nor in the COG is one held as a whole.
        chunk_shape=(plan.grid.core_height, plan.grid.core_width) if plan.reach else None,
        restart=restart,
        replace=tiles is not None,
    )


def _run_blocks(work: Work, store: TileStore, engine: Engine, progress: Progress) -> tuple[list[BlockRecord], int]:
    """The records of all blocks, and how many of them an earlier run had finished."""
    blocks = work.plan.blocks
    found = {block: store.record(block) for block in blocks}
    records = [record for record in found.values() if record]
    missing = [block for block, record in found.items() if record is None]
    resumed = len(records)
    progress(resumed, len(blocks))

    def take(record: BlockRecord) -> None:
        records.append(record)
        progress(len(records), len(blocks))

    def job(threads: int) -> Job:
        return Job(work.plan.scene.anywhere, _network(work, threads), store, work.plan.reach)

    if missing and _needs_no_cluster(engine, blocks):
        here = job(engine.threads or len(usable_cores()))
        for block in missing:
            take(run_block(here, block))
    elif missing:
        with connected(engine) as client:
            shared = job(threads_per_worker(client))
            with _TURNS.of(shared.network):
                map_unordered(client, partial(run_block, shared), missing, take)
    return records, resumed


class _Turns:
    """Predictions that run at once use one network: a worker holds one, and would make it ready anew for each block."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._network: NetworkSetup | None = None
        self._users = 0

    @contextmanager
    def of(self, network: NetworkSetup) -> Iterator[None]:
        """Wait until no other network is in use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users or self._network == network)
            self._network = network
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()


_TURNS = _Turns()


def _needs_no_cluster(engine: Engine, blocks: Sequence[Block]) -> bool:
    """Whether there is nothing to share out: one block, and one worker, which would be this process."""
    alone = engine.scheduler == "local" and engine.workers == 1 and _devices(engine) == 1
    return engine.scheduler == HERE or (alone and len(blocks) == 1)


@contextmanager
def connected(engine: Engine) -> Iterator[Client]:
    """The client that a prediction with this engine uses; predictions that run meanwhile share it.

    Raises:
        GeounetError: no scheduler answers.
    """
    with connect(engine.scheduler, max(engine.workers, _devices(engine))) as client:
        yield client


def _devices(engine: Engine) -> int:
    """How many workers it takes to keep all of this machine's devices of a name busy."""
    return count_devices(pick_device(engine.device))


def _with_integers(work: Work, store: TileStore, aside: Path) -> Work:
    """The work with a network in int8, which stands in the store for all workers and any resumed run."""
    plan = work.plan
    exact = plan.grid.halo if plan.card.halo is None else plan.card.halo
    setup = _network(work, len(usable_cores()))
    place = place_of(store.path)
    folder = place.files(aside)
    network, share = quantize(plan.scene, plan.card, setup, exact, folder)
    place.keep(folder)
    return replace(
        work,
        quantized=f"{store.path}/{Path(network).name}",
        plan=replace(plan, tuning=replace(plan.tuning, agreement=share)),
    )


def _network(work: Work, threads: int) -> NetworkSetup:
    plan, grid, tuning = work.plan, work.plan.grid, work.plan.tuning
    return NetworkSetup(
        model=str(work.model),
        fingerprint=work.fingerprint,
        device=work.device,
        precision=tuning.precision,
        runtime=tuning.runtime,
        window=(grid.window_height, grid.window_width),
        halo=grid.halo - plan.reach,
        threads=threads,
        probabilities=work.probabilities is not None or plan.reach > 0,
        tta=plan.tta,
        quantized=work.quantized,
    )


def _gather(work: Work, store: TileStore, outputs: _Outputs, valid: int) -> None:
    """The tile store's layers as COGs; the class raster last, so that where it stands the work is finished."""
    plan, region = work.plan, work.plan.grid.region
    place = {
        "height": region.height,
        "width": region.width,
        "transform": transform_of(plan.scene, region),
        "crs": plan.scene.crs,
        "tags": {**tags_for(work), VALID_PIXELS: str(valid)},
    }
    common = {**place, "dtype": "uint8", "nodata": NODATA}
    if outputs.confidence is not None:
        profile = RasterProfile(**common, names=("confidence",), scale=1 / CONFIDENCE_LEVELS)
        write_cog(outputs.confidence, profile, store.pieces(plan.blocks, region, "confidence"))
    if outputs.probabilities is not None:
        layer = store.layers[-1]
        profile = RasterProfile(
            **place,
            dtype=layer.dtype,
            nodata=layer.nodata,
            names=tuple(item.name for item in plan.card.classes),
            scale=1 / CONFIDENCE_LEVELS if layer.dtype == "uint8" else 1.0,
        )
        write_cog(outputs.probabilities, profile, store.pieces(plan.blocks, region, layer.name))
    pieces = store.pieces(plan.blocks, region, "classes")
    write_cog(outputs.classes, RasterProfile(**common, classes=plan.card.classes), pieces)


def _summary(plan: Plan, tuning: Tuning, records: Sequence[BlockRecord], resumed: int, seconds: float) -> Prediction:
    counts = [sum(column) for column in zip(*(record.counts for record in records), strict=True)]
    windows = sum(record.windows for record in records)
    return Prediction(
        pixels=plan.grid.region.pixels,
        valid=sum(record.valid for record in records),
        class_pixels=tuple(zip(plan.card.classes, counts, strict=True)),
        windows=windows,
        skipped=sum(len(block.tiles) for block in plan.blocks) - windows,
        resumed=resumed,
        blocks=len(plan.blocks),
        seconds=seconds,
        tuning=tuning,
    )
