"""What the loop is fed with: random patches that a recipe draws and changes, and the validation scenes in tiles."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.data.sampling import HaloGridGeoSampler, RandomPatchGeoSampler, SceneDataset
from geounet.data.training_data import class_shares
from geounet.grid import Grid, round_up
from geounet.training.loading import EpochBatches, GapWeights, loading_workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.data.labels import Pair
    from geounet.data.statistics import Statistics
    from geounet.models.model_file import Band
    from geounet.training.recipe import Recipe

_log = logging.getLogger(__name__)
_KEEP_BYTES = 2**30
_VALIDATION_CORE = 512
_VALIDATION_HALO = 64


def dataset_of(pairs: Sequence[Pair], bands: Sequence[Band], classes: Sequence[LandClass]) -> SceneDataset:
    """Pairs as a torchgeo dataset of normalised images and class indices, in memory where they are not large."""
    size = sum(pair.extent.pixels * (np.dtype(pair.image.dtype).itemsize * len(pair.image.bands) + 2) for pair in pairs)
    return SceneDataset(
        pairs,
        [band.mean for band in bands],
        [band.std for band in bands],
        [item.value for item in classes],
        keep=size <= _KEEP_BYTES,
    )


def training_batches(
    dataset: SceneDataset,
    recipe: Recipe,
    statistics: Statistics,
    classes: Sequence[LandClass],
    device: torch.device,
    *,
    taught: Any = None,
) -> EpochBatches:
    """Random patches of a dataset, drawn, changed and weighed as a recipe says.

    Args:
        dataset: what patches are drawn from.
        recipe: how.
        statistics: of the dataset's items.
        classes: the class table.
        device: where the network is trained.
        taught: the same dataset with soft labels, see :class:`geounet.data.taught.TaughtDataset`; None for none.
    """
    area = sum(region.pixels for region in dataset.regions)
    covering = 2 * area // recipe.patch_size**2
    length = recipe.patches or round_up(min(512, max(128, covering)), recipe.batch_size)
    batch = _batch_size(length, recipe.batch_size)
    generator = torch.Generator()
    sampler = RandomPatchGeoSampler(
        dataset,
        recipe.patch_size,
        length,
        generator,
        coverages=statistics.coverages,
        least=recipe.min_labelled,
        shares=class_shares(recipe.balance, statistics.counts, classes),
    )
    gaps = GapWeights(len(classes), recipe.boundary_weight, recipe.boundary_sigma)
    return EpochBatches(
        dataset if taught is None else taught,
        sampler,
        generator,
        batch_size=batch,
        seed=recipe.seed,
        augment=recipe.augment,
        weigh=gaps if recipe.boundary_weight else None,
        workers=loading_workers(device) if recipe.loader_workers is None else recipe.loader_workers,
    )


def _batch_size(patches: int, wanted: int) -> int:
    """Patches a step; what an epoch's patches do not fill is said."""
    if patches < wanted:
        _log.warning("an epoch has %d patches, fewer than a batch of %d: the batch is as small", patches, wanted)
        return patches
    if patches % wanted:
        _log.warning(
            "an epoch's %d patches make %d batches of %d; %d patches of each epoch are left out",
            patches, patches // wanted, wanted, patches % wanted,
        )  # fmt: skip
    return wanted


class ValidationBatches:
    """The validation scenes, tiled: one window a batch, of which the core counts."""

    def __init__(self, dataset: SceneDataset, stride: int) -> None:
        self.dataset, self.stride = dataset, stride

    def __iter__(self) -> Iterator[dict[str, Any]]:
        halo = round_up(_VALIDATION_HALO, self.stride)
        for item, region in enumerate(self.dataset.regions):
            core = min(_VALIDATION_CORE, max(region.height, region.width))
            core = round_up(core, self.stride)
            tiles = tuple(Grid(region, core, core, halo, self.stride).tiles())
            for tile, query in zip(tiles, HaloGridGeoSampler(self.dataset, tiles, item), strict=True):
                sample = self.dataset[query]
                batch = {name: tensor[None] for name, tensor in sample.items()}
                yield {**batch, "core": tile.core.within(tile.window)}


def first_patches(batches: Iterable[dict[str, Any]], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images and labels of so many patches, or of an epoch if it has fewer."""
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for batch in batches:
        images += [*batch["image"].numpy()]
        labels += [*batch["mask"].numpy()]
        if len(images) >= count:
            break
    return np.stack(images[:count]), np.stack(labels[:count])
