"""A real HTTP server of a folder, in a process of its own: ranges, entity tags, a log, and faults on request.

As an S3 endpoint it serves the folder `bucket/` as a bucket, path style. In a process of its own because GDAL does not
always let go of Python while it waits for an answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROL = "/.control"
# Not `urlopen`, which keeps to the proxies of the first request that anybody made.
_DIRECT = build_opener(ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, and what went out."""

    method: str
    """GET or HEAD."""
    path: str
    """With the query."""
    headers: dict[str, str]
    """Of the request; names in lower case."""
    status: int
    """Of the answer."""
    sent: int
    """Bytes of the answer's body."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a GET instead of an answer."""

    status: int | None = None
    """This status; None for an answer that breaks off."""
    sent: int = 0
    """Bytes of the body before it breaks off."""
    skip: int = 0
    """GETs that go well before."""
    times: int = 1
    """How often it happens."""


@dataclass(frozen=True, slots=True)
class RangeServer:
    """A server that runs: where it is, and how a test speaks with it."""

    folder: Path
    """What it serves."""
    address: str
    """Host and port."""

    def url(self, name: str) -> str:
        """The URL of a file in the folder."""
        return f"http://{self.address}/{name}"

    @property
    def requests(self) -> list[Request]:
        """All since it was told to forget."""
        return [Request(**entry) for entry in self._ask({})]

    @property
    def sent(self) -> int:
        """Bytes of the bodies of `requests`."""
        return sum(request.sent for request in self.requests)

    def forget(self) -> None:
        """Count anew."""
        self._ask({"forget": True})

    def break_with(self, fault: Fault) -> None:
        """Let the next GETs go wrong."""
        self._ask({"fault": dataclasses.asdict(fault)})

    def behave(self, **how: bool) -> None:
        """Change a field of :class:`_State`."""
        self._ask(how)

    def _ask(self, orders: dict[str, Any]) -> Any:
        with _DIRECT.open(f"http://{self.address}{_CONTROL}", json.dumps(orders).encode()) as answer:
            return json.load(answer)


@contextmanager
def serve(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder on a free port of this machine."""
    command = [sys.executable, "-S", __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RangeServer(folder, process.stdout.readline().strip())
        finally:
            process.kill()


# --- in the server's process -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    folder: Path
    ranges: bool = True
    """Whether a Range header is honoured."""
    tags: bool = True
    """Whether an ETag goes out; Last-Modified always does."""
    heads: bool = True
    """Whether HEAD is answered; if not, with 403, as by signed URLs for GET."""
    requests: list[Request] = field(default_factory=list)
    fault: Fault | None = None
    gets: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def obey(self, orders: dict[str, Any]) -> None:
        with self.lock:
            for name, value in orders.items():
                if name == "forget":
                    self.requests.clear()
                elif name == "fault":
                    self.fault, self.gets = Fault(**value), 0
                else:
                    setattr(self, name, value)

    def next_fault(self) -> Fault | None:
        """What happens to the GET that has just come in."""
        with self.lock:
            fault, self.gets = self.fault, self.gets + 1
            return fault if fault and fault.skip < self.gets <= fault.skip + fault.times else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: _State

    def do_POST(self) -> None:
        self.state.obey(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        log = json.dumps([dataclasses.asdict(request) for request in self.state.requests]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(log)))
        self.end_headers()
        self.wfile.write(log)

    def do_HEAD(self) -> None:
        if self.state.heads:
            self._serve(body=False)
        else:
            self._refuse(403)

    def do_GET(self) -> None:
        fault = self.state.next_fault()
        if fault and fault.status:
            self._refuse(fault.status)
        else:
            self._serve(body=True, fault=fault)

    def _refuse(self, status: int) -> None:
        self._note(status, 0)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, *, body: bool, fault: Fault | None = None) -> None:
        file = self.state.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not file.is_file():
            self._refuse(404)
            return
        content = file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.state.ranges else None
        first, last = (int(asked[1]), int(asked[2] or len(content))) if asked else (0, len(content))
        if asked and first >= len(content):
            self._refuse(416)
            return
        part = content[first : last + 1]
        status = 206 if asked else 200
        going = part[: fault.sent] if fault else part
        self._note(status, len(going) if body else 0)
        self.send_response(status)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        if self.state.tags:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
        self.send_header("Last-Modified", formatdate(file.stat().st_mtime, usegmt=True))
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(going)
        self.close_connection |= fault is not None

    def _note(self, status: int, sent: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.state.requests.append(Request(self.command, self.path, headers, status, sent))

    def log_message(self, *_: object) -> None:
        """Not to standard error: the list is the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


if __name__ == "__main__":
    _Handler.state = _State(Path(sys.argv[1]))
    with _Server(("127.0.0.1", 0), _Handler) as server:
        sys.stdout.write(f"127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
