"""Alerts arrive once: whatever fails on the way, and at whatever moment the job dies."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys

import geopandas as gpd
import numpy as np
import pytest
from alerts_server import receiver
from shapely.geometry import box

import geounet.alerts.delivery
from geounet.alerts.delivery import DELIVERY, SIGNATURE, Outbox, channels_of
from geounet.alerts.rules import due
from geounet.changes.events import event_id
from geounet.errors import GeounetError
from geounet.jobs.job import Alerts, Rule


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Short pauses."""
    monkeypatch.setattr(geounet.alerts.delivery, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(geounet.alerts.delivery, "_LONGEST_WAIT", 0.02)


def events(*rows):
    """Events from (from, to, hectares, status, column): squares side by side in UTM."""
    columns = {
        "id": [event_id(old, new, 0, place) for old, new, _, _, place in rows],
        "from": [row[0] for row in rows], "to": [row[1] for row in rows],
        "first_seen": ["2024-01-01"] * len(rows), "confirmed_on": ["2024-02-01"] * len(rows),
        "last_seen": ["2024-03-01"] * len(rows), "area_ha": [row[2] for row in rows],
        "confidence": [0.9] * len(rows), "status": [row[3] for row in rows],
    }  # fmt: skip
    shapes = [box(5e5 + 1000 * row[4], 5e6, 5e5 + 1000 * row[4] + 500, 5e6 + 500) for row in rows]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32633")


SECRET = "HOOK_SECRET"  # noqa: S105 - the name of a variable
FOUR = events(
    ("forest", "bare", 2.0, "confirmed", 0), ("forest", "bare", 0.3, "confirmed", 1),
    ("water", "bare", 5.0, "provisional", 2), ("forest", "town", 7.0, "confirmed", 3),
)  # fmt: skip


def at(place):
    return place


def asked(rules, told=None, table=FOUR):
    return [alert.content["event"]["area_ha"] for alert in due(table, rules, "job", at, told or {})]


def test_rules_choose_by_status_size_classes_place_number_and_total(tmp_path):
    assert asked([Rule()]) == [2.0, 0.3, 7.0]
    assert asked([Rule(min_area=0.5)]) == [2.0, 7.0]
    assert asked([Rule(before="forest", after=["town", "bare"], status="confirmed")]) == [2.0, 0.3, 7.0]
    assert asked([Rule(status="provisional")]) == [5.0]
    assert asked([Rule(min_count=4)]) == []
    assert asked([Rule(min_total=9.3)]) == [2.0, 0.3, 7.0]
    assert asked([Rule(min_total=9.4)]) == []
    area = gpd.GeoDataFrame(geometry=[box(5.03e5, 5e6, 5.04e5, 5.001e6)], crs="EPSG:32633").to_crs(4326)
    area.to_file(tmp_path / "area.gpkg")
    assert asked([Rule(within=str(tmp_path / "area.gpkg"))]) == [7.0]
    assert asked([Rule(name="a", after="town"), Rule(name="b", after="town")]) == [7.0, 7.0]


def test_an_event_is_told_once_even_under_another_id(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.add(due(FOUR, [Rule()], "job", at, outbox.told))
    assert due(FOUR, [Rule()], "job", at, Outbox(tmp_path).told) == []
    assert len(due(FOUR, [Rule(name="other")], "job", at, Outbox(tmp_path).told)) == 3
    renamed = FOUR.assign(id=["x", "y", "z", "w"])
    assert due(renamed, [Rule()], "job", at, Outbox(tmp_path).told) == []
    elsewhere = renamed.set_geometry(renamed.translate(0, 5000))
    assert len(due(elsewhere, [Rule()], "job", at, Outbox(tmp_path).told)) == 3


def sent(folder, alerts, table=FOUR):
    outbox = Outbox(folder)
    outbox.add(due(table, [Rule()], "job", at, outbox.told))
    return outbox.send(channels_of(alerts, at))


def test_a_file_gets_a_line_for_each_once(tmp_path):
    path = tmp_path / "sub/alerts.jsonl"
    alerts = Alerts(file=str(path))
    done = sent(tmp_path, alerts)
    assert (done.sent, done.waiting, done.failures) == (3, 0, ())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["event"]["area_ha"] for line in lines} == {2.0, 0.3, 7.0}
    assert lines[0]["geometry"]["type"] == "Polygon"
    assert -180 <= lines[0]["bbox"][0] <= 180
    sent(tmp_path, alerts)
    assert len(path.read_text().splitlines()) == 3


def test_dead_between_writing_and_noting_the_line_is_not_written_twice(tmp_path, monkeypatch):
    path = tmp_path / "alerts.jsonl"
    real, calls = geounet.alerts.delivery.atomic, []

    def failing(place):
        calls.append(place)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(place)

    # Three into the outbox and the list, then the first note.
    monkeypatch.setattr(geounet.alerts.delivery, "atomic", failing)
    with pytest.raises(KeyboardInterrupt):
        sent(tmp_path, Alerts(file=str(path)))
    assert len(path.read_text().splitlines()) == 1
    with path.open("a") as file:
        file.write('{"delivery": "half a li')
    monkeypatch.setattr(geounet.alerts.delivery, "atomic", real)
    done = sent(tmp_path, Alerts(file=str(path)))
    assert done.waiting == 0
    lines = [json.loads(line)["delivery"] for line in path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == 3


def test_a_webhook_that_fails_at_first_gets_each_once_signed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with receiver(503, 429, 500, 200, 503) as server:
        done = sent(tmp_path, Alerts(webhook=server.url, secret_env=SECRET))
        assert (done.sent, done.waiting, done.failures) == (3, 0, ())
        assert len(server.came) == 7
        taken = server.taken
    assert len({headers[DELIVERY] for _, headers in taken}) == 3
    for body, headers in taken:
        assert headers[DELIVERY] == json.loads(body)["delivery"]
        assert headers[SIGNATURE] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        assert headers["Content-Type"] == "application/json"
    kept = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "s3cret" not in kept


def test_a_webhook_that_is_down_gets_them_with_the_next_run(tmp_path):
    """The other ways are not held up, and get nothing twice."""
    path = tmp_path / "alerts.jsonl"
    with receiver(*[503] * 3) as server:
        alerts = Alerts(file=str(path), webhook=server.url, retries=2)
        done = sent(tmp_path, alerts)
        assert (done.sent, done.waiting) == (0, 3)
        assert "after 3 tries: it answers 503" in done.failures[0]
        assert "hidden" not in done.failures[0]
        assert len(path.read_text().splitlines()) == 3
        done = sent(tmp_path, alerts)
        assert (done.sent, done.waiting, done.failures) == (3, 0, ())
        assert len(server.taken) == 3
    assert len(path.read_text().splitlines()) == 3


def test_dead_between_sending_and_noting_the_receiver_knows_the_second_by_its_id(tmp_path, monkeypatch):
    real, calls = geounet.alerts.delivery.atomic, []

    def failing(place):
        calls.append(place)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(place)

    with receiver() as server:
        monkeypatch.setattr(geounet.alerts.delivery, "atomic", failing)
        with pytest.raises(KeyboardInterrupt):
            sent(tmp_path, Alerts(webhook=server.url))
        monkeypatch.setattr(geounet.alerts.delivery, "atomic", real)
        sent(tmp_path, Alerts(webhook=server.url))
        ids = [headers[DELIVERY] for _, headers in server.taken]
    assert (len(ids), len(set(ids))) == (4, 3)


def test_what_a_webhook_refuses_waits_and_is_said(tmp_path):
    with receiver(401) as server:
        done = sent(tmp_path, Alerts(webhook=server.url))
    assert done.waiting == 3
    assert done.failures == (f"webhook http://127.0.0.1:{server.port}/hook refuses: it answers 401",)


def test_a_command_gets_them_on_standard_input(tmp_path):
    code = f"import sys; open({str(tmp_path / 'got')!r}, 'a').write(sys.stdin.read() + chr(10))"
    assert sent(tmp_path / "box", Alerts(command=[sys.executable, "-c", code])).sent == 3
    got = [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]
    assert {one["event"]["status"] for one in got} == {"confirmed"}
    failing = [sys.executable, "-c", "import sys; sys.exit('no paper')"]
    done = sent(tmp_path / "other", Alerts(command=failing))
    assert done.waiting == 3
    assert "ended with 1: no paper" in done.failures[0]
    done = sent(tmp_path / "third", Alerts(command="no-such-command --really"))
    assert done.waiting == 3
    assert "no-such-command" in done.failures[0]


def test_a_secret_that_is_not_there_is_said(monkeypatch):
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    with pytest.raises(GeounetError, match="set the environment variable HOOK_SECRET"):
        channels_of(Alerts(webhook="http://127.0.0.1:9", secret_env=SECRET), at)
    assert np.isfinite(FOUR.area).all()
