"""What is written reads back, in every format; nothing is left half-written."""

from __future__ import annotations

import json
import logging

import geopandas as gpd
import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import shapely

from geounet.errors import LabelError, OutputError
from geounet.vector_io import check_format, read_vectors, write_vectors

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
    tolerance = 1e-3 if "json" in ending else 0
    assert found.crs.to_epsg() == (4326 if "json" in ending else 32633)
    moved = shapely.hausdorff_distance(found.to_crs(frame.crs).geometry.to_numpy(), frame.geometry.to_numpy())
    assert (moved <= tolerance).all()
    assert [len(shape.interiors) for shape in found.geometry[:1].explode()] == [1]


@pytest.mark.parametrize("ending", ENDINGS)
def test_pixel_coordinates_are_kept_without_a_crs(tmp_path, ending):
    path, frame = tmp_path / f"out{ending}", polygons(crs=None)
    write_vectors(frame, path)
    found = read_vectors(path).sort_values("id")
    np.testing.assert_array_equal(found.total_bounds, frame.total_bounds)
    # A GeoJSON file cannot say that it has no CRS.
    assert found.crs is None or "json" in ending


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
def test_a_failed_write_leaves_nothing(tmp_path, ending, monkeypatch):
    def fail(*_args, **_keywords):
        raise pyogrio.errors.DataSourceError("the disk\nis full")

    monkeypatch.setattr(pyogrio, "write_dataframe", fail)
    monkeypatch.setattr(gpd.GeoDataFrame, "to_parquet", fail)
    with pytest.raises(OutputError, match=r"out\.[a-z]+ cannot be written: the disk is full"):
        write_vectors(polygons(), tmp_path / f"out{ending}")
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
    """Longitude and latitude, exteriors counter-clockwise, no `crs` member, and decimals enough for millimetres."""
    path = tmp_path / "out.geojson"
    write_vectors(polygons(), path)
    content = json.loads(path.read_text())
    assert "crs" not in content
    rings = [shapely.LinearRing(ring) for ring in content["features"][0]["geometry"]["coordinates"]]
    assert [shapely.is_ccw(ring) for ring in rings] == [True, False]
    longitude, latitude = content["features"][0]["geometry"]["coordinates"][0][0]
    assert (longitude, latitude) == pytest.approx((15.0, 45.15), abs=0.01)
    assert any(len(repr(x).split(".")[1]) > 7 for ring in rings for point in ring.coords for x in point)
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
