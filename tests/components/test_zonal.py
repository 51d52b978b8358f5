"""Statistics of components are those of NumPy, to the last bit the same however the pixels are split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geounet.components.zonal import STATISTICS, Scale, gather, merge, nothing, statistic

NUMPY = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max, "sum": np.sum, "count": np.size}

TYPES = {
    np.uint8: st.integers(0, 255),
    np.int16: st.integers(-(2**15), 2**15 - 1),
    np.uint16: st.integers(0, 2**16 - 1),
    np.int32: st.integers(-(2**31), 2**31 - 1),
    np.float32: st.floats(-1e6, 1e6, width=32),
}


def arrays(dtype, elements, shape=(5, 7)):
    return hnp.arrays(dtype, shape, elements=elements)


labels_of = arrays(np.uint32, st.integers(0, 3))
valid_of = arrays(np.bool_, st.booleans())


@given(labels_of, valid_of, st.sampled_from(list(TYPES)).flatmap(lambda kind: arrays(kind, TYPES[kind])))
def test_statistics_are_those_of_numpy(labels, valid, values):
    state = gather(labels, values, valid, 3)
    for name in STATISTICS:
        found = statistic(name, state, Scale())
        for label in (1, 2, 3):
            own = values[(labels == label) & valid].astype(np.longdouble)
            if own.size:
                expected = float(NUMPY[name](own))
                np.testing.assert_allclose(found[label], expected, rtol=1e-12, atol=1e-12 * np.abs(own).max())
            else:
                np.testing.assert_equal(found[label], 0 if name in ("sum", "count") else np.nan)


@given(labels_of, valid_of, arrays(np.float32, TYPES[np.float32]), st.integers(1, 4), st.booleans())
def test_sums_do_not_depend_on_how_the_pixels_are_split(labels, valid, values, rows, reverse):
    whole = gather(labels, values, valid, 3)[1:]
    starts = range(0, 5, rows)
    parts = [
        gather(labels[row : row + rows], values[row : row + rows], valid[row : row + rows], 3)[1:] for row in starts
    ]
    parts = parts[::-1] if reverse else parts
    merged = merge(np.concatenate(parts), np.tile(np.arange(3), len(parts)), 3)
    for name in STATISTICS:
        np.testing.assert_array_equal(statistic(name, merged, Scale()), statistic(name, whole, Scale()))


def test_deviation_of_large_values_that_differ_little():
    """Sums of squares lose the difference unless their rounding is kept."""
    values = 1e8 + np.random.default_rng(0).random((40, 50))
    state = gather(np.ones(values.shape, np.uint32), values, np.ones(values.shape, bool), 1)
    expected = float(values.astype(np.longdouble).std())
    assert statistic("std", state, Scale())[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("factor", "offset"), [(0.5, 3.0), (-2.0, 1.0)])
def test_a_scale_applies_to_values(factor, offset):
    values = np.array([[1, 5, 9]], np.int16)
    state = gather(np.ones((1, 3), np.uint32), values, np.ones((1, 3), bool), 1)[1:]
    scaled = values * factor + offset
    for name in STATISTICS:
        assert statistic(name, state, Scale(factor, offset))[0] == pytest.approx(NUMPY[name](scaled))


def test_nothing_has_no_statistics():
    assert np.isnan(statistic("mean", nothing(2), Scale())).all()
    assert statistic("count", nothing(2), Scale()).tolist() == [0, 0]
