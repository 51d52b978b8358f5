"""Test-time augmentation: a mean over eight symmetries that no tiling shows in, and that turns with the scene."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rounding import rounding_of
from untrained import CLASSES, far_sighted, make_model, network_of, undecided

from geounet.data.sampling import SceneDataset
from geounet.engine.classifier import WindowClassifier
from geounet.engine.runtimes import NetworkSetup, prepared
from geounet.engine.symmetry import SYMMETRIES, over_symmetries, square_core, turned, turned_back
from geounet.errors import OutputError
from geounet.grid import Grid, Window, round_up
from geounet.models.encoders import Architecture
from geounet.models.model_file import save_model
from geounet.models.receptive_field import probe_receptive_field
from geounet.raster.scene import load_scene
from geounet.tasks.predict import Engine, predict, request_of

pytestmark = pytest.mark.numerical

BANDS, MEAN, STD = 2, 100.0, 40.0
NETWORK = undecided(far_sighted(network_of(Architecture(BANDS, len(CLASSES), depth=2, width=4))))
REACH = probe_receptive_field(NETWORK, BANDS)
HALF = 2.0**-10
"""Spacing of half precision just below 1, twice: both sides are rounded to it, and may have been a little apart."""
symmetries = st.sampled_from(SYMMETRIES)


def landscape(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(1, 200, (BANDS, height, width))
    return (noise + np.arange(width) * 50 / width).clip(1, 255).astype(np.uint8)


def write(path, array):
    bands, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype=array.dtype, crs="EPSG:32633",
        transform=Affine(10, 0, 399960, 0, -10, 4900020),
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


def test_the_symmetries_are_eight_and_each_has_its_inverse():
    """On an array without symmetry all eight differ; turned back each is the array again."""
    array = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    assert len({turned(array, *symmetry).tobytes() for symmetry in SYMMETRIES}) == 8
    for symmetry in SYMMETRIES:
        np.testing.assert_array_equal(turned_back(turned(array, *symmetry), *symmetry), array)
    np.testing.assert_array_equal(turned(array, *SYMMETRIES[0]), array)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 20), st.integers(1, 99), st.integers(1, 99))
def test_the_square_core_costs_no_more_than_the_other(rows, cols, halo, height, width):
    """Pixels of all windows, counted one by one."""

    def pixels(side):
        tiles = Grid(Window(0, 0, height, width), side, side, halo).tiles()
        return sum(tile.window.pixels for tile in tiles)

    side, other = square_core((rows, cols), halo, height, width)
    assert side == other
    assert pixels(side) == min(pixels(rows), pixels(cols))


def softmax(image):
    """Probabilities of a window's core, in torch."""
    with torch.inference_mode():
        return WindowClassifier(NETWORK, REACH.halo, probabilities=True)(torch.from_numpy(image)[None])[2][0].numpy()


def mirrored(array):
    """A square window that holds the scene, normalised and mirrored beyond its edge."""
    _, height, width = array.shape
    halo, side = REACH.halo, round_up(max(height, width), REACH.stride)
    margins = [(halo, halo + side - height), (halo, halo + side - width)]
    return np.pad((array.astype(np.float32) - MEAN) / STD, ((0, 0), *margins), mode="reflect").astype(np.float32)


def one_window(array):
    """The scene in one pass each way: the oracle, turned by NumPy's own functions."""
    (_, height, width), halo = array.shape, REACH.halo
    image, found = mirrored(array), []
    for flip in (lambda pixels: pixels, np.fliplr):
        for quarters in range(4):
            seen = np.stack([np.rot90(flip(band), quarters) for band in image])
            with torch.inference_mode():
                answer = NETWORK(torch.from_numpy(seen)[None])[0].softmax(0).numpy()
            found.append([flip(np.rot90(part, -quarters)) for part in answer])
    return np.mean(found, axis=0)[:, halo : halo + height, halo : halo + width]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 9), st.integers(0, 99))
def test_stitched_means_equal_those_of_one_big_window(tmp_path, height, width, core, seed):
    """For any scene shape and core, no further apart than float32 rounds: turning a window keeps it on the stride."""
    array = landscape(height, width, seed)
    scene = load_scene(write(tmp_path / "scene.tif", array))
    dataset = SceneDataset([scene], [MEAN] * BANDS, [STD] * BANDS)
    side, stride = core * REACH.stride, REACH.stride
    grid = Grid(scene.extent, side, side, REACH.halo, stride)
    run, expected = over_symmetries(softmax), one_window(array)
    # A probability moves by no more than the logits do.
    allowed = rounding_of(NETWORK, torch.from_numpy(mirrored(array)))
    for tile in grid.tiles():
        image = dataset[dataset.query(0, tile.window)]["image"].numpy()
        kept = tile.core.within(tile.window.padded(-REACH.halo))
        np.testing.assert_allclose(run(image)[:, *kept], expected[:, *tile.core.within(scene.extent)], atol=allowed)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose classes differ from pixel to pixel."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, NETWORK, make_model(path))
    return path


def test_both_runtimes_average_alike(model):
    """One graph, run eight times."""
    image, means = np.random.default_rng(0).standard_normal((BANDS, 96, 96)).astype(np.float32), []
    for runtime in ("torch", "openvino"):
        setup = NetworkSetup(str(model), "", "cpu", "fp32", runtime, (96, 96), REACH.halo, 1, tta=True)
        run, _ = prepared(setup)
        means.append(over_symmetries(lambda array, run=run: run(array)[2])(image))
    np.testing.assert_allclose(*means, atol=rounding_of(NETWORK, torch.from_numpy(image)))


def predicted(folder, name, scene, model, **fields):
    """Probabilities and classes."""
    paths = folder / f"{name}_probabilities.tif", folder / f"{name}_classes.tif"
    how = Engine(**{"tta": True, **fields})
    predict(scene, model, paths[1], probabilities=paths[0], probabilities_dtype="float16", engine=how)
    rasters = []
    for path in paths:
        with rasterio.open(path) as dataset:
            rasters.append(dataset.read())
    return rasters


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(symmetries, st.integers(1, 16), st.integers(1, 16), st.integers(0, 99))
def test_a_turned_scene_gives_the_turned_prediction(tmp_path, model, symmetry, rows, cols, seed):
    """For shapes that are multiples of the stride; a class differs at ties only."""
    array = landscape(4 * rows, 4 * cols, seed)
    upright, classes = predicted(tmp_path, "a", write(tmp_path / "a.tif", array), model)
    scene = write(tmp_path / "b.tif", turned(array, *symmetry))
    found, found_classes = (turned_back(part, *symmetry) for part in predicted(tmp_path, "b", scene, model))
    np.testing.assert_allclose(found, upright, atol=HALF)
    first, second = np.sort(upright, axis=0)[[-1, -2]]
    decided = first - second > 2 * HALF
    np.testing.assert_array_equal(found_classes[0][decided], classes[0][decided])
    for path in tmp_path.iterdir():
        path.unlink()


def test_without_augmentation_a_turned_scene_gives_something_else(tmp_path, model):
    """The test above can fail."""
    array = landscape(48, 64)
    upright, _ = predicted(tmp_path, "a", write(tmp_path / "a.tif", array), model, tta=False)
    scene = write(tmp_path / "b.tif", np.ascontiguousarray(array[:, ::-1]))
    assert np.abs(predicted(tmp_path, "b", scene, model, tta=False)[0][:, ::-1] - upright).max() > 0.01


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_augmented_rasters_do_not_depend_on_blocks_or_workers(tmp_path, model, runtime, two_workers):
    """Bit for bit, though the scene is no square; and the tag says what was done."""
    scene = write(tmp_path / "scene.tif", landscape(103, 67))
    how = {"window_size": 96, "runtime": runtime}
    whole = predicted(tmp_path, "whole", scene, model, **how)
    # PyTorch sums in another order where each of two workers has fewer threads; OpenVINO does not.
    scheduler = two_workers if runtime == "openvino" else "local"
    parts = predicted(tmp_path, "parts", scene, model, tile_size=64, scheduler=scheduler, **how)
    for part, expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part, expected)
    plain = predicted(tmp_path, "plain", scene, model, tta=False, **how)
    assert (plain[1] != whole[1]).any()
    with rasterio.open(tmp_path / "whole_classes.tif") as one, rasterio.open(tmp_path / "plain_classes.tif") as other:
        assert (one.tags()["TTA"], other.tags()["TTA"]) == ("mean of eight flips and rotations", "none")
        assert one.tags()["REQUEST"] == request_of(scene, model, engine=Engine(tta=True, **how))
        assert one.tags()["REQUEST"] != other.tags()["REQUEST"]


def test_unfinished_work_without_augmentation_is_not_gone_on_with(tmp_path, model):
    """It belongs to what the pixels depend on."""

    def stop(done, _blocks):
        if done == 1:
            raise KeyboardInterrupt

    scene = write(tmp_path / "scene.tif", landscape(90, 90))
    how = {"tile_size": 32, "window_size": 80}
    with pytest.raises(KeyboardInterrupt):
        predict(scene, model, tmp_path / "c.tif", engine=Engine(**how), progress=stop)
    with pytest.raises(OutputError, match=r"differs in tta;.*--overwrite"):
        predict(scene, model, tmp_path / "c.tif", engine=Engine(tta=True, **how))
