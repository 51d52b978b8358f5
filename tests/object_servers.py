"""Object store servers of this machine, each a process of its own: moto for Amazon's, Azurite for Azure's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from serving import free_port, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parents[1] / ".venv/azurite/node_modules/.bin/azurite-blob"
# Azurite's only account; both are in its documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_VERSION = "2021-08-06"


def azurite() -> str | None:
    """The program, of `make azurite` or on the path."""
    return str(_HERE) if _HERE.exists() else shutil.which("azurite-blob")


@contextmanager
def amazon() -> Iterator[int]:
    """A port that speaks as Amazon's does."""
    port = free_port()
    program = str(Path(sys.executable).with_name("moto_server"))
    with serving([program, "-H", "127.0.0.1", "-p", str(port)], port):
        yield port


@contextmanager
def azure(folder: Path) -> Iterator[int]:
    """A port that speaks as Azure's does; its files are in a folder."""
    port = free_port()
    words = [azurite() or "", "--blobHost", "127.0.0.1", "--blobPort", str(port), "-l", str(folder), "--silent",
             "--skipApiVersionCheck", "--disableTelemetry"]  # fmt: skip
    with serving(words, port):
        yield port


def amazon_bucket(port: int, name: str) -> dict[str, str]:
    """Make a bucket; the environment that leads there."""
    urlopen(Request(f"http://127.0.0.1:{port}/{name}", method="PUT"), timeout=10).close()
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip


def azure_container(port: int, name: str) -> dict[str, str]:
    """Make a container; the environment that leads there: obstore's names, and GDAL's.

    Signed by https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
    """
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    signed = "PUT" + 12 * "\n" + f"x-ms-date:{now}\nx-ms-version:{_VERSION}\n{resource}"
    digest = hmac.new(base64.b64decode(_KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": now, "x-ms-version": _VERSION, "Content-Length": "0",
        "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}",
    }  # fmt: skip
    query = f"{_ACCOUNT}/{name}?restype=container"
    urlopen(Request(f"http://127.0.0.1:{port}/{query}", method="PUT", headers=headers), timeout=10).close()
    place = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _KEY, "AZURE_STORAGE_ENDPOINT": place,
        "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
        f"BlobEndpoint={place};",
    }  # fmt: skip
