"""The products that a map is made of, in an order of their own: whatever they are named in, the map is the same."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from geounet.errors import LabelError, OutputError, SceneError
from geounet.outputs import is_unfinished
from geounet.products.record import RECORD, is_whole, read_record
from geounet.raster.class_raster import load_band
from geounet.raster.cog import classes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geounet.classes import LandClass
    from geounet.raster.scene import Scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LayerOf:
    """What of one product goes into a map."""

    id: str
    """The scene's."""
    classes: Scene
    """Class of each pixel."""
    confidence: Scene
    """Probability of the class, stored as 0 to 254."""
    taken: datetime
    """When its scene was taken; the first moment at which it may have been."""
    digest: str
    """A hash of the record."""

    @property
    def rank(self) -> tuple[float, str, str]:
        """Newer ones first; what is as old goes by its id."""
        return -self.taken.timestamp(), self.id, self.digest


def find_layers(names: Sequence[Path]) -> tuple[LayerOf, ...]:
    """The finished products that are named, newest first.

    Args:
        names: folders of products, or of batches of them, or records.

    Raises:
        OutputError: a name holds no product.
        SceneError: a product has no CRS.
    """
    folders: dict[Path, None] = {}
    for name in names:
        found = [name.parent] if name.name == RECORD else _products_in(name)
        if not found:
            raise OutputError(f"{name} holds no product: neither {RECORD} nor folders that have one")
        folders |= dict.fromkeys(path.resolve() for path in found)
    unfinished = [folder for folder in folders if is_unfinished(folder / RECORD)]
    if unfinished:
        _log.warning("%d unfinished products such as %s are left out", len(unfinished), unfinished[0])
    layers = [_layer(folder) for folder in folders if folder not in unfinished]
    if not layers:
        raise OutputError("no product is finished; run them to their end first")
    return tuple(sorted(layers, key=lambda layer: layer.rank))


def _products_in(folder: Path) -> list[Path]:
    if (folder / RECORD).exists():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{RECORD}"))


def _layer(folder: Path) -> LayerOf:
    found = read_record(folder)
    if found is None or not is_whole(found[0]):
        raise OutputError(f"{folder} holds no whole product: files that its record speaks of are missing; run it again")
    product = found[0]
    classes, confidence = load_band(product.classes), load_band(product.confidence)
    if classes.crs is None:
        raise SceneError(f"{product.classes} has no CRS, so it has no place on a map; leave {product.id} out")
    text = (folder / RECORD).read_text(encoding="utf-8")
    told = json.loads(text)["properties"]
    taken = datetime.fromisoformat(told["datetime"] or told["start_datetime"])
    return LayerOf(product.id, classes, confidence, taken, hashlib.sha256(text.encode()).hexdigest())


def common_classes(layers: Sequence[LayerOf]) -> tuple[LandClass, ...]:
    """The class table of all products together, by value.

    Raises:
        LabelError: a value stands for several classes.
    """
    table: dict[int, tuple[LandClass, str]] = {}
    for layer in layers:
        for item in classes_of(layer.classes.path):
            known, whose = table.setdefault(item.value, (item, layer.id))
            if known.name != item.name:
                raise LabelError(
                    f"class {item.value} is {known.name!r} in {whose} and {item.name!r} in {layer.id}; one map has one "
                    "class table"
                )
    return tuple(item for _, (item, _) in sorted(table.items()))
