"""Touching fields come apart as scikit-image's watershed has it, and tiles leave no trace in it."""

import numpy as np
import pytest
import rasterio.features
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed
from tiled import HOSTILE

from geounet.components import basins
from geounet.components.touching import Splitting, relief_of, split_array, split_touching
from geounet.errors import LabelError
from geounet.grid import Window

FIELD, LINE, OTHER_FIELD = 1, 2, 3
BY_CLASS = Splitting(frozenset({FIELD}), boundary_class=LINE)
BY_CHANCE = Splitting(frozenset({FIELD}))
CROSS = ndimage.generate_binary_structure(2, 1)


def in_tiles(classes, rule, chance=None, tile_size=7, workers=1):
    """Ids put together tile by tile, and codes strip by strip, with the class of each code."""
    extent = Window(0, 0, *classes.shape)
    ids, codes = np.full(classes.shape, 77, np.uint32), np.full(classes.shape, 77, np.uint8)

    def cut(array):
        def read(window):
            assert window == window.intersection(extent)
            return array[window.within(extent)]

        return None if array is None else read

    with split_touching(
        cut(classes), extent, rule, read_boundary=cut(chance), tile_size=tile_size, workers=workers
    ) as objects:
        for window, piece in objects.tiles():
            ids[window.within(extent)] = piece
        for row in range(0, extent.height, 5):
            strip = Window(row, 0, min(5, extent.height - row), extent.width)
            codes[strip.within(extent)] = objects.codes(strip)
        assert np.array_equal(objects.ids(extent), ids)
        assert objects.count == ids.max()
        assert np.array_equal(objects.class_of_code[objects.code_of_object], objects.class_of_object)
    return ids, codes, objects.class_of_code


def fields(row_edges, col_edges, line):
    """Rectangles side by side, by number, and classes in which lines of so many pixels lie between them."""
    rows = np.repeat(np.arange(len(row_edges)), row_edges)
    cols = np.repeat(np.arange(len(col_edges)), col_edges)
    truth = rows[:, None] * len(col_edges) + cols + 1
    reach = np.ones((line + 1, line + 1)) if line % 2 == 0 else np.ones((line, line))
    edge = ndimage.grey_dilation(truth, footprint=reach) != ndimage.grey_erosion(truth, footprint=reach)
    if line == 1:
        edge = (np.diff(truth, axis=0, append=truth[-1:]) > 0) | (np.diff(truth, axis=1, append=truth[:, -1:]) > 0)
    return truth, np.where(edge, LINE, FIELD).astype(np.uint8)


def assert_one_object_a_field(truth, ids, least=0.9):
    """Each field shares more than this of its union with an object, and there are no others."""
    numbers = np.unique(truth[truth > 0])
    assert np.unique(ids[ids > 0]).size == numbers.size
    for number in numbers:
        field = truth == number
        found = ids == np.bincount(ids[field]).argmax()
        assert (field & found).sum() / (field | found).sum() > least


def discs(centres, radius, height, width):
    """Touching discs by number (nearest centre), and a boundary probability that is high between them."""
    rows, cols = np.indices((height, width))
    distances = np.sort([np.hypot(rows - row, cols - col) for row, col in centres], axis=0)
    nearest = np.argmin([np.hypot(rows - row, cols - col) for row, col in centres], axis=0) + 1
    truth = np.where(distances[0] <= radius, nearest, 0)
    chance = 0.4 * np.exp(-(((distances[1] - distances[0]) / 3) ** 2))
    return truth, chance.astype(np.float32)


# Hand-drawn scenes.


@pytest.mark.parametrize("line", [1, 3])
@pytest.mark.parametrize("tile_size", [8, 100])
def test_a_line_of_pixels_separates_fields_and_is_handed_out(line, tile_size):
    """Every field is one object, the line's pixels included, halfway from either side."""
    truth, classes = fields([24, 31], [40, 26, 33], line)
    ids, codes, class_of_code = in_tiles(classes, BY_CLASS, tile_size=tile_size)
    assert_one_object_a_field(truth, ids)
    assert (ids > 0).all()
    assert set(class_of_code[codes].ravel()) == {FIELD}


def test_a_wide_line_is_divided_in_its_middle():
    """Five pixels: two to either side, and the middle to one of them."""
    classes = np.ones((16, 45), np.uint8)
    classes[:, 20:25] = LINE
    for turned in (classes, classes.T):
        ids = split_array(np.ascontiguousarray(turned), BY_CLASS)
        ids = ids if turned is classes else ids.T
        assert (ids[:, :22] == 1).all()
        assert (ids[:, 23:] == 2).all()


def test_a_probability_that_is_unknown_counts_as_none_and_in_a_line_as_all():
    """A column of NaN cuts a field where it is of the boundary class."""
    chance = np.zeros((20, 21), np.float32)
    chance[:, 10] = np.nan
    classes = np.ones((20, 21), np.uint8)
    assert split_array(classes, BY_CLASS, chance).max() == 1
    classes[:, 10] = LINE
    assert split_array(classes, BY_CLASS, chance).max() == 2


def test_a_line_with_gaps_separates_all_the_same():
    """A passage much narrower than the fields on both sides is cut, unless shape is to count for nothing."""
    truth, classes = fields([40], [40, 40], 3)
    classes[12:16, 36:44] = classes[30:33, 36:44] = FIELD
    assert_one_object_a_field(truth, split_array(classes, BY_CLASS))
    assert split_array(classes, Splitting(frozenset({FIELD}), LINE, neck=1000)).max() == 1


def test_touching_discs_come_apart_where_the_boundary_is_likely():
    """A probability too low to be a boundary anywhere separates nevertheless, and where it is flat nothing does."""
    truth, chance = discs([(20, 20), (20, 48), (45, 34)], 15, 66, 70)
    classes = np.where(truth > 0, FIELD, 0).astype(np.uint8)
    assert_one_object_a_field(truth, split_array(classes, BY_CHANCE, chance), 0.97)
    by_chance_alone = Splitting(frozenset({FIELD}), neck=1000)
    assert_one_object_a_field(truth, split_array(classes, by_chance_alone, chance), 0.97)
    assert split_array(classes, by_chance_alone, np.full_like(chance, 0.4)).max() == 1
    assert split_array(classes, by_chance_alone, np.full_like(chance, np.nan)).max() == 1


def test_a_rise_less_than_asked_for_cuts_nothing():
    """0.4 between fields, 0 within: cut at a rise of 0.4, not at one a thousandth of that higher."""
    chance = np.zeros((20, 21), np.float32)
    chance[:, 10] = 0.4
    classes = np.ones((20, 21), np.uint8)
    for rise, count in ((0.4, 2), (0.4004, 1)):
        rule = Splitting(frozenset({FIELD}), rise=rise, neck=1000)
        assert split_array(classes, rule, chance).max() == count


def test_holes_and_nodata_stay_what_they_are():
    """A field with a pond, a hole of nodata and a line that ends within is one object."""
    classes = np.ones((30, 40), np.uint8)
    classes[8:12, 10:15], classes[20:22, 25:29], classes[5, 20:33] = 0, 255, LINE
    ids, codes, class_of_code = in_tiles(classes, BY_CLASS)
    assert ids.max() == 1
    assert np.array_equal(ids == 0, (classes == 0) | (classes == 255))
    assert np.array_equal(class_of_code[codes], np.where(classes == LINE, FIELD, classes))


def test_what_is_small_goes_to_the_field_it_touches_and_stays_where_it_touches_none():
    """Six pixels behind a line are no field of their own, six pixels in the wild are."""
    classes = np.zeros((12, 30), np.uint8)
    classes[:, :20], classes[:, 20] = FIELD, LINE
    classes[3:5, 21:24] = classes[8:10, 26:29] = FIELD
    rule = Splitting(frozenset({FIELD}), boundary_class=LINE, min_pixels=6)
    assert split_array(classes, rule).max() == 3
    ids = split_array(classes, BY_CLASS)
    assert ids.max() == 2
    assert ids[3, 23] == ids[0, 0] != ids[8, 28] > 0


def test_classes_never_mix():
    """A line between two classes is divided; where they touch without one they are apart anyway."""
    classes = np.ones((20, 30), np.uint8)
    classes[:, 15:], classes[:10, 14:17] = OTHER_FIELD, LINE
    rule = Splitting(frozenset({FIELD, OTHER_FIELD}), boundary_class=LINE)
    ids, codes, class_of_code = in_tiles(classes, rule)
    assert ids.max() == 2
    assert [set(class_of_code[codes[ids == number]]) for number in (1, 2)] == [{FIELD}, {OTHER_FIELD}]
    assert (ids[:10, 14] == 1).all()
    assert (ids[:10, 16] == 2).all()


def test_lines_that_lead_to_no_field_stay():
    """Everything boundary: no object, and the class raster is what it was."""
    classes = np.full((9, 8), LINE, np.uint8)
    ids, codes, _ = in_tiles(classes, BY_CLASS, tile_size=3)
    assert not ids.any()
    assert np.array_equal(codes, classes)


def test_a_field_without_a_middle_is_a_field():
    """One row, one column and one pixel are objects, whatever the least size; so are both ends beside a line."""
    for shape in ((1, 1), (1, 30), (30, 1)):
        classes = np.ones(shape, np.uint8)
        assert (in_tiles(classes, BY_CLASS, tile_size=4)[0] == 1).all()
    row = np.array([[FIELD] * 12 + [LINE] + [FIELD] * 14], np.uint8)
    for classes in (row, row.T.copy()):
        ids, _, _ = in_tiles(classes, BY_CLASS, tile_size=5)
        assert ids.ravel().tolist() == [1] * 13 + [2] * 14


# Oracles.

maps = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([1, 1, 1, 0])
)
roughness = st.sampled_from([0.0, 0.7, 1.5])


def rough(shape, seed, blur):
    """A boundary probability with hills of about this many pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), blur)
    return ((noise - noise.min()) / max(np.ptp(noise), 1e-9)).astype(np.float32)


def relief_in_walls(classes, rule, chance):
    """The relief with a wall around it and where no field is, and where fields are."""
    owner, relief = relief_of(classes, rule, chance)
    inside = np.pad(owner != 255, 1)
    return np.where(inside, np.pad(relief, 1), 10 * basins.HIGHEST), inside


@settings(max_examples=60)
@given(maps, st.integers(0, 1000), roughness, st.integers(1, 15))
def test_objects_are_the_watershed_of_scikit_image(classes, seed, blur, tile_size):
    """Flooded from its minima, of which those of an object share a marker, the relief gives the objects."""
    rule = Splitting(frozenset({FIELD}), half_width=3, min_pixels=3)
    chance = rough(classes.shape, seed, blur)
    ids = np.pad(in_tiles(classes, rule, chance, tile_size)[0], 1)
    relief, inside = relief_in_walls(classes, rule, chance)
    # Heights without ties, in the order that is documented: by relief, then in raster order.
    heights = np.argsort(np.argsort(relief, axis=None, kind="stable")).reshape(relief.shape)
    minima = inside & (heights == ndimage.minimum_filter(heights, footprint=CROSS))
    assert np.array_equal(watershed(heights, np.where(minima, ids, 0).astype(int), mask=inside), ids)


@settings(max_examples=60)
@given(maps, st.integers(0, 1000), roughness)
def test_there_are_as_many_objects_as_deep_minima(classes, seed, blur):
    """Before small ones are given away, an object is a minimum of at least the depth that tells fields apart."""
    rule = Splitting(frozenset({FIELD}), half_width=3, min_pixels=0)
    chance = rough(classes.shape, seed, blur)
    relief, inside = relief_in_walls(classes, rule, chance)
    assume(inside.any())
    # A minimum whose depth is just the height is not among those that are left, so one less than 1000.
    filled = reconstruction(relief + 999, relief, method="erosion", footprint=CROSS)
    _, count = ndimage.label(local_minima(filled, footprint=CROSS) * inside)
    assert split_array(classes, rule, chance).max() == count


def drained(owner, relief, boundary):
    """The definition of basins: pixels by the pixel that their water ends in."""
    ends = {}
    for place in sorted(np.ndindex(owner.shape), key=lambda at: (relief[at], at)):
        if owner[place] == 255:
            continue
        row, col = place
        near = [(row - 1, col), (row, col - 1), (row, col + 1), (row + 1, col)]
        near = [at for at in near if min(at) >= 0 and at in ends and owner[place] in (owner[at], boundary)]
        ends[place] = ends[min(near, key=lambda at: (relief[at], at))] if near else place
    return ends


def naive(classes, rule, chance):
    """The definition of objects, with a loop for each thing it says; as sets of pixels."""
    owner, relief = relief_of(classes, rule, chance)
    ends = drained(owner, relief, rule.boundary)
    groups = {}
    for place, end in ends.items():
        groups.setdefault(end, []).append(place)
    of = {place: groups[end] for place, end in ends.items()}
    ways = [
        (max(relief[at], relief[near]), at, right, near)
        for at in ends
        for right in (0, 1)
        if (near := (at[0] + 1 - right, at[1] + right)) in ends
    ]

    def on_field(group):
        return [at for at in group if owner[at] != rule.boundary]

    def weak(group, level):
        return not on_field(group) or level - min(relief[at] for at in on_field(group)) < 1000

    def small(group, _level):
        return len(on_field(group)) < rule.min_pixels

    for gives_way in (weak, small):
        for level, at, _, near in sorted(ways):
            one, other = of[at], of[near]
            kinds = {int(owner[place]) for place in (*on_field(one), *on_field(other))}
            if one is not other and len(kinds) < 2 and (gives_way(one, level) or gives_way(other, level)):
                one.extend(other)
                of.update(dict.fromkeys(other, one))
    return {frozenset(group) for group in of.values() if on_field(group)}


mixed = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([1, 1, 1, 2, 2, 3, 0, 255]),
)
rules = st.builds(
    Splitting,
    fields=st.sampled_from([frozenset({1}), frozenset({1, 3})]),
    boundary_class=st.sampled_from([None, LINE]),
    rise=st.sampled_from([0.05, 0.15, 0.5]),
    neck=st.sampled_from([0.5, 2, 1000]),
    half_width=st.integers(0, 4),
    min_pixels=st.integers(0, 9),
)
chances = st.one_of(st.none(), st.tuples(st.integers(0, 1000), roughness))


@settings(max_examples=100)
@given(mixed, rules, chances, st.integers(1, 13))
def test_objects_are_what_the_definition_says(classes, rule, chance, tile_size):
    """Two classes, lines between them, nodata and small fields: as brute force has it, in raster order."""
    chance = None if chance is None else rough(classes.shape, *chance)
    ids = in_tiles(classes, rule, chance, tile_size)[0]
    found = [frozenset(zip(*np.nonzero(ids == number), strict=True)) for number in range(1, ids.max() + 1)]
    assert set(found) == naive(classes, rule, chance)
    assert [min(group) for group in found] == sorted(min(group) for group in found)


# Tiles.


@settings(max_examples=60)
@given(mixed, rules, chances, st.integers(2, 13), st.integers(1, 13), st.integers(1, 3))
def test_tiles_and_workers_change_nothing(classes, rule, chance, size, other_size, workers):
    """The same ids for any tile size, and components of the codes are the objects."""
    chance = None if chance is None else rough(classes.shape, *chance)
    ids, codes, class_of_code = in_tiles(classes, rule, chance, size, workers)
    assert np.array_equal(ids, in_tiles(classes, rule, chance, other_size)[0])
    untouched = ids == 0
    assert np.array_equal(codes[untouched], classes[untouched])
    changed = class_of_code[codes] != classes
    assert (classes[changed] == LINE).all()
    for code in np.unique(codes[ids > 0]):
        parts, count = ndimage.label((codes == code) & (ids > 0), CROSS)
        assert len(set(zip(parts[parts > 0], ids[parts > 0], strict=True))) == count == np.unique(ids[parts > 0]).size


@pytest.mark.parametrize("seed", range(12))
def test_what_a_tile_decides_alone_holds_in_the_whole(seed):
    """Rough ground with lines of any probability, in tiles that hold many basins: the same as in one piece."""
    random = np.random.default_rng(seed)
    classes = random.choice(np.array([1, 2, 3, 0], np.uint8), (48, 50), p=[0.5, 0.35, 0.1, 0.05])
    chance = rough(classes.shape, seed, random.choice([0.5, 1.0, 2.0]))
    rule = Splitting(frozenset({1, 3}), LINE, rise=random.choice([0.1, 0.3, 0.8]), neck=1000, min_pixels=seed % 4)
    whole = split_array(classes, rule, chance)
    for tile_size in (7, 12, 25):
        assert np.array_equal(in_tiles(classes, rule, chance, tile_size)[0], whole)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_in_any_tiling(name):
    """Spirals over all tiles, rings in rings, checkerboards: the same for 1-pixel tiles as in one piece."""
    classes = HOSTILE[name]
    rule = Splitting(frozenset({1, 3, 5, 6}), boundary_class=LINE, half_width=4)
    whole = split_array(classes, rule)
    for tile_size in (1, 4, 9):
        assert np.array_equal(in_tiles(classes, rule, tile_size=tile_size)[0], whole)


def test_a_scene_of_many_fields_over_many_tiles():
    """Noise on the probability and gaps in it: the same ids for any tile size, close to what was drawn."""
    truth, _ = fields([23, 31, 27, 30, 19], [33, 25, 37, 28, 21, 30], 1)
    edge = np.exp(-((ndimage.distance_transform_edt(ndimage.morphological_gradient(truth, 3) == 0) / 1.5) ** 2))
    edge[40:44], edge[:, 100:103] = edge[40:44] * 0.3, edge[:, 100:103] * 0.3
    chance = np.clip(edge + 0.05 * np.random.default_rng(1).normal(size=edge.shape), 0, 1).astype(np.float32)
    classes = np.ones(truth.shape, np.uint8)
    classes[truth == 9] = 0
    ids = split_array(classes, BY_CHANCE, chance)
    assert_one_object_a_field(np.where(truth == 9, 0, truth), ids)
    for tile_size in (16, 41, 64):
        tiled_ids, codes, _ = in_tiles(classes, BY_CHANCE, chance, tile_size, workers=2)
        assert np.array_equal(tiled_ids, ids)
        polygons = [value for _, value in rasterio.features.shapes(codes, mask=ids > 0, connectivity=4)]
        assert len(polygons) == ids.max()


def test_a_margin_one_pixel_short_shows(monkeypatch):
    """The stated margin is needed: one pixel less changes objects."""
    rule = Splitting(frozenset({FIELD}), boundary_class=LINE, half_width=3, neck=0.1, min_pixels=0)
    random = np.random.default_rng(0)
    scenes = [random.choice(np.array([1, 0, 2], np.uint8), (30, 30), p=[0.9, 0.05, 0.05]) for _ in range(5)]
    whole = [split_array(classes, rule) for classes in scenes]
    enough = [in_tiles(classes, rule, tile_size=5)[0] for classes in scenes]
    assert all(np.array_equal(*pair) for pair in zip(enough, whole, strict=True))
    monkeypatch.setattr(Splitting, "margin", property(lambda self: self.half_width - 1))
    short = [in_tiles(classes, rule, tile_size=5)[0] for classes in scenes]
    assert any(not np.array_equal(*pair) for pair in zip(short, whole, strict=True))


# Codes and what is refused.


@settings(max_examples=50)
@given(st.integers(1, 12), st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40))
def test_no_pair_has_one_colour(count, pairs):
    """Whatever the graph, the two of a pair differ."""
    pairs = sorted({tuple(sorted(pair)) for pair in pairs if len(set(pair)) == 2 and max(pair) < count})
    one, other = np.array(pairs, np.int64).reshape(-1, 2).T
    colours = basins.colour(count, one, other)
    assert (colours[one] != colours[other]).all()


def test_six_colours_do_for_a_map():
    """Random regions in the plane, some with many neighbours."""
    random = np.random.default_rng(2)
    seeds = np.zeros((120, 120), int)
    seeds[tuple(random.integers(0, 120, (2, 900)))] = np.arange(1, 901)
    regions = watershed(random.random(seeds.shape), seeds)
    pairs = np.concatenate(
        [
            np.stack([regions[1:], regions[:-1]], -1).reshape(-1, 2),
            np.stack([regions[:, 1:], regions[:, :-1]], -1).reshape(-1, 2),
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    assert basins.colour(901, *pairs.T).max() < 6


def test_too_many_classes_are_refused():
    """A raster that holds all values but one has no code for a third colour."""
    classes = np.full((41, 254), FIELD, np.uint8)
    classes[20], classes[21:40, 100] = LINE, LINE
    classes[40] = np.arange(254)
    assert in_tiles(classes[:40], Splitting(frozenset({FIELD}), LINE), tile_size=50)[0].max() == 3
    with pytest.raises(LabelError, match="a byte has only 1 left"):
        split_array(classes, Splitting(frozenset({FIELD}), LINE))


@pytest.mark.parametrize(
    ("fields_", "options", "message"),
    [
        ({1}, {"rise": 0}, "rise is 0"),
        ({1}, {"neck": 0.05}, "neck is 0.05"),
        ({1}, {"half_width": 65}, "half_width is 65"),
        ({1}, {"min_pixels": -1}, "min_pixels is -1"),
        (set(), {}, "one field class at least"),
        ({255}, {}, "values from 0 to 254"),
        ({1}, {"boundary_class": 1}, "not a field class"),
        ({1}, {"boundary_class": 300}, "values from 0 to 254"),
    ],
)
def test_rules_that_make_no_sense_are_refused(fields_, options, message):
    """With the number that is wrong."""
    with pytest.raises(ValueError, match=message):
        Splitting(frozenset(fields_), **options)
