"""The network for maps keeps an image's size and every pixel, is of the size that is named, and refuses misfits."""

from dataclasses import asdict

import pytest
import torch
from torch import nn
from untrained import network_of

from geounet.errors import ModelError
from geounet.models.encoders import Architecture, build_network, encoder_modules
from geounet.models.receptive_field import probe_receptive_field
from geounet.models.sizes import DEFAULT_SIZE, SIZES
from geounet.models.subpixel_unet import SubpixelUNet
from geounet.training.recipe import Recipe

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize(("factor", "depth"), [(2, 1), (2, 3), (3, 2), (4, 2)])
def test_logits_have_the_size_of_the_image_and_a_channel_a_class(factor, depth):
    network = SubpixelUNet(3, 5, factor, depth, 4)
    assert network.stride == factor * 2**depth
    height, width = 2 * network.stride, 3 * network.stride
    logits = network(torch.rand(2, 3, height, width))
    assert logits.shape == (2, 5, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize("factor", [2, 4])
def test_each_pixel_of_a_cell_is_seen_and_answered_for_itself(factor):
    """With a body that hands each channel on, each pixel's value comes back at its own place."""
    network = SubpixelUNet(2, 2, factor, 1, 4)
    network.unet = nn.Identity()
    image = torch.rand(1, 2, 6 * factor, 4 * factor)
    assert torch.equal(network(image), image)


def test_it_begins_without_a_checkerboard():
    """All pixels of a cell have one answer, and cells and classes have different ones; learning tells them apart."""
    torch.manual_seed(0)
    network = SubpixelUNet(2, 3, 2, 1, 4)
    image = torch.rand(1, 2, 16, 16)
    logits = network(image)
    cells = logits.unfold(2, 2, 2).unfold(3, 2, 2)
    assert torch.equal(cells, cells[..., :1, :1].expand_as(cells))
    assert len(logits.unique()) > 3 * 8 * 8 / 2
    image.requires_grad_()
    torch.nn.functional.cross_entropy(logits, torch.randint(3, (1, 16, 16))).backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    cells = network(image).unfold(2, 2, 2).unfold(3, 2, 2)
    assert not torch.equal(cells, cells[..., :1, :1].expand_as(cells))


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_built_by_name_and_their_halo_is_a_tenth_of_a_window(name):
    architecture = Recipe(size=name).architecture(4, 5)
    network = network_of(architecture)
    assert isinstance(network, SubpixelUNet)
    assert {name: getattr(architecture, name) for name in asdict(SIZES[name])} == asdict(SIZES[name])
    reach = probe_receptive_field(network, 4)
    assert reach.stride == network.stride
    assert reach.halo <= 1280 / 10
    assert SIZES[name].width % 16 == 0


def test_each_size_works_more_than_the_one_before():
    counts = [
        sum(parameter.numel() for parameter in build_network(Recipe(size=name).architecture(4, 5)).parameters())
        for name in SIZES
    ]
    assert counts == sorted(set(counts))


def test_shifting_the_image_by_the_stride_shifts_the_logits():
    torch.manual_seed(0)
    network = SubpixelUNet(2, 3, 2, 2, 4).eval().double()
    image = torch.rand(1, 2, 160, 160, dtype=torch.float64)
    with torch.no_grad():
        moved = network(image.roll((8, -16), dims=(-2, -1)))
        inside = (..., slice(64, 96), slice(64, 96))
        expected = network(image).roll((8, -16), dims=(-2, -1))
    torch.testing.assert_close(moved[inside], expected[inside])
    assert not torch.equal(network(image.roll((1, 0), dims=(-2, -1)))[inside], network(image)[inside])


@pytest.mark.parametrize(("height", "width"), [(24, 16), (16, 20), (1, 1)])
def test_a_window_that_is_no_multiple_of_the_stride_is_refused_with_the_numbers(height, width):
    with pytest.raises(ModelError, match=f"{height} x {width} pixels .* stride 16"):
        SubpixelUNet(1, 2, 4, 2, 2)(torch.zeros(1, 1, height, width))


def test_a_cell_of_one_pixel_is_refused():
    with pytest.raises(ModelError, match="given 1"):
        SubpixelUNet(1, 2, 1, 2, 4)
    with pytest.raises(ModelError, match="given 1"):
        build_network(Architecture(1, 2, "subpixel-unet"))


def test_its_encoder_is_the_contracting_path():
    network = SubpixelUNet(1, 2, 2, 2, 4)
    assert encoder_modules(network) == (network.unet.first, network.unet.contracting)


def test_without_a_word_the_default_size_is_built_and_a_word_of_the_classic_unet_builds_that():
    assert Recipe().architecture(4, 5) == Recipe(size=DEFAULT_SIZE).architecture(4, 5)
    assert Recipe(arch="unet").architecture(4, 5) == Architecture(4, 5, "unet", None, 4, 16)
    assert Recipe(width=8).architecture(4, 5) == Architecture(4, 5, "unet", None, 4, 8)
    assert Recipe(norm="group").architecture(4, 5).norm == "group"
    assert Recipe(encoder="resnet18").architecture(4, 5) == Architecture(4, 5, "unet", "resnet18")
    assert Recipe(arch="fpn", encoder="resnet18").architecture(4, 5).arch == "fpn"


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"size": "s", "width": 8}, "a size and width ask"),
        ({"size": "s", "arch": "unet"}, "a size and arch ask"),
        ({"size": "m", "encoder": "resnet18"}, "a size and encoder ask"),
        ({"encoder": "resnet18", "depth": 3}, "depth belong to the classic"),
        ({"size": "xxl"}, "no size xxl; there are xs, s, m, l"),
    ],
)
def test_two_networks_at_once_are_refused_in_a_sentence(how, what):
    with pytest.raises(ModelError, match=what):
        Recipe(**how).architecture(4, 5)
