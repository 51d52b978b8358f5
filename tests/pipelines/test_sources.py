"""The same scene under any of its names gives the same map; several scenes, several blocks, two workers."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from deliveries import write_band, write_safe
from geounet_pipelines.main import cli
from shapely.geometry import box
from untrained import make_model

BANDS = ("blue", "green", "nir08")


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output if code == 0 else str(result.exception)


@pytest.fixture
def place(tmp_path):
    """A Sentinel-2 product, an item of the same bands, a stack of them, and a model that reads three by name."""
    root, held = write_safe(tmp_path, names=("B02", "B03", "B8A", "SCL"))
    files = {name: next(root.rglob(f"*_{name}_*.jp2")) for name in held}
    told = {"B02": "blue", "B03": "green", "B8A": "nir08", "SCL": None}
    stated = {"scale": 1e-4, "offset": -0.1, "nodata": 0}
    assets = {
        name: {"href": str(file), "roles": ["data"]}
        | ({"eo:bands": [{"name": name, "common_name": told[name]}], "raster:bands": [stated]} if told[name] else {})
        for name, file in files.items()
    }
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "an-item", "properties": {"datetime": "2023-06-25T23:46:21Z"},
        "assets": assets, "links": [],
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    make_model(tmp_path / "m.safetensors", 3, names=BANDS, mean=0.05, std=0.09, dtype="uint16", depth=2)
    run("stack", root, "--bands", ",".join(BANDS), "-o", tmp_path / "stack.vrt")
    return tmp_path, root, held


def classes(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def test_a_delivery_an_item_and_a_stack_give_one_map(place, caplog):
    """In blocks of few pixels, by two workers too; the choice of the bands by name is said."""
    folder, root, _ = place
    model = ("-m", folder / "m.safetensors", "--radiometry", "scaled")
    sure = {
        name: ("-o", folder / name, "--confidence", folder / f"sure_{name}") for name in ("a.tif", "b.tif", "c.tif")
    }
    run("predict", folder / "stack.vrt", *model, *sure["a.tif"])
    run("predict", root, *model, *sure["b.tif"], "--tile-size", 8, "--workers", 2)
    assert "the model's bands are taken by their names: blue, green, nir08" in caplog.text
    run("predict", folder / "item.json", *model, *sure["c.tif"], "--tile-size", 16)
    assert len(np.unique(classes(folder / "sure_a.tif"))) >= 4
    for other in ("b.tif", "c.tif"):
        np.testing.assert_array_equal(classes(folder / f"sure_{other}"), classes(folder / "sure_a.tif"))
        np.testing.assert_array_equal(classes(folder / other), classes(folder / "a.tif"))


def test_what_a_mask_and_an_area_hide_is_nodata_from_end_to_end(place):
    """All else is as without them, but near what is hidden, which the network does not see."""
    folder, root, held = place
    frame = gpd.GeoDataFrame(geometry=[box(300_040, 7_399_850, 300_300, 7_400_000)], crs="EPSG:32601")
    frame.to_crs(4326).to_file(folder / "aoi.gpkg")
    high = ",".join(map(str, range(2000, 3001)))
    run(
        "run", root, folder / "item.json", "-m", folder / "m.safetensors", "-o", folder / "out", "--radiometry",
        "scaled", "--mask", f"SCL:{high}", "--aoi", folder / "aoi.gpkg", "--tile-size", 8,
    )  # fmt: skip
    hidden = (held["SCL"] >= 2000).repeat(2, 0).repeat(2, 1)
    for name in (root.name.removesuffix(".SAFE"), "an-item"):
        found = classes(folder / "out" / name / "classes.tif")
        assert found.shape == (15, 26)
        np.testing.assert_array_equal(found == 255, hidden[4:19, 4:30])
        polygons = gpd.read_file(folder / "out" / name / "polygons.gpkg")
        assert polygons.area.sum() == pytest.approx((found != 255).sum() * 100)


def test_scenes_of_a_catalogue_a_list_and_standard_input_are_run(place):
    folder, _, _ = place
    content = json.loads((folder / "item.json").read_text())
    rows = [content | {"id": name} for name in ("one", "two", "three")]
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    (folder / "list.txt").write_text("items.json#two\nitem.json\n")
    how = ("-m", folder / "m.safetensors", "--radiometry", "scaled")
    run("run", folder / "items.json", *how, "-o", folder / "many")
    assert sorted(path.name for path in (folder / "many").iterdir() if path.is_dir()) == ["one", "three", "two"]
    run("run", f"@{folder / 'list.txt'}", *how, "-o", folder / "listed")
    assert sorted(path.name for path in (folder / "listed").iterdir() if path.is_dir()) == ["an-item", "two"]
    np.testing.assert_array_equal(
        classes(folder / "listed" / "two" / "classes.tif"), classes(folder / "many" / "two" / "classes.tif")
    )


def test_info_tells_name_time_and_bands(place):
    _, root, _ = place
    found = json.loads(run("info", root, "--json"))
    assert (found["id"], found["datetime"][:10]) == (root.name.removesuffix(".SAFE"), "2023-06-25")
    assert [band["name"] for band in found["band_values"]] == ["B02", "B03", "B8A"]
    assert [band["offset"] for band in found["band_values"]] == [-0.1] * 3


def test_what_a_scene_lacks_is_named_with_what_it_has(place):
    folder, root, _ = place
    next(root.rglob("*_B8A_*.jp2")).unlink()
    shutil.copy(folder / "m.safetensors", folder / "n.safetensors")
    make_model(folder / "other.safetensors", 3, names=("blue", "swir16", "red"))
    said = run("predict", root, "-m", folder / "other.safetensors", "-o", folder / "o.tif", code=1)
    assert "has no band swir16, red, which the model reads (blue, swir16, red); it has B02, blue" in said
    said = run("predict", root, "-m", folder / "m.safetensors", "-o", folder / "o.tif", code=1)
    assert "B8A_20m.jp2 does not exist" in said
    assert not (folder / "o.tif").exists()


def test_training_before_and_after_the_baseline_learns_one_thing(tmp_path, write_scene):
    """Numbers with the offset of baseline 04.00 and without it are the same reflectances, and the card says so."""
    values = {}
    for offset in (0, -1000):
        root, held = write_safe(tmp_path / str(offset), offset=offset, names=("B02", "B03"), seed=5)
        values[offset] = root
        for name, array in held.items():
            file = next(root.rglob(f"*_{name}_*.jp2"))
            write_band(file, (array.astype(np.int64) - offset + 1).astype(np.uint16), 10)
    labels = (np.indices((24, 36)).sum(0) // 8 % 2 + 1).astype(np.uint8)
    write_scene(
        tmp_path / "l.tif", labels, crs="EPSG:32601", transform=rasterio.Affine(10, 0, 300_000, 0, -10, 7_400_040)
    )
    how = ("--labels", tmp_path / "l.tif", "--bands", "blue,green", "--epochs", 1, "--patches", 2, "--batch-size", 1,
           "--patch-size", 16, "--depth", 1, "--no-report", "--seed", 3)  # fmt: skip
    cards = []
    for offset, root in values.items():
        run("train", root, *how, "-o", tmp_path / f"{offset}.safetensors")
        cards.append(json.loads(run("models", "show", tmp_path / f"{offset}.safetensors", "--json")))
    one, other = (card["bands"] for card in cards)
    for left, right in zip(one, other, strict=True):
        assert left["mean"] == pytest.approx(right["mean"], abs=1e-6)
        assert left["std"] == pytest.approx(right["std"], abs=1e-6)
