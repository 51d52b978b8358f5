"""When scenes were taken: as they say, as their files say, or as their names do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from geounet.errors import SceneError
from geounet.raster.remote import public_name, stem_of
from geounet.raster.scene import acquired
from geounet.sources.scenes import described, frame_of

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = {"%Y": r"(?:19|20)\d\d", "%m": r"\d\d", "%d": r"\d\d", "%j": r"\d{3}", "%H": r"\d\d", "%M": r"\d\d",
           "%S": r"\d\d", "%y": r"\d\d", "%b": r"[A-Za-z]{3}"}  # fmt: skip
_USUAL = ("%Y%m%d", "%Y-%m-%d", "%Y_%m_%d")


def time_of(name: str | Path, pattern: str = "") -> datetime:
    """When a scene was taken, UTC: its STAC item's time, else its file's `TIFFTAG_DATETIME`, else a date in its name.

    Args:
        name: the scene.
        pattern: how the date is written in the name, as :meth:`datetime.datetime.strptime` has it; by default year,
            month and day as digits.

    Raises:
        SceneError: the scene cannot be opened, or tells no time.
        UnreachableError: a server does not answer, or refuses.
    """
    item = described(name)
    told = (item.taken if item is not None else "") or acquired(frame_of(name))
    try:
        moment = datetime.fromisoformat(told.strip())
    except ValueError:
        moment = None
    found = moment or date_in(stem_of(str(name)), (pattern,) if pattern else _USUAL)
    if found is None:
        raise SceneError(
            f"{public_name(str(name))} tells no time: neither an item's datetime nor TIFFTAG_DATETIME, nor a date in "
            "its name; say how it is written there with --date-pattern, such as %Y%m%d"
        )
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def date_in(text: str, patterns: tuple[str, ...]) -> datetime | None:
    """The first date in a text that is written in one of several ways; None where there is none."""
    for pattern in patterns:
        parts = re.split("(%.)", pattern)
        digits = "".join(_FIELDS.get(part, re.escape(part)) for part in parts)
        for found in re.finditer(rf"(?<!\d){digits}(?!\d)", text):
            try:
                return datetime.strptime(found[0], pattern).replace(tzinfo=UTC)
            except ValueError:
                continue
    return None
