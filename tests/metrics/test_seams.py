"""Seams are found where they were put, at their tile size and offset, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from geounet.errors import LabelError
from geounet.metrics import evaluation
from geounet.metrics.evaluation import measure_seams
from geounet.metrics.seams import SeamQuality, seam_counts

SIZE, OFFSET = 32, 5


def smooth(seed=1, height=210, width=250):
    """A map of patches some ten pixels across."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 4)
    return np.digitize(field, np.quantile(field, [0.4, 0.75])).astype(np.uint8)


def with_seams(classes):
    """Every other tile is moved a little, so that patches do not meet at its borders."""
    changed = classes.copy()
    for row in range(OFFSET, classes.shape[0], SIZE):
        for col in range(OFFSET, classes.shape[1], SIZE):
            tile = slice(row, row + SIZE), slice(col, col + SIZE)
            changed[tile] = np.roll(classes, 12 * ((row // SIZE + col // SIZE) % 2), (0, 1))[tile]
    return changed


def brute(array, size, offset):
    counts = np.zeros((2, size), int)
    for row in range(array.shape[0]):
        for col in range(array.shape[1]):
            for down, right in ((1, 0), (0, 1)):
                if row + down < array.shape[0] and col + right < array.shape[1]:
                    one, other = array[row, col], array[row + down, col + right]
                    line = (row + 1 if down else col + 1) - offset
                    counts[0, line % size] += one != 255 and other != 255
                    counts[1, line % size] += one != 255 and other not in (255, one)
    return counts


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 11)), elements=st.sampled_from([1, 2, 255])),
    st.integers(2, 6), st.integers(0, 7),
)  # fmt: skip
def test_pairs_are_counted_by_phase(array, size, offset):
    padded = np.pad(array, ((0, 1), (0, 1)), constant_values=255)
    assert (seam_counts(padded, 0, 0, size, offset) == brute(array, size, offset)).all()


@pytest.mark.parametrize("window", [7, 64, 4096])
def test_counts_do_not_depend_on_the_windows(tmp_path, write_scene, monkeypatch, window):
    classes = smooth(height=70, width=90)
    classes[20:30, 40:60] = 255
    monkeypatch.setattr(evaluation, "_WINDOW", window)
    found = measure_seams(write_scene(tmp_path / "p.tif", classes, nodata=255), 16, offset=3)
    assert (np.stack([found.pairs, found.differing]) == brute(classes, 16, 3)).all()


def test_an_injected_seam_stands_out_at_its_own_tiles_only(tmp_path, write_scene):
    path = write_scene(tmp_path / "p.tif", with_seams(smooth()))
    found = measure_seams(path, SIZE, offset=OFFSET)
    assert found.ratio > 2
    assert found.z_score > 6
    assert abs(measure_seams(path, SIZE, offset=OFFSET + 9).z_score) < 3


@pytest.mark.parametrize("seed", range(4))
def test_a_map_without_seams_shows_none(tmp_path, write_scene, seed):
    found = measure_seams(write_scene(tmp_path / "p.tif", smooth(seed)), SIZE, offset=OFFSET)
    assert found.ratio == pytest.approx(1, abs=0.35)
    assert abs(found.z_score) < 3


def test_a_map_of_one_class_says_none_rather_than_dividing_by_nothing():
    told = SeamQuality(4, 0, np.array([5, 9, 9, 9]), np.zeros(4, int)).to_dict()
    assert told["differing_at_borders"] == 0
    assert (told["ratio"], told["z_score"]) == (None, None)


def test_a_seam_in_a_map_that_is_else_constant_is_finite_in_z():
    found = SeamQuality(4, 0, np.array([50, 90, 90, 90]), np.array([10, 0, 0, 0]))
    assert found.z_score > 3
    assert found.to_dict()["ratio"] is None


def test_a_raster_of_one_tile_and_polygons_are_refused(tmp_path, write_scene):
    with pytest.raises(LabelError, match="20 x 30 pixels, has no border between tiles of 64"):
        measure_seams(write_scene(tmp_path / "p.tif", np.ones((20, 30), np.uint8)), 64)
    with pytest.raises(LabelError, match="polygons"):
        measure_seams(tmp_path / "p.gpkg", 64)
