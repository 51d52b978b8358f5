"""Random changes of a training batch: image and label together, on the tensors (kornia underneath)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from kornia.geometry.conversions import convert_affinematrix_to_homography, normalize_homography
from kornia.geometry.transform import get_affine_matrix2d
from torch.nn import functional

from geounet.errors import ModelError
from geounet.models.losses import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Generator, Tensor

_WHOLLY = 0.999
"""Share of a resampled pixel that valid ones must make up: all of it, up to rounding."""


@dataclass(frozen=True, slots=True)
class Augment:
    """Flips, rotation by any angle, scaling, radiometric jitter, noise and band drop.

    One resampling carries out flip, rotation and scale. What they bring in from outside the patch is its mirror image,
    label alike. What is invalid stays so, and so does a pixel into which an invalid one is mixed. Radiometric amounts
    are in standard deviations of the band, since that is what a normalised image is in.
    """

    rotation: float = 180.0
    """Largest angle, in degrees, to either side."""
    scale: tuple[float, float] = (0.75, 1.33)
    """Smallest and largest factor of size; each is as likely as its inverse."""
    affine_share: float = 0.75
    """Share of the patches that are rotated and scaled; flips come to all of them."""
    jitter: float = 0.1
    """Standard deviation of a band's random gain (about 1) and offset (about 0)."""
    noise: float = 0.05
    """Standard deviation of a pixel's noise at the most; half the patches have none, the others up to that."""
    band_drop: float = 0.0
    """Share of the patches of which one band is lost, which then is 0, its mean; an only band is never lost."""

    def __post_init__(self) -> None:
        small, large = self.scale
        shares = self.affine_share, self.band_drop
        if not (0 < small <= large < math.inf and all(0 <= share <= 1 for share in shares)):
            raise ModelError(
                f"augmentation by a scale of {small} to {large}, a share of {self.affine_share} rotated and "
                f"{self.band_drop} without a band: scales are positive and in their order, shares 0 to 1"
            )
        if not (0 <= self.jitter < math.inf and 0 <= self.noise < math.inf and 0 <= self.rotation <= 180):  # noqa: PLR2004
            raise ModelError(
                f"augmentation by a jitter of {self.jitter}, noise of {self.noise}, rotation of {self.rotation}: "
                "none is negative, and no angle above 180 degrees"
            )

    def __call__(
        self, images: Tensor, labels: Tensor, generator: Generator, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images and labels changed alike; labels keep their values.

        Args:
            images: (N, bands, H, W) float, normalised, 0 where invalid.
            labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled or invalid.
            generator: source of all randomness, on the CPU.
            valid: (N, H, W) bool; all pixels by default.

        Returns:
            Images and labels as they were given; where a pixel is not valid the image is 0 and the label
            IGNORE_INDEX.
        """
        matrices = self._matrices(images, generator)
        valid = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
        some_invalid = not bool(valid.all())
        places = _places(matrices, int(images.shape[2]), int(images.shape[3]))
        turned = _resampled(_with(images, valid) if some_invalid else images, places, "bilinear")
        masks = _resampled(labels.unsqueeze(1).to(images), places, "nearest").squeeze(1).long()
        if not some_invalid:
            return self._radiometry(turned, generator), masks
        kept = turned[:, -1] > _WHOLLY
        changed = self._radiometry(turned[:, :-1], generator)
        return changed * kept.unsqueeze(1), masks.where(kept, IGNORE_INDEX)

    def _matrices(self, images: Tensor, generator: Generator) -> Tensor:
        """Where each patch's pixels go: (N, 2, 3), in pixels."""
        count, (height, width) = len(images), images.shape[2:]

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=generator)

        turned = uniform(0, 1) < self.affine_share
        angles = uniform(-self.rotation, self.rotation) * turned
        factors = uniform(math.log(self.scale[0]), math.log(self.scale[1])).mul(turned).exp()
        flips = 1 - 2 * torch.randint(2, (count, 2), generator=generator)
        middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(count, 2)
        matrices = get_affine_matrix2d(torch.zeros(count, 2), middle, factors[:, None] * flips, angles)
        placed: Tensor = matrices[:, :2].to(images)
        return placed

    def _radiometry(self, images: Tensor, generator: Generator) -> Tensor:
        """Noise, gain and offset, in place: what comes from resampling is ours."""
        count, bands = images.shape[:2]
        shape = (count, bands, 1, 1)
        gain = 1 + self.jitter * torch.randn(shape, generator=generator)
        offset = self.jitter * torch.randn(shape, generator=generator)
        lost = torch.rand(count, 1, generator=generator) < (self.band_drop if bands > 1 else 0)
        which = torch.randint(bands, (count, 1), generator=generator)
        kept = 1 - (lost & (which == torch.arange(bands))).float()[:, :, None, None]
        noisy = self._noisy(images, generator)
        return noisy.mul_((gain * kept).to(images)).add_((offset * kept).to(images))

    def _noisy(self, images: Tensor, generator: Generator) -> Tensor:
        strength = self.noise * (2 * torch.rand(len(images), generator=generator) - 1)
        chosen = (strength > 0).nonzero().squeeze(1)
        if not len(chosen):
            return images
        grain = torch.randn((len(chosen), *images.shape[1:]), generator=generator)
        grain *= strength[chosen, None, None, None]
        return images.index_add_(0, chosen.to(images.device), grain.to(images))


def _with(images: Tensor, valid: Tensor) -> Tensor:
    """The valid mask as one more band, so that it is resampled as the images are."""
    return torch.cat([images, valid.unsqueeze(1).to(images)], dim=1)  # (N, bands + 1, H, W)


def _places(matrices: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel comes from: (N, H, W, 2) in -1 to 1, for image and label alike.

    As in kornia's `warp_affine`, which works it out anew for each of them and takes most of its time for that.
    """
    size = (height, width)
    moved = normalize_homography(convert_affinematrix_to_homography(matrices), size, size)
    back = torch.linalg.inv(moved)[:, :2, None]  # (N, 2, 1, 3)
    across = torch.linspace(-1, 1, width, device=matrices.device, dtype=matrices.dtype)
    down = torch.linspace(-1, 1, height, device=matrices.device, dtype=matrices.dtype)
    by_col = back[..., 0] * across + back[..., 2]  # (N, 2, W)
    by_row = back[..., 1] * down  # (N, 2, H)
    places = torch.empty(len(matrices), height, width, 2, device=matrices.device, dtype=matrices.dtype)
    for axis in (0, 1):
        torch.add(by_col[:, axis, None, :], by_row[:, axis, :, None], out=places[..., axis])
    return places


def _resampled(images: Tensor, places: Tensor, mode: str) -> Tensor:
    """Beyond the edge mirrored about the outermost pixels, as scenes are."""
    return functional.grid_sample(images, places, mode=mode, padding_mode="reflection", align_corners=True)
