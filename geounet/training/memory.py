"""Memory between the steps of a training on a CPU."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3), and the most that they take.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 * 2**20
_LARGEST_REST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees: the next step of a training asks for as much again.

    glibc's malloc gives large blocks back at once, and the kernel clears every page of the next ones, step by step.
    For a command to call, not for a library: it holds for all that the process does from then on.

    Returns:
        Whether it is so now; there is no such setting but in glibc.
    """
    setting = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if setting is None:
        return False
    return bool(setting(_MMAP_THRESHOLD, _LARGEST_BLOCK)) and bool(setting(_TRIM_THRESHOLD, _LARGEST_REST))
