"""The report of a training holds its numbers and pictures, warns, stands alone, and opens in a browser."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import shapely
import torch
from browser import BROWSER, console, parsed
from PIL import Image
from untrained import CLASSES, make_model

from geounet.grid import Window
from geounet.pages.review import Footprints, PatchView, Review
from geounet.pages.training import training_page, write_training_page
from geounet.training.loop import EpochResult

MATRIX = torch.tensor([[500, 100, 0], [30, 400, 20], [0, 77, 9000]])


def patch(name, value, mean_iou):
    image = np.full((20, 30, 4), value, np.uint8)
    codes = np.full((20, 30), 10, np.uint8)
    codes[:5] = 255
    return PatchView(f"/data/{name}.tif", Window(16, 32, 20, 30), image, codes, np.full_like(codes, 254), mean_iou)


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    card = make_model(tmp_path_factory.mktemp("model") / "model.safetensors")
    history = tuple(
        EpochResult(
            epoch, 2 / epoch, MATRIX * epoch, 70.0 * epoch, epoch / 4, 2.5 / epoch, 0.01 / epoch, best=epoch != 4
        )
        for epoch in range(1, 5)
    )
    counts = np.zeros(256, np.int64)
    counts[[10, 30, 254, 255]] = 1000, 250, 8750, 4321
    return Review(
        "runs/model <1>.safetensors",
        replace(card, command="geounet train 'a b' <c>", versions={"geounet": "0.1.0", "torch": "2"}),
        history,
        counts,
        (
            Footprints("training", (shapely.box(10, 50, 10.2, 50.1), shapely.box(10.2, 50, 10.4, 50.1))),
            Footprints("validation", (shapely.box(10.6, 50, 10.8, 50.1),)),
        ),
        (patch("worst", 60, 0.123),),
        (patch("best", 200, 0.987),),
        {"Precision": "bf16 & more"},
        ("3 images were left out.",),
    )


def text_of(page):
    return " ".join(parsed(page).texts)


def test_every_part_is_there_with_its_numbers_and_names_are_escaped(review):
    page = training_page(review)
    text = text_of(page)
    for head in ("Curves", "Loss", "IoU on validation", "Learning rate", "Classes on validation", "Confusion matrix",
                 "Worst validation patches", "Best validation patches", "Class balance", "Where the data are",
                 "Command"):  # fmt: skip
        assert head in text
    for told in ("model <1>.safetensors", "geounet train 'a b' <c>", "bf16 & more", "3 images were left out.",
                 "field & hedge", "torch 2", "training (2)", "validation (1)", "5 min"):  # fmt: skip
        assert told in text
    scores = review.evaluation
    assert review.chosen.epoch == 3
    np.testing.assert_array_equal(scores.matrix, MATRIX * 3)
    for value in (*scores.iou, *scores.f1, *scores.recall, scores.mean_iou, scores.accuracy, 0.123, 0.987):
        assert f"{value:.3f}" in text
    for count in (*scores.matrix.ravel(), 1000, 250, 8750, 4321):
        assert f"{count:,}" in text
    assert "87.5%" in text
    assert "worst.tif, row 16, column 32" in text


def test_it_stands_alone_and_runs_nothing(review):
    page = training_page(review)
    checker = parsed(page)
    assert not {"script", "iframe", "object", "form"} & set(checker.tags)
    assert len(checker.links) > 6
    assert all(link.startswith("data:") for link in checker.links)
    assert not re.search(r"url\(|@import", page)
    assert "nan" not in page.split("</style>")[1].lower().replace("data:image", "")


def test_patches_are_shown_as_image_reference_and_prediction(review):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', training_page(review))
    pictures = [np.array(Image.open(io.BytesIO(base64.b64decode(code)))) for code in found]
    assert len(pictures) == 6
    image, reference, predicted = pictures[:3]
    assert (image == 60).all()
    assert (reference[5:] == (*CLASSES[0].rgb, 255)).all()
    assert (reference[:5, :, 3] == 0).all()
    assert (predicted == (*CLASSES[2].rgb, 255)).all()


def test_it_warns_of_what_its_numbers_do_not_hold(review):
    empty = MATRIX.clone()
    empty[1] = 0
    empty[0] = torch.tensor([0, 3, 0])
    empty[2, 0] = 0
    history = tuple(EpochResult(epoch, 1.0, empty, 1.0, 1.0) for epoch in (1, 2))
    text = text_of(training_page(replace(review, history=history)))
    assert "No validation label is of class built up" in text
    assert "Class water is 3 of 9,080 validation pixels (0.03%)" in text
    assert "No pixel is predicted as water" in text
    assert "The last epoch was the best one" in text
    assert "No validation label" not in text_of(training_page(review))


def test_without_validation_and_without_a_place_it_says_so(review):
    history = (EpochResult(1, 0.5, None, 30.0, 1.0),)
    page = training_page(replace(review, history=history, footprints=(Footprints("training", ()),), worst=(), best=()))
    text = text_of(page)
    assert "how good this model is on other ground is not known" in text
    assert "no georeference" in text
    assert "Confusion" not in text
    assert "30 s" in text
    assert "<img" not in page


@pytest.mark.server
@pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_it_without_a_complaint_and_fetches_nothing(tmp_path, review):
    file = tmp_path / "page.html"
    write_training_page(review, file)
    assert console(file) == []
    shown = np.array(Image.open(file.with_suffix(".png")).convert("RGB"))
    # A patch's prediction and the validation footprint's edge, in their colours, are on the page.
    assert (shown == CLASSES[2].rgb).all(axis=-1).sum() > 10_000
    assert (np.abs(shown.astype(int) - (213, 94, 0)).max(axis=-1) < 3).sum() > 100
