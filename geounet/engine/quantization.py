"""A network in 8-bit integers, calibrated on the scene's own windows.

Post-training quantisation by NNCF (https://github.com/openvinotoolkit/nncf): weights and activations become integers
whose ranges come from a few windows of the scene. The result is one file that all workers and any resumed run use, so
that they compute the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.engine.probe import agreement, draw_images, draw_samples
from geounet.engine.runtimes import WindowClassifier, openvino_model, prepared, signal_stack_kept
from geounet.errors import ModelError
from geounet.models.model_file import load_model
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geounet.engine.runtimes import NetworkSetup
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

_NOTE = "quantized.json"
_ONE_AT_A_TIME = threading.Lock()
"""Standard output is the process's: of two threads that turn it aside, the second would give back the first's."""


def check_quantization(runtime: str) -> None:
    """Refuse int8 where it cannot be had.

    Raises:
        ModelError: the runtime is not OpenVINO, or NNCF is not installed.
    """
    if runtime != "openvino":
        raise ModelError("int8 is computed by the runtime openvino on cpu; take another --precision, or --device cpu")
    if importlib.util.find_spec("nncf") is None:
        raise ModelError("int8 needs NNCF, which is not installed; pip install 'geounet[int8]'")


def quantize(scene: Scene, card: ModelCard, setup: NetworkSetup, halo: int, folder: Path) -> tuple[str, float]:
    """The network in int8 for a scene, from the folder where an earlier run left it, else calibrated now.

    Args:
        scene: whose windows calibrate.
        card: the model's.
        setup: what the network is for.
        halo: the exact one.
        folder: where the network is kept.

    Returns:
        Path of the network (OpenVINO IR), and the share of the probed class pixels that are those of float32.
    """
    note = folder / _NOTE
    if not note.exists():
        network = _keep(_calibrated(setup, draw_images(scene, card, halo)), folder)
        share = _measure(scene, card, replace(setup, quantized=str(network)), halo)
        with atomic(note) as staged:
            staged.write_text(json.dumps({"network": network.name, "agreement": share}), encoding="utf-8")
    found = json.loads(note.read_text(encoding="utf-8"))
    return str(folder / found["network"]), found["agreement"]


def _calibrated(setup: NetworkSetup, images: Sequence[NDArray[np.float32]]) -> Any:
    """The network for the setup's windows in int8, its ranges from images (bands, height, width) of one shape."""
    network, card = load_model(Path(setup.model))
    classifier = WindowClassifier(network, setup.halo, probabilities=setup.probabilities or setup.tta).eval()
    if not images:
        # Nothing is valid, so nothing will be run.
        return openvino_model(classifier, (len(card.bands), *setup.window))
    with signal_stack_kept(), _in_silence() as nncf:
        model = nncf.quantize(
            openvino_model(classifier, images[0].shape),
            nncf.Dataset([image[None] for image in images]),
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
        )
    model.reshape([1, len(card.bands), *setup.window])
    return model


def _keep(model: Any, folder: Path) -> Path:
    """Write the network under a name that tells it from any other, so that no worker takes another's."""
    import openvino

    draft = folder / "network.xml"
    openvino.save_model(model, draft, compress_to_fp16=False)
    weights = draft.with_suffix(".bin")
    name = hashlib.sha256(draft.read_bytes() + weights.read_bytes()).hexdigest()[:16]
    weights.replace(folder / f"{name}.bin")
    return draft.replace(folder / f"{name}.xml")


def _measure(scene: Scene, card: ModelCard, setup: NetworkSetup, halo: int) -> float:
    samples = draw_samples(scene, Path(setup.model), halo)
    run, _ = prepared(setup)
    return agreement(samples, run, setup.window, setup.halo, card.stride)


@contextlib.contextmanager
def _in_silence() -> Iterator[Any]:
    """NNCF, which otherwise reports its progress and its thoughts on standard output, which is for results."""
    # It also makes torch look for a CUDA compiler, and say so.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with (
        _ONE_AT_A_TIME,
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
    ):
        import nncf

        # Not by its own function, which sets the level of handlers that are not its own too.
        logging.getLogger("nncf").setLevel(logging.ERROR)
        yield nncf
