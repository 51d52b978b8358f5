"""Kill -9, of the whole run and of one worker: the same pixels, and nothing done twice."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from affine import Affine
from untrained import make_model

from geounet.tasks.predict import Engine, predict

pytestmark = pytest.mark.fault

ENGINE = {"tile_size": 32, "window_size": 80}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A scene of a few hundred blocks, a model, and the raster of an undisturbed run."""
    folder = tmp_path_factory.mktemp("place")
    array = np.random.default_rng(0).integers(1, 255, (2, 700, 460), dtype=np.uint8)
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", height=700, width=460, count=2, dtype="uint8", crs="EPSG:32633",
        transform=Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(array)
    make_model(folder / "m.safetensors", width=12)
    predict(folder / "scene.tif", folder / "m.safetensors", folder / "whole.tif", engine=Engine(**ENGINE))
    return folder


def pixels(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def records(folder):
    """Blocks that are done, and when."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "c.tif.tiles" / "done").glob("*.json")}


def start(place, folder, *more):
    """The command as a process of its own."""
    words = ["predict", place / "scene.tif", "-m", place / "m.safetensors", "-o", folder / "c.tif", "-q"]
    words += ["--tile-size", "32", "--window-size", "80", *more]
    code = "from geounet_pipelines.main import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stderr=subprocess.PIPE)


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_run_killed_at_ten_random_moments_goes_on_each_time(place, tmp_path):
    """What was done before a kill stands untouched after the next one; the raster is that of an undisturbed run."""
    moments = np.random.default_rng(0)
    done = {}
    for _ in range(10):
        process = start(place, tmp_path)
        target = len(done) + int(moments.integers(1, 25))
        wait_for(lambda target=target: len(records(tmp_path)) >= target, process)
        process.kill()
        process.wait()
        found = records(tmp_path)
        assert found.items() >= done.items()
        assert not (tmp_path / "c.tif").exists()
        done = found
    result = predict(place / "scene.tif", place / "m.safetensors", tmp_path / "c.tif", engine=Engine(**ENGINE))
    assert len(done) == result.resumed < result.blocks
    np.testing.assert_array_equal(pixels(tmp_path / "c.tif"), pixels(place / "whole.tif"))
    assert result.valid == 700 * 460


def test_a_worker_killed_in_mid_run_costs_its_block_alone(place, tmp_path, running_cluster):
    """A scheduler and two workers, processes all; kill -9 of one leaves the pixels the same."""
    run = start(place, tmp_path, "--scheduler", running_cluster.file)
    wait_for(lambda: len(records(tmp_path)) >= 20, run)
    running_cluster.workers[0].kill()
    assert run.wait(timeout=120) == 0, run.stderr.read().decode()
    np.testing.assert_array_equal(pixels(tmp_path / "c.tif"), pixels(place / "whole.tif"))
