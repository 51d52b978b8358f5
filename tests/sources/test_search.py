"""Searching a STAC API: a real server of one, and servers that are none, or not well."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from geounet_pipelines.main import cli
from serving import free_port, serving
from untrained import make_model

from geounet.errors import SceneError, UnreachableError
from geounet.sources import search as searching
from geounet.sources.scenes import open_scene, scene_id, scene_time
from geounet.sources.search import Search, search
from geounet.tasks.monitor import monitor

pytestmark = pytest.mark.server


def item_of(number, path):
    """Ten in a row from west to east, a day apart, more and more cloudy; the last does not say how much."""
    west = 10.0 + number
    ring = [[west, 48], [west + 0.5, 48], [west + 0.5, 48.5], [west, 48.5], [west, 48]]
    cloud = {} if number == 9 else {"eo:cloud_cover": 10.0 * number}
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": f"i{number}",
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": [west, 48, west + 0.5, 48.5],
        "properties": {"datetime": f"2024-05-{number + 1:02}T10:00:00Z", **cloud},
        "collection": "even" if number % 2 == 0 else "odd", "links": [],
        "assets": {"data": {"href": str(path), "type": "image/tiff; application=geotiff"}},
    }  # fmt: skip


def collection_of(name):
    extent = {"spatial": {"bbox": [[10, 48, 20, 49]]}, "temporal": {"interval": [["2024-05-01T00:00:00Z", None]]}}
    return {"type": "Collection", "stac_version": "1.0.0", "id": name, "description": name, "license": "other",
            "extent": extent, "links": []}  # fmt: skip


@pytest.fixture(scope="module")
def api(tmp_path_factory, write_scene):
    """A STAC API of ten items in two collections, whose assets are scenes on disk: its folder and URL."""
    folder = tmp_path_factory.mktemp("api")
    items = []
    for number in range(10):
        pixels = np.random.default_rng(number).integers(1, 250, (2, 40, 50 + number)).astype(np.uint8)
        items.append(item_of(number, write_scene(folder / f"s{number}.tif", pixels)))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    for name in ("even", "odd"):
        (folder / f"{name}.json").write_text(json.dumps(collection_of(name)))
    port = free_port()
    words = [Path(sys.executable).with_name("rustac"), "serve", "--addr", f"127.0.0.1:{port}",
             *(folder / name for name in ("even.json", "odd.json", "items.json"))]  # fmt: skip
    with serving(words, port):
        yield folder, f"http://127.0.0.1:{port}"


def ids(names):
    return {name.rpartition("/")[2] for name in names}


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({}, range(10)),
        ({"collections": ("odd",)}, (1, 3, 5, 7, 9)),
        ({"collections": ("even", "odd"), "bbox": (12.4, 48.1, 14.2, 48.2)}, (2, 3, 4)),
        ({"datetime": "2024-05-03/2024-05-06"}, (2, 3, 4, 5)),
        ({"datetime": "2024-05-07/.."}, (6, 7, 8, 9)),
        ({"datetime": "2024-05-05"}, (4,)),
        ({"max_cloud": 30.0}, (0, 1, 2, 3)),
        ({"max_cloud": 30.0, "collections": ("even",), "datetime": "2024-05-02/.."}, (2,)),
    ],
)
@pytest.mark.parametrize("page", [3, 100])
def test_a_search_finds_what_fits_page_by_page(api, monkeypatch, asked, numbers, page):
    monkeypatch.setattr(searching, "_PAGE", page)
    _, url = api
    assert ids(search(Search(url, **asked))) == {f"i{number}" for number in numbers}


def test_a_limit_ends_the_search(api, monkeypatch):
    monkeypatch.setattr(searching, "_PAGE", 2)
    assert len(search(Search(api[1], limit=5))) == 5


def test_items_that_do_not_say_how_cloudy_they_are_are_counted(api, caplog):
    search(Search(api[1], max_cloud=95.0))
    assert "1 items do not say how cloudy they are" in caplog.text


def test_an_item_of_an_api_is_a_scene_like_any_other(api):
    (name,) = search(Search(api[1], datetime="2024-05-05"))
    scene = open_scene(name)
    assert (scene.height, scene.width) == (40, 54)
    assert scene_id(name) == "i4"
    assert scene_time(name, scene) == "2024-05-05T10:00:00Z"


def run(*words, code=0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_commands_take_what_a_search_finds(api, tmp_path):
    """A batch of all, twice; one scene by predict; chips; and what is wrong usage."""
    folder, url = api
    make_model(tmp_path / "m.safetensors")
    how = ("--stac-api", url, "--collection", "odd")
    box = ("--bbox", "11.1,48.1,15.3,48.2")
    assert "3 done" in run("run", *how, *box, "-m", tmp_path / "m.safetensors", "-o", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"i1", "i3", "i5"}
    assert "2 done, 3 unchanged" in run("run", *how, "-m", tmp_path / "m.safetensors", "-o", tmp_path / "out")
    one = ("predict", "-m", tmp_path / "m.safetensors", "-o", tmp_path / "c.tif")
    run(*one, *how, "--datetime", "2024-05-02")
    assert "the search finds 5 items, and one is needed" in run(*one, *how, code=2)
    assert "give scenes, or --stac-api to find some; not both" in run(*one, folder / "s1.tif", *how, code=2)
    assert "give scenes, or --stac-api to find some" in run(*one, code=2)
    assert "--limit says something of --stac-api" in run(*one, folder / "s1.tif", "--limit", 3, code=2)
    assert json.loads(run("info", "--stac-api", url, "--datetime", "2024-05-05", "--json"))["width"] == 54
    run("tile", *how, *box, "-o", tmp_path / "chips", "--tile-size", 32)
    assert len({path.name.rpartition("_")[0] for path in (tmp_path / "chips/images").iterdir()}) >= 3
    run("stack", *how, *box, "-o", tmp_path / "stack.vrt")
    with pytest.raises(SceneError, match="finds no item; 4 have more clouds than 5 %"):
        CliRunner().invoke(
            cli, ["tile", *how, "-o", str(tmp_path / "none"), "--max-cloud", "5"], catch_exceptions=False
        )


class Answers(BaseHTTPRequestHandler):
    """Each request gets the next of the server's answers, the last one for ever."""

    def answer(self):
        status, body = self.server.answers[min(self.server.count, len(self.server.answers) - 1)]
        self.server.count += 1
        text = body.replace("HERE", f"http://127.0.0.1:{self.server.server_port}").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer  # noqa: N815 - the library's names

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def serve(monkeypatch):
    """A function that starts a server of answers."""
    monkeypatch.setattr(searching, "_PAUSE", 0.01)
    servers = []

    def start(*answers):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.answers, server.count = answers, 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()


LANDING = json.dumps({
    "type": "Catalog", "stac_version": "1.0.0", "id": "api", "description": "an API",
    "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
    "links": [{"rel": "search", "href": "HERE/search", "type": "application/geo+json", "method": "POST"},
              {"rel": "self", "href": "HERE"}, {"rel": "root", "href": "HERE"}],
})  # fmt: skip
FOUND = json.dumps({"type": "FeatureCollection", "features": [item_of(1, "s.tif")], "links": []})
TWICE = json.dumps({"type": "FeatureCollection", "features": [item_of(1, "s.tif")] * 2, "links": []})
AROUND = json.dumps({
    "type": "FeatureCollection", "features": [item_of(1, "s.tif")],
    "links": [{"rel": "next", "href": "HERE/search", "method": "POST", "body": {}}],
})  # fmt: skip


def test_an_api_that_is_busy_for_a_while_is_asked_again(serve):
    url = serve((200, LANDING), (500, ""), (429, ""), (503, ""), (200, FOUND))
    assert ids(search(Search(url))) == {"i1"}


@pytest.mark.parametrize(
    ("answers", "kind", "sentence"),
    [
        ([(500, "no")], UnreachableError, "cannot be asked at present, after 5 tries more"),
        ([(200, LANDING), (429, "no")], UnreachableError, "cannot be asked at present"),
        ([(200, LANDING), (500, ""), (429, ""), (200, "<garbage>")], UnreachableError, "does not answer as a STAC API"),
        ([(200, "<html>a page</html>")], UnreachableError, "does not answer as a STAC API does"),
        ([(200, "{}")], UnreachableError, "does not answer as a STAC API does"),
        ([(200, LANDING), (200, '{"type": "nothing"}')], SceneError, "finds no item|does not answer"),
        ([(200, LANDING), (400, '{"description": "no such collection"}')], SceneError, "answers 400"),
        ([(404, "not here")], SceneError, "answers 404"),
        ([(200, LANDING), (200, TWICE)], SceneError, "gives several items of the id i1"),
        ([(200, LANDING), (200, AROUND)], SceneError, "gives several items of the id i1"),
    ],
)
def test_what_an_api_does_wrong_is_one_sentence(serve, answers, kind, sentence):
    with pytest.raises(kind, match=sentence):
        search(Search(serve(*answers)))


def test_no_server_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(searching, "_PAUSE", 0.01)
    with pytest.raises(UnreachableError, match="cannot be asked at present"):
        search(Search("http://127.0.0.1:9"))


def test_a_monitoring_job_takes_what_a_search_finds(api, tmp_path):
    """Items by their own time; those that come later are the new ones; an API that is gone ends nothing."""
    folder, url = api
    make_model(tmp_path / "m.safetensors")
    text = (
        f'name = "far"\nout = "state"\n[source]\nstac_api = "{url}"\ncollection = ["even"]\nmax_cloud = 50\n'
        'datetime = "2024-05-01/2024-05-04"\n[model]\nfile = "m.safetensors"\n'
    )
    (tmp_path / "job.toml").write_text(text)
    first = monitor(tmp_path / "job.toml")
    assert (first.new, first.failures) == (["i0", "i2"], {})
    assert "2024-05-03T10:00:00" in (tmp_path / "state/scenes.json").read_text()
    (tmp_path / "job.toml").write_text(text.replace("2024-05-04", "2024-05-09"))
    assert monitor(tmp_path / "job.toml").new == ["i4"]
    (tmp_path / "job.toml").write_text(text.replace(url, "http://127.0.0.1:9"))
    gone = monitor(tmp_path / "job.toml")
    assert (gone.unreachable, gone.scenes, list(gone.failures)) == (True, 3, ["http://127.0.0.1:9"])
    assert folder.is_dir()
