"""Simplified polygons still fit together, none is lost, and tiles do not show in them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view
from pandas.testing import assert_frame_equal
from pyproj import CRS
from scipy import ndimage

from geounet.outlines.arcs import cut, join
from geounet.outlines.bends import PARTS, cut_stairs
from geounet.outlines.measures import measure
from geounet.outlines.shapes import lattice
from geounet.outlines.simplify import _LARGEST_CHANGE, NOTHING, simplify, simplify_batches
from geounet.tasks.vectorize import polygon_frame

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_430_000)
ROTATED = Affine(8.66, 3.5, 480_000, 5, -6.06, 5_430_000)
PIXELS = Affine.identity()
PLACES = [
    ("EPSG:32633", NORTH_UP),
    ("EPSG:32633", SOUTH_UP),
    ("EPSG:32633", ROTATED),
    ("EPSG:4326", Affine(1e-4, 0, 10, 0, -1e-4, 60)),
    ("EPSG:3857", Affine(10, 0, 1_000_000, 0, -10, 8_400_000)),
    (None, PIXELS),
]

rasters = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 1, 254, 255])
)
# Regions of some pixels, whose outlines have something to simplify.
coarse = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.sampled_from([0, 1, 2, 255])
).map(lambda classes: np.kron(classes, np.ones((3, 5), np.uint8)))
ways = st.sampled_from([(0.0, True), (0.5, False), (1.0, False), (1.0, True), (3.0, True), (50.0, False)])


def frame_of(classes, transform=NORTH_UP, crs="EPSG:32633", **given_):
    """The polygons of a raster, by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes.tif"
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": crs, "transform": transform}
        height, width = classes.shape
        with rasterio.open(path, "w", height=height, width=width, **profile) as file:
            file.write(classes, 1)
        return polygon_frame(path, **{"workers": 1} | given_)


def blobs(shape=(60, 70), sigma=2.0, seed=4, kinds=4):
    random = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(random.standard_normal(shape), sigma) for _ in range(kinds)]
    classes = np.argmax(fields, axis=0).astype(np.uint8)
    classes[:9, 20:33] = 255
    classes[40:47, 50:52] = 255
    return classes


def checkerboard(height=9, width=12):
    return (np.indices((height, width)).sum(axis=0) % 2).astype(np.uint8)


def rings_in_rings(size=21):
    row, col = np.indices((size, size))
    return (np.maximum(abs(row - size // 2), abs(col - size // 2)) % 2).astype(np.uint8)


def spiral(size=21):
    """One component around another, both over the whole raster."""
    classes = np.zeros((size, size), np.uint8)
    row, col, step = 0, 0, (0, 1)
    classes[0, 0] = 1
    while True:
        following = row + step[0], col + step[1]
        beyond = following[0] + step[0], following[1] + step[1]
        is_in = all(0 <= place < size for place in following)
        if not is_in or (all(0 <= place < size for place in beyond) and classes[beyond]):
            step = step[1], -step[0]
            following = row + step[0], col + step[1]
            if classes[following] or classes[following[0] + step[0], following[1] + step[1]]:
                return classes
        row, col = following
        classes[row, col] = 1


def holes_at_corners():
    """A polygon whose holes touch each other, and its outline, at corners."""
    classes = np.zeros((9, 9), np.uint8)
    classes[[2, 3, 4, 4, 6, 0], [2, 3, 4, 2, 6, 0]] = 1
    return classes


HOSTILE = {
    "checkerboard": checkerboard(),
    "rings in rings": rings_in_rings(),
    "spiral": spiral(),
    "holes that touch at corners": holes_at_corners(),
    "one row": np.array([[1, 1, 2, 255, 2, 0, 0]], np.uint8),
    "one column": np.array([[1], [1], [2], [255], [2], [0]], np.uint8),
    "one pixel": np.array([[5]], np.uint8),
    "every pixel another": np.arange(99, dtype=np.uint8).reshape(9, 11),
    "one component": np.ones((6, 5), np.uint8),
    "islands in nodata": np.where(checkerboard(9, 9) * (np.indices((9, 9))[0] % 2), 1, 255).astype(np.uint8),
    "gaps of nodata": np.where(np.random.default_rng(1).random((20, 20)) < 0.2, 255, blobs()[20:40, :20]),
    "rows": np.repeat(np.arange(7, dtype=np.uint8), 9).reshape(7, 9),
}  # fmt: skip


def both(classes, tolerance, smooth, place=("EPSG:32633", NORTH_UP), **given_):
    """The frame, what comes of it, and the report."""
    frame = frame_of(classes, place[1], place[0], **given_)
    return frame, *simplify(frame, place[1], *classes.shape, tolerance=tolerance, smooth=smooth)


def in_pixels(geometry, transform):
    """Geometries in columns and rows; whole quarters of pixels are exact."""
    inverse = ~transform

    def place(points):
        x, y = points.T
        exact = np.stack([x * inverse.a + y * inverse.b + inverse.c, x * inverse.d + y * inverse.e + inverse.f], -1)
        return np.rint(exact * PARTS) / PARTS

    return shapely.transform(geometry, place)


def meetings(classes):
    """Corners of pixels, as columns and rows, where three or more outlines meet: brute force on labels."""
    padded = np.pad(classes, 1, constant_values=255)
    labels = np.zeros(padded.shape, int)
    for value in np.unique(classes[classes != 255]):
        found = ndimage.label(padded == value)[0]
        labels[found > 0] = found[found > 0] + labels.max()
    a, b, c, d = sliding_window_view(labels, (2, 2)).reshape(*(side + 1 for side in classes.shape), 4).T
    rays = (a != b).astype(int) + (a != c) + (b != d) + (c != d)
    cols, rows = np.nonzero(rays > 2)
    return set(zip(cols.tolist(), rows.tolist(), strict=True))


def assert_fits(before, after, transform, *, multi=False):
    """A valid coverage, row by row the same polygons with the same neighbours, none lost, none overlapping."""
    old, new = (in_pixels(frame.geometry.to_numpy(), transform) for frame in (before, after))
    assert len(old) == len(new)
    assert shapely.is_valid(new).all()
    assert shapely.is_valid(after.geometry.to_numpy()).all()
    assert shapely.coverage_is_valid(new)
    assert shapely.coverage_is_valid(after.geometry.to_numpy())
    assert not shapely.is_empty(new).any()
    assert (shapely.get_num_geometries(old) == shapely.get_num_geometries(new)).all()
    for one, other in zip(*(shapely.get_parts(some) for some in (old, new)), strict=True):
        assert shapely.get_num_interior_rings(one) == shapely.get_num_interior_rings(other)
        assert shapely.is_ccw(one.exterior) == shapely.is_ccw(other.exterior)
    whole, rest = shapely.union_all(new), shapely.union_all(old)
    assert shapely.area(new).sum() == pytest.approx(whole.area)
    assert shapely.get_num_geometries(whole) == shapely.get_num_geometries(rest)
    holes = [shapely.get_num_interior_rings(shapely.get_parts(some)).sum() for some in (whole, rest)]
    assert holes[0] == holes[1]
    assert touching(new) == touching(old)


def touching(geometry):
    """Pairs that share a line, and those that share points alone."""
    left, right = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    kept = left < right
    common = shapely.intersection(geometry[left[kept]], geometry[right[kept]])
    return {
        (*pair, is_line)
        for *pair, is_line in zip(left[kept].tolist(), right[kept].tolist(), shapely.length(common) > 0, strict=True)
    }


def pixel_of(place):
    return 1.0 if place[0] is None else 10.0


@settings(max_examples=int(os.environ.get("GEOUNET_EXAMPLES", "120")))
@given(st.one_of(rasters, coarse), ways, st.sampled_from([NORTH_UP, SOUTH_UP, ROTATED]), st.sampled_from([4, 8]))
def test_polygons_still_fit_together(classes, way, transform, connectivity):
    """Whatever the raster, tolerance, smoothing, connectivity: the topology is the one before."""
    frame, out, _ = both(classes, 10 * way[0], way[1], ("EPSG:32633", transform), connectivity=connectivity)
    assert_fits(frame, out, transform)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]} {place[1].b}{place[1].e}")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_shapes_fit_together_everywhere(name, place):
    for tolerance, smooth in [(0, True), (1, False), (1, True), (30, False)]:
        frame, out, _ = both(HOSTILE[name], tolerance * pixel_of(place), smooth, place, connectivity=8)
        assert_fits(frame, out, place[1])


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("tolerance", [2, 6, 100])
def test_regions_of_many_sizes_fit_together(tolerance, smooth):
    """Large tolerances beside small islands: without a look at other outlines, these would cross."""
    frame, out, _ = both(blobs(sigma=1.0, kinds=2), 10 * tolerance, smooth)
    assert_fits(frame, out, NORTH_UP)


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), ways, st.sampled_from([4, 8]), st.integers(1, 6), st.sampled_from([1, 3]))
def test_tiles_do_not_show(classes, way, connectivity, size, workers):
    """Simplified polygons are the same to the last bit for every tile size and number of workers."""
    _, whole, report = both(classes, 10 * way[0], way[1], connectivity=connectivity)
    _, tiled, other = both(classes, 10 * way[0], way[1], connectivity=connectivity, tile_size=size, workers=workers)
    assert_frame_equal(tiled.to_wkb(), whole.to_wkb(), check_exact=True)
    assert other == report


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), ways)
def test_no_polygon_changes_by_more_than_a_quarter(classes, way):
    frame, out, report = both(classes, way[0], way[1], (None, PIXELS))
    change = np.abs(out.area / frame["pixels"] - 1)
    assert change.max() <= _LARGEST_CHANGE if len(frame) else report.largest_change == 0
    assert report.largest_change == pytest.approx(change.max() if len(frame) else 0)
    if not (classes == 255).any():
        assert out.area.sum() == classes.size


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), st.sampled_from([0.5, 1.0, 1.5, 3.0]), st.booleans())
def test_no_outline_moves_farther_than_it_may(classes, tolerance, smooth):
    """Each old outline lies within the tolerance of the new one; half a pixel more with smoothing."""
    frame, out, _ = both(classes, tolerance, smooth, (None, PIXELS))
    for one, other in zip(frame.boundary, out.boundary, strict=True):
        assert one.within(other.buffer(tolerance + 0.5 * smooth + 1e-6, quad_segs=64))


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), ways)
def test_nodes_and_the_rasters_outline_stay(classes, way):
    """Points where outlines meet are kept, bit by bit; a raster without nodata keeps its rectangle."""
    frame, out, _ = both(classes, way[0], way[1], (None, PIXELS))
    kept = {tuple(point) for point in shapely.get_coordinates(out.geometry.to_numpy()).astype(float).tolist()}
    assert meetings(classes) <= kept
    border = shapely.box(0, 0, *classes.shape[::-1]).exterior
    before, after = (frame_.union_all().intersection(border).length for frame_ in (frame, out))
    assert after == pytest.approx(before)


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), st.sampled_from([NORTH_UP, SOUTH_UP, ROTATED]))
def test_without_tolerance_and_smoothing_nothing_moves(classes, transform):
    """Only vertices where neighbours meet are added; every vertex of before is one of after, to the last bit."""
    frame, out, report = both(classes, 0.0, False, ("EPSG:32633", transform))
    assert shapely.coverage_is_valid(out.geometry.to_numpy())
    for one, other in zip(frame.geometry, out.geometry, strict=True):
        old, new = ({tuple(point) for point in shapely.get_coordinates(some).tolist()} for some in (one, other))
        assert old <= new
        assert one.area == pytest.approx(other.area)
    assert report.vertices_before == shapely.get_num_coordinates(frame.geometry.to_numpy()).sum()
    assert report.vertices_after == shapely.get_num_coordinates(out.geometry.to_numpy()).sum()


@settings(max_examples=60)
@given(st.one_of(rasters, coarse), st.sampled_from([4, 8]))
def test_arcs_put_together_are_the_rings(classes, connectivity):
    """Cutting and joining gives each ring back, but for where it starts and for the nodes on its sides."""
    frame = frame_of(classes, connectivity=connectivity)
    rings = shapely.get_rings(shapely.get_parts(frame.geometry.to_numpy()))
    vertices = lattice(shapely.get_coordinates(rings), NORTH_UP)
    offsets = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(rings))]).astype(np.int64)
    arcs, chains = cut(vertices, offsets, *classes.shape)
    points, starts = join(arcs, chains)
    for number in range(len(rings)):
        old, new = vertices[offsets[number] : offsets[number + 1]], points[starts[number] : starts[number + 1]]
        one, other = (shapely.Polygon(some).exterior for some in (old, new))
        assert shapely.equals(one, other)
        assert one.is_ccw == other.is_ccw
    # Every edge between two polygons is one arc's: their lengths add up to that of the union of outlines.
    lengths = sum(
        np.abs(np.diff(arcs.vertices[low:high], axis=0, append=arcs.vertices[low : low + closed])).sum()
        for low, high, closed in zip(arcs.offsets[:-1], arcs.offsets[1:], arcs.closed, strict=True)
    )
    assert lengths * 10 == pytest.approx(shapely.union_all(frame.boundary.to_numpy()).length)


def test_stairs_become_straight():
    """A diagonal, and a slope of one in three, run through the middles of their steps."""
    row, col = np.indices((24, 24))
    for classes in (row > col, row > col // 3):
        _, out, _ = both(classes.astype(np.uint8), 0, True, (None, PIXELS))
        inner = shapely.line_merge(shapely.intersection(*out.boundary))
        pieces = np.hypot(*np.diff(shapely.get_coordinates(inner), axis=0).T)
        assert pieces.max() > 0.7 * pieces.sum()


def test_right_angles_lose_a_quarter_of_a_pixel():
    """A field of 6 x 8 pixels is no stair: its corners are cut by a triangle of 1/32 of a pixel each."""
    classes = np.zeros((12, 14), np.uint8)
    classes[3:9, 3:11] = 1
    _, out, report = both(classes, 0, True, (None, PIXELS))
    assert sorted(out.area) == [48 - 4 / 32, 12 * 14 - 48 + 4 / 32]
    assert report.largest_change == pytest.approx(4 / 32 / 48)


def test_smoothing_moves_nothing_beyond_half_a_pixel():
    vertices = np.array([[0, 0], [0, 9], [1, 9], [1, 12], [6, 12], [6, 20]], np.int32)
    points, offsets = cut_stairs(vertices, np.array([0, 6]), np.array([False]))
    line, old = shapely.LineString(points / PARTS), shapely.LineString(vertices)
    assert offsets.tolist() == [0, len(points)]
    assert shapely.hausdorff_distance(line, old, densify=0.01) <= 0.5
    assert points[[0, -1]].tolist() == (PARTS * vertices[[0, -1]]).tolist()


def test_islands_are_not_jumped_over():
    """A bay with an island in it: the coast may not become straight, however large the tolerance."""
    classes = np.zeros((20, 30), np.uint8)
    classes[10:] = 1
    classes[10:14, 8:20] = 0
    classes[11:13, 12:14] = 2
    frame, out, _ = both(classes, 1000, False)
    assert_fits(frame, out, NORTH_UP)
    classes[11:13, 12:14] = 0
    alone = both(classes, 1000, False)[1]
    assert (
        shapely.get_num_coordinates(alone.geometry.to_numpy()).sum()
        < shapely.get_num_coordinates(out.geometry.to_numpy()[:2]).sum()
    )


BUMP = np.zeros((40, 60), np.uint8)
BUMP[20:] = 1
BUMP[18:20, 30:33] = 1


@pytest.mark.parametrize("is_on_side", [False, True])
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", Affine(10, 0, 480_000, 0, -20, 5_430_000)),
        # At 60 degrees north Web Mercator doubles lengths, and a degree of longitude is half of one of latitude.
        ("EPSG:3857", Affine(20, 0, 1_000_000, 0, -40, 8_399_800)),
        ("EPSG:4326", Affine(10 / 55_800, 0, 10, 0, -20 / 111_412, 60)),
        ("EPSG:2263", Affine(32.8083, 0, 1e6, 0, -65.6167, 2e5)),
        (None, PIXELS),
    ],
)
def test_the_tolerance_is_metres_on_the_ground(crs, transform, is_on_side):
    """A bump of two pixels, 20 m down or 10 m across each, goes with a little more than that, not with less."""
    size = 2 * (1.0 if crs is None else 10.0 if is_on_side else 20.0)
    classes = np.ascontiguousarray(BUMP.T) if is_on_side else BUMP
    for share, is_straight in ((0.975, False), (1.025, True)):
        out = both(classes, share * size, False, (crs, transform))[1]
        inner = shapely.line_merge(shapely.intersection(*out.boundary))
        assert (shapely.get_num_coordinates(inner) == 2) == is_straight


def test_the_tolerance_on_a_plan_is_metres_too():
    """A plan in feet: the bump is 2 feet high, 0.6096 m."""
    feet = 'ENGCRS["plan",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["foot",0.3048]]'
    frame = frame_of(BUMP, PIXELS, None).set_crs(CRS.from_wkt(feet))
    for tolerance, is_straight in ((0.6, False), (0.62, True)):
        out, _ = simplify(frame, PIXELS, *BUMP.shape, tolerance=tolerance)
        inner = shapely.line_merge(shapely.intersection(*out.boundary))
        assert (shapely.get_num_coordinates(inner) == 2) == is_straight


def test_a_gap_of_nodata_stays():
    """A hole of one pixel keeps its four corners; one at the raster's edge becomes a triangle, but no less."""
    classes = np.zeros((30, 30), np.uint8)
    classes[12, 13] = 255
    classes[0, 5] = 255
    _, out, _ = both(classes, 1e6, False, (None, PIXELS))
    assert shapely.Polygon(out.geometry[0].interiors[0]).equals(shapely.box(13, 12, 14, 13))
    bay = shapely.box(0, 0, 30, 30) - shapely.Polygon(out.geometry[0].exterior)
    assert bay.within(shapely.box(5, 0, 6, 1))
    assert bay.area == 0.5


def test_shared_vertices_are_those_of_before_to_the_last_bit():
    """Also where columns, rows and origin all leave something to round."""
    skewed = Affine(8.661, 3.337, 480_000.123, 4.973, -6.061, 5_430_000.789)
    frame, out, _ = both(blobs(), 15, False, ("EPSG:32633", skewed))
    old, new = ({tuple(point) for point in shapely.get_coordinates(some.geometry).tolist()} for some in (frame, out))
    assert len(new) > 100
    assert new <= old


def test_attributes_stay_and_measures_are_of_the_new_outlines():
    frame, out, report = both(blobs(), 20, True)
    assert list(out.columns) == list(frame.columns)
    assert out.crs == frame.crs
    same = frame.columns.difference(["geometry", "area_ha", "perimeter_m"]).tolist()
    assert_frame_equal(out[same], frame[same])
    area, perimeter = measure(out.geometry.to_numpy(), out.crs)
    np.testing.assert_array_equal(out["area_ha"], area)
    np.testing.assert_array_equal(out["perimeter_m"], perimeter)
    assert report.polygons == len(frame)
    assert report.area_before == pytest.approx(frame["area_ha"].sum())
    assert report.area_after == pytest.approx(area.sum())
    assert report.largest_change == pytest.approx(np.abs(area / frame["area_ha"] - 1).max())
    assert report.vertices_after < report.vertices_before / 2
    assert frame.equals(frame_of(blobs()))


def test_fewer_vertices_than_in_geos_at_the_same_distance():
    """GEOS's coverage_simplify, with the largest tolerance that moves nothing farther than ours does, keeps more."""
    classes = blobs((120, 130), 3.0)
    classes[classes == 255] = 0
    frame, out, _ = both(classes, 1.0, False, (None, PIXELS))
    coverage = both(classes, 0.0, False, (None, PIXELS))[1].geometry.to_numpy()
    theirs = next(
        found
        for tolerance in np.arange(2, 0, -0.05)
        if distance(coverage, found := shapely.coverage_simplify(coverage, tolerance, simplify_boundary=False)) <= 1.0
    )
    assert distance(coverage, out.geometry.to_numpy()) <= 1.0
    assert shapely.get_num_coordinates(out.geometry.to_numpy()).sum() < shapely.get_num_coordinates(theirs).sum()
    assert len(frame) == len(theirs)


def distance(old, new):
    """The farthest that a vertex lies from its polygon's new outline."""
    points, owners = shapely.get_coordinates(old, return_index=True)
    return shapely.distance(shapely.points(points), shapely.boundary(new)[owners]).max()


def test_some_of_the_polygons_may_be_simplified_alone():
    """Where others were left out, there is an outer edge, as along nodata."""
    frame = frame_of(blobs())
    some = frame[frame["pixels"] > 20]
    out, report = simplify(some, NORTH_UP, 60, 70, tolerance=20)
    assert out.index.equals(some.index)
    assert report.polygons == len(some)
    assert_fits(some, out, NORTH_UP)


def test_an_empty_frame_stays_empty():
    frame, out, report = both(np.full((4, 5), 255, np.uint8), 10, True)
    assert_frame_equal(out, frame)
    assert (report.polygons, report.vertices_after, report.largest_change) == (0, 0, 0.0)


def test_outlines_that_do_not_follow_pixels_are_refused():
    frame, out, _ = both(blobs(), 10, True)
    with pytest.raises(ValueError, match="pixels beside the corner of a pixel"):
        simplify(out, NORTH_UP, 60, 70, tolerance=10)
    with pytest.raises(ValueError, match="an outline runs across pixels"):
        simplify(both(blobs(), 10, False)[1], NORTH_UP, 60, 70, tolerance=10)
    with pytest.raises(ValueError, match="beyond 60 x 60 pixels"):
        simplify(frame, NORTH_UP, 60, 60, tolerance=10)


@pytest.mark.parametrize("tolerance", [-1, np.nan])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    frame = gpd.GeoDataFrame({"area_ha": []}, geometry=[], crs="EPSG:32633")
    with pytest.raises(ValueError, match="it must not be negative"):
        simplify(frame, NORTH_UP, 1, 1, tolerance=tolerance)


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize(("tolerance", "smooth"), [(15, False), (0, True), (25, True)])
@pytest.mark.parametrize("place", [("EPSG:32633", NORTH_UP), (None, PIXELS)])
def test_in_many_batches_as_in_one(size, tolerance, smooth, place):
    """Neighbours in different batches keep their shared edge, and what changed adds up."""
    frame, whole, report = both(blobs(), tolerance, smooth, place)
    batches = [frame.iloc[at : at + size] for at in range(0, len(frame), size)]
    assert len(batches) > 1
    found = list(simplify_batches(batches, place[1], *blobs().shape, tolerance=tolerance, smooth=smooth))
    assert [len(batch) for batch, _ in found] == [len(batch) for batch in batches]
    assert_frame_equal(pd.concat([batch.to_wkb() for batch, _ in found]), whole.to_wkb(), check_exact=True)
    total = sum((change for _, change in found), NOTHING)
    assert dataclasses.astuple(total) == pytest.approx(dataclasses.astuple(report), rel=1e-12)


@pytest.mark.real
@pytest.mark.parametrize("name", ["kansas_crops/2021_30m_cdls.tif", "austria_two_dates/mask.tif"])
def test_real_rasters_fit_together(data, name):
    with rasterio.open(data / name) as file:
        transform, shape, pixel = file.transform, file.shape, abs(file.transform.a)
    frame = polygon_frame(data / name)
    for tolerance, smooth in [(1.5 * pixel, False), (1.5 * pixel, True)]:
        out, report = simplify(frame, transform, *shape, tolerance=tolerance, smooth=smooth)
        geometry = out.geometry.to_numpy()
        assert shapely.coverage_is_valid(geometry)
        assert shapely.is_valid(geometry).all()
        assert report.area_after == pytest.approx(report.area_before, rel=5e-3)
        tiled = simplify(
            polygon_frame(data / name, tile_size=77), transform, *shape, tolerance=tolerance, smooth=smooth
        )
        assert_frame_equal(tiled[0].to_wkb(), out.to_wkb(), check_exact=True)
