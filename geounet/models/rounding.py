"""Weights that bfloat16 holds exactly, so that a network computes nearly the same in it as in float32.

Of what bfloat16 changes in a trained network of ours most comes from rounding weights, not from rounding what flows
between layers. Runtimes multiply a batch normalisation into the convolution before it, and round the product: so that
product is made here, and rounded, and the normalisation is left with what becomes of it then.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import nn

from geounet.models.subpixel_unet import SubpixelUNet
from geounet.models.unet import UNet


def rounded(network: nn.Module) -> nn.Module:
    """A copy of a network of ours whose convolutions have weights of bfloat16, held in float32; others as they are.

    In training mode it learns on as the network would: each normalisation keeps its scale and shift.
    """
    if not isinstance(network, UNet | SubpixelUNet):
        return network
    copy = deepcopy(network)
    for module in copy.modules():
        children = list(module.children()) if isinstance(module, nn.Sequential) else []
        for convolution, norm in pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _take_scale(convolution, norm)
    for module in copy.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.bfloat16().float()
    return copy


@torch.no_grad()
def _take_scale(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution its normalisation's scale, so that in eval mode that does nothing but add."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or convolution.bias is not None:
        return
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    convolution.weight.mul_(scale[:, None, None, None])
    mean.mul_(scale)
    # Of what has this scale now: gamma squared. Where that is next to nothing, epsilon stands for it.
    variance.copy_((norm.weight.square() - norm.eps).clamp(min=0))
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
