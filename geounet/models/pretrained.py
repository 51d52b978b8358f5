"""Weights that a training starts from: by name from the network, or from a file.

A name is one of segmentation-models-pytorch's (`imagenet`, ...), which fetches it from the Hugging Face hub, or one of
torchgeo's (`ResNet18_Weights.SENTINEL2_RGB_MOCO`), which fetches it by torch.hub; both keep what they fetched on this
machine. A file holds the weights of an encoder or of a whole network, in any of the forms of
:func:`geounet.models.checkpoint.read_checkpoint`; a geounet model file is one of them.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geounet.errors import ModelError
from geounet.models.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

_log = logging.getLogger(__name__)
_COUNTER = ".num_batches_tracked"
_IMAGE_DIMENSIONS = 4
_FEW = 3


def load_pretrained(network: nn.Module, weights: str, encoder: str | None) -> str:
    """Put pretrained weights into a network, in place; what they are, in words.

    The first convolution is adapted to the network's number of bands, see :func:`adapt_first_convolution`. Of a whole
    network's weights those of layers with another shape (a head for other classes) are left out.

    Args:
        network: of :func:`geounet.models.encoders.build_network`.
        weights: the name or the file.
        encoder: smp's name of the network's encoder; None for our own networks.

    Raises:
        ModelError: there are no such weights, they cannot be fetched, or they are of another network.
    """
    path = Path(weights)
    if path.exists() or (path.suffix and "_Weights." not in weights):
        return _load(network, read_checkpoint(path).weights, str(path))
    if encoder is None:
        raise ModelError(f"weights {weights} are an encoder's; name it, such as --encoder resnet18, or give a file")
    found = _torchgeo(weights) if "_Weights." in weights else _smp(weights, encoder)
    return _load(network, found, weights)


def adapt_first_convolution(kernels: Tensor, bands: int) -> Tensor:
    """Kernels (out, bands before, h, w) for another number of bands (out, bands, h, w).

    The bands take turns in the kernels of those before, scaled by before / bands, so that an image whose bands are all
    alike gives what it gave: as in smp and timm (https://timm.fast.ai/models#Case-2:-When-the-number-of-input-channels-is-more-than-3).
    """
    before = kernels.shape[1]
    return kernels[:, torch.arange(bands) % before] * (before / bands)


def _load(network: nn.Module, weights: Mapping[str, Tensor], origin: str) -> str:
    """Take over the part that fits: all of the network, or its encoder."""
    own = network.state_dict()
    parts = {"the whole network": "", "the encoder": "encoder."}
    for words, part in parts.items():
        names = [name for name in own if name.startswith(part) and not name.endswith(_COUNTER)]
        prefix = _prefix(weights, [name.removeprefix(part) for name in names])
        if names and prefix is not None:
            found = {name: weights[prefix + name.removeprefix(part)] for name in names}
            return f"{words} from {origin}{_take_over(network, own, found, origin)}"
    first = next(iter(weights), "nothing")
    raise ModelError(
        f"{origin} holds weights of another network ({len(weights)} tensors, the first is {first}): neither all of "
        "this one's nor all of its encoder's; name the --size, or --encoder, --arch, --depth and --width, that it is of"
    )


def _prefix(weights: Mapping[str, Tensor], names: Iterable[str]) -> str | None:
    """What stands before all of the names; None where one is missing under every prefix."""
    wanted = list(names)
    if not wanted:
        return None
    candidates = [name.removesuffix(wanted[0]) for name in weights if name.endswith(wanted[0])]
    return next((prefix for prefix in candidates if all(prefix + name in weights for name in wanted)), None)


def _take_over(network: nn.Module, own: Mapping[str, Tensor], found: dict[str, Tensor], origin: str) -> str:
    """Load what has the right shape; what was adapted and left out, in words."""
    words = ""
    first = next(name for name, tensor in own.items() if tensor.ndim == _IMAGE_DIMENSIONS)
    if first in found and found[first].shape != own[first].shape:
        before, bands = found[first].shape[1], own[first].shape[1]
        found[first] = adapt_first_convolution(found[first], bands)
        words += f", its first layer adapted from {before} to {bands} bands"
    others = [name for name, tensor in found.items() if tensor.shape != own[name].shape]
    # A head for other classes is expected; anything else is another network.
    if any(".head" not in f".{name}" and "segmentation_head" not in name for name in others):
        shapes = f"{others[0]} is {tuple(found[others[0]].shape)} and should be {tuple(own[others[0]].shape)}"
        raise ModelError(f"{origin} holds weights of another network: {shapes}")
    words += f", without {', '.join(others[:_FEW])} (another shape)" if others else ""
    network.load_state_dict({**own, **{name: tensor for name, tensor in found.items() if name not in others}})
    return words


def _torchgeo(name: str) -> Mapping[str, Tensor]:
    from torchgeo.models import get_weight

    try:
        entry = get_weight(name)
    except ValueError as error:
        known = sorted(_torchgeo_names(name.partition(".")[0]))
        raise ModelError(
            f"torchgeo has no weights {name}; " + (f"known: {', '.join(known)}" if known else "see its documentation")
        ) from error
    bands = entry.meta.get("bands")
    if bands:
        _log.warning("%s expects the bands %s, in this order", name, ", ".join(map(str, bands)))
    found: Mapping[str, Tensor] = _fetched(name, lambda: entry.get_state_dict(progress=False, weights_only=True))
    return found


def _torchgeo_names(family: str) -> list[str]:
    import torchgeo.models

    return [str(entry) for entry in getattr(torchgeo.models, family, ())]


def _smp(name: str, encoder: str) -> Mapping[str, Tensor]:
    import segmentation_models_pytorch as smp

    if not encoder.startswith("tu-"):
        known = list(smp.encoders.encoders[encoder]["pretrained_settings"])
        if name not in known:
            choices = f"known: {', '.join(known)}" if known else "it has none"
            raise ModelError(f"encoder {encoder} has no weights {name!r} ({choices}), and there is no such file")
    built = _fetched(name, lambda: smp.encoders.get_encoder(encoder, weights=name))
    state: Mapping[str, Tensor] = built.state_dict()
    return state


def _fetched(name: str, fetch: Any) -> Any:
    """What a function fetches from the network.

    Raises:
        ModelError: it cannot; the sentence says what to do without a network.
    """
    try:
        return fetch()
    # urllib's, requests' and the hub's errors are all OSErrors; a file cut short or of another hash is the rest.
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"the weights {name} cannot be fetched ({reason[:200]}); fetch them where there is a network and give the "
            "file to --weights"
        ) from error
