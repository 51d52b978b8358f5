"""Networks are built by name, and a name that is none is refused with those that are."""

import pytest
import torch

from geounet.errors import ModelError
from geounet.models.encoders import Architecture, build_network
from geounet.models.unet import UNet

pytestmark = pytest.mark.numerical


def test_without_an_encoder_it_is_the_classic_unet():
    network = build_network(Architecture(3, 4, depth=2, width=3, norm="group", upsampling="nearest"))
    assert isinstance(network, UNet)
    assert network.stride == 4
    assert network.first[0].weight.shape[:2] == (3, 3)
    assert network(torch.zeros(1, 3, 8, 12)).shape == (1, 4, 8, 12)


@pytest.mark.parametrize("arch", ["unet", "fpn"])
def test_an_encoder_of_smp_makes_a_network_of_any_number_of_bands(arch):
    network = build_network(Architecture(5, 4, arch=arch, encoder="resnet18")).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 5, 64, 96)).shape == (1, 4, 64, 96)


@pytest.mark.parametrize(
    ("arch", "encoder"), [("unet", "resnet19"), ("vnet", "resnet18"), ("unet", "tu-no_such_model"), ("unet", "")]
)
def test_an_unknown_network_is_refused_with_those_that_are_known(arch, encoder):
    with pytest.raises(ModelError, match=f"no network {arch} with encoder {encoder} .*resnet18"):
        build_network(Architecture(3, 2, arch=arch, encoder=encoder))


@pytest.mark.parametrize(("name", "value"), [("arch", "fpn"), ("norm", "layer"), ("upsampling", "bicubic")])
def test_an_unknown_choice_is_refused_by_name(name, value):
    with pytest.raises(ModelError, match=f"{name} '{value}' is not one of "):
        build_network(Architecture(3, 2, **{name: value}))


def test_another_architecture_without_an_encoder_says_what_it_lacks():
    with pytest.raises(ModelError, match="need an encoder"):
        build_network(Architecture(3, 2, arch="fpn"))


def test_an_architecture_is_plain_values_and_back():
    architecture = Architecture(3, 2, arch="fpn", encoder="resnet18", depth=3)
    assert Architecture(**architecture.to_json()) == architecture
