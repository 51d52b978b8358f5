"""Kernels compiled to machine code, kept between runs where there is a folder to keep them in.

numba keeps them beside the module, else (an installation that may not be written) in the user's cache folder; where
neither can be written, they are compiled anew in every process. `NUMBA_CACHE_DIR` names another folder. What is kept
belongs to one file and does not see changes in others, so kernels call kernels of their own module only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

Kernel = TypeVar("Kernel", bound="Callable[..., Any]")


def compiled(function: Kernel) -> Kernel:
    """The function in machine code, made at its first call; it runs without Python's lock."""
    try:
        kernel: Kernel = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # "no locator available": nowhere to keep it.
        kernel = numba.njit(nogil=True, error_model="numpy")(function)
    return kernel
