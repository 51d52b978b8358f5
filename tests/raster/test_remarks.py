"""What a raster says wrongly of itself is said once, with shares and counts; what is in order is not."""

import logging

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from geounet.raster.opening import Opening
from geounet.raster.remarks import remarks_on, tell_remarks
from geounet.raster.samples import read_sample
from geounet.raster.scene import load_scene

SHAPE = (700, 900)


def remarks_of(scene):
    return remarks_on(scene, read_sample(scene))


def land(dtype, bands=2):
    values = np.random.default_rng(3).integers(1, 120, (bands, *SHAPE))
    return values.astype(dtype)


def holed(dtype, value, share=0.29):
    """A scene whose upper rows hold a value."""
    values = land(dtype)
    values[:, : round(SHAPE[0] * share)] = value
    return values


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int16", -9999), ("int16", -32768), ("float32", -9999), ("float32", np.float32(-3.4028235e38)), ("int32", -99999),
     ("float64", -999), ("uint8", 0), ("uint16", 0), ("uint16", 65535), ("uint8", 255), ("float32", 0), ("int16", 0)],
)  # fmt: skip
def test_undeclared_nodata_is_told_with_its_share_and_settled_by_nodata(tmp_path, write_scene, dtype, value):
    path = write_scene(tmp_path / "s.tif", holed(dtype, value))
    (remark,) = remarks_of(load_scene(path))
    assert f"{path}: " in remark.text
    assert "not declared as nodata" in remark.text
    share = float(remark.text.split(": ")[1].split("%")[0])
    assert share == pytest.approx(29, abs=8), "of 16 windows"
    said = float(remark.text.rsplit(" ", 1)[1])
    scene = load_scene(path, opening=Opening(nodata=said))
    assert not remarks_of(scene)
    sample = read_sample(scene)
    assert not np.isclose(sample.pixels.astype(float), float(value)).any()
    assert 0.6 < sample.valid_share < 0.8


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_declared_nodata_and_no_nodata_at_all_are_in_order(tmp_path, write_scene, dtype):
    fill = 0 if dtype == "uint8" else -9999
    declared = write_scene(tmp_path / "declared.tif", holed(dtype, fill), nodata=fill)
    plain = write_scene(tmp_path / "plain.tif", land(dtype))
    assert not remarks_of(load_scene(declared))
    assert not remarks_of(load_scene(plain))


def test_dark_and_saturated_pixels_within_a_scene_are_measurements(tmp_path, write_scene):
    values = land("uint8")
    values[:, 200:400, 200:400] = 0
    values[:, 450:600, 450:600] = 255
    assert not remarks_of(load_scene(write_scene(tmp_path / "s.tif", values)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([7], "band 3 of {} is tagged as alpha but is 7 everywhere: it is no data, and masks nothing out"),
        (list(range(40)), "band 3 of {} is tagged as alpha but has 40 values, 0 to 39, as a measured band does"),
        ([0, 255], None), ([0, 128, 255], None), ([255], None),
    ],
)  # fmt: skip
def test_a_band_that_is_no_mask_though_its_tags_say_so_is_named(tmp_path, write_scene, caplog, values, sentence):
    array = land("uint8", bands=3)
    array[2] = np.random.default_rng(5).choice(values, SHAPE)
    kinds = (ColorInterp.red, ColorInterp.green, ColorInterp.alpha)
    path = write_scene(tmp_path / "odd.tif", array, colorinterp=kinds, photometric="MINISBLACK")
    scene = load_scene(path)
    assert scene.alpha == 3
    with caplog.at_level(logging.WARNING):
        tell_remarks([scene, scene])
    if sentence is None:
        assert not caplog.records
    else:
        assert sentence.format(scene.path) in caplog.text
        assert "(and so in 1 more)" in caplog.text
        assert len(caplog.records) == 1
    as_data = load_scene(path, opening=Opening(alpha_is_data=True))
    assert (as_data.bands, as_data.alpha) == ((1, 2, 3), None)
    assert not [remark for remark in remarks_of(as_data) if "alpha" in remark.kind]


def test_a_sample_is_spread_over_the_scene_with_its_corners(tmp_path, write_scene):
    values = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int32).reshape(SHAPE)
    scene = load_scene(write_scene(tmp_path / "s.tif", values))
    sample = read_sample(scene)
    assert sample.corners[0].tolist() == [values[0, 0], values[0, -1], values[-1, 0], values[-1, -1]]
    assert {*sample.corners[0].tolist()} < {*sample.pixels[0].tolist()}
    assert sample.pixels.shape == (1, 16 * 64 * 64)
    assert sample.valid_share == 1
    small = load_scene(write_scene(tmp_path / "small.tif", values[:100, :50]))
    assert np.array_equal(read_sample(small).pixels[0], values[:100, :50].ravel())
