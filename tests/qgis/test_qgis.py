"""What QGIS makes of what is handed on: it opens off screen, and legend and picture are what they should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from made import NORTH_UP, VALUES, blobs, levels, make_product
from pyproj import Transformer
from rasterio import Affine

from geounet.raster.cog import classes_of
from geounet.tasks.export import export

PYTHON = "/usr/bin/python3"
ANSWERS = shutil.which("qgis") is not None and Path(PYTHON).exists()
pytestmark = [pytest.mark.qgis, pytest.mark.skipif(not ANSWERS, reason="QGIS is not installed")]


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Three products: blobs of some pixels; two side by side, one in another zone."""
    folder = tmp_path_factory.mktemp("batch")
    for number, crs in enumerate(["EPSG:32633", "EPSG:32633", "EPSG:32634"]):
        codes = blobs(200 + number, 300, number, 25)
        make_product(folder / f"p{number}", codes, levels(codes), crs=crs,
                     transform=NORTH_UP * Affine.translation(310 * number, 0))  # fmt: skip
    return folder


def look(name, picture, places=()):
    command = [PYTHON, Path(__file__).with_name("looking.py"), name, picture, *(n for place in places for n in place)]
    still = os.environ | {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(picture.parent), "LANG": "C.UTF-8",
                          "XDG_CONFIG_HOME": str(picture.parent), "XDG_DATA_HOME": str(picture.parent)}  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300, env=still)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def some_places(product, count=40):
    """Middles of blobs, in the CRS of the raster: their coordinates, and the colours of their classes."""
    with rasterio.open(product / "classes.tif") as file:
        codes = file.read(1)
        rows, cols = (grid.ravel() for grid in np.mgrid[12 : codes.shape[0] : 25, 12 : codes.shape[1] : 25])
        x, y = file.transform @ (cols + 0.5, rows + 0.5)
    colors = {item.value: item.color for item in classes_of(product / "classes.tif")}
    seen = [(at, colors.get(codes[row, col])) for row, col, at in zip(rows, cols, zip(x, y, strict=True), strict=True)]
    chosen = [pair for pair in seen if pair[1]][:count]
    assert len({color for _, color in chosen}) == len(VALUES)
    return chosen


def table(product):
    return [[item.name, item.color, item.value] for item in classes_of(product / "classes.tif")]


def test_a_project_of_several_products(batch, tmp_path):
    """Rasters and polygons of each, valid and named; legend and first view; also after the folder was moved."""
    (tmp_path / "here").mkdir()
    shutil.copytree(batch, tmp_path / "here/batch")
    made = export(tmp_path / "here/batch", tmp_path / "here/map.qgz")
    assert [path.name for path in made.files] == [f"map_p{number}.gpkg" for number in range(3)]
    (tmp_path / "here").rename(tmp_path / "there")
    places = some_places(batch / "p0")
    told = look(tmp_path / "there/map.qgz", tmp_path / "map.png", [at for at, _ in places])
    assert told["groups"] == ["p0", "p1", "p2"]
    assert [layer["name"] for layer in told["layers"]] == ["polygons", "classes", "confidence"] * 3
    assert all(layer["valid"] for layer in told["layers"]), told["layers"]
    assert {layer["crs"] for layer in told["layers"]} == {"EPSG:32633", "EPSG:32634"}
    assert told["crs"] == "EPSG:32633"
    for number in range(3):
        polygons, classes, confidence = told["layers"][3 * number : 3 * number + 3]
        assert polygons["legend"] == classes["legend"] == table(batch / f"p{number}")
        assert polygons["features"] == len(gpd.read_parquet(batch / f"p{number}/polygons.parquet"))
        assert confidence["legend"] == "singlebandgray"
        assert (polygons["shown"], classes["shown"], confidence["shown"]) == (False, True, False)
    west, south, east, north = told["extent"]
    assert west < 500_000 < east
    assert south < 5_398_000
    assert north > 5_400_000
    assert told["colors"] == [color for _, color in places]


def test_a_project_with_its_scene_in_colours(batch, tmp_path, write_scene):
    shutil.copytree(batch / "p0", tmp_path / "p0")
    random = np.random.default_rng(0).integers(0, 3000, (4, 200, 300)).astype(np.uint16)
    with rasterio.open(batch / "p0/classes.tif") as file:
        write_scene(tmp_path / "p0/p0.tif", random, descriptions=("B02", "B03", "B04", "B08"), transform=file.transform)
    export(tmp_path / "p0", tmp_path / "map.qgz")
    told = look(tmp_path / "map.qgz", tmp_path / "map.png")
    assert [(layer["name"], layer["valid"]) for layer in told["layers"]][-1] == ("scene", True)
    assert told["layers"][-1]["legend"] == "multibandcolor"


@pytest.mark.parametrize("ending", ["gpkg", "fgb", "geojson", "shp"])
def test_polygon_files_open_in_their_colours(batch, tmp_path, ending):
    export(batch / "p1", tmp_path / f"fields.{ending}")
    places = some_places(batch / "p1")
    points = np.array([at for at, _ in places])
    if ending == "geojson":
        points = np.stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(*points.T), axis=1)
    told = look(tmp_path / f"fields.{ending}", tmp_path / "map.png", points.tolist())
    assert told["layers"][0]["valid"]
    assert told["layers"][0]["legend"] == table(batch / "p1")
    assert told["colors"] == [color for _, color in places]


def test_rasters_open_in_their_colours(batch, tmp_path):
    """The COG by its style, the GeoPackage by its palette."""
    places = some_places(batch / "p2")
    export(batch / "p2", tmp_path / "map.gpkg", layers=["classes", "polygons"])
    for name in (batch / "p2/classes.tif", f"GPKG:{tmp_path}/map.gpkg:classes"):
        told = look(name, tmp_path / "map.png", [at for at, _ in places])
        assert told["layers"][0]["valid"]
        assert told["colors"] == [color for _, color in places]
        assert {row[1] for row in table(batch / "p2")} <= {row[1] for row in told["layers"][0]["legend"]}


def test_map_tiles_open(batch, tmp_path):
    """Of the raster in its colours, of polygons with something to be seen."""
    places = some_places(batch / "p0", 30)
    x, y = Transformer.from_crs(32633, 3857, always_xy=True).transform(*np.array([at for at, _ in places]).T)
    export(batch / "p0", tmp_path / "raster.mbtiles", layers=["classes"])
    told = look(tmp_path / "raster.mbtiles", tmp_path / "raster.png", zip(x, y, strict=True))
    assert told["layers"][0]["valid"]
    assert told["colors"] == [color for _, color in places]
    export(batch / "p0", tmp_path / "vector.mbtiles")
    told = look(f"{tmp_path}/vector.mbtiles:vector", tmp_path / "vector.png", zip(x, y, strict=True))
    assert told["layers"][0]["valid"]
    assert "#ffffff" not in told["colors"], "fields are drawn"


def test_gdal_knows_names_and_colours_of_classes(batch):
    """Category names and attribute table, as ArcGIS reads them."""
    done = subprocess.run(["gdalinfo", batch / "p0/classes.tif"], capture_output=True, text=True, check=True)
    for number, (name, color, value) in enumerate(table(batch / "p0")):
        rgb = "".join(f"<F>{int(color[at : at + 2], 16)}</F>" for at in (1, 3, 5))
        told = "".join(done.stdout.split())
        escaped = name.replace(" ", "").replace("&", "&amp;")
        assert f'<Rowindex="{number}"><F>{value}</F><F>{escaped}</F>{rgb}</Row>' in told
        assert f"{value}:{name.replace(' ', '')}" in told
