"""Polygons become a class raster on another raster's pixels; tiles leave no trace in it."""

import errno
from functools import partial

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import GeometryCollection, LineString, Point, Polygon, box

from geounet.classes import LandClass
from geounet.data import canvas
from geounet.errors import LabelError, OutputError
from geounet.grid import Window
from geounet.raster.cog import RasterProfile, classes_of, write_cog
from geounet.tasks import rasterize as task
from geounet.tasks.rasterize import rasterize

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
HEIGHT, WIDTH = 30, 50
SHAPES = [
    (Polygon([(480_021, 5_429_993), (480_313, 5_429_902), (480_042, 5_429_761)]), 10),
    (box(480_303, 5_429_752, 480_421, 5_429_951).difference(box(480_332, 5_429_803, 480_363, 5_429_902)), 70),
    (box(480_204, 5_429_643, 480_351, 5_429_854), 3),
]


@pytest.fixture
def like(tmp_path, write_scene):
    return write_scene(tmp_path / "like.tif", np.zeros((2, HEIGHT, WIDTH), np.uint16))


def write(path, shapes=SHAPES, field="class", stored="EPSG:32633", **more):
    geometries, values = zip(*shapes, strict=True)
    frame = geopandas.GeoDataFrame({field: values, **more}, geometry=list(geometries), crs="EPSG:32633").to_crs(stored)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        # With an index, FlatGeobuf has the features in an order of its own.
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}))
    return path


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


def expected(shapes=SHAPES, transform=NORTH_UP, fill=255, **more):
    return rasterio.features.rasterize(shapes, (HEIGHT, WIDTH), fill=fill, transform=transform, dtype="uint8", **more)


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet", ".fgb", ".shp"])
def test_it_is_what_rasterio_burns_at_once(tmp_path, like, ending):
    """The last of overlapping polygons wins, and where there is none is nodata."""
    out = tmp_path / "labels.tif"
    summary = rasterize(write(tmp_path / f"fields{ending}"), like, out)
    np.testing.assert_array_equal(pixels(out), expected())
    assert summary.polygons == 3
    assert summary.counts == {code: int((expected() == code).sum()) for code in (3, 10, 70)}
    assert summary.nodata == (expected() == 255).sum()
    with rasterio.open(out) as file, rasterio.open(like) as model:
        assert (file.transform, file.crs, file.shape) == (model.transform, model.crs, model.shape)
        assert (file.nodata, file.dtypes, file.descriptions) == (255, ("uint8",), ("class",))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.booleans(), st.sampled_from([255, 0, 9]))
def test_any_tile_size_gives_the_same_raster(tmp_path, like, tile_size, all_touched, background):
    out, fields = tmp_path / "labels.tif", tmp_path / "fields.gpkg"
    if not fields.exists():
        write(fields)
    how = {"all_touched": all_touched, "background": background, "overwrite": True}
    rasterize(fields, like, out, tile_size=tile_size, **how)
    np.testing.assert_array_equal(pixels(out), expected(fill=background, all_touched=all_touched))


def scattered(count, seed):
    """Boxes and triangles that overlap, some beside the raster, and the class of each."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x, y = rng.uniform(479_950, 480_480), rng.uniform(5_429_680, 5_430_020)
        corners = np.array([x, y]) + rng.uniform(-90, 90, (3, 2))
        shape = Polygon(corners) if rng.random() < 0.6 else box(*corners.min(axis=0), *corners.max(axis=0))
        yield shape, int(rng.integers(0, 255))


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet", ".fgb", ".shp"])
@pytest.mark.parametrize(("rows", "edges"), [(1, 0), (3, 0), (7, 1000), (40, 1 << 28)])
@pytest.mark.parametrize("all_touched", [False, True])
def test_polygons_read_and_burnt_some_at_a_time_are_those_burnt_at_once(
    tmp_path, like, monkeypatch, ending, rows, edges, all_touched
):
    """However few there are in a batch, and however few edges are burnt at once, the last in the file wins."""
    monkeypatch.setattr(task, "read_shapes", partial(task.read_shapes, rows=rows))
    monkeypatch.setattr(task, "_EDGES", edges)
    shapes = list(scattered(60, rows))
    out = tmp_path / "labels.tif"
    summary = rasterize(
        write(tmp_path / f"fields{ending}", shapes), like, out, tile_size=13, all_touched=all_touched, background=77
    )
    np.testing.assert_array_equal(pixels(out), expected(shapes, fill=77, all_touched=all_touched))
    assert sum(summary.counts.values()) == HEIGHT * WIDTH
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_what_is_left_out_is_counted_over_all_batches(tmp_path, like, monkeypatch, caplog, rows):
    monkeypatch.setattr(task, "read_shapes", partial(task.read_shapes, rows=rows))
    monkeypatch.setattr(task, "_EDGES", 0)
    shapes = [
        *SHAPES,
        (box(0, 0, 10, 10), 5),
        (box(480_001, 5_429_991, 480_002, 5_429_992), 6),
        (Point(480_100, 5_429_900), 7),
        (LineString([(480_100, 5_429_900), (480_200, 5_429_900)]), 7),
        (None, 8),
        (GeometryCollection([box(480_400, 5_429_960, 480_440, 5_429_990), Point(480_100, 5_429_900)]), 9),
    ]
    summary = rasterize(write(tmp_path / "fields.gpkg", shapes), like, tmp_path / "labels.tif")
    areas = [*SHAPES, (box(480_400, 5_429_960, 480_440, 5_429_990), 9)]
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected(areas))
    assert summary.polygons == 5
    assert "of 9 features these are no polygons, and left out: 1 linestring, 1 point, 1 without geometry" in caplog.text
    assert "1 of 9 features of" in caplog.text
    assert "lie beside" in caplog.text
    assert "1 of 5 polygons of" in caplog.text
    assert len(caplog.records) == 3


@pytest.mark.parametrize("stored", ["EPSG:4326", "EPSG:3857"])
def test_polygons_in_another_crs_come_to_the_rasters(tmp_path, like, stored):
    rasterize(write(tmp_path / "fields.gpkg", stored=stored), like, tmp_path / "labels.tif")
    there, back = (Transformer.from_crs(*pair, always_xy=True) for pair in ((32633, stored), (stored, 32633)))

    def round_trip(x, y):
        return back.transform(*there.transform(x, y))

    moved = [(shapely.transform(shape, round_trip, interleaved=False), code) for shape, code in SHAPES]
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected(moved))


@pytest.mark.parametrize("transform", [Affine(10, 0, 480_000, 0, 10, 5_429_700), NORTH_UP @ Affine.rotation(-30)])
def test_south_up_and_rotated_rasters(tmp_path, write_scene, transform):
    like = write_scene(tmp_path / "turned.tif", np.zeros((HEIGHT, WIDTH), np.uint8), transform=transform)
    rasterize(write(tmp_path / "fields.gpkg"), like, tmp_path / "labels.tif", tile_size=7)
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected(transform=transform))


def test_a_raster_without_a_crs_takes_the_polygons_as_they_are(tmp_path, write_scene):
    like = write_scene(tmp_path / "plain.tif", np.zeros((HEIGHT, WIDTH), np.uint8), crs=None, transform=None)
    shapes = [(box(2, 3, 9, 8), 4)]
    rasterize(write(tmp_path / "fields.gpkg", shapes), like, tmp_path / "labels.tif")
    assert (
        np.argwhere(pixels(tmp_path / "labels.tif") == 4).tolist()
        == np.argwhere(expected(shapes, Affine.identity()) == 4).tolist()
    )


def test_a_field_is_named_or_found(tmp_path, like):
    fields = write(tmp_path / "fields.gpkg", field="crop", value=[1, 2, 3])
    rasterize(fields, like, tmp_path / "a.tif", attribute="crop")
    rasterize(fields, like, tmp_path / "b.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), expected())
    assert set(np.unique(pixels(tmp_path / "b.tif"))) == {1, 2, 3, 255}
    with pytest.raises(LabelError, match=r"'crops'.*crop, value"):
        rasterize(fields, like, tmp_path / "c.tif", attribute="crops")


# --- names and colours -------------------------------------------------------------------------------------------


def test_names_and_colours_beside_the_codes_are_kept(tmp_path, like):
    fields = write(
        tmp_path / "fields.gpkg", class_name=["wheat", "maize", None], color=["#AABBCC", "no colour", "#010203"]
    )
    rasterize(fields, like, tmp_path / "labels.tif")
    table = {item.value: (item.name, item.color) for item in classes_of(tmp_path / "labels.tif")}
    assert table[10] == ("wheat", "#aabbcc")
    assert table[70][0] == "maize"
    assert table[3] == ("class_3", "#010203")


def test_codes_as_text_and_rows_without_one(tmp_path, like):
    fields = write(tmp_path / "fields.gpkg", [(SHAPES[0][0], "10"), (SHAPES[1][0], None), (SHAPES[2][0], "?")],
                   class_name=["wheat", "none", "what"])  # fmt: skip
    summary = rasterize(fields, like, tmp_path / "labels.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected(SHAPES[:1]))
    assert summary.polygons == 1
    assert [(item.value, item.name) for item in classes_of(tmp_path / "labels.tif")] == [(10, "wheat")]


def test_names_alone_are_numbered_in_order_with_a_warning(tmp_path, like, caplog):
    names = {10: "wheat", 70: "maize", 3: "oats"}
    fields = write(tmp_path / "fields.gpkg", [(shape, names[code]) for shape, code in SHAPES], field="crop")
    rasterize(fields, like, tmp_path / "labels.tif", attribute="crop")
    codes = {10: 2, 70: 0, 3: 1}
    np.testing.assert_array_equal(
        pixels(tmp_path / "labels.tif"), expected([(shape, codes[code]) for shape, code in SHAPES])
    )
    assert [(item.value, item.name) for item in classes_of(tmp_path / "labels.tif")] == [
        (0, "maize"), (1, "oats"), (2, "wheat"),
    ]  # fmt: skip
    assert "0 maize, 1 oats, 2 wheat" in caplog.text


def test_a_class_table_comes_first_and_polygons_of_no_class_stay_out(tmp_path, like):
    table = (LandClass(5, "wheat", "#111111"), LandClass(6, "maize", "#222222"))
    names = ["wheat", "maize", "oats"]
    fields = write(tmp_path / "fields.gpkg", list(zip([shape for shape, _ in SHAPES], names, strict=True)))
    summary = rasterize(fields, like, tmp_path / "labels.tif", classes=table)
    assert classes_of(tmp_path / "labels.tif") == table
    assert set(summary.counts) == {5, 6}
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected([(SHAPES[0][0], 5), (SHAPES[1][0], 6)]))


def test_the_rasters_own_table_names_what_the_file_does_not(tmp_path):
    like, table = tmp_path / "classes.tif", (LandClass(10, "water", "#0000ff"), LandClass(44, "ice", "#eeeeee"))
    profile = RasterProfile(HEIGHT, WIDTH, NORTH_UP, rasterio.CRS.from_epsg(32633), "uint8", 255, table)
    write_cog(like, profile, [(Window(0, 0, HEIGHT, WIDTH), np.full((1, HEIGHT, WIDTH), 10, np.uint8))])
    rasterize(write(tmp_path / "fields.gpkg"), like, tmp_path / "labels.tif", background=0)
    found = {item.value: item.name for item in classes_of(tmp_path / "labels.tif")}
    assert found == {0: "class_0", 3: "class_3", 10: "water", 70: "class_70"}
    named = write(tmp_path / "named.gpkg", class_name=["lake", "forest", "field"])
    rasterize(named, like, tmp_path / "labels.tif", overwrite=True)
    found = {item.value: item.name for item in classes_of(tmp_path / "labels.tif")}
    assert found == {3: "field", 10: "lake", 70: "forest"}


def test_a_class_raster_comes_back_from_its_polygons(tmp_path, write_scene):
    """Round trip with rasterio's polygons; nodata belongs to none."""
    classes = np.random.default_rng(1).choice([1, 2, 3, 255], (HEIGHT, WIDTH)).astype(np.uint8)
    like = write_scene(tmp_path / "classes.tif", classes, nodata=255)
    found = rasterio.features.shapes(classes, classes != 255, transform=NORTH_UP)
    shapes = [(shapely.geometry.shape(ring), int(code)) for ring, code in found]
    for all_touched in (False, True):
        rasterize(
            write(tmp_path / "fields.parquet", shapes), like, tmp_path / "back.tif", tile_size=11,
            all_touched=all_touched, overwrite=True,
        )  # fmt: skip
        np.testing.assert_array_equal(pixels(tmp_path / "back.tif"), classes)


# --- what cannot be used -----------------------------------------------------------------------------------------


def test_polygons_beside_the_raster_are_refused_with_both_places(tmp_path, like):
    far = write(tmp_path / "far.gpkg", [(box(0, 0, 10, 10), 1)])
    with pytest.raises(LabelError, match=r"no polygon of .*far\.gpkg.*cover 0, 0, 10, 10, and it 480000, 5429700"):
        rasterize(far, like, tmp_path / "labels.tif")
    assert not (tmp_path / "labels.tif").exists()


def test_a_file_without_features_or_shapes_is_refused(tmp_path, like):
    empty = geopandas.GeoDataFrame({"class": np.zeros(0, int)}, geometry=[], crs="EPSG:32633")
    empty.to_file(tmp_path / "empty.gpkg")
    shapeless = write(tmp_path / "shapeless.parquet", [(None, 1), (Polygon(), 2)])
    for path in (tmp_path / "empty.gpkg", shapeless):
        with pytest.raises(LabelError, match=r"polygon file .* is empty: it holds no feature with a geometry"):
            rasterize(path, like, tmp_path / "labels.tif")


def many(count=6000):
    """More than one page of any format."""
    corners = [(480_000 + 10 * (index % 50), 5_429_700 + 10 * (index % 30)) for index in range(count)]
    return [(box(x, y, x + 60, y + 60), 1 + index % 3) for index, (x, y) in enumerate(corners)]


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".fgb", ".parquet"])
@pytest.mark.parametrize("harm", ["cut", "overwritten", "none of it"])
def test_a_damaged_file_is_refused_and_never_half_burnt(tmp_path, like, ending, harm):
    path = write(tmp_path / f"fields{ending}", many())
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if harm == "cut":
        del content[middle:]
    elif harm == "overwritten":
        content[middle : middle + 4000] = bytes(4000)
    else:
        content = bytearray(b"no polygons" * 99)
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r"polygon file .*fields.* cannot be read"):
        rasterize(path, like, tmp_path / "labels.tif")
    assert not (tmp_path / "labels.tif").exists()


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet"])
def test_a_file_without_attributes_is_told_from_an_empty_one(tmp_path, like, ending):
    bare = geopandas.GeoDataFrame(geometry=[SHAPES[0][0]], crs="EPSG:32633")
    path = tmp_path / f"bare{ending}"
    bare.to_parquet(path) if ending == ".parquet" else bare.to_file(path)
    with pytest.raises(LabelError, match="has no field 'class' with the classes"):
        rasterize(path, like, tmp_path / "labels.tif")


def test_shapes_may_be_geoarrow(tmp_path, like):
    frame = geopandas.read_file(write(tmp_path / "fields.gpkg"))
    frame.to_parquet(tmp_path / "fields.parquet", geometry_encoding="geoarrow")
    rasterize(tmp_path / "fields.parquet", like, tmp_path / "labels.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected())


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet"])
def test_whole_numbers_of_which_one_is_missing(tmp_path, like, caplog, ending):
    path = tmp_path / f"fields{ending}"
    codes = {"class": pd.array([4, None, 9], "Int64")}
    frame = geopandas.GeoDataFrame(codes, geometry=[shape for shape, _ in SHAPES], crs="EPSG:32633")
    frame.to_parquet(path) if ending == ".parquet" else frame.to_file(path)
    rasterize(path, like, tmp_path / "labels.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "labels.tif"), expected([(SHAPES[0][0], 4), (SHAPES[2][0], 9)]))
    assert "is empty for 1 of 3 polygons, which are left out" in caplog.text


def test_shapes_that_lie_nowhere_in_the_rasters_crs_are_not_called_empty(tmp_path, like):
    beyond = geopandas.GeoDataFrame({"class": [1]}, geometry=[box(1e30, 1e30, 2e30, 2e30)], crs="EPSG:4326")
    beyond.to_parquet(tmp_path / "beyond.parquet")
    with pytest.raises(LabelError, match=r"no polygon of .* with a class meets"):
        rasterize(tmp_path / "beyond.parquet", like, tmp_path / "labels.tif")


def test_a_disk_without_room_is_said(tmp_path, like, monkeypatch):
    def full(*_given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(canvas.os, "posix_fallocate", full)
    monkeypatch.setattr(task, "read_shapes", partial(task.read_shapes, rows=1))
    monkeypatch.setattr(task, "_EDGES", 0)
    with pytest.raises(OutputError, match="no room for 1500 bytes meanwhile: No space left on device"):
        rasterize(write(tmp_path / "fields.gpkg"), like, tmp_path / "labels.tif")
    assert not (tmp_path / "labels.tif").exists()


def test_an_existing_output_and_too_many_names_are_refused(tmp_path, like):
    with pytest.raises(OutputError, match="exists; give another name, or --overwrite"):
        rasterize(write(tmp_path / "fields.gpkg"), like, like)
    many = [(box(480_000 + index, 5_429_900, 480_500, 5_429_990), f"n{index}") for index in range(256)]
    with pytest.raises(LabelError, match=r"'class' of .* holds 256 names"):
        rasterize(write(tmp_path / "many.gpkg", many), like, tmp_path / "labels.tif")
