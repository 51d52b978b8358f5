"""Training chips: georeferenced windows of scenes and their labels, with an index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from geounet.classes import NODATA
from geounet.cluster import connect, map_unordered
from geounet.errors import OutputError, SceneError
from geounet.grid import Window
from geounet.labels import Pair, read_codes
from geounet.outputs import atomic, check_output
from geounet.pairing import list_rasters, pair_labels
from geounet.placement import bounds_of, transform_of
from geounet.scene import Scene, load_scene, opened, pixel_coordinates_allowed, read_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from geounet.classes import LandClass

    Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip that is to be cut."""

    item: Scene | Pair
    """The scene, with its label if there is one."""
    window: Window
    """Which part of it, within the scene."""
    name: str
    """File name of image and label."""

    @property
    def scene(self) -> Scene:
        """The scene, with or without a label."""
        return self.item.image if isinstance(self.item, Pair) else self.item


@dataclass(frozen=True, slots=True)
class ChipRecord:
    """A row of the index."""

    name: str
    """File name below `images` and `labels`."""
    scene: str
    """Path of the scene it was cut from."""
    row: int
    """First row in the scene."""
    col: int
    """First column in the scene."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    valid: float
    """Share of valid pixels."""
    labelled: float
    """Share of labelled pixels, 0 without labels."""


def plan_chips(items: Sequence[Scene | Pair], size: int, overlap: int) -> tuple[Chip, ...]:
    """The chips of all scenes, row by row; those at the right and lower edge are smaller.

    Args:
        items: scenes or pairs.
        size: side of a chip in pixels.
        overlap: pixels that neighbours share.

    Raises:
        SceneError: the overlap leaves no step, or two scenes have the same name.
    """
    if not 0 <= overlap < size:
        raise SceneError(f"chips of {size} pixels cannot share {overlap} with their neighbour; give less overlap")
    chips = [Chip(item, window, _name(item, window)) for item in items for window in _windows(item, size, overlap)]
    if len({chip.name for chip in chips}) < len(chips):
        raise SceneError("two scenes have the same file name, and so would their chips; rename one, or cut them apart")
    return tuple(chips)


def _windows(item: Scene | Pair, size: int, overlap: int) -> Iterator[Window]:
    extent = (item.image if isinstance(item, Pair) else item).extent
    step = size - overlap
    for row in range(0, max(1, extent.height - overlap), step):
        for col in range(0, max(1, extent.width - overlap), step):
            yield Window(row, col, size, size).intersection(extent)


def _name(item: Scene | Pair, window: Window) -> str:
    scene = item.image if isinstance(item, Pair) else item
    return f"{scene.name}_{window.row:05d}_{window.col:05d}.tif"


def cut_chip(folder: Path, chip: Chip) -> ChipRecord | None:
    """Write a chip's image and label; None, and no file, where no pixel is valid."""
    scene = chip.scene
    with opened(scene) as dataset:
        stored, valid = read_stored(dataset, scene, chip.window)
    if not valid.any():
        return None
    nodata = next((value for value in scene.nodata if value is not None), None)
    _write(folder / "images" / chip.name, chip, stored, valid if nodata is None and not valid.all() else None, nodata)
    labelled = 0.0
    if isinstance(chip.item, Pair):
        codes = np.where(valid, read_codes(chip.item, chip.window), np.uint8(NODATA))
        labelled = float((codes != NODATA).mean())
        _write(folder / "labels" / chip.name, chip, codes[None], None, NODATA)
    area = chip.window
    place = area.row, area.col, area.height, area.width
    return ChipRecord(chip.name, scene.label, *place, float(valid.mean()), labelled)


def _write(path: Path, chip: Chip, array: Any, valid: Any, nodata: float | None) -> None:
    scene = chip.scene
    names = scene.band_names if len(array) == len(scene.band_names) else ("class",)
    with (
        atomic(path) as staged,
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        pixel_coordinates_allowed(),
        rasterio.open(
            staged,
            "w",
            driver="GTiff",
            height=array.shape[1],
            width=array.shape[2],
            count=len(array),
            dtype=array.dtype,
            crs=scene.crs,
            transform=transform_of(scene, chip.window),
            nodata=nodata,
            compress="deflate",
        ) as dataset,
    ):
        dataset.write(array)
        dataset.descriptions = names
        if len(names) == len(scene.bands) and names == scene.band_names:
            dataset.scales, dataset.offsets = scene.scales, scene.offsets
        if valid is not None:
            dataset.write_mask(valid)


def cut_chips(
    scenes: Sequence[Path],
    folder: Path,
    *,
    labels: Sequence[Path] = (),
    bands: Sequence[int] | None = None,
    classes: Sequence[LandClass] = (),
    label_field: str | None = None,
    size: int = 256,
    overlap: int = 0,
    scheduler: str = "local",
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> tuple[ChipRecord, ...]:
    """Cut scenes and their labels into chips: `images/`, `labels/` and `index.parquet` in a folder.

    Args:
        scenes: files and folders.
        folder: where chips go; the index is written last.
        labels: label files and folders, joined with scenes by name; see :func:`geounet.pairing.pair_labels`.
        bands: bands to cut, from 1.
        classes: see :func:`geounet.pairing.pair_labels`.
        label_field: see :func:`geounet.pairing.pair_labels`.
        size: side of a chip in pixels.
        overlap: pixels that neighbours share.
        scheduler: see :func:`geounet.cluster.connect`.
        workers: see :func:`geounet.cluster.connect`.
        overwrite: replace a finished index and its chips.
        progress: called with the chips done and the chips in all.

    Raises:
        GeounetError: scenes or labels that cannot be used, or a folder that cannot be written.
    """
    index = folder / "index.parquet"
    check_output(index, overwrite)
    files = list_rasters(scenes)
    items: Sequence[Scene | Pair] = (
        pair_labels(files, list_rasters(labels), bands=bands, classes=classes, label_field=label_field)
        if labels
        else [load_scene(path, bands) for path in files]
    )
    chips = plan_chips(items, size, overlap)
    _make_folders(folder, labelled=bool(labels))
    records: list[ChipRecord | None] = []

    def take(record: ChipRecord | None) -> None:
        records.append(record)
        progress(len(records), len(chips))

    with connect(scheduler, workers) as client:
        map_unordered(client, partial(cut_chip, folder.absolute()), chips, take)
    found = tuple(sorted((record for record in records if record), key=lambda record: record.name))
    _write_index(index, found, {chip.name: chip for chip in chips})
    return found


def _make_folders(folder: Path, *, labelled: bool) -> None:
    try:
        for name in ("images", "labels") if labelled else ("images",):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def _write_index(path: Path, records: Sequence[ChipRecord], chips: dict[str, Chip]) -> None:
    import geopandas
    import shapely

    rows = [{name: getattr(record, name) for name in ChipRecord.__slots__} for record in records]
    boxes = [shapely.box(*bounds_of(chips[record.name].scene, chips[record.name].window)) for record in records]
    references = {chip.scene.crs.to_wkt() if chip.scene.crs else None for chip in chips.values()}
    frame = geopandas.GeoDataFrame(rows, geometry=boxes, columns=[*ChipRecord.__slots__, "geometry"])
    if len(references) == 1:
        frame = frame.set_crs(references.pop(), allow_override=True)
    elif None not in references:
        frame = _in_degrees(frame, [chips[record.name].scene for record in records])
    with atomic(path) as staged:
        frame.to_parquet(staged)


def _in_degrees(frame: Any, scenes: Sequence[Scene]) -> Any:
    """Footprints of scenes in several CRSs, all in longitude and latitude."""
    import geopandas

    parts = [
        geopandas.GeoSeries([box], crs=scene.crs.to_wkt() if scene.crs else None).to_crs("EPSG:4326").iloc[0]
        for box, scene in zip(frame.geometry, scenes, strict=True)
    ]
    return frame.set_geometry(parts, crs="EPSG:4326")
