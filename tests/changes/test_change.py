"""What changed between two maps: the plain way in NumPy, whatever tiles, threads and lattices they come in."""

from __future__ import annotations

import csv
import json

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from made import NORTH_UP, VALUES, blobs, make_product
from pyproj import Transformer
from scipy import ndimage
from shapely.geometry import Point
from untrained import CLASSES

from geounet.changes.comparing import change_table
from geounet.classes import LandClass
from geounet.errors import LabelError, OutputError, SceneError
from geounet.grid import Window
from geounet.raster.cog import RasterProfile, write_cog
from geounet.tasks.change import Rules, change

NAMES = {item.value: item.name for item in CLASSES}
KINDS = {pair: code for code, pair in enumerate([(a, b) for a in VALUES for b in VALUES if a != b], 1)}
ANY = Rules(min_confidence=0.0)


def pixels(path, band=1):
    with rasterio.open(path) as file:
        return file.read(band)


def coded(before, after):
    """The plain way: a code for each pixel."""
    out = np.zeros(before.shape, np.uint8)
    for (old, new), code in KINDS.items():
        out[(before == old) & (after == new)] = code
    out[(before == 255) | (after == 255)] = 255
    return out


def class_raster(path, codes, *, transform=NORTH_UP, crs="EPSG:32633", classes=CLASSES):
    profile = RasterProfile(*codes.shape, transform, crs, "uint8", 255, classes=classes)
    write_cog(path, profile, [(Window(0, 0, *codes.shape), codes[None])])
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two products of one place on one lattice: folder, classes and confidences of both."""
    folder = tmp_path_factory.mktemp("two")
    codes = blobs(90, 130, 1), blobs(90, 130, 2, 7)
    sure = tuple(np.random.default_rng(n).integers(90, 255, (90, 130)).astype(np.uint8) for n in (3, 4))
    sure = tuple(np.where(code == 255, 255, share).astype(np.uint8) for code, share in zip(codes, sure, strict=True))
    for name, code, share, year in zip(("a", "b"), codes, sure, (2020, 2021), strict=True):
        make_product(folder / name, code, share, taken=f"{year}-07-01T10:00:00Z")
    return folder, codes, sure


def drop_small(codes, hectares):
    out = codes.copy()
    for code in set(KINDS.values()):
        labels, count = ndimage.label(codes == code)
        sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(count + 1))
        out[np.isin(labels, np.flatnonzero(sizes * 0.01 < hectares)) & (labels > 0)] = 0
    return out


@pytest.mark.parametrize("min_area", [0.0, 0.075])
@pytest.mark.parametrize(("tile_size", "workers"), [(13, 3), (64, 1), (1024, 2)])
def test_codes_polygons_and_matrix_are_those_of_the_plain_way(two, tmp_path, tile_size, workers, min_area):
    folder, (before, after), (one, other) = two
    rules = Rules(min_confidence=0.7, min_area=min_area)
    found = change(folder / "a", folder / "b", tmp_path / "c", rules, tile_size=tile_size, workers=workers)
    c1, c2, rest = one / 254, other / 254, len(VALUES) - 1
    r1, r2 = (1 - c1) / rest, (1 - c2) / rest
    chance = np.rint((1 - c1 * r2 - r1 * c2 - (len(VALUES) - 2) * r1 * r2) * 254)
    plain = coded(before, after)
    doubtful = (chance < 0.7 * 254) & (plain > 0) & (plain < 255)
    expected = np.where(doubtful, 0, plain)
    dropped = drop_small(expected, min_area)
    np.testing.assert_array_equal(pixels(tmp_path / "c/change.tif"), dropped)
    assert found.doubtful == doubtful.sum() > 100
    assert found.small == (dropped != expected).sum()
    assert (found.small > 50) == (min_area > 0)
    share = pixels(tmp_path / "c/confidence.tif")
    np.testing.assert_array_equal(share, np.where((dropped > 0) & (dropped < 255), chance, 255))
    frame = gpd.read_parquet(tmp_path / "c/change.parquet")
    assert len(frame) == found.polygons > 10
    assert frame["area_ha"].sum() == pytest.approx(((dropped > 0) & (dropped < 255)).sum() * 0.01, rel=2e-3)
    assert set(frame["before"]) == {"2020-07-01T10:00:00Z"}
    names = {f"{NAMES[a]} to {NAMES[b]}": code for (a, b), code in KINDS.items()}
    for row in frame.itertuples():
        assert names[f"{frame.at[row.Index, 'from']} to {frame.at[row.Index, 'to']}"] == frame.at[row.Index, "class"]
    with (tmp_path / "c/transitions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        old, new = ({name: value for value, name in NAMES.items()}[row[side]] for side in ("from", "to"))
        valid = dropped != 255
        here = (dropped == KINDS[old, new]) if old != new else (valid & (before == old) & (dropped == 0))
        assert int(row["pixels"]) == here.sum()
        assert float(row["hectares"]) == pytest.approx(here.sum() * 0.01, rel=2e-3, abs=1e-6)


def test_bytes_do_not_depend_on_tiles_or_threads(two, tmp_path):
    folder = two[0]
    for name, tile_size, workers in (("one", 17, 3), ("two", 4096, 1)):
        change(folder / "a", folder / "b", tmp_path / name, Rules(0.6, 1, 0.05), tile_size=tile_size, workers=workers)
    for file in ("change.parquet", "transitions.csv", "preview.png", "item.json"):
        one, two_ = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two_ or file == "preview.png", file
    for file in ("change.tif", "confidence.tif"):
        np.testing.assert_array_equal(pixels(tmp_path / "one" / file), pixels(tmp_path / "two" / file))


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (-1, 1), (2, -1), (-2, -2)])
def test_a_shift_within_the_tolerance_makes_no_change(tmp_path, shift):
    """And without a tolerance makes a ring around every field."""
    codes = np.where(blobs(80, 100, 5, 9) == 255, VALUES[0], blobs(80, 100, 5, 9)).astype(np.uint8)
    moved = np.roll(codes, shift, (0, 1))[4:-4, 4:-4]
    make_product(tmp_path / "a", codes[4:-4, 4:-4])
    make_product(tmp_path / "b", moved)
    ring = change(tmp_path / "a", tmp_path / "b", tmp_path / "ring", ANY)
    assert ring.polygons > 20
    reach = max(abs(step) for step in shift)
    none = change(tmp_path / "a", tmp_path / "b", tmp_path / "none", Rules(0.0, reach), tile_size=19)
    assert none.polygons == 0
    assert none.shifted == sum(row.pixels for row in ring.transitions if row.changed)
    assert change(tmp_path / "a", tmp_path / "b", tmp_path / "less", Rules(0.0, reach - 1)).polygons > 0


def test_a_wide_change_keeps_its_pixels_under_a_tolerance(tmp_path):
    before = np.full((40, 50), VALUES[0], np.uint8)
    before[:, :20] = VALUES[1]
    after = before.copy()
    after[5:20, 18:30] = VALUES[2]
    after[:, 20:26] = np.where(after[:, 20:26] == VALUES[0], VALUES[1], after[:, 20:26])
    make_product(tmp_path / "a", before)
    make_product(tmp_path / "b", after)
    change(tmp_path / "a", tmp_path / "b", tmp_path / "c", Rules(0.0, 1))
    # At the data's own edge, where a border meets it, there is less to be seen.
    np.testing.assert_array_equal(pixels(tmp_path / "c/change.tif")[1:-1], coded(before, after)[1:-1])


def test_probabilities_of_all_classes_are_preferred_to_one(tmp_path):
    rng = np.random.default_rng(0)
    given = []
    for name in ("a", "b"):
        chance = rng.dirichlet([0.5] * len(VALUES), (30, 40)).transpose(2, 0, 1)
        stored = np.rint(chance * 254).astype(np.uint8)
        codes = np.array(VALUES, np.uint8)[chance.argmax(0)]
        codes[:3, :3] = 255
        class_raster(tmp_path / f"{name}.tif", codes)
        # Bands in another order than the values.
        order = [2, 0, 1]
        profile = RasterProfile(30, 40, NORTH_UP, "EPSG:32633", "uint8", 255, scale=1 / 254,
                                names=tuple(CLASSES[i].name for i in order))  # fmt: skip
        write_cog(tmp_path / f"{name}_p.tif", profile, [(Window(0, 0, 30, 40), stored[order])])
        given.append((codes, stored.astype(float)))
    files = tmp_path / "a_p.tif", tmp_path / "b_p.tif"
    found = change(
        tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c", Rules(0.8), probabilities=files, tile_size=16
    )
    (before, p1), (after, p2) = given
    chance = np.rint(254 * (1 - (p1 * p2).sum(0) / (p1.sum(0) * p2.sum(0))))
    plain = coded(before, after)
    expected = np.where((plain > 0) & (plain < 255) & (chance < np.ceil(0.8 * 254)), 0, plain)
    np.testing.assert_array_equal(pixels(tmp_path / "c/change.tif"), expected)
    assert found.doubtful > 0
    with pytest.raises(LabelError, match="has the bands"):
        change(tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "d", probabilities=(tmp_path / "a.tif", files[1]))


def test_the_chance_of_a_change_is_what_two_independent_maps_give():
    rng = np.random.default_rng(1)
    for count in (2, 3, 7):
        table = change_table(count)
        for one, other in rng.integers(254 // count + 1, 255, (50, 2)):
            p1, p2 = (np.full(count, (1 - share / 254) / (count - 1)) for share in (one, other))
            p1[0], p2[1] = one / 254, other / 254
            assert table[one, other] == pytest.approx(254 * (1 - p1 @ p2), abs=0.5001)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632"])
def test_another_lattice_is_met_by_nearest_pixels_and_classes_are_never_mixed(tmp_path, crs, caplog):
    """Half the resolution, or another zone: what is one class on both sides has not changed."""
    old, new = VALUES[:2]
    fine = class_raster(tmp_path / "fine.tif", np.full((60, 80), old, np.uint8))
    corner = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True).transform(500_000, 5_400_000)
    # Zones are turned against each other by some degrees.
    place = NORTH_UP @ Affine.scale(2) if crs == "EPSG:32633" else Affine(20, 0, corner[0], 0, -20, corner[1])
    codes = np.full((30, 40), old, np.uint8)
    codes[:, 25:] = new
    coarse = class_raster(tmp_path / "coarse.tif", codes, transform=place, crs=crs)
    found = change(fine, coarse, tmp_path / "c", tile_size=33)
    assert found.resampled == 1
    assert "by nearest pixels" in caplog.text
    assert "labels alone are compared" in caplog.text
    with rasterio.open(tmp_path / "c/change.tif") as file:
        assert (file.crs, file.res) == ("EPSG:32633", (10.0, 10.0))
        values = set(np.unique(file.read()).tolist())
    assert values <= {0, KINDS[old, new], 255}
    assert KINDS[old, new] in values
    assert not (tmp_path / "c/confidence.tif").exists()
    if crs == "EPSG:32633":
        expected = np.where(np.arange(80) >= 50, KINDS[old, new], 0)
        np.testing.assert_array_equal(pixels(tmp_path / "c/change.tif"), np.tile(expected, (60, 1)))


def test_maps_that_overlap_in_part_are_compared_there(two, tmp_path):
    """A row less, and begun elsewhere."""
    _, (before, after), _ = two
    class_raster(tmp_path / "a.tif", before[:-1])
    class_raster(tmp_path / "b.tif", after[7:, 20:], transform=NORTH_UP @ Affine.translation(20, 7))
    found = change(tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c", tile_size=32)
    assert (found.height, found.width, found.resampled) == (82, 110, 0)
    np.testing.assert_array_equal(pixels(tmp_path / "c/change.tif"), coded(before, after)[7:-1, 20:])
    with rasterio.open(tmp_path / "c/change.tif") as file:
        assert file.transform == NORTH_UP @ Affine.translation(20, 7)


def test_the_raster_carries_its_kinds_and_the_item_is_valid(two, tmp_path):
    folder = two[0]
    change(folder / "a", folder / "b/item.json", tmp_path / "c", ANY)
    with rasterio.open(tmp_path / "c/change.tif") as file:
        table = json.loads(file.tags()["CLASSES"])
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.colormap(1)[0] == (0xF0, 0xF0, 0xF0, 255)
        present = set(np.unique(file.read()).tolist()) - {255}
    assert {row["value"] for row in table} == present | {0}
    assert {row["name"] for row in table if row["value"]} == {
        f"{NAMES[a]} to {NAMES[b]}" for (a, b), code in KINDS.items() if code in present
    }
    item = pystac.Item.from_file(str(tmp_path / "c/item.json"))
    assert item.common_metadata.start_datetime.year == 2020
    assert item.common_metadata.end_datetime.year == 2021
    assert [link.rel for link in item.links if link.rel == "derived_from"] == ["derived_from"] * 2
    for asset in item.assets.values():
        assert (tmp_path / "c" / asset.href).is_file()


def test_a_sample_gives_areas_with_intervals(two, tmp_path):
    folder, (before, after), _ = two
    rng = np.random.default_rng(5)
    places = [(r, c) for r, c in rng.integers(0, (90, 130), (300, 2)) if 255 not in (before[r, c], after[r, c])]
    points = [Point(NORTH_UP @ (c + 0.5, r + 0.5)) for r, c in places]
    truth = {"from": [NAMES[before[p]] for p in places], "to": [NAMES[after[p]] for p in places]}
    gpd.GeoDataFrame(truth, geometry=points, crs="EPSG:32633").to_file(tmp_path / "s.gpkg")
    found = change(folder / "a", folder / "b", tmp_path / "c", ANY, sample=tmp_path / "s.gpkg")
    assert found.estimate is not None
    assert found.estimate.accuracy.value == pytest.approx(1.0)
    with (tmp_path / "c/transitions.csv").open() as file:
        rows = list(csv.DictReader(file))
    changed = [row for row in rows if row["from"] != row["to"]]
    assert all(float(row["low_ha"]) <= float(row["hectares"]) + 1e-3 for row in changed if row["low_ha"])
    assert rows[-1]["from"] == ""
    assert float(rows[-1]["estimated_ha"]) > 0


def test_what_the_map_has_missed_is_estimated(tmp_path):
    """Points of a kind that is nowhere on the map count against what has not changed."""
    codes = np.full((40, 50), VALUES[0], np.uint8)
    make_product(tmp_path / "a", codes)
    codes[:, :10] = VALUES[1]
    make_product(tmp_path / "b", codes)
    places = [(r + 0.5, c + 0.5) for r in range(0, 40, 4) for c in range(0, 50, 5)]
    after = [NAMES[VALUES[1]] if c < 10 else NAMES[VALUES[2]] if c > 45 else NAMES[VALUES[0]] for _, c in places]
    points = [Point(NORTH_UP @ (c, r)) for r, c in places]
    frame = gpd.GeoDataFrame({"from": NAMES[VALUES[0]], "to": after}, geometry=points, crs="EPSG:32633")
    frame.to_file(tmp_path / "s.gpkg")
    change(tmp_path / "a", tmp_path / "b", tmp_path / "c", ANY, sample=tmp_path / "s.gpkg")
    with (tmp_path / "c/transitions.csv").open() as file:
        rows = {(row["from"], row["to"]): row for row in csv.DictReader(file)}
    missed = rows[NAMES[VALUES[0]], NAMES[VALUES[2]]]
    assert (missed["pixels"], missed["producers_accuracy"]) == ("0", "0.0")
    # Of eighty points where nothing should have changed, ten.
    assert float(missed["estimated_ha"]) == pytest.approx(16.0 * 10 / 80, rel=2e-3)
    assert float(rows["", ""]["estimated_ha"]) == pytest.approx(16.0 * 70 / 80, rel=2e-3)


def test_values_without_names_and_many_classes_are_counted_as_they_are(tmp_path):
    """No class table, or more kinds of changes than a byte has room for."""
    rng = np.random.default_rng(2)
    before, after = (rng.integers(0, 30, (40, 50)).astype(np.uint8) for _ in range(2))
    after[3:] = before[3:]
    for name, codes in (("a", before), ("b", after)):
        class_raster(tmp_path / f"{name}.tif", codes, classes=())
    found = change(tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c", tile_size=16)
    pairs = {(a, b) for a, b in zip(before[:3].ravel().tolist(), after[:3].ravel().tolist(), strict=True) if a != b}
    assert {(row.before, row.after) for row in found.transitions if row.changed and row.pixels} == {
        (f"class_{a}", f"class_{b}") for a, b in pairs
    }
    assert (pixels(tmp_path / "c/change.tif") > 0).sum() == (before != after).sum()
    class_raster(tmp_path / "d.tif", rng.integers(0, 30, (40, 50)).astype(np.uint8), classes=())
    with pytest.raises(LabelError, match="has room for 254"):
        change(tmp_path / "a.tif", tmp_path / "d.tif", tmp_path / "e")


def test_where_all_has_changed_the_kind_is_in_the_table(tmp_path):
    for name, value in (("a", VALUES[0]), ("b", VALUES[1])):
        make_product(tmp_path / name, np.full((20, 30), value, np.uint8))
    found = change(tmp_path / "a", tmp_path / "b", tmp_path / "c", ANY)
    assert found.polygons == 1
    with rasterio.open(tmp_path / "c/change.tif") as file:
        assert {row["value"] for row in json.loads(file.tags()["CLASSES"])} == {0, KINDS[VALUES[0], VALUES[1]]}


def test_files_of_other_work_are_not_replaced(two, tmp_path):
    folder = two[0]
    (tmp_path / "c").mkdir()
    (tmp_path / "c/transitions.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"transitions.csv exists"):
        change(folder / "a", folder / "b", tmp_path / "c", ANY)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["transitions.csv"]


def test_run_again_it_is_refused_and_replaced(two, tmp_path):
    folder = two[0]
    change(folder / "a", folder / "b", tmp_path / "c", ANY)
    with pytest.raises(OutputError, match="exists"):
        change(folder / "a", folder / "b", tmp_path / "c", ANY)
    change(folder / "a", folder / "b", tmp_path / "c", ANY, vector_format="gpkg", overwrite=True)
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "change.tif", "change.tif.aux.xml", "change.qml", "confidence.tif", "change.gpkg", "transitions.csv",
        "preview.png", "item.json",
    }  # fmt: skip


def test_what_cannot_be_compared_is_one_sentence(two, tmp_path):
    folder = two[0]
    far = class_raster(tmp_path / "far.tif", np.full((5, 5), 10, np.uint8), transform=Affine(10, 0, 0, 0, -10, 10))
    with pytest.raises(SceneError, match="no ground in common"):
        change(folder / "a", far, tmp_path / "c")
    with pytest.raises(OutputError, match="holds 2 products"):
        change(folder, folder / "b", tmp_path / "c")
    other = tuple(LandClass(item.value, f"{item.name}!", item.color) for item in CLASSES)
    with pytest.raises(LabelError, match="one map has one class table"):
        change(folder / "a", class_raster(tmp_path / "o.tif", blobs(90, 130), classes=other), tmp_path / "c")
    with pytest.raises(SceneError, match="does not lie on the grid"):
        change(folder / "a", folder / "b", tmp_path / "c", confidence=(far, far))
    with pytest.raises(LabelError, match="cannot be read"):
        change(folder / "a", folder / "b", tmp_path / "c", sample=far)
    bare = class_raster(tmp_path / "bare.tif", blobs(9, 9), crs=None)
    with pytest.raises(SceneError, match="no CRS"):
        change(bare, bare, tmp_path / "c")
    assert not (tmp_path / "c").exists() or not list((tmp_path / "c").iterdir())
