"""Random changes of training patches: image and label together, by kornia's geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np
import torch
from kornia.geometry.transform import get_affine_matrix2d

from geounet.errors import ModelError
from geounet.models.losses import IGNORE_INDEX
from geounet.training.resampling import resample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    Patch = tuple[Tensor, Tensor, Tensor | None]

_ALL_VALID = np.ones((0, 0), np.bool_)


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
    """Standard deviation of a pixel's noise (close to normal) at the most; half the patches have none."""
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
            images: (N, bands, H, W) float on the CPU, normalised, 0 where invalid.
            labels: (N, H, W) class indices, IGNORE_INDEX where unlabelled or invalid.
            generator: source of all randomness, on the CPU.
            valid: (N, H, W) bool; all pixels by default.

        Returns:
            Images (N, bands, H, W) float32 and labels (N, H, W) int64; where a pixel is not valid the image is 0 and
            the label IGNORE_INDEX.
        """
        masks = repeat(None) if valid is None else valid
        return self.changed(zip(images, labels, masks, strict=False), len(images), generator)

    def changed(
        self, patches: Iterable[Patch], count: int, generator: Generator, *, planes: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The same of patches one by one, each changed when it has just been made and is still at hand.

        Args:
            patches: image (bands, H, W), labels (H, W) and the valid mask (H, W) or None; all of one size.
            count: how many.
            generator: as above.
            planes: how many of the image's bands, the last ones, are no colours: flipped, rotated and scaled with the
                others, and of the values that they had.
        """
        patches = iter(patches)
        first = next(patches)
        bands, height, width = first[0].shape
        draws = self._draws(count, bands - planes, (height, width), generator, planes)
        images, labels = np.empty((count, bands, height, width), np.float32), np.empty((count, height, width), np.int64)
        for number, (image, codes, valid) in enumerate(chain([first], patches)):
            back, gains, offsets, strength, seed = (drawn[number] for drawn in draws)
            resample(
                np.ascontiguousarray(image, np.float32), np.ascontiguousarray(codes, np.int64), _partly(valid),
                back, gains, offsets, strength, bands - planes, seed, IGNORE_INDEX, images[number], labels[number],
            )  # fmt: skip
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _draws(
        self, count: int, bands: int, size: tuple[int, int], generator: Generator, planes: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Of each patch: where its pixels come from, each band's gain and offset, the noise's strength and seed."""
        matrices = self._matrices(count, size, generator)
        gain = 1 + self.jitter * torch.randn(count, bands, generator=generator)
        offset = self.jitter * torch.randn(count, bands, generator=generator)
        lost = torch.rand(count, 1, generator=generator) < (self.band_drop if bands > 1 else 0)
        which = torch.randint(bands, (count, 1), generator=generator)
        kept = ~(lost & (which == torch.arange(bands)))
        strength = self.noise * (2 * torch.rand(count, generator=generator) - 1)
        seeds = torch.randint(2**32, (count,), generator=generator)
        back = np.linalg.inv(matrices.double().numpy())[:, :2]
        gains = np.pad((gain * kept).numpy(), ((0, 0), (0, planes)), constant_values=1)
        offsets = np.pad((offset * kept).numpy(), ((0, 0), (0, planes)))
        return back, gains, offsets, strength.numpy(), seeds.numpy()

    def _matrices(self, count: int, size: tuple[int, int], generator: Generator) -> Tensor:
        """Where each patch's pixels go: (N, 3, 3), in pixels."""

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=generator)

        turned = uniform(0, 1) < self.affine_share
        angles = uniform(-self.rotation, self.rotation) * turned
        factors = uniform(math.log(self.scale[0]), math.log(self.scale[1])).mul(turned).exp()
        flips = 1 - 2 * torch.randint(2, (count, 2), generator=generator)
        middle = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2]).expand(count, 2)
        matrices: Tensor = get_affine_matrix2d(torch.zeros(count, 2), middle, factors[:, None] * flips, angles)
        return matrices


def _partly(valid: Tensor | None) -> NDArray[np.bool_]:
    """The mask where some pixels are not valid; an empty one else, which costs nothing."""
    mask = _ALL_VALID if valid is None else np.ascontiguousarray(valid, np.bool_)
    return _ALL_VALID if mask.all() else mask
