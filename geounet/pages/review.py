"""A training looked back on: all that a report shows of it, as one value."""

from __future__ import annotations

import heapq
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.classes import NODATA
from geounet.data.sampling import HaloGridGeoSampler, SceneDataset
from geounet.engine.devices import autocast
from geounet.grid import Grid, round_up
from geounet.metrics.pixels import Evaluation, confusion
from geounet.models.losses import IGNORE_INDEX
from geounet.models.model_file import load_model
from geounet.pages.pictures import color_bands, stretch
from geounet.raster.footprints import footprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from geounet.data.labels import Pair
    from geounet.grid import Window
    from geounet.models.model_file import ModelCard
    from geounet.training.loop import EpochResult

_HALO = 64
_LEAST_LABELLED = 0.25
"""Share of a patch that must have labels for its score to say something."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchView:
    """A validation patch: what the network was given, what was wanted, what it said."""

    scene: str
    """Path of the image."""
    window: Window
    """Which of its pixels."""
    image: NDArray[np.uint8]
    """`(height, width, 4)`: red, green, blue, alpha, stretched alike for all patches of a review."""
    reference: NDArray[np.uint8]
    """Class codes `(height, width)`, 255 where unlabelled."""
    predicted: NDArray[np.uint8]
    """Class codes `(height, width)`, 255 where the image is not valid."""
    mean_iou: float
    """Over the classes that the patch has on either side."""


@dataclass(frozen=True, slots=True, eq=False)
class Footprints:
    """Ground of the images of one part, in longitude and latitude."""

    name: str
    """`training` or `validation`."""
    outlines: tuple[BaseGeometry, ...]
    """One an image or area; those without a place on the globe are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """What is to be known of a training."""

    model: str
    """The model file."""
    card: ModelCard
    """What it holds besides the weights."""
    history: tuple[EpochResult, ...]
    """All epochs in order."""
    counts: NDArray[np.int64]
    """(256,) valid training pixels of each label code; the last one counts the unlabelled."""
    footprints: tuple[Footprints, ...] = ()
    """Where the parts are."""
    worst: tuple[PatchView, ...] = ()
    """The validation patches with the lowest mean IoU, the lowest first."""
    best: tuple[PatchView, ...] = ()
    """Those with the highest, the highest first."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else is to be told, each under its name."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader should not overlook."""

    @property
    def chosen(self) -> EpochResult | None:
        """The epoch whose weights the model file holds: the last one that was better than all before."""
        return next((result for result in reversed(self.history) if result.best), None)

    @property
    def evaluation(self) -> Evaluation | None:
        """Scores on validation at that epoch; None without validation."""
        epoch = self.chosen
        if epoch is None or epoch.matrix is None:
            return None
        return Evaluation(self.card.classes, epoch.matrix.cpu().numpy())


def look_back(
    model: Path,
    history: Sequence[EpochResult],
    training: Sequence[Pair],
    validation: Sequence[Pair],
    counts: NDArray[np.int64],
    *,
    device: torch.device,
    dtype: torch.dtype,
    size: int = 256,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Review:
    """Review the training of a model file; its network is run once more over the validation pairs.

    Args:
        model: the model file.
        history: all epochs in order.
        training: pairs that were trained on.
        validation: pairs that chose the epoch; perhaps none.
        counts: (256,) valid training pixels of each label code, the last one unlabelled.
        device: where to run the network.
        dtype: arithmetic of the forward pass.
        size: height and width of the patches that are shown, in pixels.
        facts: what else is to be told, each under its name.
        notes: sentences that a reader should not overlook.

    Raises:
        GeounetError: the model file or an image cannot be read.
    """
    network, card = load_model(model)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    worst, best = extremes(network, card, validation, device=device, dtype=dtype, size=size)
    weights = sum(parameter.numel() for parameter in network.parameters())
    told = {
        "Network": f"{_network(card)}, {weights / 1e6:.2f} million weights, {len(card.bands)} bands",
        "Training": _amount(training),
        "Validation": _amount(validation),
    }
    places = footprints_of("training", training), footprints_of("validation", validation)
    return Review(str(model), card, tuple(history), counts, places, worst, best, told | dict(facts or {}), tuple(notes))


def _network(card: ModelCard) -> str:
    built = card.architecture
    if built.encoder:
        return f"{built.arch} with {built.encoder}"
    cells = f" on cells of {built.factor} x {built.factor} pixels" if built.factor > 1 else ""
    return f"UNet of depth {built.depth}, width {built.width}{cells}"


def _amount(pairs: Sequence[Pair]) -> str:
    images, pixels = len({pair.image.path for pair in pairs}), sum(pair.extent.pixels for pair in pairs)
    return f"{pixels / 1e6:,.2f} Mpx of {images} images" if pairs else "none"


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """The sentences that geounet warns with meanwhile, each once, for the notes of a review."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.extend({record.getMessage()} - set(heard))

    listener, log = Listener(logging.WARNING), logging.getLogger("geounet")
    log.addHandler(listener)
    try:
        yield heard
    finally:
        log.removeHandler(listener)


def footprints_of(name: str, pairs: Sequence[Pair]) -> Footprints:
    """Where the images of a part are."""
    found = (footprint(pair.image, pair.extent) for pair in pairs)
    return Footprints(name, tuple(shape for shape in found if shape is not None))


def extremes(
    network: torch.nn.Module,
    card: ModelCard,
    pairs: Sequence[Pair],
    *,
    device: torch.device,
    dtype: torch.dtype,
    size: int = 256,
    count: int = 4,
) -> tuple[tuple[PatchView, ...], tuple[PatchView, ...]]:
    """The validation patches with the lowest and with the highest mean IoU.

    Patches are the cells of a grid, each predicted with a halo. Only those with labels on a quarter of their pixels
    count, and among the best only such as have more than one class in the reference, where there are any.

    Args:
        network: of the card, on the device; put into eval mode.
        card: bands, classes, stride.
        pairs: images and labels of validation, each within its extent.
        device: where the network is.
        dtype: arithmetic of the forward pass.
        size: height and width of a patch in pixels, but at the lower and right edges.
        count: patches of each kind at the most; none is in both.
    """
    network.eval()
    worst, best, plain = _Kept(count, lowest=True), _Kept(count), _Kept(count)
    for patch in _patches(network, card, pairs, size, device, dtype):
        worst.add(patch)
        (best if patch.classes > 1 else plain).add(patch)
    low = worst.patches()
    high = [patch for patch in best.patches() or plain.patches() if not any(patch is other for other in low)]
    images = _stretched([*low, *high])
    views = [patch.view(image, card) for patch, image in zip([*low, *high], images, strict=True)]
    return tuple(views[: len(low)]), tuple(views[len(low) :])


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    scene: str
    window: Window
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    reference: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: Evaluation

    @property
    def classes(self) -> int:
        """In the reference."""
        return int((self.scores.support > 0).sum())

    def view(self, image: NDArray[np.uint8], card: ModelCard) -> PatchView:
        codes = np.full(IGNORE_INDEX + 1, NODATA, np.uint8)
        codes[: len(card.classes)] = [item.value for item in card.classes]
        predicted = np.where(self.valid, codes[self.predicted], np.uint8(NODATA))
        return PatchView(self.scene, self.window, image, codes[self.reference], predicted, self.scores.mean_iou)


class _Kept:
    """So many patches of the lowest, or highest, mean IoU; of equal ones the first."""

    def __init__(self, count: int, *, lowest: bool = False) -> None:
        self.count, self.sign, self.heap, self.seen = count, -1 if lowest else 1, list[Any](), 0

    def add(self, patch: _Patch) -> None:
        self.seen += 1
        entry = (self.sign * patch.scores.mean_iou, self.sign * patch.scores.accuracy, -self.seen, patch)
        if len(self.heap) < self.count:
            heapq.heappush(self.heap, entry)
        elif self.heap:
            heapq.heappushpop(self.heap, entry)

    def patches(self) -> list[_Patch]:
        """The most extreme first."""
        return [entry[-1] for entry in sorted(self.heap, reverse=True)]


def _patches(
    network: torch.nn.Module,
    card: ModelCard,
    pairs: Sequence[Pair],
    size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[_Patch]:
    shown = list(color_bands([band.name for band in card.bands]))
    order = range(len(card.classes))
    for pair, core, sample, inner in _haloed(pairs, card, round_up(size, card.stride)):
        reference = sample["mask"][inner].numpy()
        if (reference != IGNORE_INDEX).mean() < _LEAST_LABELLED:
            continue
        with torch.inference_mode(), autocast(device, dtype):
            logits = network(sample["image"][None].to(device, memory_format=torch.channels_last))
        predicted = logits[0].argmax(0).cpu()[inner].numpy()
        scores = Evaluation(card.classes, confusion(reference, predicted, order))
        values = sample["image"][shown][(slice(None), *inner)].numpy()
        yield _Patch(pair.image.label, core, values, sample["valid"][inner].numpy(), reference, predicted, scores)


def _haloed(pairs: Sequence[Pair], card: ModelCard, size: int) -> Iterator[tuple[Pair, Window, Any, Any]]:
    halo = round_up(_HALO, card.stride)
    for pair in pairs:
        dataset = _dataset(pair, card)
        tiles = tuple(Grid(pair.extent, size, size, halo, card.stride).tiles())
        for tile, query in zip(tiles, HaloGridGeoSampler(dataset, tiles), strict=True):
            yield pair, tile.core, dataset[query], tile.core.within(tile.window)


def _dataset(pair: Pair, card: ModelCard) -> SceneDataset:
    return SceneDataset(
        [pair],
        [band.mean for band in card.bands],
        [band.std for band in card.bands],
        [item.value for item in card.classes],
    )


def _stretched(patches: Sequence[_Patch]) -> list[NDArray[np.uint8]]:
    """All alike, so that a dark patch looks dark; see :func:`geounet.pages.pictures.stretch`."""
    if not patches:
        return []
    values = np.concatenate([patch.values.reshape(len(patch.values), -1) for patch in patches], axis=1)
    valid = np.concatenate([patch.valid.ravel() for patch in patches])
    colors = stretch(values[:, None], valid[None])[0]  # (pixels of all patches, 4)
    ends = np.cumsum([patch.valid.size for patch in patches])[:-1]
    return [part.reshape(*patch.valid.shape, 4) for part, patch in zip(np.split(colors, ends), patches, strict=True)]
