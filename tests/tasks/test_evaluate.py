"""All measures of one call: samples of points, objects of rasters and polygons, on whatever ground they share."""

import json

import geopandas
import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Point, box

from geounet.classes import LandClass
from geounet.errors import LabelError
from geounet.metrics import evaluation
from geounet.metrics.assessment import Asked
from geounet.metrics.sides import Reading
from geounet.tasks.evaluate import evaluate

WATER, LAND, ICE = LandClass(1, "water", "#0000ff"), LandClass(2, "land", "#00ff00"), LandClass(3, "ice", "#ffffff")
READING = Reading((WATER, LAND, ICE))
LEFT, TOP = 480_000, 5_430_000


def to_points(path, rows, cols, codes, column="class", crs="EPSG:32633"):
    """In the middle of pixels of 10 m."""
    shapes = [Point(LEFT + 10 * col + 5, TOP - 10 * row - 5) for row, col in zip(rows, cols, strict=True)]
    frame = geopandas.GeoDataFrame({column: codes}, geometry=shapes, crs="EPSG:32633")
    frame.to_crs(crs).to_file(path)
    return path


@pytest.fixture
def blobs(tmp_path, write_scene):
    """Water with four islands, and a corner without data."""
    classes = np.ones((40, 50), np.uint8)
    for row, col in ((5, 5), (5, 25), (20, 10), (25, 35)):
        classes[row : row + 8, col : col + 9] = 2
    classes[34:, 44:] = 255
    return write_scene(tmp_path / "p.tif", classes, nodata=255), classes


@pytest.mark.parametrize("window", [7, 2048])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_points_are_read_from_the_map_and_weighted_by_its_areas(tmp_path, monkeypatch, blobs, window, crs):
    monkeypatch.setattr(evaluation, "_WINDOW", window)
    path, classes = blobs
    rng = np.random.default_rng(4)
    rows, cols = rng.integers(0, 40, 200), rng.integers(0, 50, 200)
    codes = np.where(rng.random(200) < 0.8, classes[rows, cols], rng.integers(1, 3, 200))
    codes[codes == 255] = 1
    found = evaluate(path, to_points(tmp_path / "r.gpkg", rows, cols, codes, crs=crs), reading=READING)
    mapped = classes[rows, cols]
    wanted = np.array([[((codes == ref) & (mapped == own)).sum() for own in (1, 2, 3)] for ref in (1, 2, 3)])
    assert (found.evaluation.matrix == wanted).all()
    assert (found.unit, found.areas.unit) == ("points", "ha")
    # On the ellipsoid a pixel of 10 m in UTM is a hundredth of a hectare times the scale, squared.
    assert found.areas.mapped == pytest.approx([(classes == at).sum() * 0.01 for at in (1, 2, 3)], rel=1e-3)
    left_out = int((mapped == 255).sum())
    assert [note for note in found.notes if note.startswith(f"{left_out} points were left out")]
    assert found.boundary is None


def test_strata_of_another_raster_weigh_the_sample(tmp_path, write_scene, blobs):
    path, classes = blobs
    strata = np.where(np.arange(50) < 20, 7, 9)[None].repeat(40, 0).astype(np.uint8)
    other = write_scene(tmp_path / "s.tif", strata.repeat(2, 0).repeat(2, 1), transform=Affine(5, 0, LEFT, 0, -5, TOP))
    rng = np.random.default_rng(4)
    rows, cols = rng.integers(0, 34, 90), np.r_[rng.integers(0, 20, 80), rng.integers(20, 44, 10)]
    points = to_points(tmp_path / "r.gpkg", rows, cols, classes[rows, cols])
    found = evaluate(path, points, Asked(strata=other), reading=READING).areas
    west = (classes[rows, cols] == 2)[:80].mean() * (strata[classes != 255] == 7).sum()
    east = (classes[rows, cols] == 2)[80:].mean() * (strata[classes != 255] == 9).sum()
    assert found.area.value[1] == pytest.approx((west + east) * 0.01, rel=1e-3)
    assert found.accuracy.value == pytest.approx([1])


def test_areas_without_a_crs_are_in_pixels(tmp_path, write_scene):
    classes = np.array([[1, 1, 1, 2], [1, 1, 2, 2]], np.uint8)
    sides = [write_scene(tmp_path / f"{name}.tif", classes, crs=None, transform=None) for name in "pr"]
    found = evaluate(*sides, Asked(areas=True), reading=READING)
    assert (found.areas.unit, found.areas.mapped.tolist()) == ("px", [5, 3, 0])
    assert [note for note in found.notes if "narrower than they should be" in note]


def test_areas_in_degrees_shrink_with_the_latitude(tmp_path, write_scene):
    classes = np.repeat([1, 2], 100).astype(np.uint8)[:, None].repeat(4, 1)
    path = write_scene(tmp_path / "p.tif", classes, crs="EPSG:4326", transform=Affine(0.1, 0, 0, 0, -0.1, 70))
    north, south, _ = evaluate(path, path, Asked(areas=True), reading=READING).areas.mapped

    def zone(low, high):
        crs = geopandas.GeoSeries([box(0, low, 0.4, high)], crs=4326).segmentize(0.01).to_crs("EPSG:6933")
        return crs.area.item() / 1e4

    assert (north, south) == pytest.approx((zone(60, 70), zone(50, 60)), rel=1e-4)


def test_no_point_on_the_map_is_refused(tmp_path, blobs):
    path, _ = blobs
    with pytest.raises(LabelError, match=r"no point of .*r\.gpkg lies where"):
        evaluate(path, to_points(tmp_path / "r.gpkg", [36], [46], [1]), reading=READING)


def test_objects_of_a_raster_equal_those_of_its_polygons(tmp_path, write_scene, blobs):
    path, classes = blobs
    moved = np.where(classes == 255, 255, np.roll(classes, 1, 0)).astype(np.uint8)
    reference = write_scene(tmp_path / "r.tif", moved, nodata=255)
    found = evaluate(path, reference, Asked(objects=True), reading=READING).objects
    assert [item.name for item in found.classes] == ["water", "land", "ice"]
    # Islands of 8 x 9 pixels, moved by one.
    assert found.scores[1].matched.tolist() == [4] * 6 + [0] * 4
    assert found.scores[1].over_segmentation == pytest.approx([1 / 8, 1 / 8])
    assert (found.overall.predicted, found.overall.reference) == (5, 5)
    assert "EPSG:32633" in found.plane


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_predicted_objects_where_the_reference_does_not_reach_are_left_out(tmp_path, blobs, crs):
    path, _ = blobs
    islands = [box(LEFT + 10 * c, TOP - 10 * (r + 8), LEFT + 10 * (c + 9), TOP - 10 * r) for r, c in ((5, 5), (20, 10))]
    file = tmp_path / "r.gpkg"
    geopandas.GeoDataFrame({"class": [2, 2]}, geometry=islands, crs="EPSG:32633").to_crs(crs).to_file(file)
    found = evaluate(path, file, Asked(objects=True, object_classes=("land",)), reading=READING)
    assert (found.objects.overall.predicted, found.objects.overall.reference) == (2, 2)
    assert found.objects.overall.matched[-1] == 2
    assert found.objects.left_out == (2, 0)
    assert [note for note in found.notes if note.startswith("2 predicted and 0 reference objects")]


def test_reference_objects_on_the_predictions_nodata_are_left_out(tmp_path, write_scene, blobs):
    path, classes = blobs
    both = classes.copy()
    both[36:39, 46:49], both[classes == 255] = 2, 2
    found = evaluate(path, write_scene(tmp_path / "r.tif", both), Asked(objects=True, object_classes=("2",)))
    assert found.objects.left_out == (0, 1)
    assert found.objects.overall.recall[-1] == 1


def test_objects_in_degrees_are_measured_on_an_equal_area_plane(tmp_path, write_scene):
    classes = np.ones((20, 4), np.uint8)
    classes[2:4, 1:3], classes[15:17, 1:3] = 2, 2
    path = write_scene(tmp_path / "p.tif", classes, crs="EPSG:4326", transform=Affine(1, 0, 0, 0, -1, 70))
    found = evaluate(path, path, Asked(objects=True, object_classes=("2",))).objects
    assert "equal-area" in found.plane
    wanted = geopandas.GeoSeries([box(1, 66, 3, 68), box(1, 53, 3, 55)], crs=4326).to_crs("EPSG:6933").area.sum()
    assert found.overall.reference_area == pytest.approx(wanted)


def test_a_class_that_nobody_has_is_refused_with_the_classes_there_are(blobs):
    with pytest.raises(LabelError, match=r"no class lava; the classes are 1 \(water\), 2 \(land\), 3 \(ice\)"):
        evaluate(blobs[0], blobs[0], Asked(objects=True, object_classes=("water", "lava")), reading=READING)


def test_json_holds_every_part_and_no_nan(blobs):
    asked = Asked(objects=True, areas=True, seams=8)
    told = json.loads(json.dumps(evaluate(blobs[0], blobs[0], asked, reading=READING).to_dict(), allow_nan=False))
    assert set(told) == {
        "prediction", "reference", "unit", "pixels", "accuracy", "mean_iou", "kappa", "classes", "matrix", "boundary",
        "areas", "objects", "seams", "notes", "command", "versions",
    }  # fmt: skip
    assert told["boundary"]["classes"][2] == {
        "value": 3, "name": "ice", "support": 0, "predicted": 0, "agreed": 0, "iou": None, "f1": None,
    }  # fmt: skip
    assert told["objects"]["classes"][2]["by_count"]["f1_at_50"] is None
    assert told["seams"]["tile_size_px"] == 8


def test_the_picture_holds_every_so_many_pixels(monkeypatch, tmp_path, write_scene, blobs):
    path, classes = blobs
    other = np.where(np.arange(50) < 30, classes, 255).astype(np.uint8)
    reference = write_scene(tmp_path / "r.tif", other, nodata=255)
    for window in (7, 2048):
        monkeypatch.setattr(evaluation, "_WINDOW", window)
        picture = evaluate(path, reference, Asked(picture=20)).picture
        assert picture.step == 3
        assert (picture.predicted == classes[::3, ::3]).all()
        assert (picture.reference == other[::3, ::3]).all()
