"""Boundary IoU: bands equal brute force, whatever the windows, and the authors' own construction in the middle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_erosion

from geounet.classes import LandClass
from geounet.metrics import evaluation
from geounet.metrics.boundaries import BoundaryScores, boundary_band
from geounet.metrics.evaluation import compare
from geounet.metrics.sides import Reading, open_sides

CLASSES = tuple(LandClass(value, f"c{value}", "#000000") for value in (0, 4, 254))
codes = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 11)), elements=st.sampled_from([0, 4, 4, 4, 254, 255])
)


def brute_band(array, distance):
    band = np.zeros(array.shape, bool)
    for row, col in np.argwhere(array != 255):
        near = array[max(0, row - distance) : row + distance + 1, max(0, col - distance) : col + distance + 1]
        band[row, col] = ((near != 255) & (near != array[row, col])).any()
    return band


def brute_scores(reference, predicted, distance):
    common = (reference != 255) & (predicted != 255)
    sides = [np.where(common, side, 255).astype(np.uint8) for side in (reference, predicted)]
    bands = [brute_band(side, distance) for side in sides]
    scores = []
    for item in CLASSES:
        one, other = (band & (side == item.value) for band, side in zip(bands, sides, strict=True))
        scores.append((one & other).sum() / (one | other).sum() if (one | other).any() else np.nan)
    return scores


@given(codes, st.integers(1, 4))
def test_a_band_holds_what_has_another_class_near(array, distance):
    assert (boundary_band(array, distance) == brute_band(array, distance)).all()


def test_away_from_the_frame_a_band_is_the_mask_less_its_erosion_as_in_the_paper():
    rng = np.random.default_rng(5)
    mask = np.zeros((40, 50), np.uint8)
    mask[8:30, 9:40] = rng.random((22, 31)) < 0.97
    eroded = binary_erosion(mask, np.ones((3, 3)), iterations=3)
    assert (((mask == 1) & boundary_band(mask, 3)) == ((mask == 1) & ~eroded)).all()


@settings(max_examples=40)
@given(codes, st.data(), st.integers(1, 3), st.integers(1, 7))
def test_the_score_does_not_depend_on_the_windows(tmp_path_factory, write_scene, reference, data, distance, window):
    predicted = data.draw(arrays(np.uint8, reference.shape, elements=st.sampled_from([0, 4, 4, 254, 255])))
    common = (reference != 255) & (predicted != 255)
    if not common.any():
        return
    folder = tmp_path_factory.mktemp("sides")
    paths = [
        write_scene(folder / f"{name}.tif", side, nodata=255) for name, side in (("p", predicted), ("r", reference))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "_WINDOW", window)
        found = compare(open_sides(*paths, Reading(CLASSES)), CLASSES, boundary=distance).boundary
    assert found.iou == pytest.approx(brute_scores(reference, predicted, distance), nan_ok=True)


def test_a_map_cut_off_by_the_scene_or_by_nodata_has_no_outline_there(tmp_path, write_scene):
    whole = np.full((12, 14), 4, np.uint8)
    whole[:, 7:] = 0
    part = whole.copy()
    part[:5], part[9:] = 255, 255
    paths = [write_scene(tmp_path / f"{len(side[side == 255])}.tif", side, nodata=255) for side in (whole, part)]
    found = compare(open_sides(*paths, Reading()), boundary=2).boundary
    assert found.iou.tolist() == [1, 1]
    assert found.support.tolist() == [8, 8]


def test_a_shifted_outline_costs_more_here_than_in_plain_iou(tmp_path, write_scene):
    reference = np.zeros((60, 60), np.uint8)
    reference[10:50, 10:50] = 4
    paths = [write_scene(tmp_path / f"{shift}.tif", np.roll(reference, shift, 1)) for shift in (1, 0)]
    found = compare(open_sides(*paths, Reading()), boundary=2)
    assert found.boundary.iou[1] < 0.75
    assert found.evaluation.iou[1] > 0.9


def test_json_says_none_where_there_is_no_outline():
    zero = np.zeros(3, np.int64)
    told = BoundaryScores(CLASSES, 2, zero, zero, zero).to_dict()
    assert (told["distance_px"], told["mean_iou"], told["classes"][1]["iou"]) == (2, None, None)
