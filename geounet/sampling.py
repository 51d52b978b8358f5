"""torchgeo datasets over scenes and labels, and torchgeo samplers over them.

A scene is read by plain aligned windows: no warping, no merging. All use of torchgeo's dataset and sampler classes is
in this module.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from torchgeo.datasets import GeoDataset
from torchgeo.samplers import GeoSampler

from geounet.errors import SceneError
from geounet.grid import Tile, Window
from geounet.labels import Pair, read_codes
from geounet.scene import Scene, opened, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Generator

    GeoSlice = tuple[slice, slice, slice]

PIXEL_FRAME = Affine(1, 0, 0, 0, -1, 0)
"""Index coordinates of scenes without a common CRS: columns to the right, rows downwards."""
_EPOCH = pd.Timestamp("2000-01-01")
_STEP = pd.Timedelta(seconds=1)


class SceneDataset(GeoDataset):  # type: ignore[misc]
    """Scenes, each with its labels if it has any, as a torchgeo dataset.

    Indexed by `[x, y, time]`: x and y are coordinates of the common CRS where all scenes share one and run along its
    axes, else pixel coordinates (y = -row). Scenes may overlap and still stay apart: each has an instant of its own,
    counted in seconds from 2000-01-01 in the order given. A sample is a window that may reach beyond its scene.

    Args:
        items: scenes, or pairs of scene and label.
        mean: of each band, in the unit of the scaled values.
        std: of each band.
        codes: the class values, in the order of the class indices; None where there are no labels.
        keep: whether to hold the scenes' pixels in memory once read; for training on scenes that fit.
    """

    def __init__(
        self,
        items: Sequence[Scene | Pair],
        mean: Sequence[float],
        std: Sequence[float],
        codes: Sequence[int] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.items = tuple(items)
        self.scenes = tuple(item.image if isinstance(item, Pair) else item for item in items)
        self.frames = _frames(self.scenes)
        self.paths = [scene.path for scene in self.scenes]
        self._res = (abs(self.frames[0].a), abs(self.frames[0].e))
        self._mean = np.asarray(mean, np.float32)[:, None, None]
        self._std = np.asarray(std, np.float32)[:, None, None]
        self._lookup = None if codes is None else _lookup(codes)
        self._whole: dict[int, tuple[Any, Any, Any]] | None = {} if keep else None
        self._local = threading.local()
        self.index = self._build_index()

    def _build_index(self) -> Any:
        boxes = [
            shapely.box(*_bounds(frame, scene.extent)) for frame, scene in zip(self.frames, self.scenes, strict=True)
        ]
        starts = pd.DatetimeIndex([_EPOCH + item * _STEP for item in range(len(self.items))])
        times = pd.IntervalIndex.from_arrays(starts, starts + _STEP / 2, closed="both", name="datetime")
        crs = self.scenes[0].crs if self.frames[0] != PIXEL_FRAME else None
        return geopandas.GeoDataFrame(
            {"item": range(len(self.items))}, geometry=boxes, index=times, crs=crs.to_wkt() if crs else None
        )

    def query(self, item: int, window: Window) -> GeoSlice:
        """The slices that name a window of a scene."""
        left, bottom, right, top = _bounds(self.frames[item], window)
        times = self.index.index[item]
        return slice(left, right), slice(bottom, top), slice(times.left, times.right)

    def locate(self, query: GeoSlice) -> tuple[int, Window]:
        """The scene and the window that slices name; the first scene of those that they meet.

        Raises:
            IndexError: they meet no scene.
        """
        x, y, t = self._disambiguate_slice(query)
        times = pd.Interval(pd.Timestamp(t.start), pd.Timestamp(t.stop), closed="both")
        found = self.index[self.index.index.overlaps(times)]
        if len(found) > 1:
            found = found[found.intersects(shapely.box(x.start, y.start, x.stop, y.stop))]
        if not len(found):
            raise IndexError(f"no scene at {query}")
        item = int(found["item"].iloc[0])
        return item, _window(self.frames[item], x, y)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """The sample at a query.

        Returns:
            `image` (bands, height, width) float32, normalised, 0 where invalid; `valid` (height, width) bool; with
            labels also `mask` (height, width) int64, class indices, 255 where unlabelled or invalid.
        """
        item, window = self.locate(query)
        values, valid, codes = self._read(item, window)
        image = values - self._mean
        image /= self._std
        if not valid.all():
            image[:, ~valid] = 0
        sample = {"image": torch.from_numpy(image), "valid": torch.from_numpy(valid)}
        if self._lookup is not None:
            labels = np.where(valid, self._lookup[codes], 255)
            sample["mask"] = torch.from_numpy(labels.astype(np.int64))
        return sample

    def _read(self, item: int, window: Window) -> tuple[Any, Any, Any]:
        if self._whole is None:
            return self._read_file(item, window)
        if item not in self._whole:
            self._whole[item] = self._read_file(item, self.scenes[item].extent)
        values, valid, codes = self._whole[item]
        return _cut(values, valid, codes, window)

    def _read_file(self, item: int, window: Window) -> tuple[Any, Any, Any]:
        values, valid = read(self._dataset(item), self.scenes[item], window)
        entry = self.items[item]
        codes = read_codes(entry, window) if isinstance(entry, Pair) and self._lookup is not None else None
        return values, valid, codes

    def _dataset(self, item: int) -> Any:
        """The scene's open file; each thread keeps the one it read last."""
        if getattr(self._local, "item", None) != item:
            self._local.stack = ExitStack()
            self._local.dataset = self._local.stack.enter_context(opened(self.scenes[item]))
            self._local.item = item
        return self._local.dataset

    def __getstate__(self) -> dict[str, Any]:
        """Without open files and pixels, so that a worker process opens its own."""
        return {**self.__dict__, "_local": None, "_whole": None if self._whole is None else {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


def _frames(scenes: Sequence[Scene]) -> tuple[Affine, ...]:
    """The transform of each scene's pixels to index coordinates."""
    if not scenes:
        raise SceneError("a dataset needs at least one scene; none was given")
    first = scenes[0].crs
    common = all(scene.crs is not None and scene.crs == first and scene.rectilinear for scene in scenes)
    return tuple(scene.transform if common else PIXEL_FRAME for scene in scenes)


def _bounds(frame: Affine, window: Window) -> tuple[float, float, float, float]:
    x0, y0 = frame @ (window.col, window.row)
    x1, y1 = frame @ (window.col_stop, window.row_stop)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _window(frame: Affine, x: slice, y: slice) -> Window:
    col0, row0 = ~frame @ (x.start, y.start)
    col1, row1 = ~frame @ (x.stop, y.stop)
    row, col = round(min(row0, row1)), round(min(col0, col1))
    return Window(row, col, round(abs(row1 - row0)), round(abs(col1 - col0)))


def _lookup(codes: Sequence[int]) -> NDArray[np.uint8]:
    """Class code to class index, 255 for codes of no class."""
    table = np.full(256, 255, np.uint8)
    table[list(codes)] = np.arange(len(codes))
    return table


def _cut(values: Any, valid: Any, codes: Any, window: Window) -> tuple[Any, Any, Any]:
    """A window of arrays that hold a whole scene: mirrored beyond its edge, and unlabelled there."""
    from geounet.scene import reflected

    height, width = valid.shape
    rows = reflected(window.row, window.row_stop, height)[:, None]
    cols = reflected(window.col, window.col_stop, width)
    if codes is not None:
        outside = np.ones((window.height, window.width), np.bool_)
        outside[window.intersection(Window(0, 0, height, width)).within(window)] = False
        codes = np.where(outside, np.uint8(255), codes[rows, cols])
    return values[:, rows, cols], valid[rows, cols], codes


class HaloGridGeoSampler(GeoSampler):  # type: ignore[misc]
    """The windows of planned tiles, halo included, in their order.

    Args:
        dataset: whose scene is tiled.
        tiles: of a grid over that scene, so aligned to the network's stride in scene pixels.
        item: which of the dataset's scenes.
    """

    def __init__(self, dataset: SceneDataset, tiles: Sequence[Tile], item: int = 0) -> None:
        super().__init__(dataset)
        self.queries = [dataset.query(item, tile.window) for tile in tiles]

    def __iter__(self) -> Iterator[GeoSlice]:
        """Yield the slices of each window."""
        return iter(self.queries)

    def __len__(self) -> int:
        return len(self.queries)


class RandomPatchGeoSampler(GeoSampler):  # type: ignore[misc]
    """Random windows aligned to pixels; a scene is drawn in proportion to its area.

    A scene smaller than the patch is drawn whole and continued by reflection.

    Args:
        dataset: what is sampled.
        size: height and width of a patch, in pixels.
        length: patches an epoch.
        generator: source of randomness; the same state gives the same patches in the same order.
    """

    def __init__(self, dataset: SceneDataset, size: int, length: int, generator: Generator) -> None:
        super().__init__(dataset)
        self.dataset, self.size, self.length, self.generator = dataset, size, length, generator
        self.areas = torch.tensor([float(scene.extent.pixels) for scene in dataset.scenes])

    def __iter__(self) -> Iterator[GeoSlice]:
        """Yield the slices of each patch."""
        for _ in range(self.length):
            item = int(torch.multinomial(self.areas, 1, generator=self.generator))
            scene = self.dataset.scenes[item]
            row, col = self._start(scene.height), self._start(scene.width)
            yield self.dataset.query(item, Window(row, col, self.size, self.size))

    def _start(self, length: int) -> int:
        """A random first row or column, so that the patch lies within the scene where it fits."""
        if length <= self.size:
            return -((self.size - length) // 2)
        return int(torch.randint(length - self.size + 1, (1,), generator=self.generator))

    def __len__(self) -> int:
        return self.length
