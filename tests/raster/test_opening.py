"""Scenes that lie by control points or coefficients, or whose bands are of several types, are read rightly or named."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from placed import corner_points, plane_rpcs, write_placed

from geounet.errors import SceneError
from geounet.grid import Grid
from geounet.raster.opening import Opening
from geounet.raster.placement import bounds_of
from geounet.raster.remarks import remarks_on
from geounet.raster.samples import read_sample
from geounet.raster.scene import load_scene, opened, read, read_stored

HEIGHT, WIDTH = 96, 128


def remarks_of(scene):
    return remarks_on(scene, read_sample(scene))


def values(bands=2):
    draw = np.random.default_rng(2).integers(300, 4000, (bands, HEIGHT // 8, WIDTH // 8))
    return np.kron(draw, np.ones((1, 8, 8), int)).astype(np.uint16)


@pytest.fixture
def by_points(tmp_path):
    """A turned scene that lies by four ground control points."""
    points = corner_points(HEIGHT, WIDTH, lambda row, col: (15 + col * 1e-4 + row * 1e-5, 46 - row * 1e-4))
    return write_placed(tmp_path / "gcps.tif", values(), gcps=points, crs="EPSG:4326")


@pytest.fixture
def by_coefficients(tmp_path):
    """A scene that lies by RPCs of a plane: columns to the east, rows to the south."""
    rpcs = plane_rpcs(HEIGHT, WIDTH, latitude=46, longitude=15, half=(0.01, 0.01))
    return write_placed(tmp_path / "rpc.tif", values(), rpcs=rpcs)


def source_pixels(kind, scene):
    """Row and column in the file, as real numbers, of each pixel's centre of the placed scene: the inverse."""
    rows, cols = np.mgrid[: scene.height, : scene.width] + 0.5
    lon, lat = scene.transform @ (cols, rows)
    if kind == "gcp":
        row = (46 - lat) / 1e-4
        return row, (lon - 15 - row * 1e-5) / 1e-4
    # Coefficients count from the centre of the first pixel.
    return (46 - lat) / 0.01 * HEIGHT / 2 + HEIGHT / 2 + 0.5, (lon - 15) / 0.01 * WIDTH / 2 + WIDTH / 2 + 0.5


@pytest.mark.parametrize(("kind", "what"), [("gcp", "4 ground control points"), ("rpc", "RPCs")])
def test_a_place_that_is_not_used_is_named_and_used_when_asked_for(by_points, by_coefficients, kind, what):
    """By nearest neighbour, with holes where the scene does not reach."""
    path = by_points if kind == "gcp" else by_coefficients
    plain = load_scene(path)
    assert (plain.crs, plain.height, plain.width) == (None, HEIGHT, WIDTH)
    (remark,) = remarks_of(plain)
    assert f"its {what} are not used" in remark.text
    assert f"--georeference {kind}" in remark.text
    scene = load_scene(path, opening=Opening(georeference=kind))
    assert scene.crs.to_epsg() == 4326
    left, _bottom, right, top = bounds_of(scene)
    assert 14.98 <= left < right < 15.02
    assert top == pytest.approx(46 if kind == "gcp" else 46.01, abs=1e-3)
    with opened(scene) as dataset:
        stored, valid = read_stored(dataset, scene, scene.extent)
        rows, cols = source_pixels(kind, scene)
        inside = (rows >= 0) & (rows < HEIGHT) & (cols >= 0) & (cols < WIDTH)
        clear = np.minimum(*(np.abs(at - np.round(at)) for at in (rows, cols))) > 1e-3
        assert clear.mean() > 0.9, "not on the edge between two source pixels"
        assert np.array_equal(valid[clear], inside[clear])
        seen = clear & inside
        expected = values()[:, rows[seen].astype(int), cols[seen].astype(int)]
        assert np.array_equal(stored[:, seen], expected)
        # No window sees other pixels than the whole.
        for tile in Grid(scene.extent, 37, 41).tiles():
            part, holds = read_stored(dataset, scene, tile.core)
            where = tile.core.within(scene.extent)
            assert np.array_equal(part, stored[(slice(None), *where)])
            assert np.array_equal(holds, valid[where])
    if kind == "gcp":
        assert 0.7 < valid.mean() < 1, "a turned scene has empty corners"


def test_a_raster_that_has_nothing_to_be_placed_by_is_refused(tmp_path, write_scene, by_points):
    path = write_scene(tmp_path / "s.tif", values())
    for kind, what in (("gcp", "ground control points"), ("rpc", "RPCs")):
        with pytest.raises(SceneError, match=f"has no {what}; leave --georeference out"):
            load_scene(path, opening=Opening(georeference=kind))
    with pytest.raises(SceneError, match="has no RPCs"):
        load_scene(by_points, opening=Opening(georeference="rpc"))
    with pytest.raises(ValueError, match="gcp or rpc, not 'tps'"):
        Opening(georeference="tps")
    assert not remarks_of(load_scene(path))


def test_bands_of_several_types_are_read_as_the_type_that_holds_them_all(tmp_path, write_scene):
    """A VRT of uint8 and float32 bands, each with its own nodata, in windows and whole."""
    red = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    index = np.random.default_rng(4).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
    index[10:20, 30:50] = -9999
    one = write_scene(tmp_path / "red.tif", red)
    two = write_scene(tmp_path / "index.tif", index, nodata=-9999)
    bands = [("Byte", "", one), ("Float32", "<NoDataValue>-9999</NoDataValue>", two)]
    text = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}">{nodata}<SimpleSource><SourceFilename>{path}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for number, (kind, nodata, path) in enumerate(bands, 1)
    )
    mixed = tmp_path / "mixed.vrt"
    mixed.write_text(f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">{text}</VRTDataset>')
    scene = load_scene(mixed)
    assert (scene.dtype, scene.mixed) == ("float32", True)
    with opened(scene) as dataset:
        array, valid = read(dataset, scene, scene.extent)
        assert np.array_equal(array[0], red)
        assert np.array_equal(array[1], index)
        assert np.array_equal(valid, index != -9999)
        for tile in Grid(scene.extent, 33, 50).tiles():
            part, _ = read(dataset, scene, tile.core)
            assert np.array_equal(part, array[(slice(None), *tile.core.within(scene.extent))])


def test_a_scene_without_transform_and_without_points_has_no_remark(tmp_path):
    path = tmp_path / "plain.png"
    with rasterio.open(path, "w", driver="PNG", width=20, height=10, count=1, dtype="uint8") as file:
        file.write(np.full((1, 10, 20), 7, np.uint8))
    assert load_scene(path).transform == Affine.identity()
    assert not remarks_of(load_scene(path))
