"""Layers in other forms give the same."""

import pytest
import torch
from torch import nn

from geounet.models.equivalents import strided, transposed

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_convolution_with_a_stride_is_that_of_the_cells(factor, bias):
    """At the edges too, where both are padded by a cell of zeros."""
    convolution = nn.Conv2d(2 * factor**2, 5, 3, padding=1, bias=bias)
    image = torch.randn(2, 2, 6 * factor, 4 * factor)
    expected = convolution(nn.functional.pixel_unshuffle(image, factor))
    torch.testing.assert_close(strided(convolution, factor)(image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_of_single_pixels_is_the_convolution(bias):
    convolution, image = nn.Conv2d(6, 5, 1, bias=bias), torch.randn(2, 6, 7, 9)
    torch.testing.assert_close(transposed(convolution)(image), convolution(image), rtol=1e-5, atol=1e-5)
