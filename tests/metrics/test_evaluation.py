"""Evaluation counts each pixel once, where both sides have a class, whatever grid or form the sides come in."""

import json
import math

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box, shape
from torchmetrics.functional.classification import (
    multiclass_cohen_kappa,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from geounet.classes import LandClass
from geounet.errors import LabelError, SceneError
from geounet.metrics import evaluation
from geounet.metrics.evaluation import Evaluation, confusion, evaluate

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_429_000)
ROTATED = NORTH_UP @ Affine.rotation(30)
WATER, FOREST, FIELD = (
    LandClass(10, "water", "#0000ff"),
    LandClass(20, "forest", "#008000"),
    LandClass(7, "field", "#ffff00"),
)
CLASSES = (WATER, FOREST, FIELD)
VALUES = [item.value for item in CLASSES]


def write(path, codes, transform=NORTH_UP, crs="EPSG:32633", nodata=255):
    codes = np.atleast_3d(np.asarray(codes, np.uint8).T).T  # (rows, columns) -> (1, rows, columns)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(codes), height=codes.shape[1], width=codes.shape[2], dtype="uint8",
        crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(codes)
    return path


def write_polygons(path, codes, transform=NORTH_UP, crs="EPSG:32633", column="class"):
    found = [
        (shape(ring), int(code)) for ring, code in rasterio.features.shapes(codes, codes != 255, transform=transform)
    ]
    rings, values = zip(*found, strict=True)
    geopandas.GeoDataFrame({column: values}, geometry=list(rings), crs="EPSG:32633").to_crs(crs).to_file(path)
    return path


def codes_of(seed, height=23, width=31, values=(10, 20, 7, 255)):
    """Blocks of 3 x 3 pixels, so that polygons have some extent."""
    rng = np.random.default_rng(seed)
    small = rng.choice(values, (math.ceil(height / 3), math.ceil(width / 3))).astype(np.uint8)
    return small.repeat(3, 0).repeat(3, 1)[:height, :width]


def brute_force(reference, predicted, values):
    matrix = np.zeros((len(values), len(values)), np.int64)
    for actual, guess in zip(reference.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if actual in values and guess in values:
            matrix[values.index(actual), values.index(guess)] += 1
    return matrix


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), st.permutations(range(7)), st.integers(1, 7)
)
def test_confusion_equals_counting_one_by_one(pairs, order, kept):
    reference, predicted = (np.array([pair[side] for pair in pairs], np.uint8) for side in (0, 1))
    values = list(order[:kept])
    assert (confusion(reference, predicted, values) == brute_force(reference, predicted, values)).all()


def test_rows_are_the_reference():
    assert confusion(np.array([1, 1, 1]), np.array([2, 2, 1]), [1, 2]).tolist() == [[1, 2], [0, 0]]


def test_confusion_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        confusion(np.zeros(2, int), np.zeros(3, int), [0])


def test_an_evaluation_needs_a_square_matrix_of_its_classes():
    with pytest.raises(ValueError, match="3 classes"):
        Evaluation(CLASSES, np.zeros((2, 2), np.int64))


def test_scores_by_hand():
    result = Evaluation((WATER, FOREST), np.array([[6, 2], [1, 11]]))
    assert result.support.tolist() == [8, 12]
    assert result.iou == pytest.approx([6 / 9, 11 / 14])
    assert result.precision == pytest.approx([6 / 7, 11 / 13])
    assert result.recall == pytest.approx([6 / 8, 11 / 12])
    assert result.f1 == pytest.approx([12 / 15, 22 / 25])
    assert result.accuracy == pytest.approx(0.85)
    assert result.mean_iou == pytest.approx((6 / 9 + 11 / 14) / 2)
    chance = (8 * 7 + 12 * 13) / 400
    assert result.kappa == pytest.approx((0.85 - chance) / (1 - chance))


def test_scores_equal_those_of_torchmetrics():
    rng = np.random.default_rng(3)
    reference = rng.integers(0, 4, 5000)
    predicted = np.where(rng.random(5000) < 0.7, reference, rng.integers(0, 4, 5000))
    classes = tuple(LandClass(value, f"c{value}", "#000000") for value in range(4))
    result = Evaluation(classes, confusion(reference, predicted, range(4)))
    sides = torch.from_numpy(predicted), torch.from_numpy(reference)
    assert (result.matrix == multiclass_confusion_matrix(*sides, 4).numpy()).all()
    assert result.kappa == pytest.approx(float(multiclass_cohen_kappa(*sides, 4)), abs=1e-5)
    for scores, oracle in (
        (result.iou, multiclass_jaccard_index),
        (result.precision, multiclass_precision),
        (result.recall, multiclass_recall),
        (result.f1, multiclass_f1_score),
    ):
        assert scores == pytest.approx(oracle(*sides, 4, average=None).numpy(), abs=1e-6)


def test_a_class_that_neither_side_has_counts_in_no_mean():
    result = Evaluation(CLASSES, np.array([[4, 0, 0], [0, 6, 0], [0, 0, 0]]))
    assert np.isnan(result.iou[2])
    assert result.mean_iou == 1
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["classes"][2] == {
        "value": 7, "name": "field", "color": "#ffff00", "support": 0, "predicted": 0,
        "iou": None, "precision": None, "recall": None, "f1": None,
    }  # fmt: skip
    assert told["matrix"] == [[4, 0, 0], [0, 6, 0], [0, 0, 0]]
    assert told["pixels"] == 10


def test_kappa_of_a_single_class_is_nothing_rather_than_an_error():
    assert math.isnan(Evaluation((WATER,), np.array([[5]])).kappa)


@pytest.mark.parametrize("window", [4, 7, 2048])
def test_rasters_of_one_grid_are_counted_pixel_by_pixel(tmp_path, monkeypatch, window):
    monkeypatch.setattr(evaluation, "_WINDOW", window)
    predicted, reference = codes_of(1), codes_of(2)
    result = evaluate(write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", reference), classes=CLASSES)
    assert result.classes == CLASSES
    assert (result.matrix == brute_force(reference, predicted, VALUES)).all()


def test_progress_counts_the_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_WINDOW", 16)
    seen = []
    path = write(tmp_path / "p.tif", codes_of(1))
    evaluate(path, path, classes=CLASSES, progress=lambda done, steps: seen.append((done, steps)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_without_a_table_all_values_count(tmp_path):
    predicted, reference = codes_of(1, values=(3, 9, 255)), codes_of(2, values=(9, 1, 255))
    result = evaluate(write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", reference))
    assert [item.value for item in result.classes] == [1, 3, 9]
    assert (result.matrix == brute_force(reference, predicted, [1, 3, 9])).all()


def test_reference_values_outside_the_table_count_nowhere(tmp_path):
    predicted, reference = codes_of(1, values=(10, 20)), codes_of(2, values=(10, 20, 99))
    result = evaluate(write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", reference), classes=CLASSES)
    assert result.pixels == (reference != 99).sum()
    assert (result.matrix == brute_force(reference, predicted, VALUES)).all()


def test_a_value_that_only_the_prediction_has_is_a_mistake_not_a_gap(tmp_path):
    predicted, reference = codes_of(1, values=(10, 20, 99)), codes_of(2, values=(10, 20, 99))
    result = evaluate(
        write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", reference), classes=(WATER, FOREST)
    )
    assert [item.value for item in result.classes] == [10, 20, 99]
    assert result.matrix[2].sum() == 0
    assert result.predicted[2] == ((predicted == 99) & (reference != 99)).sum()


def test_a_reference_on_a_finer_and_shifted_grid_is_read_by_nearest_neighbour(tmp_path):
    predicted, reference = codes_of(1, 20, 24), codes_of(2, 40, 60)
    # Two reference pixels along one of the prediction; it starts 30 m further east and 50 m further south. Shifted a
    # little, so that no centre lies between two pixels.
    moved = NORTH_UP * Affine.translation(3.05, 5.05) * Affine.scale(0.5)
    result = evaluate(
        write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", reference, moved), classes=CLASSES
    )
    there = np.full_like(predicted, 255)
    there[5:, 3:] = reference[0:30:2, 0:42:2]
    assert (result.matrix == brute_force(there, predicted, VALUES)).all()


def test_a_reference_in_another_crs_is_warped(tmp_path):
    predicted, reference = codes_of(1, 60, 80), codes_of(2, 60, 80)
    other = "EPSG:3035"
    there, size = rasterio.warp.calculate_default_transform("EPSG:32633", other, 80, 60, *bounds(60, 80))[0], (70, 95)
    moved = np.full(size, 255, np.uint8)
    rasterio.warp.reproject(
        reference, moved, src_transform=NORTH_UP, src_crs="EPSG:32633", dst_transform=there, dst_crs=other,
        src_nodata=255, dst_nodata=255,
    )  # fmt: skip
    result = evaluate(
        write(tmp_path / "p.tif", predicted), write(tmp_path / "r.tif", moved, there, other), classes=CLASSES
    )
    wanted = brute_force(reference, predicted, VALUES)
    # Two roundings to the nearest pixel cost some at the edges of the 3 x 3 blocks, no whole blocks.
    assert np.abs(result.matrix - wanted).sum() < 0.35 * wanted.sum()
    back = np.full((60, 80), 255, np.uint8)
    rasterio.warp.reproject(
        moved, back, src_transform=there, src_crs=other, dst_transform=NORTH_UP, dst_crs="EPSG:32633",
        src_nodata=255, dst_nodata=255,
    )  # fmt: skip
    assert (result.matrix == brute_force(back, predicted, VALUES)).all()


def bounds(height, width):
    left, top = NORTH_UP * (0, 0)
    right, bottom = NORTH_UP * (width, height)
    return left, bottom, right, top


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED], ids=["north-up", "south-up", "rotated"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_polygons_count_as_the_raster_they_came_from(tmp_path, monkeypatch, transform, crs):
    monkeypatch.setattr(evaluation, "_WINDOW", 8)
    predicted, reference = codes_of(1), codes_of(2)
    raster = write(tmp_path / "p.tif", predicted, transform)
    polygons = write_polygons(tmp_path / "r.gpkg", reference, transform, crs)
    wanted = brute_force(reference, predicted, VALUES)
    assert (evaluate(raster, polygons, classes=CLASSES).matrix == wanted).all()
    assert (evaluate(polygons, raster, classes=CLASSES).matrix == wanted.T).all()


def test_polygons_may_name_their_classes_in_any_field(tmp_path):
    path, raster = tmp_path / "r.geojson", write(tmp_path / "p.tif", np.full((4, 6), 10))
    frame = geopandas.GeoDataFrame({"use": ["water", "forest", "unheard of"]}, crs="EPSG:32633", geometry=[
        box(480_000, 5_429_000, 480_020, 5_431_000),
        box(480_020, 5_429_000, 480_030, 5_431_000),
        box(480_030, 5_429_000, 480_040, 5_431_000),
    ])  # fmt: skip
    frame.to_file(path)
    assert evaluate(raster, path, classes=CLASSES, field="use").support.tolist() == [8, 4, 0]
    with pytest.raises(LabelError, match=r"no field 'class'.*use"):
        evaluate(raster, path, classes=CLASSES)


def test_where_polygons_overlap_the_last_one_wins(tmp_path):
    raster, path = write(tmp_path / "p.tif", np.full((4, 6), 10)), tmp_path / "r.gpkg"
    both = [box(480_000, 5_429_960, 480_060, 5_430_000), box(480_000, 5_429_960, 480_010, 5_430_000)]
    geopandas.GeoDataFrame({"class": [10, 20]}, geometry=both, crs="EPSG:32633").to_file(path)
    assert evaluate(raster, path, classes=CLASSES).support.tolist() == [20, 4, 0]


def test_pictures_without_a_crs_are_compared_by_shape(tmp_path):
    predicted, reference = codes_of(1), codes_of(2)
    first = write(tmp_path / "p.tif", predicted, Affine.identity(), None)
    second = write(tmp_path / "r.tif", reference, Affine.identity(), None)
    assert (evaluate(first, second, classes=CLASSES).matrix == brute_force(reference, predicted, VALUES)).all()
    with pytest.raises(SceneError, match=r"5 x 5.*23 x 31"):
        evaluate(first, write(tmp_path / "s.tif", np.full((5, 5), 10), Affine.identity(), None))


@pytest.mark.parametrize("kind", ["raster", "polygons"])
def test_sides_that_lie_apart_are_refused_with_both_bounds(tmp_path, kind):
    away = NORTH_UP * Affine.translation(1000, 0)
    raster = write(tmp_path / "p.tif", codes_of(1))
    other = (
        write(tmp_path / "r.tif", codes_of(2), away)
        if kind == "raster"
        else write_polygons(tmp_path / "r.gpkg", codes_of(2, values=(10, 20)), away)
    )
    with pytest.raises(LabelError, match=r"not overlap.*490000, 5429770, 490310, 5430000.*480000, 5429770, 480310"):
        evaluate(raster, other, classes=CLASSES)


def test_nothing_in_common_is_refused(tmp_path):
    left, right = np.full((4, 6), 255), np.full((4, 6), 255)
    left[:, :3], right[:, 3:] = 10, 10
    with pytest.raises(LabelError, match="no pixel has a class both in"):
        evaluate(write(tmp_path / "p.tif", left), write(tmp_path / "r.tif", right), classes=CLASSES)


def test_two_polygon_files_are_refused(tmp_path):
    path = write_polygons(tmp_path / "r.gpkg", codes_of(2))
    with pytest.raises(LabelError, match="one of the two must be a raster"):
        evaluate(path, path)


def test_a_picture_is_no_class_raster(tmp_path):
    raster = write(tmp_path / "p.tif", codes_of(1))
    with pytest.raises(SceneError, match="has 3 bands"):
        evaluate(raster, write(tmp_path / "r.tif", np.stack([codes_of(1)] * 3)))
