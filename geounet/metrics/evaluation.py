"""How well a class map agrees with a reference, counted window by window in memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geounet.classes import NODATA, LandClass, default_class
from geounet.data.labels import Pair, read_codes
from geounet.errors import LabelError
from geounet.grid import Grid, Window
from geounet.metrics.boundaries import BoundaryScores, boundary_counts
from geounet.metrics.pixels import Evaluation, confusion
from geounet.metrics.seams import SeamQuality, seam_counts
from geounet.metrics.sides import Reading, known_codes, open_sides
from geounet.raster.class_raster import load_class_raster
from geounet.sources.polygon_files import is_polygons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.metrics.sides import Sides
    from geounet.raster.scene import Scene

    Codes = NDArray[np.uint8]
    Counts = NDArray[np.int64]
    Progress = Callable[[int, int], None] | None

__all__ = ["Comparison", "Evaluation", "Picture", "compare", "confusion", "evaluate", "measure_seams", "windows_of"]

_WINDOW = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Both sides in few pixels: every so many rows and columns of the grid."""

    predicted: Codes
    """`(rows, columns)`, 255 for nodata."""
    reference: Codes
    """Likewise; what counts nowhere is nodata."""
    step: int
    """Pixels from one to the next."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What a pass over all pixels finds."""

    evaluation: Evaluation
    """The confusion matrix and what follows from it."""
    boundary: BoundaryScores | None = None
    """Agreement of outlines, where it was asked for."""
    picture: Picture | None = None
    """Where it was asked for."""


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    *,
    classes: Sequence[LandClass] = (),
    field: str | None = None,
    all_touched: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare a class map with a reference, in memory that does not grow with their size.

    The comparison happens on the prediction's pixels, or on the reference's if the prediction is polygons; the other
    side is brought there by nearest neighbour (rasters) or by which polygon holds the pixel's centre. Nodata and
    ground without a polygon count nowhere on either side.

    Args:
        predicted: a class raster or a polygon file.
        reference: likewise; one of the two must be a raster.
        classes: the class table. Reference pixels of other values count nowhere; a value that only the prediction
            has is added to the table, so that it counts as the mistake it is. Without a table all values count.
        field: the polygons' field with the class; by default as in training.
        all_touched: a polygon counts on all pixels that it touches, not only where it holds the centre.
        progress: called with windows done and windows in all.

    Raises:
        LabelError: both are polygons, a raster has several bands, they do not overlap, or no pixel has a class on
            both sides.
        SceneError: a raster cannot be read.
    """
    sides = open_sides(predicted, reference, Reading(tuple(classes), field, all_touched))
    return compare(sides, classes, progress=progress).evaluation


def compare(
    sides: Sides, classes: Sequence[LandClass] = (), *, boundary: int = 0, picture: int = 0, progress: Progress = None
) -> Comparison:
    """Count what two sides have in common, pixel by pixel.

    Args:
        sides: see :func:`geounet.metrics.sides.open_sides`.
        classes: as for :func:`evaluate`.
        boundary: distance in pixels for Boundary IoU; 0 for none.
        picture: the most rows or columns that a picture of both sides may have; 0 for none.
        progress: called with windows done and windows in all.

    Raises:
        LabelError: the reference is points, or no pixel has a class on both sides.
        SceneError: a raster cannot be read.
    """
    if sides.predicted.pair is None or sides.reference.pair is None:
        raise LabelError(f"{sides.reference.path} holds points; they are a sample, which has no pixels to count")
    pairs = sides.reference.pair, sides.predicted.pair
    known = known_codes(classes)
    counts = np.zeros((NODATA, NODATA), np.int64)
    bands = np.zeros((3, NODATA), np.int64)
    drawing = _Drawing(sides.like, picture) if picture else None
    for window in windows_of(sides.like, progress):
        outer = window.padded(boundary)
        reference, predicted = (read_codes(pair, outer) for pair in pairs)
        reference[~known[reference]] = NODATA
        inner = window.within(outer)
        counts += _count(reference[inner], predicted[inner])
        if drawing is not None:
            drawing.add(window, reference[inner], predicted[inner])
        if boundary:
            apart = (reference == NODATA) | (predicted == NODATA)
            reference[apart], predicted[apart] = NODATA, NODATA
            bands += boundary_counts(reference, predicted, boundary, inner)
    evaluation = Evaluation(*_select(counts, classes))
    if not evaluation.pixels:
        raise LabelError(_nothing_in_common(sides, classes))
    return Comparison(
        evaluation,
        _boundary_of(evaluation.classes, boundary, bands) if boundary else None,
        drawing.picture if drawing else None,
    )


def windows_of(like: Scene, progress: Progress) -> Iterator[Window]:
    """The windows of a pass over a raster; progress is told after each."""
    windows = [tile.core for tile in Grid(like.extent, _WINDOW, _WINDOW).tiles()]
    for done, window in enumerate(windows, 1):
        yield window
        if progress is not None:
            progress(done, len(windows))


def _count(reference: Codes, predicted: Codes) -> Counts:
    """Confusion of all values 0 to 254: what :func:`confusion` gives for them, in a quarter of the time."""
    both = (reference.astype(np.uint16) << 8) | predicted
    return np.bincount(both.ravel(), minlength=1 << 16).reshape(1 << 8, 1 << 8)[:NODATA, :NODATA]


def _select(counts: Counts, classes: Sequence[LandClass]) -> tuple[tuple[LandClass, ...], Counts]:
    """The table's rows and columns, and those of values that only the prediction has."""
    known = [item.value for item in classes] or np.flatnonzero(counts.any(axis=1)).tolist()
    more = [value for value in np.flatnonzero(counts[known].any(axis=0)).tolist() if value not in known]
    table = {item.value: item for item in classes}
    values = [*known, *more] if classes else sorted([*known, *more])
    named = tuple(table.get(value) or default_class(value, place) for place, value in enumerate(values))
    return named, counts[np.ix_(values, values)]


def _nothing_in_common(sides: Sides, classes: Sequence[LandClass]) -> str:
    return (
        f"no pixel has a class both in {sides.predicted.path} and in {sides.reference.path}: they overlap, but one is "
        "nodata or unlabelled wherever the other is not, or the reference holds none of the values "
        f"{', '.join(str(item.value) for item in classes) or '0 to 254'}"
    )


def _boundary_of(classes: tuple[LandClass, ...], distance: int, bands: Counts) -> BoundaryScores:
    values = [item.value for item in classes]
    return BoundaryScores(classes, distance, *bands[:, values])


class _Drawing:
    """A picture that grows with the windows."""

    def __init__(self, like: Scene, most: int) -> None:
        """For a grid; `most` rows or columns."""
        self._step = -(-max(like.height, like.width) // most)
        shape = -(-like.height // self._step), -(-like.width // self._step)
        self.picture = Picture(np.full(shape, NODATA, np.uint8), np.full(shape, NODATA, np.uint8), self._step)

    def add(self, window: Window, reference: Codes, predicted: Codes) -> None:
        """Take what falls on the picture's pixels."""
        row, col = -window.row % self._step, -window.col % self._step
        for whole, codes in ((self.picture.reference, reference), (self.picture.predicted, predicted)):
            part = codes[row :: self._step, col :: self._step]
            top, left = (window.row + row) // self._step, (window.col + col) // self._step
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part


def measure_seams(
    path: str | Path,
    tile_size: int,
    *,
    offset: int = 0,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SeamQuality:
    """Whether a class raster shows the tiles it was made of; see :mod:`geounet.metrics.seams`.

    Args:
        path: a class raster.
        tile_size: rows and columns of a tile, in pixels.
        offset: row and column of the first tile's corner.
        force: see :func:`geounet.raster.class_raster.load_class_raster`.
        progress: called with windows done and windows in all.

    Raises:
        LabelError: these are polygons, the raster holds no classes, or it has no two tiles of this size.
        SceneError: it cannot be read, or has several bands.
    """
    if is_polygons(path):
        raise LabelError(f"{path} holds polygons; seams between tiles are looked for in a class raster")
    scene = load_class_raster(path, force)
    counts = np.zeros((2, tile_size), np.int64)
    for window in windows_of(scene, progress):
        outer = Window(window.row, window.col, window.height + 1, window.width + 1)
        counts += seam_counts(read_codes(Pair(scene, scene), outer), window.row, window.col, tile_size, offset)
    if not counts[0, 0]:
        raise LabelError(
            f"{path}, of {scene.height} x {scene.width} pixels, has no border between tiles of {tile_size} pixels with "
            "a class on both sides: give the size of the tiles that it was made of"
        )
    return SeamQuality(tile_size, offset, *counts)
