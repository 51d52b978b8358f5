"""A training leaves a report that tells of it, and shows beforehand what the network would see."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from browser import parsed
from click.testing import CliRunner
from geounet_pipelines.main import cli
from PIL import Image

from geounet.errors import ModelError, OutputError
from geounet.models.model_file import read_card
from geounet.pages.review import heard_warnings
from geounet.tasks.train import Recipe, Source, show_samples, train
from geounet.training.augment import Augment
from geounet.training.loop import Schedule

TINY = Recipe(depth=1, width=4, patch_size=16, batch_size=4, patches=8, precision="fp32", val_fraction=0.3)


@pytest.fixture
def source(tmp_path, write_scene):
    """Two scenes at two places, the left half dark and the right half bright; a third image without a label."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in (1, 2):
        place = {"transform": Affine(10, 0, 480_000 + 9000 * number, 0, -10, 5_430_000)}
        codes = np.where(np.arange(64) < 32, 10, 70).astype(np.uint8)[None].repeat(48, axis=0)
        image = np.random.default_rng(number).normal(3.0 * codes, 9, (3, 48, 64)).clip(1, 255).astype(np.uint8)
        write_scene(tmp_path / f"images/s{number}.tif", image, **place)
        write_scene(tmp_path / f"labels/s{number}.tif", codes, **place)
    write_scene(tmp_path / "images/lone.tif", image, transform=Affine(10, 0, 9e5, 0, -10, 5e6))
    return Source((tmp_path / "images",), (tmp_path / "labels",))


def test_a_training_writes_the_report_that_its_history_and_model_give(source, tmp_path):
    history = []
    train(
        source, tmp_path / "m.safetensors", recipe=TINY, schedule=Schedule(3), page=tmp_path / "m.html",
        command="geounet train x", report=history.append,
    )  # fmt: skip
    text = " ".join(parsed((tmp_path / "m.html").read_text()).texts)
    best = max(result.mean_iou for result in history)
    assert f"{best:.3f}" in text
    assert f"{read_card(tmp_path / 'm.safetensors').metrics['mean_iou']:.3f}" in text
    for told in ("geounet train x", "lone.tif has no label", "float32 on cpu", "epoch that was kept, of 3",
                 "Worst validation patches", "UNet of depth 1, width 4"):  # fmt: skip
        assert told in text
    # A split by place cuts the two scenes into rectangles, all of which are on the map.
    areas = re.search(r"training \((\d)\) *validation \((\d)\)", text)
    assert 3 <= int(areas[1]) + int(areas[2]) <= 6
    assert text.count("of 2 images") >= 1


def test_a_training_that_breaks_off_leaves_its_report_too(source, tmp_path):
    def stop(result):
        if result.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            source, tmp_path / "m.safetensors", recipe=TINY, schedule=Schedule(9), page=tmp_path / "m.html", report=stop
        )
    assert "epoch that was kept, of 2" in (tmp_path / "m.html").read_text()
    (tmp_path / "n.html").write_text("mine")
    with pytest.raises(OutputError, match=r"n\.html exists"):
        train(source, tmp_path / "n.safetensors", recipe=TINY, schedule=Schedule(1), page=tmp_path / "n.html")
    assert (tmp_path / "n.html").read_text() == "mine"


def test_samples_are_what_the_seed_draws_in_class_colours(source, tmp_path):
    """Twice the same; another seed, or no augmentation, another picture; no more patches than an epoch has."""
    pictures = []
    for number, recipe in enumerate((TINY, TINY, replace(TINY, seed=7), replace(TINY, augment=None))):
        assert show_samples(source, tmp_path / f"{number}.png", recipe=recipe) == 8
        pictures.append((tmp_path / f"{number}.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3
    shown = np.array(Image.open(tmp_path / "0.png").convert("RGB")).astype(int)
    for color in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
        assert (np.abs(shown - color).max(axis=-1) < 8).sum() > 50_000


def run(tmp_path, *args):
    words = ["train", tmp_path / "images", "--labels", tmp_path / "labels", "--depth", 1, "--width", 4, "--patch-size",
             16, "--patches", 8, "--epochs", 1, "-o", tmp_path / "m.safetensors", *args]  # fmt: skip
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.usefixtures("source")
def test_the_command_shows_samples_and_trains_nothing(tmp_path):
    result = run(tmp_path, "--show-samples", tmp_path / "s.png")
    assert "s.png: 8 patches; without --show-samples the same command trains" in result.stderr
    assert Image.open(tmp_path / "s.png").width > 500
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("args", "where"), [((), "m.html"), (("--report", "other.html"), "other.html"), (("--no-report",), None)]
)
def test_the_report_lies_beside_the_model_unless_told_otherwise(tmp_path, args, where):
    given = [tmp_path / word if word.endswith(".html") else word for word in args]
    result = run(tmp_path, *given)
    assert {path.name for path in tmp_path.glob("*.html")} == ({where} if where else set())
    assert (where is not None) == (f"; report {tmp_path / str(where)}" in result.stderr)


@pytest.mark.usefixtures("source")
def test_amounts_of_augmentation_reach_the_patches_and_bad_ones_are_named(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "geounet.tasks.train.show_samples", lambda *_args, recipe, **_: seen.append(recipe.augment) or 1
    )
    run(tmp_path, "--show-samples", tmp_path / "s.png", "--rotate", 10, "--scale", "0.9,1.2", "--band-drop", 0.3,
        "--noise", 0.2, "--jitter", 0)  # fmt: skip
    run(tmp_path, "--show-samples", tmp_path / "s.png", "--no-augment")
    assert seen == [Augment(rotation=10, scale=(0.9, 1.2), band_drop=0.3, noise=0.2, jitter=0), None]
    with pytest.raises(ModelError, match=r"1\.2 to 0\.9"):
        run(tmp_path, "--scale", "1.2,0.9")


def test_warnings_are_heard_once_and_only_meanwhile():
    log = logging.getLogger("geounet.anything")
    with heard_warnings() as heard:
        for _ in range(2):
            log.warning("%s is odd", "a.tif")
        log.info("nothing")
    log.warning("later")
    assert heard == ["a.tif is odd"]
