"""Chips hold the pixels of their scenes, open in torchgeo, share no ground between parts, and are gone on with."""

from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp
from torchgeo.datasets import RasterDataset
from torchgeo.samplers import GridGeoSampler

from geounet.classes import LandClass
from geounet.data.chip_plan import Area, Split, areas_of, plan_rows
from geounet.errors import OutputError, SceneError
from geounet.grid import Window
from geounet.raster.scene import load_scene
from geounet.tasks.tile import tile

CLASSES = (LandClass(1, "built up & paved", "#d62728"), LandClass(7, "water", "#1f77b4"))


@pytest.fixture
def pair(tmp_path, write_scene):
    """A scene of 3 x 50 x 70 and its labels, whose last column is unlabelled."""
    rng = np.random.default_rng(0)
    image = write_scene(tmp_path / "s_20200713.tif", rng.integers(1, 200, (3, 50, 70)).astype(np.uint16), nodata=0)
    codes = rng.choice([1, 7], (50, 70)).astype(np.uint8)
    codes[:, -1] = 255
    return image, write_scene(tmp_path / "s_20200713_labels.tif", codes, nodata=255)


def cut(pair, folder, **how):
    return tile([pair[0]], folder, labels=[pair[1]], **{"size": 32, "classes": CLASSES, **how})


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_chips_hold_the_scenes_pixels_and_the_index_says_which(pair, tmp_path):
    """With an overlap of 8 the step is 24; chips at the right and lower edge are smaller."""
    records = cut(pair, tmp_path / "c", overlap=8)
    image, label = read(pair[0]), read(pair[1])
    assert [(r.row, r.col) for r in records] == [(r, c) for r in (0, 24) for c in (0, 24, 48)]
    for record in records:
        area = record.window
        rows, cols = slice(area.row, area.row_stop), slice(area.col, area.col_stop)
        np.testing.assert_array_equal(read(tmp_path / "c" / record.image), image[:, rows, cols])
        np.testing.assert_array_equal(read(tmp_path / "c" / record.label), label[:, rows, cols])
        assert record.labelled == (label[:, rows, cols] != 255).mean()
    index = geopandas.read_parquet(tmp_path / "c" / "index.parquet")
    assert index["image"].tolist() == [record.image for record in records]
    with rasterio.open(tmp_path / "c" / records[4].image) as chip:
        assert index.geometry[4].bounds == chip.bounds
        assert index.crs == chip.crs
    assert index["part"].unique().tolist() == [""]


class Images(RasterDataset):
    """As a user of torchgeo would write it: nothing but the file names' pattern."""

    filename_glob = "*.tif"


class Masks(Images):
    is_image = False


def test_chips_open_in_torchgeo_as_they_are(pair, tmp_path):
    """A plain RasterDataset over images and over labels, intersected, gives the scene's pixels at each place."""
    cut(pair, tmp_path / "c", overlap=8, size=40)
    both = Images(str(tmp_path / "c/images")) & Masks(str(tmp_path / "c/labels"))
    image, label = read(pair[0]), read(pair[1])
    seen = np.zeros(label.shape[1:], bool)
    for query in GridGeoSampler(both, size=10, stride=10):
        sample = both[query]
        col, row = ~Affine(10, 0, 480_000, 0, -10, 5_430_000) @ (query[0].start, query[1].stop)
        rows, cols = slice(round(row), round(row) + 10), slice(round(col), round(col) + 10)
        wanted = image[:, rows, cols]
        # A sampler of torchgeo's may reach over the edge of the last chip.
        inside = slice(wanted.shape[1]), slice(wanted.shape[2])
        np.testing.assert_array_equal(sample["image"].numpy()[:, *inside], wanted)
        np.testing.assert_array_equal(sample["mask"].numpy().squeeze()[inside], label[0, rows, cols])
        seen[rows, cols] = True
    assert seen.all()


def test_parts_share_no_ground_whatever_the_overlap(pair, tmp_path, write_scene):
    """Nor do they with another date of the same ground; all parts are there, near to what was asked for."""
    other = write_scene(tmp_path / "other_20210101.tif", read(pair[0])[:, ::-1], nodata=0)
    label = write_scene(tmp_path / "other_20210101_labels.tif", read(pair[1]), nodata=255)
    records = tile(
        [pair[0], other], tmp_path / "c", labels=[pair[1], label], classes=CLASSES, size=16, overlap=6,
        split=Split(0.25, 0.2, seed=3),
    )  # fmt: skip
    index = geopandas.read_parquet(tmp_path / "c" / "index.parquet")
    ground = {part: shapely.union_all(rows.geometry) for part, rows in index.groupby("part")}
    assert set(ground) == {"train", "val", "test"}
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert ground[one].intersection(ground[two]).area == 0
    whole = shapely.box(480_000, 5_430_000 - 500, 480_700, 5_430_000)
    assert shapely.union_all(list(ground.values())).equals(whole)
    shares = {part: shape.area / whole.area for part, shape in ground.items()}
    assert shares == pytest.approx({"train": 0.55, "val": 0.25, "test": 0.2}, abs=0.12)
    assert {record.image.split("/")[0] for record in records} == {"train", "val", "test"}
    assert all((tmp_path / "c" / record.label).exists() for record in records)
    overlaps = index[index["part"] == "train"].geometry.area.sum() > 2.2 * ground["train"].area
    assert overlaps


def test_the_catalogue_is_valid_stac_and_leads_to_every_file(pair, tmp_path, valid):
    records = cut(pair, tmp_path / "c", split=Split(val=0.3))
    catalog = pystac.Catalog.from_file(str(tmp_path / "c/catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert set(items) == {record.name.removesuffix(".tif") for record in records}
    assert {child.id for child in catalog.get_children()} == {"train", "val"}
    for path in (tmp_path / "c").rglob("*.json"):
        valid(path)
    for record in records:
        item = items[record.name.removesuffix(".tif")]
        assert {asset.get_absolute_href() for asset in item.assets.values()} == {
            str(tmp_path / "c" / record.image), str(tmp_path / "c" / record.label)
        }  # fmt: skip
        assert item.properties["ml-aoi:split"] == {"train": "train", "val": "validate"}[record.part]
        with rasterio.open(tmp_path / "c" / record.image) as chip:
            box = rasterio.warp.transform_bounds(chip.crs, "EPSG:4326", *chip.bounds)
            assert item.properties["proj:transform"] == list(chip.transform)[:6]
            assert item.properties["proj:shape"] == list(chip.shape)
        assert item.bbox == pytest.approx(box, abs=1e-7)
        assert item.properties["proj:code"] == "EPSG:32633"
        assert item.common_metadata.start_datetime.isoformat() == "2020-07-13T00:00:00+00:00"
        assert item.get_collection().id == record.part
        classes = item.assets["label"].extra_fields["classification:classes"]
        assert [(entry["value"], entry["name"], entry["title"]) for entry in classes] == [
            (1, "built_up_paved", "built up & paved"), (7, "water", "water"),
        ]  # fmt: skip


def test_chips_without_a_place_are_catalogued_without_one(tmp_path, write_scene, valid):
    """Pictures have no CRS: no geometry, the index in pixel coordinates, and a time that no picture is outside of."""
    scene = write_scene(tmp_path / "p.png", np.ones((3, 20, 30), np.uint8), crs=None, transform=None, driver="PNG")
    records = tile([scene], tmp_path / "c", size=16)
    for record in records:
        item = valid(tmp_path / "c" / record.item)
        assert item["geometry"] is None
        assert item["properties"]["start_datetime"] == "1858-01-01T00:00:00Z"
        assert set(item["assets"]) == {"image"}
    valid(tmp_path / "c" / "collection.json")
    index = geopandas.read_parquet(tmp_path / "c" / "index.parquet")
    assert index.crs is None
    assert index.total_bounds.tolist() == [0, 0, 30, 20]
    assert index["label"].isna().all()


def test_a_fourth_band_of_bytes_is_data_not_alpha(tmp_path, write_scene):
    stack = np.random.default_rng(0).integers(1, 255, (4, 20, 20)).astype(np.uint8)
    names = ("red", "green", "blue", "nir")
    scene = write_scene(tmp_path / "s.tif", stack, descriptions=names, photometric="MINISBLACK", alpha="UNSPECIFIED")
    (record,) = tile([scene], tmp_path / "c", size=20)
    chip = load_scene(tmp_path / "c" / record.image)
    assert (chip.band_names, chip.alpha) == (names, None)
    three = write_scene(tmp_path / "t.tif", stack[:3])
    (record,) = tile([three], tmp_path / "d", size=20)
    with rasterio.open(tmp_path / "d" / record.image) as file:
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_scenes_of_several_crss_are_indexed_in_degrees(tmp_path, write_scene):
    scenes = [
        write_scene(tmp_path / f"{zone}.tif", np.ones((8, 8), np.uint8), crs=f"EPSG:326{zone}") for zone in (32, 33)
    ]
    tile(scenes, tmp_path / "c", size=8)
    index = geopandas.read_parquet(tmp_path / "c" / "index.parquet")
    assert index.crs.to_epsg() == 4326
    assert (index.total_bounds[2] - index.total_bounds[0]) == pytest.approx(6, abs=0.01)


class StopError(Exception):
    """In place of a crash."""


def test_an_interrupted_run_is_gone_on_with_and_ends_alike(pair, tmp_path):
    def stop(done, _count):
        if done > 3:
            raise StopError

    with pytest.raises(StopError):
        cut(pair, tmp_path / "c", overlap=24, progress=stop)
    assert not (tmp_path / "c/index.parquet").exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*_*.*")}
    assert len([path for path in before if path.suffix == ".json"]) > 3
    with pytest.raises(OutputError, match=r"holds files already.*--overwrite"):
        cut(pair, tmp_path / "c", overlap=16)
    records = cut(pair, tmp_path / "c", overlap=24)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path.suffix == ".json")
    assert cut(pair, tmp_path / "d", overlap=24) == records
    same = {path.relative_to(tmp_path / "d") for path in (tmp_path / "d").rglob("*")}
    assert {path.relative_to(tmp_path / "c") for path in (tmp_path / "c").rglob("*")} == same
    assert all((tmp_path / "c" / path).read_bytes() == (tmp_path / "d" / path).read_bytes()
               for path in same if path.suffix == ".tif")  # fmt: skip


def test_overwriting_leaves_no_chip_of_before_and_touches_nobodys_files(pair, tmp_path, monkeypatch):
    cut(pair, tmp_path / "c", split=Split(val=0.3))
    with pytest.raises(OutputError, match=r"index.parquet exists"):
        cut(pair, tmp_path / "c")
    records = cut(pair, tmp_path / "c", overwrite=True, size=50)
    assert len(list((tmp_path / "c").rglob("*.tif"))) == 2 * len(records) == 4
    assert not (tmp_path / "c/catalog.json").exists()
    (tmp_path / "mine/images").mkdir(parents=True)
    (tmp_path / "mine/images/x.tif").write_text("dear to me")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds files already"):
            cut(pair, tmp_path / "mine", overwrite=overwrite)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "c", Path("c")):
        with pytest.raises(OutputError, match="holds what is to be cut"):
            tile([tmp_path / "c" / records[0].image], folder, size=9, overwrite=True)
    assert (tmp_path / "c" / records[0].image).exists()


def test_a_row_of_an_area_begins_where_the_area_does(pair):
    """Areas of a split need not begin at the scene's corner."""
    scene = load_scene(pair[0])
    rows = plan_rows([Area(scene, Window(7, 11, 20, 33), "val")], 16, 4)
    assert [row.windows for row in rows] == [
        (Window(7, 11, 16, 16), Window(7, 23, 16, 16), Window(7, 35, 16, 9)),
        (Window(19, 11, 8, 16), Window(19, 23, 8, 16), Window(19, 35, 8, 9)),
    ]
    assert rows[1].name(rows[1].windows[2]) == "s_20200713_00019_00035.tif"


def test_no_split_leaves_scenes_whole_and_shares_must_leave_something(pair):
    scene = load_scene(pair[0])
    assert areas_of([scene], Split(), 16) == (Area(scene, Window(0, 0, 50, 70), ""),)
    with pytest.raises(SceneError, match=r"0\.6 for validation and 0\.4"):
        Split(0.6, 0.4)
