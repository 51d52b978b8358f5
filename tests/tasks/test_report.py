"""Pages to look at: what stands in them, and what they do in a browser."""

from __future__ import annotations

import csv
import json
import re
import sys
from urllib.parse import unquote

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from browser import BROWSER, parsed
from levels import learned_model, write_levels
from made import NORTH_UP, VALUES, blobs, levels, make_product
from untrained import CLASSES

from geounet.errors import OutputError
from geounet.formats import reading
from geounet.pages import plane
from geounet.pages.plane import doubtful, gather
from geounet.raster.cog import classes_of
from geounet.raster.scene import load_scene
from geounet.tasks.change import change
from geounet.tasks.monitor import monitor
from geounet.tasks.report import report

in_browser = [pytest.mark.server, pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def batch(tmp_path_factory, write_scene):
    """Three products, one with its scene; what is doubtful in the first is known."""
    folder = tmp_path_factory.mktemp("batch")
    for number in range(3):
        codes = blobs(150 + number, 240, number, 15)
        confidence = np.where(codes == 255, 255, 230).astype(np.uint8)
        confidence[100:130, 30:60] = np.where(codes[100:130, 30:60] == 255, 255, 90)
        make_product(folder / f"p{number}", codes, confidence)
    random = np.random.default_rng(0).integers(0, 3000, (3, 150, 240)).astype(np.uint16)
    write_scene(folder / "p0/p0.tif", random, transform=NORTH_UP)
    return folder


def areas_of(page):
    """The table that can be downloaded."""
    (link,) = [
        link for link in parsed(page.read_text(encoding="utf-8")).links if link and link.startswith("data:text/csv")
    ]
    return list(csv.DictReader(unquote(link.partition(",")[2]).splitlines()))


def test_areas_are_those_of_all_polygons(batch, tmp_path, monkeypatch):
    """In batches of seven, with five that are drawn; the table is the one that can be downloaded."""
    monkeypatch.setattr(reading.read_batches, "__defaults__", (None, 7))
    monkeypatch.setattr(gather, "__defaults__", (5,))
    page = report(batch / "p0", tmp_path / "p.html")
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    rows = areas_of(page)
    found = {int(row["class"]): (int(row["polygons"]), float(row["area_ha"])) for row in rows}
    expected = frame.groupby("class")["area_ha"].agg(["size", "sum"])
    assert {value: count for value, (count, _) in found.items()} == expected["size"].to_dict()
    assert [found[value][1] for value in VALUES] == pytest.approx(expected["sum"].tolist(), abs=1e-4)
    assert f"Of {len(frame)} polygons the 5 largest are drawn" in page.read_text(encoding="utf-8")
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_the_page_of_a_batch_tells_of_each_scene_and_of_failures(batch, tmp_path):
    states = [{"id": f"p{number}", "scene": "", "folder": f"p{number}", "state": "done"} for number in range(3)]
    failed = {"id": "p3", "scene": "", "folder": "p3", "state": "failed", "failure": "it is <damaged>"}
    told = {"scenes": [*states, failed], "state": "finished", "started": "2026-01-01", "updated": "", "seconds": 1.0}
    (batch / "summary.json").write_text(json.dumps(told))
    try:
        page = report(batch, tmp_path / "b.html")
    finally:
        (batch / "summary.json").unlink()
    text = page.read_text(encoding="utf-8")
    parsed(text)
    assert text.count("it is &lt;damaged&gt;") == 2
    assert "script-src" not in text
    frames = [gpd.read_parquet(batch / f"p{number}/polygons.parquet") for number in range(3)]
    assert sum(int(row["polygons"]) for row in areas_of(page)) == sum(map(len, frames))
    again = report(batch, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Scenes" not in again, "products without the state of a run have no table of scenes"


def test_the_page_of_a_change_has_its_matrix(batch, tmp_path):
    change(batch / "p0", batch / "p1", tmp_path / "change")
    text = report(tmp_path / "change", tmp_path / "c.html").read_text(encoding="utf-8")
    with (tmp_path / "change/transitions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 4
    for row in rows:
        assert f"{float(row['hectares']):,.2f}" in text
    assert "Transitions" in text


def test_the_page_of_a_map_counts_fields_that_are_traced_for_it(batch, tmp_path):
    page = report(batch / "p1/classes.tif", tmp_path / "m.html")
    frame = gpd.read_parquet(batch / "p1/polygons.parquet")
    assert sum(int(row["polygons"]) for row in areas_of(page)) == len(frame)


def test_the_page_of_a_job_has_events_timeline_and_runs(tmp_path):
    learned_model(tmp_path / "m.safetensors")
    codes = blobs(60, 80, side=12)
    for number in range(3):
        write_levels(
            tmp_path / f"incoming/s_2024010{number + 1}.tif", codes if number < 1 else np.roll(codes, 12, axis=1)
        )
    (tmp_path / "job.toml").write_text(
        'name = "j"\nout = "state"\n[source]\npath = "incoming"\n[model]\nfile = "m.safetensors"\n'
        '[change]\nconfirm = "1 of 2"\n'
    )
    made = monitor(tmp_path / "job.toml")
    text = report(tmp_path / "state", tmp_path / "j.html").read_text(encoding="utf-8")
    parsed(text)
    events = gpd.read_parquet(tmp_path / "state/events.parquet")
    assert len(events) > 3
    assert all(str(identifier) in text for identifier in events["id"])
    assert "Timeline" in text
    assert f"<b>{made.scenes}</b>" in text


def test_doubtful_places_are_where_the_map_is_least_sure(batch):
    classes, confidence = load_scene(batch / "p0/classes.tif"), load_scene(batch / "p0/confidence.tif")
    places = doubtful(classes, confidence)
    first = places[0].window
    assert first.row <= 115 <= first.row_stop
    assert first.col <= 45 <= first.col_stop
    assert [place.confidence for place in places] == sorted(place.confidence for place in places)
    assert places[0].confidence == pytest.approx(90 / 254, abs=0.01)


def test_large_rasters_are_drawn_in_few_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(plane, "SIDE", 60)
    codes = blobs(150, 240, 0, 15)
    make_product(tmp_path / "p", codes, levels(codes))
    text = report(tmp_path / "p", tmp_path / "p.html").read_text(encoding="utf-8")
    assert "drawn in 38 x 60 of its 150 x 240 pixels" in text


def test_what_is_refused(batch, tmp_path, monkeypatch):
    for source, out, words in [
        (tmp_path / "none", "p.html", "does not exist"),
        (tmp_path, "p.html", "holds no product"),
        (batch / "p0", "p.pdf", "ends in none of"),
        (batch / "p0/polygons.parquet", "p.html", "polygon file"),
    ]:
        with pytest.raises(OutputError, match=words):
            report(source, tmp_path / out)
    report(batch / "p0", tmp_path / "q.html")
    with pytest.raises(OutputError, match="exists"):
        report(batch / "p0", tmp_path / "q.html")
    monkeypatch.setitem(sys.modules, "bokeh.models", None)
    with pytest.raises(OutputError, match=r"geounet\[report\]"):
        report(batch / "p0", tmp_path / "r.html")


# --- in a browser


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Opened:
    """A page in a browser, and all that it had to say or asked for."""

    def __init__(self, chromium, file, **how):
        self.page = chromium.new_page(**{"viewport": {"width": 1100, "height": 1000}, **how})
        self.errors, self.requests = [], []
        self.page.on(
            "console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda asked: self.requests.append(asked.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_timeout(300)

    def place(self, x, y):
        """Where a place of the map is on the screen."""
        script = """([x, y]) => {
          const plot = Bokeh.documents[0].get_model_by_name('plot');
          const frame = document.querySelector('#map').getBoundingClientRect();
          const inner = Object.values(Bokeh.index.roots ? Bokeh.index.roots : Bokeh.index)[0];
          const box = inner.frame.bbox;
          const px = box.left + (x - plot.x_range.start) / (plot.x_range.end - plot.x_range.start) * box.width;
          const py = box.bottom - (y - plot.y_range.start) / (plot.y_range.end - plot.y_range.start) * box.height;
          return [frame.left + px, frame.top + py];
        }"""
        self.page.locator("#map").scroll_into_view_if_needed()
        left, top = self.page.evaluate(script, [x, y])
        return left, top

    def color(self, x, y):
        """The colour of a place of the map."""
        from io import BytesIO

        from PIL import Image

        left, top = self.place(x, y)
        shot = self.page.screenshot(clip={"x": left - 1, "y": top - 1, "width": 3, "height": 3})
        return Image.open(BytesIO(shot)).convert("RGB").getpixel((1, 1))

    def tooltip(self, x, y):
        left, top = self.place(x, y)
        self.page.mouse.move(left - 3, top - 3)
        self.page.mouse.move(left, top)
        self.page.wait_for_timeout(300)
        texts = self.page.locator(".bk-Tooltip, .bk-tooltip, [class*=tooltip]").all_inner_texts()
        return " ".join(texts + self.page.evaluate(SHADOWS))

    def range(self):
        ranges = "(p => [p.x_range.start, p.y_range.start, p.x_range.end, p.y_range.end])"
        return self.page.evaluate(f"{ranges}(Bokeh.documents[0].get_model_by_name('plot'))")


SHADOWS = """() => {
  const texts = [];
  (function walk(node) {
    for (const each of node.querySelectorAll('*')) {
      if (each.shadowRoot) walk(each.shadowRoot);
      if (each.className && String(each.className).includes('bk-tooltip')) texts.push(each.innerText);
    }
  })(document);
  return texts;
}"""


def middle_of(batch, product, value):
    """A place well inside a large blob of a class, and its confidence."""
    from scipy.ndimage import distance_transform_edt

    with rasterio.open(batch / product / "classes.tif") as file:
        codes = file.read(1)
        row, col = np.unravel_index(
            np.argmax(distance_transform_edt(np.pad(codes == value, 1))[1:-1, 1:-1]), codes.shape
        )
        return file.transform @ (col + 0.5, row + 0.5)


@pytest.fixture(scope="module")
def opened(batch, chromium, tmp_path_factory):
    page = report(batch / "p0", tmp_path_factory.mktemp("page") / "p.html")
    return Opened(chromium, page)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.usefixtures("opened")
@pytest.mark.server
@in_browser[1]
def test_hovering_tells_class_area_and_confidence(opened, batch, value):
    x, y = middle_of(batch, "p0", value)
    frame = gpd.read_parquet(batch / "p0/polygons.parquet")
    (field,) = frame[frame.contains(gpd.points_from_xy([x], [y])[0])].itertuples()
    told = opened.tooltip(x, y)
    name = next(item.name for item in CLASSES if item.value == value)
    assert name in told
    assert f"{field.area_ha:,.2f} ha" in told
    assert re.search(r"confidence:?\s*(91|35) %", told), told


@pytest.mark.server
@in_browser[1]
def test_nothing_is_fetched_and_nothing_goes_wrong(opened):
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1


@pytest.mark.server
@in_browser[1]
def test_classes_are_in_their_colours_and_are_switched_off_and_on(opened, batch):
    """The scene shows below a class that is off; the keyboard does it too."""
    page = opened.page
    page.locator("input[data-layer=polygons]").fill("0")
    names = page.locator(".classes label").all_inner_texts()
    assert [name.strip() for name in names] == [item.name for item in classes_of(batch / "p0/classes.tif")]
    for item in CLASSES:
        place = middle_of(batch, "p0", item.value)
        assert opened.color(*place) == item.rgb
        box = page.locator(f"input[data-class='{item.value}']")
        box.focus()
        page.keyboard.press("Space")
        page.wait_for_timeout(200)
        assert opened.color(*place) != item.rgb
        page.keyboard.press("Space")
        page.wait_for_timeout(200)
        assert opened.color(*place) == item.rgb


@pytest.mark.server
@in_browser[1]
def test_layers_have_opacities(opened, batch):
    page, place = opened.page, middle_of(batch, "p0", VALUES[0])
    assert page.locator("input[data-layer]").count() == 4
    page.locator("input[data-layer=polygons]").fill("0")
    page.locator("input[data-layer=confidence]").fill("100")
    page.wait_for_timeout(200)
    red, green, blue = opened.color(*place)
    assert red == green == blue in (230, 90)
    page.locator("input[data-layer=confidence]").fill("0")
    page.locator("input[data-layer=classes]").fill("0")
    page.locator("input[data-layer=scene]").fill("0")
    page.wait_for_timeout(200)
    assert opened.color(*place) == (255, 255, 255)
    for name in ("classes", "scene"):
        page.locator(f"input[data-layer={name}]").fill("100")


@pytest.mark.server
@in_browser[1]
def test_the_view_is_moved_by_buttons_and_by_doubtful_places(opened):
    page = opened.page
    whole = opened.range()
    page.get_by_role("button", name="Zoom in").click()
    closer = opened.range()
    assert closer[2] - closer[0] == pytest.approx((whole[2] - whole[0]) / 2)
    page.locator("div.places button").first.click()
    there = opened.range()
    assert there[0] < 500_450 < there[2]
    assert there[1] < 5_398_850 < there[3]
    page.get_by_role("button", name="Whole map").press("Enter")
    assert opened.range() == pytest.approx(whole)


@pytest.mark.server
@in_browser[1]
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_light_and_dark(batch, chromium, tmp_path, scheme):
    """Nothing is wider than the screen; axes are legible on the page's ground."""
    page = report(batch / "p1", tmp_path / "p.html")
    phone = Opened(chromium, page, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert phone.errors == []
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    label = "Bokeh.documents[0].get_model_by_name('plot').below[0].major_label_text_color"
    color = phone.page.evaluate(f"{label}.value || {label}")
    assert color == {"light": "#5b6870", "dark": "#9aa8b0"}[scheme]
