"""`geounet evaluate` prints what was measured, as a table or as JSON, and says in a sentence what it cannot do."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from geounet_pipelines.main import cli, main
from shapely.geometry import Point, box

TABLE = [
    {"value": 10, "name": "water", "color": "#0000ff"},
    {"value": 20, "name": "forest", "color": "#008000"},
    {"value": 30, "name": "ice", "color": "#ffffff"},
]


def write(path, codes, left=480_000, tags=None):
    codes = np.asarray(codes, np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=codes.shape[0], width=codes.shape[1], dtype="uint8",
        crs="EPSG:32633", transform=Affine(10, 0, left, 0, -10, 5_430_000), nodata=255,
    ) as file:  # fmt: skip
        file.write(codes, 1)
        file.update_tags(**(tags or {}))
    return path


@pytest.fixture
def predicted(tmp_path):
    """Water left, forest right, with the class names in the file."""
    return write(tmp_path / "p.tif", [[10, 10, 20, 20], [10, 10, 20, 255]], tags={"CLASSES": json.dumps(TABLE)})


@pytest.fixture
def reference(tmp_path):
    """One water pixel less, one pixel without a label."""
    return write(tmp_path / "r.tif", [[10, 20, 20, 20], [10, 255, 20, 20]])


def run(*args):
    return CliRunner().invoke(cli, ["evaluate", *map(str, args)], catch_exceptions=False)


def failing(capsys, *args):
    """The one sentence on standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *map(str, args)])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (1, "")
    assert told.err.count("\n") == 1
    return told.err


def test_the_table_names_the_classes_and_their_scores(predicted, reference):
    result = run(predicted, reference)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == [
        "class",
        "value",
        "support",
        "predicted",
        "IoU",
        "precision",
        "recall",
        "F1",
        "boundary",
    ]
    assert lines[1].split() == ["water", "10", "2", "3", "0.667", "0.667", "1.000", "0.800", "0.667"]
    assert lines[2].split() == ["forest", "20", "4", "3", "0.750", "1.000", "0.750", "0.857", "0.500"]
    assert lines[3].split() == ["ice", "30", "0", "0", "-", "-", "-", "-", "-"]
    assert lines[-1] == "accuracy 0.833, mean IoU 0.708, kappa 0.667, 6 pixels"
    assert result.stderr == ""


def test_columns_stand_below_each_other(predicted, reference):
    lines = run(predicted, reference).stdout.splitlines()[:4]
    assert len({len(line) for line in lines}) == 1


def test_json_on_standard_output_is_nothing_but_json(predicted, reference):
    told = json.loads(run(predicted, reference, "--json", "-").stdout)
    assert told["matrix"] == [[2, 0, 0], [1, 3, 0], [0, 0, 0]]
    assert [row["name"] for row in told["classes"]] == ["water", "forest", "ice"]
    assert told["classes"][0]["iou"] == pytest.approx(2 / 3)
    assert told["classes"][2]["iou"] is None
    assert (told["prediction"], told["reference"]) == (str(predicted), str(reference))


def test_a_json_file_comes_with_the_table_and_replaces_only_when_told(predicted, reference, tmp_path, capsys):
    path = tmp_path / "new" / "scores.json"
    result = run(predicted, reference, "--json", path)
    assert "mean IoU 0.708" in result.stdout
    assert json.loads(path.read_text())["pixels"] == 6
    path.write_text("old")
    assert "exists" in failing(capsys, predicted, reference, "--json", path)
    assert path.read_text() == "old"
    run(predicted, reference, "--json", path, "--overwrite")
    assert json.loads(path.read_text())["pixels"] == 6


def test_without_a_boundary_the_table_has_no_column_of_it(predicted, reference):
    assert "boundary" not in run(predicted, reference, "--boundary", 0).stdout


def test_each_measure_that_is_asked_for_has_its_table(predicted, tmp_path):
    reference = write(tmp_path / "r.tif", [[10, 20, 20, 20], [10, 20, 20, 20]])
    result = run(predicted, reference, "--objects", "--class", "water", "--areas", "--seams", 2)
    blocks = [block.splitlines() for block in result.stdout.split("\n\n")]
    assert blocks[0][0].split()[:4] == ["area", "mapped", "ha", "adjusted"]
    assert blocks[0][1].split()[:2] == ["water", "0.0"]
    assert blocks[1][0].startswith("accuracy by area 0.")
    assert blocks[2][0].split()[:3] == ["objects", "predicted", "reference"]
    assert blocks[2][1].split()[:6] == ["water", "1", "1", "1.000", "1.000", "1.000"]
    assert len(blocks[2]) == 3
    assert blocks[3][0].startswith("seams of tiles of 2 px: 100.0000% of the neighbours differ across borders, 0.0000%")
    assert all(len({len(line) for line in block}) == 1 for block in (blocks[0], blocks[2], blocks[4]))
    assert result.stdout.endswith("7 pixels\n")


def test_objects_of_some_classes_need_objects(predicted, reference):
    result = run(predicted, reference, "--class", "water")
    assert result.exit_code == 2
    assert "--class says something of --objects: give that too" in result.stderr


def test_the_page_is_written_with_the_table_and_replaces_only_when_told(predicted, reference, tmp_path, capsys):
    path = tmp_path / "new" / "page.html"
    assert "mean IoU 0.708" in run(predicted, reference, "--html", path).stdout
    text = path.read_text()
    assert text.count("<img") == 3
    assert str(predicted) in text
    assert "exists" in failing(capsys, predicted, reference, "--html", path)


def test_points_are_a_sample(predicted, tmp_path):
    path = tmp_path / "r.geojson"
    shapes = [Point(480_005 + 10 * col, 5_429_995 - 10 * row) for row, col in ((0, 0), (1, 1), (0, 2), (0, 3), (1, 3))]
    frame = geopandas.GeoDataFrame({"use": ["water", "forest", "forest", "forest", "water"]}, geometry=shapes)
    frame.set_crs("EPSG:32633").to_crs(4326).to_file(path)
    result = run(predicted, path, "--field", "use", "--json", "-")
    told = json.loads(result.stdout)
    assert (told["unit"], told["pixels"], told["boundary"]) == ("points", 4, None)
    assert told["matrix"] == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert told["areas"]["accuracy"]["value"] == pytest.approx((4 * 0.5 + 3) / 7, abs=1e-4)
    assert told["notes"] == ["1 points were left out: beside the map, on its nodata, or in no class of the table"]


def test_two_polygon_files_need_a_resolution(tmp_path, capsys):
    path = tmp_path / "r.gpkg"
    geopandas.GeoDataFrame({"class": [3]}, geometry=[box(0, 0, 40, 20)], crs="EPSG:32633").to_file(path)
    assert "--resolution" in failing(capsys, path, path)
    assert "accuracy 1.000, mean IoU 1.000, kappa -, 8 pixels" in run(path, path, "--resolution", 10).stdout
    assert "seams between tiles are looked for in a class raster" in failing(capsys, path, path, "--seams", 8)


def test_polygons_are_a_reference_too(predicted, tmp_path):
    path = tmp_path / "r.gpkg"
    shapes = [box(480_000, 5_429_980, 480_020, 5_430_000), box(480_020, 5_429_980, 480_040, 5_430_000)]
    geopandas.GeoDataFrame({"use": ["water", "forest"]}, geometry=shapes, crs="EPSG:32633").to_crs(4326).to_file(path)
    assert "accuracy 1.000, mean IoU 1.000, kappa 1.000, 7 pixels" in run(predicted, path, "--field", "use").stdout
    assert "accuracy 1.000, mean IoU 1.000, kappa 1.000, 7 pixels" in run(path, predicted, "--field", "use").stdout


def test_names_come_from_a_class_table_or_from_the_reference(reference, predicted, tmp_path):
    classes = tmp_path / "classes.csv"
    classes.write_text("value,name\n20,wood\n10,lake\n")
    lines = run(reference, predicted, "--classes", classes).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["wood", "lake"]
    lines = run(reference, predicted).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["water", "forest"]


def test_what_cannot_be_compared_is_said_in_one_sentence(predicted, tmp_path, capsys):
    away = write(tmp_path / "away.tif", [[10, 10]], left=990_000)
    sentence = failing(capsys, predicted, away)
    assert "990000, 5429990, 990020, 5430000" in sentence
    assert "480000, 5429980, 480040, 5430000" in sentence
    assert "none.tif does not exist" in failing(capsys, predicted, tmp_path / "none.tif")
    assert "none.gpkg does not exist" in failing(capsys, predicted, tmp_path / "none.gpkg")
    (tmp_path / "text.tif").write_text("no raster")
    assert "text.tif is not a raster" in failing(capsys, tmp_path / "text.tif", predicted)


def test_a_missing_argument_is_wrong_usage(predicted):
    result = run(predicted)
    assert result.exit_code == 2
    assert "REFERENCE" in result.stderr
