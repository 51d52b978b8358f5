"""Training on real chips and pictures, for minutes: the commands a user would type."""

from __future__ import annotations

import csv
import json

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli
from rasterio.features import rasterize, shapes
from shapely.geometry import shape

from geounet.metrics.objects import score_objects

pytestmark = pytest.mark.real

NUCLEI_RECIPE = ("--bands", "1,2,3", "--ema", 0.97, "--balance", "equal", "--epochs", 20)
"""Some two minutes on two quiet cores."""


def done(*arguments):
    """Run a command that must succeed; its result."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def class_file(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("value", "name", "color"), *rows])
    return path


def test_korean_chips_train_and_run(data, tmp_path):
    """Some epochs on real chips with gaps between the codes; rasters, polygons and areas agree."""
    place = data / "korea_landcover"
    classes = class_file(
        tmp_path / "classes.csv",
        (10, "building", "#d62728"), (30, "road", "#7f7f7f"), (50, "field", "#e6c34a"), (70, "forest", "#2ca02c"),
        (100, "background", "#c7b299"),
    )  # fmt: skip
    model = tmp_path / "model.safetensors"
    result = done(
        "train", place / "train/images", "--labels", place / "train/labels", "--val", place / "val/images",
        "--val-labels", place / "val/labels", "--bands", "1,2,3", "--classes", classes,
        "--encoder", "resnet18", "--epochs", 5, "-o", model,
    )  # fmt: skip
    # Fifteen minutes reach 0.46; five epochs, whatever time they take, must at least have learnt.
    best = float(result.stderr.rsplit("mean IoU ", 1)[1].split()[0])
    assert best > 0.33
    done("run", place / "val/images/202309_13.tif", "-m", model, "-o", tmp_path / "out")
    folder = tmp_path / "out" / "202309_13"
    frame = geopandas.read_file(folder / "polygons.gpkg")
    with rasterio.open(folder / "classes.tif") as raster:
        assert raster.crs.to_epsg() == 32652
        codes = raster.read(1)
        shapes = zip(frame.geometry, frame["class"], strict=True)
        burnt = rasterize(shapes, raster.shape, fill=255, transform=raster.transform, dtype="uint8")
    np.testing.assert_array_equal(burnt, codes)
    assert set(np.unique(codes)) <= {10, 30, 50, 70, 100}
    # UTM's scale differs from the ground's by up to 4 in 10,000 each way.
    assert frame["area_ha"].sum() == pytest.approx(codes.size / 100, rel=8e-4)
    assert json.loads((folder / "item.json").read_text())["properties"]["geounet:pixels"] == codes.size


def test_pictures_without_georeference_train_and_predict(data, tmp_path):
    """Pictures of many sizes, labels as palette and as colour: pixel coordinates, no CRS."""
    place = data / "india_landcover"
    classes = class_file(
        tmp_path / "classes.csv", (1, "built-up", "#800000"), (2, "vegetation", "#008000"), (3, "water", "#808000")
    )
    model = tmp_path / "model.safetensors"
    names = ("0.png", "6.png", "10.png", "30.png", "34.png")
    done(
        "train", *(place / "rgb" / name for name in names), "--labels", place / "labels", "--classes", classes,
        "--width", 8, "--depth", 3, "--minutes", 0.5, "-o", model,
    )  # fmt: skip
    done("run", place / "rgb" / "6.png", "-m", model, "-o", tmp_path / "out", "--sieve", 50)
    with rasterio.open(tmp_path / "out/6/classes.tif") as raster, rasterio.open(place / "rgb/6.png") as picture:
        assert raster.crs is None
        assert raster.transform.is_identity
        assert raster.shape == picture.shape
        assert set(np.unique(raster.read(1))) <= {1, 2, 3, 255}
    frame = geopandas.read_file(tmp_path / "out/6/polygons.gpkg")
    assert frame.crs is None
    assert frame.total_bounds[2] <= 1381
    assert frame["area_ha"].isna().all()


def polygons_of(ids):
    """The objects of an instance map in pixel coordinates."""
    return np.array([shape(ring) for ring, value in shapes(ids.astype(np.int32)) if value])


def test_nuclei_train_to_a_polygon_each(data, tmp_path, capsys):
    """Microscopy pictures with alpha, of many sizes, and maps of numbered nuclei; every fifth picture held back."""
    pictures = sorted((data / "nuclei/images").glob("*.png"))
    # The one picture of its kind (pale cells on white) is learnt from: nothing else tells of it.
    held = [path for path in pictures[4::5] if path.stem != "76a372bfd3fad3ea"]
    given = [path for path in pictures if path not in held]
    model = tmp_path / "nuclei.safetensors"
    done("train", *given, "--labels", data / "nuclei/instances", "--instances", *NUCLEI_RECIPE, "-o", model)
    done("run", *held, "-m", model, "-o", tmp_path / "out")
    both = either = 0
    objects = []
    for path in held:
        folder = tmp_path / "out" / path.stem
        with (
            rasterio.open(folder / "classes.tif") as raster,
            rasterio.open(data / "nuclei/instances" / path.name) as map_,
        ):
            found, ids = raster.read(1), map_.read(1)
            assert raster.crs is None
            assert raster.transform.is_identity
        both += np.count_nonzero((found > 0) & (ids > 0))
        either += np.count_nonzero((found > 0) | (ids > 0))
        done(
            "vectorize", folder / "classes.tif", "-o", tmp_path / f"{path.stem}.parquet", "--split-touching",
            "--boundary-class", "boundary",
        )  # fmt: skip
        frame = geopandas.read_parquet(tmp_path / f"{path.stem}.parquet")
        assert frame.crs is None
        assert frame.total_bounds.tolist() == [0, 0, ids.shape[1], ids.shape[0]]
        nuclei = frame[frame["class"] == 1].geometry.to_numpy()
        objects.append(score_objects(nuclei, polygons_of(ids)))
    total = sum(objects[1:], objects[0])
    with capsys.disabled():
        print(  # noqa: T201
            f"\nnuclei: foreground IoU {both / either:.3f}, {total.predicted} polygons for {total.reference} nuclei, "
            f"precision {total.precision[0]:.3f} and recall {total.recall[0]:.3f} at an IoU of 0.5"
        )
    assert both / either > 0.82
    assert total.f1[0] > 0.78
