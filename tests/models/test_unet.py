"""The UNet keeps an image's size, is as large as the paper's, and refuses what it cannot take."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from geounet.errors import ModelError
from geounet.models.unet import UNet

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("upsampling", ["transpose", "bilinear", "nearest"])
def test_logits_have_the_size_of_the_image_and_a_channel_a_class(depth, norm, upsampling):
    network = UNet(3, 5, depth, 4, norm, upsampling)
    assert network.stride == 2**depth
    height, width = 2 * network.stride, 3 * network.stride
    logits = network(torch.rand(2, 3, height, width))
    assert logits.shape == (2, 5, height, width)
    assert logits.isfinite().all()


def test_it_has_as_many_parameters_as_the_paper_implies():
    def convolutions(inner, outer):
        return (9 * inner * outer + outer) + (9 * outer * outer + outer)

    levels = [64, 128, 256, 512, 1024]
    pairs = list(pairwise(levels))
    contracting = convolutions(1, 64) + sum(convolutions(upper, lower) for upper, lower in pairs)
    upsampling = sum(4 * lower * upper + upper for upper, lower in pairs)
    expanding = sum(convolutions(2 * upper, upper) for upper, _lower in pairs)
    expected = contracting + upsampling + expanding + 64 * 2 + 2
    network = UNet(1, 2, depth=4, width=64, norm="none", upsampling="transpose")
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize(
    ("norm", "kind", "count"), [("batch", nn.BatchNorm2d, 10), ("group", nn.GroupNorm, 10), ("none", nn.BatchNorm2d, 0)]
)
def test_each_convolution_is_followed_by_the_normalisation_asked_for(norm, kind, count):
    assert sum(isinstance(module, kind) for module in UNet(1, 2, 2, 4, norm).modules()) == count


def test_skip_connections_carry_detail_that_pooling_loses():
    network = UNet(1, 2, 2, 4, "none").eval()
    checkers = torch.ones(16, 16).tril().rot90()[None, None]
    with torch.no_grad():
        whole = network(checkers)
        for level in network.expanding:
            for parameter in level.up.parameters():
                parameter.zero_()
        # What comes up from below is silenced: only the skip connections tell one image from another now.
        assert not torch.equal(network(checkers), network(torch.zeros_like(checkers)))
        assert not torch.equal(network(checkers), whole)


@pytest.mark.parametrize(("height", "width"), [(17, 16), (16, 20), (1, 1), (24, 12)])
def test_a_window_that_is_no_multiple_of_the_stride_is_refused_with_the_numbers(height, width):
    with pytest.raises(ModelError, match=f"{height} x {width} pixels .* stride 8"):
        UNet(1, 2, 3, 2)(torch.zeros(1, 1, height, width))


@pytest.mark.parametrize(("depth", "width"), [(0, 4), (-1, 4), (2, 0)])
def test_a_depth_or_width_below_one_is_refused_with_the_numbers(depth, width):
    with pytest.raises(ModelError, match=f"given {depth} and {width}"):
        UNet(1, 2, depth, width)


@pytest.mark.parametrize("upsampling", ["transpose", "bilinear", "nearest"])
def test_shifting_the_image_by_the_stride_shifts_the_logits(upsampling):
    torch.manual_seed(0)
    network = UNet(2, 3, 2, 4, "batch", upsampling).eval().double()
    image = torch.rand(1, 2, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        moved = network(image.roll((4, -8), dims=(-2, -1)))
        inside = (..., slice(40, 56), slice(40, 56))
        torch.testing.assert_close(moved[inside], network(image).roll((4, -8), dims=(-2, -1))[inside])
