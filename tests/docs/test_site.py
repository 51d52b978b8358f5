"""The documentation as a site: built without a warning, no dead link, and it opens without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browser import BROWSER
from geounet_pipelines.main import COMMANDS

import geounet

pytestmark = pytest.mark.docs
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_reached_from_the_first(site):
    pages = {path for path in site.rglob("*.html") if path.name != "404.html"}
    seen, todo = set(), [site / "index.html"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        todo += [target for target, _ in links(page) if target.suffix == ".html"]
    assert seen >= pages
    assert len(pages) > 25


def links(page):
    """Files within the site that a page leads to, and the places in them."""
    for link in re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8")):
        target, place = urldefrag(unquote(link))
        if not target.startswith(("http:", "https:", "data:", "mailto:")):
            yield (page if not target else (page.parent / target)).resolve(), place


def test_no_link_is_dead(site):
    dead, places = [], {}
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target, place in links(page):
            if not target.exists():
                dead.append(f"{page.name}: {target}")
            elif place and target.suffix == ".html":
                text = places.setdefault(target, target.read_text(encoding="utf-8"))
                if f'id="{place}"' not in text and place != "__codelineno":
                    dead.append(f"{page.name}: {target.name}#{place}")
    assert dead == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda p: p.name
)
def test_links_of_the_project_s_own_pages(page):
    found = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_every_command_and_every_public_name_has_its_place(site):
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f'id="geounet-{name}"' not in commands] == []
    python = (site / "reference/python.html").read_text(encoding="utf-8")
    assert [name for name in geounet.__all__ if f".{name}&quot;" not in python and f'.{name}"' not in python] == []


@pytest.mark.server
@pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")
def test_it_opens_without_a_network(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in ("index.html", "reference/commands.html", "tutorial/first-map.html"):
            page.goto((site / name).as_uri())
            page.wait_for_timeout(500)
        browser.close()
    assert [url for url in asked if url.startswith("http")] == []
    assert errors == []
