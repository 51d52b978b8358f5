"""A batch at the command line: what is drawn, said, listed and returned."""

from __future__ import annotations

import io
import json
import logging

import numpy as np
import pytest
from click.testing import CliRunner
from geounet_pipelines.batches import progress_line, said_once, shown, summary, todo
from geounet_pipelines.main import cli
from untrained import make_model

from geounet.products.batch import Batch, Entry


class Terminal(io.StringIO):
    """What is written, by someone who looks."""

    def isatty(self):
        return True


def batch_of(**states):
    entries = [Entry(name, f"{name}.tif", name, state, "new", pixels=1_000_000) for name, state in states.items()]
    return Batch(entries, seconds=4.0)


def test_a_line_tells_scenes_speed_and_time_left():
    batch = batch_of(a="done", b="running", c="failed", d="waiting", e="unchanged")
    batch.scenes[1].share = 0.5
    assert progress_line(batch) == "2 of 5 scenes done, 1 running, 1 failed  0.38 Mpx/s  0:04 left"
    assert progress_line(batch_of(a="waiting")) == "0 of 1 scenes done, 0 running"


def test_the_line_is_drawn_on_a_terminal_and_nowhere_else():
    batch = batch_of(a="done", b="running")
    for terminal, quiet in ((Terminal(), True), (io.StringIO(), False)):
        with shown(quiet, terminal) as show:
            show(batch)
        assert terminal.getvalue() == ""
    terminal = Terminal()
    with shown(False, terminal) as show:
        show(batch)
        batch.state = "finished"
        show(batch)
    assert terminal.getvalue().count("\r") == 2
    assert terminal.getvalue().endswith("\n")


def test_what_is_said_of_many_scenes_is_said_once_with_a_count(caplog, capsys):
    logger = logging.getLogger("geounet.test")
    handler = logging.StreamHandler(stream := io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        with said_once():
            for name in ("a", "b", "c"):
                logger.warning("%s: bands are taken by their names", name)
            logger.warning("something else")
    finally:
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == "a: bands are taken by their names\nsomething else\n"
    assert "of 2 more scenes" in capsys.readouterr().err


def test_a_table_and_a_plan_hold_all_scenes():
    batch = batch_of(a="done", b="failed", c="kept", d="waiting")
    batch.scenes[0].hectares = {"water": 1.25}
    text = "\n".join(summary(batch))
    counts = "4 scenes in 0:04: 1 done, 1 kept, 1 waiting, 1 failed"
    for words in ("done (new)", "failed", "kept", "by class: water 1.2 ha", counts):
        assert words in text
    batch = batch_of(a="unchanged", b="failed", c="kept", d="waiting")
    batch.speed = 100_000.0
    plan = "\n".join(todo(batch))
    assert "1 of 4 scenes to do, 1.00 Mpx, about 0:10" in plan


@pytest.fixture
def place(tmp_path, monkeypatch, write_scene):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(1, 250, (2, 40, 50)).astype(np.uint8)
        write_scene(tmp_path / f"s{number}.tif", pixels)
    make_model(tmp_path / "m.safetensors")
    return tmp_path


def run(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


RUN = ("run", "s0.tif", "s1.tif", "s2.tif", "-m", "m.safetensors", "-o", "out")


def test_exits_tables_and_status(place):
    code, out, _ = run(*RUN, "--dry-run")
    assert (code, out.count("done (new)")) == (0, 3)
    assert not (place / "out").exists()
    (place / "s1.tif").write_text("no raster")
    code, _, said = run(*RUN)
    assert code == 3
    assert "geounet: s1.tif: s1.tif is not a raster" in said
    assert "geounet: 1 of 3 scenes failed" in said
    code, out, _ = run("status", "out")
    assert code == 0
    assert "finished: 2 of 3 scenes done, 0 running, 1 failed" in out
    told = json.loads(run("status", "out", "--json")[1])
    assert told["counts"] == {"done": 2, "failed": 1}
    assert told["hectares"]
    (place / "s0.tif").write_text("no raster")
    (place / "s2.tif").write_text("no raster")
    assert run(*RUN, "--overwrite")[0] == 1
    assert run("status", "nowhere")[0] == 1
