"""Valid cropping: each level of the decoder computes only what a window's core needs.

The overlap-tile strategy of the UNet paper (https://arxiv.org/abs/1505.04597, fig. 2), for networks with same padding:
a halo is there for the encoder, whose deep layers look far; the decoder, which does most of the work, looks only a few
pixels further than the core. Each level is cropped to the core and the few pixels that the levels above it look beyond
it, so what padding spoils is cropped away at the next level, and the core's logits are those of the whole window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.functional import conv2d, pixel_shuffle

from geounet.models.equivalents import strided, transposed
from geounet.models.subpixel import DoublingConvolution, can_double
from geounet.models.subpixel_unet import SubpixelUNet
from geounet.models.unet import UNet

if TYPE_CHECKING:
    from torch import Tensor

_MARGIN = 3
"""Pixels of a level that are kept around the core for the level above it: two 3 x 3 convolutions there look one of them
beyond it, interpolation one more, and the head another."""

_VALID_MARGIN = 2
"""The same where nothing is padded: doubled, it loses one pixel to each of two convolutions, and is two again."""


class Cropped(nn.Module):
    """A network that gives the core of its window only.

    Args:
        network: images (1, bands, H, W) to logits (1, classes, H, W), in eval mode.
        halo: pixels around the core, a multiple of the network's stride.
    """

    def __init__(self, network: nn.Module, halo: int) -> None:
        super().__init__()
        self.network, self.halo = network, halo
        own = _is_plain_unet(network)
        self.early = own or _is_plain_smp_unet(network)
        self.doubling = _doubling(network, halo) if self.early and not own else None
        self.factor: int = network.factor if isinstance(network, SubpixelUNet) and own else 1
        """Side in pixels of the cells in which logits come, see :meth:`by_cell`."""
        ends = _ends(network) if own else (None, None)
        self.first: nn.Module | None = ends[0]
        self.head: nn.Module | None = ends[1]

    def forward(self, image: Tensor) -> Tensor:
        """(1, bands, H, W) to logits (1, classes, H - 2 halo, W - 2 halo)."""
        logits = self._run(image)
        return pixel_shuffle(logits, self.factor) if self.factor > 1 else logits

    def by_cell(self, image: Tensor) -> Tensor:
        """(1, bands, H, W) to logits (classes, pixels of a cell, rows of cells, columns of cells) of the core.

        Where the network works pixel by pixel, a cell is a pixel.
        """
        logits = self._run(image)[0]
        return logits.reshape(-1, self.factor**2, *logits.shape[1:])

    def _run(self, image: Tensor) -> Tensor:
        if not self.early:
            return crop(self.network(image), self.halo)
        if self.first is not None and self.head is not None:
            return _run_unet(_plain(self.network), self.first, self.head, image, self.halo // self.factor)
        if self.doubling is not None:
            return _run_without_padding(self.network, self.doubling, image, self.halo)
        return _run_smp_unet(self.network, image, self.halo)


def crop(features: Tensor, pixels: int) -> Tensor:
    """(..., H, W) to (..., H - 2 pixels, W - 2 pixels)."""
    # Counted from the end, so that tracing does not take the traced window's size for every window's.
    stop = -pixels or None
    return features[..., pixels:stop, pixels:stop]


def _is_plain_unet(network: nn.Module) -> bool:
    plain = _plain(network)
    return isinstance(plain, UNet) and _looks_near(plain.expanding)


def _looks_near(decoder: nn.Module) -> bool:
    """Whether no layer takes a mean over its whole input, which cropping would change."""
    far = nn.GroupNorm | nn.InstanceNorm2d | nn.LayerNorm | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d
    return not any(isinstance(layer, far) for layer in decoder.modules())


def _is_plain_smp_unet(network: nn.Module) -> bool:
    """Whether it is smp's UNet, no layer of its decoder looks further, and features halve from level to level."""
    # Heavy, and not needed for our own network.
    import segmentation_models_pytorch as smp

    if not isinstance(network, smp.Unet) or network.classification_head is not None:
        return False
    blocks = network.decoder.blocks
    plain = all(
        block.interpolation_mode in ("nearest", "bilinear") and isinstance(block.attention1.attention, nn.Identity)
        for block in blocks
    )
    levels = len(network.encoder.out_channels) - 1
    halved = len(blocks) == levels and network.encoder.output_stride == 2**levels
    return plain and halved and _looks_near(network.decoder)


def _plain(network: nn.Module) -> Any:
    """The UNet that works on pixels or on cells."""
    return network.unet if isinstance(network, SubpixelUNet) else network


def _ends(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The first level of its UNet, looking at the image itself, and the head, in the forms that runtimes do best."""
    plain = _plain(network)
    first = plain.first
    if isinstance(network, SubpixelUNet):
        convolution, *then = first
        first = nn.Sequential(strided(convolution, network.factor), *then)
    return first, transposed(plain.head)


def _run_unet(network: UNet, first: nn.Module, head: nn.Module, image: Tensor, halo: int) -> Tensor:
    skips = network.encode(image, first)
    stride = network.stride
    deep, kept = _trimmed(skips.pop(), halo // stride)
    for level in network.expanding:
        stride //= 2
        deep = level(deep, crop(skips.pop(), halo // stride - 2 * kept))
        deep, kept = _trimmed(deep, 2 * kept)
    logits: Tensor = head(crop(deep, kept))
    return logits


def _run_smp_unet(network: Any, image: Tensor, halo: int) -> Tensor:
    features = network.encoder(image)[1:]
    stride = 2 ** len(features)
    deep, kept = _trimmed(network.decoder.center(features.pop()), halo // stride)
    for block in network.decoder.blocks:
        stride //= 2
        skip = crop(features.pop(), halo // stride - 2 * kept) if features else None
        deep = block(deep, 2 * deep.shape[-2], 2 * deep.shape[-1], skip_connection=skip)
        deep, kept = _trimmed(deep, 2 * kept)
    logits: Tensor = network.segmentation_head(deep)
    return crop(logits, kept)


def _doubling(network: Any, halo: int) -> nn.ModuleList | None:
    """The first half of each of the decoder's blocks with fewer products, or None where one is not made for that."""
    blocks = network.decoder.blocks
    if halo < _VALID_MARGIN * network.encoder.output_stride or not all(
        block.interpolation_mode == "nearest" and can_double(block.conv1[0], block.conv1[1]) for block in blocks
    ):
        return None
    coarse = [network.encoder.out_channels[-1], *(block.conv2[0].out_channels for block in blocks)]
    return nn.ModuleList(
        DoublingConvolution(block.conv1[0], block.conv1[1], channels)
        for block, channels in zip(blocks, coarse, strict=False)
    )


def _run_without_padding(network: Any, doubling: nn.ModuleList, image: Tensor, halo: int) -> Tensor:
    features = network.encoder(image)[1:]
    stride = 2 ** len(features)
    deep = crop(network.decoder.center(features.pop()), halo // stride - _VALID_MARGIN)
    for double, block in zip(doubling, network.decoder.blocks, strict=True):
        stride //= 2
        skip = crop(features.pop(), halo // stride - 2 * _VALID_MARGIN) if features else None
        convolution, *then = block.conv2
        deep = conv2d(double(deep, skip), convolution.weight, convolution.bias)
        for layer in then:
            deep = layer(deep)
    logits: Tensor = network.segmentation_head(deep)
    return crop(logits, _VALID_MARGIN)


def _trimmed(features: Tensor, margin: int) -> tuple[Tensor, int]:
    """Features with at most so many pixels around the core as the next level needs, and how many those are."""
    kept = min(margin, _MARGIN)
    return crop(features, margin - kept), kept
