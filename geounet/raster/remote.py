"""Rasters over the network: how GDAL reads them, what their server says of them, and their names without secrets.

Which settings and why, with what they save: docs/remote.md.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import rasterio
import rasterio.env
import rasterio.errors

from geounet.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_SYSTEMS = ("curl", "s3", "gs", "az", "adls", "oss", "swift", "hdfs", "webhdfs")

SETTINGS = {
    # A folder on a server is not listed, and files beside the raster are not looked for.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # The header of a COG of some thousand tiles in the first request.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    # A worker may live for days: what is opened is what the server has now, not what it had at the last run.
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{system}/" for system in _SYSTEMS),
    "GDAL_HTTP_MAX_RETRY": "4",
    # Seconds, doubled each time; GDAL waits 30 by default.
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # A connection that gives less than this (bytes a second) for so long (seconds) is dead. No limit on the whole
    # transfer: slow is not broken.
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
}
"""What GDAL is told for remote rasters, where the user has not told it otherwise."""

_REMOTE = re.compile(
    r"(?<![a-z0-9])(https?|ftp|s3|gs|az|oss)://|(^|[/:\"'={])/vsi(" + "|".join(_SYSTEMS) + r")(_streaming)?[/?]"
)
_URL = re.compile(r"(?:https?|ftp)://[^\s'\"]+")
_SECRET = re.compile(
    r"^x-(amz|goog|ms)-|sig|token|key|secret|pass|pwd|auth|cred|policy|expires|accessid"
    # The parts of a shared access signature of Azure.
    r"|^(se|sp|sv|sr|st|spr|ss|srt|sip|sdd|skoid|sktid|skt|ske|sks|skv)$",
    re.IGNORECASE,
)
_BUSY = (429, 500, 502, 503, 504)
_PAUSES = (0.0, 0.5, 1.0)
_TIMEOUTS = (10, 30)
_BACKOFF = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says of a file."""

    trouble: str | None = None
    """Why its pixels cannot be read, and what to do; None where all is well."""
    size: int | None = None
    """Bytes; None where the server does not say."""
    version: str | None = None
    """ETag, else Last-Modified; None where the server sends neither or refuses."""
    denied: bool = False
    """Whether it was refused for want of credentials; GDAL may have some."""


def is_remote(path: str) -> bool:
    """Whether GDAL reads `path` over the network: a URL, or a virtual file system of GDAL that leads to one."""
    return _REMOTE.search(path) is not None


def public_name(path: str) -> str:
    """`path` as it may be shown: of a URL without user, password and what signs the query; else as it is.

    A VRT that is written out, instead of the name of one, has a title.
    """
    inline = re.match(r"<VRTDataset.*?<MDI key=\"title\">([^<]*)", path, re.DOTALL)
    url = url_of(path)
    return inline[1] if inline else _public_url(url) if url else path


def public_text(text: str) -> str:
    """A message with every URL in it as :func:`public_name` gives it."""
    return _URL.sub(lambda found: _public_url(found[0]), text)


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _SECRET.search(name)]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(kept, safe="/:,")).geturl()


def stem_of(path: str) -> str:
    """File name without folder, ending and query."""
    return PurePosixPath(urlsplit(public_name(path)).path).stem


def url_of(path: str) -> str | None:
    """The http(s) URL that `path` names, None where it names something else."""
    if path.startswith("/vsicurl?"):
        return parse_qs(path.partition("?")[2]).get("url", [None])[0]
    url = path.removeprefix("/vsicurl/")
    return url if url.startswith(("http://", "https://")) else None


@contextmanager
def over_network(remote: bool) -> Iterator[None]:
    """GDAL reads with :data:`SETTINGS` in this thread, if `remote`; environment variables and an outer Env prevail.

    Rasterio sets options of the main thread for the whole process, so no more than a call of GDAL belongs inside.
    """
    if not remote:
        yield
        return
    told = {*os.environ, *(rasterio.env.getenv() if rasterio.env.hasenv() else ())}
    with rasterio.Env(**{name: value for name, value in {**SETTINGS, **_s3_settings()}.items() if name not in told}):
        yield


def endpoint_of_s3() -> str | None:
    """URL of what speaks as Amazon's S3 does, where it is another: as Amazon's own tools are told, or as GDAL is."""
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if found:
        return found
    named = _option("AWS_S3_ENDPOINT")
    if named is None or "://" in named:
        return named
    return f"{'https' if _says_yes('AWS_HTTPS', default=True) else 'http'}://{named}"


def _s3_settings() -> dict[str, str]:
    """What GDAL is told of the endpoint that Amazon's own tools are told of."""
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not found:
        return {}
    scheme, _, place = found.rstrip("/").rpartition("://")
    secure = "NO" if scheme == "http" else "YES"
    return {"AWS_S3_ENDPOINT": place, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}


def persistently(path: str, first: Callable[[], T], again: Callable[[], T]) -> T:
    """`first()`, or where GDAL fails at it though the server is well, `again()`, three times at most.

    GDAL repeats what a server refuses for the moment, but it keeps what arrived of an answer that broke off.

    Raises:
        UnreachableError: the server says why not.
        RasterioIOError: it does not; what GDAL said last.
    """
    attempt = first
    for pause in _PAUSES:
        try:
            with over_network(remote=True):
                return attempt()
        except rasterio.errors.RasterioIOError as error:
            explain(path, str(error.__cause__ or error))
        time.sleep(pause)
        attempt = again
    with over_network(remote=True):
        return attempt()


def explain(path: str, message: str) -> None:
    """Raise what is wrong with a server or a file, if something is.

    Args:
        path: what GDAL failed at.
        message: what it said.

    Raises:
        UnreachableError: what happened, and what to do.
    """
    if "AWS_NO_SIGN_REQUEST" in message:
        trouble: str | None = (
            "needs AWS credentials and none were found; for a public bucket set AWS_NO_SIGN_REQUEST=YES, else "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    elif url_of(path):
        trouble = ask(path).trouble
    else:
        status = re.search(r"HTTP (?:response code|error code)\D{0,3}(\d{3})", message)
        trouble = _trouble(int(status[1])) if status else ask(path).trouble
    if trouble:
        raise UnreachableError(f"{public_name(path)} {trouble}")


def ask(path: str) -> Answer:
    """What the server says of a remote file: by HTTP, or by S3; of others nothing is known."""
    url = url_of(path)
    if url:
        return _ask_http(url)
    found = re.match(r"(?:s3://|/vsis3/)([^/]+)/(.+)", path)
    return _ask_s3(found[1], found[2]) if found else Answer()


def _ask_http(url: str) -> Answer:
    """One byte is asked for, not the header alone: signed URLs allow GET only, and it shows whether ranges work."""
    import requests

    asked = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    try:
        with _session() as session, session.get(url, headers=asked, stream=True, timeout=_TIMEOUTS) as response:
            return _answer(response.status_code, response.headers)
    except requests.RequestException as error:
        return Answer(f"does not answer ({_reason(error)}); check the address and the network")


def fetch_text(url: str) -> str:
    """A small text from a server; see :func:`fetch_bytes`."""
    return fetch_bytes(url).decode("utf-8", errors="replace")


def fetch_bytes(url: str) -> bytes:
    """A small file from a server.

    Raises:
        UnreachableError: it does not answer, or refuses.
    """
    import requests

    try:
        with _session() as session, session.get(url_of(url) or url, timeout=_TIMEOUTS) as response:
            trouble = _trouble(response.status_code) if response.status_code >= 400 else None  # noqa: PLR2004
            if trouble is None:
                return bytes(response.content)
    except requests.RequestException as error:
        trouble = f"does not answer ({_reason(error)}); check the address and the network"
    raise UnreachableError(f"{public_name(url)} {trouble}")


def _session() -> Any:
    """A session that asks again where a server is busy."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    retry = Retry(4, connect=1, backoff_factor=_BACKOFF, status_forcelist=_BUSY, raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _reason(error: BaseException) -> str:
    """What is at the bottom of an error of requests, without the request, which may hold secrets."""
    text = str(error)
    known = ("Connection refused", "Name or service not known", "timed out", "Connection reset", "CERTIFICATE")
    return next((reason for reason in known if reason.lower() in text.lower()), type(error).__name__).lower()


def _answer(status: int, headers: Any) -> Answer:
    _, _, total = headers.get("Content-Range", "").rpartition("/")
    size = total or headers.get("Content-Length", "")
    trouble = "is sent only as a whole: its server ignores range requests; download it and give the file's path"
    if status == 200:  # noqa: PLR2004 - 206 is the answer to a range
        return Answer(trouble, int(size) if size.isdigit() else None, _version(headers))
    if status == 206:  # noqa: PLR2004
        return Answer(None, int(size) if size.isdigit() else None, _version(headers))
    return Answer(_trouble(status), denied=status in (401, 403))


def _version(headers: Any) -> str | None:
    found = headers.get("ETag") or headers.get("Last-Modified")
    return str(found) if found else None


def _trouble(status: int) -> str:
    if status in (404, 410):
        return f"does not exist: the server answers {status}; check the address"
    if status in (401, 403):
        return (
            f"may not be read: the server answers {status}; check the address and the credentials that GDAL finds "
            "(or take a fresh signed URL)"
        )
    return f"is not served at present: the server answers {status}, also when asked again; try later"


def _ask_s3(bucket: str, key: str) -> Answer:
    try:
        with over_network(remote=True), _s3(bucket).open_input_file(f"{bucket}/{key}") as file:
            headers = {name: value.decode() for name, value in file.metadata().items()}
    except FileNotFoundError:
        return Answer(_trouble(404))
    except OSError as error:
        if re.search("ACCESS_DENIED|FORBIDDEN|HTTP status 40[13]", str(error), re.IGNORECASE):
            return Answer(_trouble(403), denied=True)
        return Answer("does not answer; check its name, AWS_REGION, AWS_S3_ENDPOINT and the network")
    return Answer(None, int(headers["Content-Length"]), _version(headers))


def _s3(bucket: str) -> Any:
    """Arrow's S3 with what GDAL is told of endpoint, region and signing."""
    from pyarrow import fs

    endpoint = _option("AWS_S3_ENDPOINT")
    region = _option("AWS_REGION") or _option("AWS_DEFAULT_REGION")
    return fs.S3FileSystem(
        anonymous=_says_yes("AWS_NO_SIGN_REQUEST", default=False),
        region=region or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket)),
        scheme="https" if _says_yes("AWS_HTTPS", default=True) else "http",
        endpoint_override=re.sub("^https?://", "", endpoint) if endpoint else None,
        force_virtual_addressing=bool(endpoint) and _says_yes("AWS_VIRTUAL_HOSTING", default=True),
    )


def _option(name: str) -> str | None:
    """A setting as GDAL sees it: an environment variable, an Env, or its configuration file."""
    found = rasterio.env.get_gdal_config(name, normalize=False)
    return str(found) if found else None


def _says_yes(name: str, *, default: bool) -> bool:
    found = _option(name)
    return default if found is None else found.upper() in ("YES", "TRUE", "ON", "1")
