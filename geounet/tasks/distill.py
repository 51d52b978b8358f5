"""Slow networks to a fast one that agrees with them, on scenes that nobody need have labelled."""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - a field of a dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geounet.classes import CONFIDENCE_LEVELS, NODATA
from geounet.data.labels import Pair
from geounet.data.pairing import list_labels, pair_labels
from geounet.data.statistics import collect
from geounet.data.taught import TaughtDataset
from geounet.data.training_data import split_pairs, teaching
from geounet.engine.compatibility import scene_for_model
from geounet.engine.devices import pick_device
from geounet.engine.plan import Engine
from geounet.engine.provenance import request_of
from geounet.errors import ModelError
from geounet.grid import Grid
from geounet.models.encoders import build_network
from geounet.models.exchange import declared_stride
from geounet.models.model_file import fingerprint, load_model, read_card
from geounet.models.receptive_field import probe_receptive_field
from geounet.outputs import check_ending
from geounet.pages.distillation import Distillation, write_distillation_page
from geounet.pages.judging import judge, speed
from geounet.pages.markup import ENDINGS as PAGES
from geounet.pages.review import heard_warnings, look_back
from geounet.raster.cog import RasterProfile, write_cog
from geounet.raster.identity import request_hash
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.scene import load_scene, opened, read
from geounet.sources.listing import list_scenes
from geounet.tasks.predict import predict
from geounet.training.batches import ValidationBatches, dataset_of, training_batches
from geounet.training.loop import EpochResult, Schedule, Training
from geounet.training.recipe import Recipe
from geounet.training.running import begin, claimed_training, keep_best

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.grid import Window
    from geounet.models.model_file import ModelCard
    from geounet.raster.scene import Scene

    Report = Callable[[EpochResult], None]
    Progress = Callable[[int, int], None]

__all__ = ["Opening", "Recipe", "Schedule", "distill"]

_log = logging.getLogger(__name__)
_PIECE = 2048


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the teachers say of a scene."""

    folder: Path

    @property
    def classes(self) -> Path:
        """Class raster."""
        return self.folder / "classes.tif"

    @property
    def probabilities(self) -> Path:
        """A band a class."""
        return self.folder / "probabilities.tif"


def distill(
    teachers: Sequence[Path],
    scenes: Sequence[str],
    out: Path,
    *,
    recipe: Recipe,
    schedule: Schedule,
    labels: Sequence[Path | str] = (),
    label_field: str | None = None,
    temperature: float = 2.0,
    tta: bool = False,
    answers: Path | None = None,
    pattern: str | None = None,
    opening: Opening = AS_IS,
    radiometry: str = "auto",
    command: str = "",
    overwrite: bool = False,
    resume: bool = False,
    page: Path | None = None,
    report: Report = lambda _result: None,
    progress: Progress = lambda _done, _all: None,
) -> ModelCard:
    """Train a student network to say what its teachers say, and write its model file.

    The teachers are run over the scenes once, as :func:`geounet.tasks.predict.predict` runs them: block by block, in
    bounded memory, gone on with after an interruption. Their probabilities stand on disk (a byte a class and pixel), of
    several teachers the mean. The student learns patches of them, softened (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531), each pixel by the teachers' confidence, and people's labels where there are any.
    It reads the bands that the first teacher reads, in the same numbers. `recipe.val_fraction` of the scenes' pixels
    is held back, and the epoch that agrees best with the teachers there is kept.

    Args:
        teachers: model files of one class table.
        scenes: what they are asked about.
        out: the student's model file.
        recipe: what to train and how.
        schedule: how long and how fast.
        labels: label files, which belong to scenes as for :func:`geounet.tasks.train.train`; perhaps none.
        label_field: the field of polygon files with the class.
        temperature: by which the logits of both are divided, above 0.
        tta: whether the teachers see each window in its eight flips and rotations.
        answers: a folder that keeps the teachers' answers for other students; by default they are beside `out` until it
            is done.
        pattern: of folders' files only those whose names fit.
        opening: what the user says of the scenes.
        radiometry: see :func:`geounet.engine.radiometry.with_numbers`.
        command: what the model file names as its origin.
        overwrite: whether an existing model file is replaced.
        resume: as for :func:`geounet.tasks.train.train`.
        page: where the report goes; None for none.
        report: called after each epoch.
        progress: called with how many answers there are, and how many there will be.

    Raises:
        GeounetError: inputs that cannot be used, or an output that cannot be written; the sentence says which.
    """
    check_ending(out, ".safetensors")
    if page is not None:
        check_ending(page, *PAGES)
    if temperature <= 0:
        raise ModelError(f"the temperature is above 0; given {temperature:g}")
    cards = _cards(teachers)
    # Before the teachers are asked, which takes its time.
    recipe.architecture(len(cards[0].bands), len(cards[0].classes))
    names = list_scenes(scenes, pattern)
    how = [temperature, tta, str(label_field), radiometry]
    known = [fingerprint(path) for path in teachers]
    given = request_hash("distill", [], known, names, list(map(str, labels)), recipe, schedule, opening, how)
    kept = out.with_name(f"{out.name}.answers") if answers is None else answers
    with claimed_training(out, page, given, overwrite=overwrite, resume=resume) as going_on:
        engine = Engine(tta=tta, device=recipe.device)
        told = _Teachers(tuple(teachers), cards[0].classes, kept, opening, radiometry, engine).asked(names, progress)
        seen = {name: scene_for_model(name, cards[0], opening=opening, radiometry=radiometry) for name in names}
        with heard_warnings() as notes:
            lessons = _lessons(cards[0], seen, told, labels, label_field, opening, recipe)
        card = _learn(lessons, cards, teachers, out, recipe, schedule, temperature, command, page, report, notes,
                      going_on=going_on, views=8 if tta else 1)  # fmt: skip
    if answers is None:
        shutil.rmtree(kept)
    return card


def _cards(teachers: Sequence[Path]) -> list[ModelCard]:
    if not teachers:
        raise ModelError("a student needs a teacher; name a model file")
    cards = [read_card(path) for path in teachers]
    for path, card in zip(teachers, cards, strict=True):
        if [item.value for item in card.classes] != [item.value for item in cards[0].classes]:
            raise ModelError(
                f"{path} has the classes {', '.join(str(item.value) for item in card.classes)}, and {teachers[0]} has "
                f"{', '.join(str(item.value) for item in cards[0].classes)}; teachers have one class table"
            )
    return cards


# ---- the teachers' answers


@dataclass(frozen=True, slots=True)
class _Teachers:
    """Who is asked, and how."""

    models: tuple[Path, ...]
    classes: tuple[LandClass, ...]
    folder: Path
    opening: Opening
    radiometry: str
    engine: Engine

    def asked(self, names: Sequence[str], progress: Progress) -> dict[str, _Answer]:
        """The answer to each scene; those that stand in the folder already are not asked for again."""
        found: dict[str, _Answer] = {}
        progress(0, len(names))
        for name in names:
            single = [self._one(name, model) for model in self.models]
            found[name] = single[0] if len(single) == 1 else _mean(single, self.folder, self.classes)
            progress(len(found), len(names))
        return found

    def _one(self, name: str, model: Path) -> _Answer:
        key = request_of(name, model, opening=self.opening, radiometry=self.radiometry, engine=self.engine)
        answer = _Answer(self.folder / key[:16])
        if not answer.classes.exists():
            answer.folder.mkdir(parents=True, exist_ok=True)
            predict(
                name,
                model,
                answer.classes,
                probabilities=answer.probabilities,
                opening=self.opening,
                radiometry=self.radiometry,
                engine=self.engine,
                overwrite=True,
            )
        return answer


def _mean(answers: Sequence[_Answer], folder: Path, classes: Sequence[LandClass]) -> _Answer:
    """The mean of several teachers' probabilities, and the classes that win by it; written once."""
    key = hashlib.sha256(" ".join(answer.folder.name for answer in answers).encode()).hexdigest()[:16]
    mean = _Answer(folder / f"mean-{key}")
    if not mean.classes.exists():
        mean.folder.mkdir(parents=True, exist_ok=True)
        scenes = [load_scene(answer.probabilities) for answer in answers]
        like = scenes[0]
        common: dict[str, Any] = {
            "height": like.height, "width": like.width, "transform": like.transform, "crs": like.crs,
            "dtype": "uint8", "nodata": NODATA,
        }  # fmt: skip
        names = tuple(item.name for item in classes)
        profile = RasterProfile(**common, names=names, scale=1 / CONFIDENCE_LEVELS)
        write_cog(mean.probabilities, profile, _levels(scenes))
        values = np.array([item.value for item in classes], np.uint8)
        winners = _winners(load_scene(mean.probabilities), values)
        write_cog(mean.classes, RasterProfile(**common, classes=tuple(classes)), winners)
    return mean


def _levels(scenes: Sequence[Scene]) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """The mean probabilities as they are stored, nodata where a teacher says nothing."""
    for window, parts in _read_together(scenes):
        known = np.logical_and.reduce([valid for _, valid in parts])
        mean = np.mean([values for values, _ in parts], axis=0)
        levels = np.rint(np.where(known, mean, 0) * CONFIDENCE_LEVELS).astype(np.uint8)
        yield window, np.where(known, levels, np.uint8(NODATA))


def _winners(probabilities: Scene, values: NDArray[np.uint8]) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    for window, [(shares, valid)] in _read_together([probabilities]):
        yield window, np.where(valid, values[shares.argmax(axis=0)], np.uint8(NODATA))[None]


def _read_together(scenes: Sequence[Scene]) -> Iterator[tuple[Window, list[tuple[NDArray[Any], NDArray[np.bool_]]]]]:
    with ExitStack() as stack:
        datasets = [stack.enter_context(opened(scene)) for scene in scenes]
        for tile in Grid(scenes[0].extent, _PIECE, _PIECE).tiles():
            yield tile.core, [read(data, scene, tile.core) for data, scene in zip(datasets, scenes, strict=True)]


# ---- what is learnt from them


@dataclass(frozen=True, slots=True)
class _Lessons:
    """Scenes with the teachers' answers, and with people's labels where there are any."""

    pairs: tuple[Pair, ...]
    """To learn from: the teachers' classes."""
    checks: tuple[Pair, ...]
    """Held back: likewise."""
    labels: Mapping[str, Pair]
    """By the scene's path: people's labels."""
    probabilities: Mapping[str, Scene]
    """By the scene's path: the teachers' probabilities."""

    def label_of(self, pair: Pair) -> Pair | None:
        """People's labels within a pair's extent."""
        found = self.labels.get(pair.image.path)
        return None if found is None else replace(found, image=pair.image, region=pair.region)


def _lessons(
    card: ModelCard,
    scenes: Mapping[str, Scene],
    answers: Mapping[str, _Answer],
    labels: Sequence[Path | str],
    label_field: str | None,
    opening: Opening,
    recipe: Recipe,
) -> _Lessons:
    pairs = tuple(Pair(scene, load_scene(answers[name].classes)) for name, scene in scenes.items())
    people: dict[str, Pair] = {}
    if labels:
        found = pair_labels(
            list(scenes),
            list_labels(labels),
            opening=opening,
            classes=card.classes,
            label_field=label_field,
            partly=True,
        )
        people = {pair.image.path: pair for pair in found}
        if len(people) < len(scenes):
            _log.warning(
                "%d of %d scenes have labels; of the others the teachers' answers alone count", len(people), len(scenes)
            )
    checks: tuple[Pair, ...] = ()
    if recipe.val_fraction:
        pairs, checks = split_pairs(pairs, recipe.val_fraction, recipe.seed, recipe.patch_size)
    spoken = {scene.path: load_scene(answers[name].probabilities) for name, scene in scenes.items()}
    return _Lessons(pairs, checks, people, spoken)


def _learn(
    lessons: _Lessons,
    cards: Sequence[ModelCard],
    teachers: Sequence[Path],
    out: Path,
    recipe: Recipe,
    schedule: Schedule,
    temperature: float,
    command: str,
    page: Path | None,
    report: Report,
    notes: Sequence[str],
    *,
    going_on: bool,
    views: int,
) -> ModelCard:
    device, classes = torch.device(pick_device(recipe.device)), cards[0].classes
    statistics = collect(lessons.pairs, known=[item.value for item in classes])
    pairs, statistics = teaching(lessons.pairs, statistics)
    torch.manual_seed(recipe.seed)
    network, card = _student(cards[0], teachers, recipe, command)
    training = begin(network, recipe, schedule, statistics.counts, classes, device, temperature=temperature)
    labelled = {index: found for index, pair in enumerate(pairs) if (found := lessons.label_of(pair)) is not None}
    images = dataset_of([labelled.get(index, pair) for index, pair in enumerate(pairs)], card.bands, classes)
    taught = TaughtDataset(images, [lessons.probabilities[pair.image.path] for pair in pairs], labelled)
    batches = training_batches(images, recipe, statistics, classes, device, taught=taught)
    checks = lessons.checks
    tiles = ValidationBatches(dataset_of(checks, card.bands, classes), card.stride) if checks else None
    request = {
        **{name: str(getattr(recipe, name)) for name in Recipe.__slots__ if name not in {"device", "loader_workers"}},
        **{name: str(getattr(schedule, name)) for name in Schedule.__slots__},
        "temperature": temperature,
        "teachers": [dict(teacher) for teacher in card.teachers],
        "pixels": statistics.counts.tolist(),
    }
    keep_best(training, batches, tiles, out, card, classes, request, (report,), going_on=going_on)
    if page is not None:
        _write_page(page, out, training, lessons, pairs, statistics.counts, teachers, notes, recipe, views)
    return read_card(out)


def _student(
    like: ModelCard, teachers: Sequence[Path], recipe: Recipe, command: str
) -> tuple[torch.nn.Module, ModelCard]:
    """A network that reads what its first teacher reads."""
    architecture = recipe.architecture(len(like.bands), len(like.classes))
    network = build_network(architecture)
    reach = probe_receptive_field(network, architecture.in_channels)
    card = replace(
        like,
        architecture=architecture,
        halo=reach.halo if reach else None,
        stride=reach.stride if reach else declared_stride(network),
        metrics={},
        versions={name: version(name) for name in ("geounet", "torch", "torchgeo")}
        | {"python": platform.python_version()},
        command=command,
        teachers=tuple({"name": path.name, "sha256": fingerprint(path)} for path in teachers),
    )
    return network, card


def _write_page(
    page: Path,
    out: Path,
    training: Training,
    lessons: _Lessons,
    pairs: Sequence[Pair],
    counts: NDArray[np.int64],
    teachers: Sequence[Path],
    notes: Sequence[str],
    recipe: Recipe,
    views: int,
) -> None:
    facts = {"Teachers": ", ".join(path.name for path in teachers)}
    review = look_back(
        out, training.history, pairs, lessons.checks, counts, device=training.device, dtype=training.dtype,
        size=min(recipe.patch_size, 256), facts=facts, notes=notes,
    )  # fmt: skip
    # The one that was kept, which need not be that of the last epoch.
    student, _ = load_model(out)
    judged = judge(student, review.card, lessons.checks, [lessons.label_of(pair) for pair in lessons.checks])
    teaching_speed = 1 / sum(views / speed(path) for path in teachers)
    write_distillation_page(Distillation(review, judged, speed(out), teaching_speed), page)
