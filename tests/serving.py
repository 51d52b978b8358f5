"""Server programs as processes of their own, on ports that are free."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def serving(words: Sequence[str | Path], port: int) -> Iterator[None]:
    """A program that runs, from its first answer, whatever that is, until it is killed."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            try:
                urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except HTTPError:
                break
            except URLError:
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
