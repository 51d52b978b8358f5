"""What is written down of each epoch: a CSV file, and events for TensorBoard."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

from geounet.errors import OutputError
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.training.loop import EpochResult

_PLAIN = ("epoch", "steps", "seconds", "progress", "learning_rate", "loss", "validation_loss", "mean_iou", "best")


def log_path(model: Path) -> Path:
    """Where the log of a model file's training lies."""
    return model.with_name(f"{model.name}.log.csv")


def write_log(path: Path, history: Sequence[EpochResult], classes: Sequence[LandClass]) -> None:
    """Write a row for each epoch: what EpochResult says, and each class's IoU and F1; empty where there is none.

    The whole file each time, so that after `--resume` no epoch is missing or twice.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    scores = [f"{score}_{item.name}" for score in ("iou", "f1") for item in classes]
    rows.writerow([*_PLAIN, *scores])
    for result in history:
        values = [getattr(result, name) for name in _PLAIN]
        by_class = [*result.iou, *result.f1] if result.matrix is not None else [math.nan] * len(scores)
        rows.writerow([_cell(value) for value in (*values, *by_class)])
    with atomic(path) as staged:
        staged.write_text(text.getvalue(), encoding="utf-8")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


class TensorBoardLog:
    """Losses, learning rate and scores of each epoch as TensorBoard's scalars, by step of the epoch's number.

    Args:
        folder: of the events; TensorBoard shows all that lie in it.
        classes: the class table.

    Raises:
        OutputError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, classes: Sequence[LandClass]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OutputError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
        self.classes = classes
        try:
            self.writer = SummaryWriter(str(folder))
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error

    def add(self, result: EpochResult) -> None:
        """Write an epoch."""
        scalars = {
            "loss/training": result.loss,
            "loss/validation": result.validation_loss,
            "learning_rate": result.learning_rate,
            "mean_iou": result.mean_iou,
        }
        for score, values in (("iou", result.iou), ("f1", result.f1)):
            scalars |= {f"{score}/{item.name}": value for item, value in zip(self.classes, values, strict=False)}
        for name, value in scalars.items():
            if not math.isnan(value):
                self.writer.add_scalar(name, value, result.epoch)
        self.writer.flush()

    def close(self) -> None:
        """No more epochs."""
        self.writer.close()
