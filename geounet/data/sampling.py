"""torchgeo datasets over scenes and labels, and torchgeo samplers over them.

A scene is read by plain aligned windows: no warping, no merging. All use of torchgeo's dataset and sampler classes is
in this module.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine

import geounet.light_torchvision  # noqa: F401 - before torchgeo, which imports torchvision

# isort: split
from torchgeo.datasets import GeoDataset
from torchgeo.samplers import GeoSampler

from geounet.data.labels import Pair, read_codes
from geounet.data.windows import by_band, normalised
from geounet.errors import LabelError, SceneError
from geounet.grid import Tile, Window
from geounet.raster.reflection import continued, reflected
from geounet.raster.scene import Scene, opened, read_stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Generator

    from geounet.data.coverage import Coverage

    GeoSlice = tuple[slice, slice, slice]
    Arrays = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8] | None]

PIXEL_FRAME = Affine(1, 0, 0, 0, -1, 0)
"""Index coordinates of scenes without a common CRS: columns to the right, rows downwards."""
_EPOCH = pd.Timestamp("2000-01-01")
_STEP = pd.Timedelta(seconds=1)
_TRIES = 2000
_BLIND_TRIES = 50
_ROUNDING = 1e-6
_DIMENSIONS = 3
_LABEL_BYTES = 2**30
_OPEN_FILES = 64
"""Of a thread."""


class SceneDataset(GeoDataset):  # type: ignore[misc]
    """Scenes, each with its labels if it has any, as a torchgeo dataset.

    Indexed by `[x, y, time]`: x and y are coordinates of the common CRS where all scenes share one and run along its
    axes, else pixel coordinates (y = -row). Scenes may overlap and still stay apart: each has an instant of its own,
    counted in seconds from 2000-01-01 in the order given. A sample is a window that may reach beyond its scene, or
    beyond the region that a pair stands for; there it is continued by reflection, and nothing else of it is read.

    Args:
        items: scenes, or pairs of scene and label.
        mean: of each band, in the unit of the scaled values.
        std: of each band.
        codes: the class values, in the order of the class indices; None where there are no labels.
        keep: whether to hold the scenes' pixels in memory, in their own data type; for training on scenes that fit.
            They are read when the dataset is made, for all threads.
            Class indices, a byte a pixel, are held in any case where they fit in a gibibyte.
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
        self.regions = tuple(item.extent for item in items)
        self.frames = _frames(self.scenes)
        self.paths = [scene.path for scene in self.scenes]
        self._res = (abs(self.frames[0].a), abs(self.frames[0].e))
        self._mean, self._std = by_band(mean), by_band(std)
        self._lookup = _lookup(codes or ())
        self._pairs = tuple(item if isinstance(item, Pair) and codes is not None else None for item in self.items)
        self._local, self._lock = threading.local(), threading.Lock()
        self._labels: dict[int, NDArray[np.uint8]] = {}
        self._keep_labels = sum(region.pixels for region in self.regions) <= _LABEL_BYTES
        self._images: dict[int, tuple[Any, NDArray[np.bool_]]] = {}
        if keep:
            self._images = {item: self._stored(item, region) for item, region in enumerate(self.regions)}
            for item, pair in enumerate(self._pairs):
                if pair is not None:
                    self._indices(item, pair, pair.extent)
        self.index = self._build_index()

    def _build_index(self) -> Any:
        boxes = [shapely.box(*_bounds(frame, region)) for frame, region in zip(self.frames, self.regions, strict=True)]
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
        ends = [end for part in query for end in (part.start, part.stop)]
        x, y, t = query if len(query) == _DIMENSIONS and None not in ends else self._disambiguate_slice(query)
        item = self._instant(t)
        if item is None:
            times = pd.Interval(pd.Timestamp(t.start), pd.Timestamp(t.stop), closed="both")
            found = self.index[self.index.index.overlaps(times)]
            if len(found) > 1:
                found = found[found.intersects(shapely.box(x.start, y.start, x.stop, y.stop))]
            if not len(found):
                raise IndexError(f"no scene at {query}")
            item = int(found["item"].iloc[0])
        return item, _window(self.frames[item], x, y)

    def _instant(self, t: slice) -> int | None:
        """The scene in whose instant the times lie; None where they span more, or none: that the index must answer."""
        start, stop = (pd.Timestamp(time) - _EPOCH for time in (t.start, t.stop))
        item = start // _STEP
        within = start >= item * _STEP and stop <= item * _STEP + _STEP / 2
        return item if within and 0 <= item < len(self.items) else None

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """The sample at a query.

        Returns:
            `image` (bands, height, width) float32, normalised, 0 where invalid; `valid` (height, width) bool; with
            labels also `mask` (height, width) int64, class indices, 255 where unlabelled or invalid.
        """
        item, window = self.locate(query)
        image, valid, indices = self._read(item, window)
        sample = {"image": torch.from_numpy(image), "valid": torch.from_numpy(valid)}
        if indices is not None:
            sample["mask"] = torch.from_numpy(indices.astype(np.int64))
        return sample

    def _read(self, item: int, window: Window) -> Arrays:
        """A window of image, valid mask and class indices, mirrored beyond the item's region and unlabelled there."""
        region = self.regions[item]
        # What is read of a file is continued before it becomes floating point.
        from_file = item not in self._images and region == self.scenes[item].extent and self._pairs[item] is None
        if from_file or window.intersection(region) == window:
            return self._inside(item, window)
        rows = reflected(window.row - region.row, window.row_stop - region.row, region.height)
        cols = reflected(window.col - region.col, window.col_stop - region.col, region.width)
        top, left = int(rows.min()), int(cols.min())
        inner = Window(region.row + top, region.col + left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
        image, valid, indices = self._inside(item, inner)
        at = rows - top, cols - left
        if indices is not None:
            known = np.full((window.height, window.width), 255, np.uint8)
            inside = window.intersection(region).within(window)
            known[inside] = continued(indices, *at)[inside]
            indices = known
        return continued(image, *at), continued(valid, *at), indices

    def _inside(self, item: int, window: Window) -> Arrays:
        """A window within the item's region, or of a file that is read, normalised: arrays that may be changed."""
        if item in self._images:
            at = window.within(self.regions[item])
            stored, valid = self._images[item]
            stored, valid = stored[:, *at], valid[at].copy()
        else:
            stored, valid = self._stored(item, window)
        image = normalised(stored, valid, self.scenes[item], self._mean, self._std)
        pair = self._pairs[item]
        if pair is None:
            return image, valid, None
        indices = self._indices(item, pair, window).copy()
        if not valid.all():
            indices[~valid] = 255
        return image, valid, indices

    def _indices(self, item: int, pair: Pair, window: Window) -> NDArray[np.uint8]:
        """Class indices of a window; a view of those of the whole item where these are held."""
        if not self._keep_labels:
            return self._lookup.take(read_codes(pair, window))
        # Once for all patches: polygons are burnt and pictures mapped a single time.
        with self._lock:
            if item not in self._labels:
                self._labels[item] = self._lookup.take(read_codes(pair, pair.extent))
        return self._labels[item][window.within(pair.extent)]

    def _stored(self, item: int, window: Window) -> tuple[Any, NDArray[np.bool_]]:
        return read_stored(self._dataset(item), self.scenes[item], window)

    def _dataset(self, item: int) -> Any:
        """The scene's open file; each thread keeps those that it read last, and GDAL what it unpacked of them."""
        files = self._local.__dict__.setdefault("files", OrderedDict())
        if item not in files:
            if len(files) >= _OPEN_FILES:
                files.popitem(last=False)[1][0].close()
            stack = ExitStack()
            files[item] = stack, stack.enter_context(opened(self.scenes[item]))
        files.move_to_end(item)
        return files[item][1]

    def __getstate__(self) -> dict[str, Any]:
        """Without open files and pixels, so that another process reads its own."""
        return {**self.__dict__, "_local": None, "_lock": None, "_images": {}, "_labels": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local, self._lock = threading.local(), threading.Lock()


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


def sampled_tiles(
    scene: Scene, tiles: Sequence[Tile], mean: Sequence[float], std: Sequence[float]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """The windows of planned tiles, as :func:`geounet.data.windows.read_windows` gives them, by a torchgeo sampler."""
    dataset = SceneDataset([scene], mean, std)
    for query in HaloGridGeoSampler(dataset, tiles):
        sample = dataset[query]
        yield sample["image"].numpy(), sample["valid"].numpy()


class RandomPatchGeoSampler(GeoSampler):  # type: ignore[misc]
    """Random windows aligned to pixels; a region is drawn in proportion to its area.

    A region smaller than the patch is drawn whole and continued by reflection. Which windows are drawn, and in which
    order, is decided here, in the process that iterates: the number of a loader's workers changes nothing.

    Args:
        dataset: what is sampled.
        size: height and width of a patch, in pixels.
        length: patches an epoch.
        generator: source of randomness; the same state gives the same patches in the same order.
        coverages: of the dataset's items; with them each patch has some valid and labelled pixel.
        least: share of a patch's pixels within the region that must be valid and labelled.
        shares: of class codes: the share of the patches that are drawn around a pixel of the class, where each of its
            pixels is as likely as the other; what is left of 1 is drawn by area.

    Raises:
        LabelError: a class of `shares` has no pixel, the shares exceed 1, or (while iterating) no patch has so many
            valid and labelled pixels.
    """

    def __init__(
        self,
        dataset: SceneDataset,
        size: int,
        length: int,
        generator: Generator,
        *,
        coverages: Sequence[Coverage] = (),
        least: float = 0.0,
        shares: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(dataset)
        self.dataset, self.size, self.length, self.generator = dataset, size, length, generator
        self.coverages, self.least = tuple(coverages), least
        self.areas = torch.tensor([float(region.pixels) for region in dataset.regions])
        self.shares = dict(shares or {})
        if sum(self.shares.values()) > 1 + _ROUNDING:
            raise LabelError(f"the classes' shares of the patches have a sum of {sum(self.shares.values()):g}, above 1")
        self._seats = {code: _Seats([cover.pixels({code}) for cover in self.coverages]) for code in self.shares}
        missing = [code for code, seats in self._seats.items() if not seats.total]
        if missing:
            raise LabelError(f"no patch can be drawn for class {missing[0]}: it has no valid and labelled pixel")
        self._all = _Seats([cover.pixels(cover.cells) for cover in self.coverages])

    def __iter__(self) -> Iterator[GeoSlice]:
        """Yield the slices of each patch."""
        for _ in range(self.length):
            yield self.dataset.query(*self._patch())

    def _patch(self) -> tuple[int, Window]:
        seats = self._class_drawn()
        for number in range(_TRIES):
            # Where labels are rare, trying anywhere would take for ever.
            around = seats or (self._all if number >= _BLIND_TRIES else None)
            item, window = self._anywhere() if around is None else self._around(around)
            if self._good(item, window):
                return item, window
        raise LabelError(
            f"{_TRIES} patches of {self.size} x {self.size} pixels had fewer than {self.least:.0%} valid and labelled "
            f"pixels, in {self.dataset.scenes[0].label} for one; ask for a lower share, or for smaller patches"
        )

    def _class_drawn(self) -> _Seats | None:
        """The pixels of the class that the next patch is for; None for no class."""
        if not self.shares:
            return None
        left = self._random()
        for code, share in self.shares.items():
            left -= share
            if left < 0:
                return self._seats[code]
        return None

    def _good(self, item: int, window: Window) -> bool:
        if not self.coverages:
            return True
        inside = window.intersection(self.dataset.regions[item])
        return self.coverages[item].useful(window) >= max(1, self.least * inside.pixels)

    def _anywhere(self) -> tuple[int, Window]:
        item = int(torch.multinomial(self.areas, 1, generator=self.generator))
        region = self.dataset.regions[item]
        row, col = self._start(region.row, region.height), self._start(region.col, region.width)
        return item, Window(row, col, self.size, self.size)

    def _around(self, seats: _Seats) -> tuple[int, Window]:
        """A patch that holds the cell of a random pixel."""
        item, index = seats.at(self._random())
        cell, region = self.coverages[item].window_of(index), self.dataset.regions[item]
        row = self._start_with(cell.row, cell.row_stop, region.row, region.row_stop)
        col = self._start_with(cell.col, cell.col_stop, region.col, region.col_stop)
        return item, Window(row, col, self.size, self.size)

    def _start_with(self, first: int, stop: int, low: int, high: int) -> int:
        """A random start within the region, so that the patch holds what lies from `first` to `stop`."""
        if high - low <= self.size:
            return self._start(low, high - low)
        return self._integer(max(low, stop - self.size), max(low, min(first, high - self.size)))

    def _start(self, low: int, length: int) -> int:
        """A random first row or column, so that the patch lies within the region where it fits."""
        if length <= self.size:
            return low - ((self.size - length) // 2)
        return self._integer(low, low + length - self.size)

    def _integer(self, low: int, high: int) -> int:
        """Any of `low` to `high`, both among them."""
        return low + int(torch.randint(max(1, high - low + 1), (1,), generator=self.generator))

    def _random(self) -> float:
        return float(torch.rand(1, generator=self.generator, dtype=torch.float64))

    def __len__(self) -> int:
        return self.length


class _Seats:
    """Cells drawn in proportion to the pixels that they hold.

    Args:
        pixels: of each item, the pixels in each of its cells.
    """

    def __init__(self, pixels: Sequence[NDArray[np.int64]]) -> None:
        cells = [np.flatnonzero(each) for each in pixels]
        self.items = np.repeat(np.arange(len(cells)), [each.size for each in cells])
        self.cells = np.concatenate(cells) if cells else np.zeros(0, np.int64)
        held = [each[at] for each, at in zip(pixels, cells, strict=True)]
        self.upto = np.cumsum(np.concatenate([np.zeros(0, np.int64), *held]))
        self.total = int(self.upto[-1]) if self.upto.size else 0

    def at(self, share: float) -> tuple[int, int]:
        """The item and the cell of the pixel that lies at a share, 0 to before 1, of all."""
        index = int(np.searchsorted(self.upto, int(share * self.total), side="right"))
        return int(self.items[index]), int(self.cells[index])
