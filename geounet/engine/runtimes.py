"""A network made ready to run: one callable from a window's image to classes and confidences.

PyTorch is the reference. OpenVINO (https://docs.openvino.ai) runs the same module on CPUs, faster, and keeps its speed
in large windows; a network that was converted for it before needs no PyTorch any more.
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.engine.compiled import compiled_openvino, read_network
from geounet.engine.kept import INTEGERS, is_calibrated, is_kept, keep_conversion, kept_conversion, kept_integers
from geounet.errors import ModelError
from geounet.grid import round_up
from geounet.models.model_file import load_model, read_card

if TYPE_CHECKING:
    from typing import Any

    from torch import nn

    from geounet.engine.compiled import Classifier
    from geounet.models.model_file import ModelCard

_CONVERTING = threading.Lock()
RUNTIMES = ("auto", "torch", "openvino")
"""By the names of the command line."""


def pick_runtime(name: str, device: str) -> str:
    """`torch` or `openvino`; `auto` takes OpenVINO on a CPU where it is installed.

    Raises:
        ModelError: OpenVINO is asked for and cannot be used.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if name == "auto":
        return "openvino" if device == "cpu" and installed else "torch"
    if name == "openvino" and device != "cpu":
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
    keeps it for all scenes, see :mod:`geounet.engine.kept`; None in other precisions."""


# One: at its usual window a network works in a gigabyte.
@lru_cache(maxsize=1)
def prepared(setup: NetworkSetup) -> tuple[Classifier, ModelCard]:
    """A model's network ready to run as :func:`make_classifier` makes it, once a process, and the model's card.

    Raises:
        ModelError: the model cannot be loaded, or the runtime does not know the precision.
    """
    model = Path(setup.model)
    if setup.runtime == "openvino":
        card = read_card(model)
        return compiled_openvino(openvino_network(setup, card), setup.precision, setup.threads), card
    network, card = load_model(model)
    run = make_classifier(
        network,
        (len(card.bands), *setup.window),
        setup.halo,
        runtime=setup.runtime,
        device=setup.device,
        precision=setup.precision,
        threads=setup.threads,
        probabilities=_wants_probabilities(setup),
    )
    return run, card


def in_kept_integers(setup: NetworkSetup) -> NetworkSetup | None:
    """The setup with the network in int8 that stands beside the model; None where there is none for it.

    Raises:
        ModelError: the file is damaged.
    """
    if setup.runtime != "openvino" or not is_calibrated(Path(setup.model), setup.halo):
        return None
    return replace(setup, precision="int8", quantized=str(INTEGERS.beside(setup.model)))


def openvino_network(setup: NetworkSetup, card: ModelCard) -> Any:
    """A setup's `openvino.Model`, laid out for its windows.

    Raises:
        ModelError: the model, or its network in integers, cannot be loaded.
    """
    model = Path(setup.model)
    if setup.quantized is None:
        # The scenes of a batch are at work in threads: the first of them converts for all.
        with _CONVERTING:
            network = kept_conversion(model, setup.halo) or _converted(model, setup.halo)
    elif is_kept(setup.quantized):
        network = kept_integers(model)
    else:
        return read_network(setup.quantized)
    if not _wants_probabilities(setup):
        network.remove_result(network.get_results()[2])
    network.reshape([1, len(card.bands), *setup.window])
    return network


def _converted(model: Path, halo: int) -> Any:
    from geounet.engine.classifier import TRACED_CORE, WindowClassifier, openvino_model

    network, card = load_model(model)
    side = 2 * halo + round_up(TRACED_CORE, card.stride)
    converted = openvino_model(
        WindowClassifier(network, halo, probabilities=True).eval(), (len(card.bands), side, side)
    )
    keep_conversion(model, halo, converted)
    return converted


def _wants_probabilities(setup: NetworkSetup) -> bool:
    return setup.probabilities or setup.tta


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
    from geounet.engine.classifier import WindowClassifier, openvino_model, torch_classifier

    classifier = WindowClassifier(network, halo, probabilities=probabilities).eval()
    if runtime == "openvino":
        return compiled_openvino(openvino_model(classifier, shape), precision, threads)
    return torch_classifier(classifier, device, precision, threads)
