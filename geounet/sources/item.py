"""A STAC item, as far as it is needed here: what every source that has metadata is brought to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geounet.raster.remote import public_name


@dataclass(frozen=True, slots=True)
class Item:
    """A STAC item (https://github.com/radiantearth/stac-spec), as far as it is needed here."""

    path: str
    """How it was named: a file, a URL, or a delivery."""
    taken: str
    """When its scene was taken, as it says; empty where it does not."""
    assets: dict[str, Any]
    """Its assets by key, their `href` complete."""
    id: str = ""
    """Its identifier; empty where it has none."""
    properties: dict[str, Any] = field(default_factory=dict)
    """What it says of the scene."""

    @property
    def label(self) -> str:
        """How it may be shown: without credentials and signatures."""
        return public_name(self.path)
