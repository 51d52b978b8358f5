"""What is written reads back, in every format; nothing is left half-written."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pyogrio
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geounet.classes import LandClass
from geounet.errors import LabelError, OutputError
from geounet.formats import gdal, geoparquet
from geounet.formats.batches import encode
from geounet.formats.vector_io import check_format, open_writer, write_vectors
from geounet.sources.polygon_files import read_polygons as read_vectors

ENDINGS = [".gpkg", ".parquet", ".geoparquet", ".geojson", ".json", ".fgb", ".shp"]


def polygons(crs="EPSG:32633", multi=False):
    """Two polygons of unequal shape, one with a hole, and every column of a frame of polygons."""
    first = shapely.box(500_000, 5_000_000, 500_300, 5_000_200) - shapely.box(500_100, 5_000_100, 500_120, 5_000_130)
    second = shapely.box(500_300, 5_000_000, 500_310, 5_000_010)
    if multi:
        second = shapely.MultiPolygon([second, shapely.box(500_310, 5_000_010, 500_320, 5_000_020)])
    columns = {
        "id": np.array([1, 2]),
        "class": np.array([0, 254], np.uint8),
        "class_name": ["Äcker", "water, deep"],
        "pixels": np.array([594, 1]),
        "area_ha": [5.94, 0.01],
        "perimeter_m": [1100.0, 40.0],
        "confidence": [1.0, np.nan],
    }
    return gpd.GeoDataFrame(columns, geometry=shapely.normalize([first, second]), crs=crs)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_reads_back(tmp_path, ending, multi):
    path, frame = tmp_path / f"out{ending}", polygons(multi=multi)
    write_vectors(frame, path)
    found = read_vectors(path).sort_values("id", ignore_index=True)
    assert found["class"].tolist() == [0, 254]
    assert found["class_name"].tolist() == ["Äcker", "water, deep"]
    assert found["pixels"].tolist() == [594, 1]
    np.testing.assert_allclose(found["confidence"], [1.0, np.nan])
    tolerance = 2e-2 if "json" in ending else 0
    assert found.crs.to_epsg() == (4326 if "json" in ending else 32633)
    moved = shapely.hausdorff_distance(found.to_crs(frame.crs).geometry.to_numpy(), frame.geometry.to_numpy())
    assert (moved <= tolerance).all()
    assert [len(shape.interiors) for shape in found.geometry[:1].explode()] == [1]


@pytest.mark.parametrize("ending", ENDINGS)
def test_pixel_coordinates_are_kept_without_a_crs(tmp_path, ending):
    """But in GeoJSON, which would say that they are degrees."""
    path, frame = tmp_path / f"out{ending}", polygons(crs=None)
    if "json" in ending:
        with pytest.raises(OutputError, match=r"would hold coordinates without a CRS, and GeoJSON is longitude"):
            write_vectors(frame, path)
        assert list(tmp_path.iterdir()) == []
        return
    write_vectors(frame, path)
    found = read_vectors(path).sort_values("id")
    np.testing.assert_array_equal(found.total_bounds, frame.total_bounds)
    assert found.crs is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_frame_can_be_written_and_reading_it_says_so(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    write_vectors(polygons().iloc[:0], path)
    assert path.exists()
    with pytest.raises(LabelError, match=r"polygon file .* is empty: it holds no feature with a geometry"):
        read_vectors(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_existing_file_is_replaced_only_on_demand(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    write_vectors(polygons(), path)
    with pytest.raises(OutputError, match="exists; give another name, or --overwrite"):
        write_vectors(polygons().iloc[:1], path)
    assert len(read_vectors(path)) == 2
    write_vectors(polygons().iloc[:1], path, overwrite=True)
    assert len(read_vectors(path)) == 1


def test_a_replaced_shapefile_does_not_keep_the_old_projection(tmp_path):
    path = tmp_path / "out.shp"
    write_vectors(polygons(), path)
    write_vectors(polygons(crs=None), path, overwrite=True)
    assert read_vectors(path).crs is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_write_leaves_nothing(tmp_path, ending):
    """A text that is no number, in a column of numbers, is found while writing."""
    other = polygons().assign(pixels=["many", "few"])
    with pytest.raises(OutputError, match="column pixels is int64 in the first batch, and this one"):
        write_in_batches(pd.concat([polygons(), other]), tmp_path / f"out{ending}", 2)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_names_the_known_ones(tmp_path):
    with pytest.raises(OutputError, match=r"out\.kml ends in none of \.gpkg, \.parquet, .*\.shp"):
        write_vectors(polygons(), tmp_path / "out.kml")
    with pytest.raises(OutputError, match="ends in none of"):
        check_format(tmp_path / "out")
    check_format(tmp_path / "OUT.GPKG")


def test_the_layer_of_a_geopackage_is_named_as_the_file(tmp_path):
    write_vectors(polygons(), tmp_path / "fields 2024.gpkg")
    assert pyogrio.list_layers(tmp_path / "fields 2024.gpkg").tolist() == [["fields 2024", "Polygon"]]


def test_geojson_keeps_to_rfc_7946(tmp_path):
    """Longitude and latitude, exteriors counter-clockwise, no `crs` member, and seven decimals: a centimetre."""
    path = tmp_path / "out.geojson"
    write_vectors(polygons(), path)
    content = json.loads(path.read_text())
    assert "crs" not in content
    rings = [shapely.LinearRing(ring) for ring in content["features"][0]["geometry"]["coordinates"]]
    assert [shapely.is_ccw(ring) for ring in rings] == [True, False]
    longitude, latitude = content["features"][0]["geometry"]["coordinates"][0][0]
    assert (longitude, latitude) == pytest.approx((15.0, 45.15), abs=0.01)
    assert max(len(repr(x).split(".")[1]) for ring in rings for point in ring.coords for x in point) == 7
    assert content["features"][1]["properties"]["confidence"] is None


def test_geoparquet_carries_a_box_for_each_polygon(tmp_path):
    path = tmp_path / "out.parquet"
    write_vectors(polygons(), path)
    about = json.loads(pyarrow.parquet.read_schema(path).metadata[b"geo"])
    assert about["version"] == "1.1.0"
    assert about["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]


def test_a_shapefile_shortens_field_names_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "geounet"):
        write_vectors(polygons().assign(perimeter_of_hull=1.0, perimeter_of_box=2.0), tmp_path / "out.shp")
    assert list(read_vectors(tmp_path / "out.shp").columns)[-4:] == [
        "confidence",
        "perimeter_",
        "perimete_2",
        "geometry",
    ]
    assert "perim_m" in read_vectors(tmp_path / "out.shp").columns
    assert "perimeter_m as perim_m" in caplog.text


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(LabelError, match=r"polygon file .*none\.gpkg does not exist"):
        read_vectors(tmp_path / "none.gpkg")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_file_is_one_sentence(tmp_path, ending):
    path = tmp_path / f"bad{ending}"
    path.write_bytes(b"no polygons")
    with pytest.raises(LabelError, match=r"polygon file .* cannot be read: [^\n]+$"):
        read_vectors(path)


def test_a_table_without_geometry_is_empty(tmp_path):
    path = tmp_path / "table.gpkg"
    pyogrio.write_dataframe(polygons().drop(columns="geometry"), path)
    with pytest.raises(LabelError, match="is empty"):
        read_vectors(path)


HOLE, EMPTY = (0.25, 0.25, 0.75, 0.5), shapely.Polygon()


def shape(size, hole, parts, x, y):
    """A box with a hole, or several of them apart."""
    boxes = [
        shapely.box(x + 3 * size * part, y, x + 3 * size * part + size, y + size)
        - (shapely.box(*(np.array([x, y, x, y]) + size * np.array(HOLE) + [3 * size * part, 0] * 2)) if hole else EMPTY)
        for part in range(parts)
    ]
    return boxes[0] if parts == 1 else shapely.MultiPolygon(boxes)


shapes = st.builds(
    shape,
    size=st.integers(1, 50).map(lambda size: size * 4),
    hole=st.booleans(),
    parts=st.integers(1, 3),
    x=st.integers(400_000, 600_000),
    y=st.integers(4_900_000, 5_100_000),
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "class": st.integers(0, 254),
            "class_name": st.sampled_from(["Äcker", "water, deep", 'a "quote"', "水田", "", None]),
            "pixels": st.integers(1, 2**53),
            "area_ha": st.floats(0, 1e9) | st.none(),
            "geometry": shapes,
        }
    ),
    max_size=7,
)


def frame_of(features):
    columns = {
        "id": np.arange(1, len(features) + 1),
        "class": np.array([feature["class"] for feature in features], np.uint8),
        "class_name": np.array([feature["class_name"] for feature in features], object),
        "pixels": np.array([feature["pixels"] for feature in features], np.int64),
        "area_ha": np.array([feature["area_ha"] for feature in features], np.float64),
    }
    return gpd.GeoDataFrame(columns, geometry=[feature["geometry"] for feature in features], crs="EPSG:32633")


def write_in_batches(frame, path, size, **options):
    with open_writer(path, crs=frame.crs, overwrite=True, **options) as writer:
        for start in range(0, max(len(frame), 1), size):
            writer.write(frame.iloc[start : start + size])
    return writer


@pytest.mark.parametrize("ending", [".gpkg", ".parquet", ".fgb", ".shp"])
@settings(max_examples=25)
@given(features=rows.filter(len), size=st.integers(1, 4))
def test_many_batches_read_back_as_one_frame(tmp_path_factory, ending, features, size):
    """Geometries exactly, texts, numbers and what is missing; whatever the batches."""
    frame, path = frame_of(features), tmp_path_factory.mktemp("many") / f"out{ending}"
    write_in_batches(frame, path, size)
    found = gpd.read_parquet(path) if ending == ".parquet" else pyogrio.read_dataframe(path)
    found = found.sort_values("id", ignore_index=True)
    assert found["class"].tolist() == frame["class"].tolist()
    assert found["pixels"].tolist() == frame["pixels"].tolist()
    # dBASE cannot tell an empty text from none, and holds numbers as decimals.
    empty = frame["class_name"].isna() | ((frame["class_name"] == "") & (ending == ".shp"))
    assert found["class_name"].isna().tolist() == empty.tolist()
    assert found["class_name"][~empty].tolist() == frame["class_name"][~empty].tolist()
    np.testing.assert_allclose(found["area_ha"], frame["area_ha"], rtol=1e-12 if ending == ".shp" else 0, atol=1e-12)
    parts = [shapely.normalize(shapely.MultiPolygon(shapely.get_parts(shape).tolist())) for shape in found.geometry]
    wanted = [shapely.normalize(shapely.MultiPolygon(shapely.get_parts(shape).tolist())) for shape in frame.geometry]
    assert shapely.equals_exact(parts, wanted).all()
    assert found.crs == frame.crs


@settings(max_examples=25)
@given(features=rows, size=st.integers(1, 4))
def test_geojson_reads_back_to_a_centimetre(tmp_path_factory, features, size):
    frame, path = frame_of(features), tmp_path_factory.mktemp("json") / "out.geojson"
    write_in_batches(frame, path, size)
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [feature["properties"] for feature in content["features"]]
    wanted = frame.drop(columns="geometry").astype(object)
    assert found == wanted.where(wanted.notna(), None).to_dict("records")
    for feature, geometry in zip(content["features"], frame.to_crs("EPSG:4326").geometry, strict=True):
        read = shapely.geometry.shape(feature["geometry"])
        assert read.is_valid
        assert read.geom_type == geometry.geom_type
        # Half a unit of the seventh decimal either way.
        assert shapely.hausdorff_distance(read, geometry) < 1e-7
        for part in shapely.get_parts(read):
            assert shapely.is_ccw(part.exterior)
            assert not shapely.is_ccw(list(part.interiors)).any()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_column_may_be_missing_in_a_whole_batch(tmp_path, ending):
    """Confidence that no polygon of the first batch has is a number all the same; so is a text a text."""
    path = tmp_path / f"out{ending}"
    with open_writer(path, crs="EPSG:32633") as writer:
        writer.write(polygons().assign(confidence=np.nan, class_name=None))
        writer.write(polygons().assign(id=[3, 4]))
    found = read_vectors(path).sort_values("id")
    np.testing.assert_allclose(found["confidence"].iloc[2:], [1.0, np.nan])
    assert found["class_name"].tolist()[2:] == ["Äcker", "water, deep"]
    assert found["class_name"].isna().tolist() == [True, True, False, False]
    assert writer.rows == 4


NO_CODE = "+proj=laea +lat_0=10.5 +lon_0=20.25 +x_0=100 +y_0=200 +datum=WGS84 +units=m"


@pytest.mark.parametrize("ending", [".gpkg", ".parquet", ".fgb", ".shp"])
@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326", "EPSG:2056", NO_CODE])
def test_a_crs_is_kept_with_or_without_a_code(tmp_path, ending, crs):
    path, crs = tmp_path / f"out{ending}", CRS(crs)
    write_vectors(polygons(crs=crs), path)
    found = read_vectors(path)
    assert found.crs.to_epsg() == crs.to_epsg()
    moved = gpd.GeoSeries([shapely.Point(10.0, 47.0)], crs="EPSG:4326")
    np.testing.assert_allclose(
        shapely.get_coordinates(moved.to_crs(found.crs)), shapely.get_coordinates(moved.to_crs(crs)), rtol=1e-9
    )
    np.testing.assert_array_equal(found.total_bounds, polygons().total_bounds)


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_batch_at_all_makes_an_empty_file(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    with open_writer(path, crs="EPSG:32633"):
        pass
    with pytest.raises(LabelError, match="is empty"):
        read_vectors(path)


def write_and_fail(path, frame):
    with open_writer(path, crs=frame.crs, overwrite=True) as writer:
        writer.write(frame)
        raise OSError("the raster went away")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, ending):
    """Also with more rows written than any buffer holds; and the error is the caller's own."""
    path = tmp_path / f"out{ending}"
    write_vectors(polygons(), path)
    before = {part.name: part.read_bytes() for part in tmp_path.iterdir()}
    with pytest.raises(OSError, match="the raster went away"):
        write_and_fail(path, squares(12_000))
    assert {part.name: part.read_bytes() for part in tmp_path.iterdir()} == before


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import geopandas as gpd, numpy as np, shapely
from geounet.errors import OutputError
from geounet.formats.vector_io import write_vectors

shapes = shapely.buffer(shapely.points(np.random.default_rng(0).uniform(0, 1e6, (4000, 2))), 100)
frame = gpd.GeoDataFrame({"id": np.arange(4000)}, geometry=shapes, crs="EPSG:3857")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
for ending in sys.argv[2:]:
    try:
        write_vectors(frame, Path(sys.argv[1], "out" + ending))
    except OutputError as error:
        print(ending, "|", error)
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path):
    """Files that may not pass 300 kB stand for a full disk: the write fails, in every format."""
    endings = [".gpkg", ".parquet", ".fgb", ".geojson", ".shp"]
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), *endings]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[:-1]] == endings
    assert all("cannot be written: " in line for line in lines[:-1])
    assert lines[-1] == "[]"


def test_batches_with_other_columns_or_another_crs_are_refused(tmp_path):
    with open_writer(tmp_path / "out.parquet", crs="EPSG:32633") as writer:
        writer.write(polygons())
        with pytest.raises(OutputError, match=r"has the columns id, class, .*; the first had id, class, class_name"):
            writer.write(polygons().drop(columns="class_name"))
        with pytest.raises(OutputError, match=r"is in WGS 84; the file is in another CRS"):
            writer.write(polygons().to_crs("EPSG:4326"))
        writer.write(polygons()[polygons().columns[::-1]])
    assert len(read_vectors(tmp_path / "out.parquet")) == 4


@pytest.mark.parametrize("ending", [".gpkg", ".fgb"])
def test_layers_of_one_type(tmp_path, ending):
    """Opened for multipolygons, polygons become such; opened for polygons, a multipolygon is an error."""
    path = tmp_path / f"out{ending}"
    write_in_batches(polygons(), path, 1)
    assert pyogrio.read_info(path)["geometry_type"] == "MultiPolygon"
    assert set(read_vectors(path).geom_type) == {"MultiPolygon"}
    with pytest.raises(OutputError, match="a multipolygon came to a layer that was opened for polygons only"):
        write_in_batches(polygons(multi=True), path, 1, multi=False)


def squares(count):
    """A row of unit squares."""
    x = np.arange(count)
    return gpd.GeoDataFrame({"id": x}, geometry=shapely.box(x, 0, x + 1, 1), crs="EPSG:32633")


@settings(max_examples=25)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_row_groups_are_full_whatever_the_batches(tmp_path_factory, sizes):
    """All but the last hold the same number of rows; rows keep their order."""
    path, frame = tmp_path_factory.mktemp("groups") / "out.parquet", squares(sum(sizes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geoparquet, "ROW_GROUP", 4)
        with open_writer(path, crs=frame.crs) as writer:
            for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
                writer.write(frame.iloc[stop - size : stop])
    file = pyarrow.parquet.ParquetFile(path)
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    full, rest = divmod(len(frame), 4)
    assert groups == [4] * full + [rest] * bool(rest)
    assert gpd.read_parquet(path)["id"].tolist() == frame["id"].tolist()


def test_geoparquet_readers_skip_row_groups_by_place(tmp_path, monkeypatch):
    """The statistics of the boxes let pyarrow drop nine of ten row groups, and GeoPandas finds what is there."""
    monkeypatch.setattr(geoparquet, "ROW_GROUP", 100)
    path, box = tmp_path / "out.parquet", (512.5, 0.25, 520.5, 0.75)
    write_vectors(squares(1000), path)
    sides = {side: pyarrow.dataset.field("bbox", side) for side in ("xmin", "xmax", "ymin", "ymax")}
    near = (sides["xmin"] <= box[2]) & (sides["xmax"] >= box[0]) & (sides["ymin"] <= box[3]) & (sides["ymax"] >= box[1])
    (fragment,) = pyarrow.dataset.dataset(path).get_fragments()
    assert len(fragment.row_groups) == 10
    assert [group.id for group in fragment.subset(near).row_groups] == [5]
    assert gpd.read_parquet(path, bbox=box)["id"].tolist() == list(range(512, 521))


def test_geoparquet_metadata_hold_what_the_standard_asks(tmp_path):
    """GeoParquet 1.1.0: encoding, types met, PROJJSON, the box of all; without a CRS it is null, not missing."""
    write_vectors(polygons(multi=True), tmp_path / "a.parquet")
    geo = json.loads(pyarrow.parquet.read_metadata(tmp_path / "a.parquet").metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert geo["primary_column"] == "geometry"
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["Polygon", "MultiPolygon"]
    assert column["bbox"] == polygons(multi=True).total_bounds.tolist()
    assert CRS.from_json_dict(column["crs"]).to_epsg() == 32633
    assert '"id"' not in json.dumps(column["crs"]["base_crs"]["datum_ensemble"]["members"])
    write_vectors(polygons(crs=None), tmp_path / "b.parquet")
    geo = json.loads(pyarrow.parquet.read_metadata(tmp_path / "b.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"] is None
    with pytest.raises(OutputError, match="column bbox is where GeoParquet keeps the boxes"):
        write_vectors(polygons().assign(bbox=1), tmp_path / "c.parquet")


def test_the_boxes_are_exact(tmp_path):
    path = tmp_path / "out.parquet"
    write_vectors(polygons(), path)
    boxes = pyarrow.parquet.read_table(path)["bbox"].to_pylist()
    found = [[box["xmin"], box["ymin"], box["xmax"], box["ymax"]] for box in boxes]
    np.testing.assert_array_equal(found, shapely.bounds(polygons().geometry.to_numpy()))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1), unique=True))
def test_short_names_fit_and_differ(names):
    """Ten bytes of UTF-8 at most, and dBASE tells no capitals from small letters."""
    short = gdal.short_names(names)
    assert list(short) == names
    assert all(len(name.encode()) <= 10 for name in short.values())
    assert len({name.lower() for name in short.values()}) == len(names)


def test_a_shapefile_cuts_long_texts_with_a_warning(tmp_path, caplog, capfd):
    names = ["ä" * 200, "b" * 200]
    with caplog.at_level(logging.WARNING, "geounet"):
        write_vectors(polygons().assign(class_name=names), tmp_path / "out.shp")
    assert capfd.readouterr().err == ""
    assert "texts of class_name are cut to the 254 bytes" in caplog.text
    assert read_vectors(tmp_path / "out.shp")["class_name"].tolist() == ["ä" * 127, "b" * 200]


def test_a_shapefile_beyond_two_gigabytes_is_refused_before_it_is_there(tmp_path, monkeypatch):
    write_vectors(squares(100), tmp_path / "a.shp")
    size = (tmp_path / "a.shp").stat().st_size
    monkeypatch.setattr(gdal, "SHAPEFILE_BYTES", size)
    write_vectors(squares(100), tmp_path / "b.shp")
    monkeypatch.setattr(gdal, "SHAPEFILE_BYTES", size - 1)
    with pytest.raises(OutputError, match=r"would pass .* GiB, the most that a shapefile holds; write \.gpkg"):
        write_vectors(squares(100), tmp_path / "c.shp")
    assert not (tmp_path / "c.shp").exists()


CLASSES = (LandClass(0, "Äcker", "#e69f00"), LandClass(254, "water, deep", "#0072b2"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_class_colours_go_along(tmp_path, ending):
    """Beside the file as a QML of its stem; the polygons' layer stays the only one."""
    path = tmp_path / f"fields{ending}"
    write_in_batches(polygons(), path, 1, classes=CLASSES)
    assert (tmp_path / "fields.qml").exists()
    assert "parquet" in ending or pyogrio.list_layers(path)[:, 0].tolist() == ["fields"]
    assert len(read_vectors(path)) == 2


def test_a_non_ascii_name_and_an_uppercase_ending(tmp_path):
    for ending in ENDINGS:
        path = tmp_path / f"Felder Österreich{ending.upper()}"
        write_vectors(polygons(), path)
        assert len(read_vectors(path)) == 2


@pytest.mark.parametrize("ending", [".parquet", ".gpkg", ".fgb", ".geojson", ".shp"])
@pytest.mark.parametrize("multi", [False, True])
def test_shapes_as_bytes_make_the_same_file_as_shapes(ending, multi, tmp_path):
    shapes = [shapely.box(10 * x, 0, 10 * x + 5, 7) for x in range(5)]
    shapes = [*shapes[:4], shapely.MultiPolygon([shapes[4], shapely.box(90, 0, 91, 1)])] if multi else shapes
    frame = gpd.GeoDataFrame({"id": range(1, 6), "name": list("abcde")}, geometry=shapes, crs=32633)
    for name, write in {"one": lambda to: to.write(frame), "other": lambda to: to.write_encoded(encode(frame))}.items():
        with open_writer(tmp_path / f"{name}{ending}", crs=32633, multi=multi) as writer:
            write(writer)
            assert writer.rows == 5
    one, other = (read_vectors(tmp_path / f"{name}{ending}") for name in ("one", "other"))
    assert one.to_wkb().equals(other.to_wkb())
    assert one.crs == other.crs


def test_encoded_batches_with_other_columns_are_refused(tmp_path):
    frame = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=32633)
    with open_writer(tmp_path / "out.parquet", crs=32633) as writer:
        writer.write_encoded(encode(frame))
        with pytest.raises(OutputError, match="has the columns other; the first had id"):
            writer.write_encoded(encode(frame.rename(columns={"id": "other"})))


@pytest.mark.parametrize("ending", ["gpkg", "parquet", "fgb", "geojson", "shp"])
def test_texts_in_several_chunks_are_written(tmp_path, ending):
    """Pandas keeps texts in Arrow's chunks, one for each frame that was joined."""
    part = gpd.GeoDataFrame(
        {"name": pd.array(["a", "b"], "string[pyarrow]")}, geometry=[shapely.box(0, 0, 1, 1)] * 2, crs=32633
    )
    frame = pd.concat([part, part], ignore_index=True)
    assert frame["name"].array.__arrow_array__().num_chunks > 1
    write_vectors(frame, tmp_path / f"v.{ending}")
    assert read_vectors(tmp_path / f"v.{ending}")["name"].tolist() == ["a", "b", "a", "b"]
