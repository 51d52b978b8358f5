"""A search of a STAC API (https://api.stacspec.org/v1.0.0): the items that it finds, each by its own URL."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geounet.errors import GeounetError, NothingFoundError, SceneError, UnreachableError, one_line
from geounet.raster.remote import public_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)
_TRIES, _PAUSE = 5, 0.5
"""How often a server is asked that is busy or has an error, and seconds before the second time; they double."""
_BUSY = (429, 500, 502, 503, 504)
_CLOUD = "eo:cloud_cover"
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for."""

    api: str
    """URL of the API's landing page."""
    collections: tuple[str, ...] = ()
    """Identifiers of collections; none for all."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees: what items must touch."""
    datetime: str | None = None
    """A moment, or two with a slash between, `..` for open ends; days, months and years count as a whole."""
    max_cloud: float | None = None
    """Most per cent of clouds that an item may state."""
    limit: int | None = None
    """Most items, the newest first."""


def search(query: Search) -> tuple[str, ...]:
    """The URLs of the items that a search finds, page by page, newest first where the API can sort.

    Raises:
        SceneError: it finds none, or two of one id; or the API cannot be asked so.
        UnreachableError: the API does not answer, or not as a STAC API does.
        GeounetError: pystac-client is missing.
    """
    try:
        import pystac_client  # noqa: F401
    except ImportError as error:
        raise GeounetError('searching a STAC API needs pystac-client; install it with "geounet[stac]"') from error
    found: dict[str, str] = {}
    unknown = cloudy = 0
    for item in _items(query):
        cover = item["properties"].get(_CLOUD)
        if query.max_cloud is not None and cover is None:
            unknown += 1
        elif query.max_cloud is not None and cover > query.max_cloud:
            cloudy += 1
        elif item["id"] in found:
            raise SceneError(
                f"{public_name(query.api)} gives several items of the id {item['id']}; name one --collection"
            )
        else:
            found[item["id"]] = _place(item, query.api)
        if query.limit is not None and len(found) >= query.limit:
            break
    if unknown:
        _log.warning("%d items do not say how cloudy they are (%s), and are left out", unknown, _CLOUD)
    if not found:
        clouds = f"; {cloudy} have more clouds than {query.max_cloud:g} %" if cloudy else ""
        raise NothingFoundError(
            f"{public_name(query.api)} finds no item{clouds}; look at --collection, --bbox and --datetime"
        )
    return tuple(found.values())


def _items(query: Search) -> Iterator[dict[str, Any]]:
    """The items as the API gives them; whatever goes wrong is one sentence."""
    import requests
    from pystac.errors import STACError
    from pystac_client import Client
    from pystac_client.errors import ClientTypeError
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util import Retry

    retry = Retry(_TRIES, backoff_factor=_PAUSE, status_forcelist=_BUSY, allowed_methods=None)
    try:
        client = Client.open(query.api, stac_io=StacApiIO(max_retries=retry, timeout=60))
        asked: dict[str, Any] = {
            "collections": list(query.collections) or None,
            "bbox": query.bbox,
            "datetime": query.datetime,
            "limit": _PAGE,
        }
        if client.conforms_to("SORT"):
            asked["sortby"] = "-properties.datetime"
        if query.max_cloud is not None and client.conforms_to("QUERY"):
            asked["query"] = {_CLOUD: {"lte": query.max_cloud}}
        yield from client.search(**asked).items_as_dicts()
    except APIError as error:
        code = getattr(error, "status_code", None)
        why = f"answers {code}: {one_line(error)}" if code else _unreachable(error)
        refused = code is not None and 400 <= code < 500 and code not in _BUSY  # noqa: PLR2004
        raise (SceneError if refused else UnreachableError)(f"{public_name(query.api)} {why}") from error
    except requests.RequestException as error:
        raise UnreachableError(f"{public_name(query.api)} {_unreachable(error)}") from error
    except (STACError, ClientTypeError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise UnreachableError(
            f"{public_name(query.api)} does not answer as a STAC API does ({one_line(error)}); give the URL of its "
            "landing page"
        ) from error


def _place(item: dict[str, Any], api: str) -> str:
    """The item's own URL."""
    own = [link["href"] for link in item.get("links", []) if link.get("rel") == "self"]
    return str(own[0]) if own else f"{api.rstrip('/')}/collections/{item.get('collection')}/items/{item['id']}"


def _unreachable(error: BaseException) -> str:
    return f"cannot be asked at present, after {_TRIES} tries more: {one_line(error)}"
