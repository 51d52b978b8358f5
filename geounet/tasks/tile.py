"""Training chips: georeferenced windows of scenes and their labels, in parts by place, indexed and catalogued."""

from __future__ import annotations

import logging
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from geounet.classes import NODATA
from geounet.data.chip_catalog import ChipRecord, read_record, span_of_scene, write_catalog, write_index, write_item
from geounet.data.chip_plan import ChipRow, Split, areas_of, plan_rows
from geounet.data.labels import Pair, read_codes
from geounet.data.pairing import list_images, list_labels, pair_labels
from geounet.engine.cluster import connect, map_unordered
from geounet.errors import OutputError
from geounet.outputs import atomic, claimed, sweep
from geounet.raster.identity import request_hash
from geounet.raster.opening import AS_IS, Opening
from geounet.raster.placement import transform_of
from geounet.raster.remarks import tell_remarks
from geounet.raster.scene import Scene, opened, pixel_coordinates_allowed, read_stored
from geounet.sources.scenes import open_scene, source_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.classes import LandClass
    from geounet.data.chip_catalog import Span
    from geounet.grid import Window

    Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
INDEX = "index.parquet"
_REQUEST = ".unfinished.json"
_PARTS = ("", "train", "val", "test")
_KINDS = ("images", "labels", "items")
_COLORS = 3


@dataclass(frozen=True, slots=True)
class Cutter:
    """What all rows have in common; called with one of them, on a worker."""

    folder: Path
    """Of the index."""
    classes: tuple[LandClass, ...]
    """What the catalogue says of label values."""
    spans: Mapping[str, Span]
    """When each scene was taken, by the path that records name."""

    def __call__(self, row: ChipRow) -> tuple[ChipRecord | None, ...]:
        """Write the images, labels and STAC items of a row's chips, but for those that an earlier run has finished.

        The item comes last: where it stands, the chip is complete.

        Returns:
            A record of each chip; None, and no file, where no pixel is valid.
        """
        with opened(row.area.scene) as dataset:
            return tuple(
                read_record(self.folder, row.area.part, row.name(window)) or self._cut(dataset, row, window)
                for window in row.windows
            )

    def _cut(self, dataset: Any, row: ChipRow, window: Window) -> ChipRecord | None:
        area, scene, name = row.area, row.area.scene, row.name(window)
        stored, valid = read_stored(dataset, scene, window)
        if not valid.any():
            return None
        image, label = (f"{area.part}/{kind}/{name}".removeprefix("/") for kind in _KINDS[:2])
        write_image(self.folder / image, scene, window, stored, valid)
        labelled = 0.0
        if isinstance(area.item, Pair):
            codes = np.where(valid, read_codes(area.item, window), np.uint8(NODATA))
            labelled = float((codes != NODATA).mean())
            write_label(self.folder / label, scene, window, codes)
        record = ChipRecord(
            name,
            area.part,
            image,
            label if isinstance(area.item, Pair) else None,
            scene.label,
            window.row,
            window.col,
            window.height,
            window.width,
            float(valid.mean()),
            labelled,
        )
        write_item(self.folder, record, scene, self.classes, self.spans[scene.label])
        return record


def write_image(path: Path, scene: Scene, window: Window, stored: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Write a window of a scene as it is stored: its type, nodata, scales and band names; a mask where one is needed.

    Args:
        path: a GeoTIFF, whole or not at all.
        scene: where the window is from.
        window: in the scene's pixels.
        stored: `(bands, height, width)`, as in the file.
        valid: `(height, width)`.

    Raises:
        OutputError: it cannot be written.
    """
    nodata = next((value for value in scene.nodata if value is not None), None)
    # GDAL would take a fourth band of bytes for alpha.
    colors = {} if len(stored) == _COLORS else {"photometric": "MINISBLACK", "alpha": "UNSPECIFIED"}
    with _created(path, scene, window, stored, nodata=nodata, **colors) as dataset:
        dataset.descriptions = scene.band_names
        dataset.scales, dataset.offsets = scene.scales, scene.offsets
        if nodata is None and not valid.all():
            dataset.write_mask(valid)


def write_label(path: Path, scene: Scene, window: Window, codes: NDArray[np.uint8]) -> None:
    """Write class codes `(height, width)` on the pixels of a window of a scene; 255 is nodata.

    Raises:
        OutputError: it cannot be written.
    """
    with _created(path, scene, window, codes[None], nodata=NODATA) as dataset:
        dataset.descriptions = ("class",)


@contextmanager
def _created(path: Path, scene: Scene, window: Window, array: NDArray[Any], **how: Any) -> Iterator[Any]:
    """A dataset that holds the array, to describe further; it appears when all is written."""
    shape = dict(zip(("count", "height", "width"), array.shape, strict=True))
    place = {"crs": scene.crs, "transform": transform_of(scene, window)}
    with (
        atomic(path) as staged,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        pixel_coordinates_allowed(),
        rasterio.open(
            staged, "w", driver="GTiff", dtype=array.dtype, compress="deflate", **shape, **place, **how
        ) as file,
    ):
        file.write(array)
        yield file


def tile(
    scenes: Sequence[str | Path],
    folder: Path,
    *,
    pattern: str | None = None,
    labels: Sequence[Path] = (),
    bands: Sequence[int] | None = None,
    opening: Opening = AS_IS,
    classes: Sequence[LandClass] = (),
    label_field: str | None = None,
    class_map: Mapping[str, int] | None = None,
    size: int = 256,
    overlap: int = 0,
    split: Split | None = None,
    scheduler: str = "local",
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> tuple[ChipRecord, ...]:
    """Cut scenes and their labels into chips: `images/`, `labels/` and `items/` in a folder, or in one for each part.

    The index `index.parquet` is written last; where it is missing the same call goes on with what is there.

    Args:
        scenes: any sources, see :func:`geounet.sources.listing.list_scenes`.
        folder: where chips go.
        pattern: of folders of scenes only the files whose names fit.
        labels: label files and folders; see :func:`geounet.data.pairing.pair_labels`.
        bands: bands to cut, from 1.
        opening: what the user says of the scenes.
        classes: see :func:`geounet.data.pairing.pair_labels`.
        label_field: see :func:`geounet.data.pairing.pair_labels`.
        class_map: see :func:`geounet.data.pairing.pair_labels`.
        size: side of a chip in pixels.
        overlap: pixels that neighbours share; chips of different parts share none.
        split: parts by place; all in one by default.
        scheduler: see :func:`geounet.engine.cluster.connect`.
        workers: see :func:`geounet.engine.cluster.connect`.
        overwrite: replace the chips that are there.
        progress: called with the chips done and the chips in all.

    Raises:
        GeounetError: scenes or labels that cannot be used, or a folder that cannot be written.
    """
    sources = list_labels(labels) if labels else ()
    files = list_images(scenes, sources, pattern)
    items: Sequence[Scene | Pair] = (
        pair_labels(
            files,
            sources,
            bands=bands,
            opening=opening,
            classes=classes,
            label_field=label_field,
            class_map=class_map,
        )
        if labels
        else [open_scene(path, bands, opening) for path in files]
    )
    tell_remarks(item.image if isinstance(item, Pair) else item for item in items)
    how = split or Split()
    choices = [
        bands,
        asdict(opening),
        [asdict(item) for item in classes],
        label_field,
        class_map,
        size,
        overlap,
        asdict(how),
    ]
    rows = plan_rows(areas_of(items, how, size), size, overlap)
    request = request_hash("tile", sources, [source_identity(file, opening) for file in files], *choices)
    with claimed([folder / INDEX], request, overwrite) as claim:
        _begin(folder, request, [*files, *sources], claim.may_replace)
        records = _cut(folder, rows, classes, scheduler, workers, progress)
        (folder / _REQUEST).unlink()
    return records


def _cut(
    folder: Path,
    rows: Sequence[ChipRow],
    classes: Sequence[LandClass],
    scheduler: str,
    workers: int,
    progress: Progress,
) -> tuple[ChipRecord, ...]:
    """All chips, and what is said of them."""
    known = {row.area.scene.label: row.area.scene for row in rows}
    spans = {name: span_of_scene(scene) for name, scene in known.items()}
    cutter = Cutter(folder.absolute(), tuple(classes), spans)
    records = _run(cutter, rows, scheduler, workers, progress)
    write_catalog(folder, records, known, spans)
    for part in _PARTS:
        for kind in ("", *_KINDS):
            sweep(folder / part / kind)
    write_index(folder / INDEX, records, known)
    return records


def _run(
    cutter: Cutter, rows: Sequence[ChipRow], scheduler: str, workers: int, progress: Progress
) -> tuple[ChipRecord, ...]:
    count, done, found = sum(len(row.windows) for row in rows), 0, list[ChipRecord]()

    def take(records: tuple[ChipRecord | None, ...]) -> None:
        nonlocal done
        done += len(records)
        found.extend(record for record in records if record is not None)
        progress(done, count)

    with connect(scheduler, workers) as client:
        map_unordered(client, cutter, rows, take)
    if len(found) < count:
        _log.warning("%d of %d chips hold no valid pixel, and are left out", count - len(found), count)
    return tuple(sorted(found, key=lambda record: (record.part, record.name)))


def _begin(folder: Path, request: str, inputs: Sequence[Path | str], overwrite: bool) -> None:
    """Make sure that all chips in the folder will be this request's: others go, or stay and stop us.

    Raises:
        OutputError: the folder holds other files where chips go, or unfinished chips of another request.
    """
    marker = folder / _REQUEST
    taken = [
        place for part in _PARTS for kind in _KINDS if (place := folder / part / kind).exists() and any(place.iterdir())
    ]
    if marker.exists() and marker.read_text(encoding="utf-8") == request:
        return
    if taken and not (overwrite and (marker.exists() or (folder / INDEX).exists())):
        raise OutputError(
            f"{taken[0]} holds files already, and not of this request; name another folder"
            + (", or --overwrite to cut all chips anew" if marker.exists() else "")
        )
    for place in taken:
        if any(place.absolute() in Path(path).absolute().parents for path in inputs):
            raise OutputError(f"{place} holds what is to be cut; name another folder")
    for place in taken:
        shutil.rmtree(place)
    for part in _PARTS if taken else ():
        for name in (INDEX, "collection.json", "catalog.json"):
            (folder / part / name).unlink(missing_ok=True)
    with atomic(marker) as draft:
        draft.write_text(request, encoding="utf-8")
