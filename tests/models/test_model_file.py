"""A model file gives back weights and card as they were; what is none is refused in one sentence."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from geounet.classes import LandClass
from geounet.errors import ModelError, OutputError
from geounet.models.encoders import Architecture, build_network
from geounet.models.model_file import Band, ModelCard, card_from_json, fingerprint, load_model, read_card, save_model

CARD = ModelCard(
    architecture=Architecture(2, 3, depth=1, width=2, norm="batch", upsampling="bilinear"),
    bands=(Band("red", 101.5, 7.25, -3.0, 4000.0, 3), Band("band_1", 1e-9, 1.0, 0.0, 1.0, 1)),
    classes=(
        LandClass(70, "forest", "#008000"),
        LandClass(0, "Gewässer & Ufer", "#0000ff"),
        LandClass(254, "x", "#ffffff"),
    ),
    dtype="uint16",
    scene_bands=4,
    resolution=9.87654321,
    halo=6,
    stride=2,
    resolution_tolerance=0.1,
    metrics={"mean_iou": 0.5, "iou": {"forest": None}},
    versions={"torch": "2"},
    command="geounet train --out 'a b.safetensors'",
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build_network(CARD.architecture)
    network(torch.rand(2, 2, 8, 8))  # so that the normalisation's running moments are not the initial ones
    return network


@pytest.fixture
def path(tmp_path, network):
    save_model(tmp_path / "model.safetensors", network, CARD)
    return tmp_path / "model.safetensors"


def test_weights_and_buffers_read_back_bit_by_bit(path, network):
    loaded, _card = load_model(path)
    expected = network.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_a_loaded_network_predicts_as_the_saved_one_does(path, network):
    image = torch.rand(1, 2, 8, 12)
    with torch.no_grad():
        assert torch.equal(load_model(path)[0](image), network.eval()(image))


def test_a_loaded_network_is_in_eval_mode_on_the_cpu(path):
    loaded, _card = load_model(path)
    assert not any(module.training for module in loaded.modules())
    assert {tensor.device.type for tensor in loaded.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("card", [
    CARD, replace(CARD, resolution=None, halo=None, metrics={}, versions={}, command=""),
    replace(CARD, architecture=replace(CARD.architecture, encoder="resnet18", arch="fpn")),
])  # fmt: skip
def test_every_field_of_the_card_reads_back(tmp_path, network, card):
    save_model(tmp_path / "model.safetensors", network, card)
    assert read_card(tmp_path / "model.safetensors") == card


def test_others_may_read_it_as_any_new_file(path, tmp_path):
    (tmp_path / "any").touch()
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_file_stands_alone_when_it_is_written(path):
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_weights_that_share_memory_or_are_not_contiguous_are_saved(tmp_path, network):
    network.head.weight = torch.nn.Parameter(
        network.head.weight.detach().flip(0).transpose(0, 1).contiguous().transpose(0, 1)
    )
    save_model(tmp_path / "model.safetensors", network, CARD)
    assert torch.equal(load_model(tmp_path / "model.safetensors")[0].head.weight, network.head.weight)


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path, network):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"model\.safetensors"):
        save_model(tmp_path / "file" / "model.safetensors", network, CARD)


def test_the_fingerprint_is_that_of_the_bytes(path, tmp_path, network):
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(path.read_bytes())
    assert fingerprint(copied) == fingerprint(path)
    save_model(copied, network, replace(CARD, command="again"))
    assert fingerprint(copied) != fingerprint(path)


# --- what is no model file ---------------------------------------------------------------------------------------


def refused(path, how=load_model):
    with pytest.raises(ModelError) as caught:
        how(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert path.name in sentence
    return sentence


class Bomb:
    """Unpickling it is an error of its own."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("how", [read_card, load_model])
def test_pickles_are_refused_and_never_run(tmp_path, how):
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path, how)
    torch.save({"weight": torch.zeros(2), "bomb": Bomb()}, path)
    refused(path, how)


@pytest.mark.parametrize("content", [b"", b"value,name\n1,water\n", b"\x00" * 100, b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert "not a geounet model file" in refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere.safetensors")
    refused(tmp_path)


def test_a_safetensors_file_of_other_make_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    assert "without geounet's header" in refused(tmp_path / "other.safetensors")


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-100])
    refused(path)


def without(name):
    return {key: value for key, value in json.loads(CARD.to_json()).items() if key != name}


HEADERS = {
    "no JSON": "{",
    "null": "null",
    "a list": "[]",
    "no format": json.dumps(without("format")),
    "another format": CARD.to_json().replace("geounet-model-1", "geounet-model-9"),
    "no bands": json.dumps(without("bands")),
    "no halo": json.dumps(without("halo")),
    "an unknown field": json.dumps(json.loads(CARD.to_json()) | {"colour": "blue"}),
    "bands of another kind": json.dumps(without("bands") | {"bands": ["red"]}),
    "a class of value 300": CARD.to_json().replace("254", "300"),
    "an unknown architecture": CARD.to_json().replace('"unet"', '"vnet"'),
    "a colour by name": CARD.to_json().replace('"#ffffff"', '"white"'),
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_a_damaged_header_is_refused(tmp_path, network, text):
    path = tmp_path / "damaged.safetensors"
    save_file(network.state_dict(), path, metadata={"geounet": text})
    refused(path)


@pytest.mark.parametrize("changed", [{"width": 4}, {"depth": 2}, {"classes": 5}, {"norm": "none"}])
def test_weights_that_do_not_fit_the_architecture_are_refused(tmp_path, network, changed):
    path = tmp_path / "unfit.safetensors"
    save_model(path, network, replace(CARD, architecture=replace(CARD.architecture, **changed)))
    assert "do not fit" in refused(path)


def test_a_card_is_plain_json():
    assert card_from_json(CARD.to_json()) == CARD
    assert json.loads(CARD.to_json())["format"] == "geounet-model-1"
