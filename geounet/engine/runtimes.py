"""A network made ready to run: one callable from a window's image to classes and confidences.

PyTorch is the reference. OpenVINO (https://docs.openvino.ai) runs the same module on CPUs, faster, and keeps its speed
in large windows. The crop to the core, softmax and argmax are part of the module, so every runtime does the same and
only two bytes a pixel come back.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from geounet.engine.devices import PRECISIONS, autocast, faster_precision
from geounet.errors import ModelError
from geounet.models.cropping import Cropped
from geounet.models.model_file import load_model
from geounet.object_stores import is_bucket, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    from geounet.models.model_file import ModelCard

    Classifier = Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]]

CONFIDENCE_LEVELS = 254
"""A confidence of 1.0 is stored as this, and 255 is nodata."""
_TRACED_CORE = 64
RUNTIMES = ("auto", "torch", "openvino")
"""By the names of the command line."""


class WindowClassifier(nn.Module):
    """A network cropped to a window's core, and the choice of the class.

    Args:
        network: images (1, bands, H, W) to logits (1, classes, H, W).
        halo: pixels that are cropped on each side.
        probabilities: give those of all classes as well.
    """

    def __init__(self, network: nn.Module, halo: int, *, probabilities: bool = False) -> None:
        super().__init__()
        self.cropped, self.probabilities = Cropped(network, halo), probabilities

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, bands, H, W) to class indices and confidences, 0 to 254, each (1, H - 2 halo, W - 2 halo) uint8.

        If asked for, the probabilities (1, classes, H - 2 halo, W - 2 halo) in float32 come third.
        """
        # Bytes are shuffled into place, not logits.
        probabilities = self.cropped.by_cell(image).float().softmax(dim=0)
        share, winner = probabilities.max(dim=0)
        found = winner.to(torch.uint8), (share * CONFIDENCE_LEVELS).round().to(torch.uint8)
        placed = tuple(self._in_place(part) for part in found)
        return (*placed, self._in_place(probabilities.flatten(0, 1))[None]) if self.probabilities else placed

    def _in_place(self, cells: Tensor) -> Tensor:
        """(C x pixels of a cell, rows, columns) to (C, H, W)."""
        factor = self.cropped.factor
        return pixel_shuffle(cells, factor) if factor > 1 else cells


def pick_runtime(name: str, device: torch.device) -> str:
    """`torch` or `openvino`; `auto` takes OpenVINO on a CPU where it is installed.

    Raises:
        ModelError: OpenVINO is asked for and cannot be used.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if name == "auto":
        return "openvino" if device.type == "cpu" and installed else "torch"
    if name == "openvino" and device.type != "cpu":
        raise ModelError(f"the runtime openvino works on cpu, not on {device}; leave --runtime or --device out")
    if name == "openvino" and not installed:
        raise ModelError("the runtime openvino is not installed; pip install openvino, or --runtime torch")
    return name


@dataclass(frozen=True, slots=True)
class NetworkSetup:
    """All that a worker needs to make a network ready."""

    model: str
    """Path of the model file."""
    fingerprint: str
    """Of the model file, so that a worker that lives long does not keep an old one."""
    device: str
    """Where the network runs; the CPU for OpenVINO."""
    precision: str
    """Arithmetic: a key of :data:`geounet.engine.devices.PRECISIONS`, or `int8`."""
    runtime: str
    """`torch` or `openvino`."""
    window: tuple[int, int]
    """Height and width of a window, halo included."""
    halo: int
    """Pixels that are cropped on each side of a window."""
    threads: int
    """CPU threads of the network."""
    probabilities: bool = False
    """Whether those of all classes are wanted."""
    tta: bool = False
    """Whether windows, square then, are seen in their eight flips and rotations."""
    quantized: str | None = None
    """Path or URL of the network in int8, see :mod:`geounet.engine.quantization`, or of the file beside the model that
    keeps it for all scenes, see :func:`kept_network`; None in other precisions."""


# One: at its usual window a network works in a gigabyte.
@lru_cache(maxsize=1)
def prepared(setup: NetworkSetup) -> tuple[Classifier, ModelCard]:
    """A model's network ready to run as :func:`make_classifier` makes it, once a process, and the model's card.

    Raises:
        ModelError: the model cannot be loaded, or the runtime does not know the precision.
    """
    network, card = load_model(Path(setup.model))
    if setup.quantized is not None:
        whole = is_kept(setup.quantized)
        model = kept_network(setup, len(card.bands)) if whole else _read_network(setup.quantized)
        return compiled_openvino(model, setup.precision, setup.threads), card
    run = make_classifier(
        network,
        (len(card.bands), *setup.window),
        setup.halo,
        runtime=setup.runtime,
        device=setup.device,
        precision=setup.precision,
        threads=setup.threads,
        probabilities=setup.probabilities or setup.tta,
    )
    return run, card


def make_classifier(
    network: nn.Module,
    shape: tuple[int, int, int],
    halo: int,
    *,
    runtime: str,
    device: str,
    precision: str,
    threads: int,
    probabilities: bool = False,
) -> Classifier:
    """Make a network ready for windows of one shape.

    Args:
        network: in eval mode, on the CPU.
        shape: (bands, height, width) of a window, halo included.
        halo: pixels that are cropped on each side.
        runtime: `torch` or `openvino`.
        device: where it runs; the CPU for OpenVINO.
        precision: a key of :data:`geounet.engine.devices.PRECISIONS`.
        threads: CPU threads.
        probabilities: give those of all classes as well.

    Returns:
        A function from a normalised image (bands, height, width) to class indices and confidences, 0 to 254, each
        (height - 2 halo, width - 2 halo), and if asked for the probabilities (classes, height - 2 halo,
        width - 2 halo) in float32.

    Raises:
        ModelError: the runtime does not know the precision.
    """
    classifier = WindowClassifier(network, halo, probabilities=probabilities).eval()
    if runtime == "openvino":
        return compiled_openvino(openvino_model(classifier, shape), precision, threads)
    return _torch(classifier, device, precision, threads)


def _torch(classifier: WindowClassifier, device: str, precision: str, threads: int) -> Classifier:
    place = torch.device(device)
    if place.type == "cuda":
        # The same algorithm for the same window, whichever worker runs it.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if precision not in PRECISIONS:
        raise ModelError(f"the runtime torch computes in {', '.join(PRECISIONS)}, not in {precision}")
    classifier.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        if place.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode(), autocast(place, PRECISIONS[precision]):
            batch = torch.from_numpy(image)[None]
            batch = batch.pin_memory() if place.type == "cuda" else batch
            found = classifier(batch.to(place, memory_format=torch.channels_last, non_blocking=True))
        # Planes, as OpenVINO gives them, not pixels of channels_last.
        return tuple(part[0].contiguous().cpu().numpy() for part in found)

    return run


def openvino_model(classifier: WindowClassifier, shape: tuple[int, int, int]) -> Any:
    """The module as an `openvino.Model` for windows (bands, height, width)."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # The network is traced on a small window, and the graph then laid out for the real one.
    side = 2 * classifier.cropped.halo + _TRACED_CORE
    example = torch.zeros(1, shape[0], min(side, shape[1]), min(side, shape[2]))
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer's remarks are for who writes networks, not for who runs them.
        warnings.simplefilter("ignore")
        # What openvino.convert_model does, without the two seconds that it takes to look for other kinds of input.
        traced = torch.jit.trace(classifier, example, check_trace=False)  # type: ignore[no-untyped-call]
        # Named, for the frontend does not keep it alive.
        decoder = TorchScriptPythonDecoder(traced)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([1, *shape])
    return model


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
def _core() -> Any:
    """One for the process: `openvino.compile_model` makes another each time."""
    import openvino

    with signal_stack_kept():
        return openvino.Core()


KEPT = ".int8"
"""What the file beside a model is called that keeps its network in int8: the model's name and this."""
KEPT_KEY = "geounet-int8"
"""Of its header: what it is of, as JSON."""


def is_kept(name: str) -> bool:
    """Whether it is a file that keeps a network for all scenes."""
    return name.endswith(KEPT)


def kept_network(setup: NetworkSetup, bands: int) -> Any:
    """The `openvino.Model` that stands beside the model file, laid out for a setup's windows.

    Raises:
        ModelError: the file is damaged.
    """
    import openvino
    from safetensors import SafetensorError, safe_open

    name = f"{setup.model}{KEPT}"
    try:
        with safe_open(name, framework="np") as file:
            description, weights = (file.get_tensor(part).tobytes() for part in ("description", "weights"))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{name} is damaged ({error}); remove it, or quantize the model anew") from error
    model = _core().read_model(description, openvino.Tensor(np.frombuffer(weights, np.uint8)))
    if not (setup.probabilities or setup.tta):
        model.remove_result(model.get_results()[2])
    model.reshape([1, bands, *setup.window])
    return model


def _read_network(name: str) -> Any:
    """A network by its path, or from an object store."""
    if not is_bucket(name):
        return name
    folder, _, file = name.rpartition("/")
    parts = [read_object(folder, part) for part in (file, str(PurePosixPath(file).with_suffix(".bin")))]
    return _core().read_model(*parts)


def compiled_openvino(model: Any, precision: str, threads: int) -> Classifier:
    """An `openvino.Model` of a :class:`WindowClassifier` as :func:`make_classifier` gives it.

    Raises:
        ModelError: OpenVINO does not know the precision.
    """
    # What is not quantised of an int8 network runs in bf16 where the processor multiplies it, else in float32.
    hints = {"fp32": "f32", "bf16": "bf16", "int8": "bf16" if faster_precision(torch.device("cpu")) else "f32"}
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
    request = _core().compile_model(model, "CPU", settings).create_infer_request()

    def run(image: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        found = request.infer([image[None]], share_inputs=True)
        # Copies: the request's own memory is overwritten by the next window.
        return tuple(np.array(part[0]) for part in found.values())

    return run
