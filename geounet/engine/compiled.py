"""Networks compiled and run by OpenVINO (https://docs.openvino.ai), which needs no PyTorch for it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from geounet.engine.devices import faster_precision
from geounet.errors import ModelError
from geounet.object_stores import is_bucket, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray

    Classifier = Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]]


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """The calling thread's alternate signal stack, put back afterwards; other systems than Linux are left alone.

    Each `openvino.Core` sets a stack of its own, and the last but one to go may leave a stack that is no longer there:
    the next signal, be it Ctrl-C or the end of a child process, would then end the process without a word.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    stack = _SignalStack()
    known = libc is not None and libc.sigaltstack(None, ctypes.byref(stack)) == 0
    try:
        yield
    finally:
        if libc is not None and known:
            libc.sigaltstack(ctypes.byref(stack), None)


class _SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@cache
def core() -> Any:
    """The `openvino.Core`, one for the process: `openvino.compile_model` makes another each time."""
    import openvino

    with signal_stack_kept():
        return openvino.Core()


def read_network(name: str) -> Any:
    """A network by its path, or from an object store."""
    if not is_bucket(name):
        return name
    folder, _, file = name.rpartition("/")
    parts = [read_object(folder, part) for part in (file, str(PurePosixPath(file).with_suffix(".bin")))]
    return core().read_model(*parts)


def compiled_openvino(model: Any, precision: str, threads: int) -> Classifier:
    """An `openvino.Model` of a window's classifier, as :func:`geounet.engine.runtimes.make_classifier` gives it.

    Raises:
        ModelError: OpenVINO does not know the precision.
    """
    # What is not quantised of an int8 network runs in bf16 where the processor multiplies it, else in float32.
    hints = {"fp32": "f32", "bf16": "bf16", "int8": "bf16" if faster_precision("cpu") else "f32"}
    if precision not in hints:
        raise ModelError(
            f"the runtime openvino computes in {', '.join(hints)} on a CPU, not in {precision}; take one of "
            "them, or --runtime torch"
        )
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hints[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Several workers of one machine would all pin their threads to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    request = core().compile_model(model, "CPU", settings).create_infer_request()
    # The scenes of a batch that are at work at once are probed by one network.
    turn = threading.Lock()

    def run(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        with turn:
            found = request.infer([image[None]], share_inputs=True)
            # Copies: the request's own memory is overwritten by the next window.
            return tuple(np.array(part[0]) for part in found.values())

    return run
