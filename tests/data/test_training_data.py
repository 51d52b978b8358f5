"""Training and validation share nothing, and what is odd about the data is said in a sentence that names the file."""

import logging

import numpy as np
import pytest
from affine import Affine

from geounet.classes import LandClass
from geounet.data.pairing import pair_labels
from geounet.data.statistics import collect
from geounet.data.training_data import (
    check_leaks,
    check_numbers,
    class_shares,
    count_codes,
    split_pairs,
    teaching,
    tell_absent,
)
from geounet.errors import LabelError, SceneError

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
CLASSES = (LandClass(10, "water", "#0000ff"), LandClass(70, "forest", "#008000"))


@pytest.fixture
def pair(tmp_path, write_scene):
    """A function that writes an image and its label, some rows further south."""

    def make(name, codes, row=0, **profile):
        codes = np.asarray(codes, np.uint8)
        image = np.random.default_rng(row).integers(1, 200, (2, *codes.shape), np.uint8)
        where = {"transform": NORTH_UP @ Affine.translation(0, row)}
        files = (write_scene(tmp_path / f"{name}.tif", image, **where, **profile),
                 write_scene(tmp_path / f"{name}_label.tif", codes, **where))  # fmt: skip
        return pair_labels([files[0]], [files[1]])[0]

    return make


def codes_of(height, width, seed=0):
    return np.random.default_rng(seed).choice(np.array([10, 70, 255], np.uint8), (height, width))


def test_one_image_is_split_into_rectangles_that_share_no_pixel(pair):
    whole = pair("a", codes_of(120, 170))
    training, validation = split_pairs([whole], 0.25, seed=1, least=16)
    seen = np.zeros((120, 170), int)
    for weight, side in ((1, training), (10, validation)):
        for part in side:
            seen[part.region.within(whole.image.extent)] += weight
    assert set(np.unique(seen)) == {1, 10}
    assert (seen == 10).mean() == pytest.approx(0.25, rel=0.25)
    counts = sum(count_codes(part) for part in (*training, *validation))
    np.testing.assert_array_equal(counts, np.bincount(codes_of(120, 170).ravel(), minlength=256))


def test_a_rare_class_is_on_both_sides(pair):
    codes = np.full((10, 12, 20, 20), 10, np.uint8)
    codes[1], codes[7] = 70, 70
    pairs = [pair(f"p{n}", codes[n, 0], 40 * n) for n in range(10)]
    for seed in range(4):
        for side in split_pairs(pairs, 0.3, seed=seed, least=16):
            assert sum(count_codes(each) for each in side)[70] == 400


def test_shared_ground_is_refused_unless_it_is_allowed(pair, caplog):
    one, other, far = pair("one", codes_of(20, 20)), pair("two", codes_of(20, 20, 1), 15), pair("f", codes_of(9, 9), 99)
    check_leaks([one], [far], allowed=False)
    with pytest.raises(LabelError, match=r"two\.tif shares ground with .*one\.tif \(25%, 1\.0 ha\).*--allow-overlap"):
        check_leaks([one], [other, far], allowed=False)
    with caplog.at_level(logging.WARNING):
        check_leaks([one], [other, far], allowed=True)
    assert "two.tif shares ground with" in caplog.text


def test_labels_that_teach_nothing_are_named_and_left_out(pair, caplog):
    good, blank, other = (
        pair("good", codes_of(9, 9)),
        pair("blank", np.full((9, 9), 255)),
        pair("x", np.full((9, 9), 33)),
    )
    pairs = (good, blank, other)
    with caplog.at_level(logging.WARNING):
        kept, statistics = teaching(pairs, collect(pairs, known=[10, 70]))
    assert kept == (good,)
    assert len(statistics.coverages) == 1
    assert "blank_label.tif give no known class to any valid pixel of" in caplog.text
    assert "x_label.tif" in caplog.text


def test_a_class_that_validation_lacks_is_named(pair, caplog):
    with caplog.at_level(logging.WARNING):
        tell_absent([pair("v", np.full((9, 9), 10))], CLASSES)
    (record,) = caplog.records
    assert "class 70 (forest) occurs in no validation label" in record.getMessage()
    assert "v_label.tif" in record.getMessage()


def test_shares_of_classes():
    counts = np.zeros(256, np.int64)
    counts[[10, 70, 255]] = 900, 100, 5000
    absent = (*CLASSES, LandClass(3, "road", "#333333"))
    assert class_shares("none", counts, absent) == {}
    assert class_shares("equal", counts, absent) == {10: 0.5, 70: 0.5}
    assert class_shares("sqrt", counts, absent) == pytest.approx({10: 0.75, 70: 0.25})
    assert class_shares("forest=0.3, 10=0.2", counts, absent) == {70: 0.3, 10: 0.2}
    for wrong in ("forest", "city=0.3", "forest=much", ""):
        with pytest.raises(LabelError, match=r"--balance is no share.*10=0\.3 or water=0\.3.*forest"):
            class_shares(wrong, counts, CLASSES)


def test_images_of_which_some_state_a_scale_are_refused_with_counts(pair):
    """Different statements are one thing, for numbers are read by them; and the model card keeps what is stated."""
    plain = [pair(f"plain{number}", codes_of(4, 5), row=20 * number) for number in range(2)]
    tagged = pair("tagged", codes_of(4, 5), row=60, scales=[1e-4] * 2)
    other = pair("other", codes_of(4, 5), row=80, scales=[1e-4] * 2, offsets=[-0.1] * 2)
    check_numbers(plain)
    check_numbers([tagged, other])
    with pytest.raises(
        SceneError, match=r"1 of 3 images state a scale or an offset, such as .*tagged.tif \(scale 0.0001"
    ):
        check_numbers([*plain, tagged])
    assert [(band.scale, band.offset) for band in collect([tagged]).bands] == [(1e-4, 0.0)] * 2
    assert [(band.scale, band.offset) for band in collect(plain).bands] == [(1.0, 0.0)] * 2
