"""Objects are matched as an exhaustive search would match them."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from shapely import affinity
from shapely.geometry import box

from geounet.metrics import objects as object_metrics
from geounet.metrics.objects import THRESHOLDS, score_objects


def cells(data, label):
    """Disjoint polygons: squares of a chessboard, each cut, turned and moved a little within its own."""
    shapes = []
    for row in range(4):
        for col in range(4):
            if data.draw(st.booleans(), label=label):
                size, move = data.draw(st.floats(2, 9)), data.draw(st.floats(0, 1))
                square = box(0, 0, size, data.draw(st.floats(2, 9)))
                turned = affinity.rotate(square, data.draw(st.sampled_from([0, 10, 45])))
                placed = affinity.translate(turned, 10 * col + move, 10 * row)
                shapes.append(placed.intersection(box(10 * col, 10 * row, 10 * col + 10, 10 * row + 10)))
    return np.array([shape for shape in shapes if shape.area > 0], object)


def brute_iou(predicted, reference):
    table = np.zeros((len(predicted), len(reference)))
    for i, one in enumerate(predicted):
        for j, other in enumerate(reference):
            table[i, j] = one.intersection(other).area / one.union(other).area
    return table


@given(st.data())
def test_counts_are_those_of_the_optimal_assignment_at_each_threshold(data):
    predicted, reference = cells(data, "predicted"), cells(data, "reference")
    table = brute_iou(predicted, reference)
    found = score_objects(predicted, reference)
    for at, threshold in enumerate(THRESHOLDS):
        good = table >= threshold - 1e-9
        rows, cols = linear_sum_assignment(good, maximize=True)
        assert found.matched[at] == good[rows, cols].sum()
    assert (found.predicted, found.reference) == table.shape


@given(st.data())
def test_segmentation_errors_are_those_of_the_largest_overlap(data):
    predicted, reference = cells(data, "predicted"), cells(data, "reference")
    over, under, sizes = [], [], []
    for item in reference:
        common = [item.intersection(other).area for other in predicted]
        if common and max(common) > 0:
            best = int(np.argmax(common))
            over.append(1 - common[best] / item.area)
            under.append(1 - common[best] / predicted[best].area)
            sizes.append(item.area)
    found = score_objects(predicted, reference)
    if not over:
        assert np.isnan(found.over_segmentation).all()
        return
    wanted = [[np.mean(v), np.average(v, weights=sizes)] for v in (over, under)]
    assert found.over_segmentation == pytest.approx(wanted[0], abs=1e-9)
    assert found.under_segmentation == pytest.approx(wanted[1], abs=1e-9)


def test_scores_by_hand():
    reference = np.array([box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 30)], object)
    predicted = np.array([box(0, 0, 10, 8), box(20, 0, 24, 10), box(24, 0, 30, 10), box(70, 0, 71, 1)], object)
    found = score_objects(predicted, reference)
    # IoU of 0.8 and of 0.6; 0.4 is too little.
    assert found.matched.tolist() == [2, 2, 2, 1, 1, 1, 1, 0, 0, 0]
    assert (found.precision[0], found.recall[0], found.f1[0]) == pytest.approx((2 / 4, 2 / 3, 4 / 7))
    assert (found.area_precision[0], found.area_recall[0]) == pytest.approx((140 / 181, 200 / 500))
    assert found.over_segmentation == pytest.approx([(0.2 + 0.4) / 2, (0.2 * 100 + 0.4 * 100) / 200])
    assert found.under_segmentation.tolist() == [0, 0]
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["by_count"]["f1_by_iou"]["0.65"] == pytest.approx(2 / 7)
    assert told["by_count"]["f1_50_95"] == pytest.approx(found.f1.mean())


def test_an_object_that_covers_two_is_undersegmented():
    found = score_objects(np.array([box(0, 0, 20, 10)]), np.array([box(0, 0, 10, 10), box(10, 0, 20, 10)]))
    assert found.over_segmentation[0] == 0
    assert found.under_segmentation[0] == 0.5
    # Half of it is an IoU of exactly 0.5, with either, but only with one.
    assert found.matched[0] == 1


def test_a_large_polygon_with_holes_meets_what_lies_in_it(monkeypatch):
    monkeypatch.setattr(object_metrics, "_PAIRS", 3)
    holes = [box(5 * at + 1, 1, 5 * at + 3, 3) for at in range(10)]
    field = box(0, 0, 50, 4).difference(shapely.union_all(holes))
    inside = [box(5 * at + 3.5, 1, 5 * at + 4.5, 3) for at in range(10)]
    steps = []
    found = score_objects(np.array([field, *holes]), np.array([*inside, *holes]), lambda *at: steps.append(at))
    assert found.matched[-1] == 10
    assert found.over_segmentation[0] == 0
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("sides", [(0, 0), (0, 2), (2, 0)])
def test_a_side_without_objects_is_no_error(sides):
    shapes = np.array([box(0, 0, 1, 1), box(2, 0, 3, 1)], object)
    found = score_objects(shapes[: sides[0]], shapes[: sides[1]])
    assert found.matched.sum() == 0
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_classes_add_up():
    one = score_objects(np.array([box(0, 0, 1, 1)]), np.array([box(0, 0, 1, 1), box(5, 5, 6, 6)]))
    other = score_objects(np.array([box(0, 0, 3, 1)]), np.array([box(0, 0, 2, 1)]))
    both = one + other
    assert (both.predicted, both.reference, both.matched[0], both.matched[-1]) == (2, 3, 2, 1)
    assert both.under_segmentation == pytest.approx([(0 + 1 / 3) / 2, (2 / 3) / 3])


@pytest.mark.parametrize("heights", [(7, 9, 6), (9, 7, 6), (6, 7, 9)])
def test_of_predictions_that_overlap_the_best_takes_the_object(heights):
    found = score_objects(np.array([box(0, 0, 10, height) for height in heights]), np.array([box(0, 0, 10, 10)]))
    assert found.matched.tolist() == [1] * 9 + [0]
