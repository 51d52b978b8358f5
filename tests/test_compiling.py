"""Kernels run as the functions that they are, also where nothing can be kept between runs."""

import numba.core.caching

from geounet.compiling import compiled


def test_a_kernel_gives_what_its_function_gives():
    kernel = compiled(lambda a, b: a * 3 + b)
    assert kernel(2, 5) == 11


def test_without_a_folder_to_keep_them_in_kernels_are_compiled_all_the_same(monkeypatch):
    """As in a read-only installation of a user without a home."""
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    kernel = compiled(lambda a: a + 1)
    assert kernel(1) == 2


def test_division_by_zero_is_numpys():
    """An exception would cost a branch in each inner loop."""
    assert compiled(lambda a, b: a / b)(1.0, 0.0) == float("inf")
