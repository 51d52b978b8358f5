"""8-bit integers: calibrated on the scene, the same bits whoever computes them, and never without being asked for."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from untrained import make_model

from geounet.engine.quantization import check_quantization
from geounet.errors import ModelError
from geounet.tasks.predict import Engine, predict

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF is not installed"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("integers")


@pytest.fixture(scope="module")
def model(place):
    make_model(place / "m.safetensors", depth=2, width=8)
    return place / "m.safetensors"


@pytest.fixture(scope="module")
def scene(place, write_scene):
    """Smooth fields with noise on them, and a nodata corner."""
    random = np.random.default_rng(3)
    fields = random.integers(20, 220, (2, 13, 15)).repeat(40, axis=1).repeat(40, axis=2)
    array = (fields + random.integers(0, 20, fields.shape)).astype(np.uint8)
    array[:, :150, :200] = 0
    return write_scene(place / "scene.tif", array, nodata=0)


def run(scene, model, out, precision="int8", **engine):
    """Classes, confidences and tags of a prediction in windows of 200 pixels, and its summary."""
    share = out.with_suffix(".share.tif")
    engine = {"window_size": 200, "runtime": "openvino", **engine}
    result = predict(scene, model, out, confidence=share, engine=Engine(precision=precision, **engine))
    with rasterio.open(out) as classes, rasterio.open(share) as confidence:
        return classes.read(1), confidence.read(1), classes.tags(), result


def test_integers_give_the_classes_of_float32_but_for_few(tmp_path, scene, model):
    """The agreement that is reported is that of the scene, measured on windows that calibrated nothing."""
    exact, sure, _, _ = run(scene, model, tmp_path / "exact.tif", "fp32")
    found, less_sure, tags, result = run(scene, model, tmp_path / "int8.tif")
    valid = exact != 255
    np.testing.assert_array_equal(found != 255, valid)
    share = (found == exact)[valid].mean()
    assert share > 0.95
    assert (sure != less_sure).mean() > 0.1  # so integers it was
    assert result.tuning.agreement == pytest.approx(share, abs=0.02)
    assert tags["PRECISION"] == "int8"
    assert f"{result.tuning.agreement:.5f}" in tags["AGREEMENT"]


@pytest.mark.parametrize("how", [{"tile_size": 200}, {"tile_size": 300, "scheduler": "two_workers"}])
def test_blocks_and_workers_change_no_bit(tmp_path, scene, model, how, request):
    """All workers run the one calibrated network."""
    if "scheduler" in how:
        how = how | {"scheduler": request.getfixturevalue(how["scheduler"])}
    whole = run(scene, model, tmp_path / "whole.tif")
    parts = run(scene, model, tmp_path / "parts.tif", **how)
    for one, other in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_scenes_in_one_process_are_calibrated_each_for_itself(tmp_path, scene, model, write_scene):
    """A network that an earlier scene left in memory is not taken for the next, even under the same name."""
    bright = write_scene(tmp_path / "bright.tif", np.full((2, 320, 400), 250, np.uint8))
    expected, _, _, _ = run(scene, model, tmp_path / "first.tif")
    run(bright, model, tmp_path / "again.tif")
    (tmp_path / "again.tif").unlink()
    (tmp_path / "again.share.tif").unlink()
    found, _, _, _ = run(scene, model, tmp_path / "again.tif")
    np.testing.assert_array_equal(found, expected)


def test_a_resumed_run_takes_the_network_that_the_first_one_left(tmp_path, scene, model, monkeypatch):
    """Interrupted after some blocks: the calibrated network is still there, and is not made again."""

    def stop(done, _all):
        if done >= 3:
            raise KeyboardInterrupt

    engine = Engine(precision="int8", runtime="openvino", window_size=200, tile_size=200)
    with pytest.raises(KeyboardInterrupt):
        predict(scene, model, tmp_path / "c.tif", engine=engine, progress=stop)
    note = json.loads((tmp_path / "c.tif.tiles" / "quantized.json").read_text())
    monkeypatch.setattr("geounet.engine.quantization._calibrated", None)
    result = predict(scene, model, tmp_path / "c.tif", engine=engine)
    assert result.resumed >= 1
    assert result.tuning.agreement == note["agreement"]
    monkeypatch.undo()
    expected, _, _, _ = run(scene, model, tmp_path / "whole.tif")
    with rasterio.open(tmp_path / "c.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), expected)


def test_nothing_is_said_on_standard_output(tmp_path, scene, model, capfd):
    """Which is for results."""
    run(scene, model, tmp_path / "c.tif")
    said = capfd.readouterr()
    assert said.out == ""
    assert "CUDA" not in said.err


def test_a_signal_afterwards_finds_its_handler(tmp_path, scene, model):
    """Ctrl-C, say, after some scenes: OpenVINO's own stacks for signal handlers are not left behind, gone."""
    code = """if True:
        import signal, sys
        from pathlib import Path
        from geounet.tasks.predict import Engine, predict
        for precision in ("int8", "int8", "int8", "fp32"):
            engine = Engine(precision=precision, runtime="openvino", window_size=200)
            predict(*map(Path, sys.argv[1:]), engine=engine, overwrite=True)
        signal.signal(signal.SIGINT, lambda *_: print("handled"))
        signal.raise_signal(signal.SIGINT)
    """
    command = [sys.executable, "-X", "faulthandler", "-c", code, *map(str, (scene, model, tmp_path / "c.tif"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr[-2000:]


def test_a_scene_without_a_valid_pixel_has_nothing_to_calibrate_on(tmp_path, model, write_scene):
    """And needs no network."""
    empty = write_scene(tmp_path / "empty.tif", np.zeros((2, 300, 400), np.uint8), nodata=0)
    classes, _, _, result = run(empty, model, tmp_path / "c.tif")
    assert (classes == 255).all()
    assert result.windows == 0


def test_integers_need_openvino_and_nncf(tmp_path, scene, model, monkeypatch):
    """One sentence each, before anything is done."""
    with pytest.raises(ModelError, match="computed by the runtime openvino"):
        run(scene, model, tmp_path / "c.tif", runtime="torch")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"pip install 'geounet\[int8\]'"):
        check_quantization("openvino")
    assert list(tmp_path.iterdir()) == []


def test_auto_never_takes_integers(tmp_path, scene, model):
    """They change classes, so that is for the user to ask for."""
    result = predict(scene, model, tmp_path / "c.tif", engine=Engine())
    assert result.tuning.precision in ("fp32", "bf16")


def test_scenes_that_are_calibrated_at_once_leave_standard_output_as_it_was(tmp_path, scene, model, capfd):
    """In several threads, as a batch does it."""
    with ThreadPoolExecutor(4) as pool:
        made = [
            pool.submit(predict, scene, model, tmp_path / f"{number}.tif", engine=Engine(precision="int8"))
            for number in range(4)
        ]
        assert all(future.result().valid for future in made)
    sys.stdout.write("heard")
    assert capfd.readouterr().out == "heard"
