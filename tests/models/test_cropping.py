"""A cropped network gives the core of what the whole one gives, for less work."""

from dataclasses import asdict

import pytest
import torch
from rounding import rounding_of
from untrained import network_of

from geounet.models.cropping import Cropped, crop
from geounet.models.encoders import Architecture
from geounet.models.sizes import SIZES

pytestmark = pytest.mark.numerical

NETWORKS = {
    "classic": Architecture(2, 3, depth=3, width=4),
    "classic, interpolated": Architecture(2, 3, depth=2, width=4, upsampling="bilinear"),
    **{f"size {name}": Architecture(2, 3, "subpixel-unet", **asdict(size)) for name, size in SIZES.items()},
    "cells of 4, interpolated": Architecture(2, 3, "subpixel-unet", factor=4, depth=1, width=4, upsampling="bilinear"),
    "smp": Architecture(2, 3, encoder="resnet18"),
    "smp, a level without features": Architecture(2, 3, encoder="mit_b0"),
    "smp, other architecture": Architecture(2, 3, arch="linknet", encoder="resnet18"),
}


def image_of(halo, core=(64, 96)):
    torch.manual_seed(1)
    return torch.randn(1, 2, core[0] + 2 * halo, core[1] + 2 * halo)


def difference(network, halo, core=(64, 96)):
    """Largest difference of the core's logits between the whole network's and the cropped one's, of what is allowed."""
    image = image_of(halo, core)
    with torch.inference_mode():
        whole, cropped = crop(network(image), halo), Cropped(network, halo)(image)
    assert cropped.shape == whole.shape == (1, 3, *core)
    return float((whole - cropped).abs().max()) / rounding_of(network, image)


def test_rounding_is_what_float32_leaves_of_the_logits():
    """Far below what a wrong pixel makes; in float64 only that of kernels that were joined in float32 is left."""
    network = network_of(NETWORKS["smp"])
    image = image_of(64)
    size = float(network(image).detach().abs().max())
    assert 1e-7 < rounding_of(network, image) / size < 1e-3
    exact = network.double()
    with torch.inference_mode():
        whole, cropped = crop(exact(image.double()), 64), Cropped(exact, 64).double()(image.double())
    assert float((whole - cropped).abs().max()) < 1e-8 * size


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("strides", [1, 2, 5])
def test_cropping_early_changes_no_logit(name, strides):
    assert difference(network_of(NETWORKS[name]), strides * 32) <= 1


def test_without_a_halo_nothing_is_cropped():
    assert difference(network_of(NETWORKS["smp"]), 0) <= 1


def smp_network(**options):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    return smp.Unet("resnet18", encoder_weights=None, in_channels=2, classes=3, **options).eval()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_smp_decoders_that_interpolate_are_cropped_right_or_not_early(interpolation):
    network = smp_network(decoder_interpolation=interpolation)
    assert Cropped(network, 96).doubling is None
    assert difference(network, 96) <= 1


@pytest.mark.parametrize("norm", [False, "layernorm", {"type": "batchnorm", "eps": 0.1}])
def test_smp_decoders_of_any_norm_give_the_same_logits(norm):
    network = smp_network(decoder_use_norm=norm)
    if norm == "layernorm":
        assert not Cropped(network, 96).early
    else:
        assert Cropped(network, 96).doubling is not None
        assert difference(network, 96) <= 1


def test_attention_sees_the_whole_window_so_the_decoder_is_left_alone():
    network = smp_network(decoder_attention_type="scse")
    assert not Cropped(network, 32).early
    assert difference(network, 32) == 0


def test_a_decoder_that_normalises_over_its_whole_input_is_left_alone():
    network = network_of(Architecture(2, 3, depth=2, width=8, norm="group"))
    assert not Cropped(network, 32).early
    assert difference(network, 32) == 0


@pytest.mark.parametrize("name", ["classic", "smp"])
def test_the_decoder_works_on_the_core_and_little_more(name):
    """The largest convolution input at full size: the whole window without cropping, the core and a rim with it."""
    network, halo, core = network_of(NETWORKS[name]), 96, 64
    cropped = Cropped(network, halo)
    assert cropped.early
    sides = []
    head = cropped.head if name == "classic" else network.segmentation_head
    head.register_forward_pre_hook(lambda _module, inputs: sides.append(inputs[0].shape[-1]))
    with torch.inference_mode():
        cropped(torch.randn(1, 2, core + 2 * halo, core + 2 * halo))
    assert sides[0] <= core + 6


def test_a_margin_too_small_would_be_seen(monkeypatch):
    monkeypatch.setattr("geounet.models.cropping._MARGIN", 1)
    assert difference(smp_network(decoder_interpolation="bilinear"), 96) > 10
