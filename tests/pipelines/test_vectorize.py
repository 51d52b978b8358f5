"""`geounet vectorize` writes polygons in any format, and says in a sentence what it cannot do."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from geounet_pipelines.main import cli, main

CLASSES = np.array([[10, 10, 20, 20], [10, 255, 20, 10]], np.uint8)
TABLE = [
    {"value": 10, "name": "water", "color": "#0000ff"},
    {"value": 20, "name": "forest", "color": "#008000"},
]


@pytest.fixture
def raster(tmp_path, write_scene):
    """Water, forest, and one water pixel at forest's corner; names in the file."""
    path = write_scene(tmp_path / "classes.tif", CLASSES, nodata=255)
    import rasterio

    with rasterio.open(path, "r+") as file:
        file.update_tags(CLASSES=json.dumps(TABLE))
    return path


def run(*args):
    return CliRunner().invoke(cli, ["vectorize", *map(str, args)], catch_exceptions=False)


def failing(capsys, *args):
    """The one sentence on standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(["vectorize", *map(str, args)])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_polygons_with_their_attributes(raster, tmp_path):
    result = run(raster, "-o", tmp_path / "new" / "out.parquet", "--tile-size", 1)
    frame = gpd.read_parquet(tmp_path / "new" / "out.parquet")
    assert frame["class_name"].tolist() == ["water", "forest", "water"]
    assert frame["pixels"].tolist() == [3, 3, 1]
    np.testing.assert_allclose(frame["area_ha"], [0.03, 0.03, 0.01], rtol=1e-3)
    np.testing.assert_allclose(frame["perimeter_m"], [80, 80, 40], rtol=1e-3)
    assert result.stdout == ""
    assert result.stderr == f"{tmp_path / 'new' / 'out.parquet'}: 3 polygons, 7 pixels, 0.07 ha\n"


def test_quiet_says_nothing(raster, tmp_path):
    assert run(raster, "-o", tmp_path / "out.gpkg", "-q").output == ""
    assert len(gpd.read_file(tmp_path / "out.gpkg")) == 3


def test_connectivity_minimum_area_and_confidence(raster, tmp_path, write_scene):
    confidence = write_scene(tmp_path / "c.tif", np.full((2, 4), 127, np.uint8), nodata=255, scales=[1 / 254])
    run(raster, "-o", tmp_path / "out.fgb", "--connectivity", 8, "--confidence", confidence, "--min_area", 0.02)
    frame = gpd.read_file(tmp_path / "out.fgb")
    assert sorted(frame["pixels"]) == [3, 3]
    assert frame["confidence"].tolist() == [0.5, 0.5]


def test_statistics_of_other_rasters(raster, tmp_path, write_scene):
    height = write_scene(tmp_path / "height.tif", np.arange(8, dtype=np.int16).reshape(2, 4), nodata=-1)
    slope = write_scene(tmp_path / "slope.tif", np.full((2, 4), 3, np.uint8))
    run(raster, "-o", tmp_path / "out.parquet", "--stats", f"{height}:max,count", "--stats", slope)
    frame = gpd.read_parquet(tmp_path / "out.parquet")
    assert frame[["height_max", "height_count", "slope_mean"]].to_numpy().tolist() == [[4, 3, 3], [6, 3, 3], [7, 1, 3]]


@pytest.mark.parametrize(
    ("told", "columns"),
    [
        ("", ["scene_red_mean", "scene_nir_mean"]),
        (":max,min", ["scene_red_max", "scene_red_min", "scene_nir_max", "scene_nir_min"]),
        (":2", ["scene_nir_mean"]),
        (":nir:sum", ["scene_nir_sum"]),
        (":1:count", ["scene_red_count"]),
    ],
)
def test_statistics_of_bands(raster, tmp_path, write_scene, told, columns):
    """All by default; one by number or by name."""
    values = np.arange(16, dtype=np.int16).reshape(2, 2, 4)
    scene = write_scene(tmp_path / "scene.tif", values, nodata=-1, descriptions=("red", "nir"))
    run(raster, "-o", tmp_path / "out.parquet", "--stats", f"{scene}{told}")
    assert list(gpd.read_parquet(tmp_path / "out.parquet").columns)[8:-1] == columns


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            ":median",
            "'median' is neither a band of {raster} (band_1) nor a statistic (mean, std, min, max, sum, count)",
        ),
        (":mean,median", "no statistics called median; there are mean, std, min, max, sum, count"),
        (":nir:mean", "'nir' is neither a band of {raster} (band_1)"),
    ],
)
def test_a_statistic_or_band_that_is_none(raster, tmp_path, told, sentence):
    result = run(raster, "-o", tmp_path / "out.parquet", "--stats", f"{raster}{told}")
    assert result.exit_code == 2
    assert sentence.format(raster=raster) in " ".join(result.stderr.replace("│", " ").split())


def test_eight_neighbours_join_at_corners(tmp_path, write_scene):
    path = write_scene(tmp_path / "classes.tif", np.array([[1, 2], [2, 1]], np.uint8), nodata=255)
    run(path, "-o", tmp_path / "out.parquet", "--connectivity", 8)
    frame = gpd.read_parquet(tmp_path / "out.parquet")
    assert frame.geom_type.tolist() == ["MultiPolygon", "MultiPolygon"]
    assert frame["class_name"].tolist() == ["class_1", "class_2"]


def test_pixel_coordinates_have_no_hectares(tmp_path, write_scene):
    path = write_scene(tmp_path / "cells.tif", CLASSES, nodata=255, crs=None, transform=None)
    result = run(path, "-o", tmp_path / "out.parquet")
    assert result.stderr == f"{tmp_path / 'out.parquet'}: 3 polygons, 7 pixels\n"
    assert gpd.read_parquet(tmp_path / "out.parquet")["area_ha"].isna().all()


def test_geojson_without_a_place_is_refused_before_any_work(tmp_path, write_scene, capsys):
    path = write_scene(tmp_path / "cells.tif", CLASSES, nodata=255, crs=None, transform=None)
    message = failing(capsys, path, "-o", tmp_path / "out.geojson")
    assert "out.geojson would hold coordinates without a CRS, and GeoJSON is longitude and latitude" in message
    assert not (tmp_path / "out.geojson").exists()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["none.tif", "-o", "out.gpkg"], "none.tif does not exist"),
        (["{raster}", "-o", "out.kml"], "out.kml ends in none of .gpkg"),
        (["{raster}", "-o", "old.gpkg"], "old.gpkg exists; give another name, or --overwrite to replace it"),
        (["{raster}", "-o", "out.gpkg", "--confidence", "none.tif"], "none.tif does not exist"),
        (["{raster}", "-o", "out.gpkg", "--stats", "none.tif"], "none.tif does not exist"),
        (["{raster}", "-o", "old.gpkg/out.gpkg"], "out.gpkg cannot be written: "),
    ],
)
def test_one_sentence_for_what_cannot_be_done(raster, tmp_path, capsys, monkeypatch, args, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.gpkg").write_text("old")
    message = failing(capsys, *(arg.format(raster=raster) for arg in args))
    assert sentence in message
    assert message.startswith("geounet: ")
    assert message.count("\n") == 1
    assert (tmp_path / "old.gpkg").read_text() == "old"
    assert not (tmp_path / "out.gpkg").exists()


def test_overwrite_replaces(raster, tmp_path):
    (tmp_path / "out.geojson").write_text("old")
    run(raster, "-o", tmp_path / "out.geojson", "--overwrite")
    assert len(gpd.read_file(tmp_path / "out.geojson")) == 3


def test_help_states_units_and_defaults():
    text = " ".join(run("--help").stdout.split())
    assert "Leave out polygons of fewer hectares. [default: 0.0" in text
    assert "[default: 4]" in text


def staircase(tmp_path, write_scene):
    """Two classes along a slope of stairs, and a third within one of them."""
    rows, cols = np.mgrid[:60, :80]
    classes = np.where(rows * 4 > cols * 3, 10, 20).astype(np.uint8)
    classes[10:17, 50:60] = 30
    return write_scene(tmp_path / "stairs.tif", classes, nodata=255)


@pytest.mark.parametrize("options", [["--simplify", 15], ["--smooth"], ["--smooth", "--simplify", 8]])
def test_simpler_outlines_still_share_their_edges(tmp_path, write_scene, options):
    """Fewer vertices or no stairs, no gap, no overlap, no polygon lost, the same whatever the tile size."""
    raster = staircase(tmp_path, write_scene)
    run(raster, "-o", tmp_path / "plain.parquet")
    run(raster, "-o", tmp_path / "one.parquet", *options)
    run(raster, "-o", tmp_path / "many.parquet", *options, "--tile-size", 7)
    plain, one, many = (gpd.read_parquet(tmp_path / f"{name}.parquet") for name in ("plain", "one", "many"))
    assert one.geometry.to_wkb().tolist() == many.geometry.to_wkb().tolist()
    assert one["class"].tolist() == plain["class"].tolist()
    assert shapely.coverage_is_valid(one.geometry.to_numpy())
    assert one.union_all().symmetric_difference(plain.union_all()).area == pytest.approx(0, abs=1e-6)
    assert not one.geometry.geom_equals(plain.geometry).all()
    if "--simplify" in options:
        assert shapely.get_num_coordinates(one.geometry).sum() < shapely.get_num_coordinates(plain.geometry).sum()


def test_a_fiboa_collection_of_the_field_classes(raster, tmp_path):
    """Square metres, text ids, and only what the user calls a field."""
    run(
        raster,
        "-o",
        tmp_path / "out.parquet",
        "--fiboa",
        "valley",
        "--field-class",
        "forest",
        "--observed",
        "2024-07-31",
    )
    frame = gpd.read_parquet(tmp_path / "out.parquet")
    assert len(frame) == 1
    assert frame["metrics:area"][0] == pytest.approx(300, rel=1e-3)
    assert frame["id"][0] == "2"


def test_field_classes_without_fiboa_are_wrong_usage(raster, tmp_path):
    """They would be ignored in silence."""
    result = run(raster, "-o", tmp_path / "out.parquet", "--field-class", "forest")
    assert result.exit_code == 2
    assert "--fiboa" in result.output


@pytest.fixture
def fields(tmp_path, write_scene):
    """Two fields (1) and a line of boundary (2) between them, broken in the middle; and the boundary's probability."""
    classes = np.ones((60, 81), np.uint8)
    classes[:, 40] = 2
    classes[28:32, 40] = 1
    path = write_scene(tmp_path / "fields.tif", classes, nodata=255)
    import rasterio

    table = [{"value": 1, "name": "field", "color": "#00ff00"}, {"value": 2, "name": "edge", "color": "#000000"}]
    with rasterio.open(path, "r+") as file:
        file.update_tags(CLASSES=json.dumps(table))
    chance = np.zeros((2, 60, 81), np.uint8)
    chance[1, :, 40] = 254
    write_scene(tmp_path / "chance.tif", chance, nodata=255)
    return path


@pytest.mark.parametrize(
    "how", [["--boundary-class", "edge"], ["--boundary-class", 2, "--boundary", "{folder}/chance.tif:2"]]
)
def test_touching_fields_are_told_apart(fields, tmp_path, how):
    """One polygon a field, the boundary handed out, the same whatever the tile size."""
    how = [str(word).format(folder=tmp_path) for word in how]
    run(fields, "-o", tmp_path / "plain.parquet")
    assert gpd.read_parquet(tmp_path / "plain.parquet")["class"].tolist().count(1) == 1
    for name, tile in (("one", 1024), ("many", 17)):
        run(fields, "-o", tmp_path / f"{name}.parquet", "--split-touching", *how, "--tile-size", tile)
    one, many = (gpd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "many"))
    assert one["class"].tolist() == [1, 1]
    assert one["pixels"].sum() == 60 * 81
    assert one["pixels"].min() > 60 * 38
    assert one.geometry.to_wkb().tolist() == many.geometry.to_wkb().tolist()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--split-touching"], "--boundary-class"),
        (["--boundary-class", "edge"], "--split-touching"),
        (["--split-touching", "--boundary-class", "edge", "--connectivity", 8], "--connectivity"),
        (["--split-touching", "--boundary", "{folder}/chance.tif:hedge"], "'hedge' is not a band of"),
    ],
)
def test_splitting_needs_to_know_by_what(fields, tmp_path, options, word):
    """Wrong usage, in one sentence."""
    result = run(fields, "-o", tmp_path / "out.parquet", *(str(item).format(folder=tmp_path) for item in options))
    assert result.exit_code == 2
    assert word in result.output


def test_polygons_carry_the_raster_s_colours(raster, tmp_path):
    run(raster, "-o", tmp_path / "out.gpkg")
    style = (tmp_path / "out.qml").read_text(encoding="utf-8")
    assert "water" in style
    assert "forest" in style
