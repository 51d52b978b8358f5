"""Vectorising through files, as users do: columns, statistics, and the same table whatever the tile size."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from pandas.testing import assert_frame_equal
from pyproj import CRS
from scipy import ndimage

from geounet.errors import LabelError, SceneError
from geounet.outlines import streaming
from geounet.outlines.measures import measure
from geounet.tasks.vectorize import Zonal, polygon_frame, vectorize

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_430_000)
ROTATED = Affine(8.66, 3.5, 480_000, 5, -6.06, 5_430_000)


@pytest.fixture
def raster(tmp_path, write_scene):
    """A function that writes a class raster and returns its path."""
    return lambda classes, name="classes.tif", **profile: write_scene(
        tmp_path / name, classes, **({"nodata": 255} | profile)
    )


@pytest.fixture(scope="module")
def blobs():
    """Regions of 20 pixels or so, with nodata in a corner."""
    values = np.random.default_rng(5).integers(0, 4, (16, 20)).astype(np.uint8)
    classes = np.kron(values, np.ones((4, 3), np.uint8))
    classes[:9, :7] = 255
    return classes


def assert_same_frame(found, expected):
    """Equal to the last bit, geometries included."""
    assert_frame_equal(found.to_wkb(), expected.to_wkb(), check_exact=True)
    assert found.crs == expected.crs


@pytest.mark.parametrize("connectivity", [4, 8])
def test_the_frame_is_the_same_for_every_tile_size(raster, blobs, connectivity):
    doubt = np.random.default_rng(6).integers(0, 256, blobs.shape).astype(np.uint8)
    path, confidence = raster(blobs), raster(doubt, "confidence.tif", scales=[1 / 254])
    frames = [
        polygon_frame(path, confidence=confidence, connectivity=connectivity, tile_size=size)
        for size in (1000, 1, 7, 16)
    ]
    frames.append(polygon_frame(path, confidence=confidence, connectivity=connectivity, tile_size=4, workers=5))
    for frame in frames[1:]:
        assert_same_frame(frame, frames[0])
    assert frames[0].is_valid.all()
    shapes = rasterio.features.shapes(blobs, mask=blobs != 255, connectivity=connectivity)
    assert len(frames[0]) == len(list(shapes))


def test_columns_and_their_order(raster):
    classes = np.array([[3, 3, 255], [7, 3, 7]], np.uint8)
    frame = polygon_frame(raster(classes))
    assert list(frame.columns) == [
        "id", "class", "class_name", "pixels", "area_ha", "perimeter_m", "confidence", "confidence_min",
        "geometry",
    ]  # fmt: skip
    assert frame["id"].tolist() == [1, 2, 3]
    assert frame["class"].tolist() == [3, 7, 7]
    assert frame["class_name"].tolist() == ["class_3", "class_7", "class_7"]
    assert frame["pixels"].tolist() == [3, 1, 1]
    assert frame["confidence"].isna().all()
    assert frame.crs == "EPSG:32633"


def test_confidence_is_the_mean_of_the_valid_pixels(raster):
    classes = np.array([[1, 1, 2, 3]], np.uint8)
    doubt = np.array([[254, 127, 255, 0]], np.uint8)
    frame = polygon_frame(raster(classes), confidence=raster(doubt, "c.tif", scales=[1 / 254]))
    np.testing.assert_allclose(frame["confidence"], [0.75, np.nan, 0.0])


def test_the_least_confidence(raster):
    classes = np.array([[1, 1, 2, 3]], np.uint8)
    doubt = np.array([[254, 127, 255, 0]], np.uint8)
    frame = polygon_frame(raster(classes), confidence=raster(doubt, "c.tif", scales=[1 / 254]), tile_size=1)
    np.testing.assert_array_equal(frame["confidence_min"], [0.5, np.nan, 0.0])
    assert polygon_frame(raster(classes))["confidence_min"].isna().all()


def test_confidence_without_a_scale_is_divided_by_254(raster):
    frame = polygon_frame(raster([[1]], dtype="uint8"), confidence=raster([[254]], "c.tif", dtype="uint8"))
    assert frame["confidence"].tolist() == [1.0]


def test_confidence_may_be_of_floating_type(raster):
    classes = np.array([[1, 1]], np.uint8)
    doubt = np.array([[0.5, 0.25]], np.float32)
    frame = polygon_frame(raster(classes), confidence=raster(doubt, "c.tif", nodata=None), tile_size=1)
    np.testing.assert_allclose(frame["confidence"], [0.375])


def test_confidence_beyond_one_is_refused(raster):
    doubt = np.array([[97]], np.int16)
    with pytest.raises(SceneError, match="reaches 97; probabilities lie between 0 and 1"):
        polygon_frame(raster([[1]], dtype="uint8"), confidence=raster(doubt, "c.tif", nodata=-1))


def test_confidence_on_another_grid_is_refused(raster):
    with pytest.raises(SceneError, match=r"\(1 x 2 pixels\) does not lie on the grid of .*\(1 x 1 pixels\)"):
        polygon_frame(raster([[1]], dtype="uint8"), confidence=raster([[9, 9]], "c.tif", dtype="uint8"))


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("int16", -1), ("float32", np.nan)])
def test_statistics_of_other_rasters_are_those_of_scipy(raster, blobs, dtype, nodata):
    random = np.random.default_rng(2)
    values = random.integers(1, 200, blobs.shape).astype(dtype)
    values[random.random(blobs.shape) < 0.3] = nodata
    zone = Zonal(raster(values, "height.tif", nodata=nodata), ("mean", "std", "min", "max", "sum", "count"))
    frame = polygon_frame(raster(blobs), stats=[zone], tile_size=9)
    numbers = rasterio.features.rasterize(
        zip(frame.geometry, frame["id"], strict=True), blobs.shape, transform=NORTH_UP
    )
    valid = np.where(np.isnan(values) if np.isnan(nodata) else values == nodata, 0, numbers)
    some = frame["id"].isin(valid.ravel())
    expected = {
        "mean": ndimage.mean, "std": ndimage.standard_deviation, "min": ndimage.minimum, "max": ndimage.maximum,
        "sum": ndimage.sum,
    }  # fmt: skip
    for name, oracle in expected.items():
        found = frame[f"height_{name}"]
        np.testing.assert_allclose(found[some], oracle(values, valid, frame["id"][some]), rtol=1e-6)
        assert (found[~some] == 0).all() if name == "sum" else found[~some].isna().all()
    assert frame["height_count"].tolist() == [(valid == number).sum() for number in frame["id"]]


def test_statistics_stand_before_the_geometry_and_are_scaled(raster):
    values = np.array([[10, 20]], np.int16)
    zone = Zonal(raster(values, "height.tif", nodata=-1, scales=[0.1], offsets=[5]), ("max", "mean"))
    frame = polygon_frame(raster([[1, 1]], dtype="uint8"), stats=[zone])
    assert list(frame.columns)[-3:] == ["height_max", "height_mean", "geometry"]
    np.testing.assert_allclose(frame[["height_max", "height_mean"]], [[7.0, 6.5]])


def test_statistics_of_a_raster_on_another_grid_take_the_nearest_pixel(raster):
    """Pixels of 20 m over pixels of 10 m, and none at all beyond."""
    coarse = raster([[1, 2]], "coarse.tif", dtype="int16", nodata=-1, transform=NORTH_UP * Affine.scale(2))
    classes = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 2]], np.uint8)
    frame = polygon_frame(raster(classes), stats=[Zonal(coarse, ("sum", "count"))], tile_size=2)
    assert frame[["coarse_sum", "coarse_count"]].to_numpy().tolist() == [[12, 8], [0, 0]]


@pytest.mark.parametrize("tile_size", [5, 1000])
def test_each_band_has_columns_and_nodata_of_its_own(raster, blobs, tile_size, monkeypatch):
    """As rasters of one band; a pixel without a value in one band counts in the others."""
    monkeypatch.setattr(streaming, "_BATCH", 4)
    random = np.random.default_rng(5)
    values = random.integers(1, 900, (3, *blobs.shape)).astype(np.int16)
    values[random.random(values.shape) < 0.2] = -1
    path = raster(blobs)
    many = raster(values, "scene.tif", nodata=-1, descriptions=("red", None, "nir"))
    frame = polygon_frame(path, stats=[Zonal(many, ("mean", "count"))], tile_size=tile_size)
    for number, name in enumerate(("red", "band_2", "nir")):
        alone = raster(values[number], "alone.tif", nodata=-1)
        expected = polygon_frame(path, stats=[Zonal(alone, ("mean", "count"))])
        for statistic in ("mean", "count"):
            np.testing.assert_array_equal(frame[f"scene_{name}_{statistic}"], expected[f"alone_{statistic}"])
    for band in (3, "nir"):
        one = polygon_frame(path, stats=[Zonal(many, ("count",), band)])
        assert [name for name in one.columns if name.startswith("scene")] == ["scene_nir_count"]
        np.testing.assert_array_equal(one["scene_nir_count"], frame["scene_nir_count"])


def test_statistics_that_would_share_a_column_are_refused(raster):
    path = raster([[1]], dtype="uint8")
    zone = Zonal(raster([[1]], "confidence.tif", dtype="uint8"), ("min",))
    with pytest.raises(SceneError, match="two columns would be called confidence_min"):
        polygon_frame(path, stats=[zone])
    with pytest.raises(SceneError, match="two columns would be called classes_mean"):
        polygon_frame(path, stats=[Zonal(path), Zonal(path)])


def test_unknown_statistics_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no statistics called median; there are mean, std, min, max, sum, count"):
        Zonal(tmp_path, ("mean", "median"))


def test_ids_go_on_from_band_to_band_and_count_what_is_kept(raster, monkeypatch):
    monkeypatch.setattr("geounet.tasks.vectorize.BAND", 4)
    classes = (np.indices((21, 5)).sum(axis=0) % 2).astype(np.uint8)
    classes[::4] = 7
    whole = polygon_frame(raster(classes), tile_size=3)
    assert whole["id"].tolist() == list(range(1, len(whole) + 1))
    large = polygon_frame(raster(classes), tile_size=3, min_area=0.04)
    assert large["pixels"].tolist() == [5] * 6
    assert large["id"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(0.25, 0, 10, 0, -0.5, 70)),
        ("EPSG:3857", Affine(300, 0, 1_000_000, 0, -200, 6_000_000)),
        ("EPSG:32633", ROTATED),
        # Beyond the surveyed: geometries are measured one by one.
        ("+proj=robin", Affine(1e5, 0, -3e6, 0, -1e5, 8.6e6)),
    ],
)
def test_areas_and_perimeters_are_those_of_the_geometries(raster, blobs, crs, transform):
    frame = polygon_frame(raster(blobs, crs=crs, transform=transform), connectivity=8, tile_size=5)
    area, perimeter = measure(frame.geometry.to_numpy(), CRS.from_user_input(crs))
    np.testing.assert_allclose(frame["area_ha"], area, rtol=1e-6)
    np.testing.assert_allclose(frame["perimeter_m"], perimeter, rtol=1e-6)
    assert (frame["area_ha"] > 0).all()


def test_the_file_holds_the_frame(raster, blobs, tmp_path, monkeypatch):
    """Written in many batches, it reads back as what is made in memory at once."""
    monkeypatch.setattr("geounet.outlines.streaming._BATCH", 9)
    path, out = raster(blobs), tmp_path / "out.parquet"
    summary = vectorize(path, out, tile_size=3, connectivity=8)
    frame = polygon_frame(path, connectivity=8)
    written = gpd.read_parquet(out)
    assert_frame_equal(written.drop(columns="geometry"), frame.drop(columns="geometry"), check_dtype=False)
    assert (shapely.to_wkb(written.geometry) == shapely.to_wkb(frame.geometry)).all()
    assert written.crs == frame.crs
    assert (summary.polygons, summary.pixels) == (len(frame), frame["pixels"].sum())
    assert summary.area_ha == pytest.approx(frame["area_ha"].sum())


def test_a_failure_on_the_way_leaves_no_file(raster, tmp_path):
    classes = np.ones((30, 4), np.int16)
    classes[-1, 2] = 400
    with pytest.raises(LabelError, match="holds the value 400"):
        vectorize(raster(classes, nodata=-1), tmp_path / "out.parquet", tile_size=4)
    assert [path.name for path in tmp_path.iterdir()] == ["classes.tif"]


def test_small_polygons_are_left_out_after_merging(raster):
    """A component of 60 pixels, 0.6 ha, survives although each of its pieces is smaller; ids are counted anew."""
    classes = np.zeros((8, 8), np.uint8)
    classes[0, 0:4] = 1
    frame = polygon_frame(raster(classes), min_area=0.5, tile_size=2)
    assert frame["pixels"].tolist() == [60]
    assert frame["id"].tolist() == [1]


def test_a_minimum_area_needs_a_crs(raster):
    with pytest.raises(SceneError, match="has no CRS, so there are no hectares"):
        polygon_frame(raster([[1]], dtype="uint8", crs=None), min_area=0.5)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", NORTH_UP),
        ("EPSG:32633", SOUTH_UP),
        ("EPSG:32633", ROTATED),
        ("EPSG:4326", Affine(0.25, 0, 10, 0, -0.5, 70)),
        ("EPSG:3857", Affine(300, 0, 1_000_000, 0, -200, 6_000_000)),
        ("EPSG:5070", Affine(30, 0, -106_095, 0, -30, 1_822_605)),
    ],
)
def test_areas_add_up_to_the_area_of_the_raster(raster, blobs, crs, transform):
    frame = polygon_frame(raster(blobs, crs=crs, transform=transform))
    valid = polygon_frame(raster(np.where(blobs == 255, 255, 0), "v.tif", dtype="uint8", crs=crs, transform=transform))
    np.testing.assert_allclose(frame["area_ha"].sum(), valid["area_ha"].sum(), rtol=2e-7)


def test_without_a_crs_there_are_pixel_coordinates_and_no_hectares(raster):
    frame = polygon_frame(raster([[1, 1]], dtype="uint8", crs=None, transform=None))
    assert frame.crs is None
    assert frame.geometry[0].bounds == (0, 0, 2, 1)
    assert frame[["area_ha", "perimeter_m"]].isna().all(axis=None)


def test_nodata_of_another_value_and_a_signed_type(raster):
    classes = np.array([[0, -9999, 5]], np.int16)
    frame = polygon_frame(raster(classes, nodata=-9999))
    assert frame["class"].tolist() == [0, 5]


def test_a_byte_of_another_nodata_value_may_also_hold_255(raster):
    """The file calls 7 nodata: then 255 is a value, and no class."""
    frame = polygon_frame(raster(np.array([[0, 7, 5]], np.uint8), nodata=7))
    assert frame["class"].tolist() == [0, 5]
    with pytest.raises(LabelError, match="holds the value 255"):
        polygon_frame(raster(np.array([[0, 7, 255]], np.uint8), nodata=7))


@pytest.mark.parametrize(("value", "dtype"), [(255, "uint8"), (300, "int16"), (-1, "int16"), (1.5, "float32")])
def test_values_that_are_no_classes_are_refused(raster, value, dtype):
    path = raster([[1, value]], dtype=dtype, nodata=None)
    with pytest.raises(LabelError, match=f"holds the value {value}; classes are whole numbers from 0 to 254"):
        polygon_frame(path)


def test_several_bands_are_refused(raster):
    with pytest.raises(SceneError, match="has 2 bands; a class raster has one"):
        polygon_frame(raster(np.zeros((2, 3, 3), np.uint8)))


def test_a_raster_without_a_valid_pixel_gives_an_empty_frame(raster, tmp_path):
    path = raster(np.full((5, 4), 255, np.uint8))
    for connectivity in (4, 8):
        assert len(polygon_frame(path, connectivity=connectivity, tile_size=2)) == 0
    summary = vectorize(path, tmp_path / "none.gpkg")
    assert (summary.polygons, summary.pixels, summary.area_ha) == (0, 0, 0.0)


def test_a_palette_names_what_has_no_class_table_by_its_value(raster):
    frame = polygon_frame(raster([[4]], dtype="uint8", colormap={4: (10, 20, 30, 255)}))
    assert frame["class_name"].tolist() == ["class_4"]


@pytest.mark.real
def test_crops_of_kansas_burn_back_to_every_pixel(data):
    path = data / "kansas_crops" / "2021_30m_cdls.tif"
    with rasterio.open(path) as file:
        classes, transform = file.read(1), file.transform
    frame = polygon_frame(path, tile_size=300)
    assert_same_frame(frame, polygon_frame(path))
    shapes = zip(frame.geometry, frame["class"].tolist(), strict=True)
    back = rasterio.features.rasterize(shapes, classes.shape, fill=255, transform=transform, dtype="uint8")
    np.testing.assert_array_equal(back, classes)
    assert frame.is_valid.all()
    assert set(frame["class"]) == set(np.unique(classes).tolist())
    np.testing.assert_allclose(frame["area_ha"].sum(), classes.size * 0.09, rtol=1e-6)


@pytest.mark.real
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("name", ["kansas_crops/2021_30m_cdls.tif", "austria_two_dates/mask.tif"])
def test_real_rasters_do_not_show_their_tiles(data, name, connectivity, monkeypatch):
    monkeypatch.setattr("geounet.tasks.vectorize.BAND", 128)
    path = data / name
    with rasterio.open(path) as file:
        classes, transform, nodata = file.read(1), file.transform, file.nodata
    frame = polygon_frame(path, connectivity=connectivity)
    assert_same_frame(frame, polygon_frame(path, connectivity=connectivity, tile_size=77, workers=3))
    assert frame.is_valid.all()
    valid = np.ones(classes.shape, bool) if nodata is None else classes != nodata
    shapes = zip(frame.geometry, frame["class"].tolist(), strict=True)
    back = rasterio.features.rasterize(shapes, classes.shape, fill=255, transform=transform, dtype="uint8")
    np.testing.assert_array_equal(back, np.where(valid, classes, 255))
    counts = [
        ndimage.label(valid & (classes == value), np.ones((3, 3)) if connectivity == 8 else None)[1]
        for value in np.unique(classes[valid])
    ]
    assert len(frame) == sum(counts)
    area, perimeter = measure(frame.geometry.to_numpy(), frame.crs)
    np.testing.assert_allclose(frame["area_ha"], area, rtol=1e-6)
    np.testing.assert_allclose(frame["perimeter_m"], perimeter, rtol=1e-6)
