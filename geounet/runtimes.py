"""A network made ready to run: one callable from a window's image to classes and confidences.

PyTorch is the reference. OpenVINO (https://docs.openvino.ai) runs the same module on CPUs, faster, and keeps its speed
in large windows. The crop to the core, softmax and argmax are part of the module, so every runtime does the same and
only two bytes a pixel come back.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from geounet.devices import PRECISIONS, autocast
from geounet.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    Classifier = Callable[[NDArray[np.float32]], tuple[NDArray[np.uint8], NDArray[np.uint8]]]

CONFIDENCE_LEVELS = 254
"""A confidence of 1.0 is stored as this, and 255 is nodata."""
_TRACED_CORE = 64
RUNTIMES = ("auto", "torch", "openvino")
"""By the names of the command line."""


class WindowClassifier(nn.Module):
    """A network, the crop to a window's core, and the choice of the class.

    Args:
        network: images (1, bands, H, W) to logits (1, classes, H, W).
        halo: pixels that are cropped on each side.
    """

    def __init__(self, network: nn.Module, halo: int) -> None:
        super().__init__()
        self.network, self.halo = network, halo

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(1, bands, H, W) to class indices and confidences, 0 to 254, each (1, H - 2 halo, W - 2 halo) uint8."""
        # Counted from the end, so that tracing does not take the traced window's size for every window's.
        stop = -self.halo or None
        logits = self.network(image)[..., self.halo : stop, self.halo : stop].float()
        share, winner = logits.softmax(dim=1).max(dim=1)
        return winner.to(torch.uint8), (share * CONFIDENCE_LEVELS).round().to(torch.uint8)


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


def make_classifier(
    network: nn.Module,
    shape: tuple[int, int, int],
    halo: int,
    *,
    runtime: str,
    device: str,
    precision: str,
    threads: int,
) -> Classifier:
    """Make a network ready for windows of one shape.

    Args:
        network: in eval mode, on the CPU.
        shape: (bands, height, width) of a window, halo included.
        halo: pixels that are cropped on each side.
        runtime: `torch` or `openvino`.
        device: where it runs; the CPU for OpenVINO.
        precision: a key of :data:`geounet.devices.PRECISIONS`.
        threads: CPU threads.

    Returns:
        A function from a normalised image (bands, height, width) to class indices and confidences, 0 to 254, each
        (height - 2 halo, width - 2 halo).
    """
    classifier = WindowClassifier(network, halo).eval()
    if runtime == "openvino":
        return _openvino(classifier, shape, precision, threads)
    return _torch(classifier, device, precision, threads)


def _torch(classifier: WindowClassifier, device: str, precision: str, threads: int) -> Classifier:
    place = torch.device(device)
    classifier.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(image: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if place.type == "cpu" and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode(), autocast(place, PRECISIONS[precision]):
            batch = torch.from_numpy(image)[None].to(place, memory_format=torch.channels_last)
            winner, level = classifier(batch)
        return winner[0].cpu().numpy(), level[0].cpu().numpy()

    return run


def _openvino(classifier: WindowClassifier, shape: tuple[int, int, int], precision: str, threads: int) -> Classifier:
    import openvino

    if precision == "fp16":
        raise ModelError("the runtime openvino computes in fp32 or bf16 on a CPU; take one of them, or --runtime torch")
    # The network is traced on a small window, and the graph then laid out for the real one.
    traced = 2 * classifier.halo + _TRACED_CORE
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer's remarks are for who writes networks, not for who runs them.
        warnings.simplefilter("ignore")
        example = torch.zeros(1, shape[0], min(traced, shape[1]), min(traced, shape[2]))
        model = openvino.convert_model(classifier, example_input=example, input=[(1, *shape)])
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Several workers of one machine would all pin their threads to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(image: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        found = request.infer([image[None]], share_inputs=True)
        # Copies: the request's own memory is overwritten by the next window.
        return np.array(found[0][0], np.uint8), np.array(found[1][0], np.uint8)

    return run
