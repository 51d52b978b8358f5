"""Parts share no ground, whatever the scenes' places, dates, CRSs and names; and they hold what was asked for."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geounet.data.splits import split_by_place
from geounet.errors import SceneError
from geounet.raster.placement import bounds_of, outline_of, overlapping
from geounet.raster.scene import load_scene

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
FRACTIONS = {"train": 0.6, "val": 0.25, "test": 0.15}


@pytest.fixture
def scene(tmp_path, write_scene):
    """A function that writes a scene of its own pixels, moved by rows and columns, and describes it."""
    count = iter(range(1000))

    def make(row=0, col=0, height=40, width=60, *, seed=None, **where):
        number = next(count)
        pixels = np.random.default_rng(number if seed is None else seed).integers(0, 200, (height, width), np.uint8)
        given = {"transform": NORTH_UP @ Affine.translation(col, row)} | where
        return load_scene(write_scene(tmp_path / f"{number}.tif", pixels, **given))

    return make


def painted(scenes, parts, size=(260, 260)):
    """On the first scene's pixels: which parts lie where, (rows, cols) of sets as bits."""
    names = sorted({part.name for part in parts})
    ground = np.zeros(size, np.int64)
    for part in parts:
        left, bottom, right, top = bounds_of(scenes[part.item], part.window)
        (col, row), (stop, end) = ~NORTH_UP @ (left, top), ~NORTH_UP @ (right, bottom)
        rows, cols = slice(round(row) + 100, round(end) + 100), slice(round(col) + 100, round(stop) + 100)
        ground[rows, cols] |= 1 << names.index(part.name)
    return ground


def shares(parts):
    total = sum(part.window.pixels for part in parts)
    return {name: sum(p.window.pixels for p in parts if p.name == name) / total for name in {p.name for p in parts}}


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(-50, 90), st.integers(-50, 60)), min_size=1, max_size=6), st.integers(0, 3))
def test_no_ground_is_in_two_parts_and_none_is_lost(tmp_path_factory, write_scene, places, seed):
    folder, random = tmp_path_factory.mktemp("split"), np.random.default_rng(seed)
    scenes = [
        load_scene(
            write_scene(
                folder / f"{i}.tif", random.integers(0, 200, (40, 60), np.uint8),
                transform=NORTH_UP @ Affine.translation(col, row),
            )
        )
        for i, (row, col) in enumerate(places)
    ]  # fmt: skip
    parts = split_by_place(scenes, FRACTIONS, seed=seed, least=8)
    assert set(np.unique(painted(scenes, parts))) <= {0, 1, 2, 4}
    for item, scene in enumerate(scenes):
        seen = np.zeros((scene.height, scene.width), int)
        for part in parts:
            if part.item == item:
                seen[part.window.within(scene.extent)] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("number", [1, 3, 24])
def test_the_fractions_are_met_by_one_scene_as_by_many(scene, number):
    scenes = [scene(row=90 * i, height=80) for i in range(number)]
    parts = split_by_place(scenes, FRACTIONS, least=8)
    assert shares(parts) == pytest.approx(FRACTIONS, rel=0.25)


def test_scenes_stay_whole_where_there_are_enough_of_them(scene):
    scenes = [scene(row=90 * i) for i in range(20)]
    parts = split_by_place(scenes, {"train": 0.8, "val": 0.2})
    assert [part.window for part in parts] == [scene.extent for scene in scenes]
    assert shares(parts)["val"] == pytest.approx(0.2, rel=0.25)


def test_overlapping_scenes_stay_together_over_several_steps(scene):
    chain = [scene(row=30 * i) for i in range(3)]
    alone = [scene(col=500 + 100 * i) for i in range(8)]
    for seed in range(5):
        parts = split_by_place([*chain, *alone], {"train": 0.7, "val": 0.3}, seed=seed)
        assert len({part.name for part in parts if part.item < 3}) == 1


def test_another_crs_on_the_same_ground_is_the_same_place(scene):
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(480_300, 5_429_800)
    degrees = scene(crs="EPSG:4326", transform=Affine(1e-4, 0, x, 0, -1e-4, y))
    here, far = scene(), [scene(row=300 + 90 * i) for i in range(6)]
    assert overlapping([here], [degrees, far[0]]) == ((0, 0),)
    for seed in range(5):
        parts = split_by_place([here, degrees, *far], {"train": 0.7, "val": 0.3}, seed=seed)
        assert len({part.name for part in parts if part.item < 2}) == 1


def test_scenes_that_touch_do_not_overlap(scene):
    assert overlapping([scene()], [scene(row=40), scene(col=60), scene(col=59)]) == ((0, 2),)


def test_the_same_pixels_stay_together_under_any_name_and_without_a_place(scene):
    nowhere = {"crs": None, "transform": None}
    pictures = [scene(**nowhere) for _ in range(9)] + [scene(seed=77, **nowhere), scene(seed=77)]
    for seed in range(5):
        parts = split_by_place(pictures, {"train": 0.5, "val": 0.5}, seed=seed)
        assert len({part.name for part in parts if part.item >= 9}) == 1


def test_two_dates_of_one_place_are_cut_alike(scene):
    scenes = [scene(height=100, width=120), scene(height=100, width=120), scene(row=20, col=30)]
    parts = split_by_place(scenes, FRACTIONS, least=8)
    cuts = [{(part.window, part.name) for part in parts if part.item == item} for item in range(3)]
    assert cuts[0] == cuts[1]
    assert len(cuts[0]) > 3


@pytest.mark.parametrize("where", [
    {"crs": None, "transform": None}, {"transform": NORTH_UP @ Affine.rotation(30)},
    {"transform": Affine(10, 0, 5e5, 0, 10, 5e6)}, {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 9, 0, -1e-4, 50)},
])  # fmt: skip
def test_one_scene_is_cut_wherever_it_lies(scene, where):
    parts = split_by_place([scene(height=100, width=101, **where)], {"train": 0.8, "val": 0.2}, least=16)
    assert sum(part.window.pixels for part in parts) == 100 * 101
    assert shares(parts)["val"] == pytest.approx(0.2, rel=0.25)


def test_blocks_hold_a_patch_where_there_is_room(scene):
    parts = split_by_place([scene(height=300, width=400)], {"train": 0.8, "val": 0.2}, least=120)
    assert min(min(part.window.height, part.window.width) for part in parts) >= 120


def test_the_seed_decides(scene):
    scenes = [scene(row=90 * i) for i in range(12)]
    found = [split_by_place(scenes, FRACTIONS, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_a_rare_class_comes_into_each_part(scene):
    scenes = [scene(row=90 * i) for i in range(20)]

    def counts(item, window):
        return np.array([window.pixels, 100 if item in (3, 11, 16) else 0, 0])

    for seed in range(5):
        parts = split_by_place(scenes, FRACTIONS, seed=seed, counts=counts)
        assert {part.name for part in parts if part.item in (3, 11, 16)} == set(FRACTIONS)


def test_what_cannot_be_split_is_refused(scene):
    one = scene(height=1, width=1)
    with pytest.raises(SceneError, match=rf"{one.path}.*too little ground.*train, val"):
        split_by_place([one], {"train": 0.5, "val": 0.5})
    for fractions in ({}, {"train": 0.5, "val": 0.4}, {"train": 1.2, "val": -0.2}):
        with pytest.raises(SceneError, match="sum of 1"):
            split_by_place([one], fractions)


def test_an_outline_follows_the_edge_into_another_crs(scene):
    place = scene(height=4000, width=6000)
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(480_000 + 30_000, 5_430_000)
    outline = outline_of(place, Transformer.from_crs(32633, 4326).target_crs)
    assert min(abs(px - x) + abs(py - y) for px, py in outline.exterior.coords) < 1e-9
    assert outline_of(place).bounds == bounds_of(place)


def test_places_are_cut_further_where_classes_lie_unevenly(scene):
    """Two places, one class each: whole they would give validation one class alone."""
    scenes = [scene(height=100, width=100), scene(row=300, height=100, width=100)]

    def counts(item, window):
        return window.pixels * np.array([item == 0, item == 1])

    parts = split_by_place(scenes, {"train": 0.5, "val": 0.5}, least=20, counts=counts)
    for item in range(2):
        mine = [part for part in parts if part.item == item]
        held = sum(part.window.pixels for part in mine if part.name == "val") / 10_000
        assert held == pytest.approx(0.5, abs=0.15)
    assert len(split_by_place(scenes, {"train": 0.5, "val": 0.5}, least=20)) == 2
