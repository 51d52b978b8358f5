"""A job's state is a function of the set of its scenes, and equals a plain account of each pixel."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import date

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from accounts import Believed
from affine import Affine
from levels import LEVELS, learned_model, write_levels
from made import NORTH_UP, blobs
from pyproj import Transformer
from scipy import ndimage
from shapely.geometry import box
from untrained import CLASSES

import geounet.changes.blocks
import geounet.changes.state_rasters
from geounet.changes.confirmation import STATUSES, Confirmation
from geounet.classes import LandClass
from geounet.errors import GeounetError, OutputError
from geounet.jobs.job import JobError
from geounet.jobs.report import RECORD, read_report
from geounet.models.encoders import build_network
from geounet.models.model_file import load_model, save_model
from geounet.outputs import claimed
from geounet.tasks.monitor import monitor, report_of

pytestmark = pytest.mark.long

VALUES = list(LEVELS)
STATE = ("baseline.tif", "status.tif", "change.tif", "first.tif", "confirmed.tif", "last.tif", "count.tif",
         "confidence.tif", "events.parquet", "events.gpkg", "timeline.parquet", "transitions.parquet")  # fmt: skip
JOB = """\
name = "fields"
out = "state"
[source]
path = "incoming"
[model]
file = "m.safetensors"
[change]
min_area = 0.04
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks out of little."""
    for module in (geounet.changes.blocks, geounet.changes.state_rasters):
        monkeypatch.setattr(module, "BLOCK", 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return learned_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module")
def year():
    """Twelve dates of one place, 70 x 90: planted changes that stay, that go back, and that are seen once; clouds."""
    rng = np.random.default_rng(4)
    ground = np.where(blobs(70, 90, 1, 9) == 255, VALUES[0], blobs(70, 90, 1, 9)).astype(np.uint8)
    days = [date(2024, 1, 5), *(date(2024, month, day) for month, day in [(2, 1), (2, 20), (3, 9), (4, 1), (4, 22)])]
    days += [date(2024, 6, 1), date(2024, 7, 2), date(2025, 1, 9), date(2025, 2, 2), date(2025, 3, 1), date(2025, 4, 1)]
    scenes = []
    for number, day in enumerate(days):
        codes = ground.copy()
        if number >= 2:
            codes[5:20, 10:30] = VALUES[1]
        if 3 <= number <= 6:
            codes[40:60, 30:50] = VALUES[2]
        if number >= 5:
            codes[5:20, 30:36] = VALUES[1]
        if number == 7:
            codes[:, 70:80] = VALUES[0]
        clouds = ndimage.gaussian_filter(rng.normal(size=codes.shape), 6) > 0.035
        codes[clouds] = 255
        scenes.append((day, codes))
    return scenes


def place_job(folder, model, text=JOB):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model, folder / "m.safetensors")
    (folder / "incoming").mkdir(exist_ok=True)
    (folder / "job.toml").write_text(text)
    return folder / "job.toml"


def name_of(day):
    return f"scene_{day:%Y%m%d}.tif"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, year):
    """The scenes as files."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (day, codes) in enumerate(year):
        write_levels(folder / name_of(day), codes, seed=number)
    return folder


def arrive(job, pictures, days):
    for day in days:
        # As it was, so that it is the same scene wherever it comes.
        shutil.copy2(pictures / name_of(day), job.parent / "incoming")


def digests(job):
    folder = job.parent / "state"
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in STATE}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model, pictures, year):
    """All scenes at once: the job and its files' hashes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (geounet.changes.blocks, geounet.changes.state_rasters):
            patch.setattr(module, "BLOCK", 32)
        job = place_job(tmp_path_factory.mktemp("whole"), model)
        arrive(job, pictures, [day for day, _ in year])
        report = monitor(job)
    assert report.failures == {}
    assert (report.scenes, report.state) == (12, "finished")
    return job, digests(job)


def test_each_pixel_is_as_a_plain_account_has_it(whole, year):
    folder = whole[0].parent / "state"
    found = {path.stem: rasterio.open(path).read(1) for path in folder.glob("*.tif")}
    products = []
    for day, codes in year:
        product = folder / "products" / name_of(day).removesuffix(".tif")
        products.append([rasterio.open(product / f"{name}.tif").read(1) for name in ("classes", "confidence")])
        assert (products[-1][0] == codes).mean() > 0.97
    statuses = set()
    for row, col in np.random.default_rng(0).integers(0, (70, 90), (1500, 2)).tolist():
        plain = Believed(Confirmation())
        for (day, _), (classes, confidence) in zip(year, products, strict=True):
            seen = classes[row, col]
            plain.see((day - date(1970, 1, 1)).days, None if seen == 255 else int(seen), int(confidence[row, col]))
        at = {name: int(raster[row, col]) for name, raster in found.items()}
        statuses.add(plain.status)
        assert at["baseline"] == (255 if plain.baseline is None else plain.baseline)
        assert at["status"] == (255 if plain.baseline is None else plain.status)
        change = plain.change if plain.status else {"first": 0, "confirmed": 0, "last": 0, "count": 0}
        assert {name: at[name] for name in ("first", "confirmed", "last", "count")} == {
            name: change[name] for name in ("first", "confirmed", "last", "count")
        }
    assert statuses == {0, 1, 2, 3}


def test_events_are_what_was_planted(whole, year):
    """The field that changed, one that grew, one that went back; and no field that was odd once."""
    events = gpd.read_parquet(whole[0].parent / "state/events.parquet")
    assert list(events.columns) == ["id", "from", "to", "first_seen", "confirmed_on", "last_seen", "area_ha",
                                    "confidence", "status", "geometry"]  # fmt: skip
    assert events["id"].is_unique
    names = {item.value: item.name for item in CLASSES}
    confirmed = events[(events["status"] == "confirmed") & (events["to"] == names[VALUES[1]])]
    planted = np.zeros((70, 90), bool)
    planted[5:20, 10:36] = year[0][1][5:20, 10:36] != VALUES[1]
    assert confirmed["area_ha"].sum() == pytest.approx(planted.sum() * 0.01, rel=0.15)
    ended = events[events["status"] == "ended"]
    assert set(ended["to"]) == {names[VALUES[2]]}
    assert ended["area_ha"].sum() > 1
    assert (confirmed["first_seen"] >= date(2024, 2, 20)).all()
    assert (confirmed["confirmed_on"] > confirmed["first_seen"]).all()
    assert confirmed["confidence"].between(0.5, 1).all()
    again = gpd.read_file(whole[0].parent / "state/events.gpkg")
    assert again["id"].tolist() == events["id"].tolist()
    with rasterio.open(whole[0].parent / "state/status.tif") as file:
        legend = json.loads(file.tags()["CLASSES"])
        assert [row["name"] for row in legend] == list(STATUSES)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.fault) for seed in range(3, 20))])
def test_order_and_repetition_change_nothing(tmp_path, model, pictures, year, whole, seed):
    """Scenes come in any order, some at once, some twice; the state is byte for byte that of all at once."""
    rng = np.random.default_rng(seed)
    job = place_job(tmp_path / "job", model)
    days = rng.permutation(np.array([day for day, _ in year], object)).tolist()
    while days:
        count = int(rng.integers(1, 6))
        arrive(job, pictures, days[:count])
        if rng.random() < 0.5:
            (job.parent / "incoming/again").mkdir(exist_ok=True)
            shutil.copy2(pictures / name_of(days[0]), job.parent / "incoming/again")
        monitor(job)
        days = days[count:]
    report = monitor(job)
    assert (report.new, report.blocks) == ([], 0)
    assert digests(job) == whole[1]
    assert monitor(job, replay=True).same is True
    assert digests(job) == whole[1]


def test_a_late_scene_is_work_for_its_own_ground_alone(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [day for day, _ in year[3:6]])
    assert monitor(job).blocks == 12
    first = digests(job)
    part = NORTH_UP @ Affine.translation(0, 0)
    write_levels(job.parent / "incoming/part_20240201.tif", year[1][1][:30, :40], transform=part)
    report = monitor(job)
    assert report.new == ["part_20240201"]
    assert 0 < report.blocks < 6
    assert digests(job) != first
    (job.parent / "incoming/part_20240201.tif").unlink()
    assert monitor(job).blocks == 0


def test_ids_survive_confirmation_growth_and_a_late_scene(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model, JOB + '[alerts]\nfile = "alerts.jsonl"\n')
    seen = {}
    for day, _ in [year[index] for index in (0, 2, 3, 4, 5, 6, 7)]:
        arrive(job, pictures, [day])
        monitor(job)
        events = gpd.read_parquet(job.parent / "state/events.parquet")
        seen[day] = set(events.loc[events["to"] == "built up", "id"])
    last = list(seen)[-1]
    events = gpd.read_parquet(job.parent / "state/events.parquet").set_index("id")
    large = events[events["area_ha"] > 0.5]
    kept = [name for name in large.index if name in seen[last]]
    assert kept
    assert set(kept) & seen[date(2024, 2, 20)]
    told = [json.loads(line)["event"]["id"] for line in (job.parent / "alerts.jsonl").read_text().splitlines()]
    assert len(told) == len(set(told)) >= 2
    arrive(job, pictures, [year[1][0]])
    monitor(job)
    assert len((job.parent / "alerts.jsonl").read_text().splitlines()) == len(told)


def test_ids_do_not_depend_on_how_far_the_scenes_reach(tmp_path, model, year):
    """A scene that reaches further north and west makes the rasters larger, and no event another."""
    job = place_job(tmp_path / "job", model, JOB + 'confirm = "1 of 1"\n')
    ground = np.full((70, 90), VALUES[0], np.uint8)
    changed = ground.copy()
    changed[40:60, 50:70] = VALUES[2]
    part, place = np.s_[20:, 30:], NORTH_UP @ Affine.translation(30, 20)
    for number, codes in enumerate((ground, changed, changed), 1):
        write_levels(job.parent / f"incoming/s_2024010{number}.tif", codes[part], seed=number, transform=place)
    monitor(job)
    before = gpd.read_parquet(job.parent / "state/events.parquet")
    write_levels(job.parent / "incoming/s_20240109.tif", changed, seed=9)
    monitor(job)
    after = gpd.read_parquet(job.parent / "state/events.parquet")
    with rasterio.open(job.parent / "state/status.tif") as file:
        assert file.shape == (70, 90)
    large = [set(frame.loc[frame["area_ha"] > 2, "id"]) for frame in (before, after)]
    assert large[0] == large[1]
    assert len(large[0]) == 1


def test_a_scene_of_another_zone_and_a_grid_of_the_jobs_own(tmp_path, model, year):
    """The earliest scene gives the lattice, whenever it comes; or the job does."""
    corner = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(480_000, 5_430_000)
    other = {"transform": Affine(10, 0, round(corner[0]), 0, -10, round(corner[1])), "crs": "EPSG:32632"}
    results = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        job = place_job(tmp_path / str(order), model)
        for number in order:
            how = other if number == 0 else {}
            write_levels(job.parent / f"incoming/s_2024010{number + 1}.tif", year[number][1], seed=number, **how)
            monitor(job)
        with rasterio.open(job.parent / "state/baseline.tif") as file:
            assert file.crs == "EPSG:32632"
        results.append(digests(job))
    assert results[0] == results[1] == results[2]
    text = JOB.replace("[model]", '[grid]\ncrs = "EPSG:3035"\nresolution = 20.0\n[model]')
    (job.parent / "job.toml").write_text(text)
    assert monitor(job).scenes == 3
    with rasterio.open(job.parent / "state/baseline.tif") as file:
        assert (file.crs, file.res) == ("EPSG:3035", (20.0, 20.0))
        assert (file.read() != 255).sum() > 800


def test_classes_to_watch_confidence_and_rule_are_heeded(tmp_path, model, year, pictures):
    text = JOB.replace(
        "min_area = 0.04", 'min_area = 0.3\nfrom = "water"\nto = ["built up"]\nconfirm = "1 of 1"\nmin_confidence = 0.9'
    )
    job = place_job(tmp_path / "job", model, text)
    arrive(job, pictures, [day for day, _ in year[:6]])
    monitor(job)
    events = gpd.read_parquet(job.parent / "state/events.parquet")
    assert len(events)
    assert set(zip(events["from"], events["to"], strict=True)) == {("water", "built up")}
    assert events["area_ha"].min() >= 0.3
    (job.parent / "job.toml").write_text(text.replace('"1 of 1"', '"2 of 3 within 10 days"'))
    monitor(job)
    events = gpd.read_parquet(job.parent / "state/events.parquet")
    assert "confirmed" not in set(events["status"])


def test_the_tables_of_time_tell_hectares_and_transitions(whole, year):
    folder = whole[0].parent / "state"
    timeline = pd.read_parquet(folder / "timeline.parquet")
    assert set(timeline.columns) == {"date", "scene", "class", "pixels", "hectares", "valid_share"}
    assert timeline["date"].is_monotonic_increasing
    for day, codes in year:
        rows = timeline[timeline["scene"] == f"scene_{day:%Y%m%d}"]
        assert rows["pixels"].sum() == (codes != 255).sum()
        assert rows["hectares"].sum() == pytest.approx((codes != 255).sum() * 0.01, rel=2e-3)
        assert rows["valid_share"].iloc[0] == pytest.approx((codes != 255).mean(), abs=1e-6)
    table = pd.read_parquet(folder / "transitions.parquet")
    last = table[table["against"] == "last"]
    assert last["scene"].nunique() == 11
    ago = table[table["against"] == "year before"]
    assert {(row.scene, str(row.against_date.date())) for row in ago.itertuples()} == {
        ("scene_20250109", "2024-01-05"), ("scene_20250202", "2024-02-01"), ("scene_20250301", "2024-03-09"),
        ("scene_20250401", "2024-04-01"),
    }  # fmt: skip
    pair = ago[ago["scene"] == "scene_20250202"]
    both = (year[1][1] != 255) & (year[9][1] != 255)
    assert pair["pixels"].sum() == both.sum()


def test_what_cannot_be_used_is_said_and_tried_again(tmp_path, model, year, pictures):
    """A damaged file, a scene without a time, one of clouds, and a source that is not there: the others go on."""
    text = JOB.replace('path = "incoming"', 'path = ["incoming", "https://127.0.0.1:9/catalog.json"]\nmin_valid = 0.05')
    job = place_job(tmp_path / "job", model, text)
    arrive(job, pictures, [day for day, _ in year[:2]])
    (job.parent / "incoming/bad_20240303.tif").write_bytes(b"II*\0 no raster")
    write_levels(job.parent / "incoming/timeless.tif", year[0][1])
    cloudy = np.full((70, 90), 255, np.uint8)
    cloudy[:2] = VALUES[0]
    write_levels(job.parent / "incoming/cloudy_20240310.tif", cloudy)
    report = monitor(job)
    assert report.scenes == 2
    assert {name.rpartition("/")[2] for name in report.failures} == {"bad_20240303.tif", "timeless.tif", "catalog.json"}
    assert "tells no time" in next(why for name, why in report.failures.items() if "timeless" in name)
    assert list(report.left_out) == ["cloudy_20240310"]
    assert not report.unreachable
    before = digests(job)
    write_levels(job.parent / "incoming/timeless.tif", year[3][1], taken="2024:03:09 10:00:00")
    report = monitor(job)
    assert report.new == ["timeless"]
    assert digests(job) != before
    page = (job.parent / "state/report.html").read_text()
    assert "bad_20240303.tif" in page
    assert "cloudy_20240310" in page


def test_with_another_model_all_scenes_are_predicted_anew(tmp_path, model, year, pictures):
    """What is no longer there is left out, and said; the state is that of a job that never had the other model."""
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [day for day, _ in year[:4]])
    monitor(job)
    before = digests(job)
    learned_model(job.parent / "m.safetensors", steps=200)
    gone = name_of(year[1][0])
    (job.parent / "incoming" / gone).unlink()
    report = monitor(job)
    assert len(report.new) == 3
    assert list(report.left_out) == [gone.removesuffix(".tif")]
    other = place_job(tmp_path / "other", job.parent / "m.safetensors")
    arrive(other, pictures, [year[index][0] for index in (0, 2, 3)])
    monitor(other)
    assert digests(other) == digests(job) != before


def test_a_product_that_is_gone_is_made_again(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [day for day, _ in year[:3]])
    monitor(job)
    before = digests(job)
    shutil.rmtree(job.parent / "state/products" / name_of(year[1][0]).removesuffix(".tif"))
    assert len(monitor(job).new) == 1
    assert digests(job) == before
    gone = name_of(year[1][0])
    (job.parent / "incoming" / gone).unlink()
    shutil.rmtree(job.parent / "state/products" / gone.removesuffix(".tif"))
    report = monitor(job)
    assert (list(report.left_out), report.scenes) == ([gone.removesuffix(".tif")], 2)


def test_a_model_of_too_many_classes_is_refused_before_anything_runs(tmp_path, model):
    """Not after a night of predictions."""
    job = place_job(tmp_path / "job", model)
    network, card = load_model(model)
    (job.parent / "m.safetensors").unlink()
    many = tuple(LandClass(value, f"c{value}", "#102030") for value in range(17))
    built = replace(card.architecture, classes=17)
    save_model(job.parent / "m.safetensors", build_network(built), replace(card, architecture=built, classes=many))
    with pytest.raises(JobError, match=r"6: the model has 17 classes"):
        monitor(job)
    assert network is not None


def test_how_cloudy_a_scene_may_be_counts_for_those_that_were_seen_too(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [day for day, _ in year[:5]])
    whole = monitor(job)
    before = digests(job)
    shares = sorted(
        seen["valid_share"] for seen in json.loads((job.parent / "state/scenes.json").read_text())["scenes"]
    )
    job.write_text(JOB.replace("[model]", f"min_valid = {shares[2]}\n[model]"))
    assert (whole.scenes, monitor(job).scenes) == (5, 3)
    job.write_text(JOB)
    assert monitor(job).scenes == 5
    assert digests(job) == before


def test_masks_and_areas_are_named_from_the_job_file(tmp_path, model, year, monkeypatch):
    job = place_job(tmp_path / "job", model, JOB.replace("[model]", 'mask = "clouds.tif:1"\n[model]'))
    write_levels(job.parent / "incoming/s_20240101.tif", year[0][1])
    hidden = np.zeros((70, 90), np.uint8)
    hidden[20:40, 30:] = 1
    with rasterio.open(
        job.parent / "clouds.tif", "w", driver="GTiff", height=70, width=90, count=1, dtype="uint8",
        crs="EPSG:32633", transform=NORTH_UP,
    ) as file:  # fmt: skip
        file.write(hidden[None])
    area = gpd.GeoDataFrame(geometry=[box(*(NORTH_UP @ (0, 60)), *(NORTH_UP @ (80, 0)))], crs="EPSG:32633")
    area.to_file(job.parent / "area.gpkg")
    job.write_text('aoi = "area.gpkg"\n' + job.read_text())
    monkeypatch.chdir(tmp_path)
    assert monitor(job).scenes == 1
    with rasterio.open(job.parent / "state/baseline.tif") as file:
        seen = file.read(1) != 255
    expected = (year[0][1] != 255) & (hidden == 0)
    np.testing.assert_array_equal(seen, expected[:60, :80])


def test_a_date_in_a_name_is_read_as_it_is_written(tmp_path, model, year):
    job = place_job(tmp_path / "job", model)
    write_levels(job.parent / "incoming/plot_09-03-24_x.tif", year[3][1])
    assert "tells no time" in next(iter(monitor(job).failures.values()))
    assert monitor(job, date_pattern="%d-%m-%y").new == ["plot_09-03-24_x"]
    assert json.loads((job.parent / "state/scenes.json").read_text())["scenes"][0]["taken"].startswith("2024-03-09")


def test_a_scene_that_is_another_now_is_seen_anew(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [day for day, _ in year[:4]])
    monitor(job)
    write_levels(job.parent / "incoming" / name_of(year[2][0]), year[0][1], seed=7)
    assert monitor(job).new == [name_of(year[2][0]).removesuffix(".tif")]
    after = digests(job)
    other = place_job(tmp_path / "other", model)
    arrive(other, pictures, [day for day, _ in year[:4]])
    shutil.copy2(job.parent / "incoming" / name_of(year[2][0]), other.parent / "incoming")
    monitor(other)
    assert digests(other) == after


def test_nothing_there_yet_is_no_failure(tmp_path, model):
    job = place_job(tmp_path / "job", model)
    report = monitor(job)
    assert (report.state, report.scenes, report.failures, report.unreachable) == ("finished", 0, {}, False)
    assert report_of(job).state == "finished"


def test_one_run_at_a_time(tmp_path, model, year, pictures):
    job = place_job(tmp_path / "job", model)
    arrive(job, pictures, [year[0][0]])
    with claimed([job.parent / "state" / RECORD], "monitor", overwrite=True):
        with pytest.raises(OutputError, match="is being written by process"):
            monitor(job)
        assert monitor(job, dry_run=True).new[0].endswith(name_of(year[0][0]))
    with pytest.raises(OutputError, match="no folder that geounet monitor has worked in"):
        read_report(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('out = "state"', 'out = "state"\ncolour = 3', 3, "unknown key colour"),
        ('path = "incoming"', 'path = "incoming"\npth = 3', 5, r"unknown key pth in \[source\]"),
        ('path = "incoming"', 'path = "elsewhere"', 4, "elsewhere does not exist"),
        ('path = "incoming"', 'path = "incoming"\nmax_cloud = 3', 5, "belongs to stac_api"),
        ('path = "incoming"', "path = 7", 4, "path must be text or a list, not a whole number"),
        ("min_area = 0.04", 'min_area = "much"', 8, "min_area must be a number, not text"),
        (
            'path = "incoming"',
            'stac_api = "http://127.0.0.1:9"\nbbox = 3',
            5,
            "bbox must be a list, not a whole number",
        ),
        ("min_area = 0.04", 'confirm = "twice"', 8, "no confirmation rule"),
        ("min_area = 0.04", 'from = "meadow"', 8, "no class 'meadow'; its classes are water"),
        ('file = "m.safetensors"', 'file = "n.safetensors"', 6, "n.safetensors"),
        ('name = "fields"', "", 1, "name is missing"),
        ("[model]", "[mdel]", 5, "unknown key mdel"),
    ],
)
def test_a_job_is_checked_as_a_whole_with_lines_and_remedies(tmp_path, model, old, new, line, told):
    job = place_job(tmp_path / "job", model, JOB.replace(old, new))
    with pytest.raises(JobError, match=told) as found:
        monitor(job)
    assert any(text.startswith(f"{job}:{line}: ") for text in str(found.value).splitlines())
    assert not (job.parent / "state").exists()


def test_all_faults_are_named_at_once(tmp_path, model):
    text = JOB.replace("min_area = 0.04", 'min_area = "much"\nfromm = 3').replace('out = "state"', "out = 3")
    with pytest.raises(JobError) as found:
        monitor(place_job(tmp_path / "job", model, text))
    assert len(str(found.value).splitlines()) == 3
    with pytest.raises(GeounetError, match="is no TOML"):
        monitor(place_job(tmp_path / "job", model, "name = "))
    with pytest.raises(GeounetError, match="--example"):
        monitor(tmp_path / "none.toml")
