"""What is written reads back, as a valid COG, whole or not at all."""

import json
from itertools import product
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rio_cogeo import cog_validate

from geounet.classes import LandClass
from geounet.errors import OutputError
from geounet.grid import Grid, Window
from geounet.raster.cog import RasterProfile, classes_of, write_cog
from geounet.raster.scene import load_scene, opened, read

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
TRANSFORMS = {
    "north-up": NORTH_UP,
    "south-up": Affine(10, 0, 480_000, 0, 10, 5_429_000),
    "rotated": NORTH_UP @ Affine.rotation(30),
}
CLASSES = (
    LandClass(10, "water", "#0a80ff"),
    LandClass(254, 'roof & "wall" <new>', "#ff0000"),
    LandClass(0, "숲", "#000000"),
)


def profile_of(array, **changed):
    given = {"transform": NORTH_UP, "crs": rasterio.CRS.from_epsg(32633), "dtype": array.dtype.name, "nodata": 255}
    names = tuple(f"band {number}" for number in range(1, len(array) + 1))
    return RasterProfile(height=array.shape[1], width=array.shape[2], **{"names": names} | given | changed)


def pieces_of(array, size=64):
    grid = Grid(Window(0, 0, *array.shape[1:]), size, size)
    return [(tile.core, array[:, *tile.core.within(grid.region)]) for tile in grid.tiles()]


def write_whole(path, array, **changed):
    write_cog(path, profile_of(array, **changed), pieces_of(array))
    return path


def draw(height=70, width=90, values=(10, 254, 0, 255), bands=1, dtype="uint8"):
    return np.random.default_rng(7).choice(np.array(values, dtype), (bands, height, width))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (70, 90)])
def test_pixels_nodata_crs_and_transform_read_back(tmp_path, name, shape):
    array = draw(*shape)
    with rasterio.open(write_whole(tmp_path / "out.tif", array, transform=TRANSFORMS[name])) as file:
        np.testing.assert_array_equal(file.read(), array)
        assert file.nodata == 255
        assert file.crs.to_epsg() == 32633
        assert file.transform.almost_equals(TRANSFORMS[name], 1e-6)


def test_without_a_crs_pixels_read_back_in_pixel_coordinates(tmp_path):
    path = write_whole(tmp_path / "out.tif", draw(), crs=None, transform=Affine.identity())
    scene = load_scene(path)
    assert scene.crs is None
    assert scene.transform == Affine.identity()


@pytest.mark.parametrize(("dtype", "nodata", "values"), [
    ("uint16", 0, (0, 1, 65535)), ("int16", -32768, (-32768, -1, 32767)), ("float32", np.nan, (np.nan, -0.5, 1e9)),
    ("uint8", None, (0, 7, 255)),
])  # fmt: skip
def test_other_types_and_several_bands_read_back(tmp_path, dtype, nodata, values):
    array = draw(values=values, bands=3, dtype=dtype)
    with rasterio.open(write_whole(tmp_path / "out.tif", array, nodata=nodata)) as file:
        np.testing.assert_array_equal(file.read(), array)
        assert file.descriptions == ("band 1", "band 2", "band 3")
        np.testing.assert_equal(file.nodata, nodata)


@given(order=st.permutations(range(6)), left_out=st.sets(st.integers(0, 5)))
def test_pieces_come_in_any_order_and_what_none_covers_is_nodata(tmp_path_factory, order, left_out):
    path = tmp_path_factory.getbasetemp() / "pieces.tif"
    array = draw()
    pieces, expected = pieces_of(array, 40), array.copy()
    assert len(pieces) == 6
    for index in left_out:
        expected[:, *pieces[index][0].within(Window(0, 0, 0, 0))] = 255
    write_cog(path, profile_of(array), (pieces[index] for index in order if index not in left_out))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), expected)


@pytest.mark.parametrize("classes", [(), CLASSES], ids=["plain", "with a colour table"])
def test_it_is_a_valid_cog_and_its_overviews_hold_no_new_value(tmp_path, classes):
    # Patches of one value: averaging would make new ones at their seams.
    array = np.kron(draw(41, 53, values=(10, 254, 255))[0], np.ones((17, 19), np.uint8))[None]
    path = write_whole(tmp_path / "out.tif", array, classes=classes)
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as file:
        factors = file.overviews(1)
    assert factors
    for level, factor in enumerate(factors):
        with rasterio.open(path, overview_level=level) as overview:
            found = overview.read(1)
        for row, col in product(range(0, array.shape[1] // factor, 7), range(0, array.shape[2] // factor, 5)):
            below = array[0, row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
            assert found[row, col] in below


def test_colours_names_and_tags_read_back(tmp_path):
    path = write_whole(tmp_path / "out.tif", draw(), classes=CLASSES, tags={"SOFTWARE": "geounet"})
    assert classes_of(path) == CLASSES
    with rasterio.open(path) as file:
        colors = file.colormap(1)
        assert {value: colors[value][:3] for value in (10, 254, 0)} == {item.value: item.rgb for item in CLASSES}
        assert file.tags()["SOFTWARE"] == "geounet"
        assert {row["value"]: row["name"] for row in json.loads(file.tags()["CLASSES"])} == {
            item.value: item.name for item in CLASSES
        }


def test_class_names_stand_at_their_values_in_gdals_sidecar(tmp_path):
    path = write_whole(tmp_path / "out.tif", draw(), classes=CLASSES)
    found = ET.parse(f"{path}.aux.xml").getroot()  # noqa: S314 - written above
    assert found.tag == "PAMDataset"
    band = found.find("PAMRasterBand")
    assert band.get("band") == "1"
    names = [category.text or "" for category in band.iter("Category")]
    assert len(names) == 255
    assert {value: name for value, name in enumerate(names) if name} == {item.value: item.name for item in CLASSES}


def test_a_probability_of_one_reads_back_as_exactly_one(tmp_path):
    array = np.array([[[0, 127, 254, 255]]], np.uint8)
    path = write_whole(tmp_path / "out.tif", array, scale=1 / 254)
    scene = load_scene(path)
    with opened(scene) as dataset:
        values, valid = read(dataset, scene, scene.extent)
    assert values[0, 0, :3].tolist() == [0, 0.5, 1]
    assert valid.tolist() == [[True, True, True, False]]
    with rasterio.open(path) as file:
        assert 254 * file.scales[0] + file.offsets[0] == 1.0


def test_a_raster_of_another_make_gives_the_colours_of_its_table_or_nothing(tmp_path, write_scene):
    # GDAL fills a table with black: a black value may be no class at all.
    table = {1: (0, 0, 255, 255), 7: (0, 128, 0, 255), 9: (255, 255, 255, 255)}
    coloured = write_scene(tmp_path / "palette.tif", draw()[0], colormap=table, nodata=9)
    assert {item.value: item.color for item in classes_of(coloured)} == {1: "#0000ff", 7: "#008000"}
    assert classes_of(write_scene(tmp_path / "plain.tif", draw()[0])) == ()


# --- whole or not at all -----------------------------------------------------------------------------------------


def breaking(array):
    yield pieces_of(array)[0]
    raise RuntimeError("the worker died")


def test_a_failure_midway_leaves_neither_file_nor_folder(tmp_path):
    array = draw()
    with pytest.raises(RuntimeError, match="the worker died"):
        write_cog(tmp_path / "out.tif", profile_of(array, classes=CLASSES), breaking(array))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_midway_leaves_what_stood_there_before(tmp_path):
    array = draw()
    path = write_whole(tmp_path / "out.tif", array, classes=CLASSES)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="the worker died"):
        write_cog(path, profile_of(array), breaking(array))
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


def test_a_raster_without_classes_loses_the_old_ones_sidecar(tmp_path):
    path = write_whole(tmp_path / "out.tif", draw(), classes=CLASSES)
    write_whole(path, draw())
    assert [item.name for item in tmp_path.iterdir()] == ["out.tif"]
    assert classes_of(path) == ()


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/out\.tif"):
        write_whole(tmp_path / "file" / "out.tif", draw(), classes=CLASSES)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_way_is_refused_and_nothing_is_left_beside_it(tmp_path):
    (tmp_path / "out.tif").mkdir()
    with pytest.raises(OutputError, match=r"out\.tif"):
        write_whole(tmp_path / "out.tif", draw(), classes=CLASSES)
    assert [item.name for item in tmp_path.iterdir()] == ["out.tif"]


def test_a_class_raster_opens_in_qgis_in_its_colours(tmp_path):
    """A style of the raster's name lies beside it, with each class's value, name and colour."""
    profile = RasterProfile(5, 7, Affine.identity(), None, "uint8", 255, classes=(LandClass(3, "wood", "#12ab34"),))
    write_cog(tmp_path / "c.tif", profile, [])
    text = (tmp_path / "c.qml").read_text(encoding="utf-8")
    assert all(word in text for word in ('value="3"', 'label="wood"', 'color="#12ab34"'))
