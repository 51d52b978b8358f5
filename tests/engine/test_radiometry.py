"""A scene's numbers are what the model was trained on, or the scene is refused; and what is done with tags is said."""

from dataclasses import replace

import numpy as np
import pytest
from untrained import make_model

from geounet.engine.compatibility import scene_for_model
from geounet.errors import SceneError
from geounet.raster.scene import opened, read

REFLECTANCE = np.random.default_rng(0).uniform(0.02, 0.55, (2, 40, 60))
STORED = np.rint(REFLECTANCE * 1e4).astype(np.uint16)


@pytest.fixture
def card(tmp_path):
    """Of a model of two bands, trained on untagged reflectance times 10,000, or on what else is given."""

    def made(scale=1.0, offset=0.0, dtype="uint16", unit=1e4):
        plain = make_model(
            tmp_path / "m.safetensors", mean=0.28 * unit, std=0.15 * unit, dtype=dtype, names=("B02", "B08")
        )
        bands = (replace(band, scale=scale, offset=offset, minimum=0.0, maximum=unit) for band in plain.bands)
        return replace(plain, bands=tuple(bands))

    return made


@pytest.fixture
def scene(tmp_path, write_scene):
    def written(values=STORED, scale=1.0, offset=0.0, **more):
        return write_scene(tmp_path / "s.tif", values, scales=[scale] * 2, offsets=[offset] * 2, **more)

    return written


def values_of(scene):
    with opened(scene) as dataset:
        return read(dataset, scene, scene.extent)[0]


TAGGED = {"scale": 1e-4, "offset": 0.0, "unit": 1.0}


@pytest.mark.parametrize(
    ("model", "given", "expected", "said"),
    [
        ({}, {}, STORED, ""),
        ({"scale": None}, {}, STORED, ""),
        (
            {},
            {"scale": 1e-4},
            STORED,
            "states scale 0.0001 and offset 0; its numbers are read as stored (the model was",
        ),
        ({"scale": None}, {"scale": 1e-4}, STORED, "as stored (the model does not say what its numbers are)"),
        (TAGGED, {"scale": 1e-4}, STORED / 1e4, "by its tags (the model was trained on numbers with scale 0.0001"),
        (TAGGED, {"scale": 1e-4, "offset": -0.1}, STORED / 1e4 - 0.1, "by its tags"),
        (TAGGED, {}, STORED / 1e4, "states no scale; its numbers are read by the model's scale and offset"),
        (
            TAGGED,
            {"values": REFLECTANCE.astype(np.float32)},
            REFLECTANCE,
            "states no scale; its numbers are read as stored",
        ),
        ({"dtype": "float32", "unit": 1.0}, {"scale": 1e-4}, STORED / 1e4, "its numbers are read by its tags"),
        ({}, {"values": (STORED // 20).astype(np.uint16)}, STORED // 20, ""),
        ({}, {"values": np.full_like(STORED, 300)}, np.full_like(STORED, 300), ""),
        ({}, {"values": np.zeros_like(STORED)}, np.zeros_like(STORED), "hold 0, which is not declared as nodata"),
    ],
)
def test_numbers_are_brought_to_the_model_s(card, scene, caplog, model, given, expected, said):
    found = scene_for_model(scene(**given), card(**model))
    np.testing.assert_allclose(values_of(found), expected, rtol=1e-5, atol=1e-6)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)
    assert len(caplog.records) <= 1


@pytest.mark.parametrize(
    ("model", "given", "sentence"),
    [
        ({}, {"values": REFLECTANCE.astype(np.float32)}, r"factor of 10000 seems to lie between.*--radiometry"),
        ({}, {"values": (STORED / 1e3).astype(np.uint16)}, "factor of 1000 seems to lie"),
        ({}, {"values": (STORED.astype(np.uint32) * 10).clip(0, 65535).astype(np.uint16)}, "factor of 10 seems to lie"),
        ({}, {"offset": -1000.0}, "its values fit by its tags and as stored; say which is right: --radiometry as-is"),
        (TAGGED, {"values": STORED, "scale": 1.0, "offset": -9e9}, "spreads its values|its stored numbers"),
        ({"unit": 1.0, "scale": 2.0, "dtype": "float32"}, {"values": REFLECTANCE.astype(np.float32), "scale": 1e-4},
         "states scale 0.0001 and offset 0, but its stored numbers are those that fit"),
        ({}, {"scale": float("nan")}, "states the scale or offset nan"),
    ],
)  # fmt: skip
def test_contradictions_and_other_units_are_refused(card, scene, model, given, sentence):
    with pytest.raises(SceneError, match=sentence):
        scene_for_model(scene(**given), card(**model))


@pytest.mark.parametrize(("radiometry", "expected"), [("as-is", STORED), ("scaled", STORED - 1000.0)])
def test_what_is_open_is_settled_by_the_user(card, scene, caplog, radiometry, expected):
    found = scene_for_model(scene(offset=-1000.0), card(), radiometry=radiometry)
    np.testing.assert_allclose(values_of(found), expected)
    assert "as --radiometry asks for" in caplog.text


@pytest.mark.parametrize(
    ("names", "bands", "said"),
    [
        (("B02", "B08"), None, ""),
        (("B08", "B02"), None, ""),
        (("b02", "B08"), [1, 2], ""),
        (("red", "nir"), [1, 2], "B02 gets red, B08 gets nir"),
        ((None, None), [2, 1], ""),
    ],
)
def test_names_that_contradict_the_model_s_are_said(card, scene, caplog, names, bands, said):
    found = scene_for_model(scene(descriptions=names), card(), bands)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)
    if names == ("B08", "B02"):
        assert found.bands == (2, 1)


def test_the_model_s_own_names_in_another_order_are_refused_unless_forced(card, scene, caplog):
    path = scene(descriptions=("B02", "B08"))
    with pytest.raises(SceneError, match=r"in another order: B02 gets B08, B08 gets B02; .*--force"):
        scene_for_model(path, card(), [2, 1])
    assert scene_for_model(path, card(), ["B08", "B02"], force=True).bands == (2, 1)
    assert "B02 gets B08" in caplog.text
