"""What the benchmarks share: the machine's name, scenes, runs in fresh processes with their memory, tables and JSON.

Run as a script it is one prediction in a fresh process, where nothing is compiled or cached yet:

    python tests/benchmarks/common.py '{"path": "scene.tif", "model": "m.safetensors", "out": "c.tif", "engine": {}}'
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import rasterio
from affine import Affine
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

sys.path.insert(0, str(Path(__file__).parents[1]))

COMMAND = [sys.executable, "-c", "from geounet_pipelines.main import main; main()"]
"""The command line, by this interpreter."""
_POOL = 8
_TILE = 512
_CELL = 16
_MIB = 2**20


# ---- the machine


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, cores, memory, operating system, versions."""
    names = ("geounet", "torch", "openvino", "rasterio", "zarr", "distributed")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        **{name: _version(name) for name in names},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile") if name in flags]
    return f"{names[0] if names else platform.machine()} ({', '.join(units)})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# ---- scenes


def draw_scene(
    path: Path,
    height: int,
    width: int,
    *,
    bands: int = 3,
    dtype: str = "uint8",
    nodata_share: float = 0.0,
    noise: int = 20,
    seed: int = 0,
) -> Path:
    """Write smooth noise as a tiled, deflated GeoTIFF, some rows at a time.

    Tiles are shifted copies of a few, so that drawing takes no longer than deflating. What is nodata (0) lies west of
    a slanted edge, as in a satellite's swath.

    Args:
        path: the file.
        height: rows.
        width: columns.
        bands: bands.
        dtype: `uint8`, or `uint16` with values as of reflectances in ten thousandths.
        nodata_share: share of the pixels without data.
        noise: how many levels the finest grain has: the less, the better it deflates.
        seed: of the noise.
    """
    pool = _pool(np.random.default_rng(seed), bands, dtype, noise)
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": dtype, "crs": "EPSG:32633",
        "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "tiled": True, "blockxsize": _TILE, "blockysize": _TILE,
        "compress": "deflate", "interleave": "pixel", "num_threads": "all_cpus", "bigtiff": "if_safer",
        "nodata": 0 if nodata_share else None,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, height, _TILE):
            strip = _strip(pool, row, width)[:, : height - row]
            strip[:, _without_data(row, strip.shape[1:], height, nodata_share)] = 0
            dataset.write(strip, window=Window(0, row, width, strip.shape[1]))
    return path


def _pool(random: np.random.Generator, bands: int, dtype: str, noise: int) -> list[Any]:
    """Tiles (bands, 512, 512) of coarse cells under fine grain; no value is 0."""
    low, high, scale = (20, 230, 1) if dtype == "uint8" else (20, 230, 40)
    cells = [random.integers(low, high, (bands, _TILE // _CELL, _TILE // _CELL)) for _ in range(_POOL)]
    coarse = [cell.repeat(_CELL, axis=1).repeat(_CELL, axis=2) * scale for cell in cells]
    return [(tile + random.integers(0, noise * scale, tile.shape)).astype(dtype) for tile in coarse]


def _strip(pool: Sequence[Any], row: int, width: int) -> Any:
    """Tiles side by side, (bands, 512, width): which, and how far shifted, follows from the place."""
    places = [(row // _TILE, col // _TILE) for col in range(0, width, _TILE)]
    tiles = [np.roll(pool[(5 * i + 3 * j) % _POOL], (37 * i) % _TILE, axis=-1) for i, j in places]
    return np.concatenate(tiles, axis=-1)[..., :width]


def _without_data(row: int, shape: tuple[int, int], height: int, share: float) -> Any:
    """Mask (height, width) of a strip's pixels west of the edge, which leans by a fifth."""
    rows, columns = np.ogrid[row : row + shape[0], 0 : shape[1]]
    lean = min(0.2, share, 1 - share)
    return columns < shape[1] * (share + lean * (rows / height - 0.5))


# ---- models


def draw_model(path: Path, bands: int = 3, classes: int = 5, *, sure: bool = False, **given: Any) -> Path:
    """Write a model file of an untrained network.

    Args:
        path: the file.
        bands: of the scene.
        classes: how many.
        sure: whether most pixels are far from a tie, as a trained network's are; else `--precision auto` finds that
            bf16 changes too many classes, and takes float32.
        given: see `untrained.make_model`.
    """
    from untrained import make_model, network_of

    from geounet.classes import LandClass
    from geounet.models.model_file import save_model

    card = make_model(path, bands, **given)
    built = replace(card.architecture, classes=classes)
    table = tuple(LandClass(value, f"class {value}", f"#{20 * value:02x}8040") for value in range(1, classes + 1))
    network = network_of(built)
    save_model(path, _made_sure(network, bands) if sure else network, replace(card, architecture=built, classes=table))
    return path


def _made_sure(network: Any, bands: int) -> Any:
    """The network with its first class ahead by four standard deviations of the logits' differences."""
    import torch

    with torch.no_grad():
        head = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        logits = network(torch.randn(1, bands, 256, 256))[0].flatten(1)
        behind = logits[1:] - logits[:1]
        head.bias[0] += (behind.mean(dim=1) + 4 * behind.std(dim=1)).max()
    return network


# ---- memory and processes


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended well."""

    seconds: float
    """From its start to its end."""
    pss_mib: float | None
    """Peak of the process tree's proportional set size, shared pages counted once; None where not sampled."""
    rss_mib: float | None
    """Peak of the sum of the resident set sizes, shared pages counted once a process."""
    output: str
    """Its standard output."""
    errors: str
    """Its standard error."""


def run_command(words: Sequence[object], *, interval: float | None = None, cores: Sequence[int] | None = None) -> Run:
    """Run a command to its end.

    Args:
        words: the command.
        interval: seconds between two looks at the memory of its process tree; None for no look. A look costs
            milliseconds, so it is seldom where time counts.
        cores: those that it may use; None for all.

    Raises:
        CalledProcessError: it failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in words], stdout=output, stderr=errors)
        if cores is not None:
            psutil.Process(process.pid).cpu_affinity(list(cores))
        with watch_memory(process.pid, interval) as peaks:
            process.wait()
        seconds = time.perf_counter() - start
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read())
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [str(word) for word in words], *texts)
    return Run(seconds, peaks.get("pss"), peaks.get("rss"), *texts)


@contextmanager
def watch_memory(pid: int, interval: float | None) -> Iterator[dict[str, float]]:
    """Peaks of a process tree's memory in MiB, under `pss` (on Linux) and `rss`, complete when the block is left."""
    peaks: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(interval):
            for kind, value in tree_memory(pid).items():
                peaks[kind] = max(peaks.get(kind, 0.0), value / _MIB)

    thread = threading.Thread(target=look, daemon=True)
    if interval is not None:
        thread.start()
    try:
        yield peaks
    finally:
        over.set()
        if interval is not None:
            thread.join()


def tree_memory(pid: int) -> dict[str, int]:
    """Bytes of a process and all that it started: `pss` where the system tells it, and `rss`."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return {}
    found = [memory for memory in map(_memory, processes) if memory]
    kinds = [kind for kind in ("pss", "rss") if found and all(kind in memory for memory in found)]
    return {kind: sum(memory[kind] for memory in found) for kind in kinds}


def _memory(process: psutil.Process) -> dict[str, int] | None:
    """None where the process has just gone."""
    try:
        rss = process.memory_info().rss
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except (psutil.Error, ProcessLookupError):
        return None
    except OSError:
        return {"rss": rss}
    return {"rss": rss, "pss": sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))}


# ---- predictions in fresh processes


def predict_afresh(
    scene: Path,
    model: Path,
    out: Path,
    engine: dict[str, Any],
    *,
    confidence: Path | None = None,
    interval: float | None = None,
) -> dict[str, Any] | None:
    """One prediction in a fresh process: its result's numbers, seconds by phase, and the process' own `wall`.

    None, with a line that says why, where the installed version has no such engine.
    """
    given = {
        "path": str(scene), "model": str(model), "out": str(out), "engine": engine,
        "confidence": str(confidence) if confidence else None,
    }  # fmt: skip
    try:
        run = run_command([sys.executable, __file__, json.dumps(given)], interval=interval)
    except subprocess.CalledProcessError as error:
        print(f"left out: {engine}: {last_line(error.stderr)}")
        return None
    return {**json.loads(run.output.splitlines()[-1]), "wall": run.seconds, "pss_mib": run.pss_mib}


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no word why")


def _predict_here(path: str, model: str, out: str, engine: dict[str, Any], confidence: str | None) -> dict[str, Any]:
    from geounet.models.model_file import read_card
    from geounet.tasks.predict import Engine, predict

    if read_card(Path(model)).architecture.encoder:
        # Its halo is measured by PyTorch, whose import is no part of the figure.
        import torch  # noqa: F401
    stamps: list[float] = []
    start = time.perf_counter()
    result = predict(
        path, Path(model), Path(out), confidence=Path(confidence) if confidence else None, engine=Engine(**engine),
        overwrite=True, progress=lambda _done, _all: stamps.append(time.perf_counter()),
    )  # fmt: skip
    end = time.perf_counter()
    return {
        "seconds": end - start, "before": stamps[0] - start, "blocks": stamps[-1] - stamps[0],
        "after": end - stamps[-1], "pixels": result.pixels, "valid": result.valid, "windows": result.windows,
        "skipped": result.skipped, "block_count": result.blocks, "runtime": result.tuning.runtime,
        "precision": result.tuning.precision, "halo": result.tuning.halo, "core": result.tuning.core,
        "agreement": result.tuning.agreement,
    }  # fmt: skip


# ---- rounds, tables, files


def interleaved(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """The results of each contender, measured in turn, so that the machine's drift meets all of them.

    One that gives None (it cannot run here) is left out from then on.
    """
    found: dict[str, list[Any]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in list(found):
            result = contenders[name]()
            if result is None:
                del found[name]
            else:
                found[name].append(result)
    return found


def median_of(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The median of one number of several rounds."""
    return statistics.median(row[key] for row in rows)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: a ratio or a figure, and what it should reach."""

    what: str
    """What is measured."""
    value: float
    """The figure."""
    unit: str
    """Its unit; `x` for a ratio."""
    target: str = ""
    """What it should reach, such as `>= 4.5`."""
    note: str = ""
    """What it is made of."""

    @property
    def reached(self) -> str:
        """`yes`, `no`, or nothing where there is no target."""
        if not self.target:
            return ""
        sign, _, limit = self.target.partition(" ")
        return "yes" if (self.value >= float(limit) if sign == ">=" else self.value <= float(limit)) else "no"


def report(name: str, title: str, rows: Sequence[Row], given: argparse.Namespace, details: Any = None) -> None:
    """Print the rows, ratios first, and write `<folder>/<name>.json`."""
    ordered = sorted(rows, key=lambda row: (row.unit != "x", not row.target))
    about = machine()
    print(f"\n{title}\n{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB")
    width = max(len(row.what) for row in ordered)
    for row in ordered:
        # A small run says nothing of the targets.
        target = f"{row.target:<8} {row.reached:<4}" if row.target and not given.quick else " " * 13
        print(f"{row.what:<{width}}  {row.value:>10.3f} {row.unit:<6} {target} {row.note}")
    content = {
        "name": name, "title": title, "quick": given.quick, "machine": about,
        "settings": {key: str(value) for key, value in vars(given).items()},
        "rows": [{**asdict(row), "reached": row.reached} for row in ordered], "details": details,
    }  # fmt: skip
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def arguments(text: str | None) -> argparse.ArgumentParser:
    """A parser with what all scripts take."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs; its figures mean little")
    parser.add_argument("--results", type=Path, default=Path("benchmark_results"), help="folder of the JSON files")
    parser.add_argument("--folder", type=Path, help="where scenes and rasters are written; some GB")
    return parser


if __name__ == "__main__":
    print(json.dumps(_predict_here(**json.loads(sys.argv[1]))))
