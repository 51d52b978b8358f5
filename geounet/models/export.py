"""Model files for other runtimes: ONNX and OpenVINO IR, each compared with PyTorch before it is there."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError
from geounet.models.model_file import fingerprint, load_model
from geounet.outputs import atomic, claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geounet.models.model_file import ModelCard

OPSET = 18
"""Version of the ONNX operators."""
TOLERANCE = 1e-4
"""Largest difference of a logit from PyTorch's, in float32, as a share of the largest logit: runtimes add up in other
orders, which moves a logit by some millionths of that."""
INPUT, OUTPUT = "image", "logits"
"""Names in the exported graph."""
_FACTS = ("bands", "classes", "halo", "stride", "resolution")


class FromScene(torch.nn.Module):
    """The network with its normalisation in front: scaled scene values (N, bands, H, W) to logits (N, classes, H, W).

    Args:
        network: takes normalised images.
        card: its bands' means and standard deviations.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor([getattr(band, name) for band in card.bands], dtype=torch.float32)
            self.register_buffer(name, values.reshape(1, -1, 1, 1))  # (bands,) -> (1, bands, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, bands, H, W) float32 to logits (N, classes, H, W)."""
        logits: torch.Tensor = self.network((image - self.mean) / self.std)
        return logits


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format is written and run."""

    packages: tuple[str, ...]
    """What must be installed."""
    write: Callable[[FromScene, ModelCard, Path], None]
    """The network to a file."""
    load: Callable[[Path], Callable[[Any], Any]]
    """The file to a function of NumPy arrays, images to logits, computed in float32."""
    companion: str | None = None
    """Ending of a second file."""


def export_model(model: Path, out: Path, *, window_size: int = 512, overwrite: bool = False) -> float:
    """Write a model file as ONNX (`.onnx`) or OpenVINO IR (`.xml`, with a `.bin` beside it).

    The graph's input `image` (N, bands, H, W) takes the scene's scaled values in float32, for the normalisation is
    part of it; its output is `logits` (N, classes, H, W). N, H and W are free, H and W multiples of the stride. Bands,
    classes, halo, stride and resolution are in the metadata (ONNX metadata_props, OpenVINO rt_info/geounet) as JSON.

    Args:
        model: the model file.
        out: what to write; its ending says the format.
        window_size: side in pixels of the window on which the outputs are compared with PyTorch's.
        overwrite: whether existing files are replaced.

    Returns:
        The largest difference of a logit from PyTorch's, in float32.

    Raises:
        ModelError: the ending is unknown, a package is missing, the network cannot be expressed in the format, or the
            difference is above :data:`TOLERANCE`; nothing is written then.
        OutputError: an output exists or cannot be written.
    """
    chosen = _FORMATS.get(out.suffix.lower())
    if chosen is None:
        raise ModelError(f"{out} ends in {out.suffix or 'nothing'!r}; known endings: {', '.join(_FORMATS)}")
    _check_packages(chosen.packages, out.suffix)
    network, card = load_model(model)
    _check_window(window_size, card.stride)
    scene_network = FromScene(network, card).eval()
    outputs = [out, out.with_suffix(chosen.companion)] if chosen.companion else [out]
    with claimed(outputs, f"export {fingerprint(model)} {window_size}", overwrite), atomic(out) as staged:
        with _quiet(), torch.no_grad():
            _write(chosen, scene_network, card, staged)
        return _compare(scene_network, chosen.load(staged), card, window_size)


def _check_packages(packages: tuple[str, ...], ending: str) -> None:
    missing = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise ModelError(f"to write {ending} files install {', '.join(missing)}: pip install {' '.join(missing)}")


def _check_window(size: int, stride: int) -> None:
    if size < stride or size % stride:
        raise ModelError(f"a window of {size} pixels is no multiple of the model's stride {stride}; give one that is")


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters' deprecation warnings and progress are nothing that a user can act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write(chosen: _Format, network: FromScene, card: ModelCard, path: Path) -> None:
    try:
        chosen.write(network, card, path)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, torch.onnx.OnnxExporterError) as error:
        raise ModelError(f"the network cannot be written as {path.suffix}: {' '.join(str(error).split())}") from error


def _compare(network: FromScene, run: Callable[[Any], Any], card: ModelCard, size: int) -> float:
    """The largest difference, over a square window and a batch of two lying ones, which fixed sizes would fail."""
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for shape in ((1, size, size), (2, card.stride, 2 * card.stride)):
        normal = torch.randn(shape[0], len(card.bands), *shape[1:], generator=generator)
        image = normal * network.std + network.mean
        with torch.inference_mode():
            expected = network(image)
        found = _result(run, image)
        largest = max(largest, _difference(expected, found))
    return largest


def _result(run: Callable[[Any], Any], image: torch.Tensor) -> torch.Tensor:
    try:
        return torch.from_numpy(run(image.numpy()))
    except Exception as error:
        # Runtimes raise their own classes, which share no base but Exception.
        raise ModelError(
            f"the exported network does not run on an image {tuple(image.shape)} ({' '.join(str(error).split())}); "
            "nothing was written, try another format"
        ) from error


def _difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    if expected.shape != found.shape:
        raise ModelError(f"the exported network gives {tuple(found.shape)}, and PyTorch {tuple(expected.shape)}")
    difference = float((expected - found).abs().max())
    allowed = TOLERANCE * float(expected.abs().max())
    # Not `>`, which NaN would pass.
    if not difference <= allowed:
        raise ModelError(
            f"the exported network's logits differ by {difference:.3g} from PyTorch's, and {allowed:.3g} is allowed; "
            "nothing was written, try another format"
        )
    return difference


def _metadata(card: ModelCard) -> dict[str, str]:
    values = json.loads(card.to_json())
    return {name: json.dumps(values[name]) for name in _FACTS}


def _example(card: ModelCard) -> torch.Tensor:
    """Small and of unequal sides; sizes of 1 would be taken as fixed."""
    return torch.zeros(2, len(card.bands), 2 * card.stride, 3 * card.stride)


def _write_onnx(network: FromScene, card: ModelCard, path: Path) -> None:
    dim = torch.export.Dim
    shapes = ({0: dim("batch"), 2: card.stride * dim("rows"), 3: card.stride * dim("columns")},)
    program = torch.onnx.export(
        network,
        (_example(card),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=shapes,
        opset_version=OPSET,
        verbose=False,
    )
    if program is None:
        raise ModelError("this version of PyTorch returns no ONNX program")
    program.model.metadata_props.update(_metadata(card))
    program.save(str(path), external_data=False)


def _load_onnx(path: Path) -> Callable[[Any], Any]:
    onnxruntime = importlib.import_module("onnxruntime")  # optional, so that type checkers may not find it
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what fails is raised, and need not be printed too
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda image: session.run([OUTPUT], {INPUT: image})[0]


def _write_openvino(network: FromScene, card: ModelCard, path: Path) -> None:
    openvino = importlib.import_module("openvino")
    converted = openvino.convert_model(
        network, example_input=_example(card), input=[(INPUT, [-1, len(card.bands), -1, -1])]
    )
    converted.inputs[0].get_tensor().set_names({INPUT})
    converted.outputs[0].get_tensor().set_names({OUTPUT})
    for name, value in _metadata(card).items():
        converted.set_rt_info(value, ["geounet", name])
    openvino.save_model(converted, path, compress_to_fp16=False)


def _load_openvino(path: Path) -> Callable[[Any], Any]:
    openvino = importlib.import_module("openvino")
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: compiled(image)[0]


_FORMATS = {
    ".onnx": _Format(("onnx", "onnxscript", "onnxruntime"), _write_onnx, _load_onnx),
    ".xml": _Format(("openvino",), _write_openvino, _load_openvino, ".bin"),
}
