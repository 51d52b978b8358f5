"""Products in an object store: real servers that speak as Amazon's and Azure's do, and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from object_servers import amazon, amazon_bucket, azure, azure_container, azurite
from untrained import make_model

from geounet.engine.plan import Engine
from geounet.errors import OutputError, UnreachableError
from geounet.products.bucket import Bucket, workshop_of
from geounet.raster.remote import over_network
from geounet.tasks.change import Rules, change
from geounet.tasks.mosaic import mosaic
from geounet.tasks.product import Recipe
from geounet.tasks.run import run
from geounet.tasks.status import status

pytestmark = pytest.mark.server

RECIPE = Recipe(vector_format="parquet", engine=Engine(precision="fp32"))


@pytest.fixture(scope="module", params=["s3", "az"])
def server(request, tmp_path_factory):
    """Of an object store: the scheme of its URLs, its port, and a function that makes a bucket there."""
    if request.param == "s3":
        with amazon() as port:
            yield "s3", port, amazon_bucket
        return
    if azurite() is None:
        pytest.skip("Azurite is not installed; make azurite")
    with azure(tmp_path_factory.mktemp("azure")) as port:
        yield "az", port, azure_container


@pytest.fixture
def place(server, tmp_path, monkeypatch, write_scene):
    """Three scenes, a model, and an empty bucket: the folder, and the URL of a prefix."""
    scheme, port, make = server
    name = f"bucket{abs(hash(tmp_path)) % 10**9}"
    for key, value in {**make(port, name), "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "in").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(1, 250, (2, 60, 70 + number)).astype(np.uint8)
        write_scene(tmp_path / "in" / f"s{number}.tif", pixels)
    make_model(tmp_path / "m.safetensors")
    return tmp_path, f"{scheme}://{name}/some/prefix"


def again(place, recipe=RECIPE, **how):
    folder, url = place
    return run([folder / "in"], folder / "m.safetensors", url, recipe, **how)


def objects(place):
    """Names and bytes of all that is there."""
    store = Bucket(place[1])._store
    names = [item["path"] for chunk in store.list() for item in chunk]
    return {name: bytes(store.get(name).bytes()) for name in names}


def test_products_go_to_the_store_as_to_a_folder(place):
    """The same files, but for the places that records name; nothing but records stays here."""
    folder, url = place
    assert again(place).counts == {"done": 3}
    run([folder / "in"], folder / "m.safetensors", folder / "local", RECIPE)
    found = objects(place)
    local = {str(path.relative_to(folder / "local")): path.read_bytes() for path in (folder / "local").rglob("*.*")}
    assert set(found) == set(local)
    other = [name for name in local if found[name] != local[name]]
    assert {name.rpartition("/")[2] for name in other} == {"item.json", "items.parquet", "summary.json"}
    item = json.loads(found["s1/item.json"])
    assert [link["href"] for link in item["links"] if link["rel"] == "derived_from"] == [str(folder / "in/s1.tif")]
    here = {path.name for path in workshop_of(url).rglob("*") if path.is_file()}
    assert here == {"item.json", "catalog.json", "collection.json", "items.parquet", "summary.json"}
    assert status(url).state == "finished"


def test_a_second_run_from_anywhere_does_what_is_left_to_do(place, monkeypatch, write_scene):
    folder, _ = place
    again(place)
    before = objects(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "another machine"))
    assert again(place).counts == {"unchanged": 3}
    write_scene(folder / "in/s1.tif", np.full((2, 60, 70), 9, np.uint8))
    batch = again(place)
    assert {entry.id: (entry.state, entry.reason) for entry in batch.scenes} == {
        "s0": ("unchanged", ""), "s1": ("done", "the scene"), "s2": ("unchanged", ""),
    }  # fmt: skip
    after = objects(place)
    assert {name.partition("/")[0] for name in before if before[name] != after[name] and "/" in name} == {"s1"}
    recipe = Recipe(vector_format="gpkg", engine=RECIPE.engine)
    assert again(place, recipe).counts == {"done": 3}
    assert {name.rpartition(".")[2] for name in objects(place) if "polygons" in name} == {"gpkg", "qml"}


def test_one_run_at_a_time_works_there_and_a_dead_one_bars_no_way(place):
    bucket = Bucket(place[1])
    with bucket.leased():
        who = rf"process {os.getpid()} on {socket.gethostname()}, since 20"
        with pytest.raises(OutputError, match=who):
            again(place)
        again(place, dry_run=True)
        assert bucket.holder()["process"] == os.getpid()
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    lease = {"host": socket.gethostname(), "process": int(dead.stdout), "since": "2026-01-01T00:00:00+00:00",
             "alive": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    bucket._store.put(".run.json", json.dumps(lease).encode())
    assert again(place).counts == {"done": 3}
    bucket._store.put(".run.json", json.dumps({**lease, "host": "far away"}).encode())
    assert again(place).counts == {"unchanged": 3}
    assert ".run.json" not in objects(place)


TILED = replace(RECIPE, engine=Engine(precision="fp32", tile_size=32, window_size=64))


class _LostError(Exception):
    """The machine is gone."""


def interrupted(place, monkeypatch, recipe=TILED):
    """Run until some blocks of the first scene are done; the machine and all that it holds are then lost.

    Returns:
        Blocks that are in the store, by their names.
    """
    told = set()

    def show(batch):
        # Once in each thread: that a scene has failed is shown, too.
        if batch.scenes[0].share > 0.4 and threading.get_ident() not in told:
            told.add(threading.get_ident())
            raise _LostError

    failed = again(place, recipe, show=show).of("failed")
    assert {entry.failure for entry in failed} == {"_LostError:"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(place[0] / "another machine"))
    return [name for name in objects(place) if "/tiles/done/" in name]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_machine_goes_on_with_the_blocks_that_one_has_finished(place, monkeypatch, precision):
    """And with the network that they were computed by."""
    recipe = replace(TILED, engine=replace(TILED.engine, precision=precision))
    local = run([place[0] / "in"], place[0] / "m.safetensors", place[0] / "local", recipe)
    assert local.counts == {"done": 3}, [entry.failure for entry in local.scenes]
    blocks = interrupted(place, monkeypatch, recipe)
    assert len(blocks) >= 3
    first = {}
    again(place, recipe, show=lambda batch: [first.setdefault(e.id, e.share) for e in batch.scenes if e.share])
    assert first["s0"] == pytest.approx(sum(name.startswith("s0/") for name in blocks) / 6)
    found = objects(place)
    assert not [name for name in found if "/tiles/" in name]
    for name in ("s0", "s1", "s2"):
        for file in ("classes.tif", "confidence.tif", "polygons.parquet", "preview.png"):
            assert found[f"{name}/{file}"] == (place[0] / "local" / name / file).read_bytes(), (name, file)


def test_blocks_of_other_work_are_not_taken_up(place, monkeypatch):
    assert interrupted(place, monkeypatch)
    make_model(place[0] / "m.safetensors", mean=90.0)
    assert again(place, TILED).counts == {"done": 3}
    run([place[0] / "in"], place[0] / "m.safetensors", place[0] / "local", TILED)
    assert objects(place)["s0/classes.tif"] == (place[0] / "local/s0/classes.tif").read_bytes()


def test_a_map_is_made_of_products_in_the_store(place):
    """By one name or several, as a copy or as a virtual raster; as of products in a folder."""
    folder, url = place
    again(place)
    run([folder / "in"], folder / "m.safetensors", folder / "local", RECIPE)
    mosaic([folder / "local"], folder / "local.tif", confidence=folder / "local_k.tif", prefer="newest")
    made = mosaic([url], folder / "far.tif", confidence=folder / "far_k.tif", prefer="newest")
    assert made.products == 3
    for name in (".tif", "_k.tif"):
        assert (folder / f"far{name}").read_bytes() == (folder / f"local{name}").read_bytes()
    assert mosaic([f"{url}/s0", f"{url}/s1/item.json", f"{url}/s0"], folder / "two.tif").products == 2
    mosaic([url], folder / "far.vrt", prefer="newest")
    with over_network(remote=True), rasterio.open(folder / "far.vrt") as far, rasterio.open(folder / "far.tif") as near:
        np.testing.assert_array_equal(far.read(), near.read())
    far, near = (change(f"{where}/s0", f"{where}/s1", folder / name, Rules(0.0)) for where, name in
                 ((url, "far"), (folder / "local", "near")))  # fmt: skip
    assert (far.transitions, far.polygons) == (near.transitions, near.polygons)
    assert (folder / "far/change.tif").read_bytes() == (folder / "near/change.tif").read_bytes()
    with pytest.raises(OutputError, match="holds no product"):
        mosaic([f"{url}/none"], folder / "none.tif")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_killed_it_goes_on_and_ends_as_though_nothing_had_been(place, share):
    folder, url = place
    words = [Path(sys.executable).with_name("geounet"), "run", "in", "-m", "m.safetensors", "-o", url, "--format",
             "parquet", "--precision", "fp32", "-q"]  # fmt: skip
    start = time.monotonic()
    subprocess.run(words, cwd=folder, check=True)
    took = time.monotonic() - start
    expected = objects(place)
    for name in expected:
        Bucket(url)._store.delete(name)
    subprocess.run(["rm", "-rf", str(folder / "cache")], check=True)
    process = subprocess.Popen(words, cwd=folder)
    time.sleep(took * share)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(words, cwd=folder, check=True)
    found = objects(place)
    assert set(found) == set(expected)
    assert [name for name in found if found[name] != expected[name] and name != "summary.json"] == []


def test_no_store_there_is_one_sentence(place, monkeypatch):
    for key in ("AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnreachableError, match="cannot be used at present"):
        again(place)
