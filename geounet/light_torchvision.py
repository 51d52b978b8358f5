"""Imports torchvision without PyTorch's compiler, which it takes along for one function and hardly ever calls.

The compiler is more than a second of each process's start, and 180 MB of its memory. Who needs it imports it as ever.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_UTILS = "torch._dynamo.utils"


def _is_compile_supported(device_type: Any) -> bool:
    return bool(import_module(_UTILS).is_compile_supported(device_type))


def _import() -> None:
    """Import torchvision with a stand-in for the compiler, which is gone again afterwards."""
    if _COMPILER in sys.modules or "torchvision" in sys.modules:
        return
    package, utils = ModuleType(_COMPILER), ModuleType(_UTILS)
    package.__path__ = []
    package.utils = utils  # type: ignore[attr-defined]
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {_COMPILER: package, _UTILS: utils}
    try:
        import_module("torchvision")
    except ImportError:
        # A version that needs more of it gets it at its next import.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    finally:
        for name in (_COMPILER, _UTILS):
            sys.modules.pop(name, None)


import_module("torch")
_import()
