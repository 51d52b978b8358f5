"""Touching fields told apart: a watershed on boundary probability and shape, the same for any tile size.

The relief of a pixel is its boundary probability and how near its field's edge it is; fields are its basins, joined
where the way between them rises too little: see :mod:`geounet.components.basins`. A pixel's relief depends on what lies
within :attr:`Splitting.margin` pixels; all else is joined over the seams, however far a field or a boundary reaches.
"""

from __future__ import annotations

import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from scipy import ndimage

from geounet.classes import NODATA
from geounet.components import basins
from geounet.components.basins import Nodes, Rim, Ways
from geounet.components.scratch import fetch, put
from geounet.errors import LabelError
from geounet.grid import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.components.basins import Tile
    from geounet.components.scratch import Place

    Classes = NDArray[np.uint8]
    Ids = NDArray[np.uint32]
    Integers = NDArray[np.int64]
    Probabilities = NDArray[np.float32]
    Read = Callable[[Window], Classes]
    ReadBoundary = Callable[[Window], Probabilities]

Kind = TypeVar("Kind", Nodes, Rim, Ways)

BARRIER = 0.5
"""Boundary probability from which on a pixel counts as an edge of its field."""
_UNIT = 1000
"""Relief of a way that is high enough to tell two fields apart."""
_VALUES = 256


@dataclass(frozen=True, slots=True)
class Splitting:
    """What tells fields apart.

    Two fields are cut where each way between them rises by 1 above the lowest place of either, counted as
    `boundary probability / rise + (half width lost) / neck`; a pixel of the boundary class has the probability 1
    where no raster says another.
    """

    fields: frozenset[int]
    """Classes whose objects are told apart."""
    boundary_class: int | None = None
    """Class whose pixels go to the fields around them; None: there is none."""
    rise: float = 0.15
    """Boundary probability between two fields above that inside of either, 0.01 to 1. Lower: more cuts."""
    neck: float = 2.0
    """Pixels by which a passage between two fields is nearer to an edge than the middle of either, at least 0.1.
    Lower: more cuts; 1000: shape cuts nothing."""
    half_width: int = 8
    """Distance from the edge in pixels, 0 to 64, from which on all places are equally deep inside a field. Gaps in a
    boundary are closed up to about `2 * (half_width - neck)` pixels where both fields are as wide as twice this."""
    min_pixels: int = 10
    """What is smaller goes to the field that the lowest way leads to; a field that touches none stays, however
    small."""

    def __post_init__(self) -> None:
        for name, least, most in (("rise", 0.01, 1), ("neck", 0.1, 1000), ("half_width", 0, 64)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}: it must lie between {least} and {most}")
        if self.min_pixels < 0:
            raise ValueError(f"min_pixels is {self.min_pixels}: it must not be negative")
        wrong = sorted(value for value in (*self.fields, self.boundary or 0) if not 0 <= value <= basins.NOBODY)
        if wrong or NODATA in self.fields or self.boundary in (NODATA, *self.fields) or not self.fields:
            raise ValueError(
                f"fields {sorted(self.fields)} and boundary class {self.boundary_class}: one field class at least, "
                "values from 0 to 254, and the boundary class is not a field class"
            )

    @property
    def boundary(self) -> int:
        """The boundary class, or one that no pixel has."""
        return basins.NOBODY if self.boundary_class is None else self.boundary_class

    @property
    def margin(self) -> int:
        """Pixels around a tile that its relief, and that of the pixels next to it, depend on."""
        return max(1, self.half_width)


@dataclass(frozen=True, slots=True)
class Objects:
    """A class raster whose touching fields are told apart; good while the folder of its making is open."""

    count: int
    """Fields: their ids are 1 to `count`, in raster order of their first pixels."""
    class_of_object: Classes
    """`(count + 1,)`: the class of each; 255 for 0."""
    code_of_object: Classes
    """`(count + 1,)`: the code of each; 255 for 0."""
    class_of_code: Classes
    """`(256,)`: the class that each code stands for; 255 for itself."""
    extent: Window
    """The whole raster."""
    tile_size: int
    """Rows and columns of a tile."""
    read_classes: Read
    """The classes as they were."""
    file: BinaryIO
    """The tiles' nodes."""
    places: tuple[Place, ...]
    """Where each tile lies there, row by row."""
    tables: tuple[Ids, ...]
    """For each tile the object of each of its nodes, 0 for 0."""

    def tiles(self) -> Iterator[tuple[Window, Ids]]:
        """Windows that cover the raster, row by row, and their ids `(height, width)`."""
        for index, core in enumerate(_cores(self.extent, self.tile_size)):
            yield core, self._tile(index)

    def ids(self, window: Window) -> Ids:
        """The id of each pixel of a window within the raster, 0 for what is no field; for one thread at a time."""
        out = np.zeros((window.height, window.width), np.uint32)
        size, across = self.tile_size, -(-self.extent.width // self.tile_size)
        for row in range(window.row // size, -(-window.row_stop // size)):
            for col in range(window.col // size, -(-window.col_stop // size)):
                core = Window(row * size, col * size, size, size).intersection(self.extent)
                inner = core.intersection(window)
                out[inner.within(window)] = self._tile(row * across + col)[inner.within(core)]
        return out

    def codes(self, window: Window) -> Classes:
        """A class raster in which fields that touch have different codes, so that its components are the fields.

        Args:
            window: within the raster.

        Returns:
            `(height, width)`, 255 for nodata; :attr:`class_of_code` says what classes the codes stand for.
        """
        ids = self.ids(window)
        return np.where(ids > 0, self.code_of_object[ids], self.read_classes(window))

    def _tile(self, index: int) -> Ids:
        ids: Ids = self.tables[index][fetch(self.file, self.places[index])]
        return ids


def _cores(extent: Window, tile_size: int) -> Iterator[Window]:
    return (tile.core for tile in Grid(extent, tile_size, tile_size).tiles())


@contextmanager
def split_touching(
    read_classes: Read,
    extent: Window,
    rule: Splitting,
    *,
    read_boundary: ReadBoundary | None = None,
    tile_size: int = 1024,
    workers: int = 1,
    folder: Path | None = None,
) -> Iterator[Objects]:
    """Tell touching fields apart.

    Every pixel of a field class belongs to one object, every object is 4-connected and of one class. Pixels of the
    boundary class belong to the object that they drain to; where no field is connected to them they stay what they
    are, and so do all other classes.

    Args:
        read_classes: from a window within the raster to its classes `(height, width)`, 255 for nodata; called from
            one thread at a time, and again by :meth:`Objects.codes`.
        extent: the whole raster; it begins at (0, 0).
        rule: what tells fields apart.
        read_boundary: from a window to its boundary probability `(height, width)`, 0 to 1, NaN where unknown, which
            counts as 0, or as 1 in the boundary class.
        tile_size: rows and columns worked on at once; it changes nothing.
        workers: threads; they change nothing.
        folder: where the temporary file goes; by default where the system has them.

    Yields:
        The objects, good until the context ends.

    Raises:
        LabelError: a byte has too few values to give touching fields different ones.
    """
    cores = tuple(_cores(extent, tile_size))
    seen = np.zeros(_VALUES, np.bool_)

    def read(core: Window) -> tuple[Classes, Probabilities | None]:
        wide = core.padded(rule.margin)
        classes = _padded(read_classes, wide, extent, np.uint8(NODATA))
        seen[classes] = True
        return classes, None if read_boundary is None else _padded(read_boundary, wide, extent, np.float32(np.nan))

    with tempfile.TemporaryFile(dir=folder) as file:
        places, parts = _put_aside(_surveyed(cores, extent, rule, read, workers), file)
        tables, found = _joined(parts, rule, extent.width)
        code_of_object, class_of_code = _codes(found, seen)
        yield Objects(
            count=found.nodes.classes.size,
            class_of_object=np.append(np.uint8(NODATA), found.nodes.classes),
            code_of_object=code_of_object,
            class_of_code=class_of_code,
            extent=extent,
            tile_size=tile_size,
            read_classes=read_classes,
            file=file,
            places=places,
            tables=tables,
        )


def split_array(classes: Classes, rule: Splitting, boundary: Probabilities | None = None) -> Ids:
    """The ids of a whole raster in memory, as :func:`split_touching` gives them.

    Args:
        classes: `(height, width)`, 255 for nodata.
        rule: what tells fields apart.
        boundary: `(height, width)`, boundary probability from 0 to 1, NaN where unknown.
    """
    extent = Window(0, 0, *classes.shape)
    read_boundary = None if boundary is None else lambda window: boundary[window.within(extent)]
    reading = split_touching(
        lambda window: classes[window.within(extent)],
        extent,
        rule,
        read_boundary=read_boundary,
        tile_size=max(1, *classes.shape),
    )
    with reading as objects:
        return objects.ids(extent)


def _padded(read: Callable[[Window], NDArray[Any]], window: Window, extent: Window, outside: Any) -> NDArray[Any]:
    """What is read of a window, and `outside` beyond the raster."""
    inner = window.intersection(extent)
    values = read(inner)
    out = np.full((window.height, window.width), outside, values.dtype)
    out[inner.within(window)] = values
    return out


def _surveyed(
    cores: Sequence[Window],
    extent: Window,
    rule: Splitting,
    read: Callable[[Window], tuple[Classes, Probabilities | None]],
    workers: int,
) -> Iterator[Tile]:
    """The tiles in order; a few are read ahead of those that are worked on."""
    with ThreadPoolExecutor(workers, "geounet-split") as pool:
        waiting: deque[Future[Tile]] = deque()
        for core in cores:
            if len(waiting) > workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_survey, core, extent, rule, *read(core)))
        while waiting:
            yield waiting.popleft().result()


def _survey(core: Window, extent: Window, rule: Splitting, classes: Classes, boundary: Probabilities | None) -> Tile:
    owner, relief = relief_of(classes, rule, boundary)
    cut = slice(rule.margin - 1, core.height + rule.margin + 1), slice(rule.margin - 1, core.width + rule.margin + 1)
    return basins.survey(
        np.ascontiguousarray(owner[cut]),
        np.ascontiguousarray(relief[cut]),
        boundary=rule.boundary,
        rise=_UNIT,
        start=core.row * extent.width + core.col,
        stride=extent.width,
        seams=(core.row > 0, core.row_stop < extent.row_stop, core.col > 0, core.col_stop < extent.col_stop),
    )


def relief_of(
    classes: Classes, rule: Splitting, boundary: Probabilities | None = None
) -> tuple[Classes, NDArray[np.int32]]:
    """How high each pixel lies: 0 in the middle of a field, higher at its edge and on a boundary.

    Args:
        classes: `(height, width)`, 255 for nodata.
        rule: what tells fields apart.
        boundary: `(height, width)`, boundary probability from 0 to 1, NaN where unknown.

    Returns:
        `(height, width)` each: the class of fields and boundaries, 255 elsewhere; and the relief in thousandths of
        what tells two fields apart.
    """
    lined = classes == rule.boundary
    kept = np.isin(classes, [*rule.fields]) | lined
    owner = np.where(kept, classes, np.uint8(NODATA))
    chance = lined.astype(np.float64)
    if boundary is not None:
        chance = np.where(np.isnan(boundary), chance, np.clip(boundary, 0, 1))
    depth = _depth(np.where(lined | (chance >= BARRIER), np.uint8(NODATA), owner), rule.half_width)
    relief = np.rint(chance * (_UNIT / rule.rise)) + np.rint((rule.half_width - depth) * (_UNIT / rule.neck))
    return owner, relief.astype(np.int32)


def _depth(inside: Classes, most: int) -> NDArray[np.float64]:
    """Pixels from each pixel of a field to its edge, the outermost being 1, and less than 0 from a barrier to a field.

    Args:
        inside: `(height, width)`: the field's class, 255 for barriers and what is no field.
        most: what no distance exceeds, on either side.
    """
    open_ground = inside != NODATA
    edge = open_ground & (_differs(inside, 0) | _differs(inside, 1))
    within = 1 + _distance(edge, most)
    return np.where(open_ground, np.minimum(within, most), -_distance(open_ground, most))


def _differs(inside: Classes, axis: int) -> NDArray[np.bool_]:
    """Where the pixel before or after along an axis is another; beyond the array there is nothing."""
    padded = np.pad(inside, [(1, 1) if at == axis else (0, 0) for at in range(2)], constant_values=NODATA)
    changes = np.diff(padded, axis=axis) != 0
    before, after = np.split(changes, [-1], axis=axis)[0], np.split(changes, [1], axis=axis)[1]
    return np.asarray(before | after)


def _distance(to: NDArray[np.bool_], most: int) -> NDArray[np.float64]:
    """Euclidean distance to the nearest such pixel, `most` at the most."""
    distances: NDArray[np.float64] = np.full(to.shape, float(most))
    if to.any():
        np.minimum(ndimage.distance_transform_edt(~to), most, out=distances)
    return distances


@dataclass(frozen=True, slots=True)
class _Part:
    """What is kept of a tile in memory."""

    nodes: Nodes
    ways: Ways
    rim: Rim
    exits: Integers


def _put_aside(tiles: Iterator[Tile], file: BinaryIO) -> tuple[tuple[Place, ...], list[_Part]]:
    """Labels to the file, the rest kept."""
    places, parts = [], []
    for tile in tiles:
        places.append(put(file, tile.labels))
        parts.append(_Part(tile.nodes, tile.ways, tile.rim, tile.exits))
    return tuple(places), parts


@dataclass(frozen=True, slots=True)
class _Fields:
    """The objects, in raster order of their first pixels, and the ways between those that touch."""

    nodes: Nodes
    ways: Ways


def _joined(parts: Sequence[_Part], rule: Splitting, stride: int) -> tuple[tuple[Ids, ...], _Fields]:
    """For each tile the object of each of its nodes, 0 first, and the objects."""
    starts = np.cumsum([0, *(part.nodes.classes.size for part in parts)])
    nodes = _concatenated(Nodes, [part.nodes for part in parts])
    shifts = list(zip(parts, starts, strict=False))
    rim = _concatenated(Rim, [Rim(part.rim.places, part.rim.nodes + by, part.rim.relief) for part, by in shifts])
    order = np.argsort(rim.places)
    rim = Rim(rim.places[order], rim.nodes[order], rim.relief[order])
    within = [Ways(part.ways.one + by, part.ways.other + by, part.ways.heights) for part, by in shifts]
    ways = _concatenated(Ways, [*within, basins.ways_over_seams(rim, stride)])
    exits = np.concatenate([part.exits + np.array([by, 0]) for part, by in shifts])
    objects, found = _merged(nodes, ways, basins.join_exits(exits, rim, nodes.classes.size), rule)
    none = np.zeros(1, np.uint32)
    tables = [np.append(none, objects[start:stop]) for start, stop in pairwise(starts)]
    return tuple(tables), found


def _concatenated(kind: type[Kind], parts: Sequence[Kind]) -> Kind:
    return kind(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(kind)))


def _merged(nodes: Nodes, ways: Ways, table: Integers, rule: Splitting) -> tuple[Ids, _Fields]:
    """From nodes to objects counted from 1: water that runs on, basins that are one, then what is too small.

    Args:
        nodes: of all tiles.
        ways: between them.
        table: for each node the basin it is part of.
        rule: what tells fields apart.
    """
    nodes = basins.fold(nodes, table, rule.boundary)
    ways = _between(basins.in_order(ways), table, nodes, rule)
    joined, nodes = basins.merge(ways, nodes, np.zeros(nodes.classes.size, np.bool_), rule.boundary, _UNIT)
    ways = _between(ways, joined, nodes, rule)
    grown, nodes = basins.merge_small(ways, nodes, rule.boundary, rule.min_pixels)
    order = np.argsort(nodes.first)
    order = order[nodes.classes[order] != rule.boundary]
    numbers = np.zeros(nodes.classes.size, np.uint32)
    numbers[order] = np.arange(1, order.size + 1)
    ways = _between(ways, grown, nodes, rule)
    # A boundary that leads to no field leads nowhere.
    places = numbers.astype(np.int64) - 1
    found = Nodes(nodes.bottoms[order], nodes.sizes[order], nodes.classes[order], nodes.first[order])
    return numbers[grown[joined[table]]], _Fields(found, Ways(places[ways.one], places[ways.other], ways.heights))


def _between(ways: Ways, table: Integers, nodes: Nodes, rule: Splitting) -> Ways:
    """The lowest ways between nodes of nodes."""
    return basins.lowest(Ways(table[ways.one], table[ways.other], ways.heights), nodes.classes, rule.boundary)


def _codes(found: _Fields, seen: NDArray[np.bool_]) -> tuple[Classes, Classes]:
    """The code of each object, 255 first, and the class of each code.

    Args:
        found: the objects.
        seen: `(256,)`: which values the raster holds.

    Raises:
        LabelError: there are more codes than a byte holds.
    """
    classes = found.nodes.classes
    colours = basins.colour(classes.size, found.ways.one, found.ways.other)
    pairs = np.unique(np.stack([colours, classes], axis=1), axis=0)
    further = pairs[pairs[:, 0] > 0]
    free = np.flatnonzero(~seen[:NODATA])
    if further.shape[0] > free.size:
        raise LabelError(
            f"touching fields of {np.unique(classes).size} classes need {further.shape[0]} values more than the "
            f"{int(seen[:NODATA].sum())} that the raster holds, but a byte has only {free.size} left: split fewer "
            "classes at once"
        )
    code_of = np.tile(np.arange(_VALUES, dtype=np.uint8), (int(colours.max(initial=0)) + 1, 1))
    class_of_code = np.arange(_VALUES, dtype=np.uint8)
    values = free[: further.shape[0]].astype(np.uint8)
    code_of[further[:, 0], further[:, 1]] = values
    class_of_code[values] = further[:, 1]
    return np.append(np.uint8(NODATA), code_of[colours, classes]), class_of_code
