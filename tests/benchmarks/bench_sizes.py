"""Our networks for maps from scene to COG: beside what people run, and beside the bare runtime of the same network.

a. Scene to COG (class raster and confidence) over the plain forward pass of an smp UNet/resnet18: float32, contiguous,
   512-pixel windows, no halo, no input or output; measured in turn.
b. Scene to COG over the network alone (logits) of the same size, runtime and precision, at its best window size.
c. Seconds and peak memory of a scene of a Sentinel-2 granule's size, by the command line, with raster and confidence.

Weights are random, with one class ahead, so that most pixels are far from a tie, as with a trained network; `auto`
takes the precision that it takes there. Networks stand converted beside their models, as after a first prediction.

    python tests/benchmarks/bench_sizes.py [--side 10980] [--sizes xs s m] [--rounds 3] [--quick]
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_predict import bare_network, best_size, described, plain_pass, speed_of
from common import COMMAND, Row, arguments, draw_model, draw_scene, interleaved, median_of, predict_afresh, report
from common import run_command as run

from geounet.engine.runtimes import NetworkSetup, prepared
from geounet.models.model_file import fingerprint, load_model, read_card
from geounet.models.sizes import SIZES

if TYPE_CHECKING:
    import argparse

BARE = (1024, 1536, 2048)
PRECISIONS = ("auto", "fp32", "int8")


def measure(given: argparse.Namespace, folder: Path, size: str) -> tuple[list[Row], Any]:
    """All questions for one size."""
    model = draw_model(
        folder / f"{size}.safetensors", 4, mean=5000.0, std=2500.0, dtype="uint16", arch="subpixel-unet",
        **asdict(SIZES[size]), sure=True,
    )  # fmt: skip
    convert(model)
    scene, peer = folder / "scene.tif", load_model(folder / "peer.safetensors")[0]
    contenders: dict[str, Any] = {"plain": lambda: {"speed": plain_pass(peer, 4)}}
    for precision in PRECISIONS:
        engine = {"precision": precision}
        contenders[precision] = partial(
            predict_afresh, scene, model, folder / "c.tif", engine, confidence=folder / "f.tif"
        )
    found = interleaved(contenders, given.rounds)
    plain = median_of(found["plain"], "speed")
    rows = [Row(f"{size}: plain forward pass of smp UNet/resnet18", plain, "Mpx/s")]
    for precision in PRECISIONS:
        if precision in found:
            rows += _rows(size, precision, found[precision], plain, model, given)
    rows += _by_command(size, scene, model, folder)
    return rows, found


def convert(model: Path) -> None:
    """Have the network stand converted beside the model, as after a first prediction."""
    halo = read_card(model).halo or 0
    prepared(
        NetworkSetup(
            model=str(model), fingerprint=fingerprint(model), device="cpu", precision="fp32", runtime="openvino",
            window=(2 * halo + 64, 2 * halo + 64), halo=halo, threads=1,
        )
    )  # fmt: skip
    prepared.cache_clear()


def _rows(
    size: str, precision: str, runs: list[dict[str, Any]], plain: float, model: Path, given: argparse.Namespace
) -> list[Row]:
    last, seconds = runs[-1], median_of(runs, "seconds")
    speed = last["pixels"] / 1e6 / seconds
    ready = bare_network(model, 4, last["runtime"], last["precision"])
    side = best_size(ready, given.bare)
    bare = speed_of(ready(side), side**2, given.windows)
    told = f"{speed:.2f} Mpx/s, {seconds:.1f} s; {described(last)}"
    return [
        Row(f"a. {size}, {precision}: scene to COG over the plain forward pass", speed / plain, "x", "", told),
        Row(
            f"b. {size}, {precision}: scene to COG over the bare network", bare / speed, "x",
            "<= 1.4" if size in ("xs", "s") else "<= 1.2", f"{bare:.2f} Mpx/s at {side} px",
        ),
        *(
            Row(f"b. {size}, {precision}: {label}", median_of(runs, key), "s")
            for key, label in (("before", "before the first block"), ("blocks", "the blocks"), ("after", "writing"))
        ),
    ]  # fmt: skip


def _by_command(size: str, scene: Path, model: Path, folder: Path) -> list[Row]:
    words = ["predict", scene, "-m", model, "-o", folder / "c.tif", "--confidence", folder / "f.tif", "--overwrite"]
    quick, looked = run([*COMMAND, *words]), run([*COMMAND, *words], interval=0.25)
    peak = looked.rss_mib if looked.pss_mib is None else looked.pss_mib
    return [
        Row(f"c. {size}: geounet predict", quick.seconds, "s", "", "the whole process"),
        Row(f"c. {size}: peak memory", (peak or 0) / 1024, "GiB", "<= 1.5"),
    ]


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=10980, help="of the scene, in pixels")
    parser.add_argument("--sizes", nargs="+", default=["xs", "s", "m"], choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8, help="of the bare pass")
    parser.add_argument("--bare", type=int, nargs="+", default=BARE, help="window sizes to try for the bare pass")
    given = parser.parse_args()
    if given.quick:
        given.side, given.sizes, given.rounds, given.windows, given.bare = 2500, ["xs"], 1, 2, (512,)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        draw_scene(folder / "scene.tif", given.side, given.side, bands=4, dtype="uint16")
        draw_model(folder / "peer.safetensors", 4, encoder="resnet18")
        parts = {size: measure(given, folder, size) for size in given.sizes}
    rows = [row for part, _ in parts.values() for row in part]
    title = f"Networks for maps, scene of {given.side} x {given.side} x 4 uint16, class raster and confidence"
    report("sizes", title, rows, given, {name: details for name, (_, details) in parts.items()})


if __name__ == "__main__":
    main()
