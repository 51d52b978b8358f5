"""Weights that others trained: state dicts, Lightning checkpoints, safetensors and, where it is trusted, TorchScript.

Nothing here runs code of a file that was not trusted: pickles are read by PyTorch's weights-only unpickler
(https://pytorch.org/docs/stable/notes/serialization.html#weights-only), which refuses every other class.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_NESTS = ("state_dict", "model_state_dict", "model")
_HYPERPARAMETERS = "hyper_parameters"
# Buffers of losses and metrics, which Lightning stores beside the network.
_TRAINING_ONLY = re.compile(r"(^|\.)((criterion|loss|loss_fn|losses)|((train|val|valid|test)_)?metrics?)\.")
# Older than the counter, PyTorch 0.3 wrote batch normalisations without it; in eval mode it does nothing.
_OPTIONAL = ".num_batches_tracked"
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file of weights holds."""

    weights: Mapping[str, torch.Tensor]
    """Every tensor of its state dict, on CPU, by its name there."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """What Lightning's `save_hyperparameters` left; empty for other files."""


def read_checkpoint(path: Path, *, trust: bool = False) -> Checkpoint:
    """Read weights; the file's content, not its ending, says what it is.

    Args:
        path: a state dict or Lightning checkpoint of `torch.save`, a safetensors file, or TorchScript.
        trust: whether TorchScript may be loaded, which can run code of the file.

    Raises:
        ModelError: there is no such file, it holds no state dict, or reading it would run code.
    """
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist")
    if _is_safetensors(path):
        return Checkpoint(_read_safetensors(path))
    if _is_torchscript(path):
        return Checkpoint(_read_torchscript(path, trust))
    content = _read_pickle(path)
    found = _state_dict(content)
    if not found:
        raise ModelError(f"{path} holds no state dict: neither by itself nor under {', '.join(_NESTS)}")
    hyperparameters = content.get(_HYPERPARAMETERS)
    return Checkpoint(found, hyperparameters if isinstance(hyperparameters, Mapping) else {})


def select_weights(weights: Mapping[str, torch.Tensor], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The weights of a network, found under whatever prefix they have (`model.`, `net.`, `module.`, none).

    Losses' and metrics' tensors are dropped; everything else must belong to the network.

    Args:
        weights: all tensors of a checkpoint.
        names: names of the network's own state dict, in its order.

    Raises:
        ModelError: weights are missing or left over, or two prefixes hold a whole network.
    """
    wanted = list(names)
    prefix = _prefix(weights, wanted)
    chosen = {name: weights[prefix + name] for name in wanted if prefix + name in weights}
    taken = {prefix + name for name in chosen}
    strangers = [name for name in weights if name not in taken and not _TRAINING_ONLY.search(name)]
    if strangers:
        raise ModelError(
            f"of {len(weights)} weights the network has no place for {len(strangers)} ({_first(strangers)}); "
            "name the architecture and the encoder they were trained with"
        )
    return chosen


def _prefix(weights: Mapping[str, torch.Tensor], names: list[str]) -> str:
    needed = [name for name in names if not name.endswith(_OPTIONAL)]
    anchors = [name.removesuffix(needed[0]) for name in weights if name.endswith(needed[0])] or [""]
    missing = {prefix: [name for name in needed if prefix + name not in weights] for prefix in anchors}
    whole = [prefix for prefix in anchors if not missing[prefix]]
    if len(whole) > 1:
        raise ModelError(f"it holds {len(whole)} networks, under the prefixes {', '.join(map(repr, whole))}; keep one")
    if not whole:
        lacking = min(missing.values(), key=len)
        raise ModelError(
            f"of the network's {len(needed)} weights {len(lacking)} are missing ({_first(lacking)}); "
            "name the architecture and the encoder they were trained with"
        )
    return whole[0]


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _state_dict(content: Any) -> dict[str, torch.Tensor]:
    """The tensors of a state dict or of one in a nest; empty where there is none."""
    if not isinstance(content, Mapping):
        return {}
    nested = [content[name] for name in _NESTS if isinstance(content.get(name), Mapping)]
    source = nested[0] if nested else content
    return {name: value for name, value in source.items() if isinstance(value, torch.Tensor)}


def _is_safetensors(path: Path) -> bool:
    """Eight bytes with the header's length, then its JSON (https://github.com/huggingface/safetensors#format)."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def _is_torchscript(path: Path) -> bool:
    """Whether it is a zip file with TorchScript's table of constants, as PyTorch itself tells."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False  # which PyTorch will say in its own words


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is a damaged safetensors file: {error}") from error
    return weights


def _read_torchscript(path: Path, trust: bool) -> dict[str, torch.Tensor]:
    if not trust:
        raise ModelError(
            f"{path} is TorchScript, which can run code when it is loaded; import the state dict it was made from, or "
            "give --trust if you know who made it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch deprecates TorchScript, which is no news to who must read it
            weights: dict[str, torch.Tensor] = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError) as error:
        raise ModelError(f"{path} is damaged TorchScript: {_line(error)}") from error
    return weights


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} {_reason(error)}") from error
    # The unpickler meets rubbish with whatever its first bytes lead to.
    except (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is no checkpoint of PyTorch: {_line(error)}") from error


def _reason(error: pickle.UnpicklingError) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        return f"is no checkpoint of PyTorch, or one that only running its code could read: {_line(error)}"
    return (
        f"holds an object of {named[1]}, and reading that would run code; where you trust the file, load it yourself "
        "and save its state dict alone: torch.save(checkpoint['state_dict'], ...)"
    )


def _line(error: Exception) -> str:
    """The first line of PyTorch's message, which goes on for many, or the error's name."""
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__
