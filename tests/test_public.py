"""What is public: the verbs, their arguments, and how a product shows itself."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from levels import learned_model, write_levels
from made import blobs, levels, make_product

import geounet
from geounet.components.cleaning import Cleaning
from geounet.errors import LabelError, OutputError

LIST = Path(__file__).with_name("public.txt")


def listed():
    """Each public name with its arguments and their defaults, a line each."""
    for name in sorted(geounet.__all__):
        thing = getattr(geounet, name)
        yield f"{name}{'' if issubclass_of_error(thing) else inspect.signature(thing)}"


def issubclass_of_error(thing):
    return inspect.isclass(thing) and issubclass(thing, Exception)


def test_what_is_public_does_not_change_unseen():
    """A line that differs is a change for all who use it: a new version, and a line in CHANGELOG.md."""
    found = "\n".join(_stable()) + "\n"
    assert found == LIST.read_text(encoding="utf-8"), "write tests/public.txt anew: python tests/test_public.py"


def _stable():
    """Without the addresses of functions that are defaults."""
    import re

    return [re.sub(r"<function .*? at 0x[0-9a-f]+>", "...", line) for line in listed()]


def test_every_public_thing_says_what_it_is():
    for name in geounet.__all__:
        assert inspect.getdoc(getattr(geounet, name)), name
    verbs = [getattr(geounet, name) for name in geounet.__all__ if inspect.isfunction(getattr(geounet, name))]
    assert len(verbs) > 15
    for verb in verbs:
        text = inspect.getdoc(verb)
        missing = [
            argument
            for argument in inspect.signature(inspect.unwrap(verb)).parameters
            if f"\n    {argument}: " not in text
        ]
        assert missing == [], verb
        assert "Raises:" in text, verb


def test_texts_stand_for_paths(made, tmp_path):
    """Wherever a path is wanted, in lists too; names that may be URLs stay what they are."""
    out = str(tmp_path / "fields.gpkg")
    assert geounet.vectorize(str(made / "classes.tif"), out).polygons == len(gpd.read_file(out))
    cleaned = geounet.clean(str(made / "classes.tif"), str(tmp_path / "c.tif"), Cleaning(majority=1))
    assert cleaned.valid > 0
    product = geounet.open_product(str(made))
    changed = geounet.change(str(made), str(made), str(tmp_path / "change"))
    assert product.name == "p0"
    assert changed.changed_ha == 0
    assert geounet.vectorize.__wrapped__.__module__ == "geounet.tasks.vectorize"


def test_options_of_the_command_line_are_keywords(made, tmp_path):
    """By the command line's names, in groups within groups; on top of a group that is given; none unknown."""
    learned_model(tmp_path / "m.safetensors")
    scene = str(write_levels(tmp_path / "s.tif", blobs(70, 90)))
    model = str(tmp_path / "m.safetensors")
    engine = geounet.Engine(tile_size=32, precision="fp32")
    geounet.predict(
        scene, model, str(tmp_path / "a.tif"), engine=engine, window_size=64, mask=["grey:1"], mask_dilate=1
    )
    with rasterio.open(tmp_path / "a.tif") as raster:
        tags = raster.tags()
    assert (tags["PRECISION"], tags["WINDOW"]) == ("fp32", "64 x 64")
    batch = geounet.run([scene], model, str(tmp_path / "p"), format="fgb", simplify=9, precision="fp32", tile_size=48)
    assert batch.scenes[0].state == "done"
    record = (tmp_path / "p/s/item.json").read_text()
    assert '"vector_format": "fgb"' in record
    assert '"simplification": 9' in record
    assert '"precision": "fp32"' in record
    with pytest.raises(TypeError, match=r"unexpected keyword argument .tilesize.; there are .*tile_size"):
        geounet.predict(scene, model, "o.tif", tilesize=3)
    with pytest.raises(TypeError, match="required"):
        geounet.predict(scene)
    parameters = inspect.signature(geounet.run).parameters
    assert (parameters["window_size"].default, parameters["min_area"].default) == (None, 0.0)


def test_training_is_one_call(tmp_path):
    """Images, labels and a class table by their names, as `geounet train` takes them."""
    samples = Path(__file__).parents[1] / "sample_tiles"
    card = geounet.train(
        str(samples / "train/images"), str(tmp_path / "m.safetensors"), labels=str(samples / "train/labels.gpkg"),
        classes=str(samples / "classes.csv"), depth=1, width=4, patch_size=32, patches=4, batch_size=2, epochs=1,
    )  # fmt: skip
    assert [item.name for item in card.classes][:2] == ["water", "forest"]
    assert card.architecture.depth == 1
    assert geounet.info(samples / "val/images/scene_spring.tif", str(tmp_path / "m.safetensors"))["fits"]


def test_importing_geounet_imports_nothing_heavy():
    heavy = ["torch", "rasterio", "xarray", "geopandas", "numpy", "click", "dask"]
    code = f"import sys, geounet; print([name for name in {heavy} if name in sys.modules], len(sys.modules) < 200)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True"]


def test_an_unknown_name_is_an_attribute_error():
    assert {"predict", "open_product"} <= set(dir(geounet))
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = geounet.segment


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    codes = blobs(120, 190)
    return make_product(tmp_path_factory.mktemp("made") / "p0", codes, levels(codes))


def test_a_product_holds_arrays_polygons_and_areas(made):
    product = geounet.open_product(made)
    with rasterio.open(made / "classes.tif") as classes, rasterio.open(made / "confidence.tif") as confidence:
        codes, stored = classes.read(1), confidence.read(1)
    np.testing.assert_array_equal(product.classes, codes)
    np.testing.assert_allclose(product.confidence, np.where(codes == 255, np.nan, stored / 254), rtol=1e-6)
    frame = gpd.read_parquet(made / "polygons.parquet")
    assert product.polygons["id"].tolist() == frame["id"].tolist()
    assert product.polygons.crs == frame.crs
    assert product.areas["area_ha"].to_dict() == pytest.approx(frame.groupby("class")["area_ha"].sum().to_dict())
    assert product.areas["area_ha"].is_monotonic_decreasing


def test_a_product_shows_itself_in_a_notebook(made):
    text = geounet.open_product(made)._repr_html_()
    assert text.count("<img") == 1
    assert "data:image/png;base64," in text
    areas = geounet.open_product(made).areas
    assert all(f"{area:,.2f}" in text for area in areas["area_ha"])
    bare = geounet.open_product(made / "classes.tif")._repr_html_()
    assert "data:image/png;base64," in bare
    assert "water" in bare


def test_a_product_is_explored_without_a_network(made):
    page = geounet.open_product(made).explore()
    assert "Content-Security-Policy" in page.html
    assert page._repr_html_().startswith("<iframe srcdoc=")
    assert "Doubtful places" in page.html
    assert "<title>classes</title>" in geounet.open_product(made / "classes.tif").explore().html


def test_what_is_not_there_is_said(made, tmp_path):
    for name, words in [("polygons", "no polygon file"), ("confidence", "no raster of confidences")]:
        with pytest.raises(OutputError, match=words):
            getattr(geounet.open_product(made / "classes.tif"), name)
    with pytest.raises(OutputError, match="does not exist"):
        geounet.open_product(tmp_path / "none")
    make_product(made.parent / "p1", blobs(20, 30))
    with pytest.raises(OutputError, match="holds 2 products"):
        geounet.open_product(made.parent)
    with pytest.raises((OutputError, LabelError)):
        geounet.open_product(made / "polygons.parquet").classes  # noqa: B018


def test_an_opened_scene_is_predicted_as_its_file(tmp_path):
    """In chunks; what is invalid stays so; what is done to the array is what is predicted."""
    learned_model(tmp_path / "m.safetensors")
    codes = blobs(90, 130, side=9)
    file = write_levels(tmp_path / "s.tif", codes)
    geounet.predict(file, tmp_path / "m.safetensors", tmp_path / "a.tif")
    scene = geounet.open_scene(file, chunk_size=32)
    geounet.predict(scene, tmp_path / "m.safetensors", tmp_path / "b.tif")
    turned = 250 - scene
    geounet.predict(turned.where(turned > 0), tmp_path / "m.safetensors", tmp_path / "c.tif")
    found = []
    for name in "abc":
        with rasterio.open(tmp_path / f"{name}.tif") as raster:
            found.append(raster.read(1))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] == codes).mean() > 0.9
    valid = found[0] != 255
    assert (found[2][valid] != found[0][valid]).mean() > 0.5


if __name__ == "__main__":
    LIST.write_text("\n".join(_stable()) + "\n", encoding="utf-8")
