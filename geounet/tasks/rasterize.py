"""The other way: polygons to a class raster on another raster's pixels, tile by tile."""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np

from geounet.classes import NODATA, LandClass, default_class
from geounet.data.canvas import on_canvas, pieces_of
from geounet.data.labels import Polygons, in_crs_of, polygons_near, tell_unseen
from geounet.data.polygon_classes import (
    class_field,
    code_of,
    codes_of,
    kinds_of,
    mapped,
    tell_kinds,
    tell_strange_names,
)
from geounet.errors import LabelError
from geounet.formats.reading import one_layer, read_shapes, read_table
from geounet.outputs import check_ending, claimed, workspace_of
from geounet.raster.burning import joined
from geounet.raster.cog import ENDINGS, RasterProfile, classes_of, write_cog
from geounet.raster.identity import request_hash
from geounet.raster.placement import bounds_of
from geounet.raster.scene import load_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.grid import Window
    from geounet.raster.burning import Outlines
    from geounet.raster.scene import Scene

    Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
_EMPTY = "polygon file {} is empty: it holds no feature with a geometry"
_EDGES = 1 << 27
"""Bytes of edges, of 32 each, that are burnt at once."""


@dataclass(frozen=True, slots=True)
class RasterizeSummary:
    """What came of burning polygons."""

    polygons: int
    """Polygons that meet the raster and have a class; a part of a multipolygon counts as one."""
    counts: dict[int, int]
    """Pixels of each class that occurs."""
    nodata: int
    """Pixels without a class."""


def rasterize(
    polygons: Path,
    like: str | Path,
    out: Path,
    *,
    attribute: str | None = None,
    classes: Sequence[LandClass] = (),
    background: int = NODATA,
    all_touched: bool = False,
    class_map: Mapping[str, int] | None = None,
    tile_size: int = 2048,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> RasterizeSummary:
    """Write a class raster of the polygons of a file, in memory that grows neither with the raster nor with shapes.

    Polygons in another CRS are brought to the raster's. A pixel gets the class of the polygon that holds its centre;
    where polygons overlap, the last one in the file wins (a FlatGeobuf with an index has an order of its own). The
    result is the same whatever the tile size.

    Memory holds the attributes of all polygons, but not their shapes: these are read and burnt some at a time.

    Args:
        polygons: the polygon file.
        like: the raster whose size, CRS and transform the result has.
        out: the class raster (COG).
        attribute: the field with the class, as code or as name; the first of `class`, `value`, `label`, `code` by
            default.
        classes: the class table. Without one, names and colours are those of the file's fields `class_name` and
            `color`, then those of `like` if that is a class raster; and where the field holds names only, these
            get the codes 0, 1, 2 ... in alphabetical order.
        background: the code outside all polygons.
        all_touched: burn all pixels that share some area with a polygon.
        class_map: the class of a code or name that the field holds, see :func:`geounet.class_tables.read_class_map`.
        tile_size: rows and columns worked on at once; it changes no pixel.
        overwrite: replace `out`.
        progress: called with the tiles done and the tiles in all.

    Raises:
        LabelError: the file cannot be used, or no polygon meets the raster.
        SceneError: `like` cannot be read.
        OutputError: `out` exists or cannot be written.
    """
    check_ending(out, *ENDINGS)
    scene = load_scene(like)
    request = request_hash("rasterize", [polygons, like], attribute, classes, background, all_touched, class_map)
    with claimed([out], request, overwrite):
        file = one_layer(polygons)
        frame = mapped(_table(file), polygons, attribute, class_map or {})
        name = class_field(frame, polygons, attribute)
        known = tuple(classes) or _named_classes(frame, name, polygons)
        codes = codes_of(frame, polygons, known, name)
        del frame
        burning = _Burning(scene, polygons, all_touched)
        with tempfile.TemporaryFile(dir=workspace_of(out)) as place:
            canvas, last = on_canvas(burning.drawn(file, codes), scene, place, tile_size)
            burning.tell()
            table = tuple(classes) or _class_table(burning.codes, known, scene, background)
            counts = np.zeros(NODATA + 1, np.int64)
            pieces = pieces_of(scene, canvas, last, background, tile_size, progress)
            write_cog(out, _profile(scene, table), _counted(pieces, counts))
    found = {int(value): int(counts[value]) for value in np.flatnonzero(counts[:NODATA])}
    return RasterizeSummary(burning.polygons, found, int(counts[NODATA]))


def _table(path: Path) -> Any:
    """The attributes of a polygon file, without its shapes.

    Raises:
        LabelError: it cannot be read, or has no feature.
    """
    table = read_table(path)
    if not len(table):
        raise LabelError(_EMPTY.format(path))
    return gpd.GeoDataFrame(table, geometry=[None] * len(table))


@dataclass(slots=True)
class _Burning:
    """The polygons of a file on a raster's pixels, and what is to be said of them when all have been read."""

    scene: Scene
    """On whose pixels."""
    path: Path
    """The file, as it was named."""
    all_touched: bool
    """See :class:`geounet.data.labels.Polygons`."""
    features: int = 0
    """Read so far."""
    polygons: int = 0
    """That meet the raster and have a class."""
    beside: int = 0
    """Features that do not meet it."""
    codes: set[int] = field(default_factory=set)
    """Classes that are burnt."""
    unseen: int = 0
    """Polygons too small to hold a pixel's centre."""
    kinds: Counter[str] = field(default_factory=Counter)
    """See :func:`geounet.data.polygon_classes.kinds_of`."""
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    """Of each batch in the raster's CRS: minimum x, minimum y, maximum x, maximum y."""

    def drawn(self, file: Path, codes: NDArray[np.int64]) -> Iterator[Polygons]:
        """Batches of polygons, in the order of the file, each as large as its edges allow."""
        waiting: list[Outlines] = []
        for shapes in read_shapes(file):
            waiting.append(self._place(shapes, codes[self.features : self.features + len(shapes)]))
            self.features += len(shapes)
            if sum(part.edges.nbytes for part in waiting) > _EDGES:
                yield Polygons(str(self.path), joined(waiting), self.all_touched)
                waiting = []
        if waiting:
            yield Polygons(str(self.path), joined(waiting), self.all_touched)

    def _place(self, shapes: gpd.GeoSeries, codes: NDArray[np.int64]) -> Outlines:
        self.kinds.update(kinds_of(shapes))
        there = in_crs_of(self.scene, shapes)
        self._look_beside(there.bounds.to_numpy())
        found = polygons_near(self.scene, there, codes, self.path, self.all_touched).outlines
        self.polygons += found.codes.size
        self.unseen += 0 if self.all_touched else found.without_centre
        self.codes.update(np.unique(found.codes).tolist())
        return found

    def _look_beside(self, boxes: NDArray[np.float64]) -> None:
        """Count what does not meet the raster's box; what has no shape, or none here, is counted elsewhere."""
        left, bottom, right, top = bounds_of(self.scene)
        boxes = boxes[np.isfinite(boxes).all(axis=1)]
        meets = (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= top) & (boxes[:, 3] >= bottom)
        self.beside += int((~meets).sum())
        if len(boxes):
            self.boxes.append(np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]))

    def tell(self) -> None:
        """Say what is left out, with counts.

        Raises:
            LabelError: there is no feature with a geometry, or no polygon with a class meets the raster.
        """
        tell_kinds(self.kinds, self.features, self.path)
        if self.kinds["without geometry"] + self.kinds["empty"] == self.features:
            raise LabelError(_EMPTY.format(self.path))
        if not self.polygons:
            raise LabelError(self._elsewhere())
        if self.beside:
            _log.warning(
                "%d of %d features of %s lie beside %s, and are left out",
                self.beside, self.features, self.path, self.scene.label,
            )  # fmt: skip
        tell_unseen(self.unseen, self.polygons, self.path)

    def _elsewhere(self) -> str:
        found = np.array(self.boxes or [np.full(4, np.inf)])
        bounds = ", ".join(f"{value:.10g}" for value in (*found[:, :2].min(axis=0), *found[:, 2:].max(axis=0)))
        covered = ", ".join(f"{value:.10g}" for value in bounds_of(self.scene))
        return (
            f"no polygon of {self.path} with a class meets {self.scene.label}: in its CRS they cover {bounds}, and it "
            f"{covered} (minimum x, minimum y, maximum x, maximum y)"
        )


def _named_classes(frame: Any, field: str, path: Path) -> tuple[LandClass, ...]:
    """Classes as the file names them; if the field holds names only, these are numbered."""
    values = frame[field]
    if not _is_text(values):
        return _of_fields(frame, field)
    names = sorted({str(value) for value in values.dropna() if str(value)})
    tell_strange_names(f"field {field!r} of {path}", names)
    if len(names) > NODATA:
        raise LabelError(f"field {field!r} of {path} holds {len(names)} names; a class raster has 255 classes at most")
    table = tuple(LandClass(code, name, default_class(code, code).color) for code, name in enumerate(names))
    _log.warning("%s: the names in %r become the classes %s", path, field, _listed(table))
    return table


def _is_text(values: Any) -> bool:
    """Whether no value is a number."""
    import pandas as pd

    return bool(pd.to_numeric(values, errors="coerce").isna().all())


def _listed(table: Iterable[LandClass]) -> str:
    return ", ".join(f"{item.value} {item.name}" for item in table)


def _of_fields(frame: Any, field: str) -> tuple[LandClass, ...]:
    """Classes with the names and colours that stand beside the codes; the first of each code counts."""
    if not {"class_name", "color"} & set(frame.columns):
        return ()
    rows = frame.drop_duplicates(field)
    codes = (code_of(value) for value in rows[field])
    described = zip(codes, _column(rows, "class_name"), _column(rows, "color"), strict=True)
    known = sorted(row for row in described if row[0] >= 0)
    return tuple(_class_of(*row, position) for position, row in enumerate(known))


def _class_of(code: int, name: str, color: str, position: int) -> LandClass:
    plain = default_class(code, position)
    shown = color.lower() if re.fullmatch(r"#[0-9a-fA-F]{6}", color) else plain.color
    return LandClass(code, name or plain.name, shown)


def _column(rows: Any, name: str) -> list[str]:
    """A field as text, empty where there is none."""
    return [str(value) if isinstance(value, str) else "" for value in rows[name]] if name in rows else [""] * len(rows)


def _class_table(
    burnt: Collection[int], known: Sequence[LandClass], scene: Scene, background: int
) -> tuple[LandClass, ...]:
    """A class for each code that is burnt: as the file has it, else as the raster has it, else by its number."""
    others = classes_of(scene) if len(scene.bands) == 1 else ()
    table = {item.value: item for item in (*others, *known)}
    codes = sorted({*burnt, *([background] if background < NODATA else [])})
    return tuple(table.get(code) or default_class(code, position) for position, code in enumerate(codes))


def _profile(scene: Scene, classes: tuple[LandClass, ...]) -> RasterProfile:
    return RasterProfile(
        height=scene.height,
        width=scene.width,
        transform=scene.transform,
        crs=scene.crs,
        dtype="uint8",
        nodata=NODATA,
        classes=classes,
    )


def _counted(
    pieces: Iterable[tuple[Window, NDArray[np.uint8]]], counts: NDArray[np.int64]
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """The pieces as bands, counted by class on their way."""
    for window, codes in pieces:
        counts += np.bincount(codes.ravel(), minlength=counts.size)
        yield window, codes[None]
