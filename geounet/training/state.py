"""What an interrupted training leaves beside its model file, so that `--resume` gives what an uninterrupted one gives.

One safetensors file, like the model file: weights, averaged weights and the optimizers' moments; in its header the
history and what the training was asked for. It holds no state of random generators, because every draw is seeded by
run, epoch and batch; see :mod:`geounet.training.loading` and :meth:`geounet.training.loop.Training.epochs`.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError
from geounet.models.model_file import write_tensors
from geounet.training.loop import EpochResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from geounet.training.loop import Training

_KEY = "geounet-training"
_PAUSES = 30
"""How much longer than writing the state the pause after it is."""


def state_path(model: Path) -> Path:
    """Where the state of a model file's training lies until it is finished."""
    return model.with_name(f"{model.name}.state")


def save_state(path: Path, training: Training, request: Mapping[str, Any]) -> None:
    """Write the state after an epoch, whole or not at all.

    Args:
        path: the file.
        training: after its last epoch.
        request: what the training was asked for, as JSON can hold it; :func:`restore_state` compares it.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"network.{name}": tensor for name, tensor in training.network.state_dict().items()}
    if training.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in training.average.state_dict().items()}
    for number, optimizer in enumerate(training.optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{number}.{index}.{name}": tensor for name, tensor in moments.items()}
    header = {
        "request": dict(request),
        "history": [_to_json(result) for result in training.history],
        "steps": training.steps,
        "scaler": training.scaler.state_dict(),
    }
    write_tensors(path, tensors, {_KEY: json.dumps(header)})


@dataclass(slots=True)
class StateKeeper:
    """Writes the state after an epoch that matters, or that ends long enough after the last writing.

    A network may be large. So of the epochs that are not better than all before, an interruption costs one, or as many
    as fit into thirty times what writing takes.
    """

    path: Path
    """The file."""
    training: Training
    """Whose state."""
    request: Mapping[str, Any]
    """As of :func:`save_state`."""
    due: float = -math.inf
    """From when on it is written again."""

    def keep(self, *, better: bool) -> None:
        """After an epoch.

        Args:
            better: whether validation says that it was the best so far. The model file then holds it, and a training
                that went on from an older state would take a lesser one for better.

        Raises:
            OutputError: the file cannot be written.
        """
        start = time.monotonic()
        if start < self.due and not better:
            return
        save_state(self.path, self.training, self.request)
        end = time.monotonic()
        self.due = end + _PAUSES * (end - start)


def restore_state(path: Path, training: Training, request: Mapping[str, Any]) -> None:
    """Bring a training, just begun, to where the file's was.

    Raises:
        ModelError: the file is damaged, or of a training that was asked for something else; the sentence says what.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            _compare(path, header["request"], json.loads(json.dumps(request)))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        _restore(training, header, tensors)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} is damaged ({reason}); train anew with --overwrite") from error


def _compare(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        texts = [f"{name} was {_short(before.get(name))} and is {_short(now.get(name))}" for name in changed]
        raise ModelError(
            f"{path} is of a training that was asked for something else ({'; '.join(texts)}); "
            "give the same to --resume, or --overwrite to train anew"
        )


def _short(value: Any, length: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def _restore(training: Training, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    training.network.load_state_dict(_part(tensors, "network."))
    if training.average is not None:
        training.average.load_state_dict(_part(tensors, "average."))
    for number, optimizer in enumerate(training.optimizers):
        state = optimizer.state_dict()
        state["state"] = _moments(optimizer, _part(tensors, f"optimizer{number}."))
        optimizer.load_state_dict(state)
    training.scaler.load_state_dict(header["scaler"])
    training.history[:] = [_from_json(result) for result in header["history"]]
    training.steps = header["steps"]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """State by a parameter's number, laid out in memory like it: AdamW's fused kernel takes that for granted."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, moment = name.partition(".")
        like = parameters[int(index)]
        same = tensor.shape == like.shape
        laid_out = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if same else tensor.to(like.device)
        state.setdefault(int(index), {})[moment] = laid_out.detach()
    return state


def _to_json(result: EpochResult) -> dict[str, Any]:
    values = asdict(result)
    return values | {"matrix": None if result.matrix is None else result.matrix.tolist()}


def _from_json(values: Mapping[str, Any]) -> EpochResult:
    matrix = values["matrix"]
    return EpochResult(**{**values, "matrix": None if matrix is None else torch.tensor(matrix, dtype=torch.int64)})
