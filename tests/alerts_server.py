"""A real HTTP server that takes webhooks, and fails as often as it is told to."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """What has come."""

    def __init__(self):
        self.came, self.statuses, self.port = [], [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def taken(self):
        """Bodies and headers of what was answered with 200."""
        return [(body, headers) for body, headers, status in self.came if status == 200]


@contextmanager
def receiver(*statuses):
    """A server that answers with these, one after another, and then with 200."""
    found = Receiver()
    found.statuses = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = found.statuses.pop(0) if found.statuses else 200
            found.came.append((body, dict(self.headers), status))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
