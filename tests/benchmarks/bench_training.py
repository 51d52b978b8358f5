"""Training from files beside a loop over one ready batch in memory: what loading, augmenting and book-keeping cost.

The loop over the ready batch is PyTorch by hand: the same network, loss, optimizer, precision and memory format, and
nothing else. Training is the command `geounet train` on GeoTIFFs, in a process of its own: patches drawn, read, changed
and batched, learning rate, clipping, and after each epoch model file, state and log written; its first epoch, in which
files are read for the first time, is left out. A Lightning Trainer over the same ready batch says what its loop would
cost.

    python tests/benchmarks/bench_training.py [--quick] [--rounds 3] [--workers 0,1]
"""

from __future__ import annotations

import csv
import logging
import tempfile
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import torch
from common import COMMAND, Row, arguments, draw_scene, interleaved, median_of, report, run_command
from torch.utils.data import DataLoader

from geounet.data.source import Source
from geounet.engine.devices import autocast, pick_device, pick_training_precision
from geounet.models.encoders import Architecture, build_network
from geounet.models.losses import build_loss
from geounet.training.log import log_path
from geounet.training.optimizers import build_optimizers
from geounet.training.recipe import Recipe

CLASSES = 5
CHIPS, SIDE = 21, 512


def draw_chips(folder, chips, side):
    """Images of 3 bands with labels of 5 classes, as GeoTIFFs."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(chips):
        name = f"{number:02d}.tif"
        draw_scene(folder / "images" / name, side, side, seed=number)
        with rasterio.open(folder / "images" / name) as image:
            levels = image.read(1).astype(int)
            profile = image.profile | {"count": 1, "dtype": "uint8", "nodata": None, "compress": "deflate"}
        with rasterio.open(folder / "labels" / name, "w", **profile) as labels:
            labels.write(np.uint8(levels * CLASSES // 256)[None] + 1)
    return Source((folder / "images",), (folder / "labels",))


def ready_batch(recipe):
    """One batch of noise."""
    random = torch.Generator().manual_seed(0)
    size = (recipe.batch_size, 3, recipe.patch_size, recipe.patch_size)
    labels = torch.randint(CLASSES, (size[0], *size[2:]), generator=random)
    return torch.randn(size, generator=random), labels


def network_of(recipe):
    return build_network(Architecture(3, CLASSES, encoder=recipe.encoder))


def optimizers_of(network, recipe, dtype):
    optimizers = build_optimizers(network, recipe.chosen_optimizer, 0.01, dtype)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 1e-3
    return optimizers


def hand_written(recipe, steps):
    """Seconds a step over the ready batch, by hand."""
    device = torch.device(pick_device(recipe.device))
    dtype = pick_training_precision(recipe.precision, device)
    network = network_of(recipe).to(device, memory_format=torch.channels_last).train()
    optimizers = optimizers_of(network, recipe, dtype)
    loss, (images, labels) = build_loss(recipe.loss), ready_batch(recipe)
    images, labels = images.to(device, memory_format=torch.channels_last), labels.to(device)
    weights = torch.ones(CLASSES, device=device)

    def step():
        with autocast(device, dtype):
            logits = network(images)
        loss(logits.float(), labels, weights, None).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        network.zero_grad(set_to_none=True)

    return {"step": seconds_of(step, steps, device)}


def seconds_of(step, steps, device):
    """Seconds of one step, after two that warm up."""
    for _ in range(2):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def from_files(source, out, recipe, steps):
    """Seconds a step of the command `geounet train`, over all epochs but the first."""
    given = {
        "--labels": source.labels[0], "--epochs": 3, "--patches": steps * recipe.batch_size, "--device": recipe.device,
        "--patch-size": recipe.patch_size, "--batch-size": recipe.batch_size, "--encoder": recipe.encoder,
        "--loader-workers": recipe.loader_workers, "-o": out,
    }  # fmt: skip
    options = [word for pair in given.items() for word in pair]
    run_command([*COMMAND, "train", *source.images, *options, "--no-report", "--overwrite", "--quiet"])
    with log_path(out).open() as log:
        first, *_, last = csv.DictReader(log)
    return {"step": (float(last["seconds"]) - float(first["seconds"])) / (int(last["steps"]) - int(first["steps"]))}


def by_lightning(recipe, steps):
    """Seconds a step of Lightning's Trainer over the ready batch; None where it is not installed."""
    try:
        import lightning
    except ImportError:
        return None
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    marks = []

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network, self.loss = network_of(recipe), build_loss(recipe.loss)
            # It takes more than one optimizer only so.
            self.automatic_optimization = False

        def training_step(self, batch, _index):
            marks.append(time.perf_counter())
            images, labels = batch
            logits = self.network(images.to(memory_format=torch.channels_last))
            self.manual_backward(self.loss(logits.float(), labels, None, None))
            for optimizer in self.optimizers():
                optimizer.step()
            self.zero_grad(set_to_none=True)

        def configure_optimizers(self):
            return list(optimizers_of(self.network, recipe, dtype))

    device = torch.device(pick_device(recipe.device))
    dtype = pick_training_precision(recipe.precision, device)
    bf16 = dtype is torch.bfloat16
    trainer = lightning.Trainer(
        max_epochs=1, accelerator=device.type, devices=1, precision="bf16-mixed" if bf16 else "32-true",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    task = Task().to(memory_format=torch.channels_last)
    # A bare list would be many loaders to Lightning.
    trainer.fit(task, DataLoader([ready_batch(recipe)] * (steps + 3), batch_size=None))
    return {"step": (marks[-1] - marks[2]) / (len(marks) - 3)}


def main():
    """Measure in turn, so that the machine's drift meets all; the median of the rounds' ratios counts."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="0,1", help="numbers of loader threads to try")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    side, chips, steps = (128, 2, 2) if given.quick else (SIDE, CHIPS, given.steps)
    patch = 64 if given.quick else 256
    recipe = Recipe(encoder=given.encoder, patch_size=patch, batch_size=given.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        source = draw_chips(Path(folder), chips, side)
        contenders = {"ready": partial(hand_written, recipe, steps), "lightning": partial(by_lightning, recipe, steps)}
        for workers in map(int, given.workers.split(",")):
            one = replace(recipe, loader_workers=workers)
            contenders[f"{workers} loader threads"] = partial(
                from_files, source, Path(folder, "m.safetensors"), one, steps
            )
        # What runs first in a process is slower, whatever it is.
        contenders["ready"]()
        found = interleaved(contenders, given.rounds)
    seconds = {name: median_of(rows, "step") for name, rows in found.items()}
    ratios = {
        name: float(np.median([a["step"] / b["step"] for a, b in zip(found["ready"], rows, strict=True)]))
        for name, rows in found.items()
    }
    rows = [
        Row(f"training, {name} beside it, over the ready batch", ratio, "x", ">= 0.9", f"{seconds[name]:.3f} s a step")
        for name, ratio in ratios.items()
        if "threads" in name
    ]
    if "lightning" in ratios:
        rows.append(Row("Lightning's Trainer over the ready batch", ratios["lightning"], "x", "", "no loading"))
    patches = recipe.batch_size / seconds["ready"]
    rows.append(Row("ready batch", patches, "1/s", "", f"patches of {patch} px, {recipe.batch_size} a batch"))
    report("training", f"Training a UNet with {given.encoder}", rows, given, {"seconds": found})


if __name__ == "__main__":
    main()
