"""Many small scenes over the same pixels as one scene, and over one worker.

`geounet run`, from nothing to the catalogue:

100 scenes of 1024 x 1024 px (4 bands, uint16) and one of 10240 x 10240 px of the same pixels, the sample model, each to
class raster, confidence, polygons, picture and record, in fresh processes with one worker. Then the batch on running
clusters of one and of two one-thread workers, each held to a core of its own, by a client that has begun before the
clock starts.

    python tests/benchmarks/bench_batch.py [--scenes 100] [--rounds 1] [--quick]
"""

from __future__ import annotations

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from bench_workers import CORES, cluster
from common import COMMAND, Row, arguments, interleaved, median_of, report, run_command

from geounet.tasks.predict import Engine
from geounet.tasks.product import Recipe
from geounet.tasks.run import run

if TYPE_CHECKING:
    import argparse

SIDE = 1024
SAMPLES = Path(__file__).parents[2] / "sample_tiles"


def draw(folder: Path, count: int) -> tuple[Path, Path]:
    """The sample scene, mirrored again and again, and a folder of the scenes that it is cut into."""
    across = max(1, round(count**0.5))
    height, width = count // across * SIDE, across * SIDE
    with rasterio.open(SAMPLES / "val/images/scene_spring.tif") as source:
        sample, profile = source.read(), source.profile
        names = source.descriptions
    more = [(0, 0), (0, height - sample.shape[1]), (0, width - sample.shape[2])]
    pixels = np.pad(sample, more, mode="symmetric")
    profile |= {"height": height, "width": width, "tiled": True, "blockxsize": 512, "blockysize": 512}
    large, small = folder / "large.tif", folder / "small"
    small.mkdir()
    _write(large, pixels, names, profile)
    for number in range(count // across * across):
        row, col = number // across * SIDE, number % across * SIDE
        place = {"height": SIDE, "width": SIDE, "transform": profile["transform"] * Affine.translation(col, row)}
        _write(small / f"s{number:03}.tif", pixels[:, row : row + SIDE, col : col + SIDE], names, {**profile, **place})
    return large, small


def _write(path: Path, pixels: Any, names: Any, profile: dict[str, Any]) -> None:
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = names
        file.write(pixels)


def command(source: Path, model: Path, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the command from nothing, and its peak memory."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = ["run", source, "-m", model, "-o", out, "-q", "--precision", given.precision]
    found = run_command([*COMMAND, *words], interval=0.05)
    return {"seconds": found.seconds, "mib": found.pss_mib}


def on_cluster(source: Path, model: Path, folder: Path, scheduler: str, precision: str) -> dict[str, Any]:
    """Seconds of the batch on a running cluster."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    recipe = Recipe(engine=Engine(scheduler=scheduler, precision=precision))
    start = time.perf_counter()
    batch = run([source], model, out, recipe)
    assert set(batch.counts) == {"done"}, batch.counts
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    given.scenes = 4 if given.quick else given.scenes
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        large, small = draw(folder, given.scenes)
        model = SAMPLES / "model.safetensors"
        sources = {"one scene": large, "many scenes": small}
        found = interleaved(
            {what: partial(command, source, model, folder, given) for what, source in sources.items()}, given.rounds
        )
        clusters: dict[str, Any] = {}
        if len(CORES) > 1:
            with cluster(folder, 1) as one, cluster(folder, 2) as two:
                few = folder / "few"
                few.mkdir()
                shutil.copy(small / "s000.tif", few)
                for scheduler in (one, two):
                    on_cluster(few, model, folder, scheduler, given.precision)
                contenders = {"one worker": one, "two workers": two}
                clusters = interleaved(
                    {
                        what: partial(on_cluster, small, model, folder, scheduler, given.precision)
                        for what, scheduler in contenders.items()
                    },
                    given.rounds,
                )
    report("batch", f"{given.scenes} scenes of {SIDE} x {SIDE} x 4, {given.precision}", rows_of(found, clusters), given,
           {**found, **clusters})  # fmt: skip


def rows_of(found: dict[str, Any], clusters: dict[str, Any]) -> list[Row]:
    """Ratios of throughput, each with its seconds."""
    one, many = (median_of(found[what], "seconds") for what in ("one scene", "many scenes"))
    rows = [Row("many scenes over one of the same pixels", one / many, "x", ">= 0.9", f"{one:.1f} s and {many:.1f} s")]
    rows.append(Row("peak memory of many scenes", median_of(found["many scenes"], "mib") / 1024, "GiB"))
    if clusters:
        one, two = (median_of(clusters[what], "seconds") for what in ("one worker", "two workers"))
        rows.append(Row("two workers over one, many scenes", one / two, "x", ">= 1.8", f"{one:.1f} s and {two:.1f} s"))
    return rows


if __name__ == "__main__":
    main()
