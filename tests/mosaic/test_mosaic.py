"""One map of many products: as though there had been one scene, in whatever order, tiles and zones they come."""

from __future__ import annotations

import json
from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from made import NORTH_UP, VALUES, blobs, levels, make_product
from pyproj import Transformer

from geounet.classes import LandClass
from geounet.errors import LabelError, OutputError, SceneError
from geounet.formats.fiboa import Fiboa
from geounet.tasks.mosaic import mosaic
from geounet.tasks.vectorize import vectorize

TAKEN = ("2020-07-01T10:00:00Z", "2020-07-03T10:00:00Z", "2020-07-03T10:00:00Z", "2019-07-01T10:00:00Z")


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


def at(row, col, base=NORTH_UP):
    return base * Affine.translation(col, row)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """One product, and the same cut into seven that overlap."""
    folder = tmp_path_factory.mktemp("cut")
    codes = blobs(90, 130)
    confidence = levels(codes)
    make_product(folder / "whole/whole", codes, confidence)
    for number, (row, col) in enumerate([(0, 0), (0, 40), (0, 80), (30, 0), (30, 50), (40, 90), (20, 33)]):
        part = slice(row, row + 60), slice(col, col + 50)
        make_product(folder / f"parts/p{number}", codes[part], confidence[part], transform=at(row, col))
    return folder


@pytest.mark.parametrize("prefer", ["confidence", "newest", "oldest", "vote"])
@pytest.mark.parametrize(("tile_size", "workers"), [(7, 3), (64, 1), (4096, 2)])
def test_a_map_of_parts_is_the_map_of_the_whole(cut, tmp_path, prefer, tile_size, workers):
    """Pixels, confidences, and polygons: a field that lies in four scenes is one, once."""
    made = mosaic(
        [cut / "parts"], tmp_path / "m.tif", polygons=tmp_path / "p.parquet", confidence=tmp_path / "k.tif",
        prefer=prefer, tile_size=tile_size, workers=workers,
    )  # fmt: skip
    assert (made.products, made.resampled, made.height, made.width) == (7, 0, 90, 130)
    whole = cut / "whole/whole"
    np.testing.assert_array_equal(pixels(tmp_path / "m.tif"), pixels(whole / "classes.tif"))
    np.testing.assert_array_equal(pixels(tmp_path / "k.tif"), pixels(whole / "confidence.tif"))
    vectorize(whole / "classes.tif", tmp_path / "w.parquet", confidence=whole / "confidence.tif")
    assert_geodataframe_equal(gpd.read_parquet(tmp_path / "p.parquet"), gpd.read_parquet(tmp_path / "w.parquet"))
    with rasterio.open(tmp_path / "m.tif") as one, rasterio.open(whole / "classes.tif") as other:
        assert (one.transform, one.crs, one.nodata) == (other.transform, other.crs, other.nodata)
        assert one.tags()["CLASSES"] == other.tags()["CLASSES"]


@pytest.fixture(scope="module")
def quarrel(tmp_path_factory):
    """Four products that overlap and do not agree, two of them of one moment: folders, and what they hold."""
    folder, parts = tmp_path_factory.mktemp("quarrel"), []
    for number, (row, col, height, width) in enumerate(
        [(0, 0, 40, 50), (10, 20, 50, 40), (5, 5, 30, 60), (20, 0, 30, 70)]
    ):
        codes = blobs(height, width, number, 3)
        sure = levels(codes, number)
        make_product(folder / f"q{number}", codes, sure, transform=at(row, col), taken=TAKEN[number])
        parts.append((TAKEN[number], f"q{number}", row, col, codes, sure))
    return folder, parts


def plainly(parts, prefer):
    """Pixel by pixel, the way one would say it."""
    newest = sorted(parts, key=lambda part: part[1])
    newest.sort(key=lambda part: part[0], reverse=True)
    out = np.full((2, 60, 70), 255, np.uint8)
    for row, col in np.ndindex(60, 70):
        here = [
            (int(codes[row - top, col - left]), int(sure[row - top, col - left]))
            for _, _, top, left, codes, sure in newest
            if 0 <= row - top < codes.shape[0]
            and 0 <= col - left < codes.shape[1]
            and codes[row - top, col - left] < 255
        ]
        if not here:
            continue
        if prefer == "confidence":
            out[:, row, col] = max(here, key=lambda pair: pair[1])
        elif prefer == "vote":
            votes = {value: [sure for code, sure in here if code == value] for value, _ in here}
            best = max(votes, key=lambda value: (len(votes[value]), sum(votes[value]), -value))
            out[:, row, col] = best, int(sum(votes[best]) / len(votes[best]) + 0.5)
        else:
            out[:, row, col] = here[0 if prefer == "newest" else -1]
    return out


@pytest.mark.parametrize("prefer", ["confidence", "newest", "oldest", "vote"])
def test_where_they_overlap_the_preferred_one_is_seen_in_whatever_order_they_are_named(quarrel, tmp_path, prefer):
    folder, parts = quarrel
    expected = plainly(parts, prefer)
    for number, order in enumerate(list(permutations(range(4)))[::5]):
        out, share = tmp_path / f"{number}.tif", tmp_path / f"{number}k.tif"
        mosaic([folder / f"q{which}" for which in order], out, confidence=share, prefer=prefer, tile_size=17 + number)
        np.testing.assert_array_equal(pixels(out), expected[0])
        np.testing.assert_array_equal(pixels(share), expected[1])


@pytest.mark.parametrize("prefer", ["newest", "oldest"])
def test_a_virtual_map_holds_what_the_copy_holds(quarrel, tmp_path, prefer):
    folder, parts = quarrel
    expected = plainly(parts, prefer)
    mosaic([folder], tmp_path / "m.vrt", confidence=tmp_path / "k.vrt", polygons=tmp_path / "v.gpkg", prefer=prefer)
    mosaic([folder], tmp_path / "m.tif", polygons=tmp_path / "t.gpkg", prefer=prefer)
    np.testing.assert_array_equal(pixels(tmp_path / "m.vrt"), expected[0])
    np.testing.assert_array_equal(pixels(tmp_path / "k.vrt"), expected[1])
    assert_geodataframe_equal(gpd.read_file(tmp_path / "v.gpkg"), gpd.read_file(tmp_path / "t.gpkg"))
    with rasterio.open(tmp_path / "m.vrt") as one, rasterio.open(tmp_path / "m.tif") as other:
        assert one.colormap(1)[VALUES[1]] == other.colormap(1)[VALUES[1]]
        assert one.tags()["CLASSES"] == other.tags()["CLASSES"]


EAST = Affine(10, 0, 706_000, 0, -10, 5_400_040)
"""In zone 32, near its border with zone 33 at 12 degrees."""
WEST = Affine(10, 0, 266_000, 0, -10, 5_401_000)
"""In zone 33, over there."""


@pytest.fixture(scope="module")
def zones(tmp_path_factory):
    """A product in each of two UTM zones; they overlap."""
    folder = tmp_path_factory.mktemp("zones")
    to_east = Transformer.from_crs(32633, 32632, always_xy=True)
    x, y = to_east.transform(WEST.c, WEST.f)
    corner = Affine(10, 0, round(x, -1) - 1500, 0, -10, round(y, -1) + 303)
    codes = [blobs(200, 260, 1, 7), blobs(190, 230, 2, 9)]
    make_product(folder / "w", codes[0], levels(codes[0], 1), transform=WEST)
    make_product(folder / "e", codes[1], levels(codes[1], 2), transform=corner, crs="EPSG:32632")
    return folder, codes, corner


@pytest.mark.parametrize("tile_size", [50, 64, 1000])
def test_a_product_of_another_zone_lies_where_it_lies(zones, tmp_path, tile_size):
    """Each pixel is the nearest of the other zone's, computed one by one; only ties within a thousandth may differ."""
    folder, codes, corner = zones
    made = mosaic([folder], tmp_path / "m.tif", prefer="oldest", tile_size=tile_size)
    assert made.resampled == 1
    mosaic([folder / "e"], tmp_path / "e.tif", crs="EPSG:32633")
    for path, in_front in ((tmp_path / "e.tif", None), (tmp_path / "m.tif", "w")):
        found = pixels(path)
        with rasterio.open(path) as file:
            assert file.crs.to_epsg() == 32633
            assert file.res == (10, 10)
            cols, rows = np.meshgrid(np.arange(file.width) + 0.5, np.arange(file.height) + 0.5)
            x, y = file.transform @ (cols, rows)
            transform = file.transform
        col, row = ~corner @ Transformer.from_crs(32633, 32632, always_xy=True).transform(x, y)
        inside = (row >= 0) & (row < 190) & (col >= 0) & (col < 230)
        expected = np.full(found.shape, 255, np.uint8)
        expected[inside] = codes[1][np.floor(row[inside]).astype(int), np.floor(col[inside]).astype(int)]
        if in_front:
            left, top = ~transform @ (WEST.c, WEST.f)
            top, left = round(top), round(left)
            view = expected[top : top + 200, left : left + 260]
            # Of one moment: the first by its id, e, lies on top of w where newest; below it where oldest.
            np.copyto(view, codes[0], where=codes[0] != 255)
        near = (np.abs(row - np.round(row)) < 1e-3) | (np.abs(col - np.round(col)) < 1e-3)
        assert near.mean() < 0.01
        np.testing.assert_array_equal(found[~near], expected[~near])


def test_nothing_on_a_map_depends_on_what_else_is_on_it(zones, tmp_path):
    """The product of the other zone alone, and the same with another one far to the north-west."""
    folder, codes, _ = zones
    mosaic([folder / "e"], tmp_path / "alone.tif", crs="EPSG:32633", tile_size=70)
    far = make_product(tmp_path / "far", codes[0], transform=Affine(10, 0, 261_230, 0, -10, 5_404_570))
    mosaic([folder / "e", far], tmp_path / "both.tif", crs="EPSG:32633", tile_size=90)
    with rasterio.open(tmp_path / "alone.tif") as alone, rasterio.open(tmp_path / "both.tif") as both:
        col, row = (round(value) for value in ~both.transform @ (alone.transform.c, alone.transform.f))
        part = both.read(1)[row : row + alone.height, col : col + alone.width]
        np.testing.assert_array_equal(part, alone.read(1))


def test_a_field_in_two_zones_is_one_polygon(tmp_path):
    """A disk drawn in both zones, cut by the border of the scenes."""
    to_east = Transformer.from_crs(32633, 32632, always_xy=True)
    x, y = to_east.transform(WEST.c, WEST.f)
    corner = Affine(10, 0, round(x, -1) - 2000, 0, -10, round(y, -1) + 300)
    middle = WEST @ (30, 90)
    for name, transform, crs in (("w", WEST, "EPSG:32633"), ("e", corner, "EPSG:32632")):
        cols, rows = np.meshgrid(np.arange(240) + 0.5, np.arange(220) + 0.5)
        px, py = transform @ (cols, rows)
        if crs == "EPSG:32632":
            px, py = Transformer.from_crs(32632, 32633, always_xy=True).transform(px, py)
        disk = np.hypot(px - middle[0], py - middle[1]) < 700
        assert 0.05 < disk.mean() < 0.4
        make_product(tmp_path / "in" / name, np.where(disk, VALUES[2], VALUES[0]).astype(np.uint8), transform=transform,
                     crs=crs)  # fmt: skip
    mosaic([tmp_path / "in"], tmp_path / "m.tif", polygons=tmp_path / "p.parquet", fiboa=lambda _classes: Fiboa("it"))
    mosaic([tmp_path / "in"], tmp_path / "n.tif", polygons=tmp_path / "p.gpkg")
    frame = gpd.read_file(tmp_path / "p.gpkg")
    fields = frame[frame["class"] == VALUES[2]].sort_values("area_ha")
    assert fields["area_ha"].iloc[-1] == pytest.approx(np.pi * 700**2 / 1e4, rel=0.01)
    # Pixels of the rim may stand alone.
    assert fields["area_ha"].iloc[:-1].sum() < 0.1
    assert shapely.is_valid(frame.geometry.to_numpy()).all()


def test_lattices_half_a_pixel_apart_resolutions_and_turned_rasters_are_resampled(tmp_path):
    """The most pixels' lattice stays; the others come by nearest pixels, from wherever they are."""
    codes = blobs(60, 80, side=6)
    small, later = codes[:20, :30], {"taken": TAKEN[1]}
    make_product(tmp_path / "in/a", codes, transform=NORTH_UP * Affine.translation(0.5, 0.5), taken=TAKEN[0])
    make_product(tmp_path / "in/b", small, transform=NORTH_UP * Affine.translation(100.3, 0.25), **later)
    upward = Affine(10, 0, 501_005, 0, 10, 5_399_595)
    make_product(tmp_path / "in/c", small[::-1], transform=upward, **later)
    fine = Affine(5, 0, 501_005, 0, -5, 5_399_295)
    make_product(tmp_path / "in/d", small.repeat(2, 0).repeat(2, 1), transform=fine, **later)
    made = mosaic([tmp_path / "in"], tmp_path / "m.tif", tile_size=23)
    assert (made.products, made.resampled) == (4, 3)
    found = pixels(tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as file:
        place = file.transform
    assert (place.a, place.e, place.c, place.f % 10) == (10, -10, 500_005, 5)

    def window(x, y, height, width):
        col, row = (round(value) for value in ~place @ (x, y))
        return found[row : row + height, col : col + width]

    np.testing.assert_array_equal(window(500_005, 5_399_995, 60, 80), codes)
    # b is less than half a pixel off: each of its pixels holds the middle of one of the map's.
    np.testing.assert_array_equal(window(501_005, 5_399_995, 20, 30), small)
    np.testing.assert_array_equal(window(501_005, 5_399_795, 20, 30), small)
    np.testing.assert_array_equal(window(501_005, 5_399_295, 20, 30), small)
    mosaic([tmp_path / "in/d"], tmp_path / "d.tif", resolution=10)
    assert pixels(tmp_path / "d.tif").shape in ((20, 31), (21, 31))


def test_a_map_in_degrees_and_in_an_equal_area_projection(tmp_path):
    codes = blobs(60, 80, side=10)
    make_product(tmp_path / "in/a", codes)
    for crs in ("EPSG:4326", "EPSG:3035"):
        mosaic([tmp_path / "in"], tmp_path / "m.tif", crs=crs, polygons=tmp_path / "p.parquet", overwrite=True)
        frame = gpd.read_parquet(tmp_path / "p.parquet")
        assert frame.crs == crs
        assert frame["area_ha"].sum() == pytest.approx((codes != 255).sum() / 100, rel=0.02)


def test_unfinished_products_are_left_out_and_said(tmp_path, caplog):
    for name in ("a", "b"):
        make_product(tmp_path / "in" / name, blobs(20, 20))
    hidden = tmp_path / "in/b/.item.json.unfinished"
    hidden.mkdir()
    (hidden / "request.json").write_text(json.dumps({"request": "x", "outputs": []}))
    assert mosaic([tmp_path / "in"], tmp_path / "m.tif").products == 1
    assert "1 unfinished products" in caplog.text


def test_what_cannot_be_one_map_is_one_sentence(tmp_path):
    codes = blobs(20, 20)
    one = make_product(tmp_path / "in/a", codes)
    other = make_product(tmp_path / "other/b", codes, classes=(LandClass(10, "ice", "#ffffff"),))
    (tmp_path / "empty").mkdir()
    out = tmp_path / "m.tif"
    with pytest.raises(OutputError, match=r"empty holds no product: neither item\.json"):
        mosaic([tmp_path / "empty"], out)
    with pytest.raises(LabelError, match="class 10 is 'water' in a and 'ice' in b"):
        mosaic([one, other], out)
    with pytest.raises(SceneError, match="'EPSG:nowhere' is no CRS"):
        mosaic([one], out, crs="EPSG:nowhere")
    with pytest.raises(OutputError, match="looks at the pixels of all"):
        mosaic([one], tmp_path / "m.vrt")
    with pytest.raises(OutputError, match="a lies on another grid"):
        mosaic([one], tmp_path / "m.vrt", prefer="newest", crs="EPSG:32632")
    with pytest.raises(OutputError, match=r"ends in none of \.tif"):
        mosaic([one], tmp_path / "m.png")
    (one / "confidence.tif").unlink()
    with pytest.raises(OutputError, match="a holds no whole product"):
        mosaic([one], out)
    assert not list(tmp_path.glob("m.*"))
    assert not list(tmp_path.glob(".*"))
    nowhere = make_product(tmp_path / "in/c", codes, crs=None)
    with pytest.raises(SceneError, match="has no CRS, so it has no place on a map"):
        mosaic([nowhere], out)


def test_a_finished_map_is_not_replaced_unless_asked(tmp_path):
    one = make_product(tmp_path / "in/a", blobs(20, 20))
    mosaic([one], tmp_path / "m.tif")
    with pytest.raises(OutputError, match="exists"):
        mosaic([one], tmp_path / "m.tif")
    mosaic([one], tmp_path / "m.tif", overwrite=True)
    (tmp_path / "p.gpkg").write_text("in the way")
    with pytest.raises(OutputError, match=r"p\.gpkg exists"):
        mosaic([one], tmp_path / "n.tif", polygons=tmp_path / "p.gpkg")
