"""Doubled pixels convolved with fewer products, beside the layers that they stand for."""

import pytest
import torch
from torch import nn

from geounet.models.subpixel import DoublingConvolution, can_double

pytestmark = pytest.mark.numerical


def layers(channels, *, norm):
    """A 3 x 3 convolution to four channels and its norm, in eval mode, no layer of it an identity."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, 4, 3, padding=1, bias=not norm)
    batch = nn.BatchNorm2d(4).eval()
    for values in (batch.weight, batch.bias, batch.running_mean, batch.running_var):
        nn.init.uniform_(values, 0.5, 1.5)
    return convolution, batch if norm else nn.Identity()


@pytest.mark.parametrize("fine_channels", [None, 0, 3])
@pytest.mark.parametrize("norm", [True, False])
def test_each_pixel_is_that_of_the_doubled_features(fine_channels, norm):
    convolution, batch = layers(5 + (fine_channels or 0), norm=norm)
    coarse = torch.randn(2, 5, 7, 4)
    fine = None if fine_channels is None else torch.randn(2, fine_channels, 14, 8)
    doubled = nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
    joined = doubled if fine is None else torch.cat((doubled, fine), 1)
    with torch.inference_mode():
        found = DoublingConvolution(convolution, batch, 5)(coarse, fine)
        expected = batch(convolution(joined)).relu()[..., 1:-1, 1:-1]
    assert found.shape == expected.shape == (2, 4, 12, 6)
    assert (found == 0).any()
    torch.testing.assert_close(found, expected)


def test_the_layers_themselves_are_not_changed():
    convolution, batch = layers(5, norm=True)
    before = convolution.weight.detach().clone()
    doubling = DoublingConvolution(convolution, batch, 5)
    doubling.coarse.data.zero_()
    assert torch.equal(convolution.weight, before)
    assert not any(parameter.requires_grad for parameter in doubling.parameters())


@pytest.mark.parametrize(
    ("convolution", "norm"),
    [
        (nn.Conv2d(4, 4, 5, padding=2), nn.Identity()),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Identity()),
        (nn.Conv2d(4, 4, 3, padding=1, stride=2), nn.Identity()),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Identity()),
        (nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4)),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), nn.Identity()),
    ],
)
def test_other_layers_are_left_as_they_are(convolution, norm):
    assert not can_double(convolution, norm)
