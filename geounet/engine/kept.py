"""Networks that stand beside a model file, made once for all runs: as OpenVINO reads it, and in 8-bit integers.

Such a file says of which model it is, by hash, and what made it. Each may be removed at any time. The converted
network only saves time: it is not looked at where anything about it differs, and made anew. The one in integers was
calibrated on purpose, so a damaged one is told of.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geounet.engine.compiled import core
from geounet.errors import GeounetError, ModelError, one_line
from geounet.models.model_file import fingerprint, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_log = logging.getLogger(__name__)
_DESCRIPTION, _WEIGHTS = "description", "weights"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file beside a model."""

    suffix: str
    """What its name has after the model's."""
    key: str
    """Of its header: what it is of, as JSON."""
    makers: tuple[str, ...]
    """The packages whose versions its header names."""

    def beside(self, model: Path | str) -> Path:
        """The file of a model."""
        return Path(f"{model}{self.suffix}")

    def versions(self) -> dict[str, str]:
        """Those of the packages that make it here."""
        return {name: version(name) for name in self.makers}


INTEGERS = Kind(".int8", "geounet-int8", ("geounet", "openvino", "nncf"))
"""The network in 8-bit integers, see :mod:`geounet.engine.quantization`."""
CONVERTED = Kind(".openvino", "geounet-openvino", ("geounet", "openvino", "torch"))
"""The network in float32 with crop, softmax and argmax, see :class:`geounet.engine.classifier.WindowClassifier`."""


def is_kept(name: str) -> bool:
    """Whether it is a file that keeps a network in integers for all scenes."""
    return name.endswith(INTEGERS.suffix)


def is_calibrated(model: Path, halo: int) -> bool:
    """Whether a network in int8 stands beside the model file, and is of this model and for windows of this halo.

    Raises:
        ModelError: the file is damaged.
    """
    place = INTEGERS.beside(model)
    if not place.is_file():
        return False
    with _told_of(place):
        found = _header(place, INTEGERS)
    if found.get("model") != fingerprint(model):
        _tell_another(str(place))
        return False
    return bool(found["halo"] == halo)


def kept_integers(model: Path) -> Any:
    """The `openvino.Model` in int8 that stands beside the model file, for windows of any size.

    Raises:
        ModelError: the file is damaged.
    """
    place = INTEGERS.beside(model)
    with _told_of(place):
        about, parts = _header(place, INTEGERS), _parts(place)
        # Files of before tell no hash.
        if about.get("sha256", _digest(parts)) != _digest(parts):
            raise ValueError("its bytes are not those that were written")
    return _opened(*parts)


def kept_conversion(model: Path, halo: int) -> Any | None:
    """The converted `openvino.Model` that stands beside the model file, for windows of any size of this halo.

    None where there is none of just this model, halo and versions, or a byte of it has changed.
    """
    place = CONVERTED.beside(model)
    if not place.exists():
        return None
    try:
        found, parts = _header(place, CONVERTED), _parts(place)
        if found == {**_conversion(model, halo), "sha256": _digest(parts)}:
            return _opened(*parts)
        _log.info("%s is of another model, halo or version, or changed, and is made anew", place)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it only saves time
        _log.info("%s cannot be read, and is made anew: %s", place, one_line(error))
    return None


def keep_conversion(model: Path, halo: int, network: Any) -> None:
    """Put a converted network beside its model file, for the next run; where that cannot be, it is made each time."""
    try:
        keep(model, CONVERTED, network, _conversion(model, halo))
    except GeounetError as error:
        _log.info("the network is converted anew in each run: %s", error)


def _conversion(model: Path, halo: int) -> dict[str, Any]:
    return {"model": fingerprint(model), "halo": halo, "versions": CONVERTED.versions()}


def keep(model: Path, kind: Kind, network: Any, about: dict[str, Any]) -> None:
    """Write a network beside its model file, with a hash of it.

    Args:
        model: the model file.
        kind: which of its files.
        network: the `openvino.Model`.
        about: what the header tells besides.

    Raises:
        OutputError: the file cannot be written.
    """
    import openvino
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "network.xml")
        openvino.save_model(network, draft, compress_to_fp16=False)
        parts = draft.read_bytes(), draft.with_suffix(".bin").read_bytes()
    tensors = dict(zip((_DESCRIPTION, _WEIGHTS), (np.frombuffer(part, np.uint8) for part in parts), strict=True))
    header = {kind.key: json.dumps({**about, "sha256": _digest(parts)}, sort_keys=True)}
    write_safetensors(kind.beside(model), lambda staged: save_file(tensors, staged, metadata=header))


def _digest(parts: tuple[bytes, bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _opened(description: bytes, weights: bytes) -> Any:
    import openvino

    return core().read_model(description, openvino.Tensor(np.frombuffer(weights, np.uint8)))


def _header(place: Path, kind: Kind) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(place, framework="np") as file:
        content: dict[str, Any] = json.loads((file.metadata() or {}).get(kind.key, "{}"))
    return content


def _parts(place: Path) -> tuple[bytes, bytes]:
    from safetensors import safe_open

    with safe_open(place, framework="np") as file:
        return file.get_tensor(_DESCRIPTION).tobytes(), file.get_tensor(_WEIGHTS).tobytes()


@contextlib.contextmanager
def _told_of(place: Path) -> Iterator[None]:
    """Errors of a damaged file in a sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{place} is damaged ({error}); remove it, or quantize the model anew") from error


@cache
def _tell_another(place: str) -> None:
    """Once a process."""
    _log.warning("%s is of another model than the one beside it, and is not used; quantize that anew", place)
