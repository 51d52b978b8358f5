"""One network, two runtimes: the same classes, and the same bits for the same window."""

from __future__ import annotations

import os

import numpy as np
import openvino
import pytest
import torch
from untrained import network_of

from geounet.engine.classifier import WindowClassifier, openvino_model
from geounet.engine.devices import faster_precision, pick_device
from geounet.engine.runtimes import make_classifier, pick_runtime
from geounet.errors import ModelError
from geounet.models.encoders import Architecture

pytestmark = pytest.mark.numerical

NETWORK = network_of(Architecture(3, 4, depth=2, width=6))
NETWORKS = {
    "classic": NETWORK,
    "cells of 2": network_of(Architecture(3, 4, "subpixel-unet", factor=2, depth=2, width=6)),
    "cells of 4": network_of(Architecture(3, 4, "subpixel-unet", factor=4, depth=1, width=6)),
}
HALO = 24


def image(height, width, seed=0):
    return np.random.default_rng(seed).standard_normal((3, height, width)).astype(np.float32)


def classifier(runtime="torch", precision="fp32", threads=1, shape=(112, 144), halo=HALO, network=NETWORK, **more):
    how = {"runtime": runtime, "device": "cpu", "precision": precision, "threads": threads}
    return make_classifier(network, (3, *shape), halo, **how, **more)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("halo", [0, HALO])
@pytest.mark.parametrize("name", NETWORKS)
def test_classes_confidences_and_probabilities_are_those_of_the_logits(runtime, halo, name):
    """Argmax and softmax of the network's own logits, the halo cropped; confidences within a rounding step."""
    array, network = image(112, 144), NETWORKS[name]
    with torch.inference_mode():
        probabilities = network(torch.from_numpy(array)[None])[0].softmax(0)
    share, winner = probabilities.max(0)
    inner = np.s_[halo : 112 - halo, halo : 144 - halo]
    found, level, shares = classifier(runtime, halo=halo, network=network, probabilities=True)(array)
    np.testing.assert_array_equal(found, winner.numpy()[inner])
    assert np.abs(level - (share.numpy()[inner] * 254)).max() <= 0.51
    np.testing.assert_allclose(shares, probabilities.numpy()[:, *inner], atol=1e-4)
    assert found.dtype == level.dtype == np.uint8
    for part, other in zip(classifier(runtime, halo=halo, network=network)(array), (found, level), strict=True):
        np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_windows_give_equal_bits(runtime, precision, name):
    """Whatever ran before, in however many threads, in whichever instance: the ground of exact blocks."""
    if (runtime, precision) == ("openvino", "bf16") and os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
        pytest.skip("OpenVINO asks the processor, not oneDNN, whether there is bfloat16")
    one, two = (classifier(runtime, precision, threads=count, network=NETWORKS[name]) for count in (1, 2))
    expected = [one(image(112, 144, seed)) for seed in range(3)]
    for seed in (2, 0, 1, 0):
        for part, other in zip(two(image(112, 144, seed)), expected[seed], strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.skipif(faster_precision("cpu") != "bf16", reason="this CPU does not compute in bfloat16")
@pytest.mark.parametrize("name", NETWORKS)
def test_in_bfloat16_logits_are_not_rounded(name):
    """Convolutions run in it, and what makes logits of features does not."""
    model = openvino_model(WindowClassifier(NETWORKS[name], HALO).eval(), (3, 112, 144))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    about = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [(str(info["layerType"].value), str(info["runtimePrecision"].value)) for info in about]
    assert ("Convolution", "bf16") in kinds
    assert [precision for kind, precision in kinds if "econvolution" in kind or "Backprop" in kind].count("f32") == 1
    assert {precision for kind, precision in kinds if "oft" in kind} == {"f32"}


def test_results_outlive_the_next_window():
    """What a call returned is not overwritten by the next call."""
    run = classifier("openvino")
    first, _ = run(image(112, 144, 1))
    kept = first.copy()
    run(image(112, 144, 2))
    np.testing.assert_array_equal(first, kept)


def test_the_runtime_is_openvino_on_a_cpu_and_torch_elsewhere():
    """By name and by device, with a sentence for what does not go together."""
    assert pick_runtime("auto", pick_device("cpu")) == "openvino"
    assert pick_runtime("torch", pick_device("cpu")) == "torch"
    assert pick_runtime("auto", "cuda") == "torch"
    with pytest.raises(ModelError, match="works on cpu, not on cuda"):
        pick_runtime("openvino", "cuda")
    with pytest.raises(ModelError, match="fp32, bf16"):
        classifier("openvino", "fp16")


def test_without_openvino_torch_is_the_fallback(monkeypatch):
    """Where the package is missing, auto is torch, and asking for it by name is one sentence."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert pick_runtime("auto", pick_device("cpu")) == "torch"
    with pytest.raises(ModelError, match="not installed"):
        pick_runtime("openvino", pick_device("cpu"))
