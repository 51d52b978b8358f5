"""The promise: tiling is invisible, in the logits and in the rasters."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rio_cogeo import cog_validate
from rounding import rounding_of
from untrained import CLASSES, far_sighted, make_model, network_of, undecided

from geounet.data.sampling import HaloGridGeoSampler, SceneDataset
from geounet.errors import GeounetError, ModelError, OutputError, SceneError
from geounet.grid import Grid, Window, round_up
from geounet.models.encoders import Architecture
from geounet.models.model_file import load_model, save_model
from geounet.models.receptive_field import probe_receptive_field
from geounet.models.sizes import SIZES
from geounet.raster.scene import load_scene
from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.numerical

BANDS, MEAN, STD = 2, 100.0, 40.0


def write(path, array, *, nodata=None, transform=None, crs="EPSG:32633"):
    bands, height, width = array.shape
    transform = transform or Affine(10, 0, 399960, 0, -10, 4900020)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype=array.dtype, crs=crs,
        transform=transform, nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


def landscape(height, width, seed=0, bands=BANDS):
    """Noise over a gradient: no two windows alike, no symmetry."""
    noise = np.random.default_rng(seed).integers(1, 200, (bands, height, width))
    return (noise + np.arange(width) * 50 / max(width, 1)).clip(1, 255).astype(np.uint8)


def logits_of(network, image):
    """(classes, height, width) of a normalised image (bands, height, width)."""
    with torch.inference_mode():
        return network(image[None].to(memory_format=torch.channels_last))[0]


def stitched(path, network, grid):
    """Logits of a scene, window by window, as prediction reads, runs and crops them."""
    scene = load_scene(path)
    dataset = SceneDataset([scene], [MEAN] * BANDS, [STD] * BANDS)
    tiles = tuple(grid.tiles())
    out = torch.full((len(CLASSES), scene.height, scene.width), math.nan)
    for tile, query in zip(tiles, HaloGridGeoSampler(dataset, tiles), strict=True):
        logits = logits_of(network, dataset[query]["image"])
        rows, cols = tile.core.within(tile.window)
        out[:, tile.core.row : tile.core.row_stop, tile.core.col : tile.core.col_stop] = logits[:, rows, cols]
    return out


def mirrored(array, halo, stride):
    """The whole scene, normalised and mirrored beyond its edge, in plain NumPy."""
    _, height, width = array.shape
    low, high = halo, halo + round_up(height, stride) - height
    right = halo + round_up(width, stride) - width
    image = np.pad((array.astype(np.float32) - MEAN) / STD, ((0, 0), (low, high), (halo, right)), mode="reflect")
    return torch.from_numpy(image.astype(np.float32))


def one_window(array, network, halo, stride):
    """Logits of the whole scene in a single forward pass: the oracle."""
    _, height, width = array.shape
    logits = logits_of(network, mirrored(array, halo, stride))
    return logits[:, halo : halo + height, halo : halo + width]


def rounding(array, name="classic"):
    """What float32 leaves undecided of a scene's logits."""
    reach = REACHES[name]
    return rounding_of(NETWORKS[name], mirrored(array, reach.halo, reach.stride))


SHAPES = {
    "classic": {"depth": 2, "width": 4},
    "cells of 2": {"arch": "subpixel-unet", "factor": 2, "depth": 2, "width": 4},
    "cells of 4": {"arch": "subpixel-unet", "factor": 4, "depth": 1, "width": 4},
}
NETWORKS = {name: far_sighted(network_of(Architecture(BANDS, len(CLASSES), **shape))) for name, shape in SHAPES.items()}
REACHES = {name: probe_receptive_field(network, BANDS) for name, network in NETWORKS.items()}
NETWORK, REACH = NETWORKS["classic"], REACHES["classic"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 5),
    st.integers(0, 99),
)
def test_stitched_logits_equal_one_big_window(tmp_path, name, height, width, core_rows, core_cols, extra, seed):
    """For any scene shape, core and halo not below the receptive field: no further apart than float32 rounds."""
    array, network, reach = landscape(height, width, seed), NETWORKS[name], REACHES[name]
    path = write(tmp_path / "scene.tif", array)
    stride, halo = reach.stride, reach.halo + extra * reach.stride
    grid = Grid(Window(0, 0, height, width), core_rows * stride, core_cols * stride, halo, stride)
    found, expected = stitched(path, network, grid), one_window(array, network, reach.halo, stride)
    assert float((found - expected).abs().max()) <= rounding(array, name)


@pytest.mark.parametrize("name", SHAPES)
def test_seams_show_when_the_halo_is_a_stride_short(tmp_path, name):
    """The test above can fail: one stride less than the receptive field is not enough."""
    array, network, reach = landscape(120, 100), NETWORKS[name], REACHES[name]
    path = write(tmp_path / "scene.tif", array)
    grid = Grid(Window(0, 0, 120, 100), 16, 16, reach.halo - reach.stride, reach.stride)
    difference = (stitched(path, network, grid) - one_window(array, network, reach.halo, reach.stride)).abs()
    assert float(difference.max()) > 10 * rounding(array, name)


def test_seams_show_when_windows_start_off_the_stride(tmp_path):
    """The test above can fail: an origin off by one pixel breaks it even with a larger halo."""
    array = landscape(120, 100)
    path = write(tmp_path / "scene.tif", array)
    # A grid of stride 1 allows what the real one forbids: cores of 17 pixels, so windows at odd origins.
    grid = Grid(Window(0, 0, 120, 100), 17, 17, 4 * REACH.halo + 1, 1)
    difference = []
    scene = load_scene(path)
    dataset = SceneDataset([scene], [MEAN] * BANDS, [STD] * BANDS)
    expected = one_window(array, NETWORK, REACH.halo, REACH.stride)
    for tile in grid.tiles():
        side = round_up(tile.window.height, REACH.stride)
        window = Window(tile.window.row, tile.window.col, side, side)
        logits = logits_of(NETWORK, dataset[dataset.query(0, window)]["image"])
        rows, cols = tile.core.within(window)
        difference.append((logits[:, rows, cols] - expected[:, *tile.core.within(scene.extent)]).abs().max())
    assert float(max(difference)) > 10 * rounding(array)


def run(scene, model, out, **how):
    """`predict`, with the engine's fields among the keywords."""
    fields = {name: how.pop(name) for name in Engine.__slots__ if name in how}
    return predict(scene, model, out, engine=Engine(**fields), **how)


def predicted(tmp_path, scene, model, name, **how):
    out, share = tmp_path / f"{name}.tif", tmp_path / f"{name}_confidence.tif"
    result = run(scene, model, out, confidence=share, **how)
    with rasterio.open(out) as classes, rasterio.open(share) as confidence:
        return classes.read(1), confidence.read(1), result


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    make_model(path)
    return path


@pytest.fixture(scope="module")
def holed_scene(tmp_path_factory):
    """A scene with a slanted nodata collar and a hole, its side no multiple of anything."""
    array = landscape(203, 157)
    rows, cols = np.mgrid[:203, :157]
    array[:, (cols > 110 + rows // 8) | ((rows - 60) ** 2 + (cols - 40) ** 2 < 90)] = 0
    return write(tmp_path_factory.mktemp("scene") / "holed.tif", array, nodata=0)


@pytest.mark.parametrize(
    "how",
    [
        {"tile_size": 1},
        {"tile_size": 33},
        {"tile_size": 90, "window_size": 72},
        {"tile_size": 64, "workers": 2, "window_size": 80},
        {"tile_size": 40, "window_size": 128, "halo": 40},
    ],
)
def test_rasters_do_not_depend_on_blocks_windows_or_workers(tmp_path, holed_scene, model, how):
    """Class raster and confidences are the same whatever the tile size, the window size and the workers."""
    classes, confidence, _ = predicted(tmp_path, holed_scene, model, "whole")
    tiled, tiled_confidence, result = predicted(tmp_path, holed_scene, model, "tiled", **how)
    np.testing.assert_array_equal(tiled, classes)
    # Another window size may round a probability to the neighbouring level, never by more.
    assert np.abs(tiled_confidence.astype(int) - confidence).max() <= (1 if "window_size" in how else 0)
    assert result.blocks >= 1


@pytest.mark.parametrize(("size", "runtime"), [("s", "torch"), *((size, "openvino") for size in SIZES)])
def test_no_size_shows_tiles_windows_or_boxes(tmp_path, size, runtime):
    """Classes are the same, and confidences to a level, in windows of any size, blocks of any, and within a box."""
    array = landscape(330, 290)
    array[:, 100:140, 150:210] = 0
    scene = write(tmp_path / "scene.tif", array, nodata=0)
    model = tmp_path / "model.safetensors"
    card = make_model(model, arch="subpixel-unet", **asdict(SIZES[size]))
    save_model(model, undecided(load_model(model)[0]), card)
    whole, confidence, _ = predicted(tmp_path, scene, model, "whole", runtime=runtime)
    for name, how in {
        "windows": {"window_size": 256, "tile_size": 70},
        "workers": {"window_size": 272, "tile_size": 100, "workers": 2},
    }.items():
        classes, share, result = predicted(tmp_path, scene, model, name, runtime=runtime, **how)
        np.testing.assert_array_equal(classes, whole)
        assert np.abs(share.astype(int) - confidence).max() <= 1
        assert result.blocks > 1
    box = (399960 + 10 * 37, 4900020 - 10 * 151, 399960 + 10 * 120, 4900020 - 10 * 29)
    part, share, _ = predicted(tmp_path, scene, model, "box", runtime=runtime, bbox=box)
    np.testing.assert_array_equal(part, whole[29:151, 37:120])
    # Windows are fitted to a box where that changes no bit.
    np.testing.assert_array_equal(share, confidence[29:151, 37:120])
    assert len(np.unique(whole)) == 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_change_no_bit_in_any_precision(tmp_path, holed_scene, model, precision):
    """On one lattice of windows the blocks, the workers and their order change no bit, in reduced precision too."""
    how = {"window_size": 80, "precision": precision}
    classes, confidence, _ = predicted(tmp_path, holed_scene, model, "a", tile_size=1000, **how)
    tiled, tiled_confidence, _ = predicted(tmp_path, holed_scene, model, "b", tile_size=50, **how)
    np.testing.assert_array_equal(tiled, classes)
    np.testing.assert_array_equal(tiled_confidence, confidence)


def test_a_box_gives_the_crop_of_the_whole(tmp_path, holed_scene, model):
    """--bbox changes which pixels are asked for, not what they are, nor where."""
    whole, confidence, _ = predicted(tmp_path, holed_scene, model, "whole", window_size=80, tile_size=40)
    box = (399960 + 10 * 37, 4900020 - 10 * 151, 399960 + 10 * 120, 4900020 - 10 * 29)
    part, part_confidence, _ = predicted(tmp_path, holed_scene, model, "part", bbox=box, window_size=80, tile_size=40)
    np.testing.assert_array_equal(part, whole[29:151, 37:120])
    np.testing.assert_array_equal(part_confidence, confidence[29:151, 37:120])
    with rasterio.open(tmp_path / "part.tif") as dataset:
        assert dataset.transform == Affine(10, 0, 399960 + 370, 0, -10, 4900020 - 290)


@pytest.mark.parametrize("how", [{}, {"tta": True}, {"halo": 8}, {"runtime": "openvino"}, {"precision": "bf16"}])
@pytest.mark.parametrize("corners", [(37, 29, 120, 151), (0, 0, 9, 7), (101, 3, 160, 40), (50, 60, 51, 61)])
def test_what_a_box_costs_follows_the_box_where_that_changes_no_bit(tmp_path, holed_scene, model, how, corners):
    """In float32 with the exact halo windows are as small as the box; else they are those of the whole scene."""
    left, top, right, bottom = corners
    whole, confidence, _ = predicted(tmp_path, holed_scene, model, "whole", **how)
    box = (399960 + 10 * left, 4900020 - 10 * bottom, 399960 + 10 * right, 4900020 - 10 * top)
    part, part_confidence, result = predicted(tmp_path, holed_scene, model, "part", bbox=box, **how)
    np.testing.assert_array_equal(part, whole[top:bottom, left:right])
    np.testing.assert_array_equal(part_confidence, confidence[top:bottom, left:right])
    card, fitted = load_model(model)[1], how.get("precision") != "bf16" and how.get("halo") != 8
    with rasterio.open(tmp_path / "part.tif") as dataset:
        rows, cols = map(int, dataset.tags()["WINDOW"].split(" x "))
    sides = [round_up(last - first // card.stride * card.stride, card.stride) + 2 * card.halo
             for first, last in ((top, bottom), (left, right))]  # fmt: skip
    if fitted:
        assert (rows, cols) == ((max(sides), max(sides)) if how.get("tta") else tuple(sides))
    assert result.windows <= 4


def test_the_raster_is_the_scene_s_and_nodata_stays_nodata(tmp_path, holed_scene, model):
    """CRS, transform, shape and nodata are the scene's; names and colours the model's; the file is a valid COG."""
    classes, confidence, result = predicted(tmp_path, holed_scene, model, "whole")
    with rasterio.open(holed_scene) as scene, rasterio.open(tmp_path / "whole.tif") as raster:
        assert (raster.crs, raster.transform, raster.shape) == (scene.crs, scene.transform, scene.shape)
        assert raster.nodata == 255
        valid = scene.dataset_mask() > 0
        assert raster.colormap(1)[254][:3] == CLASSES[2].rgb
    np.testing.assert_array_equal(classes != 255, valid)
    np.testing.assert_array_equal(confidence != 255, valid)
    assert set(np.unique(classes[valid])) <= {item.value for item in CLASSES}
    assert result.valid == valid.sum() == sum(count for _, count in result.class_pixels)
    for name in ("whole", "whole_confidence"):
        assert cog_validate(tmp_path / f"{name}.tif", strict=True, quiet=True)[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "whole.qml", "whole.tif", "whole.tif.aux.xml", "whole_confidence.tif",
    ]  # fmt: skip


def test_a_constant_scene_gives_a_constant_raster(tmp_path, model):
    """No window edge, no scene edge and no tile shows where there is nothing to see."""
    path = write(tmp_path / "constant.tif", np.full((BANDS, 91, 133), 77, np.uint8))
    classes, confidence, _ = predicted(tmp_path, path, model, "flat", tile_size=32, window_size=64)
    assert len(np.unique(classes)) == 1
    # Zero padding within the network ends at the window's edge, and so outside the core: every pixel sees the same.
    assert np.ptp(confidence) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 97), (61, 1), (3, 5)])
def test_tiny_scenes(tmp_path, model, shape):
    """One pixel, one row and one column are scenes like any other."""
    path = write(tmp_path / "speck.tif", landscape(*shape))
    classes, _, result = predicted(tmp_path, path, model, "tiny", tile_size=16)
    assert classes.shape == shape
    assert result.valid == shape[0] * shape[1]


def test_a_scene_without_a_valid_pixel_is_never_predicted(tmp_path, model):
    """Windows of nodata do not go through the network."""
    path = write(tmp_path / "collar.tif", np.zeros((BANDS, 150, 70), np.uint8), nodata=0)
    classes, _, result = predicted(tmp_path, path, model, "void", window_size=80)
    assert (classes == 255).all()
    assert (result.windows, result.valid) == (0, 0)
    assert result.skipped > 0


@pytest.mark.parametrize(
    ("transform", "crs"),
    [(Affine.identity(), None), (Affine(10, 0, 0, 0, 10, 0), "EPSG:32633"), (Affine(8, 6, 5, 6, -8, 9), "EPSG:32633")],
    ids=["no georeference", "south-up", "rotated"],
)
def test_the_pixels_do_not_depend_on_the_georeference(tmp_path, model, transform, crs):
    """Scenes without a CRS, south-up and rotated ones are predicted in pixel coordinates, and keep their transform."""
    array = landscape(90, 70)
    plain, _, _ = predicted(tmp_path, write(tmp_path / "a.tif", array), model, "plain", tile_size=32, window_size=80)
    path = write(tmp_path / "b.tif", array, transform=transform, crs=crs)
    other, _, _ = predicted(tmp_path, path, model, "other", tile_size=32, window_size=80)
    np.testing.assert_array_equal(other, plain)
    with rasterio.open(tmp_path / "other.tif") as dataset:
        assert dataset.transform == transform


def test_an_interrupted_run_resumes_and_counts_what_it_did_not_do_again(tmp_path, holed_scene, model):
    """After a failure in mid-run the finished blocks stay, and the second run does only the others."""

    class InterruptionError(Exception):
        """Stands for Ctrl-C."""

    def stop_after(done, _blocks):
        if done == 5:
            raise InterruptionError

    how = {"tile_size": 32, "window_size": 80, "confidence": tmp_path / "f.tif"}
    with pytest.raises(InterruptionError):
        run(holed_scene, model, tmp_path / "c.tif", progress=stop_after, **how)
    assert not (tmp_path / "c.tif").exists()
    records = len(list((tmp_path / "c.tif.tiles" / "done").glob("*.json")))
    result = run(holed_scene, model, tmp_path / "c.tif", **how)
    assert records >= 5
    assert result.resumed >= 5
    whole, _, fresh = predicted(tmp_path, holed_scene, model, "whole", window_size=80)
    with rasterio.open(tmp_path / "c.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), whole)
    assert (result.valid, result.class_pixels, result.windows) == (fresh.valid, fresh.class_pixels, fresh.windows)
    assert not (tmp_path / "c.tif.tiles").exists()


def test_unfinished_work_of_another_model_is_refused_not_mixed(tmp_path, holed_scene, model):
    """A tile store is bound to what its pixels depend on; --overwrite starts anew."""

    def stop(done, _blocks):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(holed_scene, model, tmp_path / "c.tif", tile_size=32, window_size=80, progress=stop)
    make_model(tmp_path / "other.safetensors", width=5)
    with pytest.raises(OutputError, match=r"differs in model;.*--overwrite"):
        run(holed_scene, tmp_path / "other.safetensors", tmp_path / "c.tif", tile_size=32, window_size=80)
    how = {"tile_size": 32, "window_size": 80, "overwrite": True}
    result = run(holed_scene, tmp_path / "other.safetensors", tmp_path / "c.tif", **how)
    assert result.resumed == 0


def test_a_scene_written_anew_meanwhile_is_not_mixed_with_what_it_was(tmp_path, model):
    """Half of the blocks would show the one and half the other: no raster comes of it, and nothing is resumed."""
    scene, out = write(tmp_path / "scene.tif", landscape(96, 80)), tmp_path / "out.tif"

    def replace_after_the_first_block(done, _all):
        if done == 1:
            write(scene, landscape(96, 80, seed=1))

    with pytest.raises(SceneError, match=r"scene\.tif was written anew while it was read"):
        predict(scene, model, out, engine=Engine(tile_size=32), progress=replace_after_the_first_block)
    assert not list(tmp_path.glob("out.tif*"))
    assert predict(scene, model, out, engine=Engine(tile_size=32)).resumed == 0


@pytest.mark.server
def test_a_running_scheduler_gives_the_same_raster(tmp_path, holed_scene, model, running_cluster):
    """A scheduler and two worker processes joined by address do what the embedded cluster does."""
    how = {"tile_size": 32, "window_size": 80}
    far, far_confidence, result = predicted(
        tmp_path, holed_scene, model, "far", scheduler=running_cluster.address, **how
    )
    near, near_confidence, _ = predicted(tmp_path, holed_scene, model, "near", **how)
    np.testing.assert_array_equal(far, near)
    np.testing.assert_array_equal(far_confidence, near_confidence)
    assert result.blocks > 10


def test_no_scheduler_is_one_sentence(tmp_path, holed_scene, model, monkeypatch):
    """An address where nobody answers is an error that names it."""
    monkeypatch.setattr("geounet.engine.cluster._TIMEOUT", "1s")
    with pytest.raises(GeounetError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        run(holed_scene, model, tmp_path / "c.tif", scheduler="tcp://127.0.0.1:1")


def test_a_model_that_sees_its_whole_window_is_told_apart(tmp_path, holed_scene, caplog):
    """Squeeze-excite pools over the window: no halo covers it, and the log and the raster's tags say so."""
    model = tmp_path / "pooling.safetensors"
    card = make_model(model, norm="group")
    assert card.halo is None
    run(holed_scene, model, tmp_path / "c.tif")
    assert "the tiling may show" in caplog.text
    with rasterio.open(tmp_path / "c.tif") as dataset:
        assert dataset.tags()["TILING"].startswith("approximate")


def test_scenes_that_do_not_fit_are_refused_with_the_numbers(tmp_path, model):
    """Number of bands, resolution and range of values: what was expected, what was found, what to do."""
    three = write(tmp_path / "three.tif", landscape(40, 40, bands=3))
    with pytest.raises(SceneError, match=r"has 3 band\(s\).*the model reads 2 .*--bands 1,2"):
        run(three, model, tmp_path / "c.tif")
    run(three, model, tmp_path / "c.tif", bands=(3, 1))
    coarse = write(tmp_path / "coarse.tif", landscape(40, 40), transform=Affine(30, 0, 5e5, 0, -30, 5e6))
    with pytest.raises(SceneError, match=r"pixels of 30 m, but the model was trained on 10 m"):
        run(coarse, model, tmp_path / "d.tif")
    bright = write(tmp_path / "bright.tif", landscape(40, 40).astype(np.uint16) * 100)
    with pytest.raises(SceneError, match=r"uint16.* times .* as wide"):
        run(bright, model, tmp_path / "d.tif")
    assert not (tmp_path / "d.tif").exists()


def test_a_window_without_room_for_a_core_is_refused(tmp_path, model, holed_scene):
    """The smallest window that works is named."""
    card = load_model(model)[1]
    with pytest.raises(ModelError, match=rf"give at least {2 * card.halo + card.stride}"):
        run(holed_scene, model, tmp_path / "c.tif", window_size=2 * card.halo)


def test_a_damaged_scene_leaves_no_raster(tmp_path, model):
    """A file cut off in its pixels fails with the place of the damage, and nothing stands under the output's name."""
    whole = write(tmp_path / "whole.tif", landscape(300, 300))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[:90_000])
    with pytest.raises(SceneError, match=r"cut\.tif"):
        run(cut, model, tmp_path / "c.tif")
    assert not (tmp_path / "c.tif").exists()


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "bands"),
    [("naip_three_years", 4), ("austria_two_dates/inference-img.tif", 8)],
)
def test_real_scenes_keep_their_georeference_and_nodata(tmp_path, name, bands):
    """Real scenes through an untrained model: CRS, transform and shape are the scene's, nodata stays nodata."""
    if "GEOUNET_DATA" not in os.environ:
        pytest.skip("GEOUNET_DATA is not set")
    place = Path(os.environ["GEOUNET_DATA"], name)
    for scene in sorted(place.glob("*.tif")) if place.is_dir() else [place]:
        with rasterio.open(scene) as source:
            model = tmp_path / "model.safetensors"
            make_model(model, bands, dtype=source.dtypes[0], std=800 if bands == 8 else 40, resolution=None)
            classes, _, _ = predicted(tmp_path, scene, model, scene.stem, tile_size=256)
            with rasterio.open(tmp_path / f"{scene.stem}.tif") as raster:
                assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
            np.testing.assert_array_equal(classes != 255, source.dataset_mask() > 0)
        assert cog_validate(tmp_path / f"{scene.stem}.tif", quiet=True)[0]
