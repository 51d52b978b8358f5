"""Each image gets the labels of its ground and its time; names decide where there is no place."""

import logging
from datetime import date

import geopandas
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.warp import Resampling, reproject
from shapely.geometry import box

from geounet.classes import LandClass
from geounet.data.labels import Pair, read_codes
from geounet.data.pairing import list_labels, pair_labels, span_of
from geounet.errors import LabelError
from geounet.grid import Window
from geounet.raster.placement import bounds_of

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
HEIGHT, WIDTH = 12, 20


@pytest.fixture
def raster(tmp_path, write_scene):
    """A function that writes a raster of one value, moved by rows and columns."""

    def make(name, value=0, row=0, col=0, shape=(HEIGHT, WIDTH), **where):
        given = {"transform": NORTH_UP @ Affine.translation(col, row)} | where
        return write_scene(tmp_path / name, np.full(shape, value, np.uint8), **given)

    return make


@pytest.fixture
def polygon(tmp_path):
    """A function that writes one polygon of a class over rows and columns of the image."""

    def make(name, value, rows, cols, crs="EPSG:32633"):
        corners = box(
            480_000 + 10 * cols[0], 5_430_000 - 10 * rows[1], 480_000 + 10 * cols[1], 5_430_000 - 10 * rows[0]
        )
        frame = geopandas.GeoDataFrame({"class": [value]}, geometry=[corners], crs="EPSG:32633").to_crs(crs)
        frame.to_file(tmp_path / name)
        return tmp_path / name

    return make


def values(images, labels, **given):
    """The codes that each paired image has, by its name."""
    return {
        pair.image.name: set(np.unique(read_codes(pair, pair.extent))) for pair in pair_labels(images, labels, **given)
    }


# --- place -------------------------------------------------------------------------------------------------------


def test_the_ground_decides_whatever_the_names(raster):
    images = [raster("a.tif"), raster("b.tif", col=WIDTH)]
    labels = [raster("one.tif", 1, col=WIDTH), raster("two.tif", 2)]
    assert values(images, labels) == {"a": {2}, "b": {1}}


def test_the_ground_decides_across_crs(raster, tmp_path, write_scene, polygon):
    image, far = raster("a.tif"), raster("b.tif", row=500)
    degrees = write_scene(
        tmp_path / "l.tif", np.full((40, 40), 3, np.uint8), crs="EPSG:4326",
        transform=Affine(1e-4, 0, 14.7265, 0, -1e-4, 49.0235),
    )  # fmt: skip
    assert values([far, image], [degrees]) == {"a": {3}}
    assert values([far, image], [polygon("p.gpkg", 4, (0, HEIGHT), (0, WIDTH), "EPSG:4326")]) == {"a": {4}}


def test_a_label_of_its_own_name_and_place_is_preferred_to_its_neighbours(raster):
    """Overlapping chips, each with a label of its name: what the neighbour says of the overlap is not asked."""
    images = [raster("a.tif"), raster("b.tif", col=4)]
    labels = [raster("a_label.tif", 1), raster("b_label.tif", 2, col=4)]
    assert values(images, labels) == {"a": {1}, "b": {2}}


def test_a_label_of_no_name_joins_one_of_its_own(raster, polygon):
    image, own = raster("a.tif"), raster("a_label.tif", 1)
    assert values([image, raster("b.tif")], [own, polygon("roads.gpkg", 7, (2, 4), (3, 9))]) == {
        "a": {1, 7}, "b": {7, 255},
    }  # fmt: skip


def test_without_a_place_the_name_decides(raster):
    nowhere = {"crs": None, "transform": None}
    images = [raster("a.tif", **nowhere), raster("b.tif", **nowhere)]
    labels = [raster("b_mask.tif", 2, **nowhere), raster("a_mask.tif", 1, **nowhere)]
    assert values(images, labels) == {"a": {1}, "b": {2}}


def test_several_files_label_one_image_together(raster, polygon):
    image = raster("a.tif")
    labels = [
        polygon("p.gpkg", 5, (0, 3), (0, WIDTH)), raster("left.tif", 1, shape=(HEIGHT, 8)),
        raster("right.tif", 2, col=12, shape=(HEIGHT, 8)), polygon("q.gpkg", 6, (1, 3), (0, 4)),
    ]  # fmt: skip
    (pair,) = pair_labels([image], labels)
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[:, :8], expected[:, 12:], expected[:3] = 1, 2, 5
    expected[1:3, :4] = 6
    np.testing.assert_array_equal(read_codes(pair, pair.extent), expected)
    window = Window(-2, 5, 9, 30)
    cut = read_codes(pair, window)
    np.testing.assert_array_equal(cut[2:, :15], expected[:7, 5:])
    assert (cut[:2] == 255).all()
    assert (cut[:, 15:] == 255).all()


def test_a_raster_that_covers_more_wins(raster):
    labels = [raster("whole.tif", 1), raster("part.tif", 2, col=10)]
    for order in (labels, labels[::-1]):
        assert values([raster("a.tif")], order) == {"a": {1}}


def test_outside_of_all_labels_is_background_only_where_asked_for(raster, polygon, tmp_path, write_scene):
    image = raster("a.tif")
    holed = np.full((HEIGHT, 8), 1, np.uint8)
    holed[5, 5] = 255
    label = write_scene(tmp_path / "left.tif", holed)
    shape = polygon("p.gpkg", 5, (0, 3), (6, 10))
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[:, :8], expected[:3, 6:10], expected[5, 5] = 1, 5, 255
    for background in (255, 9):
        (pair,) = pair_labels([image], [label, shape], background=background)
        wanted = expected.copy()
        wanted[:, 8:][expected[:, 8:] == 255] = background
        np.testing.assert_array_equal(read_codes(pair, pair.extent), wanted)


def test_a_region_has_no_label_beyond_itself(raster):
    (pair,) = pair_labels([raster("a.tif")], [raster("l.tif", 3)])
    part = Pair(pair.image, pair.label, region=Window(2, 3, 4, 5))
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[2:6, 3:8] = 3
    np.testing.assert_array_equal(read_codes(part, pair.image.extent), expected)
    assert part.extent == Window(2, 3, 4, 5)


def test_labels_of_no_image_are_named(raster, caplog):
    with caplog.at_level(logging.WARNING):
        pair_labels([raster("a.tif")], [raster("l.tif", 3), raster("far.tif", 3, row=90)])
    (record,) = caplog.records
    assert "1 of 2 label file(s) belong to no image" in record.getMessage()
    assert "far.tif" in record.getMessage()


def test_a_mask_of_another_shape_is_named_and_the_others_are_used(raster, caplog):
    nowhere = {"crs": None, "transform": None}
    images = [raster("a.tif", **nowhere), raster("b.tif", **nowhere)]
    labels = [raster("a_mask.tif", 1, shape=(HEIGHT, WIDTH + 3), **nowhere), raster("b_mask.tif", 2, **nowhere)]
    with caplog.at_level(logging.WARNING):
        assert values(images, labels) == {"b": {2}}
    assert "a_mask.tif has 12 x 23 pixels and image" in caplog.text


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("S2A_MSIL2A_20200713T103031_T33", (date(2020, 7, 13), date(2020, 7, 13))),
        ("Boadella_2020-01-28_labels", (date(2020, 1, 28), date(2020, 1, 28))),
        ("map_2020_02", (date(2020, 2, 1), date(2020, 2, 29))),
        ("202309_10", (date(2023, 9, 1), date(2023, 9, 30))),
        ("lc-2019", (date(2019, 1, 1), date(2019, 12, 31))),
        ("2020:07:13 10:30:00".replace(":", "-", 2), (date(2020, 7, 13), date(2020, 7, 13))),
        ("20230230", None), ("tile_12345678", None), ("s3", None), ("", None),
    ],
)  # fmt: skip
def test_times_in_names(text, span):
    assert span_of(text) == span


def test_dates_tell_scenes_of_one_place_apart(raster, polygon):
    images = [raster(f"S2_2020{day}.tif") for day in ("0113", "0128", "0301")]
    labels = [
        raster("water-2020-01-28.tif", 2),
        polygon("w-2020-01-13.gpkg", 1, (0, HEIGHT), (0, WIDTH)),
        raster("lc_2020-03.tif", 3),
    ]
    assert values(images, labels) == {"S2_20200113": {1}, "S2_20200128": {2}, "S2_20200301": {3}}


def test_a_date_in_the_tags_serves_where_the_name_has_none(raster):
    import rasterio

    images = [raster("one.tif"), raster("two.tif")]
    for path, stamp in zip(images, ("2020:01:13 10:00:00", "2020:01:28 10:00:00"), strict=True):
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=stamp)
    labels = [raster("l_20200128.tif", 2), raster("l_20200113.tif", 1)]
    assert values(images, labels) == {"one": {1}, "two": {2}}


def test_a_label_of_another_time_is_used_where_there_is_no_better_and_said(raster, caplog):
    with caplog.at_level(logging.WARNING):
        assert values([raster("s_20190701.tif")], [raster("lc_2020.tif", 2)]) == {"s_20190701": {2}}
    assert "lc_2020.tif are of 2020-01-01 to 2020-12-31, their image of 2019-07-01" in caplog.text


# --- files -------------------------------------------------------------------------------------------------------


def test_patterns_and_lists_stand_for_files(tmp_path, raster):
    for name in ("b_1.tif", "a_1.tif", "a_2.tif"):
        raster(name)
    (tmp_path / "deep").mkdir()
    raster("deep/a_3.tif")
    (tmp_path / "list.txt").write_text("# mine\n\ndeep/a_3.tif\na_?.tif\n")
    names = [path.name for path in list_labels([tmp_path / "list.txt", tmp_path / "b*.tif"])]
    assert names == ["a_3.tif", "a_1.tif", "a_2.tif", "b_1.tif"]
    assert [path.name for path in list_labels([str(tmp_path / "**" / "a_*.tif")])] == ["a_1.tif", "a_2.tif", "a_3.tif"]


@pytest.mark.parametrize(("name", "text"), [("empty.txt", "# none\n"), ("no*.tif", None), ("absent.txt", None)])
def test_patterns_and_lists_of_nothing_are_refused_by_name(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(LabelError, match=name.replace("*", r"\*")):
        list_labels([tmp_path / name])


# --- palettes ----------------------------------------------------------------------------------------------------


def test_a_palette_is_mapped_by_colour_where_it_holds_the_tables_colours(tmp_path, raster):
    """The same drawing in two files whose palettes differ: the class file says what a colour means."""
    classes = (LandClass(10, "water", "#0000ff"), LandClass(70, "forest", "#008000"))
    codes = np.random.default_rng(0).choice(np.array([10, 70], np.uint8), (HEIGHT, WIDTH))
    found = []
    for name, order in (("a", (10, 70)), ("b", (70, 10))):
        drawn = Image.fromarray(np.where(codes == order[0], 0, 1).astype(np.uint8), mode="P")
        rgb = {10: (0, 0, 255), 70: (0, 128, 0)}
        drawn.putpalette([part for code in order for part in rgb[code]])
        drawn.save(tmp_path / f"{name}_mask.png")
        image = raster(f"{name}.tif", crs=None, transform=None)
        (pair,) = pair_labels([image], [tmp_path / f"{name}_mask.png"], classes=classes)
        found.append(read_codes(pair, pair.extent))
    np.testing.assert_array_equal(found, [codes, codes])


def test_partial_cover_by_a_raster_in_another_crs_is_left_out_beyond_it(raster, tmp_path, write_scene):
    transform = Affine(1e-4, 0, 14.727, 0, -1e-4, 49.0225)
    label = write_scene(tmp_path / "l.tif", np.full((6, 12), 3, np.uint8), crs="EPSG:4326", transform=transform)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    reproject(
        np.full((6, 12), 3, np.uint8), expected, src_transform=transform, src_crs="EPSG:4326",
        dst_transform=NORTH_UP, dst_crs="EPSG:32633", resampling=Resampling.nearest,
    )  # fmt: skip
    for background in (255, 9):
        (pair,) = pair_labels([raster("a.tif")], [label], background=background)
        assert bounds_of(pair.image)[0] == 480_000
        found = read_codes(pair, pair.extent)
        # The outline of the label and the pixels that were warped from it may differ along the edge.
        assert (found != np.where(expected == 0, background, 3)).mean() < 0.05
        assert ((found == 3) == (expected == 3)).all()
