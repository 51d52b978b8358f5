"""Images and labels to a model file: the training counterpart of segment.py."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from geounet.augment import Augment
from geounet.devices import pick_device, pick_training_precision
from geounet.grid import Grid, round_up
from geounet.models.encoders import Architecture, build_network
from geounet.models.exchange import declared_stride
from geounet.models.losses import LOSSES
from geounet.models.model_file import ModelCard, save_model
from geounet.models.receptive_field import probe_receptive_field
from geounet.outputs import check_output
from geounet.pairing import list_rasters, pair_labels
from geounet.placement import pixel_size
from geounet.sampling import HaloGridGeoSampler, RandomPatchGeoSampler, SceneDataset
from geounet.statistics import choose_classes, class_weights, collect
from geounet.training import EpochResult, Schedule, fit
from geounet.training_data import check_leaks, class_shares, label_of, split_pairs, teaching, tell_absent, tell_alpha

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.geodatasets import DatasetSource
    from geounet.labels import Pair
    from geounet.statistics import Statistics

    Report = Callable[[EpochResult, bool], None]

_KEEP_BYTES = 2**30
_VALIDATION_CORE = 512
_VALIDATION_HALO = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    arch: str = "unet"
    """See :class:`geounet.models.encoders.Architecture`."""
    encoder: str | None = None
    """Name of an smp encoder; None for the classic UNet."""
    depth: int = 4
    """Of the classic UNet."""
    width: int = 32
    """Of the classic UNet."""
    norm: str = "batch"
    """Of the classic UNet."""
    upsampling: str = "transpose"
    """Of the classic UNet."""
    loss: str = "ce+dice"
    """Name of a loss."""
    patch_size: int = 256
    """Height and width of a training patch, in pixels."""
    batch_size: int = 8
    """Patches a step."""
    patches: int | None = None
    """Patches an epoch; by default about twice what covers the training images, 128 to 512."""
    balance: str = "none"
    """How patches are drawn for classes; see :func:`geounet.training_data.class_shares`."""
    min_labelled: float = 0.0
    """Share of a patch that must be valid and labelled, 0 to 1; 0 for a pixel at least."""
    normalization: str = "moments"
    """`moments`: by mean and standard deviation of valid pixels; `percentiles`: by median and percentiles."""
    val_fraction: float | None = None
    """Share of the images' pixels that is held back, by place, and chooses the best epoch."""
    allow_overlap: bool = False
    """Whether validation may share ground or pixels with training."""
    augment: bool = True
    """Whether patches are flipped, rotated, scaled and jittered."""
    device: str = "auto"
    """Where to train."""
    precision: str = "auto"
    """Arithmetic of the forward pass."""
    seed: int = 0
    """Of weights, patches and augmentation."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where images and labels are, and how to read them."""

    images: tuple[Path | str, ...]
    """Files, folders, patterns, lists (.txt), URLs and STAC items."""
    labels: tuple[Path | str, ...]
    """Likewise: rasters or polygon files."""
    bands: tuple[int | str, ...] | None = None
    """Bands to read, by numbers from 1 or by names."""
    label_field: str | None = None
    """The polygons' field with the class."""
    background: int = 255
    """The code outside all polygons; 255 leaves it out."""
    all_touched: bool = False
    """Polygons label every pixel that they touch, not only those whose centre they hold."""

    def pairs(self, classes: Sequence[LandClass]) -> tuple[Pair, ...]:
        """Images joined with their labels; see :func:`geounet.pairing.pair_labels`."""
        return pair_labels(
            list_rasters(self.images),
            list_rasters(self.labels),
            bands=self.bands,
            classes=classes,
            label_field=self.label_field,
            background=self.background,
            all_touched=self.all_touched,
        )


def train(
    source: Source | DatasetSource,
    out: Path,
    *,
    recipe: Recipe,
    schedule: Schedule,
    validation: Source | DatasetSource | None = None,
    classes: Sequence[LandClass] = (),
    command: str = "",
    overwrite: bool = False,
    report: Report = lambda _result, _best: None,
) -> ModelCard:
    """Train a network and write the model file of its best epoch (the last one without validation).

    The file is written whenever an epoch is better than all before, so an interruption loses one epoch.

    Args:
        source: training images and labels, files or a torchgeo dataset.
        out: the model file.
        recipe: what to train and how.
        schedule: how long and how fast.
        validation: images and labels that choose the best epoch.
        classes: the class table; without one the values found in the labels.
        command: what the model file names as its origin.
        overwrite: whether an existing model file is replaced.
        report: called after each epoch, with whether it is the best so far.

    Raises:
        GeounetError: inputs that cannot be used, or an output that cannot be written; the sentence says which.
    """
    check_output(out, overwrite)
    device = pick_device(recipe.device)
    pairs, checks = _sides(source, validation, classes, recipe)
    statistics = collect(pairs, robust=recipe.normalization == "percentiles", known=[item.value for item in classes])
    table = choose_classes(statistics.counts, classes, label_of(pairs[0]))
    pairs, statistics = teaching(pairs, statistics)
    tell_absent(checks, table)
    torch.manual_seed(recipe.seed)
    network, card = _start(pairs, statistics, table, recipe, command)
    results = fit(
        network,
        _training_batches(_dataset(pairs, card), recipe, statistics, table),
        _ValidationBatches(_dataset(checks, card), card.stride) if checks else None,
        LOSSES[recipe.loss],
        schedule,
        class_weights=torch.from_numpy(class_weights(statistics.counts, table)),
        augment=Augment() if recipe.augment else None,
        device=device,
        dtype=pick_training_precision(recipe.precision, device),
        seed=recipe.seed,
    )
    best = -math.inf
    for result in results:
        better = result.matrix is None or result.mean_iou >= best
        if better:
            best = result.mean_iou
            card = replace(card, metrics=_metrics(result, table))
            save_model(out, network, card)
        report(result, better)
    return card


def _sides(
    source: Source | DatasetSource,
    validation: Source | DatasetSource | None,
    classes: Sequence[LandClass],
    recipe: Recipe,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """What is trained on and what is validated on, with all that can be said against it."""
    pairs = source.pairs(classes)
    checks: tuple[Pair, ...] = ()
    if validation is not None:
        checks = validation.pairs(classes)
        check_leaks(pairs, checks, allowed=recipe.allow_overlap)
    elif recipe.val_fraction is not None:
        pairs, checks = split_pairs(pairs, recipe.val_fraction, recipe.seed, recipe.patch_size)
    if source.bands is None:
        tell_alpha([pair.image for pair in (*pairs, *checks)])
    return pairs, checks


def _start(
    pairs: Sequence[Pair], statistics: Statistics, classes: tuple[LandClass, ...], recipe: Recipe, command: str
) -> tuple[torch.nn.Module, ModelCard]:
    architecture = Architecture(
        len(statistics.bands),
        len(classes),
        recipe.arch,
        recipe.encoder,
        recipe.depth,
        recipe.width,
        recipe.norm,
        recipe.upsampling,
    )
    network = build_network(architecture)
    reach = probe_receptive_field(network, architecture.in_channels)
    sizes = [size for size in (pixel_size(pair.image) for pair in pairs) if size]
    card = ModelCard(
        architecture=architecture,
        bands=statistics.bands,
        classes=classes,
        dtype=pairs[0].image.dtype,
        scene_bands=pairs[0].image.count,
        resolution=float(np.median([math.sqrt(height * width) for height, width in sizes])) if sizes else None,
        halo=reach.halo if reach else None,
        stride=reach.stride if reach else declared_stride(network),
        normalization=recipe.normalization,
        versions={name: version(name) for name in ("geounet", "torch", "torchgeo")}
        | {"python": platform.python_version()},
        command=command,
    )
    return network, card


def _dataset(pairs: Sequence[Pair], card: ModelCard) -> SceneDataset:
    size = sum(pair.extent.pixels * (np.dtype(pair.image.dtype).itemsize * len(pair.image.bands) + 2) for pair in pairs)
    return SceneDataset(
        pairs,
        [band.mean for band in card.bands],
        [band.std for band in card.bands],
        [item.value for item in card.classes],
        keep=size <= _KEEP_BYTES,
    )


def _training_batches(
    dataset: SceneDataset, recipe: Recipe, statistics: Statistics, classes: Sequence[LandClass]
) -> DataLoader[Any]:
    area = sum(region.pixels for region in dataset.regions)
    covering = 2 * area // recipe.patch_size**2
    length = recipe.patches or round_up(min(512, max(128, covering)), recipe.batch_size)
    generator = torch.Generator().manual_seed(recipe.seed)
    sampler = RandomPatchGeoSampler(
        dataset,
        recipe.patch_size,
        length,
        generator,
        coverages=statistics.coverages,
        least=recipe.min_labelled,
        shares=class_shares(recipe.balance, statistics.counts, classes),
    )
    return DataLoader(dataset, batch_size=recipe.batch_size, sampler=sampler, drop_last=True)


class _ValidationBatches:
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


def _metrics(result: EpochResult, classes: Sequence[LandClass]) -> dict[str, Any]:
    if result.matrix is None:
        return {"epoch": result.epoch, "loss": result.loss}
    iou = {item.name: None if math.isnan(value) else value for item, value in zip(classes, result.iou, strict=True)}
    return {"epoch": result.epoch, "loss": result.loss, "mean_iou": result.mean_iou, "iou": iou}
