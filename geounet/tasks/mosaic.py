"""Many products as one map, and one set of polygons in which a field that lies in two scenes is one."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from geounet.classes import NODATA
from geounet.errors import OutputError
from geounet.formats.vector_io import check_format, check_place
from geounet.grid import Window
from geounet.maps.frame import Frame, frame_for
from geounet.maps.layers import common_classes, find_layers
from geounet.maps.merging import PREFERENCES, merge
from geounet.maps.placing import Placed, place, read_placed
from geounet.maps.vrt import write_vrt
from geounet.maps.walking import walk
from geounet.outputs import check_ending, check_output, claimed, workspace_of
from geounet.raster.class_raster import stored_reader
from geounet.raster.cog import ENDINGS, RasterProfile, cog_writer
from geounet.raster.identity import request_hash
from geounet.raster.scene import small_cache
from geounet.tasks.vectorize import vectorize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.formats.fiboa import Fiboa
    from geounet.raster.class_raster import ReadStored
    from geounet.tasks.vectorize import VectorSummary

    Progress = Callable[[int, int], None]
    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

__all__ = ["PREFERENCES", "Mosaic", "mosaic"]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """What came of a map."""

    products: int
    """Products on it."""
    resampled: int
    """Those that lie on other grids."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    polygons: VectorSummary | None
    """Of the polygons, where they were asked for."""


def mosaic(
    names: Sequence[str | Path],
    out: Path,
    *,
    polygons: Path | None = None,
    confidence: Path | None = None,
    prefer: str = "confidence",
    crs: str = "auto",
    resolution: float | None = None,
    min_area: float = 0.0,
    simplification: float | None = None,
    smooth: bool = False,
    fiboa: Callable[[Sequence[LandClass]], Fiboa] | None = None,
    tile_size: int = 1024,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Mosaic:
    """Write one class raster of any number of products, and the polygons of it.

    Products on one lattice of the map's CRS are not resampled, others by nearest pixels. The map depends neither on
    the order in which products are named, nor on the tile size, nor on the number of threads; memory holds some tiles.

    Args:
        names: folders of products, or folders of batches; here or, by their URLs, in an object store.
        out: the class raster, a COG; or a `.vrt` of the products, which is possible where none is resampled and the
            newest or the oldest is preferred.
        polygons: the polygons of the map, see :func:`geounet.tasks.vectorize.vectorize`; None for none.
        confidence: the confidence of the map's pixels (COG or `.vrt`, as `out`); None for none.
        prefer: what decides where products overlap, one of :data:`PREFERENCES`; see :mod:`geounet.maps.merging`.
        crs: `auto` for the CRS of most pixels, or such as `EPSG:3035`.
        resolution: side of a pixel in the CRS's units; None for the products' own.
        min_area: polygons of fewer hectares are left out.
        simplification: see :func:`geounet.tasks.vectorize.vectorize`.
        smooth: see :func:`geounet.tasks.vectorize.vectorize`.
        fiboa: of the map's class table, what to make the polygons a fiboa collection by; None for plain polygons.
        tile_size: side in pixels of what is merged at once.
        workers: threads; by default as many as there are processors.
        overwrite: replace outputs that exist.
        progress: called with the tiles done and the tiles in all.

    Raises:
        OutputError: a name holds no product, or an output exists or cannot be written.
        SceneError: a product has no place, or cannot be brought to the CRS.
        LabelError: products have different classes of one value.
    """
    _check(out, polygons, confidence, prefer)
    layers = find_layers(names)
    classes, frame = common_classes(layers), frame_for(layers, crs, resolution)
    products = tuple(place(layer, frame) for layer in layers)
    outputs = [path for path in (out, confidence) if path is not None]
    choices = (prefer, crs, resolution, min_area, simplification, smooth, fiboa and fiboa(classes))
    request = request_hash("mosaic", [], sorted(layer.digest for layer in layers), *choices)
    if polygons is not None:
        check_place(polygons, frame.crs.to_wkt())
    with claimed(outputs, request, overwrite) as claim:
        if polygons is not None:
            check_output(polygons, overwrite or claim.resumed)
        share = confidence or (workspace_of(out) / f"confidence{out.suffix}" if polygons is not None else None)
        if out.suffix.lower() == ".vrt":
            _virtual(out, share, frame, products, classes, prefer)
        else:
            _copied(out, share, frame, products, classes, prefer, tile_size, workers, progress)
        summary = None
        if polygons is not None:
            summary = vectorize(
                out,
                polygons,
                confidence=share,
                min_area=min_area,
                simplification=simplification,
                smooth=smooth,
                fiboa=fiboa and fiboa(classes),
                workers=workers,
                overwrite=True,
            )
    resampled = sum(placed.offset is None for placed in products)
    return Mosaic(len(products), resampled, frame.height, frame.width, summary)


def _check(out: Path, polygons: Path | None, confidence: Path | None, prefer: str) -> None:
    if prefer not in PREFERENCES:
        raise ValueError(f"{prefer!r} is none of {', '.join(PREFERENCES)}")
    check_ending(out, *ENDINGS, ".vrt")
    if confidence is not None:
        check_ending(confidence, out.suffix.lower(), *(() if out.suffix.lower() == ".vrt" else ENDINGS))
    if polygons is not None:
        check_format(polygons)


def _virtual(
    out: Path, share: Path | None, frame: Frame, products: Sequence[Placed], classes: Sequence[LandClass], prefer: str
) -> None:
    moved = [placed.layer.id for placed in products if placed.offset is None]
    if moved or prefer not in ("newest", "oldest"):
        why = f"{moved[0]} lies on another grid" if moved else f"--prefer {prefer} looks at the pixels of all"
        raise OutputError(
            f"{out} cannot be a virtual raster, for {why}; name a .tif, or give --prefer newest or oldest"
        )
    above = products if prefer == "newest" else products[::-1]
    if share is not None:
        write_vrt(share, frame, above)
    write_vrt(out, frame, above, classes)


def _copied(
    out: Path,
    share: Path | None,
    frame: Frame,
    products: Sequence[Placed],
    classes: Sequence[LandClass],
    prefer: str,
    tile_size: int,
    workers: int | None,
    progress: Progress,
) -> None:
    place_of_map = {"height": frame.height, "width": frame.width, "transform": frame.transform, "crs": frame.crs}
    common: dict[str, Any] = {**place_of_map, "dtype": "uint8", "nodata": NODATA}
    tags = {"PREFER": prefer, "PRODUCTS": str(len(products))}
    with ExitStack() as stack:
        put_share = None
        if share is not None:
            profile = RasterProfile(**common, names=("confidence",), scale=1 / 254, tags=tags)
            put_share = stack.enter_context(cog_writer(share, profile))
        put = stack.enter_context(cog_writer(out, RasterProfile(**common, classes=tuple(classes), tags=tags)))
        stack.enter_context(small_cache())
        for window, (codes, sure) in _tiles(frame, products, prefer, tile_size, workers, progress):
            put(window, codes[None])
            if put_share is not None:
                put_share(window, sure[None])


def _tiles(
    frame: Frame, products: Sequence[Placed], prefer: str, tile_size: int, workers: int | None, progress: Progress
) -> Iterator[tuple[Window, Pair]]:
    """The tiles that hold a product, merged by several threads, in their order."""
    cells = list(_cells(frame, products, tile_size))

    def merged(cell: tuple[Window, list[Placed]], mine: _Readers) -> Pair:
        window, under = cell
        mine.close_above(window.row)
        parts = (read_placed(one, frame, window, mine.of(one)) for one in under)
        return merge(((codes, sure) for codes, sure in parts), (window.height, window.width), prefer)

    for done, ((window, _), pair) in enumerate(walk(cells, merged, _Readers, workers or os.cpu_count() or 1), 1):
        yield window, pair
        progress(done, len(cells))


def _cells(frame: Frame, products: Sequence[Placed], tile_size: int) -> Iterator[tuple[Window, list[Placed]]]:
    """The tiles that hold a product, row by row, each with its products."""
    for row in range(0, frame.height, tile_size):
        band = Window(row, 0, tile_size, frame.width).intersection(frame.extent)
        beside = _under(products, band)
        for col in range(0, frame.width, tile_size):
            window = Window(row, col, band.height, tile_size).intersection(frame.extent)
            if under := _under(beside, window):
                yield window, under


def _under(products: Sequence[Placed], window: Window) -> list[Placed]:
    return [placed for placed in products if placed.area.intersection(window).pixels]


class _Readers:
    """Open rasters of one thread; those that tiles have passed are closed, so that there are never many."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, ExitStack, tuple[ReadStored, ReadStored]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for _row, closing, _readers in self._open.values():
            closing.close()

    def of(self, placed: Placed) -> tuple[ReadStored, ReadStored]:
        """How class raster and confidence of a product are read."""
        layer = placed.layer
        if layer.digest not in self._open:
            assert layer.confidence is not None, "a product has a confidence"
            with ExitStack() as stack:
                found = [stack.enter_context(stored_reader(scene)) for scene in (layer.classes, layer.confidence)]
                self._open[layer.digest] = placed.area.row_stop, stack.pop_all(), (found[0], found[1])
        return self._open[layer.digest][2]

    def close_above(self, row: int) -> None:
        """Close what ends above a row of the map."""
        for key in [key for key, (stop, _closing, _readers) in self._open.items() if stop <= row]:
            self._open.pop(key)[1].close()
