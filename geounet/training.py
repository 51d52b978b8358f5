"""Fit a network to batches: one EpochResult an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from geounet.devices import autocast
from geounet.errors import ModelError
from geounet.models.losses import IGNORE_INDEX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn
    from torch.optim import Optimizer

    Batch = dict[str, Any]
    Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
    Change = Callable[[Tensor, Tensor, torch.Generator, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn."""

    epochs: int
    """Passes at most."""
    minutes: float | None = None
    """Time budget in minutes; the learning rate reaches its end with it. None for no limit."""
    learning_rate: float = 2e-3
    """Highest learning rate, after the warm-up."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""
    warm_up: float = 0.05
    """Share of the training in which the learning rate rises from 0."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.minutes is not None and self.minutes <= 0):
            raise ModelError(f"training needs at least one epoch and some minutes; given {self.epochs}, {self.minutes}")

    def rate(self, progress: float) -> float:
        """The learning rate at a progress of 0 to 1: a linear rise, then half a cosine down to 0."""
        if progress < self.warm_up:
            return self.learning_rate * progress / self.warm_up
        fall = (progress - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))


@dataclass(frozen=True, slots=True, eq=False)
class EpochResult:
    """What an epoch came to."""

    epoch: int
    """From 1."""
    loss: float
    """Mean training loss."""
    matrix: Tensor | None
    """Confusion matrix (classes, classes) int64 on validation, rows are the reference; None without validation."""
    seconds: float
    """Since the start of training, those of an interrupted run that was resumed counted."""
    progress: float
    """Share of the training that is done, 0 to 1."""
    validation_loss: float = math.nan
    """Mean loss over the labelled validation pixels; NaN without validation."""
    learning_rate: float = math.nan
    """At the epoch's last step."""
    steps: int = 0
    """Optimizer steps since the start of training."""
    best: bool = True
    """Whether no epoch before was better; the model file holds the last one that was."""

    @property
    def iou(self) -> tuple[float, ...]:
        """Intersection over union of each class; NaN where neither side has the class; empty without validation."""
        return () if self.matrix is None else tuple(class_iou(self.matrix).tolist())

    @property
    def f1(self) -> tuple[float, ...]:
        """F1 of each class, which is 2 IoU / (1 + IoU); NaN and empty likewise."""
        return tuple(2 * value / (1 + value) for value in self.iou)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN without validation."""
        return math.nan if self.matrix is None else float(class_iou(self.matrix).nanmean())


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class (classes,) from a confusion matrix; NaN where neither side has it."""
    hits = matrix.diagonal().double()
    return hits / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal()).double()


def fit(
    network: nn.Module,
    batches: Iterable[Batch],
    validation: Iterable[Batch] | None,
    loss: Loss,
    schedule: Schedule,
    *,
    class_weights: Tensor | None = None,
    augment: Change | None = None,
    device: torch.device,
    dtype: torch.dtype,
    seed: int = 0,
) -> Iterator[EpochResult]:
    """Train in place; after each epoch the network stands as it was validated, until the next one is asked for.

    Args:
        network: images (N, bands, H, W) to logits (N, classes, H, W).
        batches: iterated once an epoch: `image` (N, bands, H, W) float32 and `mask` (N, H, W) class indices.
        validation: likewise, once an epoch; a batch may name a `core` (row and column slices) that alone counts.
        loss: see :mod:`geounet.models.losses`.
        schedule: how long and how fast.
        class_weights: (classes,), for the loss.
        augment: see :class:`geounet.augment.Augment`.
        device: where to train.
        dtype: arithmetic of the forward pass (automatic mixed precision).
        seed: of the augmentation.

    Raises:
        ModelError: the loss is no longer finite.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=schedule.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    weights = None if class_weights is None else class_weights.to(device)
    clock = _Clock(schedule)
    for epoch in range(1, schedule.epochs + 1):
        clock.epoch = epoch - 1
        network.train()
        losses = []
        for done, batch in enumerate(batches):
            rate = schedule.rate(clock.progress(done / max(1, _length(batches))))
            images, labels = batch["image"], batch["mask"]
            if augment is not None:
                images, labels = augment(images, labels, generator, batch.get("valid"))
            with autocast(device, dtype):
                logits = network(images.to(device, memory_format=torch.channels_last))
            value = loss(logits.float(), labels.to(device), weights)
            losses.append(_step(network, optimizer, value, rate))
            if clock.over:
                break
        matrix = None if validation is None else validate(network, validation, device=device, dtype=dtype)
        yield EpochResult(epoch, sum(losses) / max(1, len(losses)), matrix, clock.seconds, clock.progress(1.0))
        if clock.over:
            return


class _Clock:
    """How far training is: by epochs or by the time budget, whichever is further."""

    def __init__(self, schedule: Schedule) -> None:
        self.start, self.schedule, self.epoch = time.monotonic(), schedule, 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def over(self) -> bool:
        return self.schedule.minutes is not None and self.seconds >= 60 * self.schedule.minutes

    def progress(self, share_of_epoch: float) -> float:
        by_epochs = (self.epoch + share_of_epoch) / self.schedule.epochs
        by_time = self.seconds / (60 * self.schedule.minutes) if self.schedule.minutes else 0.0
        return min(1.0, max(by_epochs, by_time))


def _length(batches: Iterable[Batch]) -> int:
    return len(batches) if isinstance(batches, Sized) else 1


def _step(network: nn.Module, optimizer: Optimizer, value: Tensor, rate: float) -> float:
    if not torch.isfinite(value):
        raise ModelError(f"the loss became {value.item()}; try a lower --learning-rate")
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return value.item()


def validate(network: nn.Module, batches: Iterable[Batch], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Confusion matrix (classes, classes) int64 of a network in eval mode; rows are the reference."""
    network.eval()
    matrix: Tensor | None = None
    for batch in batches:
        with torch.inference_mode(), autocast(device, dtype):
            logits = network(batch["image"].to(device, memory_format=torch.channels_last))
        rows, cols = batch.get("core", (slice(None), slice(None)))
        part = confusion(logits.argmax(1)[:, rows, cols].cpu(), batch["mask"][:, rows, cols], logits.shape[1])
        matrix = part if matrix is None else matrix + part
    return torch.zeros(1, 1, dtype=torch.int64) if matrix is None else matrix


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes) of label and prediction, ignored labels left out."""
    counted = labels != IGNORE_INDEX
    pairs = labels[counted] * classes + predicted[counted]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
