"""Weights by name and from files, on the roads that they take in use: torch.hub's, the hub's cache, the disk."""

import shutil

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from geounet.classes import classes_from_values
from geounet.errors import ModelError
from geounet.models.encoders import Architecture, build_network, encoder_modules
from geounet.models.model_file import Band, ModelCard, save_model
from geounet.models.pretrained import adapt_first_convolution, load_pretrained

pytestmark = pytest.mark.numerical

SMALL = {"depth": 1, "width": 4}


def encoder_state(seed=1):
    """An encoder's weights as torchvision and torchgeo give them: resnet18's of smp, without a prefix."""
    torch.manual_seed(seed)
    return smp.encoders.get_encoder("resnet18", weights=None).state_dict()


def resnet(bands=3, classes=2):
    torch.manual_seed(0)
    return build_network(Architecture(bands, classes, encoder="resnet18"))


def test_an_adapted_convolution_gives_alike_bands_what_the_old_one_gave():
    """For more bands and for fewer; with as many it is itself."""
    kernels = torch.randn(5, 3, 2, 2)
    image = torch.randn(1, 1, 6, 7)
    expected = torch.conv2d(image.expand(-1, 3, -1, -1), kernels)
    for bands in (3, 6, 12):
        found = torch.conv2d(image.expand(-1, bands, -1, -1), adapt_first_convolution(kernels, bands))
        # Sums of some dozen products of numbers about 1.
        torch.testing.assert_close(found, expected, atol=48 * torch.finfo(torch.float32).eps * 16, rtol=0)
    assert torch.equal(adapt_first_convolution(kernels, 3), kernels)
    assert torch.equal(adapt_first_convolution(kernels, 2), kernels[:, :2] * 1.5)
    assert torch.equal(adapt_first_convolution(kernels, 4)[:, 3], kernels[:, 0] * 0.75)


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.backbone.model."])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_an_encoders_weights_from_a_file_under_any_prefix(tmp_path, prefix, ending):
    """With a classifier that is left over; the decoder stays as it was."""
    state = encoder_state()
    named = {prefix + name: tensor for name, tensor in state.items()} | {"fc.weight": torch.zeros(2, 2)}
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"state_dict": named}, path)
    else:
        save_file(named, path)
    network, before = resnet(), resnet().state_dict()
    words = load_pretrained(network, str(path), "resnet18")
    assert words == f"the encoder from {path}"
    for name, tensor in network.state_dict().items():
        expected = state[name.removeprefix("encoder.")] if name.startswith("encoder.") else before[name]
        if "num_batches" not in name:
            assert torch.equal(tensor, expected)


def test_other_bands_adapt_the_first_layer_alone(tmp_path):
    state = encoder_state()
    torch.save(state, tmp_path / "w.pth")
    network = resnet(bands=5)
    words = load_pretrained(network, str(tmp_path / "w.pth"), "resnet18")
    assert words.endswith("its first layer adapted from 3 to 5 bands")
    assert torch.equal(network.encoder.conv1.weight, adapt_first_convolution(state["conv1.weight"], 5))
    assert torch.equal(network.encoder.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize("encoder", [None, "resnet18"])
def test_a_model_file_is_gone_on_from_with_other_classes_and_bands(tmp_path, encoder):
    """All of the network but the head, which is for other classes."""
    torch.manual_seed(3)
    architecture = Architecture(3, 2, encoder=encoder, **SMALL)
    old = build_network(architecture)
    band = Band("b", 0.0, 1.0, 0.0, 1.0, 1)
    card = ModelCard(architecture, (band,) * 3, classes_from_values((0, 1)), "uint8", 3, None, 16, 2)
    save_model(tmp_path / "old.safetensors", old, card)
    torch.manual_seed(4)
    network = build_network(Architecture(4, 5, encoder=encoder, **SMALL))
    words = load_pretrained(network, str(tmp_path / "old.safetensors"), encoder)
    assert "the whole network" in words
    assert "from 3 to 4 bands" in words
    assert "head" in words
    own, theirs = network.state_dict(), old.state_dict()
    assert sum(not torch.equal(own[name], theirs[name]) for name in own if "num_batches" not in name) == 3


def test_weights_of_torchgeo_come_by_torch_hub(tmp_path, monkeypatch, caplog):
    """A file of ours where torch.hub keeps what it has fetched from torchgeo's address."""
    from torchgeo.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = ResNet18_Weights.SENTINEL2_RGB_MOCO
    place = tmp_path / "hub" / "checkpoints" / entry.url.rsplit("/", 1)[1]
    place.parent.mkdir(parents=True)
    state = encoder_state()
    torch.save(state, place)
    network = resnet()
    assert str(entry) in load_pretrained(network, str(entry), "resnet18")
    assert torch.equal(network.encoder.conv1.weight, state["conv1.weight"])
    assert "expects the bands B4, B3, B2" in caplog.text


def test_weights_that_would_run_code_are_refused(tmp_path, monkeypatch):
    """Fetched or given, a pickle with anything but tensors is not loaded."""
    from torchgeo.models import ResNet18_Weights

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = ResNet18_Weights.SENTINEL2_RGB_MOCO
    place = tmp_path / "hub" / "checkpoints" / entry.url.rsplit("/", 1)[1]
    place.parent.mkdir(parents=True)
    torch.save({"conv1.weight": Trap()}, place)
    shutil.copy(place, tmp_path / "given.pth")
    for weights in (str(entry), str(tmp_path / "given.pth")):
        with pytest.raises(ModelError):
            load_pretrained(resnet(), weights, "resnet18")
    assert not (tmp_path / "trapped").exists()


def test_smps_weights_come_from_the_hubs_cache(tmp_path, monkeypatch):
    """A file of ours where huggingface_hub keeps what it has fetched, laid out as it lays it out."""
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    folder = tmp_path / f"models--{settings['repo_id'].replace('/', '--')}" / "snapshots" / settings["revision"]
    folder.mkdir(parents=True)
    state = encoder_state()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    network = resnet(bands=4)
    words = load_pretrained(network, "imagenet", "resnet18")
    assert words == "the encoder from imagenet, its first layer adapted from 3 to 4 bands"
    assert torch.equal(network.encoder.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize("name", ["imagenet", "ResNet18_Weights.SENTINEL2_RGB_MOCO"])
def test_without_a_network_the_sentence_says_what_to_do(tmp_path, monkeypatch, name):
    """No cache, and a proxy that nobody answers at."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    # An opener that was made before knows nothing of these proxies, and one that is made here must not stay.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(ModelError, match=f"the weights {name} cannot be fetched .* give the file to --weights"):
        load_pretrained(resnet(), name, "resnet18")


@pytest.mark.parametrize(
    ("weights", "encoder", "message"),
    [
        ("imagenet", None, "name it, such as --encoder resnet18"),
        ("imagenot", "resnet18", r"resnet18 has no weights 'imagenot' \(known: imagenet, ssl, swsl\)"),
        ("absent.pth", "resnet18", r"absent\.pth does not exist"),
        ("ResNet18_Weights.NONE", "resnet18", "torchgeo has no weights .*known: .*SENTINEL2_RGB_MOCO"),
        ("Net_Weights.NONE", "resnet18", "torchgeo has no weights Net_Weights.NONE"),
    ],
)
def test_a_name_that_is_none_is_refused_with_those_that_are(weights, encoder, message):
    with pytest.raises(ModelError, match=message):
        load_pretrained(resnet(), weights, encoder)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"something.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth holds weights of another network \(1 tensors"):
        load_pretrained(resnet(), str(tmp_path / "other.pth"), "resnet18")
    state = encoder_state() | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    torch.save(state, tmp_path / "kernel.pth")
    with pytest.raises(
        ModelError, match=r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\) and should be \(64, 64, 3, 3\)"
    ):
        load_pretrained(resnet(), str(tmp_path / "kernel.pth"), "resnet18")


def test_what_is_frozen_is_the_encoder():
    network = resnet()
    assert encoder_modules(network) == (network.encoder,)
    classic = build_network(Architecture(3, 2, **SMALL))
    assert encoder_modules(classic) == (classic.first, classic.contracting)
    assert encoder_modules(torch.nn.Conv2d(1, 1, 1)) == ()
