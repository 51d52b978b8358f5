"""Where and how precisely a network runs.

PyTorch takes seconds to import: nothing here imports it where the answer is known without.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.errors import ModelError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

PRECISIONS = ("fp32", "bf16", "fp16")
"""Arithmetic by the names of the command line."""
_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DRIVERS = ("nvidiactl", "nvhost-ctrl", "kfd", "dxg")
"""Where in Linux's /dev drivers of NVIDIA, AMD and WSL show: without any, PyTorch finds no CUDA either."""


def torch_dtype(precision: str) -> torch.dtype:
    """The data type of one of :data:`PRECISIONS`."""
    import torch

    dtype: torch.dtype = getattr(torch, _TYPES[precision])
    return dtype


def pick_device(name: str = "auto") -> str:
    """The device of a name, by PyTorch's name: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ModelError: this machine has no such device.
    """
    if name == "cpu" or (name == "auto" and _has_none()):
        return "cpu"
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error
    return str(device)


def _has_none() -> bool:
    """Whether this machine has no accelerator for sure."""
    return sys.platform == "linux" and not any(Path("/dev", driver).exists() for driver in _DRIVERS)


def device_of_worker(name: str, worker: int) -> str:
    """The device of one of several workers on a machine: `cuda` without a number is shared out among them in turn.

    Args:
        name: what :func:`pick_device` gave.
        worker: the worker's number, from 0.
    """
    return f"cuda:{worker % count_devices(name)}" if name == "cuda" else name


def count_devices(name: str) -> int:
    """How many devices a name stands for: `cuda` for all of this machine's."""
    if name != "cuda":
        return 1
    import torch

    return torch.cuda.device_count()


def pick_training_precision(name: str, device: torch.device) -> torch.dtype:
    """The arithmetic of a name: `auto` takes bfloat16 where the device computes in it, else float32."""
    if name == "auto":
        name = "bf16" if faster_precision(device.type) == "bf16" else "fp32"
    return torch_dtype(name)


def faster_precision(device: str) -> str | None:
    """The precision below float32 in which a device, by its name, computes faster; None if there is none."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return "bf16" if _cpu_has_bf16() else None
    if kind == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return None


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it is slower than float32.

    PyTorch can be held to less than the CPU by an environment variable, and so is everything here.
    """
    if not os.environ.get("ATEN_CPU_CAPABILITY", "avx512").startswith("avx512"):
        return False
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Run what follows in `dtype`, where that is not float32 anyway."""
    import torch

    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)
