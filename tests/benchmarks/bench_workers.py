"""Two one-thread workers over one, on one scene: processes of a running Dask cluster, each held to a core of its own.

Precision, runtime, window and halo are fixed, so nothing is probed and both do the same work. Three rows: the blocks
alone, by workers that have the network ready; scene to COG by them; and `geounet predict --workers N` from nothing,
with starting Python, the workers, and converting the network once in each.

    python tests/benchmarks/bench_workers.py [--side 6144] [--rounds 3] [--quick]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from common import COMMAND, Row, arguments, draw_model, draw_scene, interleaved, report, run_command
from distributed import Client

from geounet.tasks.predict import Engine, predict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

CORES = sorted(psutil.Process().cpu_affinity())[:2]


@dataclass(frozen=True, slots=True)
class Work:
    """What is predicted, and how."""

    scene: Path
    """The scene."""
    model: Path
    """The model."""
    runtime: str
    """`torch` or `openvino`."""
    precision: str
    """The arithmetic."""
    window: int
    """Side of a window in pixels."""
    halo: int
    """Pixels around a core."""

    @property
    def block(self) -> int:
        """Side of a block: one core, so that there are many."""
        return self.window - 2 * self.halo


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A scheduler and so many workers, each held to one core: the scheduler file."""
    file = folder / f"{workers}.json"
    python = [sys.executable, "-m"]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    worker = [*python, "distributed.cli.dask_worker", "--no-dashboard", "--no-nanny", "--nthreads", "2"]
    commands = [scheduler, *([*worker, "--local-directory", folder / f"{workers}-{i}"] for i in range(workers))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        subprocess.Popen([str(word) for word in [*words, "--scheduler-file", file]], **quiet) for words in commands
    ]
    try:
        for core, process in zip(CORES, processes[1:], strict=False):
            psutil.Process(process.pid).cpu_affinity([core])
        with Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        yield str(file)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(work: Work, folder: Path, scheduler: str) -> dict[str, Any]:
    """Seconds of the blocks alone and of all, on a running cluster."""
    stamps: list[float] = []
    engine = Engine(
        tile_size=work.block, window_size=work.window, halo=work.halo, runtime=work.runtime, precision=work.precision,
        scheduler=scheduler,
    )  # fmt: skip
    start = time.perf_counter()
    result = predict(
        work.scene, work.model, folder / "c.tif", engine=engine, overwrite=True,
        progress=lambda _done, _all: stamps.append(time.perf_counter()),
    )  # fmt: skip
    return {"blocks": stamps[-1] - stamps[0], "all": time.perf_counter() - start, "count": result.blocks}


def from_nothing(work: Work, folder: Path, workers: int) -> dict[str, Any]:
    """Seconds of the command, all processes held to as many cores as there are workers."""
    words = [
        "predict", work.scene, "-m", work.model, "-o", folder / "c.tif", "--overwrite", "--workers", workers,
        "--tile-size", work.block, "--window-size", work.window, "--halo", work.halo, "--runtime", work.runtime,
        "--precision", work.precision,
    ]  # fmt: skip
    return {"all": run_command([*COMMAND, *words], cores=CORES[:workers]).seconds}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=6144, help="of the scene, in pixels")
    parser.add_argument("--window-size", type=int, default=1024)
    parser.add_argument("--halo", type=int, default=128)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.quick:
        given.side, given.window_size, given.halo, given.rounds = 1536, 512, 64, 1
    if len(CORES) < 2:
        print("bench_workers: left out, for two workers need two cores")
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        scene = draw_scene(folder / "scene.tif", given.side, given.side)
        model = draw_model(folder / "m.safetensors", encoder="resnet18")
        work = Work(scene, model, given.runtime, given.precision, given.window_size, given.halo)
        with cluster(folder, 1) as one, cluster(folder, 2) as two:
            for scheduler in (one, two):
                measured(work, folder, scheduler)
            ready = interleaved(
                {n: partial(measured, work, folder, s) for n, s in (("1", one), ("2", two))}, given.rounds
            )
        fresh = interleaved({n: partial(from_nothing, work, folder, int(n)) for n in ("1", "2")}, given.rounds)
    report("workers", title_of(given, ready), rows_of(ready, fresh), given, {"ready": ready, "from nothing": fresh})


def title_of(given: argparse.Namespace, ready: dict[str, Any]) -> str:
    """What was run."""
    count = ready["1"][0]["count"]
    return f"Two one-thread workers over one: {given.side} x {given.side} x 3, {count} blocks, {given.precision}"


def rows_of(ready: dict[str, Any], fresh: dict[str, Any]) -> list[Row]:
    """Ratios of throughput, each with its seconds."""
    kinds = {
        "the blocks, workers ready": (ready, "blocks", ">= 1.9"),
        "scene to COG, workers ready": (ready, "all", ""),
        "scene to COG, from nothing": (fresh, "all", ""),
    }
    rows = []
    for what, (found, key, target) in kinds.items():
        one, two = (statistics.median(row[key] for row in found[n]) for n in ("1", "2"))
        rows.append(Row(f"two workers over one: {what}", one / two, "x", target, f"{one:.1f} s and {two:.1f} s"))
    return rows


if __name__ == "__main__":
    main()
