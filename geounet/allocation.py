"""How a process takes memory and gives it back, where glibc does that (mallopt(3)); for commands, not for a library."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt, and the most that they take.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_BLOCK = 32 * 2**20
_LARGEST_REST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees: the next step of a training asks for as much again.

    glibc's malloc gives large blocks back at once, and the kernel clears every page of the next ones, step by step.

    Returns:
        Whether it is so now; there is no such setting but in glibc.
    """
    return _set({_MMAP_THRESHOLD: _LARGEST_BLOCK, _TRIM_THRESHOLD: _LARGEST_REST})


def share_freed_memory() -> bool:
    """Let the threads of this process take memory from one pool, so that one uses what another has freed.

    glibc's malloc has eight pools a core, and each keeps its own: with windows that are read, seen and written by
    different threads that is some 100 MiB.

    Returns:
        Whether it is so now; there is no such setting but in glibc.
    """
    return _set({_ARENA_MAX: 1})


def _set(values: dict[int, int]) -> bool:
    setting = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return setting is not None and all(bool(setting(name, value)) for name, value in values.items())
