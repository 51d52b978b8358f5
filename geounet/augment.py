"""Random changes of a training batch: image and label together, on the tensors (kornia underneath)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from kornia.augmentation import AugmentationSequential, RandomAffine, RandomHorizontalFlip, RandomVerticalFlip
from kornia.constants import DataKey

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Augment:
    """Flips, rotation by any angle, scaling, and radiometric jitter.

    What rotation and scaling bring in from outside the patch is its mirror image, labels alike.

    Args:
        scale: smallest and largest factor of size.
        affine_share: share of the patches that are rotated and scaled.
        jitter: standard deviation of a band's random gain and offset, in standard deviations of the band.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.75, 1.33), affine_share: float = 0.75, jitter: float = 0.1
    ) -> None:
        self.jitter = jitter
        self.geometry = AugmentationSequential(
            RandomHorizontalFlip(p=0.5),
            RandomVerticalFlip(p=0.5),
            RandomAffine(degrees=180.0, scale=scale, padding_mode="reflection", p=affine_share),
            data_keys=[DataKey.INPUT, DataKey.MASK],
            extra_args={DataKey.MASK: {"resample": "nearest", "align_corners": None}},
        )

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Images (N, bands, H, W) and labels (N, H, W), changed alike; labels keep their values."""
        # kornia draws from the global generator: seeded from ours here, so that a seed gives the same patches.
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            turned, masks = self.geometry(images, labels.unsqueeze(1).float())
        shape = (*images.shape[:2], 1, 1)
        gain = 1 + self.jitter * torch.randn(shape, generator=generator)
        offset = self.jitter * torch.randn(shape, generator=generator)
        return turned * gain.to(images) + offset.to(images), masks.squeeze(1).round().long()
