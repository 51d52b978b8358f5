"""Scene to class raster: plan the blocks, let Dask run them, gather the tile store into COGs."""

from __future__ import annotations

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
from geounet.errors import ModelError, OutputError
from geounet.grid import Grid, round_up
from geounet.inference import CONFIDENCE_LEVELS, Job, run_block
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import check_output
from geounet.scene import transform_of, window_of_bounds
from geounet.tile_store import BlockRecord, TileStore, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geounet.classes import LandClass
    from geounet.grid import Block
    from geounet.models.model_file import ModelCard
    from geounet.scene import Scene

    Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)

_CORE = 1024
# For a model that sees its whole window: enough that the worst edge effects are cropped.
_UNBOUNDED_HALO = 128


@dataclass(frozen=True, slots=True)
class Plan:
    """What a prediction will do, before it does it."""

    scene: Scene
    """What is read."""
    card: ModelCard
    """The model."""
    grid: Grid
    """The lattice of windows over the scene, and the region that is asked for."""
    blocks: tuple[Block, ...]
    """What the tasks will take."""
    block_shape: tuple[int, int]
    """Height and width of a block."""
    exact: bool
    """Whether the halo covers the receptive field, so that the tiling changes nothing."""


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


def plan_prediction(
    scene: Scene,
    card: ModelCard,
    *,
    tile_size: int = 2048,
    window_size: int | None = None,
    halo: int | None = None,
    bbox: tuple[float, float, float, float] | None = None,
) -> Plan:
    """Lay the lattice and group its windows into blocks.

    Args:
        scene: what is read.
        card: the model.
        tile_size: side of a block in pixels, rounded up to whole cores; it changes no pixel.
        window_size: side of a window in pixels, halo included; by default for a core of 1024 or the scene.
        halo: pixels around a core; by default the receptive field. Rounded up to the stride.
        bbox: minimum x, minimum y, maximum x, maximum y in the scene's CRS; the lattice stays the scene's.

    Raises:
        ModelError: the window has no room for a core.
        SceneError: the box lies beside the scene.
    """
    stride = card.stride
    full = round_up(_UNBOUNDED_HALO, stride) if card.halo is None else card.halo
    margin = full if halo is None else round_up(halo, stride)
    core = round_up(_CORE, stride) if window_size is None else (window_size - 2 * margin) // stride * stride
    if core < stride:
        raise ModelError(
            f"a window of {window_size} pixels has no room for a halo of {margin} on each side and a core of {stride}; "
            f"give at least {2 * margin + stride}"
        )
    region = scene.extent if bbox is None else window_of_bounds(scene, bbox)
    # A scene smaller than the core is one window; this depends on the scene alone, so not on the tiling.
    height, width = (min(core, round_up(size, stride)) for size in (scene.height, scene.width))
    grid = Grid(region, height, width, margin, stride)
    exact = card.halo is not None and margin >= card.halo
    return Plan(scene, card, grid, grid.blocks(tile_size), grid.block_shape(tile_size), exact)


def predict(
    path: str | Path,
    model: Path,
    out: Path,
    *,
    confidence: Path | None = None,
    bands: Sequence[int] | None = None,
    tile_size: int = 2048,
    window_size: int | None = None,
    halo: int | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    scheduler: str = "local",
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Prediction:
    """Predict a scene into a class raster (COG) and, if wanted, a confidence raster.

    Finished blocks stand in a tile store beside `out` (its name and `.tiles`) until the rasters are written; a run that
    was interrupted goes on from there.

    Args:
        path: the scene.
        model: the model file.
        out: class raster: class values, 255 where nodata.
        confidence: probability of the class, stored as 0 to 254 with a scale of 1/254, 255 where nodata.
        bands: bands of the scene to read, from 1; see :func:`geounet.compatibility.scene_for_model`.
        tile_size: see :func:`plan_prediction`.
        window_size: see :func:`plan_prediction`.
        halo: see :func:`plan_prediction`.
        bbox: see :func:`plan_prediction`.
        device: see :func:`geounet.devices.pick_device`.
        precision: a key of :data:`geounet.devices.PRECISIONS`.
        scheduler: see :func:`geounet.cluster.connect`.
        workers: see :func:`geounet.cluster.connect`.
        overwrite: replace outputs that exist, and start unfinished work anew.
        progress: called with the blocks done and the blocks in all.

    Raises:
        GeounetError: a scene or model that cannot be used, or an output that cannot be written.
    """
    start = time.perf_counter()
    for output in filter(None, (out, confidence)):
        check_output(output, overwrite)
    card = read_card(model)
    scene = scene_for_model(path, card, bands)
    plan = plan_prediction(scene, card, tile_size=tile_size, window_size=window_size, halo=halo, bbox=bbox)
    if not plan.exact:
        _log.warning(
            "the halo of %d px does not cover what this model sees (%s): the tiling may show",
            plan.grid.halo,
            "the whole window" if card.halo is None else f"{card.halo} px",
        )
    mark = fingerprint(model)
    where = str(pick_device(device))
    identity = _identity(plan, mark, where, precision)
    place = out.with_name(f"{out.name}.tiles")
    store = open_store(
        place, plan.grid.region, plan.block_shape, ("classes", "confidence"), identity, restart=overwrite
    )
    records = {block: store.record(block) for block in plan.blocks}
    finished = [record for record in records.values() if record]
    missing = [block for block, record in records.items() if record is None]
    progress(len(finished), len(plan.blocks))
    resumed = len(finished)
    if missing:
        with connect(scheduler, workers) as client:
            job = Job(scene, str(model.absolute()), mark, where, precision, threads_per_worker(client), store)
            for record in map_unordered(client, partial(run_block, job), missing):
                finished.append(record)
                progress(len(finished), len(plan.blocks))
    _gather(plan, store, out, confidence, _tags(plan, model, mark, precision))
    store.remove()
    return _summary(plan, finished, resumed, time.perf_counter() - start)


def _identity(plan: Plan, mark: str, device: str, precision: str) -> dict[str, Any]:
    """All that the pixels depend on, and the layout of the store."""
    region = plan.grid.region
    return {
        "scene": _file_identity(plan.scene.path),
        "bands": plan.scene.bands,
        "model": mark,
        "window": [plan.grid.core_height, plan.grid.core_width, plan.grid.halo],
        "bbox": [region.row, region.col, region.height, region.width],
        "tile size": plan.block_shape,
        "device": device.split(":", maxsplit=1)[0],
        "precision": precision,
        "version": version("geounet"),
    }


def _file_identity(path: str) -> list[Any]:
    try:
        status = Path(path).stat()
    except OSError:
        return [path]
    return [str(Path(path).absolute()), status.st_size, status.st_mtime_ns]


def _tags(plan: Plan, model: Path, mark: str, precision: str) -> dict[str, str]:
    return {
        "SOFTWARE": f"geounet {version('geounet')}",
        "SCENE": Path(plan.scene.path).name,
        "MODEL": json.dumps({"name": model.name, "sha256": mark}),
        "PRECISION": precision,
        "HALO": str(plan.grid.halo),
        "WINDOW": f"{plan.grid.window_height} x {plan.grid.window_width}",
        "TILING": "exact" if plan.exact else "approximate: the halo does not cover what the model sees",
    }


def _gather(plan: Plan, store: TileStore, out: Path, confidence: Path | None, tags: dict[str, str]) -> None:
    """The tile store's layers as COGs; the class raster last, so that where it stands the work is finished."""
    region = plan.grid.region
    common = {
        "height": region.height,
        "width": region.width,
        "transform": transform_of(plan.scene, region),
        "crs": plan.scene.crs,
        "dtype": "uint8",
        "nodata": NODATA,
        "tags": tags,
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
    )


def check_outputs_differ(*paths: Path | None) -> None:
    """Refuse two outputs of one name.

    Raises:
        OutputError: two are the same.
    """
    given = [path.absolute() for path in paths if path is not None]
    if len(set(given)) < len(given):
        raise OutputError(f"two outputs have the same name: {', '.join(map(str, given))}")
