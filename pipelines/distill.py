"""`geounet distill`: slow models to a fast one that agrees with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .train import UNLIMITED, ManyValues, kept_if_interrupted, score, show_epoch, silent

_PATH = click.Path(path_type=Path)
_MINUTES = 15.0


class _Command(ManyValues):
    """`--labels A B` and `--teacher A B`."""

    many = ("--labels", "--teacher")


@click.command(cls=_Command)
@click.argument("teacher", type=_PATH)
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@options.option(
    "--teacher", "more", multiple=True, type=_PATH, metavar="MODEL...", help="More teachers: their mean is learnt."
)
@options.option("--tta", is_flag=True, help="Teachers see each window in its eight flips and rotations.")
@options.option(
    "--labels", multiple=True, metavar="L...", help="Label rasters or polygon files of some of the scenes, learnt too."
)
@options.option("--label-field", help="Field of polygon files with the class (value or name).")
@options.option(
    "--answers",
    type=_PATH,
    metavar="DIR",
    help="Keep what the teachers say here, for other students; by default it is beside the model until it is done.",
)
@options.out("The student's model file (.safetensors).")
@options.pattern
@options.opening
@options.radiometry
@options.network
@options.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="How much what the teachers say is softened.",
)
@options.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Hold back this share of the scenes: the epoch that agrees best with the teachers there is kept. 0: the last.",
)
@options.option("--minutes", type=click.FloatRange(0, min_open=True), help=f"Time budget: {_MINUTES:g} minutes.")
@options.option("--epochs", type=click.IntRange(1), help="Epochs at most, in place of the time budget or beside it.")
@options.patch
@options.augmentation
@options.device
@options.option(
    "--resume", is_flag=True, help="Go on where the same training was interrupted; from the start where none was."
)
@options.option("--report", type=_PATH, metavar="HTML", help="Where the page goes; MODEL.html by default.")
@options.option("--no-report", is_flag=True, help="Write no page.")
@options.overwrite
@options.searched("scenes")
@options.common
@options.depends(
    **dict.fromkeys(("rotate", "scale", "jitter", "noise", "band_drop"), ("augment",)), label_field=("labels",)
)
def command(teacher: Path, scenes: tuple[str, ...], out: Path, quiet: bool, **given: Any) -> None:
    """Train a fast model that says of SCENEs (any source) what TEACHER says, a slow one; labels are not needed.

    The teacher is run over the scenes once, in bounded memory and gone on with after an interruption. The page beside
    the model compares both: agreement by class and at outlines, speed on this machine, and where they differ most.
    """
    from geounet.allocation import keep_freed_memory
    from geounet.tasks.distill import Recipe, Schedule, distill

    if not given["minutes"] and not given["epochs"]:
        given["minutes"] = _MINUTES
    given["epochs"] = given["epochs"] or UNLIMITED
    recipe = Recipe(**{name: given[name] for name in Recipe.__slots__ if name in given})
    schedule = Schedule(**{name: given[name] for name in Schedule.__slots__ if name in given})
    keep_freed_memory()
    page = None if given["no_report"] else given["report"] or out.with_suffix(".html")
    names = ("labels", "label_field", "temperature", "tta", "answers", "pattern", "opening", "radiometry")
    with kept_if_interrupted(out):
        card = distill(
            (teacher, *given["more"]),
            scenes,
            out,
            recipe=recipe,
            schedule=schedule,
            command=options.command_line(),
            overwrite=given["overwrite"],
            resume=given["resume"],
            page=page,
            report=silent if quiet else show_epoch,
            progress=_nothing if quiet else _asked,
            **{name: given[name] for name in names},
        )
    if not quiet:
        told = f"; page {page}" if page else ""
        click.echo(f"{out}: {score(card.metrics)}{told}", err=True)


def _nothing(_done: int, _all: int) -> None:
    """Say nothing."""


def _asked(done: int, count: int) -> None:
    if done:
        click.echo(f"teachers were asked about {done} of {count} scenes", err=True)
