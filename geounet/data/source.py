"""Where images and labels are, and how they are read: files to pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geounet.data.pairing import list_images, list_labels, pair_labels
from geounet.raster.opening import AS_IS, Opening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.data.labels import Pair


@dataclass(frozen=True, slots=True)
class Source:
    """Where images and labels are, and how to read them."""

    images: tuple[Path | str, ...]
    """Any sources, see :func:`geounet.sources.listing.list_scenes`."""
    labels: tuple[Path | str, ...]
    """Files, folders, patterns, lists (.txt), URLs and STAC items: rasters or polygon files."""
    bands: tuple[int | str, ...] | None = None
    """Bands to read, by numbers from 1 or by names."""
    opening: Opening = AS_IS
    """What the user says of the images."""
    pattern: str | None = None
    """Of the images' folders only the files whose names fit."""
    label_field: str | None = None
    """The polygons' field with the class."""
    background: int = 255
    """The code outside all polygons; 255 leaves it out."""
    all_touched: bool = False
    """Polygons label every pixel that they touch, not only those whose centre they hold."""
    instances: bool = False
    """Label rasters number their objects; what is learnt are the classes of :mod:`geounet.data.instances`."""
    class_map: Mapping[str, int] = field(default_factory=dict)
    """The class of a code or name that polygons have; see :func:`geounet.class_tables.read_class_map`."""

    def pairs(self, classes: Sequence[LandClass]) -> tuple[Pair, ...]:
        """Images joined with their labels; see :func:`geounet.data.pairing.pair_labels`."""
        labels = list_labels(self.labels)
        return pair_labels(
            list_images(self.images, labels, self.pattern),
            labels,
            bands=self.bands,
            opening=self.opening,
            classes=classes,
            label_field=self.label_field,
            background=self.background,
            all_touched=self.all_touched,
            instances=self.instances,
            class_map=self.class_map,
        )
