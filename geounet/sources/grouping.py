"""Single-band files of one scene, grouped by their names: `T32TQM_B02.tif` and `T32TQM_B03.tif` are one scene.

A group has a name of its own, with the bands in braces as a shell would expand them: `T32TQM_{B02,B03}.tif`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from geounet.sources.item import Item

if TYPE_CHECKING:
    from collections.abc import Iterable

_BAND = re.compile(
    r"^(?P<scene>.+)_(?P<band>(?:(?:SR|ST)_)?B\d[\dA]?|QA_PIXEL|SCL|coastal|blue|green|red|rededge\d*|nir\d*|swir\d*|pan)"
    r"(?P<rest>(?:_\d\dm)?)$",
    re.IGNORECASE,
)
_GROUP = re.compile(r"^(?P<start>.*)\{(?P<bands>[^{}]+,[^{}]+)\}(?P<end>[^{}]*)$")


def grouped(files: Iterable[Path]) -> list[str]:
    """Files, those that differ in the band of their name alone as one group, in order of their names."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in sorted(files):
        match = _BAND.match(file.stem)
        start, band, end = (match["scene"] + "_", match["band"], match["rest"]) if match else (file.stem, "", "")
        groups[str(file.with_name(start)), f"{end}{file.suffix}"].append(band)
    return [
        f"{start}{{{','.join(bands)}}}{end}" if len(bands) > 1 else f"{start}{bands[0]}{end}"
        for (start, end), bands in groups.items()
    ]


def read_group(name: str) -> Item | None:
    """The scene that a group's name stands for, an asset a band; None where it is no such name."""
    match = _GROUP.match(name)
    if match is None or Path(name).exists():
        return None
    assets = {band: _asset(f"{match['start']}{band}{match['end']}", band) for band in match["bands"].split(",")}
    return Item(name, "", assets, id=Path(match["start"]).name.rstrip("_-. "))


def _asset(href: str, band: str) -> dict[str, object]:
    return {"href": href, "roles": ["data"], "eo:bands": [{"name": band}]}
