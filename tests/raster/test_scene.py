"""Scenes: what is read is what the file holds, mirrored beyond its edge, and the mask says what was measured."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pyproj import Geod, Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.warp import reproject

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.placement import bounds_of, pixel_size, transform_of, window_of_bounds
from geounet.raster.scene import (
    aligned,
    load_scene,
    opened,
    read,
    read_overview,
    read_stored,
    same_grid,
    valid_mask,
)

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_429_000)
ROTATED = NORTH_UP @ Affine.rotation(30)
TRANSFORMS = {"north-up": NORTH_UP, "south-up": SOUTH_UP, "rotated": ROTATED}
SHAPES = [(5, 7), (1, 9), (6, 1), (1, 1), (2, 3)]


def read_window(path, window, bands=None, how=read):
    scene = load_scene(path, bands)
    with opened(scene) as dataset:
        return how(dataset, scene, window)


def read_whole(path, bands=None, how=read):
    return read_window(path, load_scene(path, bands).extent, bands, how)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, write_scene):
    """A scene of each shape: its array, and its path."""
    folder = tmp_path_factory.mktemp("shapes")
    drawn = {}
    for height, width in SHAPES:
        array = np.arange(2 * height * width, dtype=np.uint16).reshape(2, height, width)
        array[:, 0, 0] = 999  # nodata, mirrored like everything else
        drawn[height, width] = array, write_scene(folder / f"{height}_{width}.tif", array, nodata=999)
    return drawn


# --- windows -----------------------------------------------------------------------------------------------------


@given(st.sampled_from(SHAPES), st.integers(-30, 30), st.integers(-30, 30), st.integers(0, 25), st.integers(0, 25))
def test_beyond_the_edge_a_scene_is_continued_as_numpy_reflects(shapes, shape, row, col, height, width):
    array, path = shapes[shape]
    values, valid = read_window(path, Window(row, col, height, width), how=read_stored)
    far = 60
    padded = np.pad(array, ((0, 0), (far, far), (far, far)), mode="reflect")
    expected = padded[:, row + far : row + far + height, col + far : col + far + width]
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(valid, (expected != 999).all(axis=0))


@pytest.mark.parametrize("window", [Window(2, 3, 0, 4), Window(2, 3, 4, 0), Window(-9, 50, 0, 0)])
def test_a_window_without_pixels_is_read_as_nothing(shapes, window):
    values, valid = read_window(shapes[5, 7][1], window)
    assert values.shape == (2, window.height, window.width)
    assert values.dtype == np.float32
    assert valid.shape == (window.height, window.width)


def test_bands_are_read_in_the_order_asked_for(tmp_path, write_scene):
    array = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    path = write_scene(tmp_path / "scene.tif", array, descriptions=("a", "b", None, "d"))
    scene = load_scene(path, [4, 3, 1])
    assert scene.bands == (4, 3, 1)
    assert scene.band_names == ("d", "band_3", "a")
    assert scene.count == 4
    np.testing.assert_array_equal(read_whole(path, [4, 3, 1])[0], array[[3, 2, 0]])


@pytest.mark.parametrize("bands", [[0], [1, 3], [-1]])
def test_a_band_that_is_not_there_is_refused_with_the_numbers(shapes, bands):
    with pytest.raises(SceneError, match=r"5_7\.tif has 2 band.*no band"):
        load_scene(shapes[5, 7][1], bands)


def test_values_are_scaled_to_what_they_measure_band_by_band(tmp_path, write_scene):
    array = np.array([[[1, 2, 3]], [[10, 20, 30]], [[5, 6, 7]]], np.int16)
    path = write_scene(tmp_path / "scaled.tif", array, scales=(0.5, 2, 1), offsets=(0, -3, 100))
    np.testing.assert_array_equal(read_whole(path)[0][:, 0], [[0.5, 1, 1.5], [17, 37, 57], [105, 106, 107]])
    np.testing.assert_array_equal(read_whole(path, how=read_stored)[0], array)
    np.testing.assert_array_equal(read_whole(path, [3, 2])[0][:, 0], [[105, 106, 107], [17, 37, 57]])


def test_nodata_is_compared_before_scaling(tmp_path, write_scene):
    path = write_scene(tmp_path / "scaled.tif", np.array([[4, 8]], np.int16), scales=(2,), nodata=8)
    values, valid = read_whole(path)
    assert values.tolist() == [[[8, 16]]]
    assert valid.tolist() == [[True, False]]


def test_an_overview_of_full_size_is_the_scene(shapes):
    array, path = shapes[5, 7]
    values, valid = read_overview(load_scene(path), 100, 100)
    np.testing.assert_array_equal(values, array)
    np.testing.assert_array_equal(valid, (array != 999).all(axis=0))


def test_an_overview_holds_only_values_of_the_scene(tmp_path, write_scene):
    array = np.random.default_rng(3).choice(np.array([3, 70, 200], np.uint8), (40, 66))
    values, valid = read_overview(load_scene(write_scene(tmp_path / "scene.tif", array)), 7, 11)
    assert values.shape == (1, 7, 11)
    assert valid.shape == (7, 11)
    assert set(np.unique(values)) <= {3, 70, 200}


# --- validity ----------------------------------------------------------------------------------------------------


@st.composite
def stored_bands(draw):
    """Bands of any kind of type, with few values so that nodata is often hit, and a nodata value for each."""
    dtype = np.dtype(draw(st.sampled_from(["uint8", "uint16", "int8", "int16", "int32", "float32", "float64"])))
    odd = [np.nan, np.inf, -np.inf] if dtype.kind == "f" else []
    values = draw(npst.arrays(dtype, (draw(st.integers(1, 3)), 3, 4), elements=st.sampled_from([0, 1, 7, *odd])))
    nodata = draw(
        st.lists(
            st.sampled_from([None, 0.0, 1.0, math.nan, 0.5, 1e9, -99999.0]), min_size=len(values), max_size=len(values)
        )
    )
    return values, nodata


@given(stored_bands())
def test_the_valid_mask_follows_the_rule_of_each_kind_of_type(drawn):
    stored, nodata = drawn
    for row, col in np.ndindex(*stored.shape[1:]):
        pixel = [value.item() for value in stored[:, row, col]]
        hits = [value == missing for value, missing in zip(pixel, nodata, strict=True)]
        unsigned = stored.dtype.kind == "u"
        expected = all(map(math.isfinite, pixel)) and not (all(hits) if unsigned else any(hits))
        assert valid_mask(stored, nodata)[row, col] == expected


def test_black_in_one_band_of_a_picture_is_a_measurement(tmp_path, write_scene):
    array = np.array([[[0, 0, 5]], [[0, 9, 0]], [[0, 0, 1]]], np.uint8)
    assert read_whole(write_scene(tmp_path / "rgb.tif", array, nodata=0))[1].tolist() == [[False, True, True]]


def test_a_pixel_with_nan_in_one_band_is_invalid(tmp_path, write_scene):
    array = np.array([[[1, np.nan, 3, 4]], [[1, 2, 3, np.inf]]], np.float32)
    assert read_whole(write_scene(tmp_path / "nan.tif", array))[1].tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("nodata", [-3.4028234663852886e38, -9999.0, math.nan, 0.1])
def test_float_nodata_is_found_though_it_is_written_in_double(tmp_path, write_scene, nodata):
    array = np.array([[np.float32(nodata), 2.0]], np.float32)
    assert read_whole(write_scene(tmp_path / "float.tif", array, nodata=nodata))[1].tolist() == [[False, True]]


def test_without_nodata_all_is_valid(tmp_path, write_scene):
    assert read_whole(write_scene(tmp_path / "plain.tif", np.zeros((2, 3), np.uint8)))[1].all()


def test_an_alpha_band_is_no_data_but_says_what_is_valid(tmp_path, write_scene):
    array = np.array([[[0, 7, 8]], [[0, 0, 9]], [[0, 5, 5]], [[255, 0, 1]]], np.uint8)
    kinds = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write_scene(tmp_path / "rgba.tif", array, colorinterp=kinds)
    scene = load_scene(path)
    assert (scene.bands, scene.band_names, scene.alpha) == ((1, 2, 3), ("red", "green", "blue"), 4)
    values, valid = read_whole(path)
    np.testing.assert_array_equal(values, array[:3])
    assert valid.tolist() == [[True, False, True]]


def test_an_alpha_band_that_is_asked_for_is_data(tmp_path, write_scene):
    array = np.array([[[1, 7, 8]], [[255, 0, 0]]], np.uint8)
    path = write_scene(tmp_path / "ga.tif", array, colorinterp=(ColorInterp.gray, ColorInterp.alpha))
    values, valid = read_whole(path, [1, 2])
    np.testing.assert_array_equal(values, array)
    assert valid.all()


def test_an_internal_mask_says_what_is_valid_beyond_the_edge_too(tmp_path, write_scene):
    mask = np.array([[True, False, True], [True, True, False]])
    path = write_scene(tmp_path / "masked.tif", np.ones((2, 2, 3), np.uint8), mask=mask)
    assert load_scene(path).has_mask
    np.testing.assert_array_equal(read_whole(path)[1], mask)
    expected = np.pad(mask, 4, mode="reflect")
    np.testing.assert_array_equal(read_window(path, Window(-4, -4, 10, 11))[1], expected)


def test_a_scene_without_a_valid_pixel_is_read(tmp_path, write_scene):
    path = write_scene(tmp_path / "nothing.tif", np.full((3, 4), -1, np.int16), nodata=-1)
    assert not read_whole(path)[1].any()


# --- places ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def placed(tmp_path_factory, write_scene):
    folder = tmp_path_factory.mktemp("placed")
    array = np.zeros((40, 60), np.uint8)
    return {
        name: load_scene(write_scene(folder / f"{name}.tif", array, transform=transform))
        for name, transform in TRANSFORMS.items()
    }


parts = st.builds(Window, st.integers(0, 30), st.integers(0, 50), st.integers(1, 10), st.integers(1, 10))


@given(st.sampled_from(["north-up", "south-up"]), parts)
def test_the_bounds_of_a_window_lead_back_to_it(placed, name, window):
    scene = placed[name]
    assert window_of_bounds(scene, bounds_of(scene, window)) == window


@given(st.sampled_from(list(TRANSFORMS)), parts)
def test_the_bounds_of_a_window_hold_its_corners_and_no_more(placed, name, window):
    scene = placed[name]
    corners = [
        scene.transform @ (col, row) for row in (window.row, window.row_stop) for col in (window.col, window.col_stop)
    ]
    xs, ys = zip(*corners, strict=True)
    assert bounds_of(scene, window) == (min(xs), min(ys), max(xs), max(ys))


@given(st.sampled_from(list(TRANSFORMS)), parts, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_box_takes_every_pixel_that_it_touches(placed, name, window, down, right):
    scene = placed[name]
    x, y = scene.transform @ (window.col + right, window.row + down)
    found = window_of_bounds(scene, (x - 1e-6, y - 1e-6, x + 1e-6, y + 1e-6))
    assert found == Window(window.row, window.col, 1, 1)


@given(st.sampled_from(list(TRANSFORMS)), parts)
def test_a_box_over_the_edge_is_cut_at_it(placed, name, window):
    scene = placed[name]
    assert window_of_bounds(scene, (-1e9, -1e9, 1e9, 1e9)) == scene.extent
    found = window_of_bounds(scene, bounds_of(scene, window))
    assert found.intersection(window) == window
    assert found.intersection(scene.extent) == found


@pytest.mark.parametrize("bounds", [(0, 0, 1, 1), (480_600, 5_429_000, 480_700, 5_430_000), (9.1, 48.2, 9.2, 48.3)])
@pytest.mark.parametrize("name", ["north-up", "south-up"])
def test_a_box_beside_the_scene_is_refused_with_both_boxes(placed, name, bounds):
    with pytest.raises(SceneError, match=rf"{name}\.tif.*480000"):
        window_of_bounds(placed[name], bounds)


@given(st.sampled_from(list(TRANSFORMS)), parts)
def test_the_transform_of_a_window_puts_its_first_corner_where_the_scene_has_it(placed, name, window):
    scene = placed[name]
    assert (transform_of(scene, window) @ (2, 3)) == pytest.approx(scene.transform @ (window.col + 2, window.row + 3))


def sized(folder, write_scene, transform, crs, shape=(10, 20)):
    path = write_scene(folder / "sized.tif", np.zeros(shape, np.uint8), transform=transform, crs=crs)
    return pixel_size(load_scene(path))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_pixel_of_a_utm_scene_is_what_it_says_but_for_the_scale_of_the_zone(tmp_path, write_scene, transform):
    # On the central meridian, 500,000 m east, a metre of the map is 1 / 0.9996 m on the ground.
    assert sized(tmp_path, write_scene, transform, "EPSG:32633") == pytest.approx((10.004, 10.004), rel=2e-4)


def test_a_pixel_in_degrees_is_measured_on_the_ellipsoid(tmp_path, write_scene):
    found = sized(tmp_path, write_scene, Affine(0.001, 0, 11, 0, -0.002, 48), "EPSG:4326", (100, 30))
    lon, lat = 11 + 15 * 0.001, 48 - 50 * 0.002
    geod = Geod(ellps="WGS84")
    expected = geod.inv(lon, lat, lon, lat - 0.002)[2], geod.inv(lon, lat, lon + 0.001, lat)[2]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_pixel_of_web_mercator_at_60_degrees_is_half_of_what_it_claims(tmp_path, write_scene):
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(25, 60)
    found = sized(tmp_path, write_scene, Affine(10, 0, x, 0, -10, y), "EPSG:3857")
    assert found == pytest.approx((5, 5), rel=0.01)


def test_pixels_that_are_not_square_have_height_and_width(tmp_path, write_scene):
    height, width = sized(tmp_path, write_scene, Affine(10, 0, 500_000, 0, -30, 5_430_000), "EPSG:32633")
    assert (height, width) == pytest.approx((30.012, 10.004), rel=1e-4)


def test_without_a_crs_a_pixel_has_no_size(tmp_path, write_scene):
    assert sized(tmp_path, write_scene, None, None) is None


# --- grids -------------------------------------------------------------------------------------------------------


def scene_at(path, write_scene, array=None, **profile):
    return load_scene(write_scene(path, np.zeros((6, 9), np.uint8) if array is None else array, **profile))


def test_scenes_are_on_one_grid_where_shape_crs_and_corners_agree(tmp_path, write_scene):
    one = scene_at(tmp_path / "one.tif", write_scene)
    same = scene_at(tmp_path / "same.tif", write_scene, transform=NORTH_UP @ Affine.translation(1e-4, 0))
    pixels = scene_at(tmp_path / "pixels.tif", write_scene, crs=None, transform=None)
    assert same_grid(one, same)
    assert same_grid(one, pixels)
    assert same_grid(pixels, one)
    others = {
        "moved": {"transform": NORTH_UP @ Affine.translation(0, 0.5)},
        "turned over": {"transform": SOUTH_UP},
        "finer": {"transform": NORTH_UP @ Affine.scale(0.99)},
        "elsewhere": {"crs": "EPSG:32634"},
        "taller": {"array": np.zeros((7, 9), np.uint8)},
    }
    for name, changed in others.items():
        assert not same_grid(one, scene_at(tmp_path / f"{name}.tif", write_scene, **changed)), name


def aligned_values(label, image):
    with aligned(label, image) as (dataset, scene):
        return read_stored(dataset, scene, scene.extent)


@pytest.mark.parametrize(("crs", "transform"), [
    ("EPSG:4326", Affine(0.0002, 0, 14.72, 0, -0.00013, 49.03)),
    ("EPSG:32634", Affine(7, 0, 41_350, 0, -5, 5_448_900)),
    ("EPSG:32633", NORTH_UP @ Affine.translation(-3.3, 5.7) @ Affine.scale(1.7)),
])  # fmt: skip
@pytest.mark.parametrize("nodata", [255, None])
def test_a_raster_on_another_grid_is_warped_by_nearest_neighbour(tmp_path, write_scene, crs, transform, nodata):
    codes = np.random.default_rng(5).integers(1, 9, (150, 170)).astype(np.uint8)
    label = scene_at(tmp_path / "label.tif", write_scene, codes, crs=crs, transform=transform, nodata=nodata)
    image = scene_at(tmp_path / "image.tif", write_scene, np.zeros((90, 70), np.uint8))
    expected = np.zeros((90, 70), np.uint8)  # 0 is no code: outside the label
    reproject(
        codes, expected, src_transform=transform, src_crs=crs, dst_transform=NORTH_UP, dst_crs="EPSG:32633",
        resampling=Resampling.nearest, init_dest_nodata=True, dst_nodata=0,
    )  # fmt: skip
    (values,), valid = aligned_values(label, image)
    assert valid.any()
    np.testing.assert_array_equal(valid, expected > 0)
    np.testing.assert_array_equal(values[valid], expected[valid])


def test_outside_a_raster_on_another_grid_nothing_is_valid(tmp_path, write_scene):
    moved = NORTH_UP @ Affine.translation(4, 2)
    label = scene_at(tmp_path / "label.tif", write_scene, np.zeros((6, 9), np.uint8), transform=moved)
    image = scene_at(tmp_path / "image.tif", write_scene)
    expected = np.zeros((6, 9), np.bool_)
    expected[2:, 4:] = True
    np.testing.assert_array_equal(aligned_values(label, image)[1], expected)


def test_a_south_up_raster_and_its_north_up_twin_are_one(tmp_path, write_scene):
    codes = np.arange(54, dtype=np.uint8).reshape(6, 9)
    turned = NORTH_UP @ Affine.translation(0, 6) @ Affine.scale(1, -1)
    label = scene_at(tmp_path / "label.tif", write_scene, codes[::-1], transform=turned)
    image = scene_at(tmp_path / "image.tif", write_scene)
    (values,), valid = aligned_values(label, image)
    assert valid.all()
    np.testing.assert_array_equal(values, codes)


def test_a_mask_and_an_alpha_band_survive_the_warp(tmp_path, write_scene):
    hole = np.ones((6, 9), np.bool_)
    hole[1:4, 2:5] = False
    moved = NORTH_UP @ Affine.translation(-1, 0)
    image = scene_at(tmp_path / "image.tif", write_scene)
    expected = np.zeros((6, 9), np.bool_)
    expected[:, :8] = hole[:, 1:]
    masked = scene_at(tmp_path / "masked.tif", write_scene, transform=moved, mask=hole)
    alpha = np.stack([np.zeros((6, 9), np.uint8), np.where(hole, 255, 0).astype(np.uint8)])
    kinds = (ColorInterp.gray, ColorInterp.alpha)
    see_through = scene_at(tmp_path / "alpha.tif", write_scene, alpha, transform=moved, colorinterp=kinds)
    for label in (masked, see_through):
        np.testing.assert_array_equal(aligned_values(label, image)[1], expected, err_msg=label.name)


def test_unequal_shapes_without_a_crs_are_refused_with_both_shapes(tmp_path, write_scene):
    label = scene_at(tmp_path / "label.tif", write_scene, np.zeros((4, 5), np.uint8), crs=None, transform=None)
    image = scene_at(tmp_path / "image.tif", write_scene)
    with pytest.raises(SceneError, match=r"4 x 5 .*6 x 9"), aligned(label, image):
        pass


# --- files that are none -----------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(SceneError) as caught:
        read_whole(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere.tif")


@pytest.mark.parametrize("content", [b"", b"value,name\n1,water\n", b"II*\x00\x08\x00\x00\x00", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_raster_is_refused(tmp_path, content):
    path = tmp_path / "text.tif"
    path.write_bytes(content)
    refused(path)


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path)


def test_a_truncated_raster_is_refused_with_the_place(tmp_path, write_scene):
    array = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    path = write_scene(tmp_path / "cut.tif", array, blockysize=8)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refused(path)


def test_complex_numbers_are_refused_with_a_remedy(tmp_path, write_scene):
    assert "amplitudes" in refused(write_scene(tmp_path / "sar.tif", np.ones((2, 3), np.complex64)))


def test_a_file_that_went_away_is_refused(tmp_path, write_scene):
    scene = scene_at(tmp_path / "gone.tif", write_scene)
    Path(scene.path).unlink()
    with pytest.raises(SceneError, match=r"gone\.tif does not exist"), opened(scene):
        pass


# --- real data ---------------------------------------------------------------------------------------------------


def odd_files(data):
    folder = data / "geotiff_zoo"
    return sorted(path for path in folder.iterdir() if path.suffix not in (".csv", ".xml"))


@pytest.mark.real
def test_every_odd_file_is_read_beyond_its_edge_or_refused_in_one_sentence(data):
    refusals = {}
    for path in odd_files(data):
        try:
            scene = load_scene(path)
            window = Window(scene.height - 40, scene.width - 50, 70, 90)
            values, valid = read_window(path, window)
            assert values.shape == (len(scene.bands), 70, 90), path
            assert valid.shape == (70, 90), path
            assert valid.dtype == np.bool_, path
            pixel_size(scene)
        except SceneError as error:
            refusals[path.name] = str(error)
    assert all(name in sentence and "\n" not in sentence for name, sentence in refusals.items())
    assert set(refusals) == {"invalid.tif", "sar_hh.tif", "cint16.tif"}


@pytest.mark.real
@pytest.mark.parametrize("name", [
    "RGB.byte.tif", "RGBA.byte.tif", "all_nodata.tif", "cogeo.tif", "cog_rgb_mask.tif", "dataset_mask.tif", "dem.tif",
    "float_raster_with_nodata.tif", "shade.tif", "clp.tif", "propval_bg_01_01.tif",
])  # fmt: skip
def test_the_mask_of_a_real_file_is_that_of_gdal(data, name):
    path = data / "geotiff_zoo" / name
    with rasterio.open(path) as dataset:
        expected = dataset.dataset_mask() > 0
    np.testing.assert_array_equal(read_whole(path)[1], expected)


def test_bands_are_chosen_by_name_as_well(tmp_path, write_scene):
    path = write_scene(tmp_path / "s.tif", np.zeros((3, 4, 5), np.uint8), descriptions=("red", "NIR", "red"))
    assert load_scene(path, ["nir", 1]).bands == (2, 1)
    for name in ("red", "blue"):
        with pytest.raises(SceneError, match=rf"s\.tif has no band '{name}' or several; its bands are red, nir, red"):
            load_scene(path, [name])
