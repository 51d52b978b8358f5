"""Fit a network to batches: one EpochResult an epoch.

Why not Lightning's Trainer, which torchgeo brings along: (1) `--resume` gives the bits of an uninterrupted run, so
every random draw is seeded by run, epoch and batch, and Lightning's checkpoints keep no state of random generators and
leave the sampler's to the user; (2) with `--minutes` the learning rate follows the clock; (3) a Trainer's checkpoint is
a pickle, and geounet loads none; (4) a library hands out epochs one by one, while a Trainer takes signals, logging and
progress of the process into its own hands. What would be left of it is the loop over batches below. What can come from
PyTorch does: AdamW (:mod:`geounet.training.optimizers`), autocast, GradScaler, AveragedModel, clipping.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel

from geounet.engine.devices import autocast
from geounet.errors import ModelError
from geounet.models.encoders import encoder_modules
from geounet.models.losses import IGNORE_INDEX, distillation
from geounet.models.rounding import rounded
from geounet.training.optimizers import build_optimizers
from geounet.training.seeds import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn

    from geounet.classes import LandClass
    from geounet.models.losses import Loss

    Batch = dict[str, Any]
    Batches = Callable[[int], Iterable[Batch]]


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
    """Decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""
    warm_up: float = 0.05
    """Share of the training in which the learning rate rises from 0."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    clip_norm: float = 5.0
    """Largest norm of a step's gradient, all weights together; 0 for any."""
    ema: float = 0.0
    """Decay of the weights' exponential moving average, which is then what is validated and kept; 0 for none."""
    patience: int | None = None
    """Epochs without a better one on validation after which training stops; None for no such end."""
    freeze_encoder: int = 0
    """First epochs in which the encoder stays as it is, its batch statistics too."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.minutes is not None and self.minutes <= 0):
            raise ModelError(f"training needs at least one epoch and some minutes; given {self.epochs}, {self.minutes}")
        if self.accumulate < 1 or (self.patience is not None and self.patience < 1):
            raise ModelError(f"accumulate and patience are at least 1; given {self.accumulate} and {self.patience}")
        if not 0 <= self.ema < 1 or self.clip_norm < 0 or self.freeze_encoder < 0 or not 0 <= self.warm_up < 1:
            raise ModelError(
                "ema and warm-up lie between 0 and 1, clip norm and frozen epochs are not negative; given "
                f"{self.ema}, {self.warm_up}, {self.clip_norm} and {self.freeze_encoder}"
            )

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


def metrics_of(result: EpochResult, classes: Sequence[LandClass]) -> dict[str, Any]:
    """What a model file holds of the epoch that it is of."""
    if result.matrix is None:
        return {"epoch": result.epoch, "loss": result.loss}
    iou = {item.name: None if math.isnan(value) else value for item, value in zip(classes, result.iou, strict=True)}
    return {"epoch": result.epoch, "loss": result.loss, "mean_iou": result.mean_iou, "iou": iou}


class Training:
    """A network on its way, epoch after epoch.

    Args:
        network: images (N, bands, H, W) to logits (N, classes, H, W); trained in place, on the device.
        loss: see :mod:`geounet.models.losses`.
        schedule: how long and how fast.
        class_weights: (classes,), for the loss.
        device: where to train.
        dtype: arithmetic of the forward pass (automatic mixed precision); float16's gradients are scaled.
        optimizer: one of :data:`geounet.training.optimizers.OPTIMIZERS`.
        seed: of what the network itself draws at random (dropout), from epoch to epoch.
        temperature: of the soft labels, where batches have any.

    Raises:
        ModelError: there is no such optimizer.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        schedule: Schedule,
        *,
        class_weights: Tensor | None = None,
        device: torch.device,
        dtype: torch.dtype,
        optimizer: str = "muon",
        seed: int = 0,
        temperature: float = 1.0,
    ) -> None:
        self.temperature = temperature
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss, self.schedule, self.device, self.dtype, self.seed = loss, schedule, device, dtype, seed
        self.weights = None if class_weights is None else class_weights.to(device)
        self.optimizers = build_optimizers(network, optimizer, schedule.weight_decay, dtype)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        self.average = (
            AveragedModel(network, multi_avg_fn=moving_average(schedule.ema), use_buffers=True)
            if schedule.ema
            else None
        )
        self.history: list[EpochResult] = []
        self.steps = 0
        self.moved = False
        """Whether this epoch has moved a weight."""

    @property
    def model(self) -> nn.Module:
        """What is validated and kept: the averaged weights where there are any, else the network itself, rounded."""
        return rounded(self.network if self.average is None else self.average.module)

    @property
    def best(self) -> EpochResult | None:
        """The best epoch so far, the first of equals; without validation the last one."""
        return next((result for result in reversed(self.history) if result.best), None)

    def epochs(self, batches: Batches, validation: Iterable[Batch] | None = None) -> Iterator[EpochResult]:
        """Train until the schedule's end, on from the history; after each epoch the model stands as validated.

        Args:
            batches: from an epoch's number, from 1, to its batches, the same for the same number: `image` (N, bands, H,
                W) float32, `mask` (N, H, W) class indices, `weight` (N, H, W) where the loss weighs pixels, and `soft`
                (N, classes, H, W) where there are soft labels, whose loss is added.
            validation: likewise, once an epoch; a batch may name a `core` (row and column slices) that alone counts.

        Raises:
            ModelError: the loss or the weights are no longer finite, or an epoch made no step.
        """
        clock = _Clock(self.schedule, self.history[-1].seconds if self.history else 0.0)
        while not self._finished(clock):
            clock.epoch = len(self.history)
            torch.manual_seed(derived_seed(self.seed, clock.epoch + 1))
            loss, rate = self._pass(batches(clock.epoch + 1), clock)
            self._check_epoch(clock.epoch + 1)
            matrix, validation_loss = None, math.nan
            if validation is not None:
                matrix, validation_loss = self.validate(validation)
            # The time budget may end within an epoch, or within its validation.
            done = clock.progress(1.0)
            result = EpochResult(clock.epoch + 1, loss, matrix, clock.seconds, done, validation_loss, rate, self.steps)
            self.history.append(self._compared(result))
            yield self.history[-1]

    def _finished(self, clock: _Clock) -> bool:
        """Whether epochs, minutes or patience are used up."""
        best = self.best
        patience = self.schedule.patience
        tired = patience is not None and best is not None and len(self.history) - best.epoch >= patience
        # However short the time, there is a first step.
        return len(self.history) >= self.schedule.epochs or (clock.over and bool(self.history)) or tired

    def _check_epoch(self, epoch: int) -> None:
        """Make sure that an epoch has left a network that can be used, and another than before."""
        if any(not bool(part.isfinite().all()) for part in self.network.parameters()):
            raise ModelError(f"weights became NaN or infinite in epoch {epoch}; {_remedy(self.dtype)}")
        if not self.moved:
            why = f"all its steps overflowed; {_remedy(self.dtype)}" if self.steps else "it had no batch to learn from"
            raise ModelError(f"epoch {epoch} moved no weight: {why}")
        self.moved = False

    def _compared(self, result: EpochResult) -> EpochResult:
        best = self.best
        # A NaN, of no validation or of one without a label, is no reason to keep the older weights.
        return result if best is None else replace(result, best=not result.mean_iou <= best.mean_iou)

    def _pass(self, batches: Iterable[Batch], clock: _Clock) -> tuple[float, float]:
        """One epoch: its mean loss, and the learning rate of its last step."""
        self._set_modes(frozen=clock.epoch < self.schedule.freeze_encoder)
        self.network.zero_grad(set_to_none=True)
        count = len(batches) if isinstance(batches, Sized) else None
        losses: list[Tensor] = []
        rate = 0.0
        for done, batch in enumerate(batches):
            if done % self.schedule.accumulate == 0:
                rate = self.schedule.rate(clock.progress(done / count if count else 0.0))
            losses.append(self._gradient(batch, _group(done, count, self.schedule.accumulate)))
            # One step late, so that a GPU need not wait for the answer.
            _check_finite(losses[-2:-1], self.dtype)
            if (done + 1) % self.schedule.accumulate == 0 or done + 1 == count:
                self._step(rate)
            if clock.over:
                break
        _check_finite(losses, self.dtype)
        return (float(torch.stack(losses).double().mean()) if losses else math.nan), rate

    def _set_modes(self, *, frozen: bool) -> None:
        self.network.train()
        for module in encoder_modules(self.network):
            module.requires_grad_(not frozen)
            module.train(not frozen)

    def _gradient(self, batch: Batch, group: int) -> Tensor:
        """Add a batch's gradient, one part of a group's mean; its loss."""
        images = batch["image"].to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels, pixels, soft = (_on(batch.get(name), self.device) for name in ("mask", "weight", "soft"))
        with autocast(self.device, self.dtype):
            logits = self.network(images)
        value = self.loss(logits.float(), labels, self.weights, pixels)
        if soft is not None:
            value = value + distillation(logits.float(), soft, self.temperature, self.weights)
        self.scaler.scale(value / group).backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def _step(self, rate: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip_norm or math.inf)
        # Where scaled gradients overflow, no weight moves, whichever optimizer has it.
        if not self.scaler.is_enabled() or bool(norm.isfinite()):
            self.moved = True
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        self.network.zero_grad(set_to_none=True)
        self.steps += 1
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validate(self, batches: Iterable[Batch]) -> tuple[Tensor, float]:
        """Confusion matrix and mean loss of the model on batches; see :func:`validate`."""
        return validate(
            self.model, batches, self.loss, class_weights=self.weights, device=self.device, dtype=self.dtype
        )


def _on(tensor: Tensor | None, device: torch.device) -> Any:
    return None if tensor is None else tensor.to(device, non_blocking=True)


def _group(done: int, count: int | None, accumulate: int) -> int:
    """How many batches share the step that batch number `done` belongs to; an epoch's last group may be smaller."""
    if count is None:
        return accumulate
    return min(accumulate, count - done // accumulate * accumulate)


def _check_finite(losses: Sequence[Tensor], dtype: torch.dtype) -> None:
    for value in losses:
        if not torch.isfinite(value):
            raise ModelError(f"the loss became {value.item()}; {_remedy(dtype)}")


def _remedy(dtype: torch.dtype) -> str:
    return f"try a lower --learning-rate{', or --precision bf16 or fp32' if dtype is torch.float16 else ''}"


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """What moves averaged weights towards the present ones: by `1 - decay`, by more in the first steps.

    The decay after n steps is at most (1 + n) / (10 + n), so that the first, random weights are soon forgotten, as in
    TensorFlow's ExponentialMovingAverage. Batch statistics are averaged alike; counters are taken as they are.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], present: Sequence[Tensor], steps: Tensor) -> None:
        step = int(steps)
        share = 1 - min(decay, (1 + step) / (10 + step))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(present), share)
        else:
            for old, new in zip(averaged, present, strict=True):
                old.copy_(new)

    return update


class _Clock:
    """How far training is: by epochs or by the time budget, whichever is further."""

    def __init__(self, schedule: Schedule, spent: float = 0.0) -> None:
        self.start, self.schedule, self.epoch = time.monotonic() - spent, schedule, 0

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


def validate(
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Loss | None = None,
    *,
    class_weights: Tensor | None = None,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, float]:
    """Confusion matrix (classes, classes) int64 of a network in eval mode, rows the reference, and its mean loss.

    The loss is that of each batch's core, weighted by its labelled pixels; NaN where none is labelled or no loss given.
    """
    network.eval()
    matrix = torch.zeros(1, 1, dtype=torch.int64)
    total, pixels = 0.0, 0
    for batch in batches:
        rows, cols = batch.get("core", (slice(None), slice(None)))
        labels = batch["mask"][:, rows, cols]
        with torch.inference_mode(), autocast(device, dtype):
            logits = network(batch["image"].to(device, memory_format=torch.channels_last))[:, :, rows, cols]
        matrix = matrix + confusion(logits.argmax(1).cpu(), labels, logits.shape[1])
        labelled = int((labels != IGNORE_INDEX).sum())
        if loss is not None and labelled:
            with torch.inference_mode():
                total += labelled * float(loss(logits.float(), labels.to(device), class_weights, None))
            pixels += labelled
    return matrix, total / pixels if pixels else math.nan


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes) of label and prediction, ignored labels left out."""
    counted = labels != IGNORE_INDEX
    pairs = labels[counted] * classes + predicted[counted]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
