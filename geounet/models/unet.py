"""The classic UNet of Ronneberger, Fischer and Brox 2015 (https://arxiv.org/abs/1505.04597), with same padding."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from geounet.errors import ModelError

Norm = Literal["batch", "group", "none"]
Upsampling = Literal["transpose", "bilinear", "nearest"]


class DoubleConvolution(nn.Sequential):
    """Two 3 x 3 convolutions, each with normalisation and ReLU; height and width stay."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=norm == "none"),
                _normalisation(out_channels, norm),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Expansion(nn.Module):
    """One step of the expanding path: double the size, halve the channels, join the skip connection, convolve."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, upsampling: Upsampling) -> None:
        super().__init__()
        self.up = _upsampling(in_channels, out_channels, upsampling)
        self.convolve = DoubleConvolution(2 * out_channels, out_channels, norm)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """`deep` (N, in, H, W) and `skip` (N, out, 2H, 2W) to (N, out, 2H, 2W)."""
        joined: Tensor = self.convolve(torch.cat((skip, self.up(deep)), dim=1))
        return joined


class UNet(nn.Module):
    """Images to class logits of the same size.

    Args:
        in_channels: bands of the image.
        classes: number of classes.
        depth: poolings of the contracting path, at least 1; the total stride is 2 ** depth.
        width: channels of the first level, doubled at each level.
        norm: normalisation after each convolution. `group` depends on the whole window, so tiling then shows.
        upsampling: transposed convolution as in the paper, or interpolation followed by a 1 x 1 convolution.

    Raises:
        ModelError: depth or width below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        depth: int = 4,
        width: int = 32,
        norm: Norm = "batch",
        upsampling: Upsampling = "transpose",
    ) -> None:
        if depth < 1 or width < 1:
            raise ModelError(f"a UNet needs a depth and a width of at least 1; given {depth} and {width}")
        super().__init__()
        self.stride = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.first = DoubleConvolution(in_channels, width, norm)
        self.pool = nn.MaxPool2d(2)
        self.contracting = nn.ModuleList(DoubleConvolution(upper, lower, norm) for upper, lower in pairs)
        self.expanding = nn.ModuleList(Expansion(lower, upper, norm, upsampling) for upper, lower in reversed(pairs))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to logits (N, classes, H, W).

        Raises:
            ModelError: H or W is no multiple of the stride.
        """
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ModelError(f"windows of {height} x {width} pixels are no multiple of the stride {self.stride}")
        skips = self.encode(images)
        deep = skips.pop()
        for level in self.expanding:
            deep = level(deep, skips.pop())
        logits: Tensor = self.head(deep)
        return logits

    def encode(self, images: Tensor, first: nn.Module | None = None) -> list[Tensor]:
        """The contracting path, with its own first level or another: the features of each level, finest first."""
        features = [(first or self.first)(images)]
        for level in self.contracting:
            features.append(level(self.pool(features[-1])))
        return features


def _normalisation(channels: int, norm: Norm) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    return nn.Identity()


def _upsampling(in_channels: int, out_channels: int, kind: Upsampling) -> nn.Module:
    if kind == "transpose":
        return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    # Pixel-centred interpolation commutes with shifts by the stride; align_corners would not.
    up = nn.Upsample(scale_factor=2, mode=kind, align_corners=False if kind == "bilinear" else None)
    return nn.Sequential(up, nn.Conv2d(in_channels, out_channels, 1))
