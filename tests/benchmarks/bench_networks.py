"""Our networks side by side: work a pixel, reach and speed of each, and what it learns in some minutes.

Speed is that of the network alone with its decision, in OpenVINO, in windows of 1024 pixels. Quality is that of
`geounet train` as users type it, with the same budget for each network, on four data sets: Korean and Indian land cover
from Sentinel-2, nuclei under a microscope (every fifth picture held back), and the sample tiles. The epoch that is best
on the validation part is kept and scored there: mean IoU over the classes, and boundary F1 (pixels within 2 of another
class that both sides put into the same class's band). Chosen and scored on the same pixels, all figures flatter, and
all alike.

The budget is minutes by the clock, or with `--steps` as many epochs as a quiet machine makes in those minutes, timed
beforehand: then a busy machine is fair too.

    GEOUNET_DATA=... python tests/benchmarks/bench_networks.py [--quick] [--minutes 15] [--seeds 0 1 2] [--steps]
"""

from __future__ import annotations

import csv
import json
import math
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import COMMAND, Row, arguments, report, run_command

from geounet.data.source import Source
from geounet.engine.devices import faster_precision
from geounet.engine.runtimes import make_classifier
from geounet.grid import round_up
from geounet.metrics.boundaries import boundary_counts
from geounet.models.encoders import build_network
from geounet.models.model_file import load_model
from geounet.models.receptive_field import probe_receptive_field
from geounet.models.sizes import SIZES
from geounet.training.batches import ValidationBatches, dataset_of
from geounet.training.log import log_path
from geounet.training.loop import class_iou, confusion
from geounet.training.recipe import Recipe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

NETWORKS: dict[str, dict[str, Any]] = {
    "classic": {"arch": "unet"},
    **{name: {"size": name} for name in SIZES},
}
"""By name: what `geounet train` is told."""
SIDE = 1024
BANDS, CLASSES = 4, 5
DISTANCE = 2
"""Pixels from an outline that count for boundary F1."""
KOREA = {10: "building", 30: "road", 50: "field", 70: "forest", 100: "background"}
INDIA = {1: "built-up", 2: "vegetation", 3: "water"}
SAMPLES = Path(__file__).parents[2] / "sample_tiles"


# ---- work, reach, speed


def about(name: str, seconds: float) -> list[Row]:
    """Operations a pixel, halo, and speed in each precision that this machine multiplies."""
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(0)
    network = build_network(Recipe(**NETWORKS[name]).architecture(BANDS, CLASSES)).eval()
    reach = probe_receptive_field(network, BANDS)
    assert reach is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, BANDS, 256, 256))
    weights = sum(part.numel() for part in network.parameters())
    note = f"halo {reach.halo} px, stride {reach.stride}, {weights:,} weights"
    rows = [Row(f"{name}: operations", counter.get_total_flops() / 2 / 256**2 / 1e3, "kMAC/px", "", note)]
    side = round_up(SIDE, reach.stride)
    image = np.random.default_rng(0).standard_normal((BANDS, side, side), np.float32)
    for precision in ("fp32", *filter(None, [faster_precision("cpu")])):
        run = make_classifier(
            network, image.shape, 0, runtime="openvino", device="cpu", precision=precision,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        speed = side**2 / 1e6 / _time_of(partial(run, image), seconds)
        rows.append(Row(f"{name}: OpenVINO {precision}", speed, "Mpx/s"))
    return rows


def _time_of(once: Callable[[], object], seconds: float) -> float:
    """The median of as many passes as fit into some seconds, after one that is not counted."""
    once()
    walls, over = [], time.perf_counter() + seconds
    while time.perf_counter() < over or len(walls) < 3:
        start = time.perf_counter()
        once()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls)


# ---- quality


def data_sets(data: Path, folder: Path) -> dict[str, tuple[Source, Source, list[object]]]:
    """By name: training source, validation source, and the words of the command line that say so."""
    pictures = sorted((data / "nuclei/images").glob("*.png"))
    views = sorted((data / "india_landcover/rgb").glob("*.png"))
    india, korea = data / "india_landcover", data / "korea_landcover"
    return {
        "korea": _pair(
            [korea / "train/images"], [korea / "val/images"], korea / "train/labels", korea / "val/labels",
            bands=(1, 2, 3), classes=_table(folder / "korea.csv", KOREA),
        ),
        "india": _pair(
            _without(views), views[4::5], india / "labels", india / "labels", bands=(1, 2, 3),
            classes=_table(folder / "india.csv", INDIA),
        ),
        "nuclei": _pair(
            _without(pictures), pictures[4::5], data / "nuclei/instances", data / "nuclei/instances", bands=(1, 2, 3),
            instances=True,
        ),
        "sample tiles": _pair(
            [SAMPLES / "train/images"], [SAMPLES / "val/images"], SAMPLES / "train/labels", SAMPLES / "val/labels",
            classes=SAMPLES / "classes.csv",
        ),
    }  # fmt: skip


def _without(paths: list[Path]) -> list[Path]:
    return [path for number, path in enumerate(paths) if number % 5 != 4]


def _table(path: Path, names: dict[int, str]) -> Path:
    rows = [f"{value},{name},#{value:02x}8040" for value, name in names.items()]
    path.write_text("\n".join(["value,name,color", *rows]) + "\n", encoding="utf-8")
    return path


def _pair(
    images: list[Path],
    checks: list[Path],
    labels: Path,
    check_labels: Path,
    *,
    bands: tuple[int, ...] = (),
    classes: Path | None = None,
    instances: bool = False,
) -> tuple[Source, Source, list[object]]:
    words: list[object] = [*images, "--labels", labels, "--val", *checks, "--val-labels", check_labels]
    words += ["--bands", ",".join(map(str, bands))] if bands else []
    words += ["--classes", classes] if classes else []
    words += ["--instances"] if instances else []
    names = bands or None
    train, val = (
        Source(tuple(map(str, sides)), (place,), bands=names, instances=instances)
        for sides, place in ((images, labels), (checks, check_labels))
    )
    return train, val, words


def train(words: list[object], model: Path, *options: object) -> list[float]:
    """Train in a process of its own; the seconds of each epoch."""
    run_command([*COMMAND, "train", *words, *options, "-o", model, "--overwrite", "-q", "--no-report"])
    with log_path(model).open(newline="", encoding="utf-8") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [after - before for before, after in zip([0.0, *ends], ends, strict=False)]


def score(model: Path, validation: Source) -> dict[str, float]:
    """Mean IoU and mean boundary F1 over the classes of the validation part, in float32."""
    network, card = load_model(model)
    pairs = validation.pairs(card.classes)
    matrix = torch.zeros(len(card.classes), len(card.classes), dtype=torch.int64)
    bands = np.zeros((3, 255), np.int64)
    for batch in ValidationBatches(dataset_of(pairs, card.bands, card.classes), card.stride):
        rows, cols = batch.get("core", (slice(None), slice(None)))
        with torch.inference_mode():
            found = network(batch["image"]).argmax(1)
        matrix += confusion(found[:, rows, cols], batch["mask"][:, rows, cols], len(card.classes))
        for labels, classes in zip(batch["mask"].numpy(), found.numpy(), strict=True):
            known = labels != 255
            sides = (np.where(known, side, 255).astype(np.uint8) for side in (labels, classes))
            bands += boundary_counts(*sides, DISTANCE, (rows, cols))
    support, predicted, agreed = bands[:, : len(card.classes)]
    with np.errstate(invalid="ignore"):
        f1 = 2 * agreed / (support + predicted)
    return {"mean_iou": float(class_iou(matrix).nanmean()), "boundary_f1": float(np.nanmean(f1))}


def epochs_of(minutes: float, words: list[object], model: Path, options: list[object]) -> int:
    """How many epochs a network makes in the minutes: by the faster of two that follow the first."""
    seconds = train(words, model, *options, "--epochs", 3)
    return max(1, round(60 * minutes / min(seconds[1:])))


def qualities(given: argparse.Namespace, data: Path) -> tuple[list[Row], Any]:
    """Every network on every data set with every seed, the networks in turn."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        model = Path(name, "model.safetensors")
        sets = data_sets(data, Path(name))
        for place in given.data:
            _source, validation, words = sets[place]
            how = {net: _words(NETWORKS[net]) + given.more.split() for net in given.networks}
            epochs = {
                net: epochs_of(given.minutes, words, model, options) if given.steps else 0
                for net, options in how.items()
            }
            for seed in given.seeds:
                for net, options in how.items():
                    budget = ("--epochs", epochs[net]) if given.steps else ("--minutes", given.minutes)
                    passes = train(words, model, *options, *budget, "--seed", seed)
                    values = {**score(model, validation), "epochs": len(passes)}
                    found.setdefault(net, {}).setdefault(place, []).append(values)
                    print(place, net, seed, json.dumps(values), flush=True)
    return [row for net, places in found.items() for row in _rows(net, places)], found


def _words(network: dict[str, Any]) -> list[object]:
    return [word for name, value in network.items() for word in (f"--{name}", value)]


def _rows(net: str, places: dict[str, list[dict[str, float]]]) -> list[Row]:
    rows = []
    for what in ("mean_iou", "boundary_f1"):
        means = {place: statistics.mean(run[what] for run in runs) for place, runs in places.items()}
        spread = {place: _spread([run[what] for run in runs]) for place, runs in places.items()}
        note = ", ".join(f"{place} {means[place]:.3f} ({spread[place]})" for place in places)
        rows.append(Row(f"{net}: {what.replace('_', ' ')}", statistics.mean(means.values()), "", "", note))
    return rows


def _spread(values: list[float]) -> str:
    middle = statistics.mean(values)
    return f"+-{math.sqrt(sum((value - middle) ** 2 for value in values) / max(1, len(values) - 1)):.3f}"


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--data", nargs="+", default=["korea", "india", "nuclei", "sample tiles"], help="data sets")
    parser.add_argument("--threads", type=int, default=2, help="of each training")
    parser.add_argument("--more", default="", help="further options of each training, in one word")
    parser.add_argument(
        "--steps", action="store_true", help="as many epochs as fit into the minutes on a quiet machine"
    )
    given = parser.parse_args()
    if given.quick:
        given.minutes, given.seeds, given.networks = min(given.minutes, 0.1), given.seeds[:1], given.networks[:2]
    rows = [row for name in given.networks for row in about(name, 0.2 if given.quick else 3.0)]
    details = None
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if place := os.environ.get("GEOUNET_DATA"):
        more, details = qualities(given, Path(place))
        rows += more
    else:
        print("quality is left out: GEOUNET_DATA names no folder with korea_landcover, india_landcover and nuclei")
    title = f"Our networks; {SIDE} px windows of {BANDS} bands; {given.minutes:g} minutes of training"
    report("networks", title, rows, given, details)


if __name__ == "__main__":
    main()
