"""Each option of a command on a raster of several batches, bands of rows, tiles, blocks and windows: as on one of each.

Rasters of tests are small, so batches and bands are made small instead.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from geopandas.testing import assert_geodataframe_equal
from geounet_pipelines.main import cli

from geounet.outlines import polygons, streaming

VECTOR_ENDINGS = ("gpkg", "parquet", "fgb", "geojson", "shp")
SIMPLIFYING = (("--simplify", "10"), ("--smooth",), ("--simplify", "15", "--smooth"))


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def classes():
    """Three classes and nodata in blobs of some pixels, not square."""
    random = np.random.default_rng(3)
    coarse = random.choice([10, 20, 40, 255], (14, 19), p=[0.4, 0.3, 0.2, 0.1])
    return coarse.repeat(4, 0).repeat(5, 1).astype(np.uint8)


@pytest.fixture
def several(monkeypatch):
    """Makes batches of few polygons in bands of few rows."""

    def small():
        monkeypatch.setattr(streaming, "_BATCH", 5)
        monkeypatch.setattr("geounet.tasks.vectorize.BAND", 8)
        return ("--tile-size", "13")

    return small


def in_place_order(frame):
    """Rows in the order of their first pixel, without the ids that bands give."""
    boxes = shapely.bounds(frame.geometry.to_numpy())
    keys = np.lexsort((frame["perimeter_m" if "perimeter_m" in frame else "perim_m"], boxes[:, 1], boxes[:, 0]))
    return frame.drop(columns="id").iloc[keys].reset_index(drop=True)


@pytest.mark.parametrize("ending", VECTOR_ENDINGS)
@pytest.mark.parametrize("options", SIMPLIFYING)
def test_outlines_are_simplified_in_many_batches_as_in_one(tmp_path, write_scene, classes, several, options, ending):
    raster = write_scene(tmp_path / "c.tif", classes, nodata=255)
    run("vectorize", raster, "-o", tmp_path / f"one.{ending}", *options)
    run("vectorize", raster, "-o", tmp_path / f"many.{ending}", *options, *several())
    one, many = (gpd.read_file(tmp_path / f"{name}.{ending}") if ending != "parquet" else
                 gpd.read_parquet(tmp_path / f"{name}.{ending}") for name in ("one", "many"))  # fmt: skip
    assert len(many) > 20 > polygons.BAND / 100
    assert_geodataframe_equal(in_place_order(many), in_place_order(one), check_less_precise=True)
