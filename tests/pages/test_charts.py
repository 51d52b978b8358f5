"""Charts place each value where its axes say, maps each footprint where its degrees say."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
import shapely

from geounet.pages.charts import Ground, Line, footprint_map, line_chart

NAN = math.nan


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314 - our own


def points(path):
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.get("d").rstrip("Z")) if pair]


def axis(root, anchor):
    """From a label's number to its place: labels of the upright axis end where it stands."""
    at = 1 if anchor == "end" else 0
    return {
        float(text.text.replace("\N{MINUS SIGN}", "-")): float(text.get("xy"[at]))
        for text in root.iter("text")
        if text.get("text-anchor") == anchor and re.fullmatch(r"[-\N{MINUS SIGN}\d.e]+", text.text)
    }


def test_values_lie_where_the_axes_say():
    values = (0.25, 1.0, 0.5, 0.75, 0.0)
    root = parsed(line_chart([Line("a", "#123456", values)], label="loss", across="epoch"))
    upright, across = axis(root, "end"), axis(root, "middle")
    low, high = min(upright), max(upright)
    (path,) = [path for path in root.iter("path") if "#123456" in path.get("style")]
    assert len(points(path)) == 5
    for epoch, (value, (x, y)) in enumerate(zip(values, points(path), strict=True), 1):
        share = (value - low) / (high - low)
        assert y == pytest.approx(upright[low] + share * (upright[high] - upright[low]), abs=4.2)
        assert x == pytest.approx(across[epoch], abs=0.1)
    assert path.find("title").text == "a"


def test_a_gap_interrupts_a_curve_and_a_lone_value_is_a_dot():
    root = parsed(line_chart([Line("a", "red", (1, 2, NAN, 3, NAN, 4, 5))], label="x", across="y"))
    (path,) = root.iter("path")
    assert path.get("d").count("M") == 3
    assert len(list(root.iter("circle"))) == 1
    assert len(list(parsed(line_chart([Line("a", "red", (0.5,))], label="x", across="y")).iter("circle"))) == 1


def test_the_marked_epoch_is_at_its_tick_and_nothing_gives_no_chart():
    chart = line_chart([Line("a", "red", (1, 2, 3, 4))], label="x", across="y", mark=3)
    root = parsed(chart)
    (mark,) = [line for line in root.iter("line") if line.get("class") == "at"]
    assert float(mark.get("x1")) == pytest.approx(axis(root, "middle")[3], abs=0.1)
    assert line_chart([Line("a", "red", (NAN, math.inf))], label="x", across="y") == ""


def test_names_are_escaped():
    chart = line_chart([Line("<b>&", "red", (1, 2))], label='"l"', across="<x>")
    assert parsed(chart).find("path").find("title").text == "<b>&"


def test_footprints_lie_where_their_degrees_say_and_true_to_shape():
    """At 60 degrees north a box of 2 by 1 degrees is a square on the ground."""
    box = shapely.box(10, 59.5, 12, 60.5)
    root = parsed(footprint_map([Ground("training", "blue", (box,))]))
    (path,) = [path for path in root.iter("path") if "blue" in path.get("style")]
    xs, ys = zip(*points(path), strict=True)
    assert (max(xs) - min(xs)) / (max(ys) - min(ys)) == pytest.approx(1, abs=0.02)
    # Labels such as "10.5° E" stand at the middle of their line.
    lon = {float(t.text.split("°")[0]): float(t.get("x")) for t in root.iter("text") if t.text.endswith("E")}
    lat = {float(t.text.split("°")[0]): float(t.get("y")) - 4 for t in root.iter("text") if t.text.endswith("N")}
    assert lon[10] == pytest.approx(min(xs), abs=0.2)
    assert lon[12] == pytest.approx(max(xs), abs=0.2)
    degree = max(ys) - min(ys)
    assert lat
    for north, y in lat.items():
        assert y == pytest.approx(max(ys) - (north - 59.5) * degree, abs=0.2)
    assert any(re.fullmatch(r"\d+ k?m", text.text) for text in root.iter("text"))


def test_a_footprint_too_small_to_see_is_ringed_and_no_footprint_is_no_map():
    far = (shapely.box(-60, -30, -59.9, -29.9), shapely.box(100, 50, 140, 70))
    root = parsed(footprint_map([Ground("validation", "red", far)]))
    assert len(list(root.iter("circle"))) == 1
    assert any(text.text.endswith("S") for text in root.iter("text"))
    assert any(text.text.endswith("W") for text in root.iter("text"))
    assert footprint_map([Ground("none", "red", ())]) == ""


@pytest.mark.parametrize("box", [(5, 5, 5.00001, 50), (5, 5, 60, 5.00001), (5, 5, 5, 5.0000001)])
def test_a_map_of_any_shape_has_a_finite_size(box):
    root = parsed(footprint_map([Ground("a", "red", (shapely.box(*box),))]))
    assert "nan" not in ET.tostring(root, "unicode")
    assert float(root.get("viewBox").split()[3]) <= 600
