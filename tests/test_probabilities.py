"""Probabilities of all classes: one band each, in keeping with the class raster and the confidences."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rio_cogeo import cog_validate
from untrained import CLASSES, far_sighted, make_model, network_of, undecided

from geounet.engine.devices import faster_precision, pick_device
from geounet.errors import OutputError
from geounet.models.model_file import save_model
from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.numerical

VALUES = np.array([item.value for item in CLASSES])
TYPES = ["uint8", "float16"]
native_bf16 = pytest.mark.skipif(
    faster_precision(pick_device("cpu")) is None, reason="this CPU does not compute in bfloat16"
)


def write(path, height, width, seed=0):
    """Noise with a slanted nodata collar."""
    array = np.random.default_rng(seed).integers(1, 255, (2, height, width), np.uint8)
    array[:, np.arange(width) > width * 0.8 + np.arange(height)[:, None] // 8] = 0
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=2, dtype="uint8", crs="EPSG:32633",
        transform=Affine(10, 0, 399960, 0, -10, 4900020), nodata=0,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose classes differ from pixel to pixel."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    card = make_model(path)
    save_model(path, undecided(far_sighted(network_of(card.architecture))), card)
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write(tmp_path_factory.mktemp("scene") / "scene.tif", 131, 157)


def predicted(folder, scene, model, dtype, name="a", **fields):
    """Classes, confidences and probabilities as stored."""
    paths = [folder / f"{name}_{what}.tif" for what in ("classes", "confidence", "probabilities")]
    options = {"confidence": paths[1], "probabilities": paths[2], "probabilities_dtype": dtype, "overwrite": True}
    predict(scene, model, paths[0], engine=Engine(**fields), **options)
    rasters = []
    for path in paths:
        with rasterio.open(path) as dataset:
            rasters.append(dataset.read())
    return rasters[0][0], rasters[1][0], rasters[2]


def check_consistency(classes, confidence, probabilities):
    """Argmax, maximum, sum and nodata, each within the rounding of what is stored."""
    whole = probabilities.dtype == np.uint8
    invalid = (probabilities == 255) if whole else np.isnan(probabilities)
    np.testing.assert_array_equal(invalid, np.broadcast_to(classes == 255, probabilities.shape))
    valid = classes != 255
    stored = probabilities[:, valid].astype(float)
    chosen = (classes[valid] == VALUES[:, None]).argmax(axis=0)
    np.testing.assert_array_equal(stored[chosen, np.arange(len(chosen))], stored.max(axis=0))
    if whole:
        np.testing.assert_array_equal(stored.max(axis=0), confidence[valid])
        assert np.abs(stored.sum(axis=0) - 254).max() <= 0.5 * len(CLASSES)
    else:
        # Half a step of the level, and of half precision below 1.
        assert np.abs(stored.max(axis=0) * 254 - confidence[valid]).max() <= 0.5 + 254 * 2**-12
        assert np.abs(stored.sum(axis=0) - 1).max() <= len(CLASSES) * 2**-12


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(TYPES), st.booleans(), st.integers(0, 99))
def test_probabilities_are_in_keeping_with_classes_and_confidences(tmp_path, model, height, width, dtype, tta, seed):
    """The largest is the class's and, in uint8, the confidence to the bit; the sum is 1 within rounding."""
    path = write(tmp_path / "scene.tif", height, width, seed)
    check_consistency(*predicted(tmp_path, path, model, dtype, tile_size=40, window_size=80, tta=tta))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=native_bf16)])
def test_asking_for_probabilities_changes_no_other_bit(tmp_path, scene, model, dtype, runtime, precision):
    """Classes and confidences are what they are without, in either runtime and precision; and all agree."""
    how = {"runtime": runtime, "precision": precision, "window_size": 96}
    found = predicted(tmp_path, scene, model, dtype, **how)
    check_consistency(*found)
    predict(scene, model, tmp_path / "c.tif", confidence=tmp_path / "f.tif", engine=Engine(**how))
    for part, name in zip(found, ("c", "f"), strict=False):
        with rasterio.open(tmp_path / f"{name}.tif") as plain:
            np.testing.assert_array_equal(plain.read(1), part)


@pytest.mark.parametrize("dtype", TYPES)
def test_probabilities_do_not_depend_on_blocks_or_workers(tmp_path, scene, model, dtype, two_workers):
    """Bit for bit; PyTorch would sum in another order where each of two workers has fewer threads."""
    how = {"runtime": "openvino", "window_size": 80}
    whole = predicted(tmp_path, scene, model, dtype, **how)
    parts = predicted(tmp_path, scene, model, dtype, "b", tile_size=50, scheduler=two_workers, **how)
    for part, expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(("dtype", "bits", "scale"), [("uint8", "8", 1 / 254), ("float16", "16", 1.0)])
def test_the_raster_says_what_it_holds(tmp_path, scene, model, dtype, bits, scale):
    """A band a class by name, scale and nodata, the scene's place, no false colours; a valid COG of that many bits."""
    predicted(tmp_path, scene, model, dtype)
    path = tmp_path / "a_probabilities.tif"
    with rasterio.open(path) as raster, rasterio.open(scene) as source:
        assert raster.descriptions == tuple(item.name for item in CLASSES)
        assert raster.scales == (scale,) * len(CLASSES)
        assert raster.nodata == 255 if dtype == "uint8" else np.isnan(raster.nodata)
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
        assert not {ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha} & {*raster.colorinterp}
        assert raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8") == bits
        np.testing.assert_array_equal(raster.dataset_mask() > 0, source.dataset_mask() > 0)
    assert cog_validate(path, strict=True, quiet=True)[0]


def test_what_is_not_asked_for_is_neither_stored_nor_resumed(tmp_path, scene, model):
    """A store without the layer is not gone on with when it is asked for, nor one in another data type."""

    def stop(done, _blocks):
        if done == 1:
            raise KeyboardInterrupt

    how = {"engine": Engine(tile_size=32, window_size=80)}
    out, tiles = tmp_path / "c.tif", tmp_path / "c.tif.tiles"
    with pytest.raises(KeyboardInterrupt):
        predict(scene, model, out, progress=stop, **how)
    assert sorted(path.name for path in tiles.iterdir() if path.is_dir()) == ["classes", "confidence", "done"]
    with pytest.raises(OutputError, match=r"differs in probabilities;.*--overwrite"):
        predict(scene, model, out, probabilities=tmp_path / "p.tif", **how)
    with pytest.raises(KeyboardInterrupt):
        predict(scene, model, out, probabilities=tmp_path / "p.tif", progress=stop, overwrite=True, **how)
    with pytest.raises(OutputError, match=r"differs in probabilities;"):
        predict(scene, model, out, probabilities=tmp_path / "p.tif", probabilities_dtype="float16", **how)
    predict(scene, model, out, probabilities=tmp_path / "p.tif", **how)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.qml", "c.tif", "c.tif.aux.xml", "p.tif"]


def test_outputs_of_one_name_and_unknown_types_are_refused(tmp_path, scene, model):
    """Before anything is done."""
    with pytest.raises(OutputError, match=r"same name: .*c\.tif"):
        predict(scene, model, tmp_path / "c.tif", probabilities=tmp_path / "c.tif")
    with pytest.raises(ValueError, match="uint8 or float16, not int16"):
        predict(scene, model, tmp_path / "c.tif", probabilities=tmp_path / "p.tif", probabilities_dtype="int16")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_probabilities_and_augments(tmp_path, scene, model):
    """The options arrive: half precision in the file, and the augmentation in the tags."""
    words = ["predict", scene, "-m", model, "-o", tmp_path / "c.tif", "--probabilities", tmp_path / "p.tif"]
    result = CliRunner().invoke(cli, [*map(str, words), "--probabilities_dtype", "float16", "--tta", "-q"])
    assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "p.tif") as raster:
        assert raster.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16"
        assert raster.tags()["TTA"].startswith("mean of eight")
        assert json.loads(raster.tags()["MODEL"])["name"] == "model.safetensors"
        assert np.nanmax(raster.read()) <= 1
