"""Images and labels to a model file: the training counterpart of segment.py."""

from __future__ import annotations

import logging
import math
import platform
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.data.instances import INSTANCE_CLASSES
from geounet.data.source import Source
from geounet.data.statistics import choose_classes, collect
from geounet.data.training_data import (
    check_leaks,
    check_numbers,
    label_of,
    split_pairs,
    teaching,
    tell_absent,
)
from geounet.engine.devices import pick_device
from geounet.errors import ModelError
from geounet.models.encoders import build_network
from geounet.models.exchange import declared_stride
from geounet.models.model_file import ModelCard, read_card
from geounet.models.pretrained import load_pretrained
from geounet.models.receptive_field import probe_receptive_field
from geounet.outputs import check_ending, check_output
from geounet.pages.markup import ENDINGS as PAGES
from geounet.pages.review import heard_warnings, look_back
from geounet.pages.sample_sheet import write_sample_sheet
from geounet.pages.training import write_training_page
from geounet.raster.identity import request_hash
from geounet.raster.placement import pixel_size
from geounet.raster.remarks import tell_remarks
from geounet.training.batches import ValidationBatches, dataset_of, first_patches, training_batches
from geounet.training.log import TensorBoardLog
from geounet.training.recipe import Recipe
from geounet.training.running import begin, claimed_training, keep_best

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.data.geodatasets import DatasetSource
    from geounet.data.labels import Pair
    from geounet.data.statistics import Statistics
    from geounet.training.loop import EpochResult, Schedule, Training

    Report = Callable[[EpochResult], None]

__all__ = ["Recipe", "Source", "show_samples", "train"]

_log = logging.getLogger(__name__)
_LARGEST_VIEW = 256
_SHOWN = 16


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
    the training is finished, its state after an epoch (`.state`): an interruption loses one epoch, or half a minute
    without a better one where the network is so large that writing it takes a second.

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
    check_ending(out, ".safetensors")
    if page is not None:
        check_ending(page, *PAGES)
    recipe.architecture(1, 1)  # two networks asked for are soon told
    _check_schedule(schedule, recipe, validated=validation is not None or recipe.val_fraction is not None)
    given = request_hash("train", [], source, validation, recipe, schedule, classes)
    with claimed_training(out, page, given, overwrite=overwrite, resume=resume) as going_on:
        return _train(
            source, validation, out, recipe, schedule, classes, command, tensorboard, page, report, going_on=going_on
        )


def _train(
    source: Source | DatasetSource,
    validation: Source | DatasetSource | None,
    out: Path,
    recipe: Recipe,
    schedule: Schedule,
    classes: Sequence[LandClass],
    command: str,
    tensorboard: Path | None,
    page: Path | None,
    report: Report,
    *,
    going_on: bool,
) -> ModelCard:
    """As :func:`train`, whose outputs are claimed; from the state that there is, or anew."""
    device = torch.device(pick_device(recipe.device))
    with heard_warnings() as notes:
        pairs, checks, statistics, table = _gathered(source, validation, classes, recipe)
    torch.manual_seed(recipe.seed)
    network, card = _start(pairs, statistics, table, recipe, command)
    training = begin(network, recipe, schedule, statistics.counts, table, device)
    request = _request(recipe, schedule, statistics, table, checks)
    batches = training_batches(dataset_of(pairs, card.bands, table), recipe, statistics, table, device)
    tiles = ValidationBatches(dataset_of(checks, card.bands, table), card.stride) if checks else None
    with _events(tensorboard, table) as add_event, ExitStack() as after:
        if page is not None:
            after.callback(_write_report, page, out, training, (pairs, checks), statistics, recipe, notes)
        keep_best(training, batches, tiles, out, card, table, request, (add_event, report), going_on=going_on)
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
    names = [type(optimizer).__name__ for optimizer in training.optimizers]
    facts = {
        "Loss": f"{recipe.loss}, class weights {recipe.class_weights}",
        "Optimizer": f"{' and '.join(names)}, learning rate {training.schedule.learning_rate:g}",
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
    check_ending(out, ".png")
    check_output(out, overwrite)
    pairs, _checks, statistics, table = _gathered(source, validation, classes, recipe)
    dataset = dataset_of(pairs, statistics.bands, table)
    batches = training_batches(dataset, recipe, statistics, table, torch.device("cpu"))(1)
    images, labels = first_patches(batches, _SHOWN)
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
    check_numbers([*pairs, *checks])
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
    tell_remarks(pair.image for pair in (*pairs, *checks))
    return pairs, checks


def _start(
    pairs: Sequence[Pair], statistics: Statistics, classes: tuple[LandClass, ...], recipe: Recipe, command: str
) -> tuple[torch.nn.Module, ModelCard]:
    architecture = recipe.architecture(len(statistics.bands), len(classes))
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
