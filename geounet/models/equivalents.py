"""Layers of networks in other forms, with the same products: those that runtimes do better."""

from __future__ import annotations

import torch
from torch import nn


def strided(convolution: nn.Conv2d, factor: int) -> nn.Conv2d:
    """A convolution of an image that is shuffled into cells, as one of the image itself, a stride a cell.

    The same products, but the image is never laid out anew: `convolution(pixel_unshuffle(images, factor))`.

    Args:
        convolution: 3 x 3, padded by one cell, of bands x cell channels.
        factor: side in pixels of a cell.
    """
    outputs, inputs, size, _ = convolution.weight.shape
    bands = inputs // factor**2
    result = nn.Conv2d(
        bands, outputs, size * factor, factor, factor * (size // 2), bias=convolution.bias is not None
    ).requires_grad_(False)
    apart = convolution.weight.detach().reshape(outputs, bands, factor, factor, size, size)
    together = torch.movedim(apart, (4, 2, 5, 3), (2, 3, 4, 5))
    result.weight.data = together.reshape(outputs, bands, size * factor, size * factor).clone()
    if convolution.bias is not None and result.bias is not None:
        result.bias.data = convolution.bias.detach().clone()
    return result


def transposed(convolution: nn.Conv2d) -> nn.ConvTranspose2d:
    """A 1 x 1 convolution as a transposed one.

    Where OpenVINO computes in bfloat16, what follows the last convolution stays in float32, and a transposed one counts
    as what follows: so logits are not rounded, and two that are nearly equal keep their order.
    """
    inputs, outputs = convolution.in_channels, convolution.out_channels
    result = nn.ConvTranspose2d(inputs, outputs, 1, bias=convolution.bias is not None).requires_grad_(False)
    result.weight.data = convolution.weight.detach().transpose(0, 1).clone()
    if convolution.bias is not None and result.bias is not None:
        result.bias.data = convolution.bias.detach().clone()
    return result
