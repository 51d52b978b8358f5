"""Beyond its edge a raster is mirrored, as NumPy's `reflect` does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geounet.raster.reflection import continued, reflected


@given(st.integers(-200, 200), st.integers(0, 60), st.integers(1, 12))
def test_reflected_indices_are_those_of_numpy(start, length, size):
    far = 300
    expected = np.pad(np.arange(size), far, mode="reflect")[start + far : start + far + length]
    np.testing.assert_array_equal(reflected(start, start + length, size), expected)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    starts=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    lengths=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    cut=st.booleans(),
)
def test_a_part_continued_is_the_part_at_the_reflected_indices(shape, starts, lengths, cut):
    rows, cols = (
        reflected(start, start + length, size) for start, length, size in zip(starts, lengths, shape, strict=True)
    )
    if cut:
        # As where what is beyond the window was not read.
        shape = int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1
        rows, cols = rows - rows.min(), cols - cols.min()
    values = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape)
    np.testing.assert_array_equal(continued(values, rows, cols), values[:, rows[:, None], cols])
    np.testing.assert_array_equal(continued(values[0], rows, cols), values[0][rows[:, None], cols])
