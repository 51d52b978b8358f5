"""`geounet train`: interrupted by a signal, killed, gone on with, logged, and asked for what it cannot do."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli
from safetensors.torch import load_file

from geounet.errors import GeounetError, ModelError, OutputError
from geounet.models.model_file import load_model, read_card
from geounet.training.log import log_path
from geounet.training.state import state_path

EPOCHS = 12
SMALL = [
    "--depth",
    "1",
    "--width",
    "9",  # Narrower weights are all AdamW's.
    "--patch-size",
    "16",
    "--batch-size",
    "2",
    "--patches",
    "8",
    "--learning-rate",
    "0.01",
    "--precision",
    "fp32",
]


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other's threads; and the bits depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_scene):
    """An image of two bands whose classes are a band's sign, and one to validate on, elsewhere."""
    folder = tmp_path_factory.mktemp("place")
    random = np.random.default_rng(0)
    for number, name in enumerate(("train", "val")):
        image = random.normal(0, 1, (2, 40, 56)).astype(np.float32)
        where = {"transform": Affine(10, 0, 480_000 + 10_000 * number, 0, -10, 5_430_000)}
        write_scene(folder / f"{name}.tif", image, **where)
        write_scene(folder / f"{name}_labels.tif", np.where(image[0] > image[1], 2, 1).astype(np.uint8), **where)
    return folder


def words(place, out, *more, epochs=EPOCHS):
    given = [place / "train.tif", "--labels", place / "train_labels.tif", "-o", out, "--epochs", epochs, *SMALL]
    validation = ["--val", place / "val.tif", "--val-labels", place / "val_labels.tif"]
    return ["train", *map(str, (*given, *validation, *more))]


def run(place, out, *more, **given):
    """The command in this process."""
    return CliRunner().invoke(cli, words(place, out, *more, **given), catch_exceptions=False)


def start(place, out, *more):
    """The command as a process of its own."""
    # A shell's background jobs ignore SIGINT, and so would what they start.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code += "; from geounet_pipelines.main import main; main()"
    command = [sys.executable, "-c", code, *words(place, out, *more)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=one_thread)


def rows(out):
    if not log_path(out).exists():
        return []
    with log_path(out).open() as file:
        return list(csv.DictReader(file))


def wait_for_epochs(count, out, process, seconds=120):
    deadline = time.monotonic() + seconds
    while len(rows(out)) < count:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)


HOW = ("--ema", 0.9, "--accumulate", 2, "--loss", "ce+jaccard", "--boundary-weight", 2, "--label-smoothing", 0.05)


@pytest.mark.fault
def test_ctrl_c_leaves_the_best_so_far_and_a_killed_training_goes_on_bit_for_bit(place, tmp_path):
    """Ctrl-C, then kill -9 of what went on, then to the end: the file and the log of an undisturbed training."""
    out, whole = tmp_path / "m.safetensors", tmp_path / "whole.safetensors"
    process = start(place, out, *HOW)
    wait_for_epochs(2, out, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    done = len(rows(out))
    assert process.returncode == 130, errors.decode()
    card = read_card(out)
    last = errors.decode().splitlines()[-1]
    assert last.startswith(f"geounet: interrupted; {out} is the best so far: epoch {card.metrics['epoch']}, validation")
    assert last.endswith("--resume goes on")
    assert "Traceback" not in errors.decode()
    load_model(out)

    process = start(place, out, *HOW, "--resume")
    wait_for_epochs(done + 2, out, process)
    process.kill()
    process.communicate()
    assert 2 < len(rows(out)) < EPOCHS
    assert state_path(out).exists()

    result = run(place, out, *HOW, "--resume")
    assert result.exit_code == 0, result.output
    assert not state_path(out).exists()
    run(place, whole, *HOW)
    assert_same_training(out, whole)


def assert_same_training(out, other):
    one, two = load_file(out), load_file(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert read_card(out).metrics == read_card(other).metrics
    assert len(rows(out)) == len(rows(other)) == EPOCHS
    for one_row, other_row in zip(rows(out), rows(other), strict=True):
        assert {**one_row, "seconds": ""} == {**other_row, "seconds": ""}


def test_the_log_says_what_the_model_file_says(place, tmp_path):
    """A row an epoch; the best of them is the model file's; the rate rises and falls."""
    out = tmp_path / "m.safetensors"
    run(place, out, epochs=6)
    log, card = rows(out), read_card(out)
    assert [row["epoch"] for row in log] == [str(number) for number in range(1, 7)]
    assert [row["steps"] for row in log] == [str(4 * number) for number in range(1, 7)]
    best = [row for row in log if row["best"] == "1"][-1]
    assert int(best["epoch"]) == card.metrics["epoch"]
    assert float(best["mean_iou"]) == pytest.approx(card.metrics["mean_iou"], rel=1e-5)
    assert float(best["mean_iou"]) == max(float(row["mean_iou"]) for row in log)
    for item in card.classes:
        iou, f1 = float(best[f"iou_{item.name}"]), float(best[f"f1_{item.name}"])
        assert iou == pytest.approx(card.metrics["iou"][item.name], rel=1e-5)
        assert f1 == pytest.approx(2 * iou / (1 + iou), rel=1e-4)
    rates = [float(row["learning_rate"]) for row in log]
    assert rates == sorted(rates, reverse=True)
    assert float(log[-1]["loss"]) < float(log[0]["loss"])


def test_tensorboard_gets_the_same_numbers(place, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "m.safetensors"
    assert run(place, out, "--tensorboard", tmp_path / "events", epochs=2).exit_code == 0
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for tag, column in (("loss/training", "loss"), ("loss/validation", "validation_loss"), ("mean_iou", "mean_iou")):
        assert [event.step for event in events.Scalars(tag)] == [1, 2]
        expected = [float(row[column]) for row in rows(out)]
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(expected, rel=1e-4)
    assert {f"iou/{item.name}" for item in read_card(out).classes} <= set(events.Tags()["scalars"])


def test_tensorboard_that_is_not_installed_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OutputError, match="pip install tensorboard"):
        run(place, tmp_path / "m.safetensors", "--tensorboard", tmp_path / "events", epochs=1)


@pytest.mark.fault
def test_an_interrupted_training_is_neither_lost_nor_mixed_up(place, tmp_path):
    """The same goes on; other settings are refused, with --resume too; --overwrite begins anew."""
    out = tmp_path / "m.safetensors"
    run(place, out, epochs=1)
    # As a training leaves it that was interrupted after an epoch.
    process = start(place, out, "--overwrite")
    wait_for_epochs(1, out, process)
    while not state_path(out).exists():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    with pytest.raises(OutputError, match="was interrupted; --resume goes on with it, --overwrite begins anew"):
        run(place, out, "--loss", "ce")
    assert state_path(out).exists()
    with pytest.raises(ModelError, match=r"loss was \"ce\+dice\" and is \"ce\".* give the same to --resume"):
        run(place, out, "--resume", "--loss", "ce")
    assert run(place, out, "--overwrite", epochs=2).exit_code == 0
    assert not state_path(out).exists()
    assert len(rows(out)) == 2
    with pytest.raises(OutputError, match="exists"):
        run(place, out, "--resume", epochs=2)


def test_the_optimizer_is_the_one_asked_for_and_pretrained_weights_go_on_with_adamw(place, tmp_path):
    """As the report says, and as the weights show: those of hidden layers differ after the first epoch."""

    def trained(name, *more):
        out = tmp_path / f"{name}.safetensors"
        assert run(place, out, *more, epochs=1).exit_code == 0
        return load_file(out), out.with_suffix(".html").read_text(encoding="utf-8")

    (auto, told), (muon, _) = trained("auto"), trained("muon", "--optimizer", "muon")
    adamw, told_adamw = trained("adamw", "--optimizer", "adamw")
    _, told_pretrained = trained("pretrained", "--weights", tmp_path / "auto.safetensors")
    assert all(torch.equal(auto[name], muon[name]) for name in auto)
    assert not torch.equal(auto["contracting.0.3.weight"], adamw["contracting.0.3.weight"])
    assert "AdamW and Muon, learning rate 0.01" in told
    for page in (told_adamw, told_pretrained):
        assert "AdamW, learning rate 0.01" in page


def test_resume_of_nothing_begins(place, tmp_path):
    assert run(place, tmp_path / "m.safetensors", "--resume", epochs=1).exit_code == 0


def test_pretrained_weights_and_a_frozen_encoder(place, tmp_path):
    """Gone on from a model file of ours: the encoder is that file's until it may learn."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run(place, first, epochs=1)
    more = ("--weights", first, "--freeze-encoder", 1, "--seed", 9)
    assert run(place, second, *more, epochs=1).exit_code == 0
    before, after = load_file(first), load_file(second)
    same = {name for name in before if torch.equal(before[name], after[name])}
    encoder = {name for name in before if name.startswith(("first.", "contracting.")) and "num_batches" not in name}
    assert len(encoder) > 10
    assert encoder <= same
    assert not any(name.endswith("weight") for name in same - encoder)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (("--freeze-encoder", 1), ModelError, "--freeze-encoder needs --weights"),
        (("--weights", "absent.pth"), ModelError, r"absent\.pth does not exist"),
        (("--class-weights", "1,2,3"), GeounetError, "for each of the 2 classes"),
        (("--class-weights", "rare"), GeounetError, "class weights are none, sqrt, inverse, or numbers"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(place, tmp_path, more, error, message):
    with pytest.raises(error, match=message):
        run(place, tmp_path / "m.safetensors", *more, epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_patience_needs_validation(place, tmp_path):
    given = ["train", place / "train.tif", "--labels", place / "train_labels.tif", "-o", tmp_path / "m.safetensors"]
    with pytest.raises(ModelError, match="--patience needs validation images"):
        CliRunner().invoke(cli, [*map(str, given), "--patience", "2"], catch_exceptions=False)
