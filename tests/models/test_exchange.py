"""Networks of other tools come in with their very weights, whatever could run code stays out, and exports agree."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import untrained
from rounding import rounding_of
from safetensors.torch import save_file
from torchgeo.trainers import SemanticSegmentationTask

from geounet.classes import LandClass
from geounet.errors import ModelError, OutputError
from geounet.models import exchange, export
from geounet.models.checkpoint import read_checkpoint, select_weights
from geounet.models.encoders import Architecture
from geounet.models.exchange import Facts, import_model
from geounet.models.export import FromScene, export_model
from geounet.models.inspection import describe_model, verify_model
from geounet.models.model_file import load_model, save_model
from geounet.models.receptive_field import ReceptiveField, probe_receptive_field

pytestmark = pytest.mark.numerical

ENCODER = "tu-test_resnet"
FACTS = Facts(encoder=ENCODER, mean=(128.0,), std=(50.0,))
REACH = ReceptiveField(177, 32, 160)
IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


class Trap:
    """An object that leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def network():
    return untrained.network_of(Architecture(3, 4, encoder=ENCODER))


@pytest.fixture(scope="module")
def weights(network):
    return network.state_dict()


@pytest.fixture(scope="module")
def classic(tmp_path_factory):
    """A small model file whose bands are normalised each in its own way."""
    path = tmp_path_factory.mktemp("classic") / "model.safetensors"
    card = untrained.make_model(path, 2)
    red, infrared = card.bands
    save_model(path, load_model(path)[0], replace(card, bands=(replace(red, mean=70.0, std=9.0), infrared)))
    return path


@pytest.fixture
def quick(monkeypatch):
    """No probing, which takes seconds: what it finds for this network is checked once, by the first test."""
    monkeypatch.setattr(exchange, "probe_receptive_field", lambda _network, _bands: REACH)


def logits(network, image=IMAGE):
    with torch.no_grad():
        return network.eval()(image)


def saved(path, content):
    torch.save(content, path)
    return path


def test_a_state_dict_becomes_a_model_file_that_says_everything(tmp_path, network, weights):
    """The network is the same to the bit; halo and stride are probed; what is not given has its stated default."""
    out = tmp_path / "model.safetensors"
    facts = replace(FACTS, bands=(4, 3, 7), mean=(1.0, 2.0, 3.0), std=(0.5,), dtype="uint16", resolution=3.5)
    card = import_model(saved(tmp_path / "a.pt", weights), out, facts, command="geounet models import a.pt")
    loaded, read = load_model(out)
    assert card == read
    assert torch.equal(logits(loaded), logits(network))
    assert card.architecture == Architecture(3, 4, "unet", ENCODER)
    assert (card.halo, card.stride) == (REACH.halo, REACH.stride)
    assert [(band.name, band.number) for band in card.bands] == [("band_4", 4), ("band_3", 3), ("band_7", 7)]
    assert [(band.mean, band.std, band.minimum, band.maximum) for band in card.bands] == [
        (1.0, 0.5, -0.5, 2.5), (2.0, 0.5, 0.5, 3.5), (3.0, 0.5, 1.5, 4.5),
    ]  # fmt: skip
    assert [(item.value, item.name) for item in card.classes] == [(value, f"class_{value}") for value in range(4)]
    assert (card.dtype, card.scene_bands, card.resolution) == ("uint16", 7, 3.5)
    assert card.command == "geounet models import a.pt"
    assert {"geounet", "torch", "segmentation-models-pytorch", "python"} == set(card.versions)
    sound = verify_model(out)
    assert (sound.halo, sound.stride) == (REACH.halo, REACH.stride)
    assert sound.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_a_checkpoint_that_lightning_wrote_of_torchgeos_task(tmp_path, quick):
    """Its hyperparameters name the network, and the weights of its loss and its metrics are left behind."""
    torch.manual_seed(0)
    task = SemanticSegmentationTask(
        model="unet",
        backbone="resnet18",
        weights=None,
        in_channels=3,
        num_classes=4,
        class_weights=[1.0, 2.0, 3.0, 4.0],
    )
    trainer = lightning.pytorch.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=1)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "task.ckpt", weights_only=True)
    content = torch.load(tmp_path / "task.ckpt", weights_only=True)
    assert "criterion.weight" in content["state_dict"]
    assert content["hyper_parameters"]["backbone"] == "resnet18"
    card = import_model(tmp_path / "task.ckpt", tmp_path / "m.safetensors", Facts(mean=(0.0,), std=(3000.0,)))
    assert card.architecture == Architecture(3, 4, "unet", "resnet18")
    assert torch.equal(logits(load_model(tmp_path / "m.safetensors")[0]), logits(task))


def test_torchgeos_names_are_smps(tmp_path, quick):
    """In torchgeo it is deeplabv3+, and older versions of it and smp's examples name their parameters otherwise."""
    built = smp.create_model("deeplabv3plus", encoder_name="resnet18", encoder_weights=None, classes=2)
    state = {f"model.{name}": tensor for name, tensor in built.state_dict().items()}
    for hints in (
        {"model": "deeplabv3+", "backbone": "resnet18"},
        {"segmentation_model": "deeplabv3+", "encoder_name": "resnet18"},
    ):
        path = saved(tmp_path / "a.ckpt", {"state_dict": state, "hyper_parameters": hints})
        card = import_model(path, tmp_path / "m.safetensors", replace(FACTS, encoder=None), overwrite=True)
        assert card.architecture == Architecture(3, 2, "deeplabv3plus", "resnet18")
        assert torch.equal(logits(load_model(tmp_path / "m.safetensors")[0]), logits(built))


def test_safetensors_are_told_by_their_content(tmp_path, weights, network, quick):
    """The ending does not matter."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "weights.bin")
    import_model(tmp_path / "weights.bin", tmp_path / "m.safetensors", FACTS)
    assert torch.equal(logits(load_model(tmp_path / "m.safetensors")[0]), logits(network))


def test_a_single_logit_becomes_two_with_the_same_probability(tmp_path, quick):
    """Softmax of (0, z) is the sigmoid that the network was trained with."""
    single = untrained.network_of(Architecture(3, 1, encoder=ENCODER))
    classes = (LandClass(0, "land", "#000000"), LandClass(1, "water", "#0000ff"))
    facts = replace(FACTS, classes=classes)
    card = import_model(saved(tmp_path / "a.pt", single.state_dict()), tmp_path / "m.safetensors", facts)
    assert card.classes == classes
    found = logits(load_model(tmp_path / "m.safetensors")[0]).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(found, logits(single).sigmoid())


def test_a_pickled_object_is_refused_and_does_not_run(tmp_path, weights):
    """The trap works where code may run, and is not sprung by an import."""
    trace, out = tmp_path / "trace", tmp_path / "m.safetensors"
    path = saved(tmp_path / "evil.ckpt", {"state_dict": weights, "hyper_parameters": {"loss": Trap(trace)}})
    with pytest.raises(ModelError, match=r"holds an object of io.open, and reading that would run code"):
        import_model(path, out, FACTS, trust=True)
    assert not trace.exists()
    assert not out.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_torchscript_is_loaded_where_it_is_trusted_only(tmp_path, network, quick, monkeypatch):
    """Untrusted, its loader is not even called; trusted, its weights alone are taken."""
    path = tmp_path / "traced.pt"
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.trace(network, IMAGE), path)
    with monkeypatch.context() as patched:
        patched.setattr(torch.jit, "load", pytest.fail)
        with pytest.raises(ModelError, match=r"is TorchScript, which can run code.*--trust"):
            import_model(path, tmp_path / "m.safetensors", FACTS)
    import_model(path, tmp_path / "m.safetensors", FACTS, trust=True)
    assert torch.equal(logits(load_model(tmp_path / "m.safetensors")[0]), logits(network))
    with pytest.raises(ModelError, match=r"are missing \(encoder"):
        import_model(path, tmp_path / "n.safetensors", replace(FACTS, encoder="resnet18"), trust=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bands": (1, 2)}, r"its weights read 3 bands, and --bands names 2; name 3"),
        ({"bands": (1, 2, 0)}, r"--bands names band 0; bands are counted from 1"),
        ({"band_names": ("red", "green")}, r"its weights read 3 bands, and --band-names names 2"),
        ({"mean": (1.0, 2.0)}, r"its weights read 3 bands, and --mean holds 2 numbers"),
        ({"mean": (1.0, 2.0, float("nan"))}, r"--mean holds 1.0, 2.0, nan"),
        ({"std": (1.0, 0.0, 3.0)}, r"--std holds 0; a standard deviation is above 0"),
        ({"std": ()}, r"how its training scenes were normalised.*--mean and --std"),
        ({"classes": untrained.CLASSES}, r"its weights give 4 classes, and the class table names 3"),
        ({"scene_bands": 2}, r"band 3 is read, and --scene-bands says that scenes have 2"),
        ({"encoder": None}, r"give --encoder, such as --encoder resnet18"),
        ({"encoder": "resnet18"}, r"of the network's \d+ weights \d+ are missing \(encoder.conv1.weight"),
        ({"encoder": "resnet0"}, r"there is no network unet with encoder resnet0"),
        ({"arch": "fpn"}, r"are missing \(decoder"),
    ],
)
def test_what_contradicts_the_weights_is_refused_with_the_numbers(tmp_path, weights, changes, sentence):
    """One sentence that begins with the checkpoint's name, and no model file."""
    path, out = saved(tmp_path / "a.pt", weights), tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match=rf"a\.pt: .*{sentence}") as caught:
        import_model(path, out, replace(FACTS, **changes))
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("hints", "sentence"),
    [
        ({"model_kwargs": {"decoder_attention_type": "scse"}}, r"was built with .*scse"),
        ({"task": "multilabel"}, r"its task is multilabel"),
        ({"model": "fcn"}, r"there is no network fcn"),
    ],
)
def test_a_network_that_a_model_file_cannot_hold_is_refused(tmp_path, weights, hints, sentence):
    """The hyperparameters say what the weights' names alone would not."""
    path = saved(tmp_path / "a.ckpt", {"state_dict": weights, "hyper_parameters": hints})
    with pytest.raises(ModelError, match=sentence):
        import_model(path, tmp_path / "m.safetensors", FACTS)


def test_weights_of_another_shape_or_that_are_no_numbers(tmp_path, weights):
    """Names alone do not make a network, and NaN would make a map of nothing."""
    wider = weights | {"decoder.blocks.0.conv1.0.weight": torch.zeros(8, 768, 3, 3)}
    broken = weights | {"encoder.model.bn1.weight": torch.full_like(weights["encoder.model.bn1.weight"], torch.nan)}
    for content, sentence in (
        (wider, rf"do not fit unet with encoder {ENCODER}: .*size mismatch"),
        (broken, r"the first is encoder.model.bn1.weight"),
    ):
        with pytest.raises(ModelError, match=sentence):
            import_model(saved(tmp_path / "a.pt", content), tmp_path / "m.safetensors", FACTS)


def test_rubbish_is_no_checkpoint(tmp_path, weights):
    """A missing file, an empty one, text, a cut one and one without tensors: a sentence each."""
    whole = saved(tmp_path / "whole.pt", weights).read_bytes()
    for name, content in {"empty": b"", "text": b"hello" * 20, "cut": whole[:5000], "header": b"12345678{}"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            read_checkpoint(tmp_path / name)
    for content in ({"epoch": 3}, [1, 2], torch.zeros(2)):
        with pytest.raises(ModelError, match="holds no state dict"):
            read_checkpoint(saved(tmp_path / "b.pt", content))
    with pytest.raises(ModelError, match="does not exist"):
        read_checkpoint(tmp_path / "absent")


def test_a_failed_import_leaves_what_was_there(tmp_path, weights):
    """And an existing file is not even looked past without `overwrite`."""
    out = tmp_path / "m.safetensors"
    out.write_text("before")
    with pytest.raises(OutputError, match="exists"):
        import_model(saved(tmp_path / "a.pt", weights), out, FACTS)
    with pytest.raises(ModelError):
        import_model(tmp_path / "a.pt", out, replace(FACTS, bands=(1,)), overwrite=True)
    assert out.read_text() == "before"


NAMES = ("encoder.conv1.weight", "encoder.bn1.num_batches_tracked", "head.weight")


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "module.", "_orig_mod.model."])
def test_weights_are_found_under_any_prefix(prefix):
    """With what training leaves beside them dropped, and the counter that old files lack not missed."""
    tensors = {prefix + name: torch.tensor(position) for position, name in enumerate(NAMES) if "tracked" not in name}
    others = {"criterion.weight": torch.zeros(4), "val_metrics.accuracy.total": torch.zeros(1)}
    assert select_weights(tensors | others, NAMES) == {NAMES[0]: torch.tensor(0), NAMES[2]: torch.tensor(2)}


def test_nothing_of_a_network_is_dropped_and_nothing_guessed():
    """A second head beside the network, or a second network, changes what the first one means."""
    tensors = {f"model.{name}": torch.zeros(1) for name in NAMES}
    with pytest.raises(ModelError, match=r"of 4 weights the network has no place for 1 \(head2.weight\)"):
        select_weights(tensors | {"head2.weight": torch.zeros(1)}, NAMES)
    with pytest.raises(ModelError, match=r"holds 2 networks, under the prefixes 'model.', 'ema.'"):
        select_weights(tensors | {f"ema.{name}": torch.zeros(1) for name in NAMES}, NAMES)


def test_verify_finds_what_is_wrong(tmp_path, classic):
    """A halo that is too short, a class too many, equal values, a normalisation by 0, and weights that are NaN."""
    sound = verify_model(classic)
    network, card = load_model(classic)
    assert (sound.halo, sound.stride) == (card.halo, card.stride)
    reach = probe_receptive_field(network, 2)
    out = tmp_path / "m.safetensors"
    other = LandClass(7, "ice", "#ffffff")
    for changed, sentence in (
        (replace(card, halo=card.halo - 4), rf"halo of {reach.halo - 4} .* probing finds {reach.halo} and 4"),
        (replace(card, halo=None), "halo of None"),
        (replace(card, stride=8), "stride of 8"),
        (replace(card, classes=(*card.classes, other)), "lists 4 classes, and the network has 3"),
        (replace(card, classes=(other, other, card.classes[0])), r"\[7, 7, 10\] are not all different"),
        (replace(card, bands=card.bands[:1]), "lists 1 bands, and the network has 2"),
        (replace(card, bands=(replace(card.bands[0], std=0.0), card.bands[1])), r"mean 70.0 and std 0.0"),
    ):
        save_model(out, network, changed)
        with pytest.raises(ModelError, match=sentence):
            verify_model(out)
    with torch.no_grad():
        network.head.bias[1] = torch.inf
    save_model(out, network, card)
    with pytest.raises(ModelError, match=r"the first is head\.bias"):
        verify_model(out)


def test_description_is_the_header_and_the_size(classic):
    """All fields of the card as JSON, and the number of parameters as PyTorch counts them."""
    network, card = load_model(classic)
    found = describe_model(classic)
    assert json.loads(card.to_json()).items() <= found.items()
    assert found["parameters"] == sum(parameter.numel() for parameter in network.parameters())


def onnx_session(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path)
    return lambda image: session.run(["logits"], {"image": image})[0], session.get_modelmeta().custom_metadata_map


def openvino_session(path):
    runtime = pytest.importorskip("openvino")
    model = runtime.Core().read_model(path)
    facts = {name: model.get_rt_info(["geounet", name]).value for name in ("bands", "classes", "halo", "stride")}
    compiled = runtime.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: compiled({"image": image})["logits"], facts


FORMATS = {"model.onnx": onnx_session, "model.xml": openvino_session}


def need(name):
    for package in {"model.onnx": ("onnx", "onnxscript", "onnxruntime"), "model.xml": ("openvino",)}[name]:
        pytest.importorskip(package)


def agree(path, name, model):
    """The file gives PyTorch's logits of scene values, for batches and windows of several shapes; its metadata."""
    run, facts = FORMATS[name](path)
    network, card = load_model(model)
    mean, std = (torch.tensor([getattr(band, key) for band in card.bands])[:, None, None] for key in ("mean", "std"))
    of_scenes = FromScene(network, card).eval()
    for batch, rows, columns in ((1, 1, 1), (3, 5, 2)):
        image = 255 * torch.rand(batch, len(card.bands), rows * card.stride, columns * card.stride)
        expected = logits(network, (image - mean) / std)
        np.testing.assert_allclose(run(image.numpy()), expected, atol=rounding_of(of_scenes, image), rtol=0)
    return facts


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_takes_scene_values_and_gives_pytorchs_logits(tmp_path, classic, name):
    """In windows of any size; bands, classes, halo and stride are in its metadata; it is one file, or two."""
    need(name)
    difference = export_model(classic, tmp_path / name, window_size=64)
    assert 0 <= difference <= 1e-4
    facts = agree(tmp_path / name, name, classic)
    card = json.loads(load_model(classic)[1].to_json())
    assert {key: json.loads(facts[key]) for key in ("bands", "classes", "halo", "stride")} == {
        key: card[key] for key in ("bands", "classes", "halo", "stride")
    }
    expected = {name} | ({"model.bin"} if name == "model.xml" else set())
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("name", FORMATS)
def test_an_imported_network_is_exported(tmp_path, weights, quick, name):
    """An encoder of smp goes through both converters."""
    need(name)
    model = tmp_path / "m.safetensors"
    import_model(saved(tmp_path / "a.pt", weights), model, FACTS)
    export_model(model, tmp_path / name, window_size=64)
    agree(tmp_path / name, name, model)


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_differs_is_not_left_behind(tmp_path, classic, name, monkeypatch):
    """The comparison is with the file as it was written: a network written with a changed weight is refused."""
    need(name)
    chosen = export._FORMATS[Path(name).suffix]

    def write_another(network, card, path):
        with torch.no_grad():
            network.std[0, 1] *= 2
        chosen.write(network, card, path)
        with torch.no_grad():
            network.std[0, 1] /= 2

    monkeypatch.setitem(export._FORMATS, Path(name).suffix, replace(chosen, write=write_another))
    with pytest.raises(ModelError, match=r"logits differ by .* from PyTorch's, and .* is allowed"):
        export_model(classic, tmp_path / name, window_size=64)
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_a_converter_took_as_fixed_are_noticed(tmp_path, classic, monkeypatch):
    """A file that runs windows of one size only is refused: the comparison is on two."""

    def load(_path):
        def run(image):
            if image.shape[-1] != 64:
                raise ValueError("fixed size")
            return logits(export.FromScene(*load_model(classic)), torch.from_numpy(image)).numpy()

        return run

    monkeypatch.setitem(export._FORMATS, ".one", export._Format((), lambda *_given: None, load))
    with pytest.raises(ModelError, match=r"does not run on an image \(2, 2, 4, 8\) \(fixed size\)"):
        export_model(classic, tmp_path / "model.one", window_size=64)
    assert list(tmp_path.iterdir()) == []


def test_exports_that_cannot_be(tmp_path, classic, monkeypatch):
    """An unknown ending, a window that fits no stride, a second file in the way, a package that is not there."""
    pytest.importorskip("openvino")
    with pytest.raises(ModelError, match=r"ends in '.tflite'; known endings: .onnx, .xml"):
        export_model(classic, tmp_path / "model.tflite")
    with pytest.raises(ModelError, match="window of 66 pixels is no multiple of the model's stride 4"):
        export_model(classic, tmp_path / "model.xml", window_size=66)
    (tmp_path / "model.bin").write_text("mine")
    with pytest.raises(OutputError, match=r"model\.bin exists"):
        export_model(classic, tmp_path / "model.xml", window_size=64)
    assert (tmp_path / "model.bin").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match="pip install openvino"):
        export_model(classic, tmp_path / "model.xml", overwrite=True)
