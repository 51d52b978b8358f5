"""Bad input: one clear sentence, exit code 1 (2 for wrong usage), no traceback, nothing half-written."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from geounet_pipelines.main import main
from untrained import make_model


def write(path, array, *, crs="EPSG:32633", transform=None, driver="GTiff", **more):
    with rasterio.open(
        path, "w", driver=driver, height=array.shape[1], width=array.shape[2], count=len(array), dtype=array.dtype,
        **more, crs=crs, transform=transform or Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(array)
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a scene, labels, a model that fits, and all kinds of files that do not."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    scene = write(tmp_path / "scene.tif", random.integers(1, 255, (2, 260, 70), dtype=np.uint8))
    write(tmp_path / "three.tif", random.integers(1, 255, (3, 30, 30), dtype=np.uint8))
    far = Affine(10, 0, 7e5, 0, -10, 5e6)
    write(tmp_path / "coarse.tif", np.ones((2, 30, 30), np.uint8), transform=Affine(60, 0, 5e5, 0, -60, 5e6))
    write(tmp_path / "labels.tif", random.choice([10, 30], (1, 260, 70)).astype(np.uint8))
    write(tmp_path / "far.tif", random.choice([10, 30], (1, 30, 30)).astype(np.uint8), transform=far)
    (tmp_path / "text.tif").write_text("no raster")
    (tmp_path / "cut.tif").write_bytes(scene.read_bytes()[:20_000])
    for table in ("one", "two"):
        more = {"APPEND_SUBDATASET": "YES"} if table == "two" else {}
        write(tmp_path / "bandless.gpkg", np.ones((1, 20, 20), np.uint8), driver="GPKG", RASTER_TABLE=table, **more)
    geopandas.GeoDataFrame({"class": []}, geometry=[], crs="EPSG:32633").to_file(tmp_path / "empty.gpkg")
    make_model(tmp_path / "m.safetensors")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pickle.safetensors")
    (tmp_path / "file").write_text("a file where a folder is asked for")
    (tmp_path / "there.tif").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.tif").mkdir()
    return tmp_path


def failing(arguments, capsys):
    """Run a command that must fail; its exit code and standard error."""
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    return stop.value.code, capsys.readouterr().err


PREDICT = "predict {} -m m.safetensors -o out.tif"
TRAIN = "train scene.tif --labels {} -o out.safetensors --epochs 1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("info absent.tif", "absent.tif does not exist"),
        ("info text.tif", "text.tif is not a raster that GDAL can open"),
        ("info bandless.gpkg", "bandless.gpkg has no bands"),
        (PREDICT.format("absent.tif"), "absent.tif does not exist"),
        (PREDICT.format("text.tif"), "text.tif is not a raster"),
        (PREDICT.format("cut.tif"), "cut.tif is damaged near row"),
        (PREDICT.format("bandless.gpkg"), "has no bands"),
        (PREDICT.format("three.tif"), "has 3 band(s)"),
        (PREDICT.format("scene.tif --bands 1"), "--bands names 1; name 2"),
        (PREDICT.format("scene.tif --bands 1,9"), "there is no band [9]"),
        (PREDICT.format("coarse.tif"), "pixels of 60 m, but the model was trained on 10 m"),
        (
            PREDICT.format("scene.tif --bands 1,nir"),
            "scene.tif has no band 'nir' or several; its bands are band_1,",
        ),
        (PREDICT.format("scene.tif --bbox 0,0,10,10"), "does not meet scene.tif"),
        (PREDICT.format("scene.tif --device cuda:7"), "device 'cuda:7' cannot be used here"),
        (PREDICT.format("scene.tif --window-size 8"), "no room for a halo"),
        ("predict scene.tif -m absent.safetensors -o out.tif", "model file absent.safetensors does not exist"),
        ("predict scene.tif -m text.tif -o out.tif", "text.tif is not a geounet model file"),
        ("predict scene.tif -m pickle.safetensors -o out.tif", "pickle.safetensors is not a geounet model file"),
        ("predict scene.tif -m m.safetensors -o there.tif", "there.tif exists; give another name, or --overwrite"),
        ("predict scene.tif -m m.safetensors -o file/out.tif", "out.tif cannot be written"),
        ("predict scene.tif -m m.safetensors -o folder.tif", "folder.tif is a folder"),
        (TRAIN.format("absent.tif"), "absent.tif does not exist"),
        (TRAIN.format("far.tif"), "no image overlaps a label"),
        (TRAIN.format("empty.gpkg"), "empty.gpkg is empty"),
        (TRAIN.format("absent.gpkg"), "absent.gpkg does not exist"),
        (
            TRAIN.format("labels.tif --val scene.tif --val-labels labels.tif"),
            "scene.tif holds the same pixels as scene.tif",
        ),
        (TRAIN.format("labels.tif --balance city=0.5"), "'city=0.5' of --balance is no share of a class"),
        (TRAIN.format("no*.tif"), "pattern no*.tif holds no raster"),
        (TRAIN.format("empty"), "folder empty holds no raster"),
        (TRAIN.format("labels.tif --classes absent.csv"), "class table absent.csv cannot be read"),
        (TRAIN.format("labels.tif --classes text.tif"), "needs the columns value,name,color"),
        (TRAIN.format("labels.tif --encoder resnet1"), "no network unet with encoder resnet1"),
        (TRAIN.format("labels.tif --arch fpn"), "other architectures need an encoder"),
        ("tile absent.tif -o chips", "absent.tif does not exist"),
        ("tile scene.tif -o chips --overlap 256", "cannot share 256"),
        ("vectorize text.tif -o out.gpkg", "text.tif is not a raster"),
        ("vectorize three.tif -o out.gpkg", "three.tif has 3 bands"),
        ("vectorize labels.tif -o out.xyz", "out.xyz"),
        ("clean absent.tif -o out.tif --sieve 3", "absent.tif does not exist"),
        (
            "predict scene.tif -m m.safetensors -o out.png",
            "out.png ends in none of .tif, .tiff: give the output one of",
        ),
        ("predict scene.tif -m m.safetensors -o out", "out ends in none of .tif"),
        ("predict scene.tif -m m.safetensors -o out.tif --confidence k.vrt", "k.vrt ends in none of .tif"),
        ("clean labels.tif -o out.vrt --open 1", "out.vrt ends in none of .tif"),
        ("rasterize empty.gpkg --like labels.tif -o out.gpkg", "out.gpkg ends in none of .tif"),
        ("evaluate labels.tif labels.tif --json out.tif", "out.tif ends in none of .json"),
        ("evaluate labels.tif labels.tif --html out.pdf", "out.pdf ends in none of .html"),
        (TRAIN.replace("out.safetensors", "out.pt").format("labels.tif"), "out.pt ends in none of .safetensors"),
        (TRAIN.format("labels.tif --show-samples s.tif"), "s.tif ends in none of .png"),
        ("evaluate absent.tif labels.tif", "absent.tif does not exist"),
        ("evaluate labels.tif far.tif", "overlap"),
        ("run absent.tif -m m.safetensors -o out", "absent.tif does not exist"),
        ("run scene.tif -m absent.safetensors -o out", "model file absent.safetensors does not exist"),
        ("run scene.tif -m text.tif -o out", "text.tif is not a geounet model file"),
    ],
)
def test_one_sentence_exit_code_1_and_nothing_left(place, capsys, arguments, sentence):
    """The sentence names the file; no traceback; no output under its name, and no temporary beside it."""
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    code, error = failing(arguments, capsys)
    assert code == 1
    lines = [line for line in error.splitlines() if line.strip()]
    assert sentence in lines[-1] or sentence in lines[0]
    assert lines[-1].startswith("geounet: ")
    assert "Traceback" not in error
    left = {path for path in place.rglob("*") if path.suffix in (".tif", ".safetensors", ".gpkg", ".json", ".png")}
    # A run notes which scenes have failed.
    assert {path for path in left if path.name != "summary.json"} <= set(before)
    assert all(path.stat().st_mtime_ns == before[path] for path in left & set(before))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("predict -m m.safetensors -o out.tif", "give scenes, or --stac-api to find some"),
        ("predict scene.tif -m m.safetensors -o out.tif --limit 3", "--limit says something of --stac-api"),
        ("predict scene.tif -m m.safetensors", "Missing option"),
        ("predict scene.tif -m m.safetensors -o out.tif --bands 1,,2", "'1,,2' is not a list of numbers"),
        ("predict scene.tif -m m.safetensors -o out.tif --bbox 1,2,3", "3 numbers, not 4"),
        ("predict scene.tif -m m.safetensors -o out.tif --halo wide", "neither a number of pixels nor auto"),
        ("predict scene.tif -m m.safetensors -o out.tif --precision fp64", "fp64"),
        (
            "train scene.tif --labels labels.tif -o o.safetensors --val scene.tif",
            "--val says something of --val-labels",
        ),
        ("train scene.tif --labels labels.tif -o o.safetensors --loss hinge", "hinge"),
        (
            "train s.tif --labels l.tif --val s.tif --val-labels l.tif --val-fraction 0.2 -o o.safetensors",
            "one of the two",
        ),
        ("vectorize labels.tif -o out.gpkg --connectivity 6", "6"),
        ("nonsense", "there is no command 'nonsense'; see --help"),
        ("pedict scene.tif", "there is no command 'pedict'; did you mean predict?"),
        ("Vectorise labels.tif", "there is no command 'Vectorise'; did you mean vectorize?"),
        ("vectorize labels.tif -o out.gpkg --simplfy 3", "No such option '--simplfy'. Did you mean '--simplify'?"),
        ("clean labels.tif -o out.tif", "give --majority, --open, --close, --sieve or --fill-holes"),
        ("clean labels.tif -o out.tif --open 1 --sieve-to largest", "--sieve-to says something of --sieve:"),
        ("vectorize labels.tif -o out.gpkg --rise 0.3", "--rise says something of --split-touching"),
        ("vectorize labels.tif -o out.gpkg --field-class a", "something of --fiboa or --split-touching"),
        ("evaluate labels.tif labels.tif --seam-offset 3", "--seam-offset says something of --seams"),
        ("predict scene.tif -m m.safetensors -o out.tif --probabilities-dtype float16", "something of --probabilities"),
        ("tile scene.tif -o chips --seed 3", "--seed says something of --val-fraction or --test-fraction"),
        ("train scene.tif --labels labels.tif -o o.safetensors --no-augment --noise 0.2", "something of --augment"),
    ],
)
def test_wrong_usage_is_exit_code_2(place, capsys, arguments, word):
    """Click's own sentence, and nothing is done."""
    code, error = failing(arguments, capsys)
    assert code == 2
    assert word in error
    assert not (place / "out.tif").exists()


def test_verbose_shows_what_led_to_it(place, capsys, caplog):
    """-v adds the traceback to the sentence."""
    import logging

    try:
        code, error = failing("predict absent.tif -m m.safetensors -o out.tif -v", capsys)
    finally:
        logging.getLogger("geounet").setLevel(logging.NOTSET)
    assert code == 1
    assert "absent.tif does not exist" in error
    assert "what led to it" in caplog.text
