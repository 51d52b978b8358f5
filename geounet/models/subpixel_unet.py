"""A UNet on a coarser grid than the image's, for maps: neighbouring pixels are alike, so most of the work is saved.

Space to depth and back (https://arxiv.org/abs/1609.05158, https://pytorch.org/docs/stable/nn.functional.html): the
pixels of a cell of 2 x 2 or 4 x 4 become channels, a UNet works on the grid of cells, and its logits for each pixel of
a cell are shuffled into place. No pixel is averaged away on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from geounet.errors import ModelError
from geounet.models.unet import UNet

if TYPE_CHECKING:
    from torch import Tensor

    from geounet.models.unet import Norm, Upsampling


class SubpixelUNet(nn.Module):
    """Images to class logits of the same size, by a UNet on a coarser grid.

    Args:
        in_channels: bands of the image.
        classes: number of classes.
        factor: side in pixels of a cell of the grid, at least 2; the total stride is factor * 2 ** depth.
        depth: poolings of the UNet.
        width: channels of its first level.
        norm: see :class:`geounet.models.unet.UNet`.
        upsampling: likewise.

    Raises:
        ModelError: a factor below 2, or a depth or width below 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        factor: int = 2,
        depth: int = 3,
        width: int = 16,
        norm: Norm = "batch",
        upsampling: Upsampling = "transpose",
    ) -> None:
        if factor < 2:  # noqa: PLR2004
            raise ModelError(f"a cell is 2 or more pixels a side; given {factor}")
        super().__init__()
        cell = factor**2
        self.factor = factor
        self.unet = UNet(in_channels * cell, classes * cell, depth, width, norm, upsampling)
        self.stride = factor * self.unet.stride
        self._begin_smooth()

    def _begin_smooth(self) -> None:
        """Let all pixels of a cell begin with one answer (ICNR, https://arxiv.org/abs/1707.02937).

        Else a class of which the network is not sure is found on one pixel of each cell, and not on its neighbours.
        """
        cell = self.factor**2
        for part in (self.unet.head.weight, self.unet.head.bias):
            if part is not None:
                part.data = part.data[::cell].repeat_interleave(cell, dim=0).contiguous()

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) to logits (N, classes, H, W).

        Raises:
            ModelError: H or W is no multiple of the stride.
        """
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ModelError(f"windows of {height} x {width} pixels are no multiple of the stride {self.stride}")
        return pixel_shuffle(self.unet(pixel_unshuffle(images, self.factor)), self.factor)
