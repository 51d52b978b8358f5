"""Images and labels to a model file: the training counterpart of segment.py."""

from __future__ import annotations

import logging
import math
import platform
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.data.instances import INSTANCE_CLASSES
from geounet.data.pairing import list_rasters, pair_labels
from geounet.data.sampling import HaloGridGeoSampler, RandomPatchGeoSampler, SceneDataset
from geounet.data.statistics import choose_classes, class_weights, collect
from geounet.data.training_data import (
    check_leaks,
    class_shares,
    label_of,
    split_pairs,
    teaching,
    tell_absent,
    tell_alpha,
)
from geounet.engine.devices import pick_device, pick_training_precision
from geounet.errors import ModelError, OutputError
from geounet.grid import Grid, round_up
from geounet.models.encoders import Architecture, build_network
from geounet.models.exchange import declared_stride
from geounet.models.losses import build_loss
from geounet.models.model_file import ModelCard, read_card, save_model
from geounet.models.pretrained import load_pretrained
from geounet.models.receptive_field import probe_receptive_field
from geounet.outputs import check_output
from geounet.pages.review import heard_warnings, look_back
from geounet.pages.sample_sheet import write_sample_sheet
from geounet.pages.training import write_training_page
from geounet.raster.placement import pixel_size
from geounet.training.augment import Augment
from geounet.training.loading import EpochBatches, GapWeights, loading_workers
from geounet.training.log import TensorBoardLog, log_path, write_log
from geounet.training.loop import EpochResult, Schedule, Training
from geounet.training.state import restore_state, save_state, state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.data.geodatasets import DatasetSource
    from geounet.data.labels import Pair
    from geounet.data.statistics import Statistics
    from geounet.models.model_file import Band

    Report = Callable[[EpochResult], None]

_log = logging.getLogger(__name__)
_KEEP_BYTES = 2**30
_VALIDATION_CORE = 512
_VALIDATION_HALO = 64
_LARGEST_VIEW = 256
_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train."""

    arch: str = "unet"
    """See :class:`geounet.models.encoders.Architecture`."""
    encoder: str | None = None
    """Name of an smp encoder; None for the classic UNet."""
    depth: int = 4
    """Of the classic UNet."""
    width: int = 16
    """Of the classic UNet."""
    norm: str = "batch"
    """Of the classic UNet."""
    upsampling: str = "transpose"
    """Of the classic UNet."""
    weights: str | None = None
    """Pretrained weights, a name or a file; see :func:`geounet.models.pretrained.load_pretrained`."""
    loss: str = "ce+dice"
    """A loss or a sum of losses; see :func:`geounet.models.losses.build_loss`."""
    label_smoothing: float = 0.0
    """Share of a label that all classes get alike, in cross-entropy."""
    class_weights: str = "sqrt"
    """`none`, `sqrt`, `inverse`, or numbers; see :func:`geounet.data.statistics.class_weights`."""
    boundary_weight: float = 0.0
    """What the narrowest gap between two objects of a class adds to its pixels' weight of 1 (the UNet paper: 10)."""
    boundary_sigma: float = 5.0
    """Width of the gaps that count, in pixels."""
    patch_size: int = 256
    """Height and width of a training patch, in pixels."""
    batch_size: int = 8
    """Patches a step."""
    patches: int | None = None
    """Patches an epoch; by default about twice what covers the training images, 128 to 512."""
    balance: str = "none"
    """How patches are drawn for classes; see :func:`geounet.data.training_data.class_shares`."""
    min_labelled: float = 0.0
    """Share of a patch that must be valid and labelled, 0 to 1; 0 for a pixel at least."""
    normalization: str = "moments"
    """`moments`: by mean and standard deviation of valid pixels; `percentiles`: by median and percentiles."""
    val_fraction: float | None = None
    """Share of the images' pixels that is held back, by place, and chooses the best epoch."""
    allow_overlap: bool = False
    """Whether validation may share ground or pixels with training."""
    augment: Augment | None = field(default_factory=Augment)
    """How patches are flipped, rotated, scaled and changed in their values; None leaves them as they are."""
    loader_workers: int | None = None
    """Processes that make batches ready; None for a number by device and cores. The result is the same."""
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
    instances: bool = False
    """Label rasters number their objects; what is learnt are the classes of :mod:`geounet.data.instances`."""

    def pairs(self, classes: Sequence[LandClass]) -> tuple[Pair, ...]:
        """Images joined with their labels; see :func:`geounet.data.pairing.pair_labels`."""
        return pair_labels(
            list_rasters(self.images),
            list_rasters(self.labels),
            bands=self.bands,
            classes=classes,
            label_field=self.label_field,
            background=self.background,
            all_touched=self.all_touched,
            instances=self.instances,
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
    resume: bool = False,
    tensorboard: Path | None = None,
    page: Path | None = None,
    report: Report = lambda _result: None,
) -> ModelCard:
    """Train a network and write the model file of its best epoch (the last one without validation).

    The model file is written whenever an epoch is better than all before. Beside it lie the log (`.log.csv`) and, until
    the training is finished, its state after the last epoch (`.state`): an interruption loses one epoch.

    Args:
        source: training images and labels, files or a torchgeo dataset.
        out: the model file.
        recipe: what to train and how.
        schedule: how long and how fast.
        validation: images and labels that choose the best epoch.
        classes: the class table; without one the values found in the labels.
        command: what the model file names as its origin.
        overwrite: whether an existing model file is replaced.
        resume: whether to go on from the state of the same training, if there is one; on a CPU, and without a time
            budget, the model file then has the bits that an uninterrupted training gives it.
        tensorboard: folder for TensorBoard's events; None for none.
        page: where the report goes, an HTML file (see :mod:`geounet.pages.training`); None for none. It is written at
            the end, and when the training breaks off after an epoch.
        report: called after each epoch.

    Raises:
        GeounetError: inputs that cannot be used, or an output that cannot be written; the sentence says which.
    """
    going_on = _check_model_file(out, overwrite, resume)
    _check_schedule(schedule, recipe, validated=validation is not None or recipe.val_fraction is not None)
    device = pick_device(recipe.device)
    if page is not None:
        check_output(page, overwrite=overwrite or going_on)
    with heard_warnings() as notes:
        pairs, checks, statistics, table = _gathered(source, validation, classes, recipe)
    torch.manual_seed(recipe.seed)
    network, card = _start(pairs, statistics, table, recipe, command)
    training = Training(
        network,
        build_loss(recipe.loss, smoothing=recipe.label_smoothing),
        schedule,
        class_weights=torch.from_numpy(class_weights(statistics.counts, table, recipe.class_weights)),
        device=device,
        dtype=pick_training_precision(recipe.precision, device),
        seed=recipe.seed,
    )
    request = _request(recipe, schedule, statistics, table, checks)
    if going_on:
        restore_state(state_path(out), training, request)
    batches = _training_batches(_dataset(pairs, card.bands, table), recipe, statistics, table, device)
    tiles = _ValidationBatches(_dataset(checks, card.bands, table), card.stride) if checks else None
    with _events(tensorboard, table) as add_event, ExitStack() as after:
        if page is not None:
            after.callback(_write_report, page, out, training, (pairs, checks), statistics, recipe, notes)
        for result in training.epochs(batches, tiles):
            if result.best:
                save_model(out, training.model, replace(card, metrics=_metrics(result, table)))
            save_state(state_path(out), training, request)
            write_log(log_path(out), training.history, table)
            add_event(result)
            report(result)
    state_path(out).unlink()
    return read_card(out)


def _write_report(
    page: Path,
    model: Path,
    training: Training,
    pairs: tuple[Sequence[Pair], Sequence[Pair]],
    statistics: Statistics,
    recipe: Recipe,
    notes: Sequence[str],
) -> None:
    if not training.history or not model.exists():
        return
    facts = {
        "Loss": f"{recipe.loss}, class weights {recipe.class_weights}",
        "Patches": f"{recipe.patch_size} px, {recipe.batch_size} a batch",
        "Arithmetic": f"{str(training.dtype).removeprefix('torch.')} on {training.device}, seed {recipe.seed}",
    }
    review = look_back(
        model,
        training.history,
        *pairs,
        statistics.counts,
        device=training.device,
        dtype=training.dtype,
        size=min(recipe.patch_size, _LARGEST_VIEW),
        facts=facts,
        notes=notes,
    )
    write_training_page(review, page)


def show_samples(
    source: Source | DatasetSource,
    out: Path,
    *,
    recipe: Recipe,
    validation: Source | DatasetSource | None = None,
    classes: Sequence[LandClass] = (),
    overwrite: bool = False,
) -> int:
    """Write a picture of the first patches that a training would learn from, as the network would get them.

    Args:
        source: training images and labels.
        out: the PNG.
        recipe: how patches are drawn, normalised and augmented.
        validation: what the training images must not meet.
        classes: the class table; without one the values found in the labels.
        overwrite: whether a picture that is there is replaced.

    Returns:
        How many patches it shows.

    Raises:
        GeounetError: as :func:`train`.
    """
    check_output(out, overwrite)
    pairs, _checks, statistics, table = _gathered(source, validation, classes, recipe)
    dataset = _dataset(pairs, statistics.bands, table)
    batches = _training_batches(dataset, recipe, statistics, table, torch.device("cpu"))(1)
    images, labels = _first(batches, _SHOWN)
    how = "augmented" if recipe.augment else "not augmented"
    write_sample_sheet(
        images,
        labels,
        out,
        band_names=[band.name for band in statistics.bands],
        classes=table,
        title=f"The first {len(images)} patches of {recipe.patch_size} px that the network sees, {how}",
    )
    return len(images)


def _first(batches: Iterable[dict[str, Any]], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images and labels of so many patches, or of an epoch if it has fewer."""
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for batch in batches:
        images += [*batch["image"].numpy()]
        labels += [*batch["mask"].numpy()]
        if len(images) >= count:
            break
    return np.stack(images[:count]), np.stack(labels[:count])


def _check_model_file(out: Path, overwrite: bool, resume: bool) -> bool:
    """Whether there is a training to go on with.

    Raises:
        OutputError: a model file may not be replaced, or cannot be written.
    """
    unfinished = state_path(out).exists()
    if unfinished and resume:
        check_output(out, overwrite=True)
        return True
    if unfinished and not overwrite:
        raise OutputError(f"the training of {out} was interrupted; --resume goes on with it, --overwrite begins anew")
    check_output(out, overwrite)
    state_path(out).unlink(missing_ok=True)
    return False


def _check_schedule(schedule: Schedule, recipe: Recipe, *, validated: bool) -> None:
    if schedule.patience is not None and not validated:
        raise ModelError("--patience needs validation images, which say whether an epoch is better")
    if schedule.freeze_encoder and recipe.weights is None:
        raise ModelError("--freeze-encoder needs --weights: an encoder that has learnt nothing is not worth keeping")


def _request(
    recipe: Recipe,
    schedule: Schedule,
    statistics: Statistics,
    classes: Sequence[LandClass],
    checks: Sequence[Pair],
) -> dict[str, Any]:
    """What the weights of each epoch follow from; where and by how many processes is left out."""
    chosen = {name: value for name, value in asdict(recipe).items() if name not in {"device", "loader_workers"}}
    return {
        **chosen,
        **asdict(schedule),
        "bands": [asdict(band) for band in statistics.bands],
        "labelled pixels": statistics.counts.tolist(),
        "classes": [asdict(item) for item in classes],
        "validation images": len(checks),
    }


@contextmanager
def _events(folder: Path | None, classes: Sequence[LandClass]) -> Iterator[Callable[[EpochResult], None]]:
    if folder is None:
        yield lambda _result: None
        return
    log = TensorBoardLog(folder, classes)
    try:
        yield log.add
    finally:
        log.close()


def _gathered(
    source: Source | DatasetSource,
    validation: Source | DatasetSource | None,
    classes: Sequence[LandClass],
    recipe: Recipe,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...], Statistics, tuple[LandClass, ...]]:
    """Training pairs, validation pairs, what the former hold, and the classes."""
    classes = INSTANCE_CLASSES if isinstance(source, Source) and source.instances else classes
    pairs, checks = _sides(source, validation, classes, recipe)
    statistics = collect(pairs, robust=recipe.normalization == "percentiles", known=[item.value for item in classes])
    table = choose_classes(statistics.counts, classes, label_of(pairs[0]))
    pairs, statistics = teaching(pairs, statistics)
    tell_absent(checks, table)
    return pairs, checks, statistics, table


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
    if recipe.weights is not None:
        _log.info("starting from %s", load_pretrained(network, recipe.weights, recipe.encoder))
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


def _dataset(pairs: Sequence[Pair], bands: Sequence[Band], classes: Sequence[LandClass]) -> SceneDataset:
    size = sum(pair.extent.pixels * (np.dtype(pair.image.dtype).itemsize * len(pair.image.bands) + 2) for pair in pairs)
    return SceneDataset(
        pairs,
        [band.mean for band in bands],
        [band.std for band in bands],
        [item.value for item in classes],
        keep=size <= _KEEP_BYTES,
    )


def _training_batches(
    dataset: SceneDataset,
    recipe: Recipe,
    statistics: Statistics,
    classes: Sequence[LandClass],
    device: torch.device,
) -> EpochBatches:
    area = sum(region.pixels for region in dataset.regions)
    covering = 2 * area // recipe.patch_size**2
    length = recipe.patches or round_up(min(512, max(128, covering)), recipe.batch_size)
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
        dataset,
        sampler,
        generator,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.augment,
        weigh=gaps if recipe.boundary_weight else None,
        workers=loading_workers(device) if recipe.loader_workers is None else recipe.loader_workers,
    )


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
