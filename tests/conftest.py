"""What all tests share: tiny scenes drawn in code, the real data where there is some, and hypothesis' settings."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from distributed import Client, LocalCluster
from hypothesis import settings
from pystac.validation.local_validator import get_local_schema_cache
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geounet.threads import wait_politely

wait_politely()
settings.register_profile("geounet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("geounet")

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)


def _write_scene(
    path, array, *, descriptions=None, scales=None, offsets=None, colorinterp=None, colormap=None, mask=None, **profile
):
    """Write `array`, (height, width) or (bands, height, width), as a GeoTIFF; a profile's value of None leaves it out.

    By default north-up pixels of 10 m in EPSG:32633; `mask`, (height, width), becomes an internal mask.
    """
    array = np.asarray(array)
    array = array[None] if array.ndim == 2 else array
    wanted = {"driver": "GTiff", "crs": "EPSG:32633", "transform": NORTH_UP, "dtype": array.dtype.name} | profile
    shape = dict(zip(("count", "height", "width"), array.shape, strict=True))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **shape, **{key: value for key, value in wanted.items() if value is not None}) as file,
    ):
        for name, value in {"scales": scales, "offsets": offsets, "colorinterp": colorinterp}.items():
            if value is not None:
                setattr(file, name, value)
        if descriptions is not None:
            file.descriptions = descriptions
        if colormap is not None:
            file.write_colormap(1, colormap)
        file.write(array)
        if mask is not None:
            file.write_mask(np.asarray(mask, np.bool_))
    return path


@pytest.fixture(scope="session")
def write_scene():
    """A function that writes a tiny GeoTIFF and returns its path."""
    return _write_scene


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("GEOUNET_DATA")
    if not folder:
        pytest.skip("GEOUNET_DATA is not set: no real data here")
    return Path(folder)


@pytest.fixture(scope="session")
def two_workers():
    """The address of a scheduler with two worker processes, started once for all tests that want no more of them."""
    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(2, threads_per_worker=2, processes=True, scheduler_kwargs=quiet, memory_limit=0) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def running_cluster(tmp_path):
    """A scheduler and two workers, three processes of their own: its `address`, scheduler `file`, and `workers`."""
    file = str(tmp_path / "scheduler.json")
    python = [sys.executable, "-m"]
    worker = [*python, "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny"]
    commands = [
        [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file],
        *([*worker, "--no-dashboard", "--local-directory", str(tmp_path / name)] for name in ("one", "two")),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        with Client(scheduler_file=file, timeout="60s") as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        yield SimpleNamespace(address=address, file=file, workers=processes[1:])
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def valid():
    """A function that holds STAC's own schema against a document; those of the extensions are elsewhere."""
    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= get_local_schema_cache()

    def check(path):
        document = json.loads(path.read_text())
        kind = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}[document["type"]]
        uri = f"https://schemas.stacspec.org/v{document['stac_version']}/{kind}-spec/json-schema/{kind}.json"
        validator._validate_from_uri(document, pystac.STACObjectType[kind.upper()], uri)
        return document

    return check
