"""Networks by name: our own UNet, or a segmentation-models-pytorch network around an encoder."""

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
    """`unet`; with an encoder also what smp.create_model knows (`unetplusplus`, `fpn`, ...)."""
    encoder: str | None = None
    """Name of an smp encoder (`resnet18`, ...); None for the classic UNet."""
    depth: int = 4
    """Poolings of the classic UNet."""
    width: int = 32
    """Channels of the classic UNet's first level."""
    norm: str = "batch"
    """Normalisation of the classic UNet: batch, group or none."""
    upsampling: str = "transpose"
    """Upsampling of the classic UNet: transpose, bilinear or nearest."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def build_network(architecture: Architecture) -> nn.Module:
    """A network with random weights: images (N, bands, H, W) to logits (N, classes, H, W).

    Raises:
        ModelError: there is no such architecture or encoder.
    """
    if architecture.encoder is None:
        return _classic(architecture)
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
    from geounet.models.unet import UNet

    if isinstance(network, UNet):
        return network.first, network.contracting
    encoder = getattr(network, "encoder", None)
    return () if encoder is None else (encoder,)


def _classic(architecture: Architecture) -> nn.Module:
    choices = {
        "arch": ("unet",),
        "norm": ("batch", "group", "none"),
        "upsampling": ("transpose", "bilinear", "nearest"),
    }
    for name, known in choices.items():
        if getattr(architecture, name) not in known:
            hint = "; other architectures need an encoder" if name == "arch" else ""
            raise ModelError(f"{name} {getattr(architecture, name)!r} is not one of {', '.join(known)}{hint}")
    # A card is read without PyTorch, which takes its time.
    from geounet.models.unet import UNet

    return UNet(
        architecture.in_channels,
        architecture.classes,
        architecture.depth,
        architecture.width,
        architecture.norm,  # type: ignore[arg-type]  # checked above
        architecture.upsampling,  # type: ignore[arg-type]
    )
