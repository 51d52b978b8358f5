"""The products that a map is made of, in an order of their own: whatever they are named in, the map is the same."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geounet.classes import joined
from geounet.errors import OutputError, SceneError
from geounet.object_stores import is_bucket, raster_name, read_object
from geounet.outputs import is_unfinished
from geounet.products.bucket import Bucket
from geounet.products.record import CLASSES, CONFIDENCE, RECORD, is_whole, read_record
from geounet.raster.class_raster import load_band
from geounet.raster.cog import classes_of
from geounet.raster.remote import public_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    confidence: Scene | None
    """Probability of the class, stored as 0 to 254; a product has one."""
    taken: datetime
    """When its scene was taken; the first moment at which it may have been."""
    digest: str
    """A hash of the record, or of what else it is."""
    date: str = ""
    """When its scene was taken, as its record says: a moment or, of a day, a date; empty where that is not known."""

    @property
    def rank(self) -> tuple[float, str, str]:
        """Newer ones first; what is as old goes by its id."""
        return -self.taken.timestamp(), self.id, self.digest


def find_layers(names: Sequence[str | Path]) -> tuple[LayerOf, ...]:
    """The finished products that are named, newest first.

    Args:
        names: folders of products, or of batches of them, or records; here or in an object store.

    Raises:
        OutputError: a name holds no product.
        SceneError: a product has no CRS.
        UnreachableError: an object store does not answer, or refuses.
    """
    layers: dict[str, LayerOf] = {}
    unfinished: list[Path] = []
    for name in names:
        for layer in _in_bucket(str(name)) if is_bucket(name) else _in_folder(Path(name), unfinished):
            layers.setdefault(layer.classes.path, layer)
    if unfinished:
        _log.warning("%d unfinished products such as %s are left out", len(set(unfinished)), unfinished[0])
    if not layers:
        raise OutputError("no product is finished; run them to their end first")
    return tuple(sorted(layers.values(), key=lambda layer: layer.rank))


def _in_folder(name: Path, unfinished: list[Path]) -> Iterator[LayerOf]:
    """The products of a folder; those that are not finished are added to the list."""
    folders = [name.parent] if name.name == RECORD else _products_in(name)
    if not folders:
        raise OutputError(f"{name} holds no product: neither {RECORD} nor folders that have one")
    for folder in (path.resolve() for path in folders):
        if is_unfinished(folder / RECORD):
            unfinished.append(folder)
            continue
        found = read_record(folder)
        if found is None or not is_whole(found[0]):
            raise OutputError(
                f"{folder} holds no whole product: files that its record speaks of are missing; run it again"
            )
        yield _layer(str(folder), (folder / RECORD).read_text(encoding="utf-8"))


def open_layer(folder: str | Path) -> LayerOf:
    """One finished product, by its folder.

    Raises:
        OutputError: there is no record.
        SceneError: it cannot be read, or has no CRS.
    """
    return next(iter(_in_folder(Path(folder), [])))


def _products_in(folder: Path) -> list[Path]:
    if (folder / RECORD).exists():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{RECORD}"))


def _in_bucket(url: str) -> Iterator[LayerOf]:
    """The products under a prefix; a record is put there last."""
    url = url.rstrip("/").removesuffix(f"/{RECORD}")
    found = [url] if read_object(url, RECORD) else [f"{url}/{folder}" for folder in sorted(Bucket(url).records())]
    if not found:
        raise OutputError(f"{public_name(url)} holds no product: neither {RECORD} nor folders that have one")
    for place in found:
        text = read_object(place, RECORD)
        if text is not None:
            yield _layer(raster_name(place), text.decode())


def _layer(place: str, text: str) -> LayerOf:
    """A product by its folder, as GDAL has it, and its record."""
    classes, confidence = load_band(f"{place}/{CLASSES}"), load_band(f"{place}/{CONFIDENCE}")
    record = json.loads(text)
    if classes.crs is None:
        raise SceneError(f"{classes.label} has no CRS, so it has no place on a map; leave {record['id']} out")
    told = record["properties"]
    taken = datetime.fromisoformat(told["datetime"] or told["start_datetime"])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return LayerOf(record["id"], classes, confidence, taken, digest, _date_of(told))


def _date_of(told: dict[str, Any]) -> str:
    """The moment; the day, where all that is known is the day."""
    if told["datetime"]:
        return str(told["datetime"])
    first, last = (str(told[name])[: len("2020-07-01")] for name in ("start_datetime", "end_datetime"))
    return first if first == last else ""


def common_classes(layers: Sequence[LayerOf]) -> tuple[LandClass, ...]:
    """The class table of all products together, by value.

    Raises:
        LabelError: a value stands for several classes.
    """
    return joined((layer.id, classes_of(layer.classes)) for layer in layers)
