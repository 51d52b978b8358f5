"""HTML pages read by a parser, and shown by a browser where there is one."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
VOID = {"meta", "link", "img", "line", "circle", "br", "input"}


class Checker(HTMLParser):
    """Every tag is closed where it should be; collects attributes that lead somewhere, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def console(file):
    """What the browser has to say of a page."""
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--window-size=1200,3000", "--enable-logging=stderr", f"--screenshot={file.with_suffix('.png')}", file.as_uri(),
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stderr
    return [line for line in told.splitlines() if "CONSOLE" in line]
