"""The sizes of our network for maps, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Of a :class:`geounet.models.subpixel_unet.SubpixelUNet`."""

    factor: int
    """Side in pixels of the cells on whose grid it works."""
    depth: int
    """Poolings on that grid."""
    width: int
    """Channels of the first level: a multiple of 16, as the runtimes like it."""


SIZES = {
    "xs": Size(factor=4, depth=2, width=16),
    "s": Size(factor=2, depth=3, width=16),
    "m": Size(factor=2, depth=3, width=32),
    "l": Size(factor=2, depth=3, width=64),
}
"""From the fastest to the most thorough; docs/networks.md measures them."""
DEFAULT_SIZE = "s"
