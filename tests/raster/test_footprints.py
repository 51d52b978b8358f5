"""Footprints lie where rasterio says that the pixels do, wind as GeoJSON wants, and are cut at the antimeridian."""

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.warp import transform_bounds

from geounet.grid import Window
from geounet.raster.footprints import footprint
from geounet.raster.scene import load_scene


def scene_at(write_scene, path, **profile):
    return load_scene(write_scene(path, np.ones((30, 40), np.uint8), **profile))


@pytest.mark.parametrize(
    "transform", [None, Affine(10, 0, 480_000, 0, 10, 5_430_000), Affine(7, 7, 480_000, 7, -7, 5e6)]
)
def test_a_windows_footprint_is_where_rasterio_places_it(tmp_path, write_scene, transform):
    """North-up, south-up and rotated; always counter-clockwise."""
    profile = {} if transform is None else {"transform": transform}
    scene = scene_at(write_scene, tmp_path / "s.tif", **profile)
    window = Window(5, 7, 11, 13)
    ground = footprint(scene, window)
    corners = [scene.transform @ at for at in ((7, 5), (20, 5), (7, 16), (20, 16))]
    xs, ys = zip(*corners, strict=True)
    wanted = transform_bounds(scene.crs, "EPSG:4326", min(xs), min(ys), max(xs), max(ys))
    assert ground.bounds == pytest.approx(wanted, abs=1e-5)
    assert ground.exterior.is_ccw
    assert ground.is_valid


def test_across_the_antimeridian_it_is_in_two_parts(tmp_path, write_scene):
    """60 km on both sides of 180 degrees in UTM zone 1: both parts are narrow, and none goes around the globe."""
    transform = Affine(3000, 0, 190_000, 0, -3000, 5_500_000)
    scene = scene_at(write_scene, tmp_path / "s.tif", crs="EPSG:32601", transform=transform)
    ground = footprint(scene)
    west, east = sorted(shapely.get_parts(ground), key=lambda part: -part.bounds[0])
    assert west.bounds[2] == 180
    assert east.bounds[0] == -180
    assert 0 < west.bounds[2] - west.bounds[0] < 2
    assert 0 < east.bounds[2] - east.bounds[0] < 2
    assert all(part.exterior.is_ccw and part.is_valid for part in (west, east))
    assert len(shapely.get_parts(footprint(scene, Window(0, 35, 5, 5)))) == 1


def test_without_a_place_there_is_none(tmp_path, write_scene):
    plain = scene_at(write_scene, tmp_path / "p.tif", crs=None, transform=None)
    assert footprint(plain) is None
    assert footprint(scene_at(write_scene, tmp_path / "q.tif"), Window(0, 0, 0, 5)) is None
    beyond = Affine(10, 0, 1e12, 0, -10, 1e12)
    assert footprint(scene_at(write_scene, tmp_path / "r.tif", transform=beyond)) is None


def test_a_small_footprint_needs_only_its_corners_and_a_large_one_follows_its_edges(tmp_path, write_scene):
    """Of 300 m and of 1200 km: an edge of the latter leaves the straight line between its corners by many pixels."""
    small = footprint(scene_at(write_scene, tmp_path / "s.tif"))
    assert len(small.exterior.coords) == 5
    wide = Affine(30_000, 0, 400_000, 0, -30_000, 7_000_000)
    large = footprint(scene_at(write_scene, tmp_path / "l.tif", transform=wide))
    assert len(large.exterior.coords) > 12
