"""A network in 8-bit integers, calibrated once on windows of some scenes, or on the scene's own.

Post-training quantisation by NNCF (https://github.com/openvinotoolkit/nncf): weights and activations become integers
whose ranges come from a few windows. What is calibrated once stands beside the model file and serves all scenes whose
own pixels it is near enough to float32 on. A run's network is one file that all workers and any resumed run use, so
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

from geounet.engine.cluster import usable_cores
from geounet.engine.compiled import compiled_openvino, signal_stack_kept
from geounet.engine.kept import INTEGERS, keep
from geounet.engine.probe import agreement, draw_images, draw_samples
from geounet.engine.runtimes import NetworkSetup, in_kept_integers, openvino_network, pick_runtime, prepared
from geounet.errors import ModelError
from geounet.models.model_file import fingerprint, read_card
from geounet.outputs import atomic, check_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)
_NOTE = "quantized.json"
_SCENES = 8
"""Scenes at most from whose windows ranges are taken: their windows are held in memory."""
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
        kept = in_kept_integers(setup)
        if kept is not None:
            model = openvino_network(kept, card)
        else:
            check_quantization(setup.runtime)
            model = _calibrated(setup, draw_images(scene, card, halo))
        network = _keep(model, folder)
        share = _measure(scene, card, replace(setup, quantized=str(network)), halo)
        with atomic(note) as staged:
            staged.write_text(json.dumps({"network": network.name, "agreement": share}), encoding="utf-8")
    found = json.loads(note.read_text(encoding="utf-8"))
    return str(folder / found["network"]), found["agreement"]


def quantize_model(model: Path, scenes: Sequence[Scene], *, overwrite: bool = False) -> tuple[Path, float]:
    """Calibrate a model's network on windows of some scenes, and keep it beside the model file for all scenes.

    Args:
        model: the model file.
        scenes: with the bands and numbers that the model reads; the more they are like what will be predicted, the
            better.
        overwrite: whether one that is there is replaced.

    Returns:
        The file, and the share of class pixels that are those of float32, on other windows of the scenes.

    Raises:
        ModelError: NNCF is not installed, the model sees its whole window, or no scene holds a valid pixel.
        OutputError: the file exists, or cannot be written.
    """
    check_quantization(pick_runtime("openvino", "cpu"))
    place = INTEGERS.beside(model)
    check_output(place, overwrite)
    card = read_card(model)
    if card.halo is None:
        raise ModelError(f"{model} sees its whole window, so that its int8 network is calibrated scene by scene")
    chosen = scenes[:: -(-len(scenes) // _SCENES)]
    if len(chosen) < len(scenes):
        _log.warning("%d of %d scenes, evenly chosen, are enough to calibrate and to test on", len(chosen), len(scenes))
    images = [image for scene in chosen for image in draw_images(scene, card, card.halo)]
    if not images:
        raise ModelError(f"none of the {len(scenes)} scenes holds a valid pixel to calibrate on")
    setup = NetworkSetup(
        model=str(model.absolute()), fingerprint=fingerprint(model), device="cpu", precision="int8",
        runtime="openvino", window=(images[0].shape[1], images[0].shape[2]), halo=card.halo,
        threads=len(usable_cores()), probabilities=True,
    )  # fmt: skip
    network = _calibrated(setup, images)
    samples = [sample for scene in chosen for sample in draw_samples(scene, setup, card.halo)]
    run = compiled_openvino(network, "int8", setup.threads)
    share = agreement(samples, run, setup.window, setup.halo, card.stride)
    about = {"model": setup.fingerprint, "halo": card.halo, "agreement": share, "versions": INTEGERS.versions()}
    keep(model, INTEGERS, network, about)
    return place, share


def _calibrated(setup: NetworkSetup, images: Sequence[NDArray[np.float32]]) -> Any:
    """The network for the setup's windows in int8, its ranges from images (bands, height, width) of one shape."""
    card = read_card(Path(setup.model))
    plain = replace(setup, precision="fp32", quantized=None)
    if not images:
        # Nothing is valid, so nothing will be run.
        return openvino_network(plain, card)
    seen = replace(plain, window=(images[0].shape[1], images[0].shape[2]))
    with signal_stack_kept(), _in_silence() as nncf:
        model = nncf.quantize(
            openvino_network(seen, card),
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
    samples = draw_samples(scene, setup, halo)
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
