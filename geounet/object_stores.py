"""Object stores: Amazon's, Google's, Azure's, and what speaks as they do, by obstore.

Credentials and endpoints are those of the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError, OutputError, UnreachableError, one_line
from geounet.raster.remote import endpoint_of_s3, public_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMES = ("s3://", "az://", "gs://")
"""What URLs of object stores begin with."""


def is_bucket(place: str | Path) -> bool:
    """Whether a place is in an object store."""
    return str(place).startswith(SCHEMES)


def raster_name(url: str) -> str:
    """What GDAL calls an object."""
    scheme, _, rest = url.partition("://")
    return f"/vsi{scheme}/{rest}"


@lru_cache(maxsize=64)
def object_store(url: str) -> Any:
    """A prefix in an object store, as obstore has it.

    Raises:
        GeounetError: obstore is missing.
        OutputError: there is no such store.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise GeounetError('object stores need obstore; install it with "geounet[cloud]"') from error
    try:
        return from_url(url, **_endpoint(url))
    except (BaseError, ValueError) as error:
        raise OutputError(f"{public_name(url)} cannot be opened: {one_line(error)}") from error


def _endpoint(url: str) -> dict[str, Any]:
    """An endpoint that is named with http:// is meant so."""
    names = {"az": "AZURE_STORAGE_ENDPOINT", "gs": "GOOGLE_STORAGE_ENDPOINT"}
    scheme = url.partition("://")[0]
    found = endpoint_of_s3() if scheme == "s3" else os.environ.get(names[scheme])
    if not found:
        return {}
    told: dict[str, Any] = {"client_options": {"allow_http": found.startswith("http://")}}
    return {**told, "endpoint": found} if scheme == "s3" else told


def read_object(url: str, name: str) -> bytes | None:
    """An object under a prefix; None where there is none.

    Raises:
        UnreachableError: the store does not answer, or refuses.
    """
    with in_sentences(url):
        try:
            return bytes(object_store(url).get(name).bytes())
        except FileNotFoundError:
            return None


def write_object(url: str, name: str, content: bytes | Path) -> None:
    """Put bytes or a file under a prefix; where it stands, it is whole.

    Raises:
        UnreachableError: the store does not answer, or refuses.
    """
    with in_sentences(url):
        object_store(url).put(name, content)


def objects_under(url: str, folder: str | None = None) -> list[str]:
    """Names of all objects under a prefix, or in a folder of it.

    Raises:
        UnreachableError: the store does not answer, or refuses.
    """
    with in_sentences(url):
        return [item["path"] for chunk in object_store(url).list(folder) for item in chunk]


def remove_objects(url: str, names: list[str]) -> None:
    """Remove objects, in their order.

    Raises:
        UnreachableError: the store does not answer, or refuses.
    """
    with in_sentences(url):
        for name in names:
            object_store(url).delete(name)


@contextmanager
def in_sentences(url: str) -> Iterator[None]:
    """What a store answers is raised as one of our errors; that there is no such object as Python's.

    Raises:
        FileExistsError: an object was to be created, and there is one.
        FileNotFoundError: there is no such object.
        UnreachableError: the store does not answer, or refuses.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(url) from error
    except NotFoundError as error:
        raise FileNotFoundError(url) from error
    except (FileExistsError, FileNotFoundError):
        raise
    except (BaseError, OSError) as error:
        raise UnreachableError(f"{public_name(url)} cannot be used at present: {one_line(error)}") from error
