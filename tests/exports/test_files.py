"""Products, maps and polygons into polygon files and GeoPackages: all features, attributes, classes and places."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from geopandas.testing import assert_geodataframe_equal
from made import NORTH_UP, blobs, levels, make_product

from geounet.errors import LabelError, OutputError
from geounet.formats import reading
from geounet.raster.cog import classes_of
from geounet.raster.styles import legend_of
from geounet.tasks.export import export
from geounet.tasks.vectorize import polygon_frame, vectorize

ENDINGS = ("parquet", "gpkg", "fgb", "geojson", "shp")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Three products, one of them in another UTM zone."""
    folder = tmp_path_factory.mktemp("batch")
    for number, crs in enumerate(["EPSG:32633", "EPSG:32633", "EPSG:32634"]):
        codes = blobs(40 + number, 63, seed=number)
        make_product(folder / f"p{number}", codes, levels(codes), crs=crs,
                     transform=NORTH_UP * rasterio.Affine.translation(100 * number, 0))  # fmt: skip
    return folder


@pytest.fixture
def few(monkeypatch):
    """Batches of seven features."""
    monkeypatch.setattr(reading.read_batches, "__defaults__", (None, 7))


def read(path):
    return gpd.read_parquet(path) if path.suffix == ".parquet" else gpd.read_file(path)


def in_order(frame):
    keys = [name for name in ("product", "id") if name in frame]
    return frame.sort_values(keys).reset_index(drop=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_product_in_many_batches_is_the_product(batch, tmp_path, few, ending):
    made = export(batch / "p0", tmp_path / f"out.{ending}")
    found, expected = in_order(read(tmp_path / f"out.{ending}")), read(batch / "p0/polygons.parquet")
    assert made.polygons == len(found) == len(expected) > 30
    expected = expected.to_crs(4326) if ending == "geojson" else expected
    shapes = shapely.normalize(found.geometry.to_numpy()), shapely.normalize(expected.geometry.to_numpy())
    parts = [shapely.get_parts(each) for each in shapes]
    assert shapely.equals_exact(*parts, tolerance=2e-7 if ending == "geojson" else 1e-9).all()
    for name in ("id", "class", "class_name", "area_ha"):
        short = name[:10]
        assert found[short].tolist() == pytest.approx(expected[name].tolist()) if name == "area_ha" else (
            found[short].tolist() == expected[name].tolist()
        )  # fmt: skip
    assert legend_of(tmp_path / "out.qml") == classes_of(batch / "p0/classes.tif")


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "fgb"])
def test_several_products_become_one_file_that_says_whose_each_polygon_is(batch, tmp_path, few, ending):
    out = tmp_path / f"out.{ending}"
    with pytest.raises(OutputError, match="several CRSs"):
        export(batch, out)
    assert not out.exists()
    made = export([batch], out, crs="EPSG:3035")
    found = in_order(read(out))
    parts = [read(batch / f"p{number}/polygons.parquet").to_crs(3035) for number in range(3)]
    assert found["product"].tolist() == [f"p{number}" for number in range(3) for _ in range(len(parts[number]))]
    assert made.moved == ("p0", "p1", "p2")
    assert found.crs.to_epsg() == 3035
    for number, part in enumerate(parts):
        mine = found[found["product"] == f"p{number}"].reset_index(drop=True)
        pairs = zip(mine.geometry, part.geometry, strict=True)
        assert all(one.normalize().equals_exact(other.normalize(), 1e-6) or one.equals(other) for one, other in pairs)


def test_several_zones_as_geojson_are_on_the_globe(batch, tmp_path, few):
    export(batch, tmp_path / "out.geojson")
    found = gpd.read_file(tmp_path / "out.geojson")
    assert set(found["product"]) == {"p0", "p1", "p2"}
    east = found[found["product"] == "p2"].total_bounds[0]
    assert 20 < east < 22, "zone 34 lies around 21 degrees"
    coordinates = json.loads((tmp_path / "out.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    digits = [str(number).partition(".")[2] for number in np.ravel(coordinates).tolist()]
    assert max(map(len, digits)) == 7


@pytest.mark.parametrize("ending", ENDINGS)
def test_polygons_of_any_format_are_read_in_batches(batch, tmp_path, few, ending):
    export(batch / "p1", tmp_path / f"in.{ending}")
    export(tmp_path / f"in.{ending}", tmp_path / "out.parquet")
    found, expected = gpd.read_parquet(tmp_path / "out.parquet"), read(tmp_path / f"in.{ending}")
    # A format without types cannot say what nothing is of.
    found, expected = (frame.dropna(axis=1, how="all") for frame in (found, expected))
    assert_geodataframe_equal(
        in_order(found), in_order(expected), check_dtype=False, check_like=True, check_geom_type=False,
        check_less_precise=True, normalize=True, check_crs=ending != "geojson",
    )  # fmt: skip


def test_a_map_is_traced(batch, tmp_path):
    export(batch / "p1/classes.tif", tmp_path / "out.gpkg")
    found, expected = gpd.read_file(tmp_path / "out.gpkg"), polygon_frame(batch / "p1/classes.tif")
    assert found["pixels"].tolist() == expected["pixels"].tolist()
    assert found["class_name"].tolist() == expected["class_name"].tolist()


def test_a_geopackage_holds_rasters_beside_polygons(batch, tmp_path):
    """On their own grid: values, nodata, palette; GDAL lists both, and each is read."""
    out = tmp_path / "out.gpkg"
    made = export(batch / "p0", out, layers=["polygons", "classes", "confidence"])
    assert made.layers == ("polygons", "classes", "confidence")
    assert pyogrio.list_layers(out)[:, 0].tolist() == ["out"]
    for table, source in (("classes", "classes"), ("confidence", "confidence")):
        with (
            rasterio.open(f"GPKG:{out}:{table}", BAND_COUNT=1) as copy,
            rasterio.open(batch / f"p0/{source}.tif") as own,
        ):
            np.testing.assert_array_equal(copy.read(1), own.read(1))
            assert (copy.transform, copy.crs.to_epsg(), copy.nodata) == (own.transform, own.crs.to_epsg(), own.nodata)
            if table == "classes":
                wanted = {item.value: (*item.rgb, 255) for item in classes_of(own.name)}
                assert {value: copy.colormap(1)[value] for value in wanted} == wanted
    both = tmp_path / "two.gpkg"
    export([batch / "p0", batch / "p1"], both, layers=["classes"])
    with rasterio.open(f"GPKG:{both}:p1_classes") as copy, rasterio.open(batch / "p1/classes.tif") as own:
        np.testing.assert_array_equal(copy.read(1), own.read(1))


def test_features_without_a_shape_are_counted(batch, tmp_path, few):
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    frame.loc[[3, 9, 10], "geometry"] = None
    frame.to_parquet(tmp_path / "in.parquet")
    made = export(tmp_path / "in.parquet", tmp_path / "out.fgb")
    assert (made.polygons, made.empty) == (len(frame) - 3, 3)
    assert len(gpd.read_file(tmp_path / "out.fgb")) == len(frame) - 3


def test_attributes_with_gaps_keep_their_types(batch, tmp_path, few):
    """Whole numbers of which the first seven are missing are whole numbers."""
    frame = gpd.read_parquet(batch / "p0/polygons.parquet").assign(owner=None, code=None, word=None)
    frame["owner"] = frame["owner"].astype("Int64")
    frame.loc[20:, "owner"] = 7
    frame.loc[20:, "word"] = 'ä, "b"'
    frame.drop(columns="code").to_parquet(tmp_path / "in.parquet")
    export(tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = gpd.read_parquet(tmp_path / "out.parquet")
    assert found["owner"].isna().sum() == 20
    assert found["owner"].dropna().unique().tolist() == [7]
    assert found["word"].dropna().unique().tolist() == ['ä, "b"']


def test_no_polygon_at_all_is_a_file_with_columns(tmp_path):
    codes = np.full((9, 12), 255, np.uint8)
    make_product(tmp_path / "p", codes)
    for ending in ENDINGS:
        assert export(tmp_path / "p", tmp_path / f"out.{ending}").polygons == 0
    assert "class_name" in gpd.read_parquet(tmp_path / "out.parquet").columns


def test_what_is_refused(batch, tmp_path, write_scene):
    """Each with what to do instead, and nothing is written."""
    plain = write_scene(tmp_path / "plain.tif", blobs(20, 30), nodata=255, crs=None)
    points = tmp_path / "points.gpkg"
    gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 2)], crs=32633).to_file(points)
    for sources, target, words, options in [
        (plain, "o.geojson", "longitude and latitude", {}),
        (batch / "p0", "o.tif", "ends in none of", {}),
        (batch / "p0", "o.parquet", "leave it out", {"layers": ["classes"]}),
        (batch / "p0", "o.parquet", "no CRS", {"crs": "EPSG:12"}),
        (batch / "p0", "o.gpkg", "a table in a database", {"mode": "append"}),
        (batch / "p0", "o.gpkg", "zoom levels", {"max_zoom": 3}),
        (batch / "p0/polygons.parquet", "o.gpkg", "no raster of classes", {"layers": ["classes"]}),
        (tmp_path, "o.gpkg", "holds no product", {}),
        (tmp_path / "none.tif", "o.gpkg", "does not exist", {}),
        (points, "o.gpkg", "Points, and polygons are needed", {}),
        ([batch / "p0", batch / "p1" / "polygons.parquet", batch / "p0/polygons.parquet"], "o.gpkg", "several", {}),
    ]:  # fmt: skip
        with pytest.raises((OutputError, LabelError), match=words):
            export(sources, tmp_path / target, **options)
        assert not (tmp_path / target).exists()
    export(batch / "p0", tmp_path / "o.gpkg")
    with pytest.raises(OutputError, match="exists"):
        export(batch / "p1", tmp_path / "o.gpkg")
    export(batch / "p1", tmp_path / "o.gpkg", overwrite=True)
    assert len(gpd.read_file(tmp_path / "o.gpkg")) == len(gpd.read_parquet(batch / "p1/polygons.parquet"))


def test_classes_that_contradict_one_another_are_refused(batch, tmp_path):
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    frame["class_name"] = "something else"
    frame.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(LabelError, match="one class table"):
        export([batch / "p0", tmp_path / "other.parquet"], tmp_path / "o.gpkg")


def test_polygons_of_a_plane_of_pixels_stay_there(tmp_path, write_scene):
    plain = write_scene(tmp_path / "plain.tif", blobs(20, 30), nodata=255, crs=None, transform=None)
    vectorize(plain, tmp_path / "in.gpkg")
    export(tmp_path / "in.gpkg", tmp_path / "out.parquet")
    found = gpd.read_parquet(tmp_path / "out.parquet")
    assert found.crs is None
    assert found.total_bounds.tolist()[2:] <= [30, 20]


def test_a_project_that_was_cut_off_is_gone_on_with(batch, tmp_path, monkeypatch):
    """After copies of polygons stand and before the project does: the same command ends well."""
    with monkeypatch.context() as patch:
        patch.setattr("geounet.tasks.export.write_project", lambda *_given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(batch, tmp_path / "m.qgz")
    assert (tmp_path / "m_p0.gpkg").exists()
    assert not (tmp_path / "m.qgz").exists()
    export(batch, tmp_path / "m.qgz")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    with pytest.raises(OutputError, match="exists"):
        export(batch, tmp_path / "m.qgz")
