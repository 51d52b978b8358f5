"""What `geounet train` learns in some minutes, beside a plain recipe with the same budget, on real chips.

The plain recipe is torchgeo's `SemanticSegmentationTask` in Lightning's trainer: smp's UNet around a resnet18 without
pretrained weights, random crops of 256 pixels, flips and rotations by quarter turns, AdamW, half a cosine,
cross-entropy weighted by the inverse square root of the classes' frequency plus Dice, bf16. The task knows no such sum
of losses, no cosine and no mean over the classes, so those three methods are overridden; nothing else is. It is helped
where that costs nothing: chips in memory, channels last. Ours is the command as users type it, with its defaults.

Both train on `train`, keep the epoch that is best on `val`, and are scored on `val` by the same lines, chip by chip in
float32. Chosen and scored on the same chips, both figures flatter, and both alike.

The budget is minutes by the clock, in turn, or with `--steps` the number of epochs that a quiet machine makes in those
minutes, timed beforehand in turn: then a busy machine is fair too.

    GEOUNET_DATA=... python tests/benchmarks/bench_recipes.py [--quick] [--minutes 15] [--seeds 0 1 2] [--steps]
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import torch
from common import COMMAND, Row, arguments, report, run_command
from torch.utils.data import DataLoader, Dataset

from geounet.training.loop import class_iou, confusion

if TYPE_CHECKING:
    import argparse

    from torch import Tensor, nn

CLASSES = {10: "building", 30: "road", 50: "field", 70: "forest", 100: "background"}
BANDS = (1, 2, 3)
"""The fourth is constant."""
PATCH = 256
BATCH = 8
PATCHES = 168
"""An epoch: twice what covers the chips."""
LEARNING_RATE = 1e-3
IGNORED = 255
TIMED = (1, 3)
"""Epochs of the two runs whose difference times an epoch."""


# ---- chips


def read_chips(folder: Path) -> list[tuple[Tensor, Tensor]]:
    """Images (3, 512, 512) float32 and class indices (512, 512) of a part of the data."""
    lookup = np.full(256, IGNORED, np.uint8)
    lookup[list(CLASSES)] = range(len(CLASSES))
    chips = []
    for path in sorted((folder / "images").glob("*.tif")):
        with rasterio.open(path) as image, rasterio.open(folder / "labels" / path.name) as label:
            values, codes = image.read(BANDS).astype(np.float32), lookup[label.read(1)].astype(np.int64)
        chips.append((torch.from_numpy(values), torch.from_numpy(codes)))
    return chips


def score(network: nn.Module, chips: list[tuple[Tensor, Tensor]], mean: Tensor, std: Tensor) -> list[float]:
    """Intersection over union of each class over all chips."""
    network.eval()
    with torch.inference_mode():
        parts = [
            confusion(network((image - mean)[None] / std).argmax(1), codes[None], len(CLASSES))
            for image, codes in chips
        ]
    return [float(value) for value in class_iou(torch.stack(parts).sum(0))]


# ---- the plain recipe


class Crops(Dataset):
    """Random crops, flipped and turned by quarters."""

    def __init__(self, chips: list[tuple[Tensor, Tensor]], seed: int) -> None:
        self.chips, self.generator = chips, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return PATCHES

    def __getitem__(self, _index: int) -> dict[str, Tensor]:
        """Image (3, 256, 256) and mask (256, 256); which crop does not depend on the index."""
        image, codes = self.chips[self._below(len(self.chips))]
        row, col = (self._below(side - PATCH + 1) for side in codes.shape)
        both = torch.cat((image, codes[None]))[:, row : row + PATCH, col : col + PATCH]
        both = torch.rot90(both.flip(2) if self._below(2) else both, self._below(4), (1, 2))
        return {"image": both[:-1].contiguous(), "mask": both[-1].long()}

    def _below(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self.generator))


def plain_task(weights: Tensor, minutes: float | None, epochs: int) -> Any:
    """The task with the recipe's loss, its cosine (over the minutes, else over the epochs) and its metric."""
    import segmentation_models_pytorch as smp
    from torchgeo.trainers import SemanticSegmentationTask
    from torchmetrics import JaccardIndex, MetricCollection

    start = time.monotonic()

    class Plain(SemanticSegmentationTask):
        def configure_losses(self) -> None:
            entropy = torch.nn.CrossEntropyLoss(weights, ignore_index=IGNORED)
            dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORED)
            self.criterion = lambda logits, labels: entropy(logits, labels) + dice(logits, labels)

        def configure_metrics(self) -> None:
            self.train_metrics = MetricCollection([])
            self.val_metrics = MetricCollection(
                {"val_iou": JaccardIndex(task="multiclass", num_classes=len(CLASSES), ignore_index=IGNORED)}
            )

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), LEARNING_RATE)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.share_of_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def share_of_rate(self, step: int) -> float:
            by_time = (time.monotonic() - start) / (60 * minutes) if minutes else 0.0
            progress = by_time if minutes else step / (epochs * (PATCHES // BATCH))
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return Plain("unet", "resnet18", in_channels=len(BANDS), num_classes=len(CLASSES), ignore_index=IGNORED)


def train_plain(data: Path, folder: Path, seed: int, minutes: float | None, epochs: int) -> list[float]:
    """Train the plain recipe; the classes' intersections over union on `val` of its best epoch."""
    from lightning.pytorch import Trainer, seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint

    seed_everything(seed)
    chips, checks = read_chips(data / "train"), read_chips(data / "val")
    pixels = torch.stack([image for image, _ in chips])  # (chips, bands, height, width)
    mean, std = (moment[:, None, None] for moment in (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))))
    counts = torch.bincount(torch.stack([codes for _, codes in chips]).flatten(), minlength=len(CLASSES))
    weights = (counts / counts.sum()) ** -0.5
    task = plain_task(weights / weights.mean(), minutes, epochs)
    task.model.to(memory_format=torch.channels_last)
    normal = [((image - mean) / std, codes) for image, codes in chips]
    valid = [{"image": (image - mean) / std, "mask": codes} for image, codes in checks]
    best = ModelCheckpoint(folder, monitor="val_iou", mode="max")
    trainer = Trainer(
        accelerator="cpu", precision="bf16-mixed", max_epochs=epochs, callbacks=[best], logger=False,
        max_time={"seconds": 60 * minutes} if minutes else None, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, DataLoader(Crops(normal, seed), BATCH, drop_last=True), DataLoader(valid, 1))
    task.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    return score(task.model, checks, mean, std)


# ---- both sides, each in a fresh process


def run_plain(data: Path, folder: Path, seed: int, minutes: float | None, epochs: int) -> list[float]:
    """The plain recipe in a process of its own."""
    given = {"data": str(data), "folder": str(folder), "seed": seed, "minutes": minutes, "epochs": epochs}
    return json.loads(run_command([sys.executable, __file__, json.dumps(given)]).output.splitlines()[-1])


def run_ours(data: Path, folder: Path, seed: int, minutes: float | None, epochs: int) -> list[float]:
    """`geounet train` with its defaults, then the model file scored."""
    from geounet.models.model_file import load_model

    table = folder / "classes.csv"
    lines = [f"{code},{name},#{code:02x}8040" for code, name in CLASSES.items()]
    table.write_text("\n".join(["value,name,color", *lines]) + "\n", encoding="utf-8")
    parts = (data / "train/images", "--labels", data / "train/labels", "--val", data / "val/images")
    budget = ("--minutes", minutes) if minutes else ("--epochs", epochs)
    run_command(
        [*COMMAND, "train", *parts, "--val-labels", data / "val/labels", "--bands", ",".join(map(str, BANDS)),
         "--classes", table, "--seed", seed, *budget, "-o", folder / "model.safetensors", "--overwrite", "-q"]
    )  # fmt: skip
    network, card = load_model(folder / "model.safetensors")
    mean, std = (torch.tensor([getattr(band, name) for band in card.bands])[:, None, None] for name in ("mean", "std"))
    return score(network, read_chips(data / "val"), mean, std)


SIDES = {"plain": run_plain, "ours": run_ours}


def epochs_in(minutes: float, data: Path, folder: Path) -> dict[str, int]:
    """How many epochs each side makes in the minutes: by the difference of a short and a shorter run, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(2):
        for name, side in SIDES.items():
            walls = []
            for epochs in TIMED:
                start = time.perf_counter()
                side(data, folder, 0, None, epochs)
                walls.append(time.perf_counter() - start)
            seconds[name].append((walls[1] - walls[0]) / (TIMED[1] - TIMED[0]))
    return {name: max(1, round(60 * minutes / min(found))) for name, found in seconds.items()}


def measure(given: argparse.Namespace, data: Path) -> dict[str, Any]:
    """The classes' intersections over union of each side, by seed."""
    found: dict[str, list[list[float]]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        epochs = epochs_in(given.minutes, data, Path(name)) if given.steps else dict.fromkeys(SIDES, 10**6)
        for seed in given.seeds:
            for side, run in SIDES.items():
                values = run(data, Path(name), seed, None if given.steps else given.minutes, epochs[side])
                found[side].append(values)
                print(f"seed {seed}, {side}: mean IoU {statistics.mean(values):.3f}", *map("{:.3f}".format, values))
    return {"classes": list(CLASSES.values()), "iou": found, "epochs": epochs if given.steps else None}


def main() -> None:
    """Train both sides for each seed, in turn."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2, help="of each training")
    parser.add_argument(
        "--steps", action="store_true", help="as many epochs as fit into the minutes, on a busy machine"
    )
    given = parser.parse_args()
    place = os.environ.get("GEOUNET_DATA")
    if not place:
        print("left out: GEOUNET_DATA names no folder with korea_landcover")
        return
    if given.quick:
        given.minutes, given.seeds = min(given.minutes, 0.2), given.seeds[:1]
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    details = measure(given, Path(place, "korea_landcover"))
    means = {side: [statistics.mean(values) for values in seeds] for side, seeds in details["iou"].items()}
    plain, ours = (statistics.mean(means[side]) for side in ("plain", "ours"))
    note = f"ours {ours:.3f} ({_listed(means['ours'])}), plain {plain:.3f} ({_listed(means['plain'])})"
    rows = [Row("mean IoU above the plain recipe's", ours - plain, "IoU", ">= 0.03", note)]
    for index, name in enumerate(CLASSES.values()):
        for side, seeds in details["iou"].items():
            value = statistics.mean(values[index] for values in seeds)
            rows.append(Row(f"{name}, {side}", value, "IoU"))
    title = f"korea_landcover, trained on train and chosen and scored on val, {given.minutes:g} minutes"
    report("recipes", title, rows, given, details)


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        words = json.loads(sys.argv[1])
        print(json.dumps(train_plain(**{**words, "data": Path(words["data"]), "folder": Path(words["folder"])})))
    else:
        main()
