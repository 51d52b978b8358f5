"""Bring your own weights: a network that others trained, as a model file."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from geounet.classes import classes_from_values
from geounet.errors import ModelError
from geounet.models.checkpoint import read_checkpoint, select_weights
from geounet.models.encoders import Architecture, build_network
from geounet.models.model_file import Band, ModelCard, save_model
from geounet.models.receptive_field import probe_receptive_field
from geounet.outputs import check_ending, claimed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from geounet.classes import LandClass

_ARCH_KEYS = ("model", "arch", "segmentation_model")
_ENCODER_KEYS = ("backbone", "encoder_name", "encoder")
# torchgeo's names that differ from smp's.
_ARCH_NAMES = {"deeplabv3+": "deeplabv3plus"}
_DEVIATIONS = 3
_IMAGE_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a network besides its weights; None and empty where the checkpoint is to say it."""

    arch: str | None = None
    """Name of an smp architecture; by default the checkpoint's, else `unet`."""
    encoder: str | None = None
    """Name of an smp encoder; by default the checkpoint's."""
    bands: tuple[int, ...] | None = None
    """Band numbers of the scenes, from 1, in the network's order; by default 1, 2, 3, ..."""
    band_names: tuple[str, ...] = ()
    """One for each band, by which scenes' bands are found; by default `band_1`, ..."""
    mean: tuple[float, ...] = ()
    """Of each band, or one for all: what was subtracted from the scenes' values in training. Must be given."""
    std: tuple[float, ...] = ()
    """Of each band, or one for all: what they were then divided by, above 0. Must be given."""
    classes: tuple[LandClass, ...] = ()
    """In the order of the network's outputs; by default `class_0`, `class_1`, ..."""
    resolution: float | None = None
    """Metres a pixel of the training scenes; None for any."""
    dtype: str = "uint8"
    """Data type of the scenes."""
    scene_bands: int | None = None
    """Bands of the scenes, those that are not read among them; by default the largest band number."""


def import_model(
    source: Path, out: Path, facts: Facts, *, trust: bool = False, command: str = "", overwrite: bool = False
) -> ModelCard:
    """Write the model file of an smp network from a state dict, a Lightning checkpoint, safetensors or TorchScript.

    The weights themselves say how many bands and classes there are; the checkpoint's hyperparameters name architecture
    and encoder where the facts do not. A network with one logit, trained with a sigmoid, is given a second one that is
    always 0: the softmax of both is that sigmoid.

    Args:
        source: see :func:`geounet.models.checkpoint.read_checkpoint`.
        out: the model file.
        facts: what the checkpoint does not say.
        trust: whether TorchScript may be loaded; only its weights are kept, never its code.
        command: what the model file names as its origin.
        overwrite: whether an existing model file is replaced.

    Raises:
        ModelError: reading it would run code, the weights are not all of that network's and only those, or facts
            are missing or contradict them.
        OutputError: the model file exists or cannot be written.
    """
    check_ending(out, ".safetensors")
    with claimed([out], f"import {source.absolute()} {facts}", overwrite):
        checkpoint = read_checkpoint(source, trust=trust)
        try:
            arch, encoder = _named(facts, checkpoint.hyperparameters)
            network, architecture = _network(checkpoint.weights, arch, encoder)
            card = _card(facts, architecture, network, command)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from error
        save_model(out, network, card)
    return card


def check_finite(network: torch.nn.Module) -> None:
    """Make sure that every weight is a number.

    Raises:
        ModelError: one is NaN or infinite.
    """
    broken = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"{len(broken)} of its weights hold NaN or infinity, the first is {broken[0]}; train it again")


def declared_stride(network: torch.nn.Module) -> int:
    """For networks that cannot be probed: what smp encoders declare, else 32."""
    return int(getattr(getattr(network, "encoder", network), "output_stride", 32))


def _named(facts: Facts, hints: Mapping[str, Any]) -> tuple[str, str]:
    """Architecture and encoder."""
    if hints.get("model_kwargs"):
        raise ModelError(
            f"its network was built with {hints['model_kwargs']}, which a model file has no place for; only smp's "
            "default settings can be imported"
        )
    if hints.get("task") == "multilabel":
        raise ModelError("its task is multilabel, and a class raster holds one class for each pixel")
    arch = (facts.arch or _hint(hints, _ARCH_KEYS) or "unet").lower()
    encoder = facts.encoder or _hint(hints, _ENCODER_KEYS)
    if encoder is None:
        raise ModelError("it does not say what its encoder is; give --encoder, such as --encoder resnet18")
    return _ARCH_NAMES.get(arch, arch), encoder


def _hint(hints: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((hints[key] for key in keys if isinstance(hints.get(key), str)), None)


def _network(weights: Mapping[str, torch.Tensor], arch: str, encoder: str) -> tuple[torch.nn.Module, Architecture]:
    """The network with its weights, in eval mode."""
    # Names do not depend on the number of bands and classes, so any will do to find them.
    like = build_network(Architecture(3, 2, arch, encoder)).state_dict()
    chosen = select_weights(weights, like)
    images = [name for name, tensor in like.items() if tensor.ndim == _IMAGE_DIMENSIONS]
    chosen = _two_logits(chosen, images[-1])
    bands, classes = chosen[images[0]].shape[1], chosen[images[-1]].shape[0]
    architecture = Architecture(bands, classes, arch, encoder)
    network = build_network(architecture)
    try:
        network.load_state_dict(chosen)
    except RuntimeError as error:
        # PyTorch's message has a line for each weight.
        reason = " ".join(str(error).split())
        raise ModelError(f"its weights do not fit {arch} with encoder {encoder}: {reason}") from error
    check_finite(network)
    return network.eval(), architecture


def _two_logits(weights: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    """A logit of 0 before a single one: softmax((0, z)) = (1 - sigmoid(z), sigmoid(z))."""
    if weights[head].shape[0] != 1:
        return weights
    ends = [name for name in (head, head.removesuffix("weight") + "bias") if name in weights]
    return weights | {name: torch.cat((torch.zeros_like(weights[name]), weights[name])) for name in ends}


def _card(facts: Facts, architecture: Architecture, network: torch.nn.Module, command: str) -> ModelCard:
    bands = _bands(facts, architecture.in_channels)
    last = max(band.number for band in bands)
    scene_bands = last if facts.scene_bands is None else facts.scene_bands
    if scene_bands < last:
        raise ModelError(f"band {last} is read, and --scene-bands says that scenes have {scene_bands}")
    classes = facts.classes or classes_from_values(range(architecture.classes))
    if len(classes) != architecture.classes:
        raise ModelError(
            f"its weights give {architecture.classes} classes, and the class table names {len(classes)}; "
            f"give one with {architecture.classes} rows, in the order of the network's outputs"
        )
    reach = probe_receptive_field(network, architecture.in_channels)
    return ModelCard(
        architecture=architecture,
        bands=bands,
        classes=classes,
        dtype=facts.dtype,
        scene_bands=scene_bands,
        resolution=facts.resolution,
        halo=reach.halo if reach else None,
        stride=reach.stride if reach else declared_stride(network),
        versions={name: version(name) for name in ("geounet", "torch", "segmentation-models-pytorch")}
        | {"python": platform.python_version()},
        command=command,
    )


def _bands(facts: Facts, count: int) -> tuple[Band, ...]:
    """As many bands as the network reads.

    Beyond three standard deviations no value is expected, which stands in for the extremes that nobody noted.
    """
    numbers = facts.bands or tuple(range(1, count + 1))
    names = facts.band_names or tuple(f"band_{number}" for number in numbers)
    for option, given in (("--bands", numbers), ("--band-names", names)):
        if len(given) != count:
            raise ModelError(f"its weights read {count} bands, and {option} names {len(given)}; name {count}")
    if min(numbers) < 1:
        raise ModelError(f"--bands names band {min(numbers)}; bands are counted from 1")
    means, stds = _each("--mean", facts.mean, count), _each("--std", facts.std, count)
    if min(stds) <= 0:
        raise ModelError(f"--std holds {min(stds):g}; a standard deviation is above 0")
    return tuple(
        Band(name, mean, std, mean - _DEVIATIONS * std, mean + _DEVIATIONS * std, number)
        for name, mean, std, number in zip(names, means, stds, numbers, strict=True)
    )


def _each(option: str, given: tuple[float, ...], count: int) -> tuple[float, ...]:
    """One number for each band."""
    if not given:
        raise ModelError(
            "it does not say how its training scenes were normalised, and a wrong guess would spoil every map; give "
            "--mean and --std (--mean 0 --std 1 for values as they are)"
        )
    if len(given) not in {1, count}:
        raise ModelError(f"its weights read {count} bands, and {option} holds {len(given)} numbers; give {count} or 1")
    if not all(map(math.isfinite, given)):
        raise ModelError(f"{option} holds {', '.join(map(str, given))}, which are not all numbers")
    return given if len(given) == count else given * count
