"""What a block costs besides its pixels, at 100,000 blocks: planning, looking for finished ones, Dask, the record.

The scene is virtual and the network does nothing: a task unpacks its job and writes its block's record, by the same
`connect`, `map_unordered` and tile store as any prediction. Blocks are measured, of one window each; a block of several
windows costs the same once. The share is of the time that the network (smp UNet/resnet18, in the runtime and precision
that `auto` takes on a scene) needs for a window of its own size, measured in the same run.

Processor seconds are told as well as those of the clock: while a network computes, what the engine costs it is
processor time. The chunk's overhead in the tile store (folders, metadata and files, for chunks of 16 x 16 pixels) is
measured apart, on fewer blocks, by whole predictions with a network of next to no work.

    python tests/benchmarks/bench_scheduling.py [--blocks 100000] [--workers 1] [--quick]
"""

from __future__ import annotations

import math
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from common import Row, arguments, draw_model, draw_scene, predict_afresh, report

from geounet.engine.cluster import connect, map_unordered
from geounet.engine.runtimes import make_classifier
from geounet.engine.tile_store import BlockRecord, TileStore, open_store
from geounet.grid import Grid, Window
from geounet.models.model_file import load_model
from geounet.raster.scene import load_scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geounet.grid import Block
    from geounet.raster.scene import Scene

CORE, HALO, STRIDE = 1728, 288, 32
"""Of the virtual lattice's windows, in pixels: what `auto` takes for the network; no pixel is ever made of them."""


def record_block(scene: Scene, store: TileStore, block: Block) -> BlockRecord:
    """A task without a network: a record of classes that nobody counted."""
    record = BlockRecord(block.row, block.col, (0,) * scene.count, 0, len(block.tiles), 0.0)
    store.write(block, {}, record)
    return record


@contextmanager
def clocked(phases: dict[str, dict[str, float]], name: str) -> Iterator[None]:
    """Enter a phase's seconds by the clock and of this process' and its children's processors."""
    wall, cpu = time.perf_counter(), _processor_seconds()
    yield
    phases[name] = {"wall": time.perf_counter() - wall, "cpu": _processor_seconds() - cpu}


def _processor_seconds() -> float:
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def schedule(folder: Path, blocks: int, workers: int) -> dict[str, Any]:
    """Plan a scene of so many blocks and run them all, phase by phase."""
    phases: dict[str, dict[str, float]] = {}
    before = peak_mib()
    scene = load_scene(draw_scene(folder / "any.tif", 64, 64))
    rows = math.isqrt(blocks)
    region = Window(0, 0, rows * CORE, -(-blocks // rows) * CORE)
    with clocked(phases, "plan"):
        grid = Grid(region, CORE, CORE, HALO, STRIDE)
        plan = grid.blocks(CORE)
    store = open_store(folder / "c.tif.tiles", region, grid.block_shape(CORE), (), {"scene": "virtual"}, aside=folder)
    with clocked(phases, "look for finished blocks"):
        missing = [block for block in plan if store.record(block) is None]
    records: list[BlockRecord] = []
    first: list[float] = []

    def take(record: BlockRecord) -> None:
        first.append(time.perf_counter())
        records.append(record)

    with connect("local", workers) as client, clocked(phases, "tasks and records"):
        start = time.perf_counter()
        map_unordered(client, partial(record_block, scene, store), missing, take)
    if len(records) != len(plan):
        raise RuntimeError(f"{len(records)} records of {len(plan)} blocks")
    with clocked(phases, "read records"):
        found = [store.record(block) for block in plan]
    if None in found:
        raise RuntimeError("a record is missing")
    return {"blocks": len(plan), "phases": phases, "first": first[0] - start, "mib": peak_mib() - before}


def peak_mib() -> float:
    """Largest resident size that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def window_seconds(folder: Path, windows: int, side: int) -> dict[str, Any]:
    """Seconds that a window of the resnet18 network takes, with what `auto` takes for it on a scene."""
    model = draw_model(folder / "resnet18.safetensors", encoder="resnet18", sure=True)
    scene = draw_scene(folder / "scene.tif", side, side)
    taken = predict_afresh(scene, model, folder / "t.tif", {})
    if taken is None:
        raise RuntimeError("the scene could not be predicted")
    side = taken["core"][0] + 2 * taken["halo"]
    run = make_classifier(
        load_model(model)[0], (3, side, side), taken["halo"], runtime=taken["runtime"], device="cpu",
        precision=taken["precision"], threads=torch.get_num_threads(),
    )  # fmt: skip
    image = torch.randn(3, side, side).numpy()
    run(image)
    start = time.perf_counter()
    for _ in range(windows):
        run(image)
    seconds = (time.perf_counter() - start) / windows
    return {"seconds": seconds, "window": side, "runtime": taken["runtime"], "precision": taken["precision"]}


def whole_predictions(folder: Path, few: int, many: int) -> dict[str, Any]:
    """Milliseconds that a block of 16 x 16 pixels costs in whole predictions: of many blocks less those of few."""
    model = draw_model(folder / "least.safetensors", depth=1, width=1)
    found = {}
    for count in (few, many):
        side = 16 * math.isqrt(count)
        scene = draw_scene(folder / "least.tif", side, side)
        engine = {"tile_size": 16, "window_size": 32, "halo": 8, "runtime": "torch", "precision": "fp32"}
        found[count] = predict_afresh(scene, model, folder / "l.tif", engine)
    first, last = found[few], found[many]
    if first is None or last is None:
        raise RuntimeError("a scene of small blocks could not be predicted")
    more = last["block_count"] - first["block_count"]
    return {key: (last[key] - first[key]) / more * 1e3 for key in ("seconds", "before", "blocks", "after")}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--small-blocks", type=int, default=10_000, help="of the whole predictions")
    parser.add_argument("--windows", type=int, default=12, help="of the network's time")
    parser.add_argument("--side", type=int, default=2 * CORE, help="of the scene on which `auto` chooses, in pixels")
    given = parser.parse_args()
    if given.quick:
        given.blocks, given.small_blocks, given.windows, given.side = 2_000, 400, 2, 1536
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        found = schedule(folder, given.blocks, given.workers)
        network = window_seconds(folder, given.windows, given.side)
        whole = whole_predictions(folder, given.small_blocks // 10, given.small_blocks)
    title = f"A block's cost besides its pixels: {found['blocks']} blocks, {given.workers} worker(s), no-op network"
    report("scheduling", title, rows_of(found, network, whole), given, {"schedule": found, "network": network})


def rows_of(found: dict[str, Any], network: dict[str, Any], whole: dict[str, Any]) -> list[Row]:
    """The share, then the milliseconds that it is made of."""
    phases, blocks = found["phases"], found["blocks"]
    each = {kind: sum(phase[kind] for phase in phases.values()) / blocks for kind in ("wall", "cpu")}
    tile = 1e3 * network["seconds"]
    what = f"{1e3 * each['wall']:.2f} ms of {tile:.0f} ms, {network['runtime']} {network['precision']}"
    rows = [
        Row("scheduling over network time, a window", each["wall"] / network["seconds"], "x", "<= 0.02", what),
        Row("scheduling, processor time", 1e3 * each["cpu"], "ms", "", "a block"),
    ]
    rows += [
        Row(
            f"scheduling: {name}",
            1e3 * phase["wall"] / blocks,
            "ms",
            "",
            f"a block; {phase['cpu']:.1f} s of processors",
        )
        for name, phase in phases.items()
    ]
    parts = f"blocks {whole['blocks']:.2f}, before them {whole['before']:.2f}, COG {whole['after']:.2f}"
    return [
        *rows,
        Row("whole prediction, a block of 16 x 16 px", whole["seconds"], "ms", "", parts),
        Row("first result after", found["first"], "s", "", "from handing over the plan"),
        Row(
            "growth of the client's memory", found["mib"], "MiB", "", "RSS: plan, Dask's scheduler and worker, records"
        ),
    ]


if __name__ == "__main__":
    main()
