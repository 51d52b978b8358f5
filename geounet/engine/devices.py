"""Where and how precisely a network runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Arithmetic by the names of the command line."""


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ModelError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error
    return device


def device_of_worker(name: str, worker: int) -> str:
    """The device of one of several workers on a machine: `cuda` without a number is shared out among them in turn.

    Args:
        name: what :func:`pick_device` gave.
        worker: the worker's number, from 0.
    """
    return f"cuda:{worker % torch.cuda.device_count()}" if name == "cuda" else name


def pick_training_precision(name: str, device: torch.device) -> torch.dtype:
    """The arithmetic of a name: `auto` takes bfloat16 where the device computes in it, else float32."""
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bf16() else torch.float32


def faster_precision(device: torch.device) -> str | None:
    """The precision below float32 in which a device computes faster; None if there is none."""
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16() else None
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return None


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it is slower than float32."""
    try:
        capabilities = torch.backends.cpu.get_cpu_capability()
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device file, not a path of ours
            return "AVX512" in capabilities and "avx512_bf16" in file.read()
    except OSError:
        return False


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Run what follows in `dtype`, where that is not float32 anyway."""
    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)
