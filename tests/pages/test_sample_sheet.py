"""The sheet shows the patches as they are: image left, label right, in the classes' colours."""

import numpy as np
import pytest
from PIL import Image

from geounet.classes import LandClass
from geounet.errors import OutputError
from geounet.pages.sample_sheet import columns, mosaic, write_sample_sheet

CLASSES = (LandClass(10, "dark $ground$", "#000080"), LandClass(70, "bright", "#f0e442"))


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_each_image_has_its_label_to_the_right_and_none_is_missing(count):
    rng = np.random.default_rng(count)
    images, labels = rng.integers(1, 255, (2, count, 12, 20, 4)).astype(np.uint8)
    sheet = mosaic(images, labels)
    across = columns(count)
    assert across**2 <= count
    step_rows, step_cols = 12 + 1, 2 * 20 + 1 + 1
    for index in range(count):
        top, left = index // across * step_rows, index % across * step_cols
        np.testing.assert_array_equal(sheet[top : top + 12, left : left + 20], images[index])
        np.testing.assert_array_equal(sheet[top : top + 12, left + 21 : left + 41], labels[index])
    assert (sheet != 0).all(axis=-1).sum() == 2 * count * 12 * 20


def test_the_png_shows_labels_in_class_colours_and_images_stretched_alike(tmp_path):
    """One patch dark, one bright: a stretch of its own would make them equal. What is 0 in all bands is blank."""
    images = np.random.default_rng(0).normal(0, 0.01, (4, 3, 40, 40))
    images[:2] += 1
    images[2:] -= 1
    images[0, :, :20] = 0
    labels = np.zeros((4, 40, 40), np.int64)
    labels[1] = 1
    labels[3] = 255
    out = tmp_path / "s.png"
    write_sample_sheet(images, labels, out, band_names=("a", "b", "c"), classes=CLASSES, title="4 patches")
    shown = np.array(Image.open(out).convert("RGB")).astype(int)
    side = 190 * 190

    def share(rgb):
        return (np.abs(shown - rgb).max(axis=-1) < 8).sum() / side

    assert share(CLASSES[0].rgb) == pytest.approx(2, abs=0.1)
    assert share(CLASSES[1].rgb) == pytest.approx(1, abs=0.1)
    bright, dark = (shown.min(axis=-1) > 200).sum() / side, (shown.max(axis=-1) < 60).sum() / side
    assert dark == pytest.approx(2, abs=0.15)
    assert bright > 1.5
    # What is 0 in all bands would lie in the middle, were it not blank.
    assert ((shown > 90) & (shown < 170)).all(axis=-1).sum() / side < 0.1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_sample_sheet(
            np.zeros((1, 1, 8, 8)), np.zeros((1, 8, 8), int), tmp_path / "file" / "s.png",
            band_names=("a",), classes=CLASSES, title="",
        )  # fmt: skip
