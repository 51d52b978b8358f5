"""A batch for people: a line while it runs, a list of what is to be done, and a table at the end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

from .progress import duration, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geounet.products.batch import Batch, Entry


class _OnceEach(logging.Filter):
    """Lets the first of the records that say the same of many scenes through, and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.firsts: dict[str, str] = {}
        self.more: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is the first of its kind."""
        # Several handlers may ask of the same record.
        if not hasattr(record, "is_first"):
            record.is_first = record.msg not in self.firsts
            self.firsts.setdefault(record.msg, record.getMessage())
            self.more[record.msg] += not record.is_first
        return bool(record.is_first)


@contextmanager
def said_once() -> Iterator[None]:
    """What is said of many scenes is said of the first, and at the end of how many more; with --verbose of each."""
    if logging.getLogger("geounet").isEnabledFor(logging.DEBUG):
        yield
        return
    once, handlers = _OnceEach(), logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(once)
        for kind, count in (+once.more).items():
            click.echo(f"said of {count} more scenes, as -v shows: {once.firsts[kind]}", err=True)


@contextmanager
def shown(quiet: bool, stream: TextIO | None = None) -> Iterator[Callable[[Batch], None]]:
    """A function that draws the state of a batch in one line, where standard error is a terminal."""
    with one_line(quiet, stream) as draw:
        if draw is None:
            yield lambda _batch: None
        else:
            yield lambda batch: draw(
                time.monotonic(), lambda width: progress_line(batch)[:width], last=batch.state != "running"
            )


def progress_line(batch: Batch) -> str:
    """Scenes done, running and failed; Mpx/s; time left."""
    done = len(batch.of("done", "unchanged", "kept"))
    text = f"{done} of {len(batch.scenes)} scenes done, {len(batch.of('running'))} running"
    failed = len(batch.of("failed"))
    text += f", {failed} failed" if failed else ""
    rate, left = batch.rate, batch.seconds_left
    text += f"  {rate / 1e6:.2f} Mpx/s" if rate else ""
    return text + (f"  {duration(left)} left" if left is not None and batch.state == "running" else "")


def todo(batch: Batch) -> list[str]:
    """Each scene with what would be done and why, its size, and about how long all of it would take."""
    waiting = batch.of("waiting")
    rows = [(entry.id, _plan(entry), f"{entry.pixels / 1e6:.2f} Mpx" if entry.pixels else "") for entry in batch.scenes]
    pixels = sum(entry.pixels for entry in waiting)
    text = f"{len(waiting)} of {len(batch.scenes)} scenes to do, {pixels / 1e6:.2f} Mpx"
    seconds = batch.estimate
    if waiting:
        text += f", about {duration(seconds)}" if seconds is not None else "; how long is known after a first run here"
    return [*_table([("scene", "would be", "size"), *rows]), text]


def _plan(entry: Entry) -> str:
    words = {
        "waiting": f"done ({entry.reason})",
        "unchanged": "passed over (finished)",
        "kept": f"left ({entry.reason} changed)",
        "failed": "failed",
    }
    return words[entry.state]


def summary(batch: Batch) -> list[str]:
    """A table of the scenes, and a line for all of them; of one scene a line alone."""
    if len(batch.scenes) == 1:
        return [_sentence(entry) for entry in batch.scenes if entry.state != "failed"]
    rows = [
        (
            entry.id,
            _state(entry),
            f"{entry.seconds:.1f}" if entry.state == "done" else "",
            "" if entry.valid_share is None else f"{entry.valid_share:.1%}",
            "" if entry.area_ha is None else f"{entry.area_ha:.1f}",
            "" if entry.polygons is None else str(entry.polygons),
        )
        for entry in batch.scenes
    ]
    counts = ", ".join(f"{count} {state}" for state, count in batch.counts.items())
    text = f"{len(batch.scenes)} scenes in {duration(batch.seconds)}: {counts}"
    text += f"; {batch.rate / 1e6:.2f} Mpx/s" if batch.rate else ""
    areas = ", ".join(f"{name} {area:.1f} ha" for name, area in batch.hectares.items())
    table = _table([("scene", "state", "s", "valid", "ha", "polygons"), *rows])
    return [*table, *([f"by class: {areas}"] if areas else []), text]


def _state(entry: Entry) -> str:
    return entry.state + (f" ({entry.reason})" if entry.reason and entry.state != "failed" else "")


def _sentence(entry: Entry) -> str:
    parts = [f"{entry.id}: {_state(entry)}"]
    parts += [] if entry.polygons is None else [f"{entry.polygons} polygons"]
    parts += [] if entry.area_ha is None else [f"{entry.area_ha:.1f} ha"]
    parts += [] if entry.valid_share is None else [f"{entry.valid_share:.1%} valid"]
    parts += [f"{entry.seconds:.1f} s"] if entry.state == "done" else []
    return ", ".join(parts)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
