"""`geounet models`: the weights of another tool become maps, and what a model is stands on standard output."""

import json
import shlex

import numpy as np
import pytest
import rasterio
import torch
import untrained
from click.testing import CliRunner
from geounet_pipelines.main import cli

from geounet.models.encoders import Architecture
from geounet.models.model_file import load_model

pytestmark = pytest.mark.numerical

ENCODER = "tu-test_resnet"
HALO = 160
COMMAND = "import 'a file.ckpt' -o m.safetensors"


def original():
    """What another tool trained; its classes are balanced, so that each is somewhere the first."""
    network = untrained.network_of(Architecture(3, 3, encoder=ENCODER))
    with torch.no_grad():
        network.segmentation_head[0].bias -= network(torch.randn(1, 3, 128, 128)).mean(dim=(0, 2, 3))
    return network


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a checkpoint, its class table and the model file that `import` made of them."""
    folder = tmp_path_factory.mktemp("models")
    network = original()
    torch.save(
        {"state_dict": {f"net.{name}": tensor for name, tensor in network.state_dict().items()}}, folder / "a.ckpt"
    )
    (folder / "classes.csv").write_text("value,name,color\n10,water,#0000ff\n30,field,#00ff00\n40,wood,#ff0000\n")
    line = (
        "import a.ckpt -o m.safetensors --arch unet --encoder tu-test_resnet --bands 3,2,1 "
        "--classes classes.csv --band_names blue,green,red --mean 128,127,126 --std 50 --resolution 10 --scene-bands 4"
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["/bin/geounet", "models", *shlex.split(COMMAND)])
        done(folder, line)
    return folder


def invoke(folder, line, group="models"):
    """Run `geounet models LINE`, with names of files relative to a folder."""
    words = [str(folder / word) if "." in word and not word[0].isdigit() else word for word in shlex.split(line)]
    return CliRunner().invoke(cli, [*shlex.split(group), *words])


def done(folder, line, group="models"):
    result = invoke(folder, line, group)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def test_an_imported_model_predicts(place, write_scene):
    """The raster holds, at every pixel, the class of the highest logit that the original network gives."""
    values = np.random.default_rng(0).integers(0, 256, (4, 64, 96), dtype=np.uint8)
    write_scene(place / "scene.tif", values, photometric="MINISBLACK")  # else the fourth band would be alpha
    done(place, "scene.tif -m m.safetensors -o classes.tif --window-size 384 --quiet", "predict")
    image = (torch.from_numpy(values[[2, 1, 0]]).float() - torch.tensor([128.0, 127.0, 126.0])[:, None, None]) / 50
    # Beyond the edge prediction reflects the scene; here numpy does, by the width that it takes for its windows.
    padded = np.pad(image, ((0, 0), (HALO, HALO), (HALO, HALO)), mode="reflect")
    with torch.no_grad():
        logits = original()(torch.from_numpy(padded)[None])[0, :, HALO:-HALO, HALO:-HALO]
    first, second = logits.topk(2, dim=0).values
    clear = (first - second > 1e-3).numpy()
    with rasterio.open(place / "classes.tif") as raster:
        found = raster.read(1)
    expected = np.array([10, 30, 40])[logits.argmax(dim=0)]
    assert clear.mean() > 0.95
    assert set(np.unique(expected)) == {10, 30, 40}
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_show_says_what_was_given(place):
    """In words and in JSON."""
    text = done(place, "show m.safetensors").stdout
    for line in (
        "unet (tu-test_resnet), 2,",
        f"halo {HALO} px, stride 32 px",
        "10 m",
        "4 bands of uint8",
        "3      blue         mean 128, std 50, -22 to 278",
        "class 30    field        #00ff00",
    ):
        assert line in text
    found = json.loads(done(place, "show m.safetensors --json").stdout)
    assert [band["number"] for band in found["bands"]] == [3, 2, 1]
    assert found["parameters"] == sum(tensor.numel() for tensor in load_model(place / "m.safetensors")[0].parameters())
    assert found["command"] == f"geounet models {COMMAND}"


def test_verify_says_one_line(place):
    """The line names the halo; a damaged file gives a sentence instead."""
    (line,) = done(place, "verify m.safetensors").stdout.splitlines()
    assert "sound; 2," in line
    assert f"halo {HALO} px, stride 32 px as probed" in line
    whole = (place / "m.safetensors").read_bytes()
    (place / "cut.safetensors").write_bytes(whole[:-1000])
    result = invoke(place, "verify cut.safetensors")
    assert result.exit_code == 1
    assert "cut.safetensors is not a geounet model file" in str(result.exception)
    assert result.stdout == ""


def test_export_says_how_far_it_is_from_pytorch(place):
    """The file is there, and nothing but the one line is said."""
    pytest.importorskip("openvino")
    (line,) = done(place, "export m.safetensors -o model.xml --window-size 64").stderr.splitlines()
    assert "model.xml: differs from PyTorch by" in line
    assert (place / "model.bin").stat().st_size > 4 * 2_000_000


def test_wrong_usage_is_told_from_work_that_failed(place):
    """Numbers that are none are wrong usage; what the weights contradict is a failure."""
    wrong = invoke(place, "import a.ckpt -o n.safetensors --encoder tu-test_resnet --mean a,b --std 1")
    assert wrong.exit_code == 2
    assert "'a,b' is not a list of numbers" in wrong.stderr
    failed = invoke(place, "import a.ckpt -o n.safetensors --encoder tu-test_resnet --mean 0 --std 1 --bands 1,2")
    assert failed.exit_code == 1
    assert "its weights read 3 bands, and --bands names 2" in str(failed.exception)
    assert not (place / "n.safetensors").exists()
