"""A batch: many scenes, one cluster and one choice for each kind; run again, it does what is left to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from pystac_client import Client
from untrained import CLASSES, make_model

from geounet.engine import cluster
from geounet.engine.runtimes import prepared
from geounet.errors import GeounetError, ModelError, OutputError, SceneError, UnreachableError
from geounet.raster.opening import Opening
from geounet.tasks import run as running
from geounet.tasks.predict import Engine
from geounet.tasks.product import Recipe, product
from geounet.tasks.run import run
from geounet.tasks.status import status

FP32 = Engine(precision="fp32")
RECIPE = Recipe(vector_format="parquet", engine=FP32)
BLOCKS = Engine(tile_size=48, window_size=80, precision="fp32")
"""Of several blocks and windows a scene; the others are of one, and need no cluster."""


@pytest.fixture(scope="module")
def template(tmp_path_factory, write_scene):
    """Four scenes of several sizes, one of them of another type, a model, and the products of all of them."""
    folder = tmp_path_factory.mktemp("template") / "all"
    random = np.random.default_rng(0)
    (folder / "in").mkdir(parents=True)
    for number in range(4):
        shape = 2, 60 + 20 * number, 130 - 10 * number
        dtype = np.uint16 if number > 2 else np.uint8
        values = random.integers(1, 250, shape).astype(dtype)
        values[:, :9, :20] = 0
        write_scene(folder / "in" / f"s{number}.tif", values, nodata=0)
    make_model(folder / "m.safetensors")
    assert again(folder).counts == {"done": 4}
    return folder


@pytest.fixture
def finished(template, tmp_path):
    """A copy of scenes, model and products, all files as old as they were."""
    return Path(shutil.copytree(template, tmp_path / "all"))


@pytest.fixture
def place(finished):
    """Scenes and model alone."""
    shutil.rmtree(finished / "out")
    return finished


def again(place, recipe=RECIPE, names=("in",), **how):
    return run([place / name for name in names], place / "m.safetensors", place / "out", recipe, **how)


def states(batch):
    return {entry.id: entry.state for entry in batch.scenes}


def files(folder):
    """Bytes of all files but what says how long something took."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != "summary.json"}  # fmt: skip


def pixels(path):
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.server)])
def test_each_scene_of_a_batch_becomes_what_it_becomes_alone(place, workers):
    recipe = replace(RECIPE, engine=replace(BLOCKS, workers=workers))
    batch = again(place, recipe)
    assert states(batch) == {f"s{number}": "done" for number in range(4)}
    for entry in batch.scenes:
        made, alike = place / "out" / entry.folder, replace(RECIPE, engine=BLOCKS)
        alone = product(place / "in" / f"{entry.id}.tif", place / "m.safetensors", place / "alone" / entry.id, alike)
        np.testing.assert_array_equal(pixels(made / "classes.tif"), pixels(alone.classes))
        np.testing.assert_array_equal(pixels(made / "confidence.tif"), pixels(alone.confidence))
        assert gpd.read_parquet(made / "polygons.parquet").equals(gpd.read_parquet(alone.polygons))
        codes = pixels(made / "classes.tif")
        assert entry.valid_share == pytest.approx((codes != 255).mean(), abs=1e-6)
        assert entry.polygons == alone.polygon_count
        frame = gpd.read_parquet(alone.polygons)
        assert entry.hectares == pytest.approx(dict(frame.groupby("class_name")["area_ha"].sum()), abs=1e-5)


@pytest.mark.parametrize("tile_size", [pytest.param(48, marks=pytest.mark.server), 2048])
def test_blocks_of_several_scenes_or_whole_ones_run_on_a_cluster_elsewhere(
    place, two_workers, tile_size, monkeypatch, write_scene
):
    """Whose workers were started in another folder than the one that scenes, masks and products are named from."""
    write_scene(place / "cloud.tif", np.tile(np.arange(200) % 9 == 0, (200, 1)).astype(np.uint8))
    monkeypatch.chdir(place)
    recipe = replace(RECIPE, engine=BLOCKS, opening=Opening(masks=("cloud.tif",)))
    again(place, recipe)
    engine = replace(BLOCKS, scheduler=two_workers, tile_size=tile_size)
    run(["in"], Path("m.safetensors"), Path("elsewhere"), replace(recipe, engine=engine))
    found, expected = files(place / "elsewhere"), files(place / "out")
    assert {name: found[name] == expected[name] for name in expected} == dict.fromkeys(found, True)


def test_a_second_run_passes_over_what_is_finished(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "out").glob("*/*")}
    assert set(states(again(finished)).values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_has_changed_is_done_anew_and_it_says_what(finished, write_scene):
    write_scene(finished / "in" / "s1.tif", np.full((2, 60, 80), 9, np.uint8))
    write_scene(finished / "in" / "s9.tif", np.full((2, 60, 80), 9, np.uint8))
    (finished / "out" / "s2" / "confidence.tif").unlink()
    asked = again(finished, dry_run=True)
    why = {entry.id: (entry.state, entry.reason) for entry in asked.scenes}
    assert why == {
        "s0": ("unchanged", ""), "s1": ("waiting", "the scene"), "s2": ("waiting", "files of it are missing"),
        "s3": ("unchanged", ""), "s9": ("waiting", "new"),
    }  # fmt: skip
    assert asked.estimate > 0
    assert sum(entry.pixels for entry in asked.of("waiting")) == 2 * 60 * 80 + 100 * 110
    batch = again(finished)
    assert states(batch) == {"s0": "unchanged", "s1": "done", "s2": "done", "s3": "unchanged", "s9": "done"}
    make_model(finished / "m.safetensors", width=8)
    assert {entry.reason for entry in again(finished).scenes} == {"the model"}


def test_other_options_keep_the_prediction_where_it_is_the_same(place):
    again(place)
    before = {path: path.stat().st_mtime_ns for path in (place / "out").glob("*/c*.tif")}
    kept = again(place, replace(RECIPE, min_area=0.02), changed="skip")
    assert set(states(kept).values()) == {"kept"}
    assert {entry.reason for entry in kept.scenes} == {"options (--min-area)"}
    batch = again(place, replace(RECIPE, min_area=0.02, vector_format="gpkg"))
    assert {entry.reason for entry in batch.scenes} == {"options (--format, --min-area)"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list((place / "out").glob("*/*.parquet"))
    assert min(gpd.read_file(path)["area_ha"].min() for path in (place / "out").glob("*/*.gpkg")) >= 0.02
    other = again(place, replace(RECIPE, engine=replace(FP32, tta=True)))
    assert {entry.reason for entry in other.scenes} == {"options (--format, --min-area, --tta)"}
    assert all(path.stat().st_mtime_ns != before[path] for path in before)


def test_cleaning_is_not_taken_for_a_prediction(place):
    """With and without cleaning, in either order, as in a folder of its own."""
    from geounet.components.cleaning import Cleaning

    cleaned = replace(RECIPE, steps=Cleaning(majority=1))
    again(place)
    plain = files(place / "out")
    again(place, cleaned)
    assert (place / "out/s0/predicted.tif").is_file()
    one = pixels(place / "out/s0/classes.tif")
    run([place / "in"], place / "m.safetensors", place / "fresh", cleaned)
    np.testing.assert_array_equal(one, pixels(place / "fresh/s0/classes.tif"))
    again(place)
    assert files(place / "out") == plain


def test_where_tiles_and_workers_do_not_count_nothing_is_done_anew(finished):
    engine = replace(FP32, tile_size=30, workers=2)
    assert set(states(again(finished, replace(RECIPE, engine=engine))).values()) == {"unchanged"}


def test_scenes_that_were_moved_are_the_same(finished):
    (finished / "in").rename(finished / "elsewhere")
    assert set(states(again(finished, names=["elsewhere"])).values()) == {"unchanged"}


def test_one_cluster_and_one_choice_for_each_kind(place, monkeypatch, write_scene):
    started, chosen = [], []
    start, choose = cluster._start, running.choice_for
    monkeypatch.setattr(cluster, "_start", lambda workers: started.append(workers) or start(workers))
    monkeypatch.setattr(running, "choice_for", lambda *args: chosen.append(args[-1]) or choose(*args))
    batch = again(place, replace(RECIPE, engine=BLOCKS))
    assert len(started) == 1
    assert len(batch.kinds) == len(chosen) == 2
    assert {kind["dtype"]: kind["probed"][-6:] for kind in batch.kinds} == {"uint8": "s0.tif", "uint16": "s3.tif"}
    assert chosen == [60 * 130 * 4, 120 * 100 * 4]
    write_scene(place / "in" / "s00.tif", np.full((2, 60, 80), 9, np.uint8), nodata=0)
    batch = again(place, replace(RECIPE, engine=BLOCKS))
    assert states(batch)["s00"] == "done"
    assert len(chosen) == len(batch.kinds) == 2


def test_scenes_of_several_sizes_at_work_at_once_make_each_network_ready_once(place, write_scene):
    """Their windows differ; a worker that went to and fro between their blocks would begin anew each time."""
    for number in range(4):
        pixels = np.random.default_rng(number).integers(1, 250, (2, 300, 44 - 8 * number))
        write_scene(place / "in" / f"s{number}.tif", pixels.astype(np.uint8))
    prepared.cache_clear()
    batch = again(place, replace(RECIPE, engine=Engine(tile_size=48, window_size=80, precision="fp32", halo=16)))
    assert batch.counts == {"done": 4}
    assert prepared.cache_info().misses == 4


def test_one_scene_does_not_cost_another(place, monkeypatch):
    """Neither one that is no raster, nor one whose place is taken, nor a fault of our own."""
    (place / "in" / "bad.tif").write_text("no raster")
    (place / "out" / "s1").mkdir(parents=True)
    (place / "out" / "s1" / "classes.tif").write_bytes((place / "in" / "s1.tif").read_bytes())
    (place / "out" / "s1" / "confidence.tif").write_bytes((place / "in" / "s1.tif").read_bytes())
    real = running.product

    def faulty(name, *args, **how):
        if name.endswith("s3.tif"):
            raise ZeroDivisionError("our own")
        return real(name, *args, **how)

    monkeypatch.setattr(running, "product", faulty)
    batch = again(place)
    assert states(batch) == {"bad": "failed", "s0": "done", "s1": "failed", "s2": "done", "s3": "failed"}
    causes = {entry.id: entry.failure for entry in batch.of("failed")}
    assert "not a raster" in causes["bad"]
    assert "--overwrite replaces it" in causes["s1"]
    assert causes["s3"] == "ZeroDivisionError: our own"
    assert status(place / "out").counts == {"done": 2, "failed": 3}
    monkeypatch.undo()
    (place / "in" / "bad.tif").unlink()
    assert states(again(place, overwrite=True)) == {f"s{number}": "done" for number in range(4)}


def test_what_workers_say_and_what_fails_there_is_told_here(place, two_workers, write_scene, caplog):
    """Whole scenes are tasks: one is cut off in its last block, and one is filled with -9999 without a word."""
    whole = (place / "in" / "s2.tif").read_bytes()
    (place / "in" / "s2.tif").write_bytes(whole[: len(whole) // 2])
    filled = np.random.default_rng(1).integers(1, 250, (2, 90, 80)).astype(np.int16)
    filled[:, :, 30:] = -9999
    write_scene(place / "in" / "s3.tif", filled)
    engine = replace(FP32, scheduler=two_workers, tile_size=2048)
    batch = again(place, replace(RECIPE, engine=engine, radiometry="as-is"))
    assert batch.counts == {"done": 3, "failed": 1}
    assert "s2.tif is damaged" in batch.of("failed")[0].failure
    assert sum("-9999" in record.getMessage() for record in caplog.records) >= 1


def test_it_stops_at_a_failure_where_that_is_asked_for(place):
    (place / "in" / "a.tif").write_text("no raster")
    batch = again(place, on_error="stop")
    assert batch.state == "stopped"
    assert states(batch) == {"a": "failed"} | {f"s{number}": "waiting" for number in range(4)}


def test_it_tries_again_what_the_network_did_and_nothing_else(place, monkeypatch):
    monkeypatch.setattr(running, "_FIRST_WAIT", 0.01)
    calls, real = [], running.product

    def shaky(name, *args, **how):
        calls.append(Path(name).stem)
        errors = {"s0": UnreachableError("gone"), "s1": OSError(28, "No space left"), "s2": SceneError("damaged"),
                  "s3": ConnectionResetError("peer")}  # fmt: skip
        if Path(name).stem in errors and calls.count(Path(name).stem) <= (9 if Path(name).stem == "s1" else 2):
            error = errors[Path(name).stem]
            if Path(name).stem == "s1":
                raise OutputError("full") from error
            raise error
        return real(name, *args, **how)

    monkeypatch.setattr(running, "product", shaky)
    batch = again(place, retries=2)
    assert states(batch) == {"s0": "done", "s1": "failed", "s2": "failed", "s3": "done"}
    assert {name: calls.count(name) for name in calls} == {"s0": 3, "s1": 3, "s2": 1, "s3": 3}
    assert {entry.id: entry.attempts for entry in batch.scenes} == {"s0": 3, "s1": 3, "s2": 1, "s3": 3}


def test_a_scheduler_that_goes_away_ends_the_batch_and_it_can_go_on(place, monkeypatch):
    real = running.product

    def gone(name, *args, **how):
        if name.endswith("s2.tif"):
            raise cluster.SchedulerGoneError
        return real(name, *args, **how)

    monkeypatch.setattr(running, "product", gone)
    with pytest.raises(ConnectionError):
        again(place)
    assert status(place / "out").state == "stopped"
    monkeypatch.undo()
    assert set(states(again(place)).values()) <= {"done", "unchanged"}


@pytest.mark.fault
def test_an_interrupted_batch_stops_soon_and_goes_on_later(place):
    recipe = replace(RECIPE, engine=BLOCKS)

    def interrupt(batch):
        if len(batch.of("done")) == 2 and batch.state == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(place, recipe, show=interrupt)
    found = status(place / "out")
    assert (found.state, found.of("running")) == ("stopped", [])
    assert found.counts["done"] >= 2
    batch = again(place, recipe)
    assert batch.counts["unchanged"] == found.counts["done"]
    run([place / "in"], place / "m.safetensors", place / "fresh", recipe)
    assert files(place / "out") == files(place / "fresh")


HOLD = """
import sys, time
from pathlib import Path
from geounet.outputs import claimed
with claimed([Path(sys.argv[1])], "batch", overwrite=True):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.mark.fault
def test_a_second_run_says_who_is_at_work_and_a_dead_one_does_not_bar_the_way(place):
    (place / "out").mkdir()
    other = subprocess.Popen([sys.executable, "-c", HOLD, place / "out" / "summary.json"], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=rf"process {other.pid} on {os.uname().nodename}, since 20"):
            again(place)
        assert not list((place / "out").glob("*/"))[1:]
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert set(states(again(place)).values()) == {"done"}
    assert not list((place / "out").rglob(".*"))


@pytest.mark.fault
def test_the_state_of_a_batch_while_it_runs_and_after_it_was_killed(place):
    words = ["run", "in", "-m", "m.safetensors", "-o", "out", "--window-size", "48", "--tta", "--runtime", "torch"]
    batch = subprocess.Popen([Path(sys.executable).with_name("geounet"), *words], cwd=place, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (place / "out" / "summary.json").exists():
        time.sleep(0.02)
    found = status(place / "out")
    assert found.state == "running"
    assert found.holder["process"] == batch.pid
    assert found.to_json()["counts"]
    batch.send_signal(signal.SIGKILL)
    batch.wait()
    assert status(place / "out").state == "dead"
    assert set(states(again(place)).values()) <= {"done", "unchanged"}
    assert status(place / "out").state == "finished"


def test_two_scenes_of_one_id_are_refused_before_any_work(place, write_scene):
    (place / "b").mkdir()
    write_scene(place / "b" / "s1.tif", np.full((2, 60, 80), 9, np.uint8))
    with pytest.raises(SceneError, match=r"s1\.tif and .*s1\.tif have the same id, s1"):
        again(place, names=["in", "b"])
    assert not (place / "out").exists()
    assert len(again(place, names=["in", "in/s1.tif"]).scenes) == 4


def item_of(place, identifier, taken="2020-07-01T10:20:30Z"):
    """A STAC item of the first scene."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identifier,
        "properties": {"datetime": taken},
        "geometry": None,
        "links": [],
        "assets": {"data": {"href": str(place / "in" / "s0.tif")}},
    }


def test_ids_of_items_do_not_leave_the_folder(place):
    ids = ("../../escaped", str(place / "escaped"), "summary.json")
    items = [item_of(place, name) for name in ids]
    (place / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    before = {path for path in place.rglob("*") if "out" not in path.parts}
    batch = again(place, names=["items.json"])
    assert states(batch) == dict.fromkeys(ids, "done")
    assert {path for path in place.rglob("*") if "out" not in path.parts} == before
    assert not (place.parent / "escaped").exists()
    assert len({entry.folder for entry in batch.scenes}) == 3


def test_the_products_are_a_static_stac_collection(finished, valid):
    """Read and checked by pystac against STAC's own schemas; the table says the same as the items."""
    collection = pystac.Collection.from_file(str(finished / "out" / "collection.json"))
    for name in ("catalog.json", "collection.json"):
        valid(finished / "out" / name)
    client = Client.open(str(finished / "out" / "catalog.json"))
    assert {item.id for item in client.get_all_items()} == {f"s{number}" for number in range(4)}
    items = {item.id: item for item in collection.get_items()}
    table = gpd.read_parquet(finished / "out" / "items.parquet").set_index("id")
    assert set(items) == set(table.index) == {f"s{number}" for number in range(4)}
    for name, item in items.items():
        written = valid(finished / "out" / name / "item.json")
        with rasterio.open(finished / "in" / f"{name}.tif") as scene:
            projection = pystac.extensions.projection.ProjectionExtension.ext(item)
            assert projection.epsg == scene.crs.to_epsg() == 32633
            assert tuple(projection.shape) == scene.shape
            assert tuple(projection.transform[:6]) == tuple(scene.transform)[:6]
        for key in ("classes", "confidence", "polygons", "preview", "model"):
            assert Path(item.assets[key].get_absolute_href()).is_file()
        assert Path(item.get_single_link("derived_from").get_absolute_href()) == finished / "in" / f"{name}.tif"
        found = pystac.extensions.classification.ClassificationExtension.ext(item.assets["classes"]).classes
        assert [(each.value, each.title, f"#{each.color_hint.lower()}") for each in found] == [
            (each.value, each.name, each.color) for each in CLASSES
        ]
        assert pystac.extensions.raster.RasterExtension.ext(item.assets["confidence"]).bands[0].scale == 1 / 254
        model = pystac.extensions.mlm.MLMExtension.ext(item)
        # As MLM's own schema asks: a name of three letters or more, and the bands' names on the model.
        assert (model.mlm_name, model.architecture) == ("model-m", "unet")
        names = [band["name"] for band in written["assets"]["model"]["raster:bands"]]
        assert names == [band.name for band in model.input[0].bands] == ["band_1", "band_2"]
        row = table.loc[name]
        assert row.geometry.equals(shapely.geometry.shape(item.geometry))
        href = row["assets"]["classes"]["href"]
        assert (finished / "out" / href).is_file()


def test_the_time_is_the_scenes(place):
    (place / "item.json").write_text(json.dumps(item_of(place, "it")))
    (place / "s_20210304.tif").write_bytes((place / "in" / "s1.tif").read_bytes())
    again(place, names=["item.json", "s_20210304.tif"])
    exact = pystac.Item.from_file(str(place / "out/it/item.json"))
    assert exact.datetime.isoformat() == "2020-07-01T10:20:30+00:00"
    day = json.loads((place / "out/s_20210304/item.json").read_text())["properties"]
    assert (day["datetime"], day["start_datetime"][:10], day["end_datetime"][:10]) == (None, "2021-03-04", "2021-03-04")


def test_a_record_says_how_much_is_masked_and_valid(place, write_scene):
    write_scene(
        place / "cloud.tif", np.repeat([[0, 1, 1, 0]], 60, axis=0).repeat([20, 40, 50, 20], axis=1).astype("u1")
    )
    opening = Opening(masks=(str(place / "cloud.tif"),), mask_dilate=5)
    batch = again(place, replace(RECIPE, opening=opening), names=["in/s0.tif"])
    entry = batch.scenes[0]
    valid = np.ones((60, 130), bool)
    valid[:9, :20] = False
    clear = valid.copy()
    clear[:, 15:115] = False
    assert entry.masked_share == pytest.approx(1 - clear.sum() / valid.sum(), abs=1e-6)
    assert entry.valid_share == pytest.approx(clear.mean(), abs=1e-6)


def test_what_cannot_be_begun_is_said_before_any_work(place):
    with pytest.raises(ModelError, match="does not exist"):
        run([place / "in"], place / "none.safetensors", place / "out")
    (place / "empty").mkdir()
    with pytest.raises(SceneError, match="holds no raster"):
        again(place, names=["empty"])
    (place / "list.txt").write_text("in/s0.tif\nin/gone.tif\n")
    with pytest.raises(SceneError, match="line 2"):
        again(place, names=["list.txt"])
    with pytest.raises(GeounetError, match=r"has no summary\.json"):
        status(place)
    assert not (place / "out").exists()


@pytest.mark.parametrize("text", ["", "[1]"])
def test_a_damaged_record_is_said_and_overwritten_when_asked(finished, text):
    (finished / "out/s1/item.json").write_text(text)
    batch = again(finished)
    assert states(batch)["s1"] == "failed"
    assert "no record of a product" in batch.of("failed")[0].failure
    assert batch.counts == {"unchanged": 3, "failed": 1}
    assert states(again(finished, overwrite=True))["s1"] == "done"
