"""The sample tiles are what their README says, and the script draws them again."""

import importlib.util
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features

from geounet.class_tables import read_classes
from geounet.raster.cog import classes_of

FOLDER = Path(__file__).parents[1] / "sample_tiles"
PICTURES = {
    "train/images/train_spring.tif": (384, 320),
    "train/images/train_summer.tif": (384, 320),
    "val/images/scene_spring.tif": (288, 352),
    "val/images/scene_summer.tif": (288, 352),
}
CODES = [10, 20, 30, 40, 50, 60]


@pytest.fixture(scope="module")
def redrawn(tmp_path_factory):
    """The set as the script draws it now."""
    spec = importlib.util.spec_from_file_location("sample_tiles_make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("sample_tiles")
    module.make(folder)
    return folder


def pixels(path):
    with rasterio.open(path) as file:
        return file.read()


def labels_beside(picture):
    return FOLDER / picture.replace("images", "labels")


@pytest.mark.parametrize("picture", PICTURES)
def test_images_look_like_sentinel_2(picture):
    with rasterio.open(FOLDER / picture) as file:
        values = file.read()
        assert (file.height, file.width) == PICTURES[picture]
        assert file.descriptions == ("B02", "B03", "B04", "B08")
        assert set(file.dtypes) == {"uint16"}
        assert file.crs.to_epsg() == 32633
        assert file.res == (10, 10)
        assert file.nodata == 0
    assert 200 < np.median(values) < 3000


@pytest.mark.parametrize("picture", PICTURES)
def test_labels_lie_on_their_image_and_hold_every_class(picture):
    with rasterio.open(FOLDER / picture) as image, rasterio.open(labels_beside(picture)) as labels:
        codes = labels.read(1)
        assert (labels.transform, labels.crs, labels.shape) == (image.transform, image.crs, image.shape)
        assert labels.nodata == 255
        colors = labels.colormap(1)
        collar = (image.read() == 0).any(axis=0)
    assert np.unique(codes).tolist() == [*CODES, 255]
    assert (codes[collar] == 255).all()
    table = {item.value: (*item.rgb, 255) for item in read_classes(FOLDER / "classes.csv")}
    assert {code: colors[code] for code in CODES} == table
    assert classes_of(labels_beside(picture)) == read_classes(FOLDER / "classes.csv")


@pytest.mark.parametrize(("area", "collared"), [("train", "train_summer"), ("val", "scene_spring")])
def test_one_date_of_each_area_has_a_collar_and_the_other_a_cloud(area, collared):
    for picture in [path for path in PICTURES if path.startswith(area)]:
        nodata = (pixels(FOLDER / picture) == 0).all(axis=0)
        hidden = (pixels(labels_beside(picture))[0] == 255) & ~nodata
        assert (nodata.mean() > 0.005) == (collared in picture)
        assert (hidden.mean() > 0.005) == (collared not in picture)


@pytest.mark.parametrize("picture", PICTURES)
def test_polygons_fill_the_pixels_of_the_label_rasters(picture):
    frame = geopandas.read_file(FOLDER / picture.split("/")[0] / "labels.gpkg")
    with rasterio.open(labels_beside(picture)) as file:
        codes, transform = file.read(1), file.transform
    burnt = rasterio.features.rasterize(
        zip(frame.geometry, frame["class"], strict=True), codes.shape, transform=transform, dtype="uint8"
    )
    assert frame.geometry.is_valid.all()
    assert (burnt[codes != 255] == codes[codes != 255]).all()
    names = {item.value: item.name for item in read_classes(FOLDER / "classes.csv")}
    assert (frame["class"].map(names) == frame["class_name"]).all()


@pytest.mark.parametrize("picture", PICTURES)
def test_the_script_draws_the_same_pixels(redrawn, picture):
    for path in (picture, picture.replace("images", "labels")):
        assert (pixels(redrawn / path) == pixels(FOLDER / path)).all()


def test_the_script_writes_the_same_polygons_and_class_table(redrawn):
    for area in ("train", "val"):
        old, new = (geopandas.read_file(folder / area / "labels.gpkg") for folder in (FOLDER, redrawn))
        assert new.equals(old)
    assert (redrawn / "classes.csv").read_text() == (FOLDER / "classes.csv").read_text()


def test_the_set_stays_small():
    drawn = [path for path in FOLDER.rglob("*") if path.suffix in {".tif", ".gpkg", ".csv"}]
    assert sum(path.stat().st_size for path in drawn) < 3_600_000
    everything = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in everything) < 5_000_000
