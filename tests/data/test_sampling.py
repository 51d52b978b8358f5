"""A sample is the scene's window, normalised, with its labels; samplers name windows without moving them."""

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples
from torchgeo.samplers import GridGeoSampler, RandomGeoSampler

from geounet.data import sampling
from geounet.data.labels import read_codes
from geounet.data.pairing import pair_labels
from geounet.data.sampling import HaloGridGeoSampler, RandomPatchGeoSampler, SceneDataset
from geounet.data.statistics import collect
from geounet.errors import LabelError, SceneError
from geounet.grid import Grid, Tile, Window
from geounet.raster.scene import load_scene

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_429_000)
PLACES = {
    "north-up": {"transform": NORTH_UP},
    "south-up": {"transform": SOUTH_UP},
    "rotated": {"transform": NORTH_UP @ Affine.rotation(30)},
    "no CRS": {"crs": None, "transform": None},
    "far away, 3 cm": {"transform": Affine(0.03, 0, 21_480_123.456, 0, -0.03, 9_900_000.789)},
    "degrees": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 179.1, 0, -1e-5, -61.7)},
    "not square": {"transform": Affine(3.7, 0, 480_001.3, 0, -11.1, 5_430_000)},
}
MEAN, STD = (100.0, 2000.0), (7.0, 900.0)
CODES = (10, 70, 0)
HEIGHT, WIDTH = 23, 31

windows = st.builds(Window, st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 40), st.integers(1, 40))


def drawn(seed, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(1, 4000, (2, height, width), np.uint16)


def labelled(seed, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(100 + seed).choice(np.array([10, 70, 0, 255, 33], np.uint8), (height, width))


@pytest.fixture(scope="module")
def places(tmp_path_factory, write_scene):
    """A labelled scene at each place, with some invalid pixels in the image."""
    folder, found = tmp_path_factory.mktemp("places"), {}
    for seed, (name, where) in enumerate(PLACES.items()):
        array = drawn(seed)
        array[:, 4:7, 10:12] = 65535
        image = write_scene(folder / f"{seed}.tif", array, nodata=65535, **where)
        label = write_scene(folder / f"{seed}_label.tif", labelled(seed), **where)
        (pair,) = pair_labels([image], [label])
        found[name] = SimpleNamespace(pair=pair, array=array, codes=labelled(seed))
    return found


def dataset_of(places, *names, **given):
    return SceneDataset([places[name].pair for name in names], MEAN, STD, CODES, **given)


def expected_sample(place, window):
    """What numpy makes of the whole scene."""
    far = 120
    mean, std = (np.float32(value)[:, None, None] for value in (MEAN, STD))
    normalised = np.where(place.array == 65535, 0, (place.array.astype(np.float32) - mean) / std).astype(np.float32)
    index = {code: position for position, code in enumerate(CODES)}
    mask = np.array([[index.get(int(code), 255) for code in row] for row in place.codes])
    mask[place.array[0] == 65535] = 255
    rows, cols = (
        slice(start + far, stop + far) for start, stop in ((window.row, window.row_stop), (window.col, window.col_stop))
    )
    reflect = {"pad_width": far, "mode": "reflect"}
    image = np.stack([np.pad(band, **reflect)[rows, cols] for band in normalised])
    valid = np.pad(place.array[0] != 65535, **reflect)[rows, cols]
    return image, valid, np.pad(mask, far, constant_values=255)[rows, cols]


def check_sample(sample, place, window):
    image, valid, mask = expected_sample(place, window)
    assert (sample["image"].dtype, sample["valid"].dtype, sample["mask"].dtype) == (
        torch.float32,
        torch.bool,
        torch.int64,
    )
    np.testing.assert_allclose(sample["image"].numpy(), image, atol=1e-6)
    np.testing.assert_array_equal(sample["valid"].numpy(), valid)
    np.testing.assert_array_equal(sample["mask"].numpy(), mask)


# --- the dataset -------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def few_rows_at_a_time():
    """As in windows of thousands of pixels a side."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geounet.data.windows._AT_HAND", 100)
        yield


@given(name=st.sampled_from(list(PLACES)), window=windows)
def test_a_scene_without_labels_is_the_same_window(places, name, window):
    dataset = SceneDataset([places[name].pair.image], MEAN, STD)
    sample = dataset[dataset.query(0, window)]
    image, valid, _ = expected_sample(places[name], window)
    assert "mask" not in sample
    np.testing.assert_array_equal(sample["image"].numpy(), image)
    np.testing.assert_array_equal(sample["valid"].numpy(), valid)


@given(name=st.sampled_from(list(PLACES)), window=windows, keep=st.booleans())
def test_a_sample_is_the_window_normalised_wherever_the_scene_lies(places, name, window, keep):
    dataset = dataset_of(places, name, keep=keep)
    check_sample(dataset[dataset.query(0, window)], places[name], window)


@given(names=st.permutations(list(PLACES)), item=st.integers(0, len(PLACES) - 1), window=windows)
def test_scenes_of_many_crs_together_are_each_read_in_their_pixels(places, names, item, window):
    dataset = dataset_of(places, *names)
    check_sample(dataset[dataset.query(item, window)], places[names[item]], window)


@given(name=st.sampled_from(list(PLACES)), copies=st.integers(1, 4), data=st.data(), window=windows)
def test_a_query_leads_back_to_its_scene_and_window(places, name, copies, data, window):
    dataset = dataset_of(places, *[name] * copies)
    item = data.draw(st.integers(0, copies - 1))
    assert dataset.locate(dataset.query(item, window)) == (item, window)


def test_a_sample_equals_a_plain_rasterio_read(places):
    dataset = dataset_of(places, "north-up")
    with rasterio.open(places["north-up"].pair.image.path) as file:
        read = file.read(window=rasterio.windows.Window(13, 8, 5, 4)).astype(np.float32)
    image = dataset[dataset.query(0, Window(8, 13, 4, 5))]["image"].numpy()
    np.testing.assert_allclose(image * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None], read, atol=1e-3)


def test_scenes_of_one_place_stay_apart(tmp_path, write_scene):
    arrays = [drawn(seed) for seed in range(3)]
    scenes = [load_scene(write_scene(tmp_path / f"{seed}.tif", array)) for seed, array in enumerate(arrays)]
    dataset = SceneDataset(scenes, (0, 0), (1, 1))
    for item, array in enumerate(arrays):
        sample = dataset[dataset.query(item, Window(0, 0, HEIGHT, WIDTH))]
        np.testing.assert_array_equal(sample["image"].numpy(), array)
        assert "mask" not in sample


def test_a_common_crs_is_kept_and_unlike_scenes_are_in_pixels(places):
    assert dataset_of(places, "north-up", "south-up").crs.to_epsg() == 32633
    assert dataset_of(places, "degrees").crs.to_epsg() == 4326
    for names in (("rotated",), ("no CRS",), ("north-up", "degrees"), ("north-up", "no CRS")):
        dataset = dataset_of(places, *names)
        assert dataset.index.crs is None, names
        assert tuple(dataset.index.total_bounds) == (0, -HEIGHT, WIDTH, 0)


def test_samples_that_are_kept_in_memory_are_the_same(places):
    plain, kept = dataset_of(places, "north-up", "degrees"), dataset_of(places, "north-up", "degrees", keep=True)
    for window in (Window(0, 0, HEIGHT, WIDTH), Window(-9, 20, 30, 40), Window(5, 6, 1, 1)):
        for item in (0, 1, 0):
            one, other = plain[plain.query(item, window)], kept[kept.query(item, window)]
            assert all(torch.equal(one[key], other[key]) for key in ("image", "valid", "mask"))


def test_a_pickled_dataset_reads_the_same(places):
    dataset = dataset_of(places, "north-up", "south-up", keep=True)
    query = dataset.query(1, Window(-3, 4, 11, 12))
    before = dataset[query]
    after = pickle.loads(pickle.dumps(dataset))[query]  # noqa: S301 - pickled in this line
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_many_threads_read_what_one_reads_and_labels_once(places, monkeypatch):
    windows = [(item, Window(row, col, 9, 12)) for row in (-4, 3, 11) for col in (-6, 8, 19) for item in (0, 1)] * 4
    alone = dataset_of(places, "north-up", "south-up")
    expected = [alone[alone.query(*place)] for place in windows]
    calls = []
    monkeypatch.setattr(sampling, "read_codes", lambda *given: calls.append(sleep(0.05)) or read_codes(*given))
    shared = dataset_of(places, "north-up", "south-up")
    with ThreadPoolExecutor(8) as threads:
        samples = list(threads.map(lambda place: shared[shared.query(*place)], windows))
    for one, other in zip(expected, samples, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("image", "valid", "mask"))
    assert len(calls) == 2


def test_a_place_beyond_all_scenes_is_an_index_error(places):
    dataset = dataset_of(places, "north-up", "north-up")
    x, y, t = dataset.query(1, Window(0, 0, 4, 4))
    late = slice(t.start.replace(year=2040), t.stop.replace(year=2040))
    with pytest.raises(IndexError, match="no scene at"):
        dataset[x, y, late]


def test_no_scene_is_no_dataset():
    with pytest.raises(SceneError, match="at least one scene"):
        SceneDataset([], (), ())


# --- samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [
    lambda dataset: RandomGeoSampler(dataset, size=8, length=6, generator=torch.Generator().manual_seed(1)),
    lambda dataset: GridGeoSampler(dataset, size=8, stride=8),
])  # fmt: skip
@pytest.mark.parametrize("names", [("north-up",), ("no CRS",), ("rotated", "degrees")])
def test_torchgeos_own_samplers_and_collation_work(places, caplog, sampler, names):
    dataset = dataset_of(places, *names)
    with caplog.at_level(logging.WARNING):
        loader = DataLoader(dataset, batch_size=3, sampler=sampler(dataset), collate_fn=stack_samples)
        batch = next(iter(loader))
    assert batch["image"].shape == (3, 2, 8, 8)
    assert batch["mask"].shape == batch["valid"].shape == (3, 8, 8)


@given(
    name=st.sampled_from(list(PLACES)), item=st.integers(0, 2), region=windows, core=st.integers(1, 9),
    halo=st.integers(0, 9),
)  # fmt: skip
def test_the_halo_grid_yields_exactly_the_planned_windows(places, name, item, region, core, halo):
    dataset = dataset_of(places, name, name, name)
    region = region.intersection(dataset.scenes[0].extent)
    tiles = list(Grid(region, core, core + 1, halo).tiles())
    sampler = HaloGridGeoSampler(dataset, tiles, item)
    assert len(sampler) == len(tiles)
    assert [dataset.locate(query) for query in sampler] == [(item, tile.window) for tile in tiles]


def test_samples_of_the_halo_grid_put_together_are_the_scene(places):
    place, dataset = places["south-up"], dataset_of(places, "south-up")
    extent = Window(0, 0, HEIGHT, WIDTH)
    tiles: list[Tile] = list(Grid(extent, 8, 12, 4, 4).tiles())
    whole = torch.full((2, HEIGHT, WIDTH), torch.nan)
    for tile, query in zip(tiles, HaloGridGeoSampler(dataset, tiles), strict=True):
        whole[:, *tile.core.within(extent)] = dataset[query]["image"][:, *tile.core.within(tile.window)]
    np.testing.assert_allclose(whole.numpy(), expected_sample(place, extent)[0], atol=1e-6)


def patches(dataset, size, length, seed):
    sampler = RandomPatchGeoSampler(dataset, size, length, torch.Generator().manual_seed(seed))
    assert len(sampler) == length
    return [dataset.locate(query) for query in sampler]


@given(st.integers(0, 1000), st.integers(1, HEIGHT))
def test_random_patches_lie_within_the_scene(places, seed, size):
    for _item, window in patches(dataset_of(places, "north-up", "degrees"), size, 5, seed):
        assert (window.height, window.width) == (size, size)
        assert window.intersection(Window(0, 0, HEIGHT, WIDTH)) == window


def test_the_same_seed_gives_the_same_patches_and_another_others(places):
    dataset = dataset_of(places, "north-up", "south-up")
    assert patches(dataset, 8, 20, 3) == patches(dataset, 8, 20, 3)
    assert patches(dataset, 8, 20, 3) != patches(dataset, 8, 20, 4)


def test_each_epoch_draws_new_patches(places):
    dataset = dataset_of(places, "north-up")
    sampler = RandomPatchGeoSampler(dataset, 8, 20, torch.Generator().manual_seed(3))
    assert [dataset.locate(query) for query in sampler] != [dataset.locate(query) for query in sampler]


def test_a_scene_smaller_than_the_patch_is_drawn_whole(places):
    for _item, window in patches(dataset_of(places, "north-up"), 40, 5, 0):
        assert (window.height, window.width) == (40, 40)
        assert window.intersection(Window(0, 0, HEIGHT, WIDTH)) == Window(0, 0, HEIGHT, WIDTH)


def test_a_patch_longer_than_the_scene_on_one_side_moves_along_the_other(places):
    found = {window for _item, window in patches(dataset_of(places, "north-up"), 26, 40, 0)}
    assert {window.row for window in found} == {-1}
    assert {window.col for window in found} == set(range(WIDTH - 26 + 1))


def test_scenes_are_drawn_in_proportion_to_their_area(tmp_path, write_scene):
    small = load_scene(write_scene(tmp_path / "small.tif", np.zeros((10, 10), np.uint8)))
    large = load_scene(write_scene(tmp_path / "large.tif", np.zeros((30, 10), np.uint8)))
    drawn_items = [item for item, _window in patches(SceneDataset([small, large], (0,), (1,)), 4, 400, 0)]
    # Three in four, with a standard deviation of 2.2 %.
    assert 0.66 < np.mean(drawn_items) < 0.84


# --- regions, classes and nodata ---------------------------------------------------------------------------------


@given(name=st.sampled_from(list(PLACES)), window=windows, keep=st.booleans())
def test_a_region_is_continued_by_its_own_reflection(places, name, window, keep):
    """Nothing of what lies beyond the region comes into a sample: that may be another part of a split."""
    place, region = places[name], Window(3, 5, 14, 19)
    pair = replace(place.pair, region=region)
    whole = Window(0, 0, HEIGHT, WIDTH)
    image, valid, mask = expected_sample(place, whole)
    rows, cols = region.within(whole)
    far = 120
    padded = np.pad(image[:, rows, cols], ((0, 0), (far, far), (far, far)), mode="reflect")
    at = tuple(slice(a - b + far, a - b + far + n) for a, b, n in zip(
        (window.row, window.col), (region.row, region.col), (window.height, window.width), strict=True
    ))  # fmt: skip
    dataset = SceneDataset([pair, place.pair], MEAN, STD, CODES, keep=keep)
    sample = dataset[dataset.query(0, window)]
    np.testing.assert_allclose(sample["image"].numpy(), padded[:, *at], atol=1e-6)
    np.testing.assert_array_equal(sample["valid"].numpy(), np.pad(valid[rows, cols], far, mode="reflect")[at])
    np.testing.assert_array_equal(sample["mask"].numpy(), np.pad(mask[rows, cols], far, constant_values=255)[at])


@pytest.fixture(scope="module")
def rare(tmp_path_factory, write_scene):
    """Two scenes: class 10 nearly everywhere in the first, class 70 in one corner; nothing in the west."""
    folder, pairs = tmp_path_factory.mktemp("rare"), []
    for number in range(2):
        array = drawn(number, 120, 160)
        array[:, :, :40] = 65535
        codes = np.full((120, 160), 10 if number == 0 else 255, np.uint8)
        codes[:60, 100:] = 255
        codes[100:104, 150:153] = 70 if number else codes[100, 150]
        where = {"transform": NORTH_UP @ Affine.translation(900 * number, 0)}
        image = write_scene(folder / f"{number}.tif", array, nodata=65535, **where)
        pairs += pair_labels([image], [write_scene(folder / f"{number}_label.tif", codes, **where)])
    statistics = collect(pairs)
    return SceneDataset(pairs, MEAN, STD, CODES), statistics.coverages


def masks(rare, seed=0, length=60, size=24, **how):
    dataset, coverages = rare
    sampler = RandomPatchGeoSampler(
        dataset, size, length, torch.Generator().manual_seed(seed), coverages=coverages, **how
    )
    return torch.stack([dataset[query]["mask"] for query in sampler])


@pytest.mark.parametrize("least", [0.0, 0.3, 1.0])
def test_a_patch_has_the_valid_and_labelled_share_that_was_asked_for(rare, least):
    shares = (masks(rare, least=least) != 255).float().mean(dim=(1, 2))
    assert float(shares.min()) >= max(least, 1 / 24**2)


def test_a_share_that_no_patch_has_is_refused(rare, tmp_path, write_scene):
    image = write_scene(tmp_path / "i.tif", drawn(0))
    label = write_scene(tmp_path / "l.tif", np.where(np.eye(HEIGHT, WIDTH), 10, 255).astype(np.uint8))
    pairs = pair_labels([image], [label])
    with pytest.raises(LabelError, match=r"fewer than 50% valid and labelled pixels, in .*i\.tif"):
        masks((SceneDataset(pairs, MEAN, STD, CODES), collect(pairs).coverages), size=8, least=0.5)


def test_a_rare_class_is_drawn_as_often_as_asked(rare):
    """Twelve pixels of class 70 in some 24,000: in half of the patches where half is asked for, else in hardly any."""
    index = CODES.index(70)
    plain = (masks(rare, length=200) == index).any(dim=(1, 2)).float().mean()
    asked = (masks(rare, length=200, shares={70: 0.5}) == index).any(dim=(1, 2)).float().mean()
    assert plain < 0.1
    # A half, with a standard deviation of 3.5 %, and those that are drawn by area.
    assert 0.39 < asked < 0.64
    assert (masks(rare, length=30, shares={70: 0.5, 10: 0.5}) == index).any(dim=(1, 2)).float().mean() < 1


def test_each_pixel_of_a_class_is_as_likely_to_be_drawn(tmp_path, write_scene):
    """Two fields of a class, one three times as large: patches go to it three times as often."""
    codes = np.full((40, 400), 70, np.uint8)
    codes[:, 0:16], codes[:, 320:368] = 10, 10
    image = write_scene(tmp_path / "i.tif", drawn(0, 40, 400))
    pairs = pair_labels([image], [write_scene(tmp_path / "l.tif", codes)])
    dataset = SceneDataset(pairs, MEAN, STD, CODES)
    sampler = RandomPatchGeoSampler(
        dataset, 16, 400, torch.Generator().manual_seed(0), coverages=collect(pairs).coverages, shares={10: 1.0}
    )
    right = [dataset.locate(query)[1].col > 200 for query in sampler]
    # Three in four, with a standard deviation of 2.2 %.
    assert 0.66 < np.mean(right) < 0.84


def test_class_shares_that_cannot_be_met_are_refused(rare):
    with pytest.raises(LabelError, match="class 0: it has no valid and labelled pixel"):
        masks(rare, shares={0: 0.2})
    with pytest.raises(LabelError, match=r"sum of 1\.1, above 1"):
        masks(rare, shares={10: 0.6, 70: 0.5})


def test_worker_processes_change_neither_patches_nor_their_order(rare):
    dataset, coverages = rare
    batches = []
    for workers in (0, 1, 2):
        sampler = RandomPatchGeoSampler(
            dataset, 16, 12, torch.Generator().manual_seed(5), coverages=coverages, least=0.03, shares={70: 0.3}
        )
        loader = DataLoader(dataset, batch_size=3, sampler=sampler, num_workers=workers)
        batches.append([batch for _epoch in range(2) for batch in loader])
    assert len(batches[0]) == 8
    for other in batches[1:]:
        for one, two in zip(batches[0], other, strict=True):
            assert all(torch.equal(one[key], two[key]) for key in ("image", "mask", "valid"))
    assert not torch.equal(batches[0][0]["image"], batches[0][4]["image"])
