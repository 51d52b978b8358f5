"""Progress on standard error, and only on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geounet.raster.opening import Opening

    Mark = tuple[float, int]
    """Seconds of the clock, and steps that were done by then."""

_RECENT = 30.0
"""Seconds over which the rate is taken: the last ones say best how long the rest will take."""
_REDRAW = 0.1
"""Seconds between two drawings at the least; steps may be as many as thousands a second."""
_BAR = 24
_COLUMNS = 80
"""Of a terminal that does not say."""


@contextmanager
def bar(
    label: str,
    quiet: bool,
    *,
    pixels: Callable[[], int] | None = None,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int, int], None]]:
    """A function of the steps done and the steps in all, which draws a bar where one is wanted.

    Label, share done, speed and time left, which follow from the recent steps alone: what an earlier run had finished
    counts as done, but not as quick.

    Args:
        label: what is going on.
        quiet: draw nothing.
        pixels: of all steps together, asked for once and only where a bar is drawn; None leaves the speed out.
        stream: where to draw; None for standard error.
        clock: seconds, from anywhere.
    """
    with one_line(quiet, stream) as draw:
        if draw is None:
            yield lambda _done, _all: None
            return
        area = pixels() if pixels else 0
        marks: deque[Mark] = deque()

        def show(done: int, steps: int) -> None:
            now = clock()
            remember(marks, (now, done))
            draw(
                now,
                lambda width: line(label, done, steps, recent_rate(marks), pixels=area, width=width),
                last=done >= steps,
            )

        yield show


@contextmanager
def one_line(quiet: bool, stream: TextIO | None = None) -> Iterator[Callable[..., None] | None]:
    """A function that draws a line over the last one, or None where none is wanted: when quiet, or not on a terminal.

    It takes the time in seconds, a function from the characters that there are to the text, and whether it is the last
    one, which is drawn however soon it comes after the one before.
    """
    terminal = stream or sys.stderr
    if quiet or not terminal.isatty():
        yield None
        return
    drawn, length = 0.0, 0

    def draw(now: float, text_of: Callable[[int], str], *, last: bool) -> None:
        nonlocal drawn, length
        if not last and length and now - drawn < _REDRAW:
            return
        text = text_of(_columns(terminal) - 1)
        # Blanks over what a longer line has left.
        terminal.write("\r" + text.ljust(length))
        terminal.flush()
        drawn, length = now, len(text)

    try:
        yield draw
    finally:
        # What follows, an error's sentence too, starts a line of its own.
        if length:
            terminal.write("\n")
            terminal.flush()


def remember(marks: deque[Mark], mark: Mark) -> None:
    """Add a mark and drop those that are no longer recent, but never the last two: steps may take minutes."""
    marks.append(mark)
    while len(marks) > 2 and marks[1][0] <= mark[0] - _RECENT:  # noqa: PLR2004
        marks.popleft()


def recent_rate(marks: Sequence[Mark]) -> float | None:
    """Steps a second between the first mark and the last; None where nothing has been done in between."""
    (start, first), (now, done) = marks[0], marks[-1]
    return (done - first) / (now - start) if done > first and now > start else None


def line(label: str, done: int, steps: int, rate: float | None, *, pixels: int, width: int) -> str:
    """What is drawn.

    Args:
        label: what is going on.
        done: steps done.
        steps: steps in all.
        rate: steps a second; None where it is not known yet.
        pixels: of all steps together; 0 leaves the speed out.
        width: characters there is room for: the bar goes first, then the label's end.
    """
    share = done / steps if steps else 1.0
    filled = int(share * _BAR)
    # Rounded down: 100 % is when it is done.
    text = f"{int(share * 100):4d}%"
    if rate is not None and steps:
        text += f"  {rate * pixels / steps / 1e6:.2f} Mpx/s" if pixels else ""
        text += f"  {duration((steps - done) / rate)} left"
    drawing = f" [{'#' * filled}{'-' * (_BAR - filled)}]"
    text = drawing + text if len(label + drawing + text) <= width else text
    return (label[: max(0, width - len(text))] + text)[:width]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def pixels_asked_for(
    scene: str, bbox: tuple[float, float, float, float] | None, opening: Opening | None = None
) -> Callable[[], int]:
    """A function of the pixels of a scene, or of its part in a box; see :func:`bar`.

    The function raises SceneError where the scene cannot be opened, or lies beside the box.
    """

    def count() -> int:
        from geounet.engine.compatibility import region_of
        from geounet.raster.opening import AS_IS
        from geounet.sources.scenes import frame_of

        return region_of(frame_of(scene, opening=opening or AS_IS), bbox).pixels

    return count
