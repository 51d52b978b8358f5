"""The page holds the numbers, stands alone, and opens in a browser without a complaint."""

import base64
import io
import re

import geopandas
import numpy as np
import pytest
from browser import BROWSER, console, parsed
from PIL import Image
from shapely.geometry import Point

from geounet.classes import LandClass
from geounet.metrics.assessment import Asked
from geounet.metrics.sides import Reading
from geounet.pages.evaluation import page, write_page
from geounet.tasks.evaluate import evaluate

CLASSES = (
    LandClass(1, "water & <ice>", "#2b7bba"),
    LandClass(2, "forest", "#1c6b3c"),
    LandClass(3, "nowhere", "#999999"),
)


@pytest.fixture
def sides(tmp_path, write_scene):
    rng = np.random.default_rng(2)
    reference = np.ones((60, 90), np.uint8)
    reference[10:40, 20:60] = 2
    predicted = np.where(rng.random((60, 90)) < 0.9, reference, 3 - reference).astype(np.uint8)
    predicted[:, 80:], reference[:, 85:] = 255, 255
    return [write_scene(tmp_path / f"{n}.tif", side, nodata=255) for n, side in (("p", predicted), ("r", reference))]


@pytest.fixture
def full(sides):
    """Everything that can be asked for."""
    asked = Asked(areas=True, objects=True, seams=16, picture=1000)
    return evaluate(*sides, asked, reading=Reading(CLASSES), command="geounet evaluate 'a b' <c>")


def test_the_page_stands_alone_and_runs_nothing(full):
    checker = parsed(page(full))
    assert not {"script", "iframe", "object", "form"} & set(checker.tags)
    assert checker.links
    assert all(link.startswith("data:") for link in checker.links)
    assert not re.search(r"url\(|@import", page(full))


def test_every_part_has_its_section_and_names_are_escaped(full):
    checker = parsed(page(full))
    text = " ".join(checker.texts)
    for head in ("Where they differ", "Classes", "Confusion matrix", "stratified estimation", "Objects", "Seams"):
        assert head in text
    assert "water & <ice>" in text
    assert "geounet evaluate 'a b' <c>" in text
    assert f"{full.evaluation.accuracy:.3f}" in text
    assert f"{full.boundary.iou[0]:.3f}" in text
    assert f"{full.objects.overall.f1[0]:.3f}" in text
    assert "nan" not in text.lower().replace("nano", "")
    for count in full.evaluation.matrix.ravel():
        assert f"{count:,}" in checker.texts


def test_the_pictures_show_both_sides_and_where_they_differ(full):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page(full))
    predicted, reference, agreement = (np.array(Image.open(io.BytesIO(base64.b64decode(code)))) for code in found)
    picture = full.picture
    assert (reference[picture.reference == 2] == (*CLASSES[1].rgb, 255)).all()
    assert (predicted[picture.predicted == 255][:, 3] == 0).all()
    both = picture.predicted != 255
    differ = both & (picture.predicted != picture.reference)
    assert (agreement[differ] == (213, 94, 0, 255)).all()
    assert not (agreement[both & ~differ] == (213, 94, 0, 255)).all(axis=-1).any()
    assert (agreement[~both][:, 3] == 0).all()


def test_the_matrix_is_darkest_where_a_row_lies(full):
    shades = re.findall(
        r'<td class="(hit|miss)" style="background:rgba\((\d+),\d+,\d+,([\d.]+)\)">([\d.]+)%', page(full)
    )
    assert {red for kind, red, *_ in shades if kind == "hit"} == {"0"}
    assert {red for kind, red, *_ in shades if kind == "miss"} == {"213"}
    assert all(float(shade) == pytest.approx(float(share) / 100 * 0.55, abs=1e-3) for *_, shade, share in shades)


def test_a_page_of_points_has_no_pictures_and_says_what_was_left_out(tmp_path, sides):
    shapes = [Point(480_005 + 10 * col, 5_430_000 - 155) for col in (2, 30, 31, 85)]
    frame = geopandas.GeoDataFrame({"class": [1, 2, 2, 1]}, geometry=shapes, crs="EPSG:32633")
    frame.to_file(tmp_path / "r.geojson")
    text = page(evaluate(sides[0], tmp_path / "r.geojson", Asked(picture=100), reading=Reading(CLASSES)))
    assert parsed(text)
    assert "<img" not in text
    assert "1 points were left out" in text
    assert "3 points that have a class on both sides" in text


@pytest.mark.server
@pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_it_without_a_complaint_and_fetches_nothing(tmp_path, full):
    file = tmp_path / "page.html"
    write_page(full, file)
    assert console(file) == []
    shown = np.array(Image.open(file.with_suffix(".png")).convert("RGB"))
    assert shown.shape == (3000, 1200, 3)
    # The reference's forest, in its colour, is on the page.
    assert (shown == CLASSES[1].rgb).all(axis=-1).sum() > 1000
    # The page itself forbids what it must not do, so that the browser complains of it.
    broken = tmp_path / "broken.html"
    broken.write_text(page(full).replace("<h1>", '<img src="https://example.org/x.png"><script>1</script><h1>'))
    assert len(console(broken)) == 2
