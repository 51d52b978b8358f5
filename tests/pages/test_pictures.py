"""A preview shows each pixel in its place and colour, outlines on the class edges, and text that is not cut off."""

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
from affine import Affine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text
from shapely.geometry import MultiPolygon, Polygon, box, shape

from geounet.classes import LandClass
from geounet.errors import OutputError, SceneError
from geounet.pages import pictures as report
from geounet.pages.pictures import (
    LegendRow,
    Panel,
    color_bands,
    draw,
    legend_rows,
    outlines,
    paint_classes,
    preview,
    scale_bar_metres,
    stretch,
)

NORTH_UP = Affine(10, 0, 480_000, 0, -10, 5_430_000)
SOUTH_UP = Affine(10, 0, 480_000, 0, 10, 5_429_000)
ROTATED = NORTH_UP @ Affine.rotation(30)
CLASSES = (LandClass(10, "water", "#2b7bba"), LandClass(20, "forest", "#1b6e3a"), LandClass(40, "cereal", "#e8c547"))
CODES = np.array([[10, 10, 20, 20, 20], [10, 40, 40, 20, 255], [40, 40, 40, 10, 255]], np.uint8)


def write(path, values, transform=NORTH_UP, crs="EPSG:32633", nodata=0, names=()):
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), height=values.shape[1], width=values.shape[2], dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(values)
        file.descriptions = names or file.descriptions
    return path


def rendered(figure):
    """The picture as `(height, width, 3)`, 0 to 255."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def color_at(picture, axes, col, row):
    """What is drawn at a place given in the raster's pixels."""
    x, y = axes.transData.transform((col, row))
    return tuple(picture[round(picture.shape[0] - 1 - y), round(x)].tolist())


def polygons_of(codes, transform, crs="EPSG:32633"):
    found = [shape(ring) for ring, _ in rasterio.features.shapes(codes, codes != 255, transform=transform)]
    return geopandas.GeoDataFrame(geometry=found, crs="EPSG:32633").to_crs(crs)


def drawn(monkeypatch, *args, **more):
    """The figure that `preview` saves."""
    kept = []
    monkeypatch.setattr(report, "draw", lambda *given: kept.append(draw(*given)) or kept[0])
    preview(*args, **more)
    return kept[0]


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (("B02", "B03", "B04", "B08"), (2, 1, 0)),
        (("nir", "Red", "Green", "Blue"), (1, 2, 3)),
        (("band_1", "band_2", "band_3", "band_4"), (0, 1, 2)),
        (("red", "nir"), (0,)),
        (("height",), (0,)),
    ],
)
def test_true_color_is_known_by_name(names, bands):
    assert color_bands(names) == bands


def test_the_stretch_leaves_invalid_pixels_out_of_the_percentiles_and_transparent():
    values = np.arange(1, 101, dtype=np.float32).reshape(1, 10, 10)
    values[0, 0, 0] = 1e9
    valid = values[0] < 1e9
    image = stretch(values, valid)
    assert image[0, 0].tolist() == [0, 0, 0, 0]
    assert image[9, 9].tolist() == [255, 255, 255, 255]
    low, high = np.percentile(np.arange(2, 101), (2, 98))
    assert abs(int(image[5, 0, 0]) - (51 - low) / (high - low) * 255) <= 0.5


def test_a_constant_band_and_an_empty_scene_can_be_stretched():
    assert stretch(np.full((3, 2, 2), 7), np.ones((2, 2), bool))[..., 3].min() == 255
    assert not stretch(np.full((3, 2, 2), np.nan), np.zeros((2, 2), bool)).any()


def test_classes_have_their_colors_and_strangers_are_grey():
    image = paint_classes(np.array([[10, 40, 99, 255]]), np.array([[True, True, True, False]]), CLASSES)
    assert image[0].tolist() == [[43, 123, 186, 255], [232, 197, 71, 255], [128, 128, 128, 255], [0, 0, 0, 0]]


def test_the_legend_shares_out_the_valid_pixels():
    rows = legend_rows(CODES, CODES != 255, CLASSES)
    assert [(row.name, round(row.share * 13)) for row in rows] == [("water", 4), ("forest", 4), ("cereal", 5)]
    assert legend_rows(CODES, CODES != 255, CLASSES[:1])[1] == LegendRow("other", "#808080", pytest.approx(9 / 13))
    assert legend_rows(CODES, np.zeros_like(CODES, bool), CLASSES)[0].share == 0


def test_a_legend_of_very_many_classes_keeps_the_large_ones():
    classes = tuple(LandClass(value, f"c{value}", "#000000") for value in range(60))
    codes = np.repeat(np.arange(60), np.arange(60))[None]
    rows = legend_rows(codes, np.ones_like(codes, bool), classes)
    assert [row.name for row in rows[:2]] == ["c59", "c58"]
    assert rows[-1].name == "38 smaller ones"
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_outlines_are_all_rings_in_pixels():
    holed = Polygon([(0, 0), (4, 0), (4, 4), (0, 4)], [[(1, 1), (2, 1), (2, 2), (1, 2)]])
    there = (
        [tuple(ROTATED * point) for point in holed.exterior.coords],
        [tuple(ROTATED * p) for p in holed.interiors[0].coords],
    )
    frame = geopandas.GeoDataFrame(geometry=[MultiPolygon([Polygon(there[0], [there[1]])]), None])
    rings = outlines(frame, ROTATED)
    assert len(rings) == 2
    assert rings[0] == pytest.approx(np.array(holed.exterior.coords), abs=1e-6)
    assert rings[1] == pytest.approx(np.array(holed.interiors[0].coords), abs=1e-6)
    assert outlines(frame[1:], ROTATED) == []


@pytest.mark.parametrize(("across", "bar"), [(2880, 500), (400, 100), (8.1, 2), (109_800, 20_000), (0.4, 0.1)])
def test_the_scale_bar_is_a_round_number_within_a_quarter(across, bar):
    assert scale_bar_metres(across) == pytest.approx(bar)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED], ids=["north-up", "south-up", "rotated"])
def test_pixels_and_outlines_lie_where_they_belong(tmp_path, monkeypatch, transform, crs):
    class_map = write(tmp_path / "c.tif", CODES[None], transform, nodata=255)
    figure = drawn(
        monkeypatch, class_map, class_map, tmp_path / "p.png", CLASSES, polygons_of(CODES, transform, crs), "t"
    )
    picture, axes = rendered(figure), figure.axes[1]
    colors = {item.value: item.rgb for item in CLASSES} | {255: (255, 255, 255)}
    for (row, col), code in np.ndenumerate(CODES):
        assert color_at(picture, axes, col + 0.5, row + 0.5) == colors[code]
    for row, col in np.argwhere(CODES[:, 1:] != CODES[:, :-1]):
        edge = [color_at(picture, axes, col + 1 + shift / 400, row + 0.4) for shift in (-2, -1, 0, 1, 2)]
        assert min(sum(color) for color in edge) < 250, (row, col)
    for row, col in np.argwhere(CODES[1:] == CODES[:-1]):
        assert color_at(picture, axes, col + 0.4, row + 1) == colors[CODES[row, col]]


def test_north_is_up_and_west_is_left(tmp_path, monkeypatch):
    for transform, first_row_is_up in ((NORTH_UP, True), (SOUTH_UP, False)):
        class_map = write(tmp_path / "c.tif", CODES[None], transform, nodata=255)
        axes = drawn(monkeypatch, class_map, class_map, tmp_path / "p.png", CLASSES).axes[1]
        assert (axes.transData.transform((0, 0))[1] > axes.transData.transform((0, 3))[1]) == first_row_is_up


def test_a_picture_without_a_crs_is_drawn_as_it_is_stored_and_has_no_scale_bar(tmp_path, monkeypatch):
    path = write(tmp_path / "c.tif", CODES[None], Affine.identity(), None, nodata=255)
    axes = drawn(monkeypatch, path, path, tmp_path / "p.png", CLASSES).axes[1]
    assert axes.transData.transform((0, 0))[1] > axes.transData.transform((0, 3))[1]
    assert not axes.texts


def test_the_png_has_the_title_the_scene_and_a_sensible_size(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    scene = write(
        tmp_path / "s.tif", rng.integers(1, 3000, (4, 40, 60), dtype=np.uint16), names=("B02", "B03", "B04", "B08")
    )
    codes = write(tmp_path / "c.tif", np.full((1, 40, 60), 10, np.uint8), nodata=255)
    figure = drawn(monkeypatch, scene, codes, tmp_path / "p.png", CLASSES, title="Spring")
    assert [text.get_text() for text in figure.texts] == ["Spring"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["100 m"]
    height, width = imread(tmp_path / "p.png").shape[:2]
    assert 1500 < width < 1700
    assert 450 < height < 1000


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (30, 40)])
@pytest.mark.parametrize("count", [1, 60])
def test_no_text_is_cut_off_or_lies_on_another(shape, count):
    panel = Panel(np.zeros((*shape, 4), np.uint8), *shape, name="Class map")
    rows = [
        LegendRow(f"a class with a very long name, $number_{number}$", "#ff0000", 0.5)
        for number in range(min(count, 23))
    ]
    figure = draw((panel, panel), [], rows, "A title that never ends " * 20, 10.0)
    picture = rendered(figure)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.findobj(Text) if text.get_text().strip()]
    assert len(boxes) >= 5
    for extent in boxes:
        assert 0 <= extent.x0 < extent.x1 <= picture.shape[1]
        assert 0 <= extent.y0 < extent.y1 <= picture.shape[0]
    for number, extent in enumerate(boxes):
        assert not any(extent.overlaps(other) for other in boxes[number + 1 :])


def test_large_scenes_are_read_decimated(tmp_path, monkeypatch):
    asked = []
    read = report.read_overview
    monkeypatch.setattr(report, "read_overview", lambda scene, *size: asked.append(size) or read(scene, *size))
    codes = np.full((1, 1500, 3000), 10, np.uint8)
    codes[:, :, 1500:] = 20
    path = write(tmp_path / "c.tif", codes, nodata=255)
    halves = geopandas.GeoDataFrame(geometry=[box(480_000, 5_415_000, 495_000, 5_430_000)], crs="EPSG:32633")
    figure = drawn(monkeypatch, path, path, tmp_path / "p.png", CLASSES, halves)
    assert asked == [(320, 640)] * 2
    picture, axes = rendered(figure), figure.axes[1]
    assert color_at(picture, axes, 1400, 700) == CLASSES[0].rgb
    assert color_at(picture, axes, 1600, 700) == CLASSES[1].rgb
    assert sum(color_at(picture, axes, 1500, 700)) < 250


def test_all_nodata_can_be_pictured(tmp_path):
    path = write(tmp_path / "c.tif", np.full((1, 4, 6), 255, np.uint8), nodata=255)
    preview(path, path, tmp_path / "p.png", CLASSES)
    assert imread(tmp_path / "p.png").shape[1] > 1500


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    path = write(tmp_path / "c.tif", CODES[None], nodata=255)
    with pytest.raises(SceneError, match="does not exist"):
        preview(tmp_path / "none.tif", path, tmp_path / "p.png", CLASSES)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        preview(path, path, tmp_path / "file" / "p.png", CLASSES)
