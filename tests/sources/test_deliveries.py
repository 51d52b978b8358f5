"""Sentinel-2 and Landsat products as they are delivered, against the pixels that were written and real metadata."""

import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
from deliveries import LANDSAT, write_landsat, write_safe

from geounet.errors import SceneError
from geounet.raster.scene import opened, read, read_stored
from geounet.sources.scenes import open_scene, scene_id, scene_time
from geounet.sources.sentinel2 import read_safe


def pixels(scene):
    """What the scene's bands hold, as stored."""
    with opened(scene) as dataset:
        return read_stored(dataset, scene, scene.extent)[0]


def in_zip(folder, root):
    with zipfile.ZipFile(folder / "product.zip", "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return folder / "product.zip"


def in_tar(folder, root):
    with tarfile.open(folder / "product.tar", "w") as archive:
        for file in sorted(root.iterdir()):
            archive.add(file, file.name)
    return folder / "product.tar"


@pytest.mark.parametrize("level", ["2A", "1C"])
@pytest.mark.parametrize("how", ["folder", "zip", "metadata"])
def test_bands_of_a_safe_by_all_their_names(tmp_path, level, how):
    """Own names, common names; coarse bands on the fine grid by nearest neighbour; whichever way it is named."""
    root, held = write_safe(tmp_path, level=level)
    name = {"folder": root, "zip": in_zip(tmp_path, root), "metadata": root / f"MTD_MSIL{level}.xml"}[how]
    if how == "zip":
        shutil.rmtree(root)
    scene = open_scene(name, ["B03", "blue", "b8a"])
    found = pixels(scene)
    np.testing.assert_array_equal(found[0], held["B03"])
    np.testing.assert_array_equal(found[1], held["B02"])
    np.testing.assert_array_equal(found[2], held["B8A"].repeat(2, axis=0).repeat(2, axis=1))
    assert scene.band_names == ("B03", "blue", "b8a")
    assert scene_id(name) == root.name.removesuffix(".SAFE")
    assert scene_time(name, scene).startswith("2023-06-25T23:46:21")


@pytest.mark.parametrize(("offset", "stated"), [(-1000, -0.1), (0, 0.0)])
def test_reflectances_follow_the_products_own_offset(tmp_path, offset, stated):
    """Before and after processing baseline 04.00 the same ground gives the same values, never by the date."""
    root, held = write_safe(tmp_path, offset=offset)
    scene = open_scene(root, ["green"])
    with opened(scene) as dataset:
        values, valid = read(dataset, scene, scene.extent)
    np.testing.assert_allclose(values[0], held["B03"] * 1e-4 + stated, rtol=0, atol=1e-6)
    assert valid.all()


@pytest.mark.parametrize("how", ["folder", "tar", "metadata"])
def test_bands_and_gains_of_a_landsat_delivery(tmp_path, how):
    """Of the levels that the metadata tell, the product's own; a band that they name and the delivery lacks is none."""
    root, held = write_landsat(tmp_path)
    name = {"folder": root, "tar": in_tar(tmp_path, root), "metadata": root / f"{LANDSAT}_MTL.txt"}[how]
    scene = open_scene(name, ["nir08", "red", "QA_PIXEL"])
    np.testing.assert_array_equal(pixels(scene), [held["SR_B5"], held["SR_B4"], held["QA_PIXEL"]])
    assert scene.scales == pytest.approx((3e-05, 2.75e-05, 1.0))
    assert scene.offsets == pytest.approx((-0.1, -0.2, 0.0))
    assert scene_id(name) == LANDSAT
    assert scene_time(name, scene) == "2015-07-10T14:34:35Z"
    with pytest.raises(SceneError, match=r"has no band SR_B6, swir16; it has B4, red, B5, nir08"):
        open_scene(name, ["SR_B6", "swir16"])


def test_a_safe_without_a_band_says_what_it_has(tmp_path):
    root, _ = write_safe(tmp_path, names=("B02", "SCL"))
    with pytest.raises(SceneError, match=r"has no band red; it has B02, blue, SCL"):
        open_scene(root, ["red", "blue"])


def test_damaged_deliveries_are_one_sentence(tmp_path):
    root, _ = write_safe(tmp_path)
    (root / "MTD_MSIL2A.xml").write_text("<p><PRODUCT")
    with pytest.raises(SceneError, match=r"metadata of .* are damaged"):
        open_scene(root, ["red"])
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4cut off")
    with pytest.raises(SceneError, match="is no zip file, or was cut off"):
        open_scene(tmp_path / "cut.zip", ["red"])
    (tmp_path / "cut.tar").write_bytes(b"cut off")
    with pytest.raises(SceneError, match="is no tar file, or was cut off"):
        open_scene(tmp_path / "cut.tar", ["red"])


@pytest.mark.real
def test_real_metadata_say_what_another_reader_makes_of_them(data):
    """Assets, scales and offsets of two real products against the item that stactools makes; baselines 05.09, 03.01."""
    folders = {root.name[:10]: root for root in (data / "sentinel2_safe_metadata").iterdir() if root.is_dir()}
    item = read_safe(folders["S2A_MSIL2A"])
    other = json.loads((folders["S2A_MSIL2A"] / "expected_output.json").read_text())["assets"]
    for key, name in (("B02", "blue"), ("B8A", "nir08"), ("B11", "swir16"), ("SCL", "scl")):
        assert item.assets[key]["href"].endswith(other[name]["href"].rpartition("/")[2])
        if key != "SCL":
            theirs = other[name]["raster:bands"][0]
            ours = item.assets[key]["raster:bands"][0]
            assert (ours["scale"], ours["offset"]) == pytest.approx((theirs["scale"], theirs["offset"]))
    old = next(root for name, root in folders.items() if "L1C" in name)
    assert {asset["raster:bands"][0]["offset"] for key, asset in read_safe(old).assets.items() if key != "TCI"} == {0.0}


@pytest.mark.real
def test_a_real_landsat_delivery_opens(data):
    """Its rasters as rasterio reads them, and reflectances by the gains in its metadata."""
    root = next((data / "landsat_c2_delivery").glob("LC08_*"))
    scene = open_scene(root, ["red", "green", "blue", "QA_PIXEL"])
    files = [next(root.glob(f"*_{key}.TIF")) for key in ("SR_B4", "SR_B3", "SR_B2", "QA_PIXEL")]
    for file, band in zip(files, pixels(scene), strict=True):
        with rasterio.open(file) as dataset:
            np.testing.assert_array_equal(dataset.read(1), band)
    assert scene.scales[:3] == pytest.approx((2.75e-5,) * 3)
    assert scene.offsets[:3] == pytest.approx((-0.2,) * 3)
