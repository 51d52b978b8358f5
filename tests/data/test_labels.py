"""Labels of any kind become class codes on their image's pixels; what is no label is 255."""

import json
import logging

import geopandas
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer
from rasterio.warp import Resampling, reproject
from shapely.geometry import Point, Polygon, box

from geounet.classes import LandClass
from geounet.data.instances import instance_codes
from geounet.data.labels import read_codes
from geounet.data.pairing import list_labels, pair_labels
from geounet.errors import LabelError
from geounet.grid import Window

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
HEIGHT, WIDTH = 30, 50
WHOLE = Window(0, 0, HEIGHT, WIDTH)
CLASSES = (LandClass(10, "water", "#0000ff"), LandClass(70, "forest", "#008000"), LandClass(0, "field", "#ffff00"))
# On the image's ground, not symmetric, one with a hole, one half beside the image.
SHAPES = [
    (Polygon([(480_020, 5_429_990), (480_310, 5_429_900), (480_040, 5_429_760)]), 10),
    (box(480_300, 5_429_750, 480_420, 5_429_950).difference(box(480_330, 5_429_800, 480_360, 5_429_900)), 70),
    (Point(480_500, 5_429_700).buffer(60), 0),
]


def write_polygons(path, shapes=SHAPES, field="class", crs="EPSG:32633", stored="EPSG:32633"):
    geometries, values = zip(*shapes, strict=True)
    frame = geopandas.GeoDataFrame({field: values}, geometry=list(geometries), crs=crs).to_crs(stored)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


@pytest.fixture
def image(tmp_path, write_scene):
    return write_scene(tmp_path / "place.tif", np.zeros((2, HEIGHT, WIDTH), np.uint16))


def burnt(image, label, window=WHOLE, **given):
    (pair,) = pair_labels([image], [label], **given)
    return read_codes(pair, window)


def rasterized(shapes=SHAPES, transform=NORTH_UP, fill=255):
    return rasterio.features.rasterize(shapes, (HEIGHT, WIDTH), fill=fill, transform=transform, dtype="uint8")


# --- pairing -----------------------------------------------------------------------------------------------------


def test_images_and_labels_join_by_name_whatever_the_order(tmp_path, write_scene):
    images = [write_scene(tmp_path / f"{name}.tif", np.zeros((2, 3), np.uint8)) for name in ("A", "b", "c_2020")]
    labels = [
        write_scene(tmp_path / name, np.full((2, 3), value, np.uint8))
        for value, name in enumerate(("C_2020_labels.tif", "B.tiff", "a_mask.tif"))
    ]
    pairs = pair_labels(images, labels)
    assert [pair.image.path for pair in pairs] == [str(path) for path in images]
    assert [read_codes(pair, Window(0, 0, 1, 1)).item() for pair in pairs] == [2, 1, 0]


def test_one_label_file_serves_all_images(tmp_path, write_scene):
    images = [write_scene(tmp_path / f"{name}.tif", np.zeros((2, 3), np.uint8)) for name in "abc"]
    label = write_scene(tmp_path / "all.tif", np.ones((2, 3), np.uint8))
    assert [pair.label.path for pair in pair_labels(images, [label])] == [str(label)] * 3


def test_an_image_without_a_label_is_left_out_with_a_warning(tmp_path, write_scene, caplog):
    images = [write_scene(tmp_path / f"{name}.tif", np.zeros((2, 3), np.uint8)) for name in "abc"]
    labels = [write_scene(tmp_path / f"{name}_label.tif", np.zeros((2, 3), np.uint8)) for name in "ac"]
    with caplog.at_level(logging.WARNING):
        pairs = pair_labels(images, labels)
    assert [pair.image.name for pair in pairs] == ["a", "c"]
    (record,) = caplog.records
    assert str(images[1]) in record.getMessage()


def test_without_any_pair_the_sentence_says_what_names_are_for(tmp_path, write_scene):
    nowhere = {"crs": None, "transform": None}
    images = [write_scene(tmp_path / f"{name}.tif", np.zeros((2, 3), np.uint8), **nowhere) for name in "ab"]
    labels = [write_scene(tmp_path / f"{name}.tif", np.zeros((2, 3), np.uint8), **nowhere) for name in "xyz"]
    with pytest.raises(LabelError, match=r"2 image.*a\.tif.*3 label.*x\.tif"):
        pair_labels(images, labels)
    with pytest.raises(LabelError, match="0 label"):
        pair_labels(images, [])


def test_labels_of_other_ground_are_refused(tmp_path, write_scene, image):
    elsewhere = NORTH_UP @ Affine.translation(WIDTH, 0)
    raster = write_scene(tmp_path / "far.tif", np.ones((4, 4), np.uint8), transform=elsewhere)
    vectors = write_polygons(tmp_path / "far.gpkg", [(box(0, 0, 10, 10), 1)])
    for label in (raster, vectors):
        with pytest.raises(LabelError, match="no image overlaps a label"):
            pair_labels([image], [label])


def test_an_image_beside_the_labels_is_left_out_and_the_others_stay(tmp_path, write_scene, image, caplog):
    far = write_scene(tmp_path / "far.tif", np.zeros((4, 4), np.uint8), transform=NORTH_UP @ Affine.translation(900, 0))
    pairs = pair_labels([far, image], [write_polygons(tmp_path / "all.gpkg")])
    assert [pair.image.path for pair in pairs] == [str(image)]
    assert f"{far} has no label of its place or name; it is left out" in caplog.text


def test_folders_give_their_files_in_order_of_names(tmp_path):
    for name in ("b.tif", "a.PNG", "notes.txt", "c.gpkg", "a.tif.aux.xml"):
        (tmp_path / name).touch()
    single = tmp_path / "notes.md"
    assert [path.name for path in list_labels([single, tmp_path])] == ["notes.md", "a.PNG", "b.tif", "c.gpkg"]


def test_a_folder_without_labels_or_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LabelError, match=tmp_path.name):
        list_labels([tmp_path])


# --- rasters -----------------------------------------------------------------------------------------------------


def test_codes_of_a_raster_on_the_images_grid_are_its_values(tmp_path, write_scene, image):
    codes = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    np.testing.assert_array_equal(burnt(image, write_scene(tmp_path / "label.tif", codes)), codes)


def test_nodata_and_what_is_no_code_become_255(tmp_path, write_scene, image):
    codes = np.full((HEIGHT, WIDTH), 3, np.int16)
    codes[0, :6] = [-1, 255, 256, 1000, 7, 254]
    label = write_scene(tmp_path / "label.tif", codes, nodata=7)
    assert burnt(image, label)[0, :7].tolist() == [255, 255, 255, 255, 255, 254, 3]


def test_codes_in_floating_point_are_codes_and_nan_is_none(tmp_path, write_scene, image):
    codes = np.full((HEIGHT, WIDTH), 3, np.float32)
    codes[0, :2] = [np.nan, 254]
    assert burnt(image, write_scene(tmp_path / "label.tif", codes))[0, :3].tolist() == [255, 254, 3]


@given(st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 40), st.integers(1, 40))
def test_outside_the_image_there_is_no_label(tmp_path_factory, write_scene, row, col, height, width):
    folder = tmp_path_factory.getbasetemp()
    image = write_scene(folder / "outside.tif", np.zeros((HEIGHT, WIDTH), np.uint8))
    codes = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    padded = np.pad(codes, 100, constant_values=255)
    expected = padded[row + 100 : row + 100 + height, col + 100 : col + 100 + width]
    label = write_scene(folder / "outside_label.tif", codes)
    np.testing.assert_array_equal(burnt(image, label, Window(row, col, height, width)), expected)


def test_a_raster_in_another_crs_comes_to_the_images_pixels_by_nearest_neighbour(tmp_path, write_scene, image):
    transform = Affine(0.00013, 0, 14.727, 0, -0.00007, 49.0225)
    codes = np.random.default_rng(2).integers(1, 200, (33, 41)).astype(np.uint8)
    label = write_scene(tmp_path / "label.tif", codes, crs="EPSG:4326", transform=transform)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    reproject(
        codes, expected, src_transform=transform, src_crs="EPSG:4326", dst_transform=NORTH_UP, dst_crs="EPSG:32633",
        resampling=Resampling.nearest,
    )  # fmt: skip
    expected[expected == 0] = 255
    found = burnt(image, label)
    assert 0.2 < (found < 255).mean() < 0.99
    np.testing.assert_array_equal(found, expected)


def test_a_label_of_another_shape_without_a_crs_is_refused(tmp_path, write_scene, image):
    label = write_scene(tmp_path / "label.tif", np.zeros((4, 5), np.uint8), crs=None, transform=None)
    with pytest.raises(LabelError, match=r"label\.tif has 4 x 5 pixels and image .*place\.tif 30 x 50"):
        burnt(image, label)


# --- polygons ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".shp", ".fgb", ".parquet"])
def test_polygons_are_burnt_as_rasterio_does_whatever_the_format(tmp_path, image, ending):
    np.testing.assert_array_equal(burnt(image, write_polygons(tmp_path / f"label{ending}")), rasterized())


def moved_by(transformer, geometry):
    return shapely.transform(geometry, transformer.transform, interleaved=False)


@pytest.mark.parametrize("stored", ["EPSG:4326", "EPSG:3857", "EPSG:32634"])
def test_polygons_in_another_crs_are_brought_to_the_images(tmp_path, image, stored):
    label = write_polygons(tmp_path / "label.gpkg", stored=stored)
    there, back = (Transformer.from_crs(*pair, always_xy=True) for pair in ((32633, stored), (stored, 32633)))
    moved = [(moved_by(back, moved_by(there, geometry)), value) for geometry, value in SHAPES]
    np.testing.assert_array_equal(burnt(image, label), rasterized(moved))


@given(st.integers(-10, 40), st.integers(-10, 60), st.integers(1, 30), st.integers(1, 30))
def test_a_window_of_polygons_is_the_crop_of_the_whole(tmp_path_factory, write_scene, row, col, height, width):
    folder = tmp_path_factory.getbasetemp()
    image, label = folder / "crop.tif", folder / "crop.gpkg"
    if not label.exists():
        write_scene(image, np.zeros((HEIGHT, WIDTH), np.uint8))
        write_polygons(label)
    padded = np.pad(rasterized(fill=5), 100, constant_values=255)
    found = burnt(image, label, Window(row, col, height, width), background=5)
    np.testing.assert_array_equal(found, padded[row + 100 : row + 100 + height, col + 100 : col + 100 + width])


@pytest.mark.parametrize("transform", [Affine(10, 0, 480_000, 0, 10, 5_429_700), NORTH_UP @ Affine.rotation(-30)])
def test_polygons_fall_on_a_south_up_or_rotated_image(tmp_path, write_scene, transform):
    image = write_scene(tmp_path / "turned.tif", np.zeros((HEIGHT, WIDTH), np.uint8), transform=transform)
    found = burnt(image, write_polygons(tmp_path / "label.gpkg"))
    assert (found < 255).any()
    np.testing.assert_array_equal(found, rasterized(transform=transform))


def test_the_last_of_overlapping_polygons_wins(tmp_path, image):
    shapes = [(box(480_000, 5_429_700, 480_300, 5_430_000), 1), (box(480_200, 5_429_700, 480_500, 5_430_000), 2)]
    codes = burnt(image, write_polygons(tmp_path / "label.gpkg", shapes))
    assert codes[0].tolist() == [1] * 20 + [2] * 30


def test_all_that_a_polygon_touches_is_labelled_where_asked_for(tmp_path, image):
    label = write_polygons(tmp_path / "label.gpkg", SHAPES[:2])
    rows, cols = np.indices((HEIGHT, WIDTH))
    x, y = 480_000 + 10 * cols, 5_430_000 - 10 * rows
    squares = shapely.box(x, y - 10, x + 10, y)
    expected = np.full((HEIGHT, WIDTH), 255)
    for shape, code in SHAPES[:2]:
        expected[shapely.area(shapely.intersection(squares, shape)) > 1e-6] = code
    found = burnt(image, label, all_touched=True)
    np.testing.assert_array_equal(found, expected)
    assert (found < 255).sum() > (burnt(image, label) < 255).sum()


def test_outside_the_polygons_is_background_where_one_is_given(tmp_path, image):
    label = write_polygons(tmp_path / "label.gpkg")
    np.testing.assert_array_equal(burnt(image, label, background=100), rasterized(fill=100))


def test_classes_may_stand_by_name(tmp_path, image):
    names = {item.value: item.name for item in CLASSES}
    label = write_polygons(tmp_path / "label.gpkg", [(shape, names[value]) for shape, value in SHAPES])
    np.testing.assert_array_equal(burnt(image, label, classes=CLASSES), rasterized())


def test_polygons_of_no_class_are_not_burnt(tmp_path, image):
    label = write_polygons(
        tmp_path / "label.gpkg", [(shape, str(value)) for shape, value in SHAPES[:2]] + [(SHAPES[2][0], "?")]
    )
    np.testing.assert_array_equal(burnt(image, label), rasterized(SHAPES[:2]))


@pytest.mark.parametrize("field", ["class", "value", "label", "code"])
def test_the_usual_fields_are_found(tmp_path, image, field):
    np.testing.assert_array_equal(burnt(image, write_polygons(tmp_path / "label.gpkg", field=field)), rasterized())


def test_another_field_is_read_where_it_is_named(tmp_path, image):
    label = write_polygons(tmp_path / "label.gpkg", field="crop")
    np.testing.assert_array_equal(burnt(image, label, label_field="crop"), rasterized())
    with pytest.raises(LabelError, match=r"label\.gpkg has no field 'class'.*--label-field: crop"):
        burnt(image, label)
    with pytest.raises(LabelError, match=r"no field 'cops'.*crop"):
        burnt(image, label, label_field="cops")


def test_names_without_a_class_table_are_refused(tmp_path, image):
    label = write_polygons(tmp_path / "label.gpkg", [(SHAPES[0][0], "water")])
    with pytest.raises(LabelError, match=r"'class' of .*label\.gpkg.*no class code"):
        burnt(image, label)


def test_a_file_without_polygons_is_refused(tmp_path, image):
    label = tmp_path / "label.geojson"
    label.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(LabelError, match=r"label\.geojson is empty"):
        burnt(image, label)


def test_a_table_without_geometry_is_refused(tmp_path, image):
    label = tmp_path / "label.geojson"
    row = {"type": "Feature", "properties": {"class": 1}, "geometry": None}
    label.write_text(json.dumps({"type": "FeatureCollection", "features": [row]}))
    with pytest.raises(LabelError):
        burnt(image, label)


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".parquet", ".shp"])
def test_a_file_that_holds_something_else_is_refused_by_name(tmp_path, image, ending):
    label = tmp_path / f"label{ending}"
    label.write_text("these are no polygons")
    with pytest.raises(LabelError, match=rf"label{ending} cannot be read"):
        burnt(image, label)


@pytest.mark.parametrize("name", ["nowhere.gpkg", "nowhere.parquet"])
def test_a_missing_polygon_file_is_refused_by_name(tmp_path, image, name):
    with pytest.raises(LabelError, match=rf"{name} does not exist"):
        burnt(image, tmp_path / name)


# --- pictures ----------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path, write_scene):
    """An image without georeference, and codes to paint labels with."""
    codes = np.random.default_rng(4).choice([10, 70, 0, 255], (5, 8))
    return write_scene(tmp_path / "cells.tif", np.zeros((5, 8), np.uint8), crs=None, transform=None), codes


def painted(codes):
    """(height, width) to (height, width, 3), in a colour of no class where the code is 255."""
    colors = {item.value: item.rgb for item in CLASSES} | {255: (1, 2, 3)}
    return np.array([[colors[code] for code in row] for row in codes.tolist()], np.uint8)


def test_colours_of_a_picture_are_classes_and_other_colours_none(tmp_path, picture):
    image, codes = picture
    Image.fromarray(painted(codes)).save(tmp_path / "label.png")
    found = burnt(image, tmp_path / "label.png", Window(0, 0, 5, 8), classes=CLASSES)
    np.testing.assert_array_equal(found, codes)


def test_what_a_picture_leaves_transparent_is_no_label(tmp_path, picture):
    image, codes = picture
    alpha = np.full((5, 8, 1), 255, np.uint8)
    alpha[1:3, 2:4] = 0
    Image.fromarray(np.concatenate([painted(codes), alpha], axis=2)).save(tmp_path / "label.png")
    expected = np.where(alpha[..., 0] == 0, 255, codes)
    found = burnt(image, tmp_path / "label.png", Window(0, 0, 5, 8), classes=CLASSES)
    np.testing.assert_array_equal(found, expected)


def test_a_picture_in_colour_without_a_class_table_is_refused(tmp_path, picture):
    image, codes = picture
    Image.fromarray(painted(codes)).save(tmp_path / "label.png")
    with pytest.raises(LabelError, match=r"label\.png is a picture in colour; --classes"):
        burnt(image, tmp_path / "label.png")


def test_a_palette_picture_gives_its_indices(tmp_path, picture):
    image, codes = picture
    drawn = Image.fromarray(np.where(codes == 255, 3, codes).astype(np.uint8), mode="P")
    drawn.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    drawn.save(tmp_path / "label.png")
    found = burnt(image, tmp_path / "label.png", Window(0, 0, 5, 8))
    np.testing.assert_array_equal(found, np.where(codes == 255, 3, codes))


# --- maps of numbered objects -------------------------------------------------------------------------------------


def test_instance_maps_read_window_by_window_are_the_whole(tmp_path, write_scene):
    """A boundary just outside a window is seen from within it; ids go beyond 8 bits."""
    random = np.random.default_rng(3)
    ids = random.choice(np.array([0, 7, 255, 256, 40000], np.uint16), (5, 6)).repeat(4, axis=0).repeat(3, axis=1)
    scene = write_scene(tmp_path / "a.png", np.zeros(ids.shape, np.uint8), crs=None, transform=None, driver="PNG")
    label = write_scene(tmp_path / "a_mask.png", ids, crs=None, transform=None, driver="PNG")
    (pair,) = pair_labels([scene], [label], instances=True)
    whole = read_codes(pair, pair.image.extent)
    np.testing.assert_array_equal(whole, instance_codes(ids))
    for window in (Window(3, 2, 9, 5), Window(8, 9, 1, 1), Window(15, 12, 10, 10)):
        inside = window.intersection(pair.image.extent)
        np.testing.assert_array_equal(
            read_codes(pair, window)[inside.within(window)], whole[inside.within(pair.image.extent)]
        )


def test_what_numbers_no_objects_is_no_instance_map(tmp_path, write_scene, image):
    vectors = write_polygons(tmp_path / "scene.gpkg")
    with pytest.raises(LabelError, match=r"scene\.gpkg holds polygons"):
        pair_labels([image], [vectors], instances=True)
    picture = write_scene(tmp_path / "scene_mask.tif", np.zeros((3, HEIGHT, WIDTH), np.uint8))
    with pytest.raises(LabelError, match=r"scene_mask\.tif holds 3 band\(s\) of uint8"):
        pair_labels([image], [picture], instances=True)
    shares = write_scene(tmp_path / "scene_label.tif", np.zeros((HEIGHT, WIDTH), np.float32))
    with pytest.raises(LabelError, match=r"1 band\(s\) of float32"):
        pair_labels([image], [shares], instances=True)
    hollow = write_scene(tmp_path / "place.png", np.ones((HEIGHT, WIDTH), np.uint16), driver="PNG", nodata=0)
    with pytest.raises(LabelError, match=r"place\.png calls 0 nodata"):
        pair_labels([image], [hollow], instances=True)
