"""Progress on standard error, and only on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def bar(label: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A function of the steps done and the steps in all, which draws a bar where one is wanted."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr, show_pos=True) as drawn:

        def show(done: int, steps: int) -> None:
            drawn.length = max(1, steps)
            drawn.update(done - drawn.pos)

        yield show
