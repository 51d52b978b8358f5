"""Scene to class raster: plan the blocks, let Dask run them, gather the tile store into COGs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.classes import NODATA
from geounet.cluster import connect, map_unordered, threads_per_worker
from geounet.cog import RasterProfile, write_cog
from geounet.compatibility import scene_for_model
from geounet.devices import pick_device
from geounet.errors import GeounetError, OutputError
from geounet.grid import Grid
from geounet.inference import Job, NetworkSetup, run_block
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import check_output
from geounet.placement import transform_of, window_of_bounds
from geounet.runtimes import CONFIDENCE_LEVELS
from geounet.tile_store import BlockRecord, TileStore, open_store
from geounet.tuning import Tuning, describe_agreement, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.classes import LandClass
    from geounet.grid import Block
    from geounet.models.model_file import ModelCard
    from geounet.scene import Scene

    Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """How to run; nothing here changes a pixel but `precision`, and by rounding the window and the device."""

    tile_size: int = 2048
    """Side of a block in pixels, what a worker takes at once; rounded up to whole cores."""
    window_size: int | None = None
    """Side of what the network sees at once, halo included; None to choose, see :func:`geounet.tuning.tune`."""
    halo: int | None = None
    """Pixels around a core, rounded up to the stride; None for the receptive field, or what does for it."""
    device: str = "auto"
    """See :func:`geounet.devices.pick_device`."""
    precision: str = "auto"
    """A key of :data:`geounet.devices.PRECISIONS`; `auto` for the fastest that changes next to nothing."""
    runtime: str = "auto"
    """See :data:`geounet.runtimes.RUNTIMES`."""
    scheduler: str = "local"
    """See :func:`geounet.cluster.connect`."""
    workers: int = 1
    """See :func:`geounet.cluster.connect`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prediction will do, before it does it."""

    scene: Scene
    """What is read."""
    card: ModelCard
    """The model."""
    tuning: Tuning
    """What it runs with."""
    grid: Grid
    """The lattice of windows over the scene, and the region that is asked for."""
    blocks: tuple[Block, ...]
    """What the tasks will take."""
    block_shape: tuple[int, int]
    """Height and width of a block."""


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


def plan_prediction(
    scene: Scene,
    card: ModelCard,
    tuning: Tuning,
    tile_size: int,
    bbox: tuple[float, float, float, float] | None = None,
) -> Plan:
    """Lay the lattice and group its windows into blocks.

    Args:
        scene: what is read.
        card: the model.
        tuning: core and halo of the windows.
        tile_size: side of a block in pixels, rounded up to whole cores.
        bbox: minimum x, minimum y, maximum x, maximum y in the scene's CRS; the lattice stays the scene's.

    Raises:
        SceneError: the box lies beside the scene.
    """
    region = scene.extent if bbox is None else window_of_bounds(scene, bbox)
    grid = Grid(region, *tuning.core, tuning.halo, card.stride)
    return Plan(scene, card, tuning, grid, grid.blocks(tile_size), grid.block_shape(tile_size))


def predict(
    path: str | Path,
    model: Path,
    out: Path,
    *,
    confidence: Path | None = None,
    bands: Sequence[int] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Prediction:
    """Predict a scene into a class raster (COG) and, if wanted, a confidence raster.

    Finished blocks stand in a tile store beside `out` (its name and `.tiles`) until the rasters are written; a run
    that was interrupted goes on from there.

    Args:
        path: the scene.
        model: the model file.
        out: class raster: class values, 255 where nodata.
        confidence: probability of the class, stored as 0 to 254 with a scale of 1/254, 255 where nodata.
        bands: bands of the scene to read, from 1; see :func:`geounet.compatibility.scene_for_model`.
        bbox: see :func:`plan_prediction`.
        engine: how to run.
        overwrite: replace outputs that exist, and start unfinished work anew.
        progress: called with the blocks done and the blocks in all.

    Raises:
        GeounetError: a scene or model that cannot be used, or an output that cannot be written.
    """
    start = time.perf_counter()
    engine = engine or Engine()
    _check_outputs(out, confidence, overwrite)
    card = read_card(model)
    scene, device = scene_for_model(path, card, bands), pick_device(engine.device)
    tuning = tune(
        scene,
        card,
        model,
        device,
        window_size=engine.window_size,
        halo=engine.halo,
        runtime=engine.runtime,
        precision=engine.precision,
    )
    if tuning.tiling.startswith("approximate"):
        _log.warning("the tiling may show; %s", tuning.tiling)
    plan = plan_prediction(scene, card, tuning, engine.tile_size, bbox)
    request = request_of(path, model, bands=bands, bbox=bbox, engine=engine)
    work = _Work(plan, model.absolute(), fingerprint(model), str(device), engine, request)
    store = _open_store(work, out, restart=overwrite)
    try:
        records, resumed = _run_blocks(work, store, progress)
    except GeounetError:
        # Known to be wrong with the input, so trying again would end the same way: nothing is left to resume.
        store.remove()
        raise
    _gather(work, store, out, confidence)
    store.remove()
    return _summary(plan, records, resumed, time.perf_counter() - start)


def request_of(
    path: str | Path,
    model: Path,
    *,
    bands: Sequence[int] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    engine: Engine | None = None,
) -> str:
    """A hash of all that a prediction's pixels depend on: the raster's `REQUEST` tag, by which a rerun knows it."""
    how = engine or Engine()
    choices = [how.window_size, how.halo, how.device, how.precision, how.runtime]
    parts = [_file_identity(str(path)), fingerprint(model), bands, bbox, choices, version("geounet")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Work:
    """A plan with all that its pixels depend on."""

    plan: Plan
    model: Path
    fingerprint: str
    device: str
    engine: Engine
    request: str


def _check_outputs(out: Path, confidence: Path | None, overwrite: bool) -> None:
    if confidence is not None and confidence.absolute() == out.absolute():
        raise OutputError(f"class raster and confidence raster have the same name: {out}")
    for path in filter(None, (out, confidence)):
        check_output(path, overwrite)


def _open_store(work: _Work, out: Path, *, restart: bool) -> TileStore:
    return open_store(
        out.with_name(f"{out.name}.tiles"),
        work.plan.grid.region,
        work.plan.block_shape,
        ("classes", "confidence"),
        _identity(work),
        restart=restart,
    )


def _run_blocks(work: _Work, store: TileStore, progress: Progress) -> tuple[list[BlockRecord], int]:
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

    if missing:
        with connect(work.engine.scheduler, work.engine.workers) as client:
            job = _job(work, store, threads_per_worker(client))
            map_unordered(client, partial(run_block, job), missing, take)
    return records, resumed


def _job(work: _Work, store: TileStore, threads: int) -> Job:
    grid, tuning = work.plan.grid, work.plan.tuning
    network = NetworkSetup(
        model=str(work.model),
        fingerprint=work.fingerprint,
        device=work.device,
        precision=tuning.precision,
        runtime=tuning.runtime,
        window=(grid.window_height, grid.window_width),
        halo=grid.halo,
        threads=threads,
    )
    return Job(work.plan.scene, network, store)


def _identity(work: _Work) -> dict[str, Any]:
    """All that the pixels depend on, and the layout of the store."""
    plan, region = work.plan, work.plan.grid.region
    return {
        "scene": _file_identity(plan.scene.path),
        "bands": plan.scene.bands,
        "model": work.fingerprint,
        "window": [plan.grid.core_height, plan.grid.core_width, plan.grid.halo],
        "bbox": [region.row, region.col, region.height, region.width],
        "tile size": plan.block_shape,
        "device": work.device.partition(":")[0],
        "precision": plan.tuning.precision,
        "runtime": plan.tuning.runtime,
        "version": version("geounet"),
    }


def _file_identity(path: str) -> list[Any]:
    try:
        status = Path(path).stat()
    except OSError:
        return [path]
    return [str(Path(path).absolute()), status.st_size, status.st_mtime_ns]


def _tags(work: _Work) -> dict[str, str]:
    grid, tuning = work.plan.grid, work.plan.tuning
    return {
        "SOFTWARE": f"geounet {version('geounet')}",
        "SCENE": Path(work.plan.scene.path).name,
        "REQUEST": work.request,
        "MODEL": json.dumps({"name": work.model.name, "sha256": work.fingerprint}),
        "RUNTIME": tuning.runtime,
        "PRECISION": tuning.precision,
        "AGREEMENT": describe_agreement(tuning),
        "HALO": str(grid.halo),
        "WINDOW": f"{grid.window_height} x {grid.window_width}",
        "TILING": tuning.tiling,
    }


def _gather(work: _Work, store: TileStore, out: Path, confidence: Path | None) -> None:
    """The tile store's layers as COGs; the class raster last, so that where it stands the work is finished."""
    plan, region = work.plan, work.plan.grid.region
    common = {
        "height": region.height,
        "width": region.width,
        "transform": transform_of(plan.scene, region),
        "crs": plan.scene.crs,
        "dtype": "uint8",
        "nodata": NODATA,
        "tags": _tags(work),
    }
    if confidence is not None:
        profile = RasterProfile(**common, names=("confidence",), scale=1 / CONFIDENCE_LEVELS)
        write_cog(confidence, profile, store.pieces(plan.blocks, region, "confidence"))
    write_cog(out, RasterProfile(**common, classes=plan.card.classes), store.pieces(plan.blocks, region, "classes"))


def _summary(plan: Plan, records: Sequence[BlockRecord], resumed: int, seconds: float) -> Prediction:
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
        tuning=plan.tuning,
    )
