"""Networks with random weights that tell pixels apart, as model files: for tests of everything but learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from geounet.classes import LandClass
from geounet.models.encoders import Architecture, build_network
from geounet.models.model_file import Band, ModelCard, save_model
from geounet.models.receptive_field import probe_receptive_field

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = (
    LandClass(10, "water", "#2f6fde"),
    LandClass(30, "built up", "#d62728"),
    LandClass(254, "field & hedge", "#e6c34a"),
)


def network_of(architecture: Architecture, seed: int = 0) -> torch.nn.Module:
    """A network in eval mode whose batch normalisations have seen something, so that no layer is an identity."""
    torch.manual_seed(seed)
    network = build_network(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def far_sighted(network: torch.nn.Module) -> torch.nn.Module:
    """The network with most weight on the first column of each kernel, so that the edge of its view counts."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            with torch.no_grad():
                weight = module.weight.abs() * torch.tensor([8.0, 1.0, 1.0])
                module.weight.copy_(2 * weight / weight.sum(dim=(1, 2, 3), keepdim=True))
        elif isinstance(module, torch.nn.ConvTranspose2d):
            torch.nn.init.uniform_(module.weight, 0.0, 2.0 / module.in_channels)
    with torch.no_grad():
        head = list(network.modules())[-1]
        spread = network(torch.randn(1, _bands(network), 64, 64)).std()
        head.weight.div_(spread)
        head.bias.div_(spread)
    return network


def _bands(network: torch.nn.Module) -> int:
    """Bands of the image that a network takes."""
    cell: int = getattr(network, "factor", 1) ** 2
    return next(network.parameters()).shape[1] // cell


def make_model(
    path: Path,
    bands: int = 2,
    *,
    mean: float = 100.0,
    std: float = 40.0,
    dtype: str = "uint8",
    resolution: float | None = 10.0,
    names: tuple[str, ...] | None = None,
    **architecture: Any,
) -> ModelCard:
    """Write a model file of an untrained network, by default a UNet of depth 2 and width 4."""
    settings = {"depth": 2, "width": 4, **architecture}
    built = Architecture(bands, len(CLASSES), **settings)
    network = network_of(built)
    reach = probe_receptive_field(network, bands)
    band_names = names or tuple(f"band_{number}" for number in range(1, bands + 1))
    card = ModelCard(
        built,
        tuple(Band(name, mean, std, 0.0, 255.0, number) for number, name in enumerate(band_names, 1)),
        CLASSES,
        dtype,
        bands,
        resolution,
        reach.halo if reach else None,
        reach.stride if reach else 32,
    )
    save_model(path, network, card)
    return card


def undecided(network: torch.nn.Module) -> torch.nn.Module:
    """The network with logits of one mean and spread, so that each class wins somewhere."""
    with torch.no_grad():
        head = list(network.modules())[-1]
        logits = network(torch.randn(1, _bands(network), 64, 64))[0].flatten(1)
        each = head.out_channels // len(logits)
        mean, spread = (part.repeat_interleave(each) for part in (logits.mean(dim=1), logits.std(dim=1)))
        head.weight.div_(spread[:, None, None, None])
        head.bias.sub_(mean).div_(spread)
    return network
