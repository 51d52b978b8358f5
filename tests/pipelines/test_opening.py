"""What the user says of scenes, and what is said of them, on the command line."""

import json
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli
from rasterio.control import GroundControlPoint
from untrained import make_model

from geounet.raster.opening import Opening
from geounet.raster.scene import load_scene, opened, read_stored

HEIGHT, WIDTH = 150, 210
POINTS = [
    GroundControlPoint(row, col, 480_000 + 10 * col + row, 5_430_000 - 10 * row, 0)
    for row in (0, HEIGHT)
    for col in (0, WIDTH)
]


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def alone(*args):
    """In a process of its own: exit code, and what reaches standard output and standard error."""
    code = "from geounet_pipelines.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def write_by_points(path, values):
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": len(values), "dtype": values.dtype}
    with rasterio.open(path, "w", **profile, gcps=POINTS, crs="EPSG:32633", photometric="MINISBLACK") as file:
        file.write(values)
    return path


@pytest.fixture
def place(tmp_path):
    values = np.random.default_rng(0).integers(1, 250, (2, HEIGHT, WIDTH)).astype(np.uint8)
    write_by_points(tmp_path / "scene.tif", values)
    write_by_points(tmp_path / "classes.tif", values[:1] % 3 + 1)
    make_model(tmp_path / "m.safetensors")
    return tmp_path


def test_a_scene_placed_by_points_gives_what_its_warped_copy_gives(place, write_scene):
    """In blocks of few pixels, by two workers, as the whole warped beforehand."""
    scene = load_scene(place / "scene.tif", opening=Opening(georeference="gcp"))
    with opened(scene) as dataset:
        stored, valid = read_stored(dataset, scene, scene.extent)
    stored = np.where(valid, stored, 0).astype(np.uint8)
    write_scene(place / "warped.tif", stored, crs=scene.crs, transform=scene.transform, mask=valid)
    model, options = ("-m", place / "m.safetensors"), ("--georeference", "gcp")
    run("predict", place / "warped.tif", *model, "-o", place / "a.tif")
    run("predict", place / "scene.tif", *model, "-o", place / "b.tif", *options, "--tile-size", "64", "--workers", "2")
    with rasterio.open(place / "a.tif") as one, rasterio.open(place / "b.tif") as other:
        assert np.array_equal(one.read(), other.read())
        assert (one.transform, one.crs) == (other.transform, other.crs)
        assert 0.5 < (one.read() != 255).mean() < 1
    run("run", place / "scene.tif", *model, "-o", place / "out", *options)
    frame = gpd.read_file(place / "out/scene/polygons.gpkg")
    assert frame.crs.to_epsg() == 32633
    assert 479_000 < frame.total_bounds[0] < frame.total_bounds[2] < 483_000


def test_a_place_that_is_not_used_is_said_once_and_refused_where_it_is_needed(place):
    code, _, said = alone("predict", place / "scene.tif", "-m", place / "m.safetensors", "-o", place / "p.tif", "-q")
    assert code == 0
    assert said.count("4 ground control points are not used") == 1
    assert "--georeference gcp" in said
    code, _, said = alone("vectorize", place / "classes.tif", "-o", place / "v.gpkg", "-q")
    assert (code, said.count("4 ground control points are not used")) == (0, 1)
    code, _, said = alone("vectorize", place / "classes.tif", "-o", place / "v.geojson", "-q")
    assert code == 1
    assert "RFC 7946" in said
    code, _, said = alone("vectorize", place / "classes.tif", "-o", place / "w.gpkg", "-q", "--min-area", "1")
    assert (code, "has no CRS, so there are no hectares" in said) == (1, True)


def test_info_names_the_crs_and_what_is_odd(place, write_scene):
    text = run("info", place / "scene.tif")
    assert "CRS         none: pixel coordinates" in text
    assert "4 ground control points are not used" in text
    assert "WGS 84 / UTM zone 33N (EPSG:32633)" in run("info", place / "scene.tif", "--georeference", "gcp")
    local = 'LOCAL_CS["Site grid of the mill",UNIT["metre",1]]'
    values = np.full((40, 50), 7, np.int16)
    values[:12] = -9999
    path = write_scene(place / "local.tif", values, crs=local)
    text = run("info", path)
    assert "CRS         Site grid of the mill\n" in text
    assert "30.0% of a sample of its pixels hold -9999" in text
    found = json.loads(run("info", path, "--json"))
    assert (found["crs"], found["crs_name"]) == (None, "Site grid of the mill")
    assert found["crs_wkt"].startswith("LOCAL_CS[")
    assert "valid       70.0% (by nodata -9999)" in run("info", path, "--nodata", "-9999")


def test_libraries_warnings_are_heard_only_where_they_are_asked_for(place):
    """Rasterio warns of a raster without a place, pyogrio of a file with two layers; neither reaches the user."""
    code = (
        "import logging, sys, warnings\n"
        "from geounet_pipelines import main as entry\n"
        "def command(**given):\n"
        "    warnings.warn('from a library')\n"
        "    logging.getLogger('rasterio._err').warning('CPLE_AppDefined in x')\n"
        "    logging.getLogger('geounet.raster.scene').warning('our own word')\n"
        "entry.COMMANDS['info'] = ''\n"
        "import geounet_pipelines.info as info\n"
        "info.command.callback = command\n"
        "entry.main()\n"
    )
    for more, heard in (((), False), (("-v",), True)):
        done = subprocess.run(
            [sys.executable, "-c", code, "info", str(place / "scene.tif"), *more], capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        assert "our own word" in done.stderr
        assert ("from a library" in done.stderr) == heard
        assert ("CPLE_AppDefined" in done.stderr) == heard
