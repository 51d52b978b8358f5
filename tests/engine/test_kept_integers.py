"""A network in 8-bit integers that stands beside its model: calibrated once, taken where the scene allows it."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli
from levels import brightness, learned_model
from untrained import make_model, undecided

from geounet.engine import kept, quantization, tuning
from geounet.engine.compatibility import scene_for_model
from geounet.engine.quantization import quantize_model
from geounet.errors import ModelError, OutputError
from geounet.models.model_file import load_model, read_card, save_model
from geounet.tasks.predict import Engine, predict

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF is not installed"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_scene):
    """A model that has learnt levels of brightness, and two scenes of them, with a hole each."""
    folder = tmp_path_factory.mktemp("kept")
    learned_model(folder / "m.safetensors")
    for number in range(2):
        random = np.random.default_rng(number)
        codes = np.array([10, 30, 254])[random.integers(0, 3, (52, 60))].repeat(8, 0).repeat(8, 1)
        codes[50:90, 100:220] = 255
        write_scene(folder / f"s{number}.tif", brightness(codes, random), nodata=0)
    return folder


@pytest.fixture
def probing(monkeypatch):
    """Scenes of any size are large enough to probe."""
    monkeypatch.setattr(tuning, "_SMALL", 0)
    monkeypatch.setattr(tuning, "_TINY", 0)


@pytest.fixture
def model(place, tmp_path):
    """A copy, with its network in integers beside it."""
    path = tmp_path / "model.safetensors"
    shutil.copy(place / "m.safetensors", path)
    kept, share = quantize_model(path, scenes(place, path))
    assert kept == tmp_path / "model.safetensors.int8"
    assert share > 0.999
    return path


def scenes(place, model):
    return [scene_for_model(place / f"s{number}.tif", read_card(model)) for number in range(2)]


def run(scene, model, out, *, probabilities=None, **engine):
    result = predict(
        scene, model, out, probabilities=probabilities, engine=Engine(runtime="openvino", window_size=200, **engine)
    )
    with rasterio.open(out) as raster:
        return raster.read(1), raster.tags(), result


def test_auto_takes_it_where_the_classes_stay_and_tiles_do_not_show(place, model, tmp_path, probing):
    exact, _, _ = run(place / "s1.tif", model, tmp_path / "fp32.tif", precision="fp32")
    found, tags, result = run(place / "s1.tif", model, tmp_path / "auto.tif", tile_size=1000)
    assert (result.tuning.precision, tags["PRECISION"]) == ("int8", "int8")
    assert result.tuning.agreement >= 0.999
    assert (found == exact).mean() > 0.998
    for number, how in enumerate(({"tile_size": 200}, {"tile_size": 200, "workers": 2})):
        again, _, result = run(place / "s1.tif", model, tmp_path / f"{number}.tif", **how)
        np.testing.assert_array_equal(again, found)
        assert result.blocks > 1


def test_where_classes_would_change_auto_leaves_it(place, tmp_path, probing):
    """A network that has learnt nothing is near a tie in most pixels."""
    model = tmp_path / "unsure.safetensors"
    card = make_model(model, bands=1, depth=2, width=8, mean=120.0, std=60.0)
    save_model(model, undecided(load_model(model)[0]), card)
    _, share = quantize_model(model, scenes(place, model))
    assert share < 0.999
    _, _, result = run(place / "s0.tif", model, tmp_path / "out.tif")
    assert result.tuning.precision != "int8"


def test_no_scene_pays_for_calibration(place, model, tmp_path, monkeypatch):
    """Asked for by name, it is what stands beside the model, with the probabilities where they are wanted."""
    monkeypatch.setattr(quantization, "draw_images", lambda *_: pytest.fail("calibrated on the scene"))
    shares = tmp_path / "p.tif"
    found, _, result = run(place / "s0.tif", model, tmp_path / "o.tif", probabilities=shares, precision="int8")
    assert result.tuning.agreement > 0.99
    with rasterio.open(shares) as raster:
        winners = np.array([10, 30, 254])[raster.read().argmax(0)]
    valid = found != 255
    np.testing.assert_array_equal(winners[valid], found[valid])
    assert not valid.all()


def test_another_model_s_is_not_used_and_that_is_said_once(place, model, tmp_path, caplog, probing):
    learned_model(model, steps=120)
    kept._tell_another.cache_clear()
    for number in range(2):
        _, _, result = run(place / "s0.tif", model, tmp_path / f"{number}.tif")
        assert result.tuning.precision != "int8"
    assert [record.message.count("is of another model") for record in caplog.records].count(1) == 1


def test_what_cannot_be_kept_or_read_is_one_sentence(place, model, tmp_path, probing):
    with pytest.raises(OutputError, match="exists"):
        quantize_model(model, scenes(place, model))
    kept = model.with_name(f"{model.name}.int8")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    with pytest.raises(ModelError, match=r"is damaged .*; remove it, or quantize the model anew"):
        run(place / "s0.tif", model, tmp_path / "out.tif")
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"is damaged \(its bytes are not those that were written\)"):
        run(place / "s0.tif", model, tmp_path / "out.tif")
    far = tmp_path / "far.safetensors"
    make_model(far, bands=1, depth=2, width=4, norm="group", mean=120.0, std=60.0)
    with pytest.raises(ModelError, match="sees its whole window"):
        quantize_model(far, scenes(place, far))


def test_by_command(place, model):
    words = ["models", "quantize", model, place, "--pattern", "s*.tif", "--overwrite"]
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "on 2 scenes" in done.output
    again = CliRunner().invoke(cli, [str(word) for word in words[:-1]])
    assert "exists" in str(again.exception)


def test_of_many_scenes_some_evenly_chosen_calibrate_and_that_is_said(place, model, monkeypatch, caplog):
    monkeypatch.setattr(quantization, "_SCENES", 1)
    quantize_model(model, scenes(place, model), overwrite=True)
    assert "1 of 2 scenes, evenly chosen" in caplog.text
