"""Class rasters: read as uint8 classes with 255 for nodata, whatever the file calls it, and described for a copy."""

from __future__ import annotations

import re
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, default_class
from geounet.errors import LabelError, SceneError
from geounet.raster.cog import CLASSES_TAG, RasterProfile, classes_of
from geounet.raster.remarks import tell, unplaced
from geounet.raster.samples import read_sample
from geounet.raster.scene import load_scene, opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.grid import Window
    from geounet.raster.scene import Scene

    ReadClasses = Callable[[Window], NDArray[np.uint8]]
    ReadStored = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]


_MOST_CLASSES = 64
"""Values of a raster without a class table from which on it is taken for measurements: the large legends, such as
USDA's of crops with 134 classes, come with a palette."""
_FEW = 1000
"""Pixels of a sample up to which its values tell nothing."""
_MEASURED = re.compile(r"confidence|probab|score|certain|uncertain|reflectance|elevation|height|ndvi", re.IGNORECASE)


def load_band(path: str | Path) -> Scene:
    """Describe a raster of one band.

    Raises:
        SceneError: it cannot be opened or has more bands.
    """
    scene = load_scene(path)
    if len(scene.bands) != 1:
        raise SceneError(f"{path} has {len(scene.bands)} bands; one is needed, with a value in each pixel")
    return scene


def load_class_raster(path: str | Path, force: bool = False) -> Scene:
    """Describe a raster of one band that holds classes.

    Args:
        path: the raster.
        force: take it for classes, whatever it says of itself.

    Raises:
        SceneError: it cannot be opened or has more bands.
        LabelError: it says, or its values do, that it holds measurements.
    """
    scene = load_scene(path)
    if len(scene.bands) != 1:
        raise SceneError(
            f"{path} has {len(scene.bands)} bands; a class raster has one, with a class code in each pixel"
        )
    measured = None if force else _measured(scene)
    if measured:
        raise LabelError(
            f"{path} is no class raster: {measured}; name one, or take its values for classes with --force"
        )
    tell(unplaced(scene))
    return scene


def _measured(scene: Scene) -> str | None:
    """What tells that a raster of one band holds measurements; None where nothing does, or it has a class table."""
    if classes_of(scene):
        return None
    name, scale, offset = scene.band_names[0], scene.scales[0], scene.offsets[0]
    if (scale, offset) != (1.0, 0.0):
        return f"its band {name!r} has a scale of {scale:.6g} and an offset of {offset:.6g}, as measurements have"
    if _MEASURED.search(name):
        return f"its band is called {name!r}"
    pixels = read_sample(scene).pixels[0]
    count = np.unique(pixels).size
    if count > _MOST_CLASSES and pixels.size > _FEW:
        return f"it has no class table, and {count} values in a sample of {pixels.size} pixels"
    return None


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
        classes=classes_of(scene),
        names=scene.band_names,
        tags=tags,
    )


def class_names(classes: Iterable[LandClass]) -> NDArray[Any]:
    """A name for each value from 0 to 254: as a class table has it, else by its number."""
    names = np.array([default_class(value).name for value in range(NODATA)], object)
    for item in classes:
        names[item.value] = item.name
    return names
