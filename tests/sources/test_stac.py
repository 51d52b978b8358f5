"""A STAC item stands for its scene or its labels, bands by their common names."""

import json

import numpy as np
import pytest
from affine import Affine
from range_server import serve

from geounet.data.labels import read_codes
from geounet.data.pairing import pair_labels
from geounet.errors import SceneError, UnreachableError
from geounet.raster.scene import opened, read
from geounet.sources.stac import read_item, scene_of

FINE = Affine(10, 0, 480_000, 0, -10, 5_430_000)
COARSE = Affine(20, 0, 480_000, 0, -20, 5_430_000)


def write_item(path, assets, taken="2020-07-13T10:30:31Z"):
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": path.stem, "geometry": None, "links": [],
        "properties": {"datetime": taken}, "assets": assets,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def item(tmp_path, write_scene):
    """Three files, one of them at 20 m, a thumbnail and a label."""
    random = np.random.default_rng(0)
    pixels = {"B04": random.integers(1, 999, (12, 16), np.uint16), "B08": random.integers(1, 999, (12, 16), np.uint16)}
    pixels["B11"] = random.integers(1, 999, (6, 8), np.uint16)
    for name, array in pixels.items():
        write_scene(tmp_path / f"{name}.tif", array, transform=COARSE if name == "B11" else FINE)
    names = {"B04": "red", "B08": "nir", "B11": "swir16"}
    assets = {
        key.lower(): {"href": f"./{key}.tif", "roles": ["data"], "eo:bands": [{"name": key, "common_name": name}]}
        for key, name in names.items()
    }
    assets["thumbnail"] = {"href": "t.png", "roles": ["thumbnail"]}
    return write_item(tmp_path / "scene.json", assets), pixels


def pixels_of(scene):
    with opened(scene) as dataset:
        return read(dataset, scene, scene.extent)[0]


def test_bands_of_several_assets_come_to_one_grid_by_common_name(item):
    path, pixels = item
    scene = scene_of(read_item(path), ["swir16", "red"])
    assert scene.band_names == ("swir16", "red")
    assert (scene.name, scene.label) == ("scene", str(path))
    np.testing.assert_array_equal(pixels_of(scene), [pixels["B11"].repeat(2, 0).repeat(2, 1), pixels["B04"]])


@pytest.mark.parametrize("name", ["b08", "B08", "nir"])
def test_a_band_goes_by_common_name_name_or_asset(item, name):
    path, pixels = item
    np.testing.assert_array_equal(pixels_of(scene_of(read_item(path), [name])), pixels["B08"][None])


def test_bands_within_one_file(tmp_path, write_scene):
    array = np.random.default_rng(0).integers(1, 99, (3, 5, 7), np.uint8)
    write_scene(tmp_path / "all.tif", array)
    bands = [
        {"name": name, "eo:common_name": common} for name, common in zip("abc", ("blue", "green", "red"), strict=True)
    ]
    path = write_item(tmp_path / "one.json", {"all": {"href": "all.tif", "bands": bands}})
    scene = scene_of(read_item(path), ["red", "blue"])
    assert scene.bands == (3, 1)
    np.testing.assert_array_equal(pixels_of(scene), array[[2, 0]])
    assert scene_of(read_item(path)).bands == (1, 2, 3)
    assert scene_of(read_item(path), [2]).bands == (2,)


def test_what_it_lacks_is_named(item):
    with pytest.raises(SceneError, match=r"scene\.json has no band pan; it has B04, red, B08, nir, B11, swir16, b04"):
        scene_of(read_item(item[0]), ["pan"])
    with pytest.raises(SceneError, match=r"scene\.json has 3 assets with the role 'data'; name bands with --bands"):
        scene_of(read_item(item[0]))


def test_other_files_are_no_items(tmp_path):
    for name, text in (("a.json", "{}"), ("b.json", "no json"), ("c.json", '{"type": "FeatureCollection"}')):
        (tmp_path / name).write_text(text)
        assert read_item(tmp_path / name) is None
    assert read_item(tmp_path / "absent.json") is None
    assert read_item(tmp_path / "x.tif") is None


def test_items_pair_by_place_and_by_the_time_that_they_tell(tmp_path, item, write_scene):
    later = write_scene(tmp_path / "other_20200801.tif", np.zeros((3, 12, 16), np.uint16), transform=FINE)
    write_scene(tmp_path / "l1.tif", np.full((12, 16), 4, np.uint8), transform=FINE)
    label = write_item(tmp_path / "labels.json", {"l": {"href": "l1.tif", "roles": ["labels-raster"]}})
    august = write_scene(tmp_path / "lc_2020-08.tif", np.full((12, 16), 5, np.uint8), transform=FINE)
    pairs = pair_labels([item[0]], [label], bands=["red", "nir", "swir16"])
    assert set(np.unique(read_codes(pairs[0], pairs[0].extent))) == {4}
    assert pairs[0].image.band_names == ("red", "nir", "swir16")
    pairs = pair_labels(
        [write_item(tmp_path / "i.json", {"o": {"href": str(later)}}, "2020-07-01"), later], [label, august]
    )
    assert [set(np.unique(read_codes(pair, pair.extent))) for pair in pairs] == [{4}, {5}]


def test_an_item_on_a_server(tmp_path, item):
    with serve(tmp_path) as server:
        scene = scene_of(read_item(server.url("scene.json")), ["red", "swir16"])
        assert (scene.name, scene.band_names) == ("scene", ("red", "swir16"))
        np.testing.assert_array_equal(pixels_of(scene)[0], item[1]["B04"])
        with pytest.raises(UnreachableError, match=r"absent\.json"):
            read_item(server.url("absent.json"))
