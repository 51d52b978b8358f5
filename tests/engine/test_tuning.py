"""What `auto` chooses, and that it keeps what it says it keeps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained import make_model

from geounet.engine import halos, probe, tuning
from geounet.engine.devices import faster_precision
from geounet.engine.tuning import choose, fit
from geounet.models.model_file import load_model, save_model
from geounet.raster.scene import load_scene
from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.numerical

CPU = "cpu"
OPEN = {"window_size": None, "halo": None, "runtime": "auto", "precision": "auto"}
native_bf16 = pytest.mark.skipif(faster_precision(CPU) is None, reason="this CPU does not compute in bfloat16")


def landscape(height, width):
    """Two bands of noise on a slope, with a nodata corner."""
    array = np.random.default_rng(0).integers(1, 200, (2, height, width))
    array = (array + np.arange(width) * 50 // width).astype(np.uint8)
    array[:, : height // 3, : width // 3] = 0
    return array


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def scene(place, write_scene):
    """Of two megapixels."""
    return write_scene(place / "scene.tif", landscape(1500, 1420), nodata=0)


@pytest.fixture
def probing(monkeypatch):
    """Scenes are probed from two megapixels on, so that those of the tests are soon read."""
    monkeypatch.setattr(tuning, "_SMALL", 2_000_000)


def tune(scene, card, model, device, *, window_size, **asked):
    """What is chosen for one scene, laid over it."""
    region = asked.get("region")
    choice = choose(scene, card, model, device, window_size=window_size, **asked)
    return fit(choice, scene, card, region=region, window_size=window_size)


def test_a_scene_that_is_predicted_sooner_than_probed_is_not_probed(place, scene):
    """Exact halo and float32, but in the fast runtime."""
    card = make_model(place / "m.safetensors", depth=3)
    found = tune(load_scene(scene), card, place / "no file is read.safetensors", CPU, **OPEN)
    assert (found.halo, found.runtime, found.precision) == (card.halo, "openvino", "fp32")
    assert (found.tiling, found.agreement) == ("exact", None)


@pytest.mark.usefixtures("probing")
def test_where_nothing_is_faster_than_float32_nothing_is_probed(place, scene, monkeypatch):
    """A CPU without bfloat16, and no network in int8: and it is not said that something was probed."""
    monkeypatch.setattr(tuning, "faster_precision", lambda _device: None)
    monkeypatch.setattr(tuning, "draw_samples", lambda *_given: pytest.fail("probed"))
    card = make_model(place / "m.safetensors", depth=3)
    found = tune(load_scene(scene), card, place / "m.safetensors", CPU, **OPEN)
    assert (found.precision, found.agreement, tuning.describe_agreement(found)) == ("fp32", None, "not probed")


def test_a_tiny_scene_is_not_compiled_for(place, write_scene):
    """Exact halo, float32 and torch, in a window no larger than the scene."""
    card = make_model(place / "m.safetensors", depth=3)
    small = load_scene(write_scene(place / "small.tif", landscape(201, 90), nodata=0))
    found = tune(small, card, place / "no file is read.safetensors", CPU, **OPEN)
    assert (found.halo, found.runtime, found.precision) == (card.halo, "torch", "fp32")
    assert (found.tiling, found.agreement) == ("exact", None)
    assert found.core == (208, 96)


@native_bf16
@pytest.mark.usefixtures("probing")
def test_a_large_scene_takes_the_fastest_that_keeps_the_classes(place, scene):
    """bfloat16 in OpenVINO, with the agreement that was measured; the scene is cut into equal parts."""
    card = make_model(place / "m.safetensors")
    found = tune(load_scene(scene), card, place / "m.safetensors", CPU, **OPEN)
    assert (found.runtime, found.precision) == ("openvino", "bf16")
    assert 0.999 <= found.agreement <= 1
    assert found.tiling == "exact"
    assert found.core == (752, 1420)


@native_bf16
@pytest.mark.usefixtures("probing")
def test_a_network_that_needs_float32_keeps_it(place, scene):
    """Features that differ by little beside their size lose classes in bfloat16: auto stays with float32."""
    make_model(place / "m.safetensors")
    network, card = load_model(place / "m.safetensors")
    with torch.no_grad():
        last = network.expanding[-1].convolve
        last[1].bias += 300
        last[4].running_mean += 300 * last[3].weight.sum((1, 2, 3))
        network.head.bias -= network(torch.randn(1, len(card.bands), 64, 64))[0, :, 16:48, 16:48].mean((1, 2))
    save_model(place / "close.safetensors", network, card)
    found = tune(load_scene(scene), card, place / "close.safetensors", CPU, **OPEN)
    assert found.precision == "fp32"
    assert (
        tune(load_scene(scene), card, place / "close.safetensors", CPU, **{**OPEN, "precision": "bf16"}).precision
        == "bf16"
    )


@pytest.mark.usefixtures("probing")
def test_the_measured_halo_is_enough_and_the_next_smaller_is_not(place, scene, monkeypatch):
    """A halo below the exact one changes no class and no probability by 1e-4 on the samples, and says so."""
    monkeypatch.setattr(tuning, "_SHORT_HALO", 0)
    monkeypatch.setattr(halos, "_SMALLEST_HALO", 8)
    card = make_model(place / "deep.safetensors", depth=3)
    found = tune(load_scene(scene), card, place / "deep.safetensors", CPU, **{**OPEN, "precision": "fp32"})
    assert found.halo < card.halo
    assert found.tiling.startswith(f"measured: a halo of {found.halo} px for {card.halo} changes no class")
    network, _ = load_model(place / "deep.safetensors")
    opened = load_scene(scene)
    windows = probe.probed_windows(opened, card, card.halo, opened.extent)
    references = [halos.refer(network, image, card.halo) for image, _ in windows]
    assert len(references) >= 3
    assert all(halos.is_enough(reference, network, card.halo, found.halo) for reference in references)
    smaller = found.halo - card.stride
    assert not all(halos.is_enough(reference, network, card.halo, smaller) for reference in references)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30_000), st.integers(1, 30_000), st.sampled_from([16, 32]), st.integers(0, 24))
def test_windows_are_bounded_and_no_other_cut_is_less_work(height, width, stride, strides):
    """Aligned cores that cover the scene, in windows as large as allowed; more or fewer parts only add to the work."""
    halo = strides * stride
    core = tuning._least_work(height, width, stride, halo)
    assert all(side % stride == 0 for side in core)
    parts = [-(-length // side) for length, side in zip((height, width), core, strict=True)]
    limit = max(1280, min(12 * halo, 2816), 1024 + 2 * halo) ** 2

    def window_and_work(rows, columns):
        sides = [
            stride * -(-length // (count * stride)) + 2 * halo for length, count in ((height, rows), (width, columns))
        ]
        return sides[0] * sides[1], rows * columns * sides[0] * sides[1]

    window, work = window_and_work(*parts)
    assert window <= limit
    assert (core[0] + 2 * halo) * (core[1] + 2 * halo) == window
    for other in product(range(max(1, parts[0] - 2), parts[0] + 3), range(max(1, parts[1] - 2), parts[1] + 3)):
        its_window, its_work = window_and_work(*other)
        # Parts that are cut no finer than half the smallest core are looked at.
        fine = any(count > max(1, -(-length // 512)) for length, count in zip((height, width), other, strict=True))
        assert its_window > limit or its_work >= work or fine


def test_what_is_given_is_taken(place, scene):
    """Window, halo, runtime and precision by hand; a halo that is too small is called approximate."""
    card = make_model(place / "m.safetensors")
    asked = {"window_size": 500, "halo": 17, "runtime": "torch", "precision": "fp32"}
    found = tune(load_scene(scene), card, place / "m.safetensors", CPU, **asked)
    assert (found.halo, found.core) == (20, (460, 460))
    assert found.tiling.startswith("approximate: a halo of 20 px for 24")


@native_bf16
@pytest.mark.usefixtures("probing")
def test_blocks_and_workers_change_no_bit_with_all_left_to_auto(tmp_path, place, scene, two_workers):
    """OpenVINO in bfloat16 over two processes and small blocks gives what one block gives, and the tags say how."""
    make_model(place / "m.safetensors")
    rasters = []
    for name, engine in (("a", Engine()), ("b", Engine(tile_size=300, window_size=None, scheduler=two_workers))):
        result = predict(scene, place / "m.safetensors", tmp_path / f"{name}.tif", engine=engine)
        with rasterio.open(tmp_path / f"{name}.tif") as raster:
            rasters.append(raster.read(1))
            tags = raster.tags()
        assert (tags["RUNTIME"], tags["PRECISION"], tags["TILING"]) == ("openvino", "bf16", "exact")
        assert f"{result.tuning.agreement:.5f}" in tags["AGREEMENT"]
    np.testing.assert_array_equal(*rasters)
    assert (rasters[0] == 255).mean() == pytest.approx(1 / 9, abs=0.01)
