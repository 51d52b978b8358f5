"""The bar on a terminal: share, speed and time left, by the recent steps; nothing at all elsewhere."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import deque

import numpy as np
import pytest
from geounet_pipelines.progress import bar, line, pixels_asked_for, recent_rate, remember
from hypothesis import given
from hypothesis import strategies as st
from untrained import make_model

from geounet.errors import SceneError

HEIGHT, WIDTH = 300, 130


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_scene):
    """A scene and a model."""
    folder = tmp_path_factory.mktemp("place")
    write_scene(folder / "scene.tif", np.random.default_rng(0).integers(1, 255, (2, HEIGHT, WIDTH), dtype=np.uint8))
    make_model(folder / "m.safetensors")
    return folder


def words(place, *more):
    """A prediction of 50 blocks as a command."""
    given = ["predict", place / "scene.tif", "-m", place / "m.safetensors", "-o", place / "c.tif", "--overwrite"]
    code = "from geounet_pipelines.main import main; main()"
    return [sys.executable, "-c", code, *map(str, given), "--tile-size", "32", "--window-size", "80", *more]


def on_terminal(command, columns):
    """What a command writes to standard error where that is a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stderr=theirs)
    os.close(theirs)
    written = b""
    # The end of a pseudo-terminal whose other side has been closed is an error on Linux.
    try:
        while part := os.read(ours, 4096):
            written += part
    except OSError:
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_shows_share_speed_and_time_left(place):
    """By the real command on a pseudo-terminal: from 0 to 100 %, Mpx/s and time left, on one line, then the summary."""
    drawn, _, rest = on_terminal(words(place), 100).partition("\n")
    frames = drawn.split("\r")[1:]
    shares = [int(re.search(r"(\d+)%", frame)[1]) for frame in frames]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 100), rest
    assert all(frame.startswith("predict [") for frame in frames)
    assert all(re.search(r"\d+%  \d+\.\d\d Mpx/s  \d+:\d\d left", frame) for frame in frames[1:])
    assert " 0:00 left" in frames[-1]
    assert "Mpx in" in rest
    assert "\r" not in rest


def test_a_narrow_terminal_keeps_the_line_whole(place):
    """Nothing wraps, and what counts stays: the bar goes, then the label."""
    drawn, _, _ = on_terminal(words(place), 30).partition("\n")
    frames = drawn.split("\r")[1:]
    assert max(map(len, frames)) <= 29
    assert re.search(r"100%  \d+\.\d\d Mpx/s  0:00 left", frames[-1])


def test_quiet_draws_nothing_on_a_terminal(place):
    assert on_terminal(words(place, "--quiet"), 100) == ""


def test_no_bar_where_standard_error_is_a_file(place):
    done = subprocess.run(words(place), capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr
    assert "%]" not in done.stderr
    assert "Mpx in" in done.stderr


class Terminal(io.StringIO):
    """A terminal without a size."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    return Terminal()


def test_blocks_of_an_earlier_run_make_the_time_left_no_shorter(terminal):
    """After 900 of 1000 steps are found done, ten steps of two seconds leave 90 of two seconds: three minutes."""
    now = iter(range(0, 1000, 2))
    with bar("predict", False, stream=terminal, pixels=lambda: 1_000_000_000, clock=lambda: next(now)) as show:
        for done in range(900, 911):
            show(done, 1000)
    frames = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert frames[0].rstrip().endswith("90%")
    assert frames[-1].endswith("91%  0.50 Mpx/s  3:00 left")


def test_the_time_left_follows_a_change_of_speed(terminal):
    """Slow steps of half an hour ago are forgotten."""
    with bar(
        "predict", False, stream=terminal, clock=(seconds := iter([*range(0, 1000, 10), *range(1000, 1100)])).__next__
    ) as show:
        for done in range(200):
            show(done, 260)
    assert next(seconds, None) is None
    assert terminal.getvalue().rstrip("\n").endswith("76%  1:01 left")


def test_many_steps_are_drawn_ten_times_a_second_at_the_most_and_the_last_always(terminal):
    ticks = iter(np.arange(10_001) / 1000)
    with bar("tile", False, stream=terminal, clock=lambda: next(ticks)) as show:
        for done in range(10_001):
            show(done, 10_000)
    frames = terminal.getvalue().split("\r")[1:]
    assert 50 <= len(frames) <= 102
    assert "100%" in frames[-1]


def test_an_error_starts_a_line_of_its_own(terminal):
    ticks = iter([0.0, 1.0])

    def fail():
        with bar("predict", False, stream=terminal, clock=lambda: next(ticks)) as show:
            show(0, 2)
            show(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert terminal.getvalue().endswith("left\n")


def test_a_shorter_line_leaves_nothing_of_a_longer_one(terminal):
    ticks = iter([0.0, 1.0, 2.0, 1000.0])
    with bar("predict", False, stream=terminal, clock=lambda: next(ticks)) as show:
        for done in (0, 1, 2, 100_000):
            show(done, 100_000)
    frames = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert len(frames[-1]) >= len(frames[-2].rstrip())
    assert frames[-1].rstrip().endswith("100%  0:00 left")


def test_nothing_done_draws_nothing(terminal):
    """Not even a new line, where all was refused before the first step; and no step at all is all of them."""
    with bar("predict", False, stream=terminal):
        pass
    assert terminal.getvalue() == ""
    with bar("tile", False, stream=terminal) as show:
        show(0, 0)
    assert "100%" in terminal.getvalue()


@given(
    speed=st.floats(0.01, 1e4),
    resumed=st.integers(0, 1000),
    times=st.lists(st.floats(0.01, 100), min_size=1, max_size=50),
)
def test_a_steady_rate_is_found_whatever_the_steps_and_what_was_resumed(speed, resumed, times):
    """Steps come at any moments; of a steady speed the recent marks give that speed, up to one step at either end."""
    marks = deque()
    remember(marks, (0.0, resumed))
    for now in np.cumsum(times):
        remember(marks, (float(now), resumed + int(now * speed)))
    span = marks[-1][0] - marks[0][0]
    rate = recent_rate(marks)
    assert len(marks) >= 2
    assert rate is None or abs(rate - speed) <= 1 / span + 1e-6 * speed
    assert len(marks) == 2 or marks[1][0] > marks[-1][0] - 30


@given(
    label=st.text(st.characters(codec="ascii", categories=["L"]), max_size=90),
    done=st.integers(0, 5000),
    more=st.integers(0, 50),
    rate=st.none() | st.floats(1e-3, 1e5),
    pixels=st.sampled_from([0, 10**6, 10**10]),
    width=st.integers(1, 120),
)
def test_a_line_fits_and_100_percent_means_done(label, done, more, rate, pixels, width):
    text = line(label, done, done + more, rate, pixels=pixels, width=width)
    assert len(text) <= width
    assert width < 40 or ("100%" in text) == (more == 0)
    assert width < 40 or ("Mpx/s" in text) == (rate is not None and pixels > 0 and done + more > 0)


def test_pixels_are_those_of_the_scene_or_of_the_box(place):
    scene = str(place / "scene.tif")
    assert pixels_asked_for(scene, None)() == HEIGHT * WIDTH
    assert pixels_asked_for(scene, (480_100, 5_429_000, 480_300, 5_429_500))() == 20 * 50
    with pytest.raises(SceneError, match="does not exist"):
        pixels_asked_for(str(place / "none.tif"), None)()
