"""A network as PyTorch runs it, window by window, and as it is handed to OpenVINO.

The crop to the core, softmax and argmax are part of the module, so every runtime does the same and only two bytes a
pixel come back.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle

from geounet.classes import CONFIDENCE_LEVELS
from geounet.engine.devices import PRECISIONS, autocast, torch_dtype
from geounet.errors import ModelError
from geounet.models.cropping import Cropped

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from geounet.engine.compiled import Classifier


TRACED_CORE = 64
"""Pixels of the core with which a network is traced."""


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


def torch_classifier(classifier: WindowClassifier, device: str, precision: str, threads: int) -> Classifier:
    """The module run by PyTorch, as :func:`geounet.engine.runtimes.make_classifier` gives it.

    Raises:
        ModelError: PyTorch does not know the precision.
    """
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
        with torch.inference_mode(), autocast(place, torch_dtype(precision)):
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
    side = 2 * classifier.cropped.halo + TRACED_CORE
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
