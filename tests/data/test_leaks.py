"""What training and validation share is found and counted, whatever names, grids and CRSs say."""

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from rasterio.warp import Resampling, reproject

from geounet.data.leaks import describe_leaks, find_leaks
from geounet.raster.scene import load_scene

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
HEIGHT, WIDTH = 30, 40


@pytest.fixture
def scene(tmp_path, write_scene):
    """A function that writes a scene, moved by rows and columns, and describes it."""

    def make(name, row=0, col=0, *, pixels=None, shape=(HEIGHT, WIDTH), **where):
        drawn = np.random.default_rng([len(name), abs(row), col]).integers(1, 200, shape, np.uint8)
        given = {"transform": NORTH_UP @ Affine.translation(col, row)} | where
        return load_scene(write_scene(tmp_path / f"{name}.tif", drawn if pixels is None else pixels, **given))

    return make


def test_shared_ground_is_counted_once_however_many_share_it(scene):
    val = scene("val")
    training = [scene("one", 20, 0), scene("two", 20, 10), scene("far", 500, 0), scene("beside", HEIGHT, 0)]
    (leak,) = find_leaks(training, [val, scene("other", 900, 0)])
    assert leak.scene == val.path
    assert leak.others == tuple(sorted(item.path for item in training[:2]))
    assert (leak.pixels, leak.valid, leak.identical) == (10 * WIDTH, HEIGHT * WIDTH, False)
    # UTM's scale: some 4 in 10,000.
    assert leak.hectares == pytest.approx(10 * WIDTH / 100, rel=1e-3)


def test_ground_without_data_is_not_shared(scene):
    pixels = np.full((HEIGHT, WIDTH), 7, np.uint8)
    pixels[:25] = 0
    assert find_leaks([scene("t", pixels=pixels, nodata=0)], [scene("v", -5, 0)]) == ()
    (leak,) = find_leaks([scene("t2", pixels=pixels, nodata=0)], [scene("v2")])
    assert leak.pixels == 5 * WIDTH


def test_shared_ground_is_found_across_crs(scene):
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(480_200, 5_429_900)
    there = Affine(1.3e-4, 0, x, 0, -0.9e-4, y)
    training = scene("degrees", crs="EPSG:4326", transform=there)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    reproject(
        np.ones((HEIGHT, WIDTH), np.uint8), expected, src_transform=there, src_crs="EPSG:4326",
        dst_transform=NORTH_UP, dst_crs="EPSG:32633", resampling=Resampling.nearest,
    )  # fmt: skip
    (leak,) = find_leaks([training], [scene("val")])
    assert leak.pixels == expected.sum() > 100


@pytest.mark.parametrize(
    "where", [{"crs": None, "transform": None}, {"transform": NORTH_UP @ Affine.translation(999, 0)}]
)
def test_the_same_pixels_are_found_under_another_name_type_and_place(scene, where):
    val = scene("val", **where)
    pixels = np.random.default_rng([3, 0, 0]).integers(1, 200, (HEIGHT, WIDTH), np.uint8)
    copy = scene("copied", 77, 7, pixels=pixels.astype(np.int16), compress="deflate")
    turned = scene("turned", 400, 0, pixels=pixels[::-1])
    (leak,) = find_leaks([turned, copy], [val])
    assert (leak.identical, leak.others, leak.share) == (True, (copy.path,), 1)


def test_the_sentence_names_the_worst_and_tells_how_much(scene):
    validation = [scene(f"v{n}", 100 * n, 0) for n in range(5)]
    training = [scene(f"t{n}", 100 * n + 30 - 2 * n, 0) for n in range(5)]
    text = describe_leaks(find_leaks(training, validation))
    assert text.startswith(f"4 validation image(s) share {20 * WIDTH} pixels with training images, 16.7% of theirs: ")
    assert f"{validation[4].path} shares ground with {training[4].path} (27%, 3.2 ha)" in text
    assert text.endswith("and 1 more")


def test_of_identical_images_the_valid_pixels_count(scene):
    pixels = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH), np.uint8)
    where = {"pixels": pixels, "nodata": 0, "crs": None, "transform": None}
    (leak,) = find_leaks([scene("one", **where)], [scene("other", **where)])
    assert leak.pixels == leak.valid == (pixels > 0).sum()
