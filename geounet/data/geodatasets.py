"""Any torchgeo dataset as a source of training: read once, window by window, and put aside as GeoTIFFs.

A torchgeo dataset answers one query at a time and does not say where it has labels, so that no split, no statistics
and no class balance can be had without reading all of it. Put aside, it is read like any other images and labels.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window as RasterWindow

from geounet.classes import NODATA
from geounet.data.pairing import pair_labels
from geounet.errors import SceneError
from geounet.grid import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torchgeo.datasets import GeoDataset

    from geounet.classes import LandClass
    from geounet.data.labels import Pair

_TILE = 1024


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A torchgeo dataset whose samples hold `image` and `mask`, such as `images & labels`: train with it as a source.

    What is put aside goes when this goes, so keep it as long as its pairs.

    Each entry of the dataset's index becomes an image of its own. The dataset's transforms are applied once.
    """

    dataset: GeoDataset
    """The dataset: `image` (bands, height, width), `mask` (height, width) or (1, height, width), `valid` likewise if
    there is one; NaN in an image is no data, and a mask value that is no code from 0 to 254 no label."""
    bands: None = None
    """All bands are read."""
    _folder: Any = field(default_factory=lambda: tempfile.TemporaryDirectory(prefix="geounet_"), repr=False)
    """Where samples are put aside, as long as this lives."""

    def pairs(self, classes: Sequence[LandClass]) -> tuple[Pair, ...]:
        """Images joined with their labels, each as large as its entry of the index.

        Raises:
            SceneError: the dataset is empty, or a sample has no image or no mask of the size that was asked for.
            LabelError: no label is left.
        """
        folder = Path(self._folder.name)
        if not any(folder.iterdir()):
            for item in range(len(self.dataset.index)):
                _put_aside(self.dataset, item, folder)
        images, labels = sorted(folder.glob("*_image.tif")), sorted(folder.glob("*_label.tif"))
        if not images:
            raise SceneError(f"the {type(self.dataset).__name__} holds no entry of a pixel or more")
        found = [pair_labels([image], [label], classes=classes) for image, label in zip(images, labels, strict=True)]
        return tuple(pair for pairs in found for pair in pairs)


def _put_aside(dataset: GeoDataset, item: int, folder: Path) -> None:
    """Write one entry of the index as an image and its label."""
    left, bottom, right, top = dataset.index.geometry.iloc[item].bounds
    across, down = dataset.res
    extent = Window(0, 0, round((top - bottom) / down), round((right - left) / across))
    if not extent.pixels:
        return
    frame = Affine(across, 0, left, 0, -down, top)
    profile = {
        "driver": "GTiff", "height": extent.height, "width": extent.width, "transform": frame,
        "crs": dataset.crs.to_wkt() if dataset.crs else None, "tiled": True, "compress": "zstd", "bigtiff": "if_safer",
    }  # fmt: skip
    tiles = Grid(extent, _TILE, _TILE).tiles()
    first = next(tiles).core
    image, codes = _sample(dataset, item, frame, first)
    files = (folder / f"{item:06d}_{kind}.tif" for kind in ("image", "label"))
    with (
        rasterio.open(next(files), "w", count=len(image), dtype=image.dtype, **profile) as images,
        rasterio.open(next(files), "w", count=1, dtype=codes.dtype, nodata=NODATA, **profile) as labels,
    ):
        images.descriptions = _names(dataset, len(image))
        _write(images, labels, first, image, codes)
        for tile in tiles:
            _write(images, labels, tile.core, *_sample(dataset, item, frame, tile.core))


def _write(images: Any, labels: Any, window: Window, image: NDArray[Any], codes: NDArray[np.uint8]) -> None:
    where = RasterWindow(window.col, window.row, window.width, window.height)
    images.write(image, window=where)
    labels.write(codes, 1, window=where)


def _sample(dataset: GeoDataset, item: int, frame: Affine, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Image (bands, height, width) in floating point, NaN where invalid, and codes (height, width) of a window."""
    (left, top), (right, bottom) = frame @ (window.col, window.row), frame @ (window.col_stop, window.row_stop)
    times = dataset.index.index[item]
    sample = dataset[left:right, bottom:top, times.left : times.right]
    missing = [name for name in ("image", "mask") if name not in sample]
    if missing:
        raise SceneError(
            f"a sample of the {type(dataset).__name__} holds {', '.join(map(str, sample))} and no {missing[0]}; "
            "training needs image and mask, as of a dataset of images & one of labels"
        )
    image = sample["image"].numpy()
    image = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    mask = sample["mask"].numpy().reshape(-1, *sample["mask"].shape[-2:])[0]
    if image.shape[-2:] != (window.height, window.width) or mask.shape != image.shape[-2:]:
        raise SceneError(
            f"the {type(dataset).__name__} gave an image of {image.shape} and a mask of {mask.shape} where "
            f"{window.height} x {window.width} pixels were asked for"
        )
    if "valid" in sample:
        image[:, ~sample["valid"].numpy().reshape(mask.shape).astype(bool)] = np.nan
    return image, np.where((mask >= 0) & (mask < NODATA), mask, NODATA).astype(np.uint8)


def _names(dataset: GeoDataset, count: int) -> tuple[str, ...]:
    """The bands' names, where a dataset of images tells as many as it has."""
    parts = [dataset, *getattr(dataset, "datasets", ())]
    told = (tuple(map(str, getattr(part, "bands", None) or ())) for part in parts)
    return next((names for names in told if len(names) == count), ("",) * count)
