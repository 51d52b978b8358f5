"""What names stand for: files, folders, patterns, lists, standard input, deliveries, catalogues."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from deliveries import write_landsat, write_safe

from geounet.errors import SceneError
from geounet.sources.listing import list_scenes
from geounet.sources.scenes import open_scene, scene_id


@pytest.fixture
def tree(tmp_path, write_scene):
    """Rasters at two levels, files of one scene, two deliveries, and what is no scene."""
    for name in ("b.tif", "a.tif", "deep/deeper/c.tif", "T32TQM_B02.tif", "T32TQM_B03.tif", "deep/T32_B04_10m.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_scene(tmp_path / name, np.full((8, 8), len(name), np.uint8))
    write_safe(tmp_path / "deep", names=("B02", "SCL"))
    write_landsat(tmp_path)
    (tmp_path / "notes.md").write_text("none")
    (tmp_path / ".hidden.tif").write_text("none")
    return tmp_path


def names(found, root):
    return [name.removeprefix(f"{root}/") for name in found]


def test_a_folder_stands_for_all_below(tree):
    found = names(list_scenes([tree]), tree)
    assert found == [
        "T32TQM_{B02,B03}.tif",
        "a.tif",
        "b.tif",
        "LC08_L2SP_005009_20150710_20200908_02_T2",
        "deep/T32_B04_10m.tif",
        "deep/S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.SAFE",
        "deep/deeper/c.tif",
    ]
    assert names(list_scenes([tree], "*_B*.tif"), tree)[0] == "T32TQM_{B02,B03}.tif"
    assert "a.tif" not in names(list_scenes([tree], "*_B*.tif"), tree)


def test_files_of_one_scene_are_its_bands(tree):
    scene = open_scene(tree / "T32TQM_{B02,B03}.tif", ["B03", "B02"])
    assert scene.band_names == ("B03", "B02")
    assert scene_id(tree / "T32TQM_{B02,B03}.tif") == "T32TQM"


def test_patterns_lists_and_standard_input(tree, monkeypatch):
    assert names(list_scenes([tree / "?.tif"]), tree) == ["a.tif", "b.tif"]
    assert names(list_scenes([str(tree / "**" / "c.tif")]), tree) == ["deep/deeper/c.tif"]
    (tree / "list.txt").write_text("# mine\n\nb.tif  # first\ndeep/deeper\na.tif\nb.tif\n")
    assert names(list_scenes([f"@{tree / 'list.txt'}"]), tree) == ["b.tif", "deep/deeper/c.tif", "a.tif"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tree / 'a.tif'}\nhttps://example.org/x.tif\n"))
    assert names(list_scenes(["-"]), tree) == ["a.tif", "https://example.org/x.tif"]
    assert list_scenes(["/vsizip/a.zip/b.tif"]) == ("/vsizip/a.zip/b.tif",)


def test_what_stands_for_nothing_is_one_sentence(tree):
    (tree / "empty").mkdir()
    with pytest.raises(SceneError, match=r"folder .*empty holds no raster and no delivery"):
        list_scenes([tree / "empty"])
    with pytest.raises(SceneError, match=r"holds no raster and no delivery that fits '\*\.jp2x'"):
        list_scenes([tree / "deep" / "deeper"], "*.jp2x")
    with pytest.raises(SceneError, match=r"pattern .*x\*\.tif matches no raster"):
        list_scenes([tree / "x*.tif"])
    (tree / "list.txt").write_text("a.tif\n# none\nabsent.tif\n")
    with pytest.raises(SceneError, match=r"list\.txt, line 3: absent\.tif does not exist"):
        list_scenes([f"@{tree / 'list.txt'}"])
    with pytest.raises(SceneError, match=r"list .*absent\.txt cannot be read"):
        list_scenes([f"@{tree / 'absent.txt'}"])
    (tree / "none.txt").write_text("# none\n")
    with pytest.raises(SceneError, match=r"list .*none\.txt names no scene"):
        list_scenes([tree / "none.txt"])


def item(key, href, **properties):
    band = {"name": "B04", "common_name": "red"}
    assets = {"red": {"href": href, "roles": ["data"], "eo:bands": [band]}}
    told = {"datetime": "2024-05-01T10:00:00Z", **properties}
    return {"type": "Feature", "stac_version": "1.0.0", "id": key, "properties": told, "assets": assets, "links": []}


def catalogue(folder, name, links):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    told = [{"rel": rel, "href": href} for rel, href in links]
    (folder / name).write_text(json.dumps({"type": "Catalog", "stac_version": "1.0.0", "id": name, "links": told}))


def test_catalogues_collections_and_tables_of_items(tree):
    """Each item by a name of its own, its assets found from where it stands."""
    rows = [item("one", "a.tif"), item("two", "b.tif")]
    (tree / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    flat = [{key: row[key] for key in ("id", "type", "stac_version", "assets")} | row["properties"] for row in rows]
    pyarrow.parquet.write_table(pa.Table.from_pylist(flat), tree / "items.parquet")
    (tree / "cat" / "2024").mkdir(parents=True)
    for key, row in zip(("one", "two"), rows, strict=True):
        moved = json.loads(json.dumps(row).replace('"href": "', '"href": "../../'))
        (tree / "cat" / "2024" / f"{key}.json").write_text(json.dumps(moved))
    catalogue(tree, "cat/catalog.json", [("child", "./2024/catalog.json"), ("self", "x")])
    catalogue(
        tree, "cat/2024/catalog.json", [("item", "./one.json"), ("item", "two.json"), ("root", "../catalog.json")]
    )
    for source in ("items.json", "items.parquet", "cat/catalog.json"):
        found = list_scenes([tree / source])
        assert [scene_id(name) for name in found] == ["one", "two"]
        scenes = [open_scene(name, ["red"]) for name in found]
        assert [scene.path for scene in scenes] == [str(tree / "a.tif"), str(tree / "b.tif")]


def test_catalogues_that_mislead_are_one_sentence(tree):
    catalogue(tree, "c/catalog.json", [("child", "d/catalog.json")])
    catalogue(tree, "c/d/catalog.json", [("child", "../catalog.json")])
    with pytest.raises(SceneError, match=r"c/catalog\.json leads back to itself at .*c/catalog\.json"):
        list_scenes([tree / "c" / "catalog.json"])
    catalogue(tree, "c/catalog.json", [("item", "gone.json")])
    with pytest.raises(SceneError, match=r"names .*gone\.json, which is not there or no STAC"):
        list_scenes([tree / "c" / "catalog.json"])
    catalogue(tree, "c/catalog.json", [])
    with pytest.raises(SceneError, match="is a STAC catalogue without an item"):
        list_scenes([tree / "c" / "catalog.json"])
    rows = [item("one", "a.tif"), item("one", "b.tif")]
    (tree / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    with pytest.raises(SceneError, match="holds several items of one id: one"):
        list_scenes([tree / "items.json"])
    pyarrow.parquet.write_table(pa.table({"x": [1]}), tree / "none.parquet")
    with pytest.raises(SceneError, match="is no stac-geoparquet file: it has no columns id and assets"):
        list_scenes([tree / "none.parquet"])
    bare = item("one", "a.tif") | {"assets": {}}
    (tree / "bare.json").write_text(json.dumps(bare))
    with pytest.raises(SceneError, match=r"bare\.json has no assets"):
        open_scene(tree / "bare.json")
