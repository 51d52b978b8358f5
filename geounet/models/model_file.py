"""The model file: one safetensors file with the weights and, in its header, all that prediction needs.

No pickle is ever loaded, so a model file from a stranger cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from geounet.classes import LandClass
from geounet.errors import LabelError, ModelError, OutputError
from geounet.models.encoders import Architecture, build_network
from geounet.outputs import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

FORMAT = "geounet-model-1"
_KEY = "geounet"


@dataclass(frozen=True, slots=True)
class Band:
    """One input band and its normalisation, computed once from the training scenes."""

    name: str
    """As the training scenes name it."""
    mean: float
    """What is subtracted: mean (or median) of its valid training pixels, in the unit of the scaled values."""
    std: float
    """By what is divided then: their standard deviation, or what percentiles give for it; above 0."""
    minimum: float
    """Smallest valid training value."""
    maximum: float
    """Largest valid training value."""
    number: int
    """Its number in the training scenes, from 1: the band that prediction reads by default."""
    scale: float | None = None
    """Factor that the training scenes' tags state, 1 where they state none; None where the file does not say."""
    offset: float | None = None
    """Summand that they state, likewise."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """All that prediction needs besides the weights."""

    architecture: Architecture
    """How to build the network."""
    bands: tuple[Band, ...]
    """Inputs in order."""
    classes: tuple[LandClass, ...]
    """Outputs in order."""
    dtype: str
    """Data type of the training scenes."""
    scene_bands: int
    """Bands of the training scenes, the ones that were not read among them."""
    resolution: float | None
    """Metres a pixel of the training scenes; None for pixel coordinates."""
    halo: int | None
    """Pixels around a core that can change it, a multiple of the stride; None where all of the window can."""
    stride: int
    """Total stride of the network."""
    resolution_tolerance: float = 0.25
    """Relative deviation from the resolution that is accepted."""
    normalization: str = "moments"
    """`moments` (mean and standard deviation) or `percentiles` (median, 2nd to 98th percentile)."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Metrics on the validation scenes at the best epoch."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that trained it."""
    command: str = ""
    """The training command."""
    teachers: tuple[Mapping[str, str], ...] = ()
    """Of a model that learnt from others: their `name` and `sha256`, in their order."""

    def to_json(self) -> str:
        """The header's text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)


def card_from_json(text: str) -> ModelCard:
    """The card of a header's text.

    Raises:
        ModelError: it is not of this format.
    """
    try:
        values = json.loads(text)
        if values.pop("format") != FORMAT:
            raise ModelError(f"the model file is not of the format {FORMAT}; train or import it anew")
        values["architecture"] = Architecture(**values["architecture"])
        values["bands"] = tuple(Band(**band) for band in values["bands"])
        values["classes"] = tuple(LandClass(**item) for item in values["classes"])
        values["teachers"] = tuple(values.get("teachers", ()))
        return ModelCard(**values)
    except (KeyError, TypeError, ValueError, AttributeError, LabelError) as error:
        raise ModelError(f"the model file's header is damaged: {error}") from error


def save_model(path: Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights and card, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_tensors(path, network.state_dict(), {_KEY: card.to_json()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    """Write PyTorch's tensors to a safetensors file, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_safetensors(path, lambda staged: save_file(plain, staged, metadata=header))


def write_safetensors(path: Path, save: Callable[[Path], None]) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        path: the file.
        save: writes it under another name.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors import SafetensorError

    with atomic(path) as staged:
        staged.touch()
        mode = staged.stat().st_mode
        try:
            save(staged)
        except SafetensorError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        # As other files are; safetensors makes one that only its owner may read.
        staged.chmod(mode)


def read_card(path: Path) -> ModelCard:
    """The card alone; no weight is read.

    Raises:
        ModelError: there is no such file, or it is no model file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"model file {path} does not exist")
    try:
        # No tensor is read, so none of a library that takes its time to be imported.
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a geounet model file (.safetensors): {error}") from error
    if _KEY not in metadata:
        raise ModelError(f"{path} is a safetensors file without geounet's header; it is not a geounet model file")
    try:
        return card_from_json(metadata[_KEY])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def load_model(path: Path) -> tuple[nn.Module, ModelCard]:
    """The network, in eval mode on CPU, and its card.

    Raises:
        ModelError: there is no such file, it is no model file, or its weights do not fit its architecture.
    """
    from safetensors.torch import load_file

    card = read_card(path)
    try:
        network = build_network(card.architecture)
        network.load_state_dict(load_file(path))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (RuntimeError, OSError) as error:
        # PyTorch's message has a line for each weight.
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} holds weights that do not fit its architecture: {reason}") from error
    return network.eval(), card


def fingerprint(path: Path) -> str:
    """A hash of the model file's bytes: what a tile store is bound to.

    Raises:
        ModelError: there is no such file.
    """
    if not path.is_file():
        raise ModelError(f"model file {path} does not exist")
    status = path.stat()
    return _digest(path.absolute(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _digest(path: Path, _size: int, _written: int) -> str:
    """Once for each state of a file: a batch asks for each of its scenes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
