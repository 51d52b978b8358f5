"""Doubling by nearest neighbours and the convolution after it, as one convolution of the coarse pixels.

Of the nine products with which a 3 x 3 convolution looks at doubled pixels, five are products with a pixel that was
looked at before. Their weights are added up once, and each fine pixel is a 2 x 2 convolution of coarse ones: four
ninths of the work, and the doubled pixels are never laid out in memory. All four fine pixels of a coarse one come from
one convolution and are shuffled into place (https://arxiv.org/abs/1609.05158).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import conv2d, pixel_shuffle
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from torch import Tensor


class DoublingConvolution(nn.Module):
    """Coarse features doubled, joined with fine ones, convolved, normalised and rectified; without a padded pixel.

    Args:
        convolution: 3 x 3, of coarse and fine channels in this order.
        norm: applied after it: batch normalisation in eval mode, or none.
        coarse: the number of coarse channels.
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.Module, coarse: int) -> None:
        super().__init__()
        weight, bias = _normalised(convolution, norm)
        self.coarse = nn.Parameter(_folded(weight[:, :coarse]), requires_grad=False)
        self.fine = nn.Parameter(weight[:, coarse:].clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)

    def forward(self, coarse: Tensor, fine: Tensor | None) -> Tensor:
        """`coarse` (N, C, H, W) and `fine` (N, D, 2 H, 2 W), if there is any, to (N, E, 2 H - 2, 2 W - 2)."""
        if fine is None or not self.fine.shape[1]:
            # Rectified before it is shuffled, so that runtimes make one operation of it and the convolution.
            return pixel_shuffle(conv2d(coarse, self.coarse, self.bias.repeat_interleave(4)).relu(), 2)
        return (conv2d(fine, self.fine, self.bias) + pixel_shuffle(conv2d(coarse, self.coarse), 2)).relu()


def can_double(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether a convolution and what normalises it can be part of a :class:`DoublingConvolution`."""
    return (
        isinstance(convolution, nn.Conv2d)
        and convolution.kernel_size == (3, 3)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and isinstance(norm, nn.BatchNorm2d | nn.Identity)
    )


def _normalised(convolution: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution together with what normalises it."""
    bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias
    weight = convolution.weight
    if isinstance(norm, nn.BatchNorm2d):
        mean, variance = norm.running_mean, norm.running_var
        weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, norm.weight, norm.bias)  # type: ignore[arg-type]
    return weight.detach(), bias.detach()


def _folded(weight: Tensor) -> Tensor:
    """Weights (E, C, 3, 3) on doubled pixels to (4 E, C, 2, 2) on coarse ones, four fine pixels for each E."""
    phases = [phase for rows in _phases(weight, 2) for phase in _phases(rows, 3)]
    return torch.stack(phases, 1).flatten(0, 1)


def _phases(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three weights along an axis as two, for the last fine pixel of a coarse one and for the first of the next."""
    first, middle, last = weight.unbind(dim)
    return torch.stack((first + middle, last), dim), torch.stack((first, middle + last), dim)
