"""Real aerial pictures of one place in 2009, 2014 and 2020, on grids that differ by a row."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from untrained import CLASSES

from geounet.grid import Window
from geounet.raster.cog import RasterProfile, write_cog
from geounet.tasks.change import Rules, change

DATA = Path(os.environ.get("GEOUNET_DATA", "none")) / "naip_three_years"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason="GEOUNET_DATA is not set")]


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Three classes by the vegetation index: paths and codes, by year."""
    folder, found = tmp_path_factory.mktemp("maps"), {}
    for path in sorted(DATA.glob("*.tif")):
        with rasterio.open(path) as file:
            bands, place, crs = file.read().astype(float), file.transform, file.crs
        index = (bands[3] - bands[0]) / np.maximum(bands[3] + bands[0], 1)
        codes = np.select([index < 0.0, index < 0.2], [10, 30], 254).astype(np.uint8)
        codes[(bands == 0).all(axis=0)] = 255
        year = path.stem[-8:-4]
        profile = RasterProfile(*codes.shape, place, crs, "uint8", 255, classes=CLASSES)
        write_cog(folder / f"{year}.tif", profile, [(Window(0, 0, *codes.shape), codes[None])])
        found[year] = folder / f"{year}.tif", codes
    return found


@pytest.mark.parametrize(("before", "after"), [("2009", "2014"), ("2014", "2020"), ("2009", "2020")])
def test_grids_that_differ_by_a_row_are_compared_where_they_overlap(maps, tmp_path, before, after):
    found = change(maps[before][0], maps[after][0], tmp_path / "c", Rules(0.0, 1), tile_size=200)
    plain = change(maps[before][0], maps[after][0], tmp_path / "d", Rules(0.0), tile_size=333)
    valid = sum(row.pixels for row in plain.transitions)
    assert valid == sum(row.pixels for row in found.transitions) > 0.95 * maps[before][1].size
    assert found.resampled == plain.resampled <= 1
    assert found.height <= 724
    changed = sum(row.pixels for row in plain.transitions if row.changed)
    assert changed == found.shifted + sum(row.pixels for row in found.transitions if row.changed)
    assert 0 < found.shifted < changed
    assert found.polygons < plain.polygons
