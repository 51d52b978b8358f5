"""Counts of useful pixels equal those of the whole array, wherever the region and the windows lie."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.data.coverage import CELL, Coverage
from geounet.grid import Grid, Window

HEIGHT, WIDTH = 90, 70
CODES = np.random.default_rng(0).choice(np.array([3, 70, 255], np.uint8), (HEIGHT, WIDTH), p=(0.05, 0.35, 0.6))
EXTENT = Window(0, 0, HEIGHT, WIDTH)

regions = st.builds(Window, st.integers(0, 40), st.integers(0, 40), st.integers(1, 50), st.integers(1, 30))
windows = st.builds(Window, st.integers(-40, 90), st.integers(-40, 80), st.integers(0, 60), st.integers(0, 60))


def coverage_of(region, strip):
    found = Coverage(region)
    for tile in Grid(region, strip, strip).tiles():
        found.add(tile.core, CODES[tile.core.within(EXTENT)])
    return found


@settings(max_examples=60)
@given(regions, windows, st.sampled_from([3, 16, 40, 1024]))
def test_useful_pixels_of_a_window_are_those_of_the_array(region, window, strip):
    inside = window.intersection(region)
    expected = (CODES[inside.within(EXTENT)] != 255).sum() if inside.pixels else 0
    assert coverage_of(region, strip).useful(window) == expected


@settings(max_examples=40)
@given(regions, st.sampled_from([5, 64]))
def test_cells_hold_the_pixels_of_their_class(region, strip):
    found = coverage_of(region, strip)
    for code in (3, 70):
        cells = found.pixels({code})
        for index, count in enumerate(cells):
            window = found.window_of(index)
            assert (CODES[window.within(EXTENT)] == code).sum() == count
            assert window.pixels <= CELL**2
        assert cells.sum() == (CODES[region.within(EXTENT)] == code).sum()
    np.testing.assert_array_equal(found.pixels({3}) + found.pixels({70}), found.pixels({3, 70}))
    assert not found.pixels({8}).any()
