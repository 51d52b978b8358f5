"""Files of one place become one scene on one grid: the same pixels whatever the window."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.scene import load_scene, opened, read
from geounet.sources.stacking import RESAMPLING
from geounet.tasks import stack as verb

FINE = Affine(10, 0, 480_000, 0, -10, 5_430_000)
COARSE = Affine(20, 0, 479_960, 0, -20, 5_430_040)
HEIGHT, WIDTH = 30, 44


@pytest.fixture
def files(tmp_path, write_scene):
    """Two bands at 10 m and one at 20 m that reaches beyond them, and ends before their last row."""
    random = np.random.default_rng(0)
    fine = random.integers(1, 9000, (2, HEIGHT, WIDTH), np.uint16)
    coarse = random.integers(1, 200, (16, 30), np.uint8)
    return (
        write_scene(tmp_path / "B10m.tif", fine, transform=FINE, descriptions=("red", "nir")), fine,
        write_scene(tmp_path / "B11.tif", coarse, transform=COARSE), coarse,
    )  # fmt: skip


def stack(paths, out, **given):
    return verb.stack([load_scene(path) for path in paths], out, **given)


def pixels(scene, window=None):
    with opened(scene) as dataset:
        return read(dataset, scene, window or scene.extent)


def test_bands_of_unequal_grids_come_to_the_finest(tmp_path, files):
    one, fine, other, coarse = files
    scene = stack([one, other], tmp_path / "stack.vrt")
    assert scene.band_names == ("red", "nir", "B11")
    assert scene.transform.almost_equals(FINE)
    # The coarse file covers 16 x 20 m from 40 m above: 28 rows of 10 m.
    assert (scene.height, scene.width) == (28, WIDTH)
    values, valid = pixels(scene)
    assert valid.all()
    np.testing.assert_array_equal(values[:2], fine[:, :28])
    np.testing.assert_array_equal(values[2], coarse.repeat(2, 0).repeat(2, 1)[4:32, 4 : 4 + WIDTH])


@pytest.mark.parametrize("resampling", RESAMPLING)
def test_a_window_is_the_crop_of_the_whole(tmp_path, files, resampling):
    scene = stack([files[0], files[2]], tmp_path / "stack.vrt", resampling=resampling)
    whole, _valid = pixels(scene)
    random = np.random.default_rng(1)
    for _ in range(40):
        row, col = int(random.integers(0, 28)), int(random.integers(0, WIDTH))
        window = Window(row, col, int(random.integers(1, 29 - row)), int(random.integers(1, WIDTH + 1 - col)))
        np.testing.assert_array_equal(pixels(scene, window)[0], whole[:, *window.within(scene.extent)])


def test_another_reference_grid(tmp_path, files):
    scene = stack([files[0], files[2]], tmp_path / "stack.vrt", like=files[2])
    assert scene.transform.almost_equals(COARSE @ Affine.translation(2, 2))
    assert (scene.height, scene.width) == (14, 22)
    np.testing.assert_array_equal(pixels(scene)[0][:2], files[1][:, 1:28:2, 1::2])
    np.testing.assert_array_equal(pixels(scene)[0][2], files[3][2:16, 2:24])


def test_dates_of_one_place_are_told_apart_by_name(tmp_path, files, write_scene):
    later = write_scene(tmp_path / "B10m_2021.tif", files[1] + 1, transform=FINE, descriptions=("red", "nir"))
    scene = stack([files[0], later], tmp_path / "stack.vrt")
    assert scene.band_names == ("B10m red", "B10m nir", "B10m_2021 red", "B10m_2021 nir")
    np.testing.assert_array_equal(pixels(scene)[0][2:], files[1] + 1)


def test_nodata_scales_and_masks_stay(tmp_path, files, write_scene):
    holed = files[1].astype(np.int16)
    holed[:, 3, 4] = -9999
    one = write_scene(tmp_path / "n.tif", holed, transform=FINE, nodata=-9999, scales=(0.5, 0.5), offsets=(7, 7))
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[9, 9] = False
    other = write_scene(tmp_path / "m.tif", files[1], transform=FINE, mask=mask)
    values, valid = pixels(stack([one, other], tmp_path / "stack.vrt"))
    assert np.argwhere(~valid).tolist() == [[3, 4], [9, 9]]
    assert values[0, 0, 0] == holed[0, 0, 0] * 0.5 + 7
    with pytest.raises(SceneError, match=r"m\.tif and .*m\.tif both carry a mask"):
        stack([other, other], tmp_path / "twice.vrt")


def test_files_that_do_not_stack_are_refused(tmp_path, files, write_scene):
    elsewhere = write_scene(tmp_path / "e.tif", files[1], transform=FINE @ Affine.translation(500, 0))
    zone = write_scene(tmp_path / "z.tif", files[1], transform=FINE, crs="EPSG:32634")
    with pytest.raises(SceneError, match=r"B10m\.tif, .*e\.tif have no ground in common"):
        stack([files[0], elsewhere], tmp_path / "s.vrt")
    with pytest.raises(SceneError, match=r"z\.tif and .*B10m\.tif differ in their CRS"):
        stack([files[0], zone], tmp_path / "s.vrt")
    assert not (tmp_path / "s.vrt").exists()


def test_the_vrt_names_files_wherever_it_is_opened_from(tmp_path, files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stack([files[0].name, files[2].name], tmp_path / "stack.vrt")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    with rasterio.open("../stack.vrt") as file:
        assert file.count == 3
    assert load_scene("../stack.vrt").name == "stack"
