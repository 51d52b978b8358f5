"""The two maps that are compared: products, or class rasters such as mosaics; on one lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from geounet.classes import NODATA, default_class
from geounet.data.chip_catalog import span_of_scene
from geounet.errors import LabelError, OutputError, SceneError
from geounet.maps.frame import Frame, frame_for
from geounet.maps.layers import LayerOf, common_classes, find_layers
from geounet.maps.placing import Placed, place
from geounet.object_stores import is_bucket
from geounet.products.record import RECORD
from geounet.raster.class_raster import load_band, load_class_raster, stored_reader
from geounet.raster.identity import identity_of, request_hash
from geounet.raster.remote import public_name
from geounet.raster.scene import acquired, load_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.grid import Window
    from geounet.raster.class_raster import ReadStored
    from geounet.raster.scene import Scene

_LEVELS = NODATA - 1
"""What a probability of 1 is stored as."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two maps."""

    layer: LayerOf
    """Its class raster, and when it was taken."""
    shares: tuple[Scene, ...]
    """Probability of the class, or those of all classes in the order of their values; nothing where there is none."""
    date: str
    """When it was taken (ISO 8601, a moment or a day); empty where that is not known."""
    place: str
    """What it was named by."""

    @property
    def rasters(self) -> tuple[Scene, ...]:
        """Classes, then shares."""
        return self.layer.classes, *self.shares


def open_side(name: str | Path, confidence: Path | None = None) -> Side:
    """A product's folder (or its record; here or in an object store), or a class raster.

    Args:
        name: the map.
        confidence: of a class raster, the confidence of its pixels; a product has its own.

    Raises:
        OutputError: there is no finished product.
        LabelError: the raster holds no classes.
        SceneError: a raster cannot be read, has no place, or lies on another grid than the classes.
    """
    layer = _product(name) if _is_product(name) else _raster(name)
    date = layer.date
    if confidence is not None:
        layer = replace(layer, confidence=_on_grid(confidence, layer.classes))
    shares = () if layer.confidence is None else (layer.confidence,)
    return Side(layer, shares, date, str(name))


def _is_product(name: str | Path) -> bool:
    return is_bucket(name) or Path(name).is_dir() or Path(name).name == RECORD


def _product(name: str | Path) -> LayerOf:
    found = find_layers([name])
    if len(found) > 1:
        raise OutputError(
            f"{public_name(str(name))} holds {len(found)} products; name one of them, or their map (geounet mosaic)"
        )
    return found[0]


def _raster(name: str | Path) -> LayerOf:
    scene = load_class_raster(name)
    if scene.crs is None:
        raise SceneError(f"{scene.label} has no CRS, so it cannot be laid upon another map")
    taken = acquired(scene)
    digest = request_hash("map", [], identity_of(scene.path))
    return LayerOf(scene.name, scene, None, span_of_scene(scene)[0], digest, taken)


def _on_grid(path: Path, classes: Scene) -> Scene:
    scene = load_band(path)
    _check_grid(scene, classes)
    return scene


def _check_grid(scene: Scene, classes: Scene) -> None:
    same = (scene.height, scene.width) == (classes.height, classes.width)
    if not same or not scene.transform.almost_equals(classes.transform, 1e-6):
        raise SceneError(f"{scene.label} does not lie on the grid of {classes.label}: it needs the same pixels")


def with_probabilities(side: Side, path: Path, classes: Sequence[LandClass]) -> Side:
    """The side with the probabilities of all classes in place of a confidence.

    Args:
        side: the map.
        path: one band for each class, with its name.
        classes: the class table of both maps.

    Raises:
        LabelError: the bands are not the classes.
        SceneError: the raster cannot be read, or lies on another grid than the classes.
    """
    scene = load_scene(path)
    _check_grid(scene, side.layer.classes)
    if sorted(scene.band_names) != sorted(item.name for item in classes):
        raise LabelError(
            f"{scene.label} has the bands {', '.join(scene.band_names)}; the classes are "
            f"{', '.join(item.name for item in classes)}"
        )
    singles = dict(zip(scene.band_names, scene.singles, strict=True))
    return replace(side, shares=tuple(singles[item.name] for item in classes))


@dataclass(frozen=True, slots=True)
class Table:
    """Both sides on one lattice, where they overlap."""

    frame: Frame
    """The lattice, and the part of it that both cover."""
    before: Placed
    """The earlier map."""
    after: Placed
    """The later one."""

    @property
    def resampled(self) -> int:
        """Sides that are not on the lattice themselves."""
        return sum(placed.offset is None for placed in (self.before, self.after))


def lay(before: Side, after: Side) -> Table:
    """Lay both maps on the lattice that more of their pixels lie on: the finer one, where they cover the same ground.

    Raises:
        SceneError: they do not overlap, or one cannot be brought to the CRS of the other.
    """
    layers = before.layer, after.layer
    frame = frame_for(layers)
    areas = [place(layer, frame).area.intersection(frame.extent) for layer in layers]
    shared = areas[0].intersection(areas[1])
    if not shared.pixels:
        raise SceneError(f"{before.place} and {after.place} have no ground in common")
    moved = frame.transform @ Affine.translation(shared.col, shared.row)
    frame = Frame(frame.crs, moved, shared.height, shared.width)
    return Table(frame, *(place(layer, frame) for layer in layers))


def readers_of(side: Side, stack: ExitStack) -> list[ReadStored]:
    """What reads a side's rasters as bytes, probabilities as 0 to 254; open as long as the stack."""
    classes, *shares = (stack.enter_context(stored_reader(scene)) for scene in side.rasters)
    return [classes, *(_in_levels(read, scene) for read, scene in zip(shares, side.shares, strict=True))]


def _in_levels(read: ReadStored, scene: Scene) -> ReadStored:
    """Probabilities as 0 to 254, whatever they are stored as."""
    scale, offset = scene.scales[0], scene.offsets[0]
    if scene.dtype == "uint8" and offset == 0.0 and (scale == 1.0 or math.isclose(scale, 1 / _LEVELS, rel_tol=1e-5)):
        return read

    def levels(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        stored, valid = read(window)
        values = stored.astype(np.float32) * scale + offset
        seen = valid & np.isfinite(values)
        if values[seen].size and float(values[seen].max()) > 1 + 1e-6:
            raise SceneError(f"{scene.label} exceeds 1; probabilities lie between 0 and 1: set the band's scale")
        return np.rint(np.where(seen, values, 0).clip(0, 1) * _LEVELS), seen

    return levels


def classes_by_value(sides: Sequence[Side], seen: Sequence[int]) -> tuple[LandClass, ...]:
    """The class table of both sides, with what has no name as `class_N`.

    Raises:
        LabelError: a value stands for several classes.
    """
    known = {item.value: item for item in common_classes([side.layer for side in sides])}
    for place_, value in enumerate(sorted(set(seen) - set(known))):
        known[value] = default_class(value, len(known) + place_)
    return tuple(known[value] for value in sorted(known))
