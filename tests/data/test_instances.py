"""Instance maps as classes: background, object, and boundary where two objects are near each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geounet.data.instances import REACH, instance_codes

IDS = st.sampled_from([np.uint8, np.uint16, np.int32]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))
)


@given(IDS)
def test_a_pixel_is_boundary_where_its_neighbourhood_holds_another_object(ids):
    """Brute force: look at each pixel's neighbourhood."""
    codes = instance_codes(ids)
    for row, col in np.ndindex(ids.shape):
        around = ids[max(0, row - REACH) : row + REACH + 1, max(0, col - REACH) : col + REACH + 1]
        others = set(np.unique(around).tolist()) - {0, int(ids[row, col])}
        assert codes[row, col] == (0 if ids[row, col] == 0 else 2 if others else 1)


def test_ids_beyond_eight_bits_are_objects_of_their_own():
    """256 is an object, and so is the highest number of the type."""
    ids = np.zeros((3, 12), np.uint16)
    ids[:, :6], ids[:, 6:] = 256, 65535
    np.testing.assert_array_equal(instance_codes(ids)[1], [1] * 4 + [2] * 4 + [1] * 4)
