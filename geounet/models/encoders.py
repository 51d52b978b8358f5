"""Networks by name: our own UNets, or a segmentation-models-pytorch network around an encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geounet.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is needed to build a network, as it stands in a model file."""

    in_channels: int
    """Bands of the image."""
    classes: int
    """Number of classes."""
    arch: str = "unet"
    """`unet`, `subpixel-unet`; with an encoder what smp.create_model knows (`unet`, `fpn`, ...)."""
    encoder: str | None = None
    """Name of an smp encoder (`resnet18`, ...); None for our own networks."""
    depth: int = 4
    """Poolings of our own networks."""
    width: int = 32
    """Channels of our own networks' first level."""
    norm: str = "batch"
    """Normalisation of our own networks: batch, group or none."""
    upsampling: str = "transpose"
    """Upsampling of our own networks: transpose, bilinear or nearest."""
    factor: int = 1
    """Side in pixels of a cell of `subpixel-unet`; 1 for the others."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def build_network(architecture: Architecture) -> nn.Module:
    """A network with random weights: images (N, bands, H, W) to logits (N, classes, H, W).

    Raises:
        ModelError: there is no such architecture or encoder.
    """
    if architecture.encoder is None:
        return _own(architecture)
    import geounet.light_torchvision  # noqa: F401 - before smp, which imports torchvision

    # isort: split
    import segmentation_models_pytorch as smp

    try:
        network: nn.Module = smp.create_model(
            architecture.arch,
            encoder_name=architecture.encoder,
            encoder_weights=None,
            in_channels=architecture.in_channels,
            classes=architecture.classes,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        known = ", ".join(name for name in smp.encoders.get_encoder_names() if "net" in name and "-" not in name)
        raise ModelError(
            f"there is no network {architecture.arch} with encoder {architecture.encoder} ({error}); known: {known}"
        ) from error
    return network


def encoder_modules(network: nn.Module) -> tuple[nn.Module, ...]:
    """The parts of a network that make up its encoder; empty for a network that is not of :func:`build_network`."""
    from geounet.models.subpixel_unet import SubpixelUNet
    from geounet.models.unet import UNet

    plain = network.unet if isinstance(network, SubpixelUNet) else network
    if isinstance(plain, UNet):
        return plain.first, plain.contracting
    encoder = getattr(network, "encoder", None)
    return () if encoder is None else (encoder,)


def _own(architecture: Architecture) -> nn.Module:
    choices = {
        "arch": ("unet", "subpixel-unet"),
        "norm": ("batch", "group", "none"),
        "upsampling": ("transpose", "bilinear", "nearest"),
    }
    for name, known in choices.items():
        if getattr(architecture, name) not in known:
            hint = "; other architectures need an encoder" if name == "arch" else ""
            raise ModelError(f"{name} {getattr(architecture, name)!r} is not one of {', '.join(known)}{hint}")
    # A card is read without PyTorch, which takes its time.
    from geounet.models.subpixel_unet import SubpixelUNet
    from geounet.models.unet import UNet

    shape: dict[str, Any] = {
        name: getattr(architecture, name) for name in ("in_channels", "classes", "depth", "width", "norm", "upsampling")
    }
    return SubpixelUNet(factor=architecture.factor, **shape) if architecture.arch != "unet" else UNet(**shape)
