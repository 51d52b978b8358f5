"""Weights of bfloat16: the same network but for their rounding, in use and in training."""

import pytest
import torch
from torch import nn

from geounet.models.rounding import rounded
from geounet.models.subpixel_unet import SubpixelUNet
from geounet.models.unet import UNet

NETWORKS = {
    "classic": lambda: UNet(3, 4, depth=2, width=8),
    "cells": lambda: SubpixelUNet(3, 4, factor=2, depth=2, width=8),
    "interpolated": lambda: UNet(3, 4, depth=2, width=8, upsampling="bilinear"),
    "without norm": lambda: UNet(3, 4, depth=2, width=8, norm="none"),
    "group": lambda: UNet(3, 4, depth=2, width=8, norm="group"),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """With statistics and scales as training leaves them: of both signs, large and next to nothing."""
    torch.manual_seed(7)
    made = NETWORKS[request.param]()
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.05, 4)
        norm.weight.data.normal_()
        norm.weight.data[0] = 1e-4
        norm.bias.data.normal_()
    return made.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def products(network):
    """What a runtime multiplies with: each convolution's weights times the scale of the normalisation after it."""
    modules = list(network.modules())
    for module, after in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            scale = torch.ones(1)
            if isinstance(after, nn.BatchNorm2d):
                scale = (after.weight / torch.sqrt(after.running_var + after.eps))[:, None, None, None]
            yield (module.weight * scale).detach()


def test_all_that_a_runtime_multiplies_with_is_bfloat16_to_a_unit_in_float32s_last_place(network):
    found = list(products(rounded(network)))
    assert len(found) == len(list(products(network))) > 8
    for product in found:
        torch.testing.assert_close(product, product.bfloat16().float(), rtol=2.0**-22, atol=0)
    assert any((product - product.bfloat16().float()).abs().max() > 1e-4 for product in products(network))


def spread(found, expected):
    """The mean difference, over the spread of what was expected."""
    return float((found - expected).abs().mean() / expected.std())


@torch.no_grad()
def test_it_answers_as_the_network_does_but_for_rounding(network, images):
    assert spread(rounded(network)(images), network(images)) < 2.0**-6


@torch.no_grad()
def test_it_learns_on_as_the_network_would(network, images):
    """In training mode a batch's own statistics count, so the scales must have stayed where they were."""
    assert spread(rounded(network).train()(images), network.train()(images)) < 2.0**-5


def test_the_network_itself_stays_and_rounding_again_changes_nothing(network, images):
    before = {name: part.clone() for name, part in network.state_dict().items()}
    once = rounded(network)
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(rounded(once)(images), once(images), rtol=1e-4, atol=1e-4)


def test_networks_of_others_are_left_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert rounded(network) is network
