"""What a newcomer does first: whatever is named, it is said what it is, what can be done, and what was wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner
from geounet_pipelines.main import COMMANDS, cli
from made import blobs, make_product
from PIL import Image
from untrained import make_model

import geounet
from geounet.errors import GeounetError

SAMPLES = Path(__file__).parents[2] / "sample_tiles"


def run(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def things(tmp_path_factory, write_scene):
    """One of everything."""
    folder = tmp_path_factory.mktemp("things")
    make_product(folder / "products/p0", blobs(40, 60))
    make_product(folder / "products/p1", blobs(40, 60, 1))
    make_model(folder / "m.safetensors", 3)
    gpd.read_parquet(folder / "products/p0/polygons.parquet").to_file(folder / "fields.gpkg")
    random = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(random).save(folder / "photo.jpg")
    write_scene(folder / "scene.tif", np.moveaxis(random, -1, 0))
    (folder / "scenes").mkdir()
    shutil.copy(folder / "scene.tif", folder / "scenes")
    (folder / "classes.csv").write_text("value,name\n1,water\n2,forest\n")
    (folder / "map.csv").write_text("from,to\nWater,1\n")
    (folder / "job.toml").write_text('name="j"\nout="s"\n[source]\npath="scenes"\n[model]\nfile="m.safetensors"\n')
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "following"),
    [
        ("products", None, None),
        ("products/p0", "product of a scene", "report"),
        ("products/p0/classes.tif", "class raster", "vectorize"),
        ("products/p0/polygons.parquet", "polygons", "export"),
        ("fields.gpkg", "polygons", "rasterize"),
        ("m.safetensors", "model", "run"),
        ("photo.jpg", "scene", "train"),
        ("scene.tif", "scene", "run"),
        ("scenes", "folder of scenes", "run"),
        ("classes.csv", "class table", "train"),
        ("map.csv", "class map", "train"),
        ("job.toml", "monitoring job", "monitor"),
    ],
)
def test_info_says_what_it_is_and_what_can_be_done(things, name, kind, following):
    told = geounet.info(things / name)
    if kind is None:
        return
    assert told["kind"] == kind
    assert any(line.split()[1] == following for line in told["next"])
    assert all(line.split()[1] in COMMANDS for line in told["next"])
    text = run("info", things / name).output
    assert f"is a        {kind}" in text
    assert told["next"][0] in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("info empty", "holds no raster"),
        ("info photo.jpg -m sample", "another model is needed: train one"),
        ("info scene.tif -m sampel", "models that come along (sample)"),
        ("run photo.jpg -m sample -o o", "another model is needed"),
        ("run empty -m sample -o o", "holds no raster"),
        ("train scene.tif --labels fields.gpkg --label-field crop -o o.safetensors", "name one with --label-field"),
        ("train scene.tif --labels fields.gpkg --label-field class --classes none.csv -o o.safetensors", "none.csv"),
        ("train scene.tif --labels scene.tif -o o.safetensors", "the images are the labels"),
        ("vectorize scene.tif -o o.gpkg", "a class raster has one"),
        ("vectorize products/p0/classes.tif -o o.doc", "ends in none of"),
        ("export scene.tif -o o.gpkg", "class raster has one"),
        ("report fields.gpkg -o o.html", "a page is made of a product"),
        ("monitor scene.tif", "no TOML"),
        ("mosaic scenes -o o.tif", "holds no product"),
        ("evaluate products/p0/classes.tif none.tif", "none.tif"),
        ("vectorise scene.tif", "did you mean vectorize?"),
    ],
)
def test_a_wrong_step_has_a_sentence(things, monkeypatch, command, words):
    monkeypatch.chdir(things)
    found = run(*command.split())
    told = found.output + str(found.exception if isinstance(found.exception, GeounetError) else "")
    assert found.exit_code != 0 or "model fits  no" in told
    assert isinstance(found.exception, (GeounetError, SystemExit, type(None))), found.exception
    assert words in told


def test_a_model_of_another_resolution(tmp_path, write_scene):
    """The sample model is of 10 m."""
    names, pixels = ("B02", "B03", "B04", "B08"), np.full((4, 20, 30), 1000, np.uint16)
    scene = write_scene(tmp_path / "s.tif", pixels, descriptions=names, transform=geounet_transform(60))
    told = geounet.info(scene, SAMPLES / "model.safetensors")
    assert not told["fits"]
    assert "--resolution" in told["reason"]


def geounet_transform(side):
    from affine import Affine

    return Affine(side, 0, 480_000, 0, -side, 5_430_000)


def test_geounet_alone_shows_where_to_begin():
    found = run()
    assert "Where to begin" in found.output
    lines = [line.split() for line in found.output.partition("Where to begin")[2].splitlines() if "geounet " in line]
    assert [line[1] for line in lines] == ["demo", "info", "train", "run", "report"]


def test_models_that_come_along_are_named_and_taken_by_name(things, tmp_path):
    listed = run("models", "list").output
    assert listed.startswith("sample: water, forest")
    scene = SAMPLES / "val/images/scene_spring.tif"
    assert "model fits  yes" in run("info", scene, "-m", "sample").output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell):
    found = run("completion", shell, "-q")
    assert found.exit_code == 0
    assert "_GEOUNET_COMPLETE" in found.output


def test_bash_completes_commands_and_options(tmp_path):
    """As the shell would ask: words so far, and the place of the cursor."""
    import os
    import sys

    program = Path(sys.executable).with_name("geounet")
    asked = {"_GEOUNET_COMPLETE": "bash_complete", "COMP_WORDS": "geounet exp", "COMP_CWORD": "1"}
    done = subprocess.run([program], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,export"]
    asked |= {"COMP_WORDS": "geounet export --ap", "COMP_CWORD": "2"}
    done = subprocess.run([program], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert "plain,--append" in done.stdout.split()
