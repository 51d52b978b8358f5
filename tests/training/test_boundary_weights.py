"""The weight map is the UNet paper's equation, found by looking at every pair of components."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geounet.training.boundary_weights import boundary_weights


def brute_force(labels, classes, height, sigma):
    """By the definition: distances to all components of a class, the two least of them, the best of the classes."""
    weights = np.ones(labels.shape)
    for value in classes:
        components, count = ndimage.label(labels == value)
        if count < 2:
            continue
        distances = [ndimage.distance_transform_edt(components != number) for number in range(1, count + 1)]
        both = np.sort(distances, axis=0)[:2].sum(axis=0)
        weights = np.maximum(weights, np.where(labels == value, 1, 1 + height * np.exp(-(both**2) / (2 * sigma**2))))
    return weights


@given(st.integers(0, 10**6), st.floats(0.5, 4), st.floats(0, 20))
def test_it_is_the_papers_equation(seed, sigma, height):
    random = np.random.default_rng(seed)
    labels = np.kron(random.choice([0, 1, 2, 255], (7, 5)), np.ones((3, 4), np.int64))
    found = boundary_weights(labels, (0, 1, 2), height=height, sigma=sigma)
    assert found.shape == labels.shape
    assert found.dtype == np.float32
    # Terms below a thousandth of the height are left out.
    np.testing.assert_allclose(found, brute_force(labels, (0, 1, 2), height, sigma), atol=2e-3 * max(1, height))


def test_a_gap_of_one_pixel_between_two_objects_by_arithmetic():
    labels = np.zeros((9, 30), np.int64)
    labels[2:7, 2:10] = labels[2:7, 11:20] = 1
    weights = boundary_weights(labels, (0, 1), height=10, sigma=5)
    assert weights[4, 10] == pytest.approx(1 + 10 * np.exp(-4 / 50))
    assert weights[4, 25] == pytest.approx(1 + 10 * np.exp(-((6 + 16) ** 2) / 50), abs=1e-2)
    assert (weights[labels == 1] == 1).all()


def test_one_object_or_none_has_no_gap():
    labels = np.zeros((6, 7), np.int64)
    assert (boundary_weights(labels, (1,)) == 1).all()
    labels[2:4, 1:3] = 1
    assert (boundary_weights(labels, (1,)) == 1).all()
