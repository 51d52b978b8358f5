"""Jobs over real scenes: aerial pictures of 2009, 2014 and 2020 on grids that differ, and two dates of Sentinel-2."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from geounet_pipelines.main import cli
from untrained import CLASSES

from geounet.tasks.monitor import monitor

DATA = Path(os.environ.get("GEOUNET_DATA", "none"))
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason="GEOUNET_DATA is not set")]
JOB = 'name = "real"\nout = "state"\n[source]\npath = "incoming"\n[model]\nfile = "m.safetensors"\n[change]\n'
NAMES = ("blue", "green", "red", "nir")


def naip(folder):
    """Four bands a year."""
    for path in sorted((DATA / "naip_three_years").glob("*.tif")):
        with rasterio.open(path) as file:
            bands, profile = file.read()[[2, 1, 0, 3]], file.profile
        write(folder / f"s_{path.stem[-8:]}.tif", bands, profile)


def austria(folder):
    """Two dates of four bands each, which come as one raster of eight."""
    with rasterio.open(DATA / "austria_two_dates/inference-img.tif") as file:
        bands, profile = file.read(), file.profile
    for number, day in enumerate(("20200401", "20200701")):
        write(folder / f"s_{day}.tif", bands[4 * number : 4 * number + 4][[2, 1, 0, 3]], profile)


def write(path, bands, profile):
    with rasterio.open(path, "w", **{**profile, "count": 4, "photometric": "MINISBLACK"}) as file:
        file.write(bands)
        file.descriptions = NAMES


def learn(folder):
    """A model of the first date's three classes by the vegetation index."""
    first = min((folder / "waiting").iterdir())
    with rasterio.open(first) as file:
        bands, profile = file.read().astype(float), file.profile
    index = (bands[3] - bands[2]) / np.maximum(bands[3] + bands[2], 1)
    codes = np.array([item.value for item in CLASSES], np.uint8)[np.digitize(index, np.quantile(index, (0.33, 0.66)))]
    with rasterio.open(folder / "l.tif", "w", **{**profile, "count": 1, "dtype": "uint8", "nodata": 255}) as file:
        file.write(codes[None])
    shape = ["--depth", "1", "--width", "8", "--patch-size", "64", "--epochs", "4", "--patches", "64", "-q"]
    words = ["train", first, "--labels", folder / "l.tif", "-o", folder / "m.safetensors", *shape]
    assert CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("place", [naip, austria])
def test_real_scenes_give_one_state_in_whatever_order_they_come(tmp_path, place):
    found = []
    (tmp_path / "waiting").mkdir()
    place(tmp_path / "waiting")
    learn(tmp_path)
    names = sorted(path.name for path in (tmp_path / "waiting").iterdir())
    for order in (names, names[::-1]):
        folder = tmp_path / str(len(found))
        (folder / "incoming").mkdir(parents=True)
        (folder / "m.safetensors").symlink_to(tmp_path / "m.safetensors")
        (folder / "job.toml").write_text(JOB + 'confirm = "1 of 1"\nmin_area = 0.1\n')
        for name in order:
            (folder / "incoming" / name).symlink_to(tmp_path / "waiting" / name)
            report = monitor(folder / "job.toml")
            assert report.failures == {}
        assert report.scenes == len(names)
        files = [path for path in (folder / "state").iterdir() if path.suffix in (".tif", ".parquet", ".gpkg")]
        found.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert found[0] == found[1]
    events = gpd.read_parquet(folder / "state/events.parquet")
    assert len(events) > 10
    assert events["area_ha"].min() >= 0.1
    assert ("confirmed" in set(events["status"])) == (len(names) > 2)
