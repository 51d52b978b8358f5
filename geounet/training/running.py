"""What every training has in common, whatever it learns from: outputs claimed, the best epoch kept, gone on with."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from geounet.data.statistics import class_weights
from geounet.engine.devices import pick_training_precision
from geounet.errors import OutputError
from geounet.models.losses import build_loss
from geounet.models.model_file import save_model
from geounet.outputs import claimed, is_unfinished, tidy
from geounet.training.log import log_path, write_log
from geounet.training.loop import Training, metrics_of
from geounet.training.state import StateKeeper, restore_state, state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from geounet.classes import LandClass
    from geounet.models.model_file import ModelCard
    from geounet.training.loop import Batch, Batches, EpochResult, Schedule
    from geounet.training.recipe import Recipe

_log = logging.getLogger(__name__)


@contextmanager
def claimed_training(out: Path, page: Path | None, given: str, *, overwrite: bool, resume: bool) -> Iterator[bool]:
    """Claim a training's outputs: the model file, and the page if there is one.

    Args:
        out: the model file.
        page: the report.
        given: a hash of all that was asked for.
        overwrite: whether an existing model file is replaced.
        resume: whether to go on from the state of the same training, if there is one.

    Yields:
        Whether an interrupted training is gone on with.

    Raises:
        OutputError: an output exists, or an interrupted training is neither to be gone on with nor to be begun anew.
    """
    outputs = [out] if page is None else [out, page]
    going_on = _goes_on(out, overwrite, resume, of_this=is_unfinished(out, given))
    with claimed(outputs, given, overwrite or going_on):
        for path in (state_path(out), log_path(out)):
            tidy(path)
        if not going_on:
            state_path(out).unlink(missing_ok=True)
        yield going_on


def _goes_on(out: Path, overwrite: bool, resume: bool, *, of_this: bool) -> bool:
    """Whether there is a training that was interrupted and is gone on with.

    Raises:
        OutputError: there is one, and it is neither to be gone on with nor to be begun anew.
    """
    if not state_path(out).exists() or (overwrite and not resume):
        return False
    if not (resume or of_this):
        raise OutputError(f"the training of {out} was interrupted; --resume goes on with it, --overwrite begins anew")
    _log.warning("%s: going on with the training that was interrupted", out)
    return True


def begin(
    network: nn.Module,
    recipe: Recipe,
    schedule: Schedule,
    counts: NDArray[np.int64],
    classes: Sequence[LandClass],
    device: torch.device,
    *,
    temperature: float = 1.0,
) -> Training:
    """A training as a recipe and a schedule say.

    Args:
        network: with its first weights.
        recipe: how.
        schedule: how long and how fast.
        counts: (256,) training pixels of each code, for the classes' weights.
        classes: the class table.
        device: where.
        temperature: of soft labels.

    Raises:
        ModelError: there is no such loss, optimizer or precision.
    """
    return Training(
        network,
        build_loss(recipe.loss, smoothing=recipe.label_smoothing),
        schedule,
        class_weights=torch.from_numpy(class_weights(counts, classes, recipe.class_weights)),
        device=device,
        dtype=pick_training_precision(recipe.precision, device),
        optimizer=recipe.chosen_optimizer,
        seed=recipe.seed,
        temperature=temperature,
    )


def keep_best(
    training: Training,
    batches: Batches,
    tiles: Iterable[Batch] | None,
    out: Path,
    card: ModelCard,
    classes: Sequence[LandClass],
    request: Mapping[str, Any],
    told: Sequence[Callable[[EpochResult], None]] = (),
    *,
    going_on: bool,
) -> None:
    """Train to the end, and write the model file whenever an epoch is better than all before.

    Args:
        training: at its start.
        batches: see :meth:`geounet.training.loop.Training.epochs`.
        tiles: likewise, of validation.
        out: the model file.
        card: what it holds, but for the metrics.
        classes: the class table.
        request: see :func:`geounet.training.state.restore_state`.
        told: called after each epoch.
        going_on: whether to restore the state that an interrupted training left.

    Raises:
        ModelError: the state belongs to another training, or training fails.
        OutputError: a file cannot be written.
    """
    if going_on:
        restore_state(state_path(out), training, request)
    keeper = StateKeeper(state_path(out), training, request)
    for result in training.epochs(batches, tiles):
        if result.best:
            save_model(out, training.model, replace(card, metrics=metrics_of(result, classes)))
        keeper.keep(better=result.best and result.matrix is not None)
        write_log(log_path(out), training.history, classes)
        for tell in told:
            tell(result)
    state_path(out).unlink()
