"""What the probe says of a network's reach is what changing pixels one by one shows."""

import copy
from functools import cache
from itertools import product

import pytest
import torch
from torch import nn

from geounet.errors import ModelError
from geounet.models.receptive_field import probe_receptive_field
from geounet.models.unet import UNet

pytestmark = pytest.mark.numerical

SIDE = 96


def shining(network):
    """A copy whose weights are all positive: nothing that reaches an output is cancelled or cut off by a ReLU."""
    network = copy.deepcopy(network).double().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.requires_grad_(requires_grad=False).parameters():
            parameter.copy_(torch.rand_like(parameter) / parameter[0].numel() + 1e-3)
    return network


def unet(depth, norm="batch", upsampling="transpose"):
    return UNet(1, 2, depth, 2, norm, upsampling)


NETWORKS = {
    "one 3 x 3 convolution": nn.Conv2d(1, 2, 3, padding=1),
    "one pixel": nn.Conv2d(1, 2, 1),
    "wide rows, one column": nn.Conv2d(1, 2, (1, 7), padding=(0, 3)),
    "dilated": nn.Conv2d(1, 2, 3, padding=5, dilation=5),
    "looks left": nn.Sequential(nn.ZeroPad2d((4, 0, 0, 0)), nn.Conv2d(1, 2, (1, 5))),
    "looks down": nn.Sequential(nn.ZeroPad2d((0, 0, 0, 4)), nn.Conv2d(1, 2, (5, 1))),
    "pooled and put back": nn.Sequential(nn.MaxPool2d(4), nn.Upsample(scale_factor=4)),
    "depth 1": unet(1),
    "depth 2": unet(2),
    "depth 2, bilinear": unet(2, "none", "bilinear"),
    "depth 2, nearest": unet(2, "none", "nearest"),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Many small windows: threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def probed(name):
    return probe_receptive_field(NETWORKS[name], 1)


def changed(network, row, col):
    """Outputs (H, W) that change when the pixel does, in a window large enough for all of them."""
    torch.manual_seed(1)
    image = torch.rand(1, 1, SIDE, SIDE, dtype=torch.float64)
    other = image.clone()
    other[..., row, col] += 100
    return (network(image) != network(other))[0].any(dim=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_pixel_reaches_beyond_the_radius_and_some_reach_it(name):
    field = probed(name)
    network, middle = shining(NETWORKS[name]), SIDE // 2
    furthest = 0
    for row, col in {(middle + phase, middle + (3 * phase) % field.stride) for phase in range(field.stride)}:
        hits = changed(network, row, col).nonzero() - torch.tensor([row, col])
        assert 0 < len(hits) < SIDE * SIDE
        furthest = max(furthest, int(hits.abs().max()))
    assert furthest == field.radius


@pytest.mark.parametrize("name", NETWORKS)
def test_the_halo_is_just_enough_for_cores_that_start_at_the_stride(name):
    field = probed(name)
    network, size = shining(NETWORKS[name]), 2 * field.stride
    torch.manual_seed(2)
    image = torch.rand(1, 1, SIDE, SIDE, dtype=torch.float64)
    whole = network(image)
    first = SIDE // 2 // field.stride * field.stride
    touched = False
    for row, col in product((first - field.stride, first), repeat=2):

        def around(margin, row=row, col=col):
            return (..., slice(row - margin, row + size + margin), slice(col - margin, col + size + margin))

        def moved(margin, place=around):
            """The core's outputs, all but the core and its margin being changed beyond measure."""
            other = torch.full_like(image, 1e6)
            other[place(margin)] = image[place(margin)]
            return not torch.equal(network(other)[place(0)], whole[place(0)])

        halo = field.halo
        cut = network(image[around(halo)])[..., halo : halo + size, halo : halo + size]
        torch.testing.assert_close(cut, whole[around(0)], rtol=1e-12, atol=0)
        assert not moved(halo)
        touched |= halo > 0 and moved(halo - field.stride)
    assert field.halo % field.stride == 0
    assert touched == (field.halo > 0)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("upsampling", ["transpose", "bilinear"])
def test_the_stride_of_a_unet_is_two_to_the_power_of_its_depth(depth, upsampling):
    assert probe_receptive_field(unet(depth, upsampling=upsampling), 1).stride == 2**depth


def test_a_single_3_x_3_convolution_looks_one_pixel_around():
    field = probed("one 3 x 3 convolution")
    assert (field.radius, field.stride, field.halo) == (1, 1, 1)


class SqueezeAndExcite(nn.Module):
    """Channels weighed by their mean over the window, as in Hu, Shen and Sun 2018."""

    def __init__(self):
        super().__init__()
        self.convolve = nn.Conv2d(1, 2, 3, padding=1)
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Sigmoid())

    def forward(self, images):
        features = self.convolve(images)
        return features * self.weigh(features)


@pytest.mark.parametrize(
    "network",
    [
        SqueezeAndExcite(),
        unet(1, "group"),
        nn.Sequential(SqueezeAndExcite(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)),
    ],
)
def test_a_network_that_pools_over_its_whole_window_has_no_receptive_field(network):
    assert probe_receptive_field(network, 1) is None


def test_probing_leaves_the_network_as_it_was():
    network = UNet(3, 2, 1, 2).train()
    before = copy.deepcopy(network.state_dict())
    probe_receptive_field(network, 3)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_of_zero_do_not_hide_what_a_network_reads():
    network = nn.Conv2d(1, 2, 5, padding=2)
    nn.init.zeros_(network.weight)
    assert probe_receptive_field(network, 1).radius == 2


def test_a_network_that_takes_no_such_windows_is_refused():
    with pytest.raises(ModelError, match="3 bands"):
        probe_receptive_field(nn.Conv2d(4, 2, 3, padding=1), 3)
