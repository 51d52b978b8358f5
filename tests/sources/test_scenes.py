"""Masks, areas of interest and resolutions: what hides pixels hides them whatever the window, and is said."""

import json

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from deliveries import write_safe
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from shapely.geometry import Polygon, box

from geounet.errors import SceneError
from geounet.grid import Window
from geounet.raster.opening import Opening
from geounet.raster.scene import opened, read_overview, read_stored
from geounet.sources.scenes import open_scene, source_identity

PLACE = Affine(10, 0, 300_000, 0, -10, 7_400_040)


def valid(scene, window=None):
    with opened(scene) as dataset:
        return read_stored(dataset, scene, window or scene.extent)[1]


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), names=("B02", "B03", "SCL"))


@pytest.fixture
def scene(tmp_path, write_scene):
    """Three bands of 90 x 70 pixels: data, classes 0 to 11, bits; the path and the bands."""
    random = np.random.default_rng(0)
    bands = np.stack(
        [random.integers(1, 200, (90, 70)), random.integers(0, 12, (90, 70)), random.integers(0, 64, (90, 70))]
    )
    path = tmp_path / "scene.tif"
    write_scene(path, bands.astype(np.uint16), descriptions=("nir", "SCL", "QA_PIXEL"), transform=PLACE)
    return path, bands


def test_presets_hide_what_they_name(scene):
    path, bands = scene
    found = valid(open_scene(path, ["nir"], Opening(masks=("scl",))))
    np.testing.assert_array_equal(found, ~np.isin(bands[1], (0, 1, 3, 8, 9, 10, 11)))
    found = valid(open_scene(path, ["nir"], Opening(masks=("qa_pixel",))))
    np.testing.assert_array_equal(found, bands[2] == 0)


def test_several_masks_by_band_values_and_bits(scene, write_scene, tmp_path):
    """All of them hide; a raster of its own by any value but 0 and its nodata, or by those that are named."""
    path, bands = scene
    clouds = np.random.default_rng(1).integers(0, 4, (90, 70)).astype(np.uint8)
    other = write_scene(tmp_path / "clouds.tif", clouds, nodata=3, transform=PLACE)
    masks = ("2:4,5", "QA_PIXEL:bits:0,2", str(other))
    hidden = np.isin(bands[1], (4, 5)) | ((bands[2] & 0b101) != 0) | ((clouds != 0) & (clouds != 3))
    np.testing.assert_array_equal(valid(open_scene(path, ["nir"], Opening(masks=masks))), ~hidden)
    found = valid(open_scene(path, ["nir"], Opening(masks=(f"{other}:3",))))
    np.testing.assert_array_equal(found, clouds != 3)


@given(st.integers(0, 9), st.integers(-5, 80), st.integers(-5, 60), st.integers(1, 50), st.integers(1, 50))
def test_what_is_hidden_around_a_mask_does_not_depend_on_the_window(
    tmp_path_factory, write_scene, grown, row, col, height, width
):
    """By distance, as over the whole scene at once; beyond the edge it is mirrored like the values."""
    folder = tmp_path_factory.mktemp("grown")
    marked = np.random.default_rng(grown).random((90, 70)) < 0.002
    path = write_scene(folder / "s.tif", np.ones((90, 70), np.uint8), transform=PLACE)
    mask = write_scene(folder / "m.tif", marked.astype(np.uint8), transform=PLACE)
    found = open_scene(path, None, Opening(masks=(str(mask),), mask_dilate=grown))
    expected = distance_transform_edt(~marked) > grown if marked.any() else np.ones(marked.shape, bool)
    np.testing.assert_array_equal(valid(found), expected)
    part = valid(found, Window(row, col, height, width))
    rows = np.pad(np.arange(90), 60, mode="reflect")[row + 60 : row + 60 + height]
    cols = np.pad(np.arange(70), 60, mode="reflect")[col + 60 : col + 60 + width]
    np.testing.assert_array_equal(part, expected[np.ix_(rows, cols)])


def test_a_coarser_band_of_a_delivery_hides_its_pixels(safe):
    """SCL at 20 m hides squares of four pixels at 10 m; the overview shows the same."""
    root, held = safe
    found = open_scene(root, ["blue"], Opening(masks=("SCL:" + ",".join(map(str, range(1500))),)))
    expected = (held["SCL"] >= 1500).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(valid(found), expected)
    np.testing.assert_array_equal(read_overview(found, 1000, 1000)[1], expected)


def test_an_area_in_another_crs_hides_all_outside(scene, tmp_path):
    """A pixel counts if its centre lies inside, as in the scene's own CRS; the focus is the box around it."""
    path, _ = scene
    area = Polygon([(300_055, 7_399_990), (300_400, 7_399_900), (300_610, 7_399_500), (300_100, 7_399_300)])
    frame = gpd.GeoDataFrame(geometry=[area, box(300_650, 7_399_200, 300_680, 7_399_230)], crs="EPSG:32633")
    frame.to_crs(4326).to_file(tmp_path / "aoi.geojson")
    found = open_scene(path, ["nir"], Opening(aoi=str(tmp_path / "aoi.geojson")))
    cols, rows = np.meshgrid(np.arange(70) + 0.5, np.arange(90) + 0.5)
    points = gpd.points_from_xy(300_000 + 10 * cols.ravel(), 7_400_040 - 10 * rows.ravel())
    inside = (points.within(frame.geometry[0]) | points.within(frame.geometry[1])).reshape(90, 70)
    np.testing.assert_array_equal(valid(found), inside)
    assert found.focus == Window(5, 5, 79, 63)
    assert valid(found, Window(20, 10, 30, 40)).sum() == inside[20:50, 10:50].sum()
    assert read_overview(found, 45, 35)[1].mean() == pytest.approx(inside.mean(), abs=0.02)


def test_areas_and_masks_that_do_not_fit_are_one_sentence(scene, tmp_path, write_scene):
    path, _ = scene
    far = gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    far.to_file(tmp_path / "far.geojson")
    with pytest.raises(SceneError, match=r"the area of interest .*far\.geojson misses .*scene\.tif"):
        open_scene(path, None, Opening(aoi=str(tmp_path / "far.geojson")))
    with pytest.raises(SceneError, match=r"the area of interest: polygon file .*absent\.gpkg does not exist"):
        open_scene(path, None, Opening(aoi=str(tmp_path / "absent.gpkg")))
    gpd.GeoDataFrame(geometry=gpd.points_from_xy([300_100], [7_399_900]), crs="EPSG:32633").to_file(tmp_path / "p.gpkg")
    with pytest.raises(SceneError, match=r"p\.gpkg holds no polygon"):
        open_scene(path, None, Opening(aoi=str(tmp_path / "p.gpkg")))
    other = write_scene(tmp_path / "other.tif", np.ones((90, 70), np.uint8), transform=PLACE, crs="EPSG:32634")
    with pytest.raises(SceneError, match=r"is in another CRS than .*scene\.tif"):
        open_scene(path, None, Opening(masks=(str(other),)))
    part = write_scene(tmp_path / "part.tif", np.ones((50, 70), np.uint8), transform=PLACE)
    with pytest.raises(SceneError, match=r"covers only part of .*scene\.tif"):
        open_scene(path, None, Opening(masks=(str(part),)))
    with pytest.raises(
        SceneError, match=r"the mask 'clouds' is neither a raster that is there nor one of scl, qa_pixel"
    ):
        open_scene(path, None, Opening(masks=("clouds",)))
    with pytest.raises(SceneError, match="has no band 'cirrus' or several; its bands are nir, scl, qa_pixel"):
        open_scene(path, None, Opening(masks=("cirrus:1",)))


def test_another_resolution_keeps_the_ground_and_the_mean(tmp_path, write_scene):
    """Three times coarser, twice finer, from the same corner, the same in any window; the same size is left alone."""
    values = np.add.outer(np.arange(90), np.arange(60)).astype(np.float32)
    path = write_scene(tmp_path / "plane.tif", values, transform=PLACE)
    coarse, fine = (open_scene(path, None, Opening(resolution=size)) for size in (30.0, 5.0))
    assert (coarse.height, coarse.width, coarse.transform.a) == (30, 20, 30)
    assert (fine.height, fine.width, fine.transform.a) == (180, 120, 5)
    assert (coarse.transform.c, coarse.transform.f) == (PLACE.c, PLACE.f)
    with opened(coarse) as dataset:
        found, _ = read_stored(dataset, coarse, coarse.extent)
        part, _ = read_stored(dataset, coarse, Window(7, 3, 11, 13))
    middle = np.add.outer(3 * np.arange(30) + 1, 3 * np.arange(20) + 1)
    np.testing.assert_allclose(found[0][2:-2, 2:-2], middle[2:-2, 2:-2], atol=1e-3)
    np.testing.assert_array_equal(part, found[:, 7:18, 3:16])
    assert open_scene(path, None, Opening(resolution=10.0)).path == str(path)


def test_what_a_request_depends_on_includes_masks_and_areas(scene, tmp_path, write_scene):
    path, _ = scene
    mask = write_scene(tmp_path / "m.tif", np.zeros((90, 70), np.uint8), transform=PLACE)
    given = Opening(masks=(f"{mask}:1",))
    before = source_identity(path, given)
    assert before != source_identity(path)
    write_scene(mask, np.zeros((90, 71), np.uint8), transform=PLACE)
    assert source_identity(path, given) != before


def test_statements_that_contradict_each_other_are_refused_until_they_are_settled(tmp_path, write_scene):
    """The offset is said to be applied and to be added: only the user can know."""
    write_scene(tmp_path / "b04.tif", np.full((9, 9), 3000, np.uint16), transform=PLACE)
    asset = {"href": "b04.tif", "roles": ["data", "reflectance"], "eo:bands": [{"name": "B04", "common_name": "red"}]}
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2", "assets": {},
        "properties": {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True},
    }  # fmt: skip
    path = tmp_path / "item.json"

    def write(**more):
        path.write_text(json.dumps({**item, "assets": {"red": {**asset, **more}}}))

    write(**{"raster:bands": [{"scale": 1e-4, "offset": -0.1}]})
    with pytest.raises(SceneError, match=r"says both that the offset .* settle it with --radiometry"):
        open_scene(path, ["red"])
    assert open_scene(path, ["red"], settled=True).offsets == (-0.1,)
    write()
    assert open_scene(path, ["red"]).offsets == (0.0,)
    item["properties"]["earthsearch:boa_offset_applied"] = False
    write()
    assert open_scene(path, ["red"]).offsets == pytest.approx((-0.1,))
