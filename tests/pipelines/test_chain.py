"""The commands, one after another, on the sample tiles: each writes what the next one reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import geopandas
import geopandas.testing
import numpy as np
import pandas as pd
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli
from PIL import Image
from rasterio.features import rasterize
from rio_cogeo import cog_validate

SAMPLES = Path(str(files("geounet_sample_tiles")))
SCENE = SAMPLES / "val/images/scene_spring.tif"
MODEL = SAMPLES / "model.safetensors"


def done(*arguments):
    """Run a command that must succeed; its standard output and standard error."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """What `geounet run` made of a sample scene."""
    folder = tmp_path_factory.mktemp("run")
    done("run", SCENE, "-m", MODEL, "-o", folder, "--tile-size", 100)
    return folder / "scene_spring"


def test_run_makes_rasters_polygons_a_picture_and_a_record(product):
    """All files are there, whole, and agree with one another."""
    names = {path.name for path in product.iterdir()}
    assert names == {
        "classes.qml", "classes.tif", "classes.tif.aux.xml", "confidence.tif", "polygons.gpkg", "polygons.qml",
        "preview.png",
        "item.json",
    }  # fmt: skip
    record = json.loads((product / "item.json").read_text())["properties"]
    frame = geopandas.read_file(product / "polygons.gpkg")
    with rasterio.open(product / "classes.tif") as raster, rasterio.open(SCENE) as scene:
        classes = raster.read(1)
        assert (raster.crs, raster.transform, raster.shape) == (scene.crs, scene.transform, scene.shape)
        np.testing.assert_array_equal(classes != 255, scene.dataset_mask() > 0)
        shapes = zip(frame.geometry, frame["class"], strict=True)
        burnt = rasterize(shapes, raster.shape, fill=255, transform=raster.transform, dtype="uint8")
        pixel = abs(raster.transform.determinant)
    np.testing.assert_array_equal(burnt, classes)
    assert record["geounet:pixels"] == frame["pixels"].sum() == (classes != 255).sum()
    assert record["geounet:polygons"] == len(frame)
    assert frame["area_ha"].sum() == pytest.approx((classes != 255).sum() * pixel / 1e4, rel=2e-3)
    assert frame["confidence"].between(0, 1).all()
    assert cog_validate(product / "classes.tif", strict=True, quiet=True)[0]
    assert cog_validate(product / "confidence.tif", strict=True, quiet=True)[0]


def test_the_preview_is_a_picture_of_both(product):
    """A PNG wide enough to look at, with many colours in either half."""
    with Image.open(product / "preview.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] >= 1200
    for half in np.split(pixels[:, : pixels.shape[1] // 2 * 2], 2, axis=1):
        assert len(np.unique(half.reshape(-1, 3), axis=0)) > 50


def test_predict_and_vectorize_make_what_run_makes(product, tmp_path):
    """The steps by hand, with other tile sizes, give the same pixels and the same polygons."""
    done("predict", SCENE, "-m", MODEL, "-o", tmp_path / "c.tif", "--confidence", tmp_path / "f.tif", "--tile_size", 60)
    out = tmp_path / "p.gpkg"
    done("vectorize", tmp_path / "c.tif", "--confidence", tmp_path / "f.tif", "-o", out, "--tile-size", 33)
    with rasterio.open(tmp_path / "c.tif") as one, rasterio.open(product / "classes.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
    one, other = geopandas.read_file(out), geopandas.read_file(product / "polygons.gpkg")
    assert one.equals(other)


def test_run_simplifies_smooths_and_splits_as_vectorize_does(product, tmp_path):
    """The same polygons as `geounet vectorize` with the same options makes of the same raster."""
    table = pd.read_csv(SAMPLES / "classes.csv")
    between = table["name"].iloc[-1]
    done("run", SCENE, "-m", MODEL, "-o", tmp_path, "--simplify", 15, "--smooth", "--boundary-class", between)
    found = geopandas.read_file(tmp_path / "scene_spring/polygons.gpkg", layer="polygons")
    done(
        "vectorize", product / "classes.tif", "-o", tmp_path / "p.gpkg", "--confidence", product / "confidence.tif",
        "--simplify", 15, "--smooth", "--split-touching", "--boundary-class", between,
    )  # fmt: skip
    geopandas.testing.assert_geodataframe_equal(found, geopandas.read_file(tmp_path / "p.gpkg", layer="p"))
    plain = geopandas.read_file(product / "polygons.gpkg", layer="polygons")
    assert len(found) != len(plain)
    assert found.geometry.count_coordinates().mean() < plain.geometry.count_coordinates().mean()


def test_the_model_is_good_on_the_scene_it_was_not_trained_on(product, tmp_path):
    """`evaluate` in a table and in JSON: the sample model is right on nine pixels of ten."""
    labels = SAMPLES / "val/labels/scene_spring.tif"
    table, _ = done("evaluate", product / "classes.tif", labels, "--json", tmp_path / "scores.json")
    assert "water" in table
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["accuracy"] > 0.9
    by_polygons, _ = done("evaluate", product / "polygons.gpkg", labels, "--json", "-")
    assert json.loads(by_polygons)["accuracy"] == pytest.approx(scores["accuracy"])


def test_run_goes_on_where_it_stopped_and_passes_over_what_is_finished(product, tmp_path):
    """A folder without its record is unfinished: the raster stays, the rest is made. With it, it is finished."""
    folder = tmp_path / "scene_spring"
    shutil.copytree(product, folder)
    (folder / "item.json").unlink()
    (folder / "polygons.gpkg").unlink()
    before = (folder / "classes.tif").stat().st_mtime_ns
    done("run", SCENE, "-m", MODEL, "-o", tmp_path)
    assert (folder / "classes.tif").stat().st_mtime_ns == before
    assert (folder / "polygons.gpkg").exists()
    (folder / "item.json").unlink()
    box = ["--bbox", "0,0,9e6,9e6"]
    other = CliRunner().invoke(cli, ["run", str(SCENE), "-m", str(MODEL), "-o", str(tmp_path), *box])
    assert other.exit_code == 1
    assert "with other options; --overwrite replaces it" in other.stderr
    done("run", SCENE, "-m", MODEL, "-o", tmp_path)
    before = (folder / "item.json").stat().st_mtime_ns
    _, said = done("run", SCENE, "-m", MODEL, "-o", tmp_path)
    assert "scene_spring: unchanged" in said
    assert (folder / "item.json").stat().st_mtime_ns == before


def test_run_of_several_scenes_leaves_the_good_ones_alone(tmp_path):
    """One scene that cannot be read is named; the other is made; the exit code is 3."""
    (tmp_path / "bad.tif").write_text("no raster")
    arguments = ["run", str(tmp_path / "bad.tif"), str(SCENE), "-m", str(MODEL), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*arguments, "--sieve", "20", "--format", "parquet"])
    assert result.exit_code == 3
    assert "bad.tif is not a raster" in result.stderr
    assert "1 of 2 scenes failed" in result.stderr
    folder = tmp_path / "out" / "scene_spring"
    frame = geopandas.read_parquet(folder / "polygons.parquet")
    assert frame["pixels"].min() >= 20
    with rasterio.open(folder / "predicted.tif") as before, rasterio.open(folder / "classes.tif") as after:
        changed = (before.read() != after.read()).mean()
    assert 0 < changed < 0.1


def test_train_predict_on_the_sample_chips(tmp_path):
    """`tile` cuts chips that `train` trains on; the model predicts; the log names each epoch."""
    done(
        "tile", SAMPLES / "train/images", "--labels", SAMPLES / "train/labels", "-o", tmp_path / "chips",
        "--tile-size", 128, "--overlap", 16, "--workers", 1,
    )  # fmt: skip
    index = geopandas.read_parquet(tmp_path / "chips" / "index.parquet")
    assert {path.name for path in (tmp_path / "chips/images").iterdir()} == set(index["name"])
    assert {path.name for path in (tmp_path / "chips/labels").iterdir()} == set(index["name"])
    assert index.crs.to_epsg() == 32633
    with rasterio.open(SAMPLES / "train/images/train_spring.tif") as scene:
        row = index[index["name"].str.startswith("train_spring")].iloc[1]
        window = rasterio.windows.Window(row["col"], row["row"], row["width"], row["height"])
        with rasterio.open(tmp_path / "chips/images" / row["name"]) as chip:
            np.testing.assert_array_equal(chip.read(), scene.read(window=window))
            assert chip.transform == scene.window_transform(window)
            assert chip.descriptions == scene.descriptions
    _, log = done(
        "train", tmp_path / "chips/images", "--labels", tmp_path / "chips/labels", "--val", SAMPLES / "val/images",
        "--val-labels", SAMPLES / "val/labels", "--classes", SAMPLES / "classes.csv", "--depth", 2, "--width", 6,
        "--patch-size", 64, "--epochs", 2, "--patches", 32, "-o", tmp_path / "m.safetensors",
    )  # fmt: skip
    assert "epoch   1" in log
    assert "epoch   2" in log
    assert "validation mean IoU" in log
    done("predict", SCENE, "-m", tmp_path / "m.safetensors", "-o", tmp_path / "c.tif", "--quiet")


def test_info_describes_and_says_whether_the_model_fits():
    """In words and in JSON: the facts are those of rasterio."""
    text, _ = done("info", SCENE, "-m", MODEL)
    assert "EPSG:32633" in text
    assert "model fits  yes" in text
    assert "with bands [1, 2, 3, 4], numbers as stored" in text
    found = json.loads(done("info", SCENE, "--json")[0])
    with rasterio.open(SCENE) as scene:
        assert (found["height"], found["width"], found["bands"]) == (scene.height, scene.width, scene.count)
        assert found["bounds"] == pytest.approx(list(scene.bounds))
        assert found["valid_share"] == pytest.approx((scene.dataset_mask() > 0).mean(), abs=1e-3)
    labels = json.loads(done("info", SAMPLES / "val/labels/scene_spring.tif", "-m", MODEL, "--json")[0])
    assert labels["fits"] is False
    assert "has 1 band(s)" in labels["reason"]


def test_demo_says_where_to_look(tmp_path):
    """Each line on standard output names a file that is there."""
    out, log = done("demo", "-o", tmp_path / "demo")
    places = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert set(places) == {"raster", "confidence", "polygons", "picture"}
    assert all(Path(place).is_file() for place in places.values())
    assert "mean IoU" in log


def test_a_picture_without_georeference_says_one_line(tmp_path):
    """A PNG works in pixel coordinates, and no library's warning reaches standard error."""
    with rasterio.open(SCENE) as scene:
        bands = (scene.read(window=rasterio.windows.Window(100, 100, 60, 40)) // 16).clip(1, 255).astype(np.uint8)
    Image.fromarray(bands[:3].transpose(1, 2, 0)).save(tmp_path / "picture.png")
    labels = np.where(bands[3] > np.median(bands[3]), 20, 10).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    for arguments, lines in (
        ("train picture.png --labels labels.png -o m.safetensors --depth 1 --width 4 --epochs 1 --patches 8", 2),
        ("run picture.png -m m.safetensors -o out", 1),
    ):
        command = [sys.executable, "-c", "from geounet_pipelines.main import main; main()", *arguments.split()]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert len(found.stderr.splitlines()) == lines, found.stderr
    with rasterio.open(tmp_path / "out/picture/classes.tif") as raster:
        assert (raster.crs, raster.shape) == (None, (40, 60))
