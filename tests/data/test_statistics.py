"""Statistics are those of all valid pixels together, however the scenes are cut while reading."""

import logging

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geounet.classes import LandClass
from geounet.data import statistics
from geounet.data.pairing import pair_labels
from geounet.data.statistics import choose_classes, class_weights, collect
from geounet.errors import LabelError, SceneError

SHAPES = [(9, 23), (1, 1), (17, 5)]
TABLE = (LandClass(10, "water", "#0000ff"), LandClass(70, "forest", "#008000"), LandClass(0, "field", "#ffff00"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, write_scene):
    """Pairs of images and labels, and of each the values (2, pixels) and codes where the image is valid."""
    folder, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    images, labels, values, codes = [], [], [], []
    for index, shape in enumerate(SHAPES):
        array = random.integers(9_000, 9_100, (2, *shape)).astype(np.int16)
        array[1] = 30_000 - index
        invalid = random.random(shape) < 0.2 * (index != 1)
        array[:, invalid] = -32768
        drawn = random.choice(np.array([10, 70, 0, 255], np.uint8), shape)
        images.append(write_scene(folder / f"{index}.tif", array, nodata=-32768, scales=(0.5, 1), offsets=(3, 0)))
        labels.append(write_scene(folder / f"{index}_label.tif", drawn))
        values.append(array[:, ~invalid] * np.array([[0.5], [1]]) + np.array([[3], [0]]))
        codes.append(drawn[~invalid])
    return pair_labels(images, labels), np.concatenate(values, axis=1), np.concatenate(codes)


@given(strip=st.integers(1, 30))
def test_moments_and_counts_are_numpys_over_all_valid_pixels(scenes, strip):
    pairs, values, codes = scenes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_STRIP", strip)
        found = collect(pairs)
    for band, expected in zip(found.bands, values, strict=True):
        assert band.mean == pytest.approx(expected.mean(), rel=1e-7)
        assert band.std == pytest.approx(expected.std(), rel=1e-5)
        assert (band.minimum, band.maximum) == (expected.min(), expected.max())
    np.testing.assert_array_equal(found.counts, np.bincount(codes, minlength=256))


def test_a_small_spread_on_a_large_offset_does_not_cancel(tmp_path, write_scene):
    array = 1e7 + np.arange(60, dtype=np.float64).reshape(5, 12)
    image = write_scene(tmp_path / "image.tif", array)
    label = write_scene(tmp_path / "label.tif", np.zeros((5, 12), np.uint8))
    (band,) = collect(pair_labels([image], [label])).bands
    assert band.std == pytest.approx(array.std(), rel=1e-3)


def test_bands_carry_their_names_and_numbers(tmp_path, write_scene):
    array = np.arange(24, dtype=np.int16).reshape(3, 2, 4)
    image = write_scene(tmp_path / "image.tif", array, descriptions=("blue", None, "red"))
    label = write_scene(tmp_path / "label.tif", np.zeros((2, 4), np.uint8))
    found = collect(pair_labels([image], [label], bands=[3, 2])).bands
    assert [(band.name, band.number, band.mean) for band in found] == [("red", 3, 19.5), ("band_2", 2, 11.5)]


def test_a_constant_band_is_warned_of_and_keeps_a_std_to_divide_by(tmp_path, write_scene, caplog):
    array = np.stack([np.full((4, 5), 77, np.uint8), np.arange(20, dtype=np.uint8).reshape(4, 5)])
    image = write_scene(tmp_path / "image.tif", array)
    label = write_scene(tmp_path / "label.tif", np.zeros((4, 5), np.uint8))
    with caplog.at_level(logging.WARNING):
        first, second = collect(pair_labels([image], [label])).bands
    assert (first.mean, first.std) == (77, 1)
    assert second.std == pytest.approx(np.arange(20).std())
    (record,) = caplog.records
    assert "band 1 " in record.getMessage()
    assert "constant (77)" in record.getMessage()


def test_a_band_that_is_constant_but_for_rounding_is_warned_of(tmp_path, write_scene, caplog):
    image = write_scene(tmp_path / "image.tif", np.full((50, 70), 0.1, np.float32))
    label = write_scene(tmp_path / "label.tif", np.zeros((50, 70), np.uint8))
    (band,) = collect(pair_labels([image], [label])).bands
    assert band.std == 1
    assert "constant" in caplog.text


def test_unequal_numbers_of_bands_are_refused_with_the_file(tmp_path, write_scene):
    images = [write_scene(tmp_path / f"{count}.tif", np.zeros((count, 2, 3), np.uint8)) for count in (3, 2)]
    label = write_scene(tmp_path / "label.tif", np.zeros((2, 3), np.uint8))
    with pytest.raises(SceneError, match=r"\[2, 3\] bands, .*2\.tif the fewest.*--bands"):
        collect(pair_labels(images, [label]))


def test_images_without_a_valid_pixel_are_refused(tmp_path, write_scene):
    image = write_scene(tmp_path / "image.tif", np.zeros((2, 3), np.uint8), nodata=0)
    label = write_scene(tmp_path / "label.tif", np.zeros((2, 3), np.uint8))
    with pytest.raises(SceneError, match=r"1 images holds a valid pixel, .*image\.tif"):
        collect(pair_labels([image], [label]))


# --- classes -----------------------------------------------------------------------------------------------------


def counted(**codes):
    counts = np.zeros(256, np.int64)
    for name, count in codes.items():
        counts[int(name.removeprefix("code_"))] = count
    return counts


def test_without_a_table_the_codes_found_are_the_classes():
    found = choose_classes(counted(code_70=4, code_3=1, code_255=9), ())
    assert [item.value for item in found] == [3, 70]


def test_a_table_decides_on_classes_and_order_and_absent_ones_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_classes(counted(code_0=4, code_10=1, code_33=8), TABLE) == TABLE
    (record,) = caplog.records
    assert "class 70 (forest)" in record.getMessage()


@pytest.mark.parametrize(("counts", "table"), [
    (counted(code_255=8), ()), (counted(code_7=8), ()), (counted(code_33=8), TABLE), (counted(code_10=8), TABLE[:1]),
])  # fmt: skip
def test_too_few_classes_are_refused_with_what_was_found(counts, table):
    values = np.flatnonzero(counts[:255]).tolist()
    with pytest.raises(
        LabelError, match=rf"at least two classes; the labels hold the values \[{', '.join(map(str, values))}\]"
    ):
        choose_classes(counts, table)


def test_weights_are_the_inverse_root_of_frequency_with_a_mean_of_one():
    weights = class_weights(counted(code_10=100, code_70=4, code_0=25, code_255=999), TABLE)
    expected = np.array([1 / 10, 1 / 2, 1 / 5])
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    assert weights.dtype == np.float32


@pytest.mark.parametrize(("text", "expected"), [("none", [1, 1, 1]), ("inverse", [3 / 30, 3 * 25 / 30, 3 * 4 / 30])])
def test_other_weights_by_frequency_have_a_mean_of_one(text, expected):
    """The inverses of 100, 4 and 25 pixels are as 1, 25 and 4."""
    weights = class_weights(counted(code_10=100, code_70=4, code_0=25, code_255=999), TABLE, text)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_a_class_that_does_not_occur_weighs_nothing_and_the_others_have_a_mean_of_one():
    weights = class_weights(counted(code_10=100, code_0=25), TABLE)
    np.testing.assert_allclose(weights, [2 / 3, 0, 4 / 3], rtol=1e-6)


def test_labels_off_the_images_ground_do_not_count(tmp_path, write_scene):
    image = write_scene(tmp_path / "image.tif", np.arange(6, dtype=np.uint8).reshape(2, 3))
    moved = Affine(10, 0, 480_010, 0, -10, 5_430_000)
    label = write_scene(tmp_path / "label.tif", np.full((2, 3), 7, np.uint8), transform=moved)
    counts = collect(pair_labels([image], [label])).counts
    assert (counts[7], counts[255]) == (4, 2)


def test_percentiles_are_those_of_all_valid_pixels_and_outliers_do_not_move_them(tmp_path, write_scene):
    random = np.random.default_rng(0)
    array = random.normal(500, 30, (2, 60, 70)).astype(np.float32)
    array[:, 20, :] = np.nan
    array[0, 40, :9] = 1e9
    pair = pair_labels(
        [write_scene(tmp_path / "i.tif", array)], [write_scene(tmp_path / "l.tif", np.zeros((60, 70), np.uint8))]
    )
    valid = array[:, np.isfinite(array[0])]
    low, middle, high = np.percentile(valid, (2, 50, 98), axis=1)
    bands = collect(pair, robust=True).bands
    assert [band.mean for band in bands] == pytest.approx(middle, rel=1e-6)
    assert [band.std for band in bands] == pytest.approx((high - low) / 2 / 2.0537, rel=1e-4)
    assert bands[0].std == pytest.approx(30, rel=0.1)
    assert collect(pair).bands[0].std > 1e6


def test_percentiles_of_many_pixels_are_near_those_of_all(monkeypatch, tmp_path, write_scene):
    monkeypatch.setattr(statistics, "_SAMPLE", 4000)
    monkeypatch.setattr(statistics, "_STRIP", 50)
    array = np.sort(np.random.default_rng(0).gamma(2, 100, 40_000)).reshape(200, 200).astype(np.float32)
    pair = pair_labels(
        [write_scene(tmp_path / "i.tif", array)], [write_scene(tmp_path / "l.tif", np.zeros((200, 200), np.uint8))]
    )
    (band,) = collect(pair, robust=True).bands
    low, middle, high = np.percentile(array, (2, 50, 98))
    assert band.mean == pytest.approx(middle, rel=0.05)
    assert band.std == pytest.approx((high - low) / 2 / 2.0537, rel=0.05)


def test_a_band_constant_but_for_few_pixels_keeps_a_spread(tmp_path, write_scene):
    array = np.zeros((60, 70), np.uint8)
    array[3, 4] = 9
    pair = pair_labels(
        [write_scene(tmp_path / "i.tif", array)], [write_scene(tmp_path / "l.tif", np.zeros((60, 70), np.uint8))]
    )
    assert collect(pair, robust=True).bands[0].std == pytest.approx(array.std())
