"""Map tiles of polygons and of rasters: everything there at the deepest level, borders shared, areas kept by class."""

from __future__ import annotations

import gzip
import json
import logging
import math
import sqlite3
import sys

import geopandas as gpd
import mapbox_vector_tile
import numpy as np
import pytest
import rasterio
import shapely
from made import NORTH_UP, VALUES, blobs, levels, make_product
from pmtiles.reader import MmapSource, Reader
from pyproj import Transformer
from rasterio import Affine
from scipy.ndimage import gaussian_filter

from geounet.errors import OutputError, SceneError
from geounet.exports import vector_tiles
from geounet.exports.pyramid import HALF, resolution_at, zoom_of
from geounet.formats import reading
from geounet.raster.cog import classes_of
from geounet.tasks.export import export

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Two products in two UTM zones, of many small fields and some large ones."""
    folder = tmp_path_factory.mktemp("batch")
    for number, (crs, side) in enumerate([("EPSG:32633", 2), ("EPSG:32634", 9)]):
        codes = np.where(blobs(150, 170, number, 40) == VALUES[0], VALUES[0], blobs(150, 170, number + 7, side))
        make_product(folder / f"p{number}", codes.astype(np.uint8), levels(codes), crs=crs, transform=NORTH_UP)
    return folder


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Batches of a hundred features."""
    monkeypatch.setattr(reading.read_batches, "__defaults__", (None, 100))


def metadata(path):
    with sqlite3.connect(path) as file:
        return dict(file.execute("SELECT name, value FROM metadata").fetchall())


def vector_features(path):
    """Shapes in Web Mercator metres, cut to their tiles, with their attributes, by zoom level."""
    found = {}
    with sqlite3.connect(path) as file:
        for zoom, col, row, data in file.execute("SELECT * FROM tiles"):
            layer = mapbox_vector_tile.decode(gzip.decompress(data))["polygons"]
            side = 2 * HALF / 2**zoom
            to_metres = [side / layer["extent"], 0, 0, side / layer["extent"], col * side - HALF, row * side - HALF]
            box = shapely.box(0, 0, layer["extent"], layer["extent"])
            for feature in layer["features"]:
                shape = shapely.make_valid(shapely.from_geojson(json.dumps(feature["geometry"]))).intersection(box)
                moved = shapely.affinity.affine_transform(shape, to_metres)
                found.setdefault(zoom, []).append((moved, feature["properties"]))
    return found


def shares(pairs):
    areas = dict.fromkeys(VALUES, 0.0)
    for shape, told in pairs:
        areas[told["class"]] += shape.area
    return {value: area / sum(areas.values()) for value, area in areas.items()}


@pytest.fixture(scope="module")
def tiles(batch, tmp_path_factory):
    out = tmp_path_factory.mktemp("tiles") / "fields.mbtiles"
    export(batch / "p0", out, min_zoom=9)
    return out


def test_each_polygon_is_there_with_its_attributes_at_the_deepest_level(batch, tiles):
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    found = vector_features(tiles)
    assert len(found) > 4
    deepest = found[max(found)]
    known = frame.set_index("id").to_dict("index")
    assert {told["id"] for _, told in deepest} == set(known)
    assert all(told["area_ha"] == pytest.approx(known[told["id"]]["area_ha"], abs=1e-4) for _, told in deepest)
    assert all(told["class_name"] == known[told["id"]]["class_name"] for _, told in deepest)
    whole = frame.to_crs(3857)
    assert sum(shape.area for shape, _ in deepest) == pytest.approx(whole.area.sum(), rel=1e-3)


def test_neighbours_stay_neighbours_at_each_level(tmp_path):
    """What overlaps, or lies open between fields with slanting edges, is a fraction of what each alone makes."""
    random = np.random.default_rng(0)
    heights = [gaussian_filter(random.normal(size=(300, 340)), 6) for _ in VALUES]
    make_product(tmp_path / "p", np.array(VALUES, np.uint8)[np.argmax(heights, 0)])
    export(tmp_path / "p", tmp_path / "o.mbtiles", min_zoom=9)
    found = vector_features(tmp_path / "o.mbtiles")
    total = {zoom: sum(shape.area for shape, _ in pairs) for zoom, pairs in found.items()}
    for zoom, pairs in found.items():
        union = shapely.union_all([shape for shape, _ in pairs]).area
        assert (total[zoom] - union) / total[zoom] < 2e-3
        assert union == pytest.approx(total[max(found)], rel=4e-3)


def test_small_fields_keep_their_class_s_area(batch, tiles):
    """Where a field is less than a pixel there are fewer, and each class covers what it does."""
    found = vector_features(tiles)
    expected = shares(found[max(found)])
    for pairs in (found[zoom] for zoom in found if zoom > min(found)):
        assert all(abs(share - expected[value]) < 0.03 for value, share in shares(pairs).items())
    assert len(found[min(found)]) < len(found[max(found)]) * 0.8
    told = json.loads(metadata(tiles)["geounet:classes"])
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    assert [(row["value"], row["polygons"]) for row in told] == sorted(frame.groupby("class").size().items())
    assert [row["area_ha"] for row in told] == pytest.approx(frame.groupby("class")["area_ha"].sum().tolist(), abs=1e-3)
    assert [row["color"] for row in told] == [item.color for item in classes_of(batch / "p0/classes.tif")]


def test_fields_left_out_of_heavy_tiles_are_counted(batch, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(vector_tiles, "_HEAVIEST", 4_000)
    with caplog.at_level(logging.WARNING, "geounet"):
        export(batch / "p0", tmp_path / "o.mbtiles")
    assert "smallest fields are left out" in caplog.text


def test_several_zones_lie_where_they_are(batch, tmp_path):
    made = export(batch, tmp_path / "o.mbtiles", max_zoom=11)
    found = vector_features(tmp_path / "o.mbtiles")[11]
    assert made.polygons == sum(len(gpd.read_parquet(batch / f"p{n}/polygons.parquet")) for n in range(2))
    east = {told["product"]: shape.bounds[0] / HALF * 180 for shape, told in found}
    assert 14.9 < east["p0"] < 15.1
    assert 20.9 < east["p1"] < 21.1


def test_polygons_across_the_antimeridian_lie_on_both_sides(tmp_path, write_scene):
    raster = write_scene(tmp_path / "e.tif", blobs(20, 30, 0, 4), nodata=255, crs="EPSG:32660",
                         transform=Affine(1000, 0, 710_000, 0, -1000, 5e6))  # fmt: skip
    export(raster, tmp_path / "o.mbtiles", layers=["polygons"], max_zoom=7)
    shapes = [shape for shape, _ in vector_features(tmp_path / "o.mbtiles")[7] if not shape.is_empty]
    sides = np.array([shape.centroid.x for shape in shapes])
    assert (sides > 0.99 * HALF).any()
    assert (sides < -0.99 * HALF).any()
    assert (np.abs(sides) > 0.99 * HALF).all()


def test_pmtiles_hold_the_same_tiles(batch, tiles, tmp_path):
    export(batch / "p0", tmp_path / "fields.pmtiles", min_zoom=9)
    with (tmp_path / "fields.pmtiles").open("rb") as file, sqlite3.connect(tiles) as database:
        reader = Reader(MmapSource(file))
        told = reader.metadata()
        assert told["vector_layers"][0]["fields"]["class_name"] == "String"
        assert [row["value"] for row in told["geounet:classes"]] == VALUES
        assert "generator_options" not in told, "it names folders of the machine"
        header = reader.header()
        assert header["min_lon_e7"] / 1e7 == pytest.approx(15, abs=0.01)
        count = 0
        for zoom, col, row, data in database.execute("SELECT * FROM tiles"):
            same = reader.get(zoom, col, 2**zoom - 1 - row)
            one, other = (mapbox_vector_tile.decode(gzip.decompress(each)) for each in (same, data))
            assert one == other
            count += 1
    assert count > 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fields.pmtiles"]


def test_tiles_of_polygons_alone(batch, tmp_path):
    """Without a raster tippecanoe chooses levels; classes and colours come from the style beside them."""
    export(batch / "p1/polygons.parquet", tmp_path / "o.mbtiles")
    told = metadata(tmp_path / "o.mbtiles")
    assert int(told["maxzoom"]) > int(told["minzoom"])
    assert [row["name"] for row in json.loads(told["geounet:classes"])] == ["water", "built up", "field & hedge"]


@pytest.mark.parametrize("layer", ["classes", "confidence"])
def test_raster_tiles_show_each_pixel_in_its_colour(batch, tmp_path, layer):
    out = tmp_path / "o.mbtiles"
    export(batch / "p0", out, layers=[layer])
    legend = classes_of(batch / "p0/classes.tif")
    with rasterio.open(batch / f"p0/{layer}.tif") as file:
        codes = file.read(1)
        rows, cols = np.mgrid[3:150:7, 2:170:5]
        east, north = file.transform @ (cols + 0.5, rows + 0.5)
        x, y = Transformer.from_crs(file.crs, 3857, always_xy=True).transform(east, north)
    told = metadata(out)
    with rasterio.open(out) as picture:
        assert picture.res[0] == pytest.approx(resolution_at(int(told["maxzoom"])))
        col, row = ~picture.transform @ (x, y)
        painted = picture.read()[:, row.astype(int), col.astype(int)]
        colors = {item.value: (*item.rgb, 255) for item in legend}
        for value, color in zip(codes[rows, cols].ravel(), painted.reshape(4, -1).T.tolist(), strict=True):
            expected = colors.get(value) if layer == "classes" else (value, value, value, 255)
            assert tuple(color) == (expected if value != 255 else (*color[:3], 0))
    if layer == "classes":
        for level in range(int(told["minzoom"]), int(told["maxzoom"])):
            with rasterio.open(out, ZOOM_LEVEL=level) as picture:
                seen = np.unique(picture.read().reshape(4, -1), axis=1).T
            assert {tuple(color) for color in seen.tolist() if color[3]} <= set(colors.values())


def test_a_raster_without_a_class_table_is_coloured_and_it_is_said(tmp_path, write_scene, caplog):
    raster = write_scene(tmp_path / "bare.tif", blobs(90, 120), nodata=255)
    with caplog.at_level(logging.WARNING, "geounet"):
        export(raster, tmp_path / "o.mbtiles", layers=["classes"])
    assert "3 values that are seen in it have colours of ours" in caplog.text
    with rasterio.open(tmp_path / "o.mbtiles") as picture:
        colors = np.unique(picture.read().reshape(4, -1), axis=1)
    assert len({tuple(color) for color in colors.T.tolist() if color[3]}) == 3


def test_raster_pmtiles(batch, tmp_path):
    export(batch / "p1/classes.tif", tmp_path / "o.pmtiles")
    export(batch / "p1/classes.tif", tmp_path / "o.mbtiles")
    with (tmp_path / "o.pmtiles").open("rb") as file, sqlite3.connect(tmp_path / "o.mbtiles") as database:
        reader = Reader(MmapSource(file))
        rows = database.execute("SELECT * FROM tiles").fetchall()
        assert len(rows) > 5
        assert all(reader.get(zoom, col, 2**zoom - 1 - row) == data for zoom, col, row, data in rows)


def test_zoom_levels_are_those_of_the_pixels():
    assert zoom_of(156_543.03, 0) == 0
    assert zoom_of(10, 0) == 14
    assert zoom_of(10, 60) == 13
    assert resolution_at(14) * math.cos(0) < 10 < resolution_at(13)


def test_what_is_refused(batch, tmp_path, write_scene):
    plain = write_scene(tmp_path / "plain.tif", blobs(20, 30), nodata=255, crs=None)
    east = write_scene(tmp_path / "east.tif", blobs(20, 30), nodata=255, crs="EPSG:32660",
                       transform=Affine(1000, 0, 710_000, 0, -1000, 5e6))  # fmt: skip
    for sources, target, words, options in [
        (plain, "o.mbtiles", "no CRS", {}),
        (plain, "o.mbtiles", "no CRS", {"layers": ["polygons"]}),
        (east, "o.pmtiles", "antimeridian", {"layers": ["classes"]}),
        (batch, "o.mbtiles", "mosaic", {"layers": ["classes"]}),
        (batch / "p0", "o.mbtiles", "one layer", {"layers": ["classes", "polygons"]}),
        (batch / "p0", "o.mbtiles", "Web Mercator", {"crs": "EPSG:3035"}),
        (batch / "p0", "o.mbtiles", "the first comes first", {"min_zoom": 9, "max_zoom": 5}),
        (batch / "p0", "o.mbtiles", "no layer nothing", {"layers": ["nothing"]}),
    ]:
        with pytest.raises((OutputError, SceneError), match=words):
            export(sources, tmp_path / target, **options)
        assert not (tmp_path / target).exists()


def test_what_is_not_installed_is_named_with_the_extra(batch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pmtiles.writer", None)
    with pytest.raises(OutputError, match=r"geounet\[tiles\]"):
        export(batch / "p0", tmp_path / "o.pmtiles", layers=["classes"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OutputError, match=r"tippecanoe.*geounet\[tiles\]"):
        export(batch / "p0", tmp_path / "o.mbtiles")


def test_tippecanoe_s_failure_is_a_sentence(batch, tmp_path, monkeypatch):
    program = tmp_path / "tippecanoe"
    program.write_text("#!/bin/sh\ncat >/dev/null\necho no room left >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(vector_tiles, "_program", lambda: str(program))
    with pytest.raises(OutputError, match="tippecanoe ended with 3: no room left"):
        export(batch / "p0", tmp_path / "o.mbtiles")
    assert not (tmp_path / "o.mbtiles").exists()
