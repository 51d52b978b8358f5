"""The other way: polygons to a class raster on another raster's pixels, tile by tile."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA, LandClass, default_class
from geounet.data.labels import Pair, in_crs_of, polygons_on, read_codes, tell_unseen
from geounet.data.polygon_classes import class_field, code_of, mapped, tell_shapes, tell_strange_names
from geounet.errors import LabelError
from geounet.grid import Grid
from geounet.outputs import check_ending, claimed
from geounet.raster.cog import ENDINGS, RasterProfile, classes_of, write_cog
from geounet.raster.identity import request_hash
from geounet.raster.placement import bounds_of
from geounet.raster.scene import load_scene
from geounet.sources.polygon_files import read_polygons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geounet.data.labels import Polygons
    from geounet.grid import Window
    from geounet.raster.scene import Scene

    Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


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
    """Write a class raster of the polygons of a file, in memory that does not grow with the raster's size.

    Polygons in another CRS are brought to the raster's. A pixel gets the class of the polygon that holds its centre;
    where polygons overlap, the last one in the file wins (a FlatGeobuf with an index has an order of its own). The
    result is the same whatever the tile size.

    Args:
        polygons: the polygon file; it is read into memory.
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
    how = (attribute, classes, background, all_touched, class_map or {})
    with claimed([out], request, overwrite):
        return _rasterize(polygons, scene, out, *how, tile_size, progress)


def _rasterize(
    polygons: Path,
    scene: Scene,
    out: Path,
    attribute: str | None,
    classes: Sequence[LandClass],
    background: int,
    all_touched: bool,
    class_map: Mapping[str, int],
    tile_size: int,
    progress: Progress,
) -> RasterizeSummary:
    frame = read_polygons(polygons)
    tell_shapes(frame, polygons)
    frame = mapped(frame, polygons, attribute, class_map)
    field = class_field(frame, polygons, attribute)
    known = tuple(classes) or _named_classes(frame, field, polygons)
    drawn = polygons_on(scene, frame, polygons, known, field, all_touched)
    if not drawn.outlines.codes.size:
        raise LabelError(_beside(scene, frame, polygons))
    beside = _beside_count(scene, frame)
    if beside:
        _log.warning(
            "%d of %d features of %s lie beside %s, and are left out", beside, len(frame), polygons, scene.label
        )
    tell_unseen([drawn])
    table = tuple(classes) or _class_table(drawn, known, scene, background)
    del frame
    counts = np.zeros(NODATA + 1, np.int64)
    pair = Pair(scene, drawn, background=background)
    write_cog(out, _profile(scene, table), _counted(_pieces(pair, tile_size, progress), counts))
    found = {int(value): int(counts[value]) for value in np.flatnonzero(counts[:NODATA])}
    return RasterizeSummary(drawn.outlines.codes.size, found, int(counts[NODATA]))


def _beside_count(scene: Scene, frame: Any) -> int:
    """How many features of a file do not meet the raster's box."""
    left, bottom, right, top = bounds_of(scene)
    boxes = in_crs_of(scene, frame).bounds.to_numpy()
    meets = (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= top) & (boxes[:, 3] >= bottom)
    # What has no geometry, or none that can be projected, is counted elsewhere.
    return int((~meets & np.isfinite(boxes).all(axis=1)).sum())


def _beside(scene: Scene, frame: Any, path: Path) -> str:
    bounds = ", ".join(f"{value:.10g}" for value in in_crs_of(scene, frame).total_bounds)
    covered = ", ".join(f"{value:.10g}" for value in bounds_of(scene))
    return (
        f"no polygon of {path} with a class meets {scene.label}: in its CRS they cover {bounds}, and it {covered} "
        "(minimum x, minimum y, maximum x, maximum y)"
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


def _class_table(drawn: Polygons, known: Sequence[LandClass], scene: Scene, background: int) -> tuple[LandClass, ...]:
    """A class for each code that is burnt: as the file has it, else as the raster has it, else by its number."""
    others = classes_of(scene.path) if len(scene.bands) == 1 else ()
    table = {item.value: item for item in (*others, *known)}
    codes = sorted({*np.unique(drawn.outlines.codes).tolist(), *([background] if background < NODATA else [])})
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


def _pieces(pair: Pair, tile_size: int, progress: Progress) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    cores = [tile.core for tile in Grid(pair.image.extent, tile_size, tile_size).tiles()]
    for done, core in enumerate(cores, 1):
        yield core, read_codes(pair, core)
        progress(done, len(cores))


def _counted(
    pieces: Iterable[tuple[Window, NDArray[np.uint8]]], counts: NDArray[np.int64]
) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    """The pieces as bands, counted by class on their way."""
    for window, codes in pieces:
        counts += np.bincount(codes.ravel(), minlength=counts.size)
        yield window, codes[None]
