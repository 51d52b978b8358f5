"""Areas and accuracies are those of the paper's example, and honest where the sample does not tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geounet.classes import LandClass
from geounet.metrics.area_estimation import estimate

NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
CLASSES = tuple(LandClass(value, name, "#000000") for value, name in enumerate(NAMES))
SAMPLE = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000.0, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS * 0.09


def test_the_worked_example_of_olofsson_et_al():
    found = estimate(SAMPLE, HECTARES, CLASSES, unit="ha")
    assert found.accuracy.value == pytest.approx([0.947], abs=5e-4)
    assert found.accuracy.margin == pytest.approx([0.018], abs=5e-4)
    assert found.users.value == pytest.approx([0.88, 0.73, 0.93, 0.96], abs=5e-3)
    assert found.users.margin == pytest.approx([0.07, 0.10, 0.04, 0.02], abs=5e-3)
    assert found.producers.value == pytest.approx([0.75, 0.85, 0.93, 0.96], abs=5e-3)
    assert found.producers.margin == pytest.approx([0.21, 0.25, 0.03, 0.02], abs=5e-3)
    assert found.area.value == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=0.5)
    assert found.area.margin == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=0.5)


def test_its_deforestation_in_pixels():
    found = estimate(SAMPLE, PIXELS, CLASSES)
    assert found.area.value[0] == pytest.approx(235_086, abs=0.5)
    assert found.area.margin[0] == pytest.approx(68_418, abs=0.5)


def textbook(counts, areas):
    """Equations 2, 3, 6, 7 and 10 of the paper, one by one: producer's accuracy and areas with standard errors."""
    n, total, size = counts.sum(axis=1), areas.sum(), len(areas)
    weights, users = areas / total, np.diag(counts) / n
    shares = weights[:, None] * counts / n[:, None]
    errors = [
        np.sqrt(sum((weights[i] * shares[i, k] - shares[i, k] ** 2) / (n[i] - 1) for i in range(size)))
        for k in range(size)
    ]
    estimated = (areas[:, None] * counts / n[:, None]).sum(axis=0)
    producers = np.diag(shares) / shares.sum(axis=0)
    variances = [
        (
            areas[j] ** 2 * (1 - producers[j]) ** 2 * users[j] * (1 - users[j]) / (n[j] - 1)
            + producers[j] ** 2
            * sum(
                areas[i] ** 2 * counts[i, j] / n[i] * (1 - counts[i, j] / n[i]) / (n[i] - 1)
                for i in range(size)
                if i != j
            )
        )
        / estimated[j] ** 2
        for j in range(size)
    ]
    return producers, np.sqrt(variances), estimated, np.array(errors) * total


@given(
    st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=3, max_size=3),
    st.lists(st.floats(1, 1e4), min_size=3, max_size=3),
)
def test_where_strata_are_the_mapped_classes_it_is_the_papers_equations(counts, areas):
    counts = np.array(counts) + 2 * np.eye(3, dtype=int)
    found = estimate(counts, np.array(areas), CLASSES[:3])
    producers, producers_error, area, area_error = textbook(counts, np.array(areas))
    assert found.producers.value == pytest.approx(producers)
    assert found.producers.error == pytest.approx(producers_error, abs=1e-7)
    assert found.area.value == pytest.approx(area)
    assert found.area.error == pytest.approx(area_error, abs=1e-4 * max(areas))


def test_one_stratum_is_a_simple_random_sample():
    matrix = SAMPLE.T  # rows: mapped
    found = estimate(matrix[None], np.array([1000.0]), CLASSES, mapped=np.zeros(4))
    share = np.trace(matrix) / matrix.sum()
    assert found.accuracy.value == pytest.approx([share])
    assert found.accuracy.error == pytest.approx([np.sqrt(share * (1 - share) / (matrix.sum() - 1))])
    assert found.area.value == pytest.approx(matrix.sum(axis=0) / matrix.sum() * 1000)


def test_intervals_hold_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    population = [rng.choice(3, 40_000, p=p) for p in ([0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.1, 0.1, 0.8])]
    truth = sum(np.bincount(stratum, minlength=3) for stratum in population)
    held = 0
    for _ in range(300):
        counts = np.stack([np.bincount(rng.choice(stratum, 60, replace=False), minlength=3) for stratum in population])
        area = estimate(counts, np.full(3, 40_000.0), CLASSES[:3]).area
        held += (np.abs(area.value - truth) <= area.margin).sum()
    assert 0.92 < held / 900 < 0.98


def test_strata_without_a_sample_are_set_aside_and_said():
    counts = SAMPLE.copy()
    counts[1] = 0
    found = estimate(counts, PIXELS, CLASSES)
    assert (found.total, found.unsampled) == (9_850_000, 150_000)
    assert found.area.value.sum() == pytest.approx(9_850_000)
    assert np.isnan(found.users.value[1])
    assert found.to_dict()["classes"][1]["users_accuracy"] == dict.fromkeys(("value", "standard_error", "low", "high"))


def test_a_single_unit_gives_a_value_without_an_error():
    found = estimate(np.array([[1, 0], [2, 8]]), np.array([10.0, 10]), CLASSES[:2])
    assert found.users.value.tolist() == [1, 0.8]
    assert np.isnan(found.users.error[0])
    assert not np.isnan(found.users.error[1])


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="3 strata and 4 classes"):
        estimate(np.zeros((2, 4, 4), int), np.ones(3), CLASSES)
