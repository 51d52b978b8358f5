"""Class rasters: read as uint8 classes with 255 for nodata, whatever the file calls it, and described for a copy."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, default_class
from geounet.errors import LabelError, SceneError
from geounet.raster.cog import CLASSES_TAG, RasterProfile, classes_of
from geounet.raster.scene import load_scene, opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.raster.scene import Scene

    ReadClasses = Callable[[Window], NDArray[np.uint8]]
    ReadStored = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]


def load_class_raster(path: Path) -> Scene:
    """Describe a raster of one band.

    Raises:
        SceneError: it cannot be opened or has more bands.
    """
    scene = load_scene(path)
    if len(scene.bands) != 1:
        raise SceneError(f"{path} has {len(scene.bands)} bands; a class raster has one")
    return scene


@contextmanager
def stored_reader(scene: Scene) -> Iterator[ReadStored]:
    """A function from a window to stored values and valid mask `(height, width)`, for any thread."""
    lock = Lock()
    with opened(scene) as dataset:

        def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
            with lock:
                stored, valid = read_stored(dataset, scene, window)
            return stored[0], valid

        yield read


@contextmanager
def class_reader(scene: Scene) -> Iterator[ReadClasses]:
    """A function from a window to its classes `(height, width)` in uint8: 255 for nodata and beyond the raster."""
    with stored_reader(scene) as read:

        def read_classes(window: Window) -> NDArray[np.uint8]:
            inner = window.intersection(scene.extent)
            found = _to_classes(*read(inner), scene.label)
            if inner == window:
                return found
            classes = np.full((window.height, window.width), NODATA, np.uint8)
            classes[inner.within(window)] = found
            return classes

        yield read_classes


def _to_classes(stored: NDArray[Any], valid: NDArray[np.bool_], path: str) -> NDArray[np.uint8]:
    if stored.dtype == np.uint8:
        # What is invalid gets all eight bits: far sooner than by a choice for each pixel.
        classes: NDArray[Any] = valid.view(np.uint8) - np.uint8(1)
        classes |= stored
        wrong = classes == NODATA
        wrong &= valid
    else:
        classes = np.where(valid, stored, NODATA)
        wrong = valid & ((classes < 0) | (classes >= NODATA) | (classes != np.trunc(classes)))
    if wrong.any():
        raise LabelError(
            f"{path} holds the value {classes[wrong][0]}; classes are whole numbers from 0 to 254, and 255 is for "
            "nodata: recode the raster, or declare the value as its nodata"
        )
    return classes.astype(np.uint8, copy=False)


def _nodata_of(scene: Scene) -> int | None:
    """The scene's own nodata value if a byte holds it, 255 if there is another or a mask, None if there is none."""
    value = scene.nodata[0]
    if value is None and not scene.has_mask and scene.alpha is None:
        return None
    whole = value is not None and 0 <= value <= NODATA and float(value).is_integer()
    return int(value) if whole and value is not None else NODATA


def to_stored(classes: NDArray[np.uint8], scene: Scene) -> NDArray[np.uint8]:
    """Classes with the scene's own nodata value in place of 255."""
    nodata = _nodata_of(scene)
    if nodata in (None, NODATA):
        return classes
    return np.where(classes == NODATA, np.uint8(nodata), classes)


def profile_of(scene: Scene) -> RasterProfile:
    """What a copy of a class raster is: its georeference, nodata, class table and tags."""
    with opened(scene) as dataset:
        tags = {key: text for key, text in dataset.tags().items() if key != CLASSES_TAG}
    return RasterProfile(
        height=scene.height,
        width=scene.width,
        transform=scene.transform,
        crs=scene.crs,
        dtype="uint8",
        nodata=_nodata_of(scene),
        classes=classes_of(scene.path),
        names=scene.band_names,
        tags=tags,
    )


def class_names(scene: Scene) -> NDArray[Any]:
    """A name for each value from 0 to 254."""
    names = np.array([default_class(value).name for value in range(NODATA)], object)
    for item in classes_of(scene.path):
        names[item.value] = item.name
    return names
