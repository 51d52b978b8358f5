"""A class raster and what is summed up over it, strip by strip: what vectorising reads."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA
from geounet.components.touching import Splitting, split_touching
from geounet.errors import SceneError
from geounet.outlines.streaming import Readers
from geounet.raster.class_raster import class_reader
from geounet.raster.scene import aligned, decoding_in_threads, load_scene, read_stored, small_cache

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.components.touching import ReadBoundary
    from geounet.grid import Window
    from geounet.outlines.stitching import Layer
    from geounet.raster.class_raster import ReadClasses
    from geounet.raster.scene import Scene


@dataclass(frozen=True, slots=True)
class Touching:
    """How touching fields are told apart."""

    rule: Splitting
    """Which classes, and from when on."""
    boundary: Path | None = None
    """A raster with the boundary's probability, on any grid; stored as a confidence is."""
    band: int = 1
    """Its band, from 1."""


@contextmanager
def open_strips(
    scene: Scene,
    layers: Sequence[Scene],
    touching: Touching | None,
    tile_size: int,
    workers: int,
    only: Collection[int] | None = None,
) -> Iterator[tuple[Readers, NDArray[np.uint8]]]:
    """What reads codes and the layers to sum up; each code's class.

    Codes are the classes themselves, or where touching fields are told apart values that tell them apart.

    Args:
        scene: the class raster.
        layers: rasters to sum up, on any grid; of each all its bands.
        touching: how fields are told apart, if they are.
        tile_size: rows and columns worked on at once.
        workers: threads.
        only: the classes that are read, others being as nodata; None for all.

    Raises:
        SceneError: a raster cannot be read, or a boundary's probability exceeds 1.
        LabelError: the class raster holds values that are no classes.
    """
    with ExitStack() as stack:
        stack.enter_context(small_cache())
        with decoding_in_threads(workers):
            read_classes = stack.enter_context(class_reader(scene))
            opened_layers = [stack.enter_context(aligned(layer, scene)) for layer in layers]
        if only is not None:
            read_classes = _only(read_classes, only)
        class_of_code = np.arange(256, dtype=np.uint8)
        if touching is not None:
            objects = stack.enter_context(
                split_touching(
                    read_classes,
                    scene.extent,
                    touching.rule,
                    read_boundary=_boundary_reader(touching, scene, stack),
                    tile_size=tile_size,
                    workers=workers,
                )
            )
            read_classes, class_of_code = objects.codes, objects.class_of_code

        def read_layers(window: Window) -> tuple[Layer, ...]:
            bands = [(dataset, band) for dataset, layer in opened_layers for band in layer.singles]
            stored = [read_stored(dataset, band, window) for dataset, band in bands]
            return tuple((values[0], valid) for values, valid in stored)

        yield Readers(read_classes, read_layers, sum(len(layer.bands) for layer in layers)), class_of_code


def _only(read: ReadClasses, values: Collection[int]) -> ReadClasses:
    """The classes of these values, and nodata in place of others."""
    kept = np.full(256, NODATA, np.uint8)
    kept[list(values)] = list(values)
    return lambda window: kept[read(window)]


def _boundary_reader(touching: Touching, classes: Scene, stack: ExitStack) -> ReadBoundary | None:
    """A function from a window to its boundary probability, NaN where there is none."""
    if touching.boundary is None:
        return None
    dataset, scene = stack.enter_context(aligned(load_scene(touching.boundary, [touching.band]), classes))
    scale, offset = scene.scales[0], scene.offsets[0]
    if scene.dtype == "uint8" and (scale, offset) == (1.0, 0.0):
        scale = 1 / 254

    def read(window: Window) -> NDArray[np.float32]:
        values, valid = read_stored(dataset, scene, window)
        chance: NDArray[np.float32] = np.where(valid[...], values[0] * scale + offset, np.nan).astype(np.float32)
        if np.nanmax(chance, initial=0.0) > 1 + 1e-6:
            raise SceneError(f"{scene.path} exceeds 1; probabilities lie between 0 and 1: set the band's scale")
        return chance

    return read
