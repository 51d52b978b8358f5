"""Prediction from scene to COG beside the bare forward pass of the same network, in one run.

Three questions, an smp UNet/resnet18 with 5 classes throughout:

a. How fast beside what people run? Scene to COG over the plain forward pass: float32, contiguous, 512-pixel windows, no
   halo, no input or output. Peers reach 0.25 to 0.37 of it.
b. What does everything but the network cost? Scene to COG over the network alone (no softmax, no argmax) of the same
   runtime and precision, at its best window size, on as many pixels as the scene has valid ones.
c. How long does a scene of a Sentinel-2 granule's size take, by the command line, and how much memory?

a and b time `predict()` in a fresh process, where nothing is compiled or cached; starting Python and importing torch
is apart, under `wall` in the JSON file. c times the whole process, and looks at its memory in a run of its own: a look
stops a process of two gigabytes for some milliseconds, and all looks together made the run some seconds longer.

    python tests/benchmarks/bench_predict.py [--side 8192] [--granule 10980] [--rounds 3] [--quick]
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from common import (
    COMMAND,
    Row,
    arguments,
    draw_model,
    draw_scene,
    interleaved,
    last_line,
    median_of,
    predict_afresh,
    report,
    run_command,
)

from geounet.engine.devices import autocast, faster_precision, torch_dtype
from geounet.models.model_file import load_model

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

PLAIN = 512
GRANULE = 10980
"""Side in pixels of a Sentinel-2 granule, to which the targets in seconds refer."""
SIZES = (512, 768, 1024, 1536, 2304)
CONTENDERS = {
    "torch fp32": {"runtime": "torch", "precision": "fp32"},
    "auto": {},
    "int8": {"precision": "int8"},
}


# ---- the network alone


def plain_pass(network: torch.nn.Module, bands: int, windows: int = 8) -> float:
    """Mpx/s of the network as people run it."""
    image = torch.randn(1, bands, PLAIN, PLAIN)
    with torch.inference_mode():
        network(image)
        start = time.perf_counter()
        for _ in range(windows):
            network(image)
    return windows * PLAIN**2 / 1e6 / (time.perf_counter() - start)


def speed_of(once: Callable[[], object], pixels: int, windows: int) -> float:
    """Mpx/s of so many windows of so many pixels, after one that is not counted."""
    once()
    start = time.perf_counter()
    for _ in range(windows):
        once()
    return windows * pixels / 1e6 / (time.perf_counter() - start)


def bare_network(model: Path, bands: int, runtime: str, precision: str) -> Callable[[int], Callable[[], object]]:
    """The network alone, made ready once: a function from a window's side to one pass, which gives logits."""
    network, _ = load_model(model)
    if runtime == "torch":
        return partial(_torch_pass, network.to(memory_format=torch.channels_last), bands, precision)
    return partial(_openvino_pass, _converted(network, bands, precision), bands, precision)


def _torch_pass(network: torch.nn.Module, bands: int, precision: str, side: int) -> Callable[[], object]:
    image = torch.randn(1, bands, side, side).to(memory_format=torch.channels_last)

    def once() -> None:
        with torch.inference_mode(), autocast(torch.device("cpu"), torch_dtype(precision)):
            network(image)

    return once


def _converted(network: torch.nn.Module, bands: int, precision: str) -> Any:
    """An OpenVINO model; in int8 quantised as :mod:`geounet.engine.quantization` does, but of noise: as dear."""
    import openvino

    example = torch.randn(1, bands, PLAIN, PLAIN)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = openvino.convert_model(network, example_input=example, input=[tuple(example.shape)])
    if precision != "int8":
        return graph
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        import nncf

        images = nncf.Dataset([torch.randn_like(example).numpy() for _ in range(4)])
        return nncf.quantize(graph, images, subset_size=4, preset=nncf.QuantizationPreset.MIXED)


def _openvino_pass(graph: Any, bands: int, precision: str, side: int) -> Callable[[], object]:
    import openvino

    shaped = graph.clone()
    shaped.reshape([1, bands, side, side])
    lower = faster_precision("cpu") or "f32"
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "int8": lower}.get(precision, precision),
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    request = openvino.compile_model(shaped, "CPU", settings).create_infer_request()
    image = torch.randn(1, bands, side, side).numpy()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)


def best_size(ready: Callable[[int], Callable[[], object]], sizes: Sequence[int]) -> int:
    """The window size at which the network alone is fastest."""
    speeds = {side: speed_of(ready(side), side**2, max(2, 3 * 1024**2 // side**2)) for side in sizes}
    return max(speeds, key=lambda side: speeds[side])


# ---- a, b, c


def beside_plain(given: argparse.Namespace, folder: Path, model: Path) -> tuple[list[Row], Any]:
    """Question a."""
    scene = draw_scene(folder / "plain.tif", given.side, given.side)
    network, _ = load_model(model)
    contenders: dict[str, Callable[[], Any]] = {"plain": lambda: {"speed": plain_pass(network, 3)}}
    for name, engine in CONTENDERS.items():
        contenders[name] = partial(predict_afresh, scene, model, folder / "a.tif", engine)
    found = interleaved(contenders, given.rounds)
    scene.unlink()
    plain = median_of(found.pop("plain"), "speed")
    targets = {"auto": ">= 4.5", "int8": ">= 9"}
    rows = [Row("a. plain forward pass, fp32, 512 px", plain, "Mpx/s")]
    for name, runs in found.items():
        speed = runs[0]["pixels"] / 1e6 / median_of(runs, "seconds")
        what = f"{speed:.2f} Mpx/s; {described(runs[-1])}"
        label = f"a. scene to COG, {name}, over the plain forward pass"
        rows.append(Row(label, speed / plain, "x", targets.get(name, ""), what))
    return rows, found


def described(result: dict[str, Any]) -> str:
    """What a prediction ran with."""
    kept = "" if result["agreement"] is None else f", {result['agreement']:.2%} of fp32's classes"
    return f"{result['runtime']} {result['precision']}, core {result['core'][0]}, halo {result['halo']}{kept}"


def beside_bare(given: argparse.Namespace, folder: Path, model: Path, name: str) -> tuple[list[Row], Any]:
    """Question b, for one contender: the bare pass before and after each run, the same machine a moment apart."""
    scene, rounds = folder / "full.tif", []
    ready, best = None, None
    for _ in range(given.rounds):
        result = predict_afresh(scene, model, folder / "b.tif", CONTENDERS[name])
        if result is None:
            return [], None
        ready = ready or bare_network(model, 3, result["runtime"], result["precision"])
        best = best or best_size(ready, given.sizes)
        rounds.append({**result, "bare": speed_of(ready(best), best**2, given.windows)})
    # Each run lies between two measurements of the bare pass, but for the first, which has the one after it alone.
    for before, after in zip([rounds[0], *rounds], rounds, strict=False):
        after["ratio"] = after["seconds"] * (before["bare"] + after["bare"]) / 2 / (after["valid"] / 1e6)
    middle = sorted(rounds, key=lambda row: row["ratio"])[len(rounds) // 2]
    return _bare_rows(name, middle, best), rounds


def _bare_rows(name: str, run_: dict[str, Any], side: int | None) -> list[Row]:
    """The ratio, and where the time went that is not the network's."""
    bare = run_["valid"] / 1e6 / run_["bare"]
    computed = run_["windows"] * (run_["core"][0] + 2 * run_["halo"]) * (run_["core"][1] + 2 * run_["halo"])
    note = f"{run_['seconds']:.1f} s over {bare:.1f} s at {side} px; {described(run_)}"
    return [
        Row(f"b. scene to COG, {name}, over the bare forward pass", run_["ratio"], "x", "<= 1.25", note),
        Row(
            f"b. {name}: pixels within windows over valid pixels", computed / run_["valid"], "x", "", "halo, uncropped"
        ),
        Row(f"b. {name}: before the first block", run_["before"], "s", "", "opening, choosing, planning"),
        Row(f"b. {name}: the blocks", run_["blocks"], "s", "", "with starting the engine and compiling"),
        Row(f"b. {name}: after the last block", run_["after"], "s", "", "writing the COG"),
    ]


def by_command(given: argparse.Namespace, folder: Path) -> tuple[list[Row], Any]:
    """Question c."""
    side = given.granule
    model = draw_model(
        folder / "four.safetensors", 4, mean=5000.0, std=2500.0, dtype="uint16", encoder="resnet18", sure=True
    )
    scene = draw_scene(folder / "granule.tif", side, side, bands=4, dtype="uint16", nodata_share=0.25)
    contenders = {name: partial(_command, scene, model, folder, name) for name in ("auto", "int8")}
    found = interleaved(contenders, given.rounds)
    rows = []
    for name, runs in found.items():
        looked = contenders[name](interval=0.25)
        seconds = median_of(runs, "seconds")
        limit = {"auto": "<= 35", "int8": "<= 20"}[name]
        what = f"c. {side} x {side} x 4 uint16, a quarter nodata, {name}"
        rows.append(Row(what, seconds, "s", limit if side == GRANULE else "", runs[-1]["said"]))
        if looked is not None:
            label = f"{what}: peak memory of the process tree"
            rows.append(Row(label, looked["mib"] / 1024, "GiB", "<= 2.5", looked["kind"]))
    return rows, found


def _command(
    scene: Path, model: Path, folder: Path, precision: str, interval: float | None = None
) -> dict[str, Any] | None:
    """Seconds of the command, and the peak of its memory where that is looked at."""
    words = ["predict", scene, "-m", model, "-o", folder / "c.tif", "--confidence", folder / "f.tif", "--overwrite"]
    try:
        done = run_command([*COMMAND, *words, "--precision", precision], interval=interval)
    except subprocess.CalledProcessError as error:
        print(f"left out: --precision {precision}: {last_line(error.stderr)}")
        return None
    peak, kind = (done.rss_mib, "RSS") if done.pss_mib is None else (done.pss_mib, "PSS")
    return {"seconds": done.seconds, "mib": peak, "kind": kind, "said": last_line(done.errors).partition(": ")[2]}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=8192, help="of the scene of a, in pixels")
    parser.add_argument("--granule", type=int, default=GRANULE, help="side of the scenes of b and c, in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=12, help="of the bare pass of b")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="window sizes to try for the bare pass of b"
    )
    given = parser.parse_args()
    if given.quick:
        given.side, given.granule, given.rounds, given.windows, given.sizes = 1536, 2048, 1, 2, (512, 1024)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        model = draw_model(folder / "model.safetensors", encoder="resnet18", sure=True)
        parts = {"a": beside_plain(given, folder, model)}
        draw_scene(folder / "full.tif", given.granule, given.granule)
        for contender in ("auto", "int8"):
            parts[f"b {contender}"] = beside_bare(given, folder, model, contender)
        (folder / "full.tif").unlink()
        parts["c"] = by_command(given, folder)
    rows = [row for part, _ in parts.values() for row in part]
    title = (
        f"smp UNet/resnet18, 3 bands: a on {given.side} x {given.side}, b and c on {given.granule} x {given.granule}"
    )
    report("predict", title, rows, given, {name: details for name, (_, details) in parts.items()})


if __name__ == "__main__":
    main()
