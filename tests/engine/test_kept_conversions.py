"""A network converted for OpenVINO that stands beside its model: it saves time and changes no bit."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from untrained import make_model

from geounet.data.sampling import sampled_tiles
from geounet.data.windows import read_windows
from geounet.engine import runtimes
from geounet.engine.kept import CONVERTED
from geounet.engine.runtimes import NetworkSetup, prepared
from geounet.grid import Grid
from geounet.models.model_file import fingerprint
from geounet.raster.scene import load_scene

pytestmark = pytest.mark.numerical
NETWORKS = {
    "unet": {"depth": 2},
    "cells": {"arch": "subpixel-unet", "factor": 2, "depth": 2, "width": 16},
    "smp": {"encoder": "resnet18"},
}


@pytest.fixture(params=NETWORKS)
def model(request, tmp_path):
    make_model(tmp_path / "m.safetensors", 3, **NETWORKS[request.param])
    return tmp_path / "m.safetensors"


@pytest.fixture
def conversions(monkeypatch):
    """How often a network was converted."""
    made, convert = [], runtimes._converted
    monkeypatch.setattr(runtimes, "_converted", lambda *given: made.append(given) or convert(*given))
    return made


def setup_of(model, halo=32, **given):
    return NetworkSetup(
        model=str(model), fingerprint=fingerprint(model), device="cpu", precision="fp32", runtime="openvino",
        window=(192, 256), halo=halo, threads=2, **given,
    )  # fmt: skip


def anew(setup):
    """What a new process finds."""
    prepared.cache_clear()
    run, _ = prepared(setup)
    return run(np.random.default_rng(0).normal(size=(3, *setup.window)).astype(np.float32))


def same(found, expected):
    return len(found) == len(expected) and all(
        one.tobytes() == other.tobytes() for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("wanted", [{}, {"probabilities": True}, {"tta": True}], ids=str)
def test_a_kept_network_gives_the_bits_of_one_converted_anew(model, wanted, conversions):
    setup = setup_of(model, **wanted)
    expected = anew(setup)
    assert len(conversions) == 1
    assert len(expected) == (3 if wanted else 2)
    assert same(anew(setup), expected)
    assert len(conversions) == 1


def test_one_conversion_serves_windows_of_all_sizes(model, conversions):
    """As of a bounding box, and of a probed window."""
    anew(setup_of(model))
    assert anew(setup_of(model, probabilities=True))[2].shape[1:] == (128, 192)
    assert anew(NetworkSetup(**{**fields(setup_of(model)), "window": (128, 320)}))[0].shape == (64, 256)
    assert len(conversions) == 1


def test_threads_take_turns_with_a_network(tmp_path):
    """As the scenes of a batch do, which are probed at once."""
    make_model(tmp_path / "m.safetensors", 3, depth=2)
    setup = setup_of(tmp_path / "m.safetensors")
    expected = anew(setup)
    run, _ = prepared(setup)
    image = np.random.default_rng(0).normal(size=(3, *setup.window)).astype(np.float32)
    with ThreadPoolExecutor(4) as pool:
        assert all(same(found, expected) for found in pool.map(run, [image] * 40))


def fields(setup):
    return {name: getattr(setup, name) for name in type(setup).__slots__}


def damaged(place):
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)


def cut_short(place):
    place.write_bytes(place.read_bytes()[:1000])


def of_other_versions(place):
    with safe_open(place, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        about = json.loads(file.metadata()[CONVERTED.key])
    about["versions"]["openvino"] = "1.0"
    save_file(tensors, place, metadata={CONVERTED.key: json.dumps(about)})


def emptied(place):
    place.write_bytes(b"")


@pytest.mark.parametrize("harm", [damaged, cut_short, of_other_versions, emptied], ids=lambda harm: harm.__name__)
def test_what_is_not_as_it_was_written_is_made_anew(tmp_path, harm, conversions):
    make_model(tmp_path / "m.safetensors", 3, depth=2)
    setup = setup_of(tmp_path / "m.safetensors")
    expected = anew(setup)
    place = CONVERTED.beside(tmp_path / "m.safetensors")
    harm(place)
    for _ in range(2):
        assert same(anew(setup), expected)
    assert len(conversions) == 2


def test_another_model_of_the_same_name_is_not_given_its_network(tmp_path, conversions):
    model = tmp_path / "m.safetensors"
    make_model(model, 3, depth=2)
    before = anew(setup_of(model))
    make_model(model, 3, depth=1)
    after = anew(setup_of(model))
    assert not same(after, before)
    assert len(conversions) == 2


def test_another_halo_has_a_network_of_its_own(tmp_path, conversions):
    make_model(tmp_path / "m.safetensors", 3, depth=2)
    for halo in (32, 16, 16):
        assert anew(setup_of(tmp_path / "m.safetensors", halo))[0].shape == (192 - 2 * halo, 256 - 2 * halo)
    assert len(conversions) == 2


def test_where_nothing_can_be_written_it_is_converted_each_time(tmp_path, conversions):
    make_model(tmp_path / "m.safetensors", 3, depth=2)
    # A folder stands where the file would be: nothing can be put there, even by root.
    CONVERTED.beside(tmp_path / "m.safetensors").mkdir()
    expected = anew(setup_of(tmp_path / "m.safetensors"))
    assert same(anew(setup_of(tmp_path / "m.safetensors")), expected)
    assert len(conversions) == 2


_PREDICT = """
import sys
from pathlib import Path
from geounet import Engine, predict
import geounet.engine.tuning as tuning
tuning._TINY = 0
engine = Engine(tile_size=128, window_size=224, precision="fp32")
predict("s.tif", Path("m.safetensors"), Path(sys.argv[1]), engine=engine)
print("torch" in sys.modules, "torchgeo" in sys.modules)
"""


def test_a_prediction_with_a_kept_network_needs_no_pytorch(tmp_path, write_scene):
    """Which takes seconds to import and hundreds of megabytes: and the raster is the same."""
    make_model(tmp_path / "m.safetensors", 3, depth=2)
    write_scene(tmp_path / "s.tif", np.random.default_rng(0).integers(1, 255, (3, 300, 500)).astype(np.uint8))
    told = [
        subprocess.run(
            [sys.executable, "-c", _PREDICT, name], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.split()
        for name in ("first.tif", "second.tif")
    ]
    assert told == [["True", "False"], ["False", "False"]]
    assert (tmp_path / "first.tif").read_bytes() == (tmp_path / "second.tif").read_bytes()


def test_windows_are_the_same_with_and_without_torchgeo(tmp_path, write_scene):
    """Also where they reach beyond the scene, and where pixels are nodata."""
    array = np.random.default_rng(0).integers(0, 9, (3, 150, 220)).astype(np.uint8)
    scene = load_scene(write_scene(tmp_path / "s.tif", array, nodata=0))
    tiles = tuple(Grid(scene.extent, 48, 64, 16, 16, 0, 0).tiles())
    moments = [3.0, 4.0, 5.0], [2.0, 1.0, 3.0]
    plain = list(read_windows(scene, [tile.window for tile in tiles], *moments))
    sampled = list(sampled_tiles(scene, tiles, *moments))
    assert len(plain) == len(sampled) == len(tiles) > 8
    for (image, valid), (other, seen) in zip(plain, sampled, strict=True):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(valid, seen)
    assert not all(valid.all() for _, valid in plain)
