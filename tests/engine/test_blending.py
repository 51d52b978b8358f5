"""Blending: one lattice of weights, the same bits for any block, box and worker, and seams that fade."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained import far_sighted, make_model, network_of, undecided

from geounet.engine.blending import blend, blended_block_shape, blended_blocks, reach_of, weights_along
from geounet.grid import Grid, Window
from geounet.models.model_file import load_model, save_model
from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.numerical

CLASSES = 2
HOW = {"halo": 16, "window_size": 64}


@given(st.integers(1, 40), st.integers(0, 40))
def test_neighbouring_weights_add_up_to_one(reach, more):
    """Over the whole overlap, smoothly; in the middle of a core a window counts alone."""
    weights = weights_along(2 * reach + more, reach)
    rising, falling = weights[: 2 * reach], weights[-2 * reach :]
    np.testing.assert_allclose(rising + falling, 1, atol=1e-6)
    assert (weights > 0).all()
    assert (weights[2 * reach : -2 * reach] == 1).all()
    assert (np.diff(rising) > 0).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.sampled_from([1, 4, 32]))
def test_the_reach_is_at_most_the_halo_and_half_a_core(rows, cols, halo, stride):
    """A multiple of the stride, and the largest such."""
    core = rows * stride, cols * stride
    allowed = [part for part in range(0, halo * stride + 1, stride) if 2 * part <= min(core)]
    assert reach_of(core, halo * stride, stride) == max(allowed)


def drawn(tile, cell, reach):
    """What a network might say of a window: noise of the window's own."""
    shape = CLASSES, cell[0] + 2 * reach, cell[1] + 2 * reach
    return np.random.default_rng((tile.core.row, tile.core.col)).random(shape, np.float32)


def is_left_out(tile, seed):
    return np.random.default_rng((seed, tile.core.row, tile.core.col)).random() < 0.3


def blended(grid, extent, reach, tile_size, seed):
    """The region's probabilities from blocks, NaN where nothing came, and how often each pixel came."""
    cell = grid.core_height, grid.core_width
    out = np.full((CLASSES, extent.height, extent.width), np.nan, np.float32)
    times = np.zeros((extent.height, extent.width), int)
    for block in blended_blocks(grid, extent, reach, tile_size):
        tiles = [tile for tile in block.tiles if not is_left_out(tile, seed)]
        for piece, found in blend(block, cell, reach, ((tile, drawn(tile, cell, reach)) for tile in tiles)):
            assert piece.intersection(block.core) == piece
            out[:, *piece.within(extent)] = found
            times[piece.within(extent)] += 1
    return out, times


def by_brute_force(grid, extent, reach, seed):
    """Every window of the scene in float64, over the whole scene at once."""
    cell = grid.core_height, grid.core_width
    high = Window(-reach, -reach, extent.height + 4 * reach + cell[0], extent.width + 4 * reach + cell[1])
    sums = np.zeros((CLASSES + 1, high.height, high.width))
    weights = weights_along(cell[0], reach)[:, None].astype(float) * weights_along(cell[1], reach)
    for row in range(0, extent.height, cell[0]):
        for col in range(0, extent.width, cell[1]):
            place = Window(row, col, *cell)
            (tile,) = Grid(place, *cell).tiles()
            if not is_left_out(tile, seed):
                sums[:, *place.padded(reach).within(high)] += [*(drawn(tile, cell, reach) * weights), weights]
    inside = sums[:, *extent.within(high)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return inside[:-1] / inside[-1]


sizes = st.integers(1, 70)


@settings(max_examples=60)
@given(sizes, sizes, st.tuples(st.integers(1, 6), st.integers(1, 6)), st.integers(1, 3), st.integers(0, 9), st.data())
def test_blocks_and_boxes_change_no_bit_and_the_sum_is_that_of_all_windows(height, width, more, reach, seed, data):
    """For any scene, core, reach, box and block, with windows left out; brute force in float64 agrees to rounding."""
    extent, core = Window(0, 0, height, width), (2 * reach + more[0], 2 * reach + more[1])
    whole = Grid(extent, *core, reach + 2)
    expected, once = blended(whole, extent, reach, 10_000, seed)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    grid = Grid(box, *core, reach + 2)
    found, times = blended(grid, extent, reach, data.draw(st.integers(1, 60)), seed)
    inside = box.within(extent)
    summed = by_brute_force(whole, extent, reach, seed)
    reached = np.isfinite(summed[0])
    assert (times <= 1).all()
    assert (once <= 1).all()
    assert (times.sum(), times[inside].sum()) == (times[inside].sum(), times.sum())
    assert (once[reached] == 1).all()
    assert (times[inside][reached[inside]] == 1).all()
    np.testing.assert_array_equal(found[:, *inside][:, reached[inside]], expected[:, *inside][:, reached[inside]])
    np.testing.assert_allclose(expected[:, reached], summed[:, reached], atol=2e-6)


def test_a_block_runs_one_row_and_one_column_of_windows_more():
    """The redundancy that the docs state: 25 windows for 16 cores, and none where one block holds the scene."""
    extent = Window(0, 0, 1000, 1000)
    blocks = blended_blocks(Grid(extent, 10, 10, 4), extent, 4, 40)
    assert blended_block_shape(Grid(extent, 10, 15, 4), 1) == (40, 60)
    inner = next(block for block in blocks if (block.row, block.col) == (3, 4))
    assert (inner.core.pixels, len(inner.tiles)) == (1600, 25)
    (only,) = blended_blocks(Grid(extent, 10, 10, 4), extent, 4, 1010)
    assert len(only.tiles) == 100 * 100


def write(path, array, nodata=None):
    bands, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype=array.dtype, crs="EPSG:32633",
        transform=Affine(10, 0, 399960, 0, -10, 4900020), nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Group normalisation averages over the whole window: no receptive field bounds it; the stride is what it is."""
    path = tmp_path_factory.mktemp("model") / "pooling.safetensors"
    assert make_model(path, norm="group").halo is None
    card = load_model(path)[1]
    save_model(path, undecided(far_sighted(network_of(card.architecture))), replace(card, stride=4))
    return path


@pytest.fixture(scope="module")
def holed_scene(tmp_path_factory):
    """Uneven light, a slanted collar and a hole larger than a window, its side no multiple of anything."""
    random = np.random.default_rng(0)
    array = random.integers(1, 60, (2, 143, 181)) + np.linspace(0, 190, 181) * np.linspace(0.2, 1, 143)[:, None]
    rows, cols = np.mgrid[:143, :181]
    hole = (cols > 155 + rows // 8) | (np.maximum(abs(rows - 90), abs(cols - 70)) < 33)
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    return write(path, np.where(hole, 0, array).astype(np.uint8), nodata=0)


def predicted(folder, name, scene, model, **how):
    """Classes, confidences and probabilities."""
    paths = [folder / f"{name}_{what}.tif" for what in ("classes", "confidence", "probabilities")]
    box, fields = how.pop("bbox", None), {**HOW, **how}
    progress = fields.pop("progress", lambda _done, _all: None)
    options = {"confidence": paths[1], "probabilities": paths[2], "probabilities_dtype": "float16"}
    result = predict(scene, model, paths[0], bbox=box, progress=progress, engine=Engine(**fields), **options)
    rasters = []
    for path in paths:
        with rasterio.open(path) as dataset:
            rasters.append(dataset.read())
    return rasters, result


@pytest.mark.parametrize("how", [{"tile_size": 1}, {"tile_size": 160, "tta": True}])
def test_rasters_of_blended_windows_do_not_depend_on_blocks(tmp_path, holed_scene, model, how):
    """Classes, confidences and probabilities bit for bit; every valid pixel has a class, and no other."""
    more = {"tta": True} if "tta" in how else {}
    whole, one = predicted(tmp_path, "whole", holed_scene, model, tile_size=5000, **more)
    found, many = predicted(tmp_path, "blocks", holed_scene, model, **how)
    assert one.blocks == 1
    assert many.blocks >= 2
    assert one.skipped > 0
    for part, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(part, expected)
    with rasterio.open(holed_scene) as dataset:
        valid = dataset.dataset_mask() > 0
    np.testing.assert_array_equal(whole[0][0] != 255, valid)
    np.testing.assert_array_equal(np.isfinite(whole[2][0]), valid)
    assert many.valid == one.valid == valid.sum()
    assert many.class_pixels == one.class_pixels


@pytest.mark.server
def test_two_workers_blend_alike(tmp_path, holed_scene, model, two_workers):
    """To the bit in blocks of any size; PyTorch itself sums in another order where each has fewer threads."""
    how = {"scheduler": two_workers}
    whole, _ = predicted(tmp_path, "whole", holed_scene, model, tile_size=5000, **how)
    found, many = predicted(tmp_path, "blocks", holed_scene, model, tile_size=1, **how)
    assert many.blocks == 4
    for part, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_a_box_gives_the_crop_of_the_blended_whole(tmp_path, holed_scene, model):
    """A window is run or left out by its own pixels, whatever the box."""
    whole, _ = predicted(tmp_path, "whole", holed_scene, model)
    box = (399960 + 10 * 37, 4900020 - 10 * 131, 399960 + 10 * 150, 4900020 - 10 * 29)
    part, _ = predicted(tmp_path, "part", holed_scene, model, bbox=box)
    for found, expected in zip(part, whole, strict=True):
        np.testing.assert_array_equal(found, expected[:, 29:131, 37:150])


def test_an_interrupted_blended_run_goes_on_to_the_same_bits(tmp_path, holed_scene, model):
    """What a finished block has stored is not done again."""

    def stop(done, _blocks):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predicted(tmp_path, "cut", holed_scene, model, tile_size=1, progress=stop)
    found, result = predicted(tmp_path, "cut", holed_scene, model, tile_size=1)
    assert result.resumed >= 2
    whole, _ = predicted(tmp_path, "whole", holed_scene, model)
    for part, expected in zip(found, whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_the_log_and_the_tags_name_the_blending_once(tmp_path, holed_scene, model, caplog):
    """Still approximate, and what was done about it."""
    predicted(tmp_path, "a", holed_scene, model)
    told = "approximate: the model sees its whole window; neighbouring windows are blended over 32 px"
    assert [record.message for record in caplog.records].count(f"the tiling may show; {told}") == 1
    with rasterio.open(tmp_path / "a_classes.tif") as dataset:
        assert dataset.tags()["TILING"] == told


def seam_contrast(probabilities, core):
    """Mean step of the probabilities over the lattice's lines, by that elsewhere: 1 where nothing shows."""
    contrasts = []
    for axis in (-1, -2):
        steps = np.abs(np.diff(probabilities.astype(float), axis=axis)).mean(axis=(0, -3 - axis))
        lines = np.arange(1, len(steps) + 1) % core == 0
        contrasts.append(steps[lines].mean() / steps[~lines].mean())
    return np.mean(contrasts)


def test_seams_fade(tmp_path, model, monkeypatch):
    """Where windows differ in light, steps over the lattice's lines stand out; blended they do not."""
    rows, cols = np.mgrid[:130, :160]
    light = 20 + 220 * (cols / 160 * (1 - 0.7 * rows / 130)) ** 2
    scene = write(tmp_path / "smooth.tif", np.stack([light, 255 - 0.8 * light]).astype(np.uint8))
    (_, _, after), _ = predicted(tmp_path, "blended", scene, model)
    monkeypatch.setattr("geounet.engine.plan.reach_of", lambda *_given: 0)
    (_, _, before), _ = predicted(tmp_path, "apart", scene, model)
    with_seams, without = seam_contrast(before, 32), seam_contrast(after, 32)
    assert with_seams > 3
    assert without < 2
