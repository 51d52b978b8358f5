"""Finished blocks on disk or in an object store (Zarr): what a crash leaves, and a resumed run reads.

A chunk lies in one block, and mostly is one, so workers never write the same object. A block
is done when its record exists, which is written last, as a whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, astuple, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.engine.tile_places import IDENTITY, guarded, place_of
from geounet.errors import OutputError
from geounet.grid import Window
from geounet.object_stores import is_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.grid import Block

_RECORDS = "done"


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """What became of a block; small enough to travel through the scheduler."""

    row: int
    """Row of the block in the block lattice."""
    col: int
    """Column of the block in the block lattice."""
    counts: tuple[int, ...]
    """Pixels of each class index."""
    valid: int
    """Pixels that are not nodata."""
    windows: int
    """Windows that went through the network; those without a valid pixel do not."""
    seconds: float
    """Time it took."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One array of a store."""

    name: str
    """Its name."""
    bands: int = 0
    """0 for an array (height, width), else of (bands, height, width)."""
    dtype: str = "uint8"
    """NumPy's name; nodata is 255 in integers and NaN in floats."""

    @property
    def nodata(self) -> float:
        """Value of invalid pixels."""
        return NODATA if np.dtype(self.dtype).kind == "u" else math.nan

    def blank(self, height: int, width: int) -> NDArray[Any]:
        """An array of nodata."""
        return np.full((*self.before, height, width), self.nodata, self.dtype)

    @property
    def before(self) -> tuple[int, ...]:
        """What stands before height and width in its shape."""
        return (self.bands,) if self.bands else ()


@dataclass(frozen=True, slots=True)
class TileStore:
    """Where the blocks of one raster are."""

    path: str
    """A folder, or the URL of a prefix in an object store."""
    origin_row: int
    """First row of the store's arrays in scene pixels: a block starts there."""
    origin_col: int
    """First column of the store's arrays in scene pixels: a block starts there."""
    layers: tuple[Layer, ...]
    """The arrays, all of one height and width."""
    chunk_shape: tuple[int, int]
    """Height and width of a chunk."""
    key: str
    """A hash of what its pixels depend on and where they are: another store of the same path has another."""

    def write(self, block: Block, layers: Mapping[str, NDArray[Any]], record: BlockRecord) -> None:
        """Store a finished block: its pixels, then the record that it is done."""
        self.put(block.core, layers)
        self.finish(block, record)

    def put(self, area: Window, layers: Mapping[str, NDArray[Any]]) -> None:
        """Store the pixels of an area within a block: whole chunks, but for the region's edges.

        Raises:
            FileNotFoundError: the store has gone; a worker that comes late must not leave half a one.
        """
        with guarded(self.path):
            arrays = self._opened("r+")
            for layer in self.layers:
                arrays[layer.name][..., *self._slices(area)] = layers[layer.name]

    def _opened(self, mode: str) -> dict[str, Any]:
        """The arrays, which are kept open, where the store still stands."""
        if not place_of(self.path).exists():
            raise FileNotFoundError(self.path)
        return _arrays(self, mode)

    def finish(self, block: Block, record: BlockRecord) -> None:
        """Record that a block's pixels are stored."""
        place_of(self.path).write(_record_of(block), json.dumps(asdict(record)).encode())

    def blank(self, area: Window) -> dict[str, NDArray[Any]]:
        """Arrays of nodata for :meth:`put`."""
        return {layer.name: layer.blank(area.height, area.width) for layer in self.layers}

    def read(self, area: Window, layer: str) -> NDArray[Any]:
        """The pixels (height, width) or (bands, height, width) of an area.

        Raises:
            FileNotFoundError: the store has gone; it must not be read as nodata.
        """
        with guarded(self.path):
            return np.asarray(self._opened("r")[layer][..., *self._slices(area)])

    def record(self, block: Block) -> BlockRecord | None:
        """What became of a block; None if it is not done."""
        found = place_of(self.path).read(_record_of(block))
        if found is None:
            return None
        values = json.loads(found)
        return BlockRecord(**{**values, "counts": tuple(values["counts"])})

    def pieces(self, blocks: Sequence[Block], region: Window, layer: str) -> Iterator[tuple[Window, NDArray[Any]]]:
        """The blocks' pixels (bands, height, width), chunk by chunk, each with its window relative to the region."""
        for area in (area for block in blocks for area in self._chunks(block.core)):
            place = Window(area.row - region.row, area.col - region.col, area.height, area.width)
            pixels = self.read(area, layer)
            yield place, pixels if pixels.ndim == 3 else pixels[None]  # noqa: PLR2004

    def remove(self, aside: Path) -> None:
        """Delete it.

        Args:
            aside: a folder on the same disk, of no other process's.
        """
        place_of(self.path).remove(aside)

    def _slices(self, area: Window) -> tuple[slice, slice]:
        return area.within(Window(self.origin_row, self.origin_col, 0, 0))

    def _chunks(self, core: Window) -> Iterator[Window]:
        height, width = self.chunk_shape
        first_row = core.row - (core.row - self.origin_row) % height
        first_col = core.col - (core.col - self.origin_col) % width
        for row in range(first_row, core.row_stop, height):
            for col in range(first_col, core.col_stop, width):
                yield Window(row, col, height, width).intersection(core)


# Of the scenes that a batch works on at once.
@lru_cache(maxsize=16)
def _arrays(store: TileStore, mode: str) -> dict[str, Any]:
    """The arrays by name, opened once a process and not for each block."""
    group = place_of(store.path).group(mode)
    return {layer.name: group[layer.name] for layer in store.layers}


def _record_of(block: Block) -> str:
    return f"{_RECORDS}/{block.row}_{block.col}.json"


def open_store(
    path: Path | str,
    region: Window,
    block_shape: tuple[int, int],
    layers: Sequence[Layer],
    identity: Mapping[str, Any],
    *,
    aside: Path,
    corner: tuple[int, int] = (0, 0),
    chunk_shape: tuple[int, int] | None = None,
    restart: bool = False,
    replace: bool = False,
) -> TileStore:
    """Open the store of an unfinished run, or make an empty one.

    Args:
        path: the folder, or the URL of a prefix in an object store.
        region: what the raster covers, in scene pixels.
        block_shape: height and width of a block.
        layers: the arrays.
        identity: what the pixels depend on, as JSON.
        aside: a folder on the same disk, of no other process's, in which it is made ready.
        corner: row and column at which the lattice of blocks starts.
        chunk_shape: height and width of a chunk, of which a block holds a whole number; the block's by default.
        restart: delete what is there.
        replace: delete what is there where it belongs to other work.

    Raises:
        OutputError: the store belongs to other work, which is not to be replaced, or cannot be written.
        UnreachableError: the object store does not answer, or refuses.
    """
    height, width = block_shape
    row = (region.row - corner[0]) // height * height + corner[0]
    col = (region.col - corner[1]) // width * width + corner[1]
    name = str(path) if is_bucket(path) else str(Path(path).absolute())
    about = json.dumps([identity, astuple(region), corner], sort_keys=True)
    key = hashlib.sha256(about.encode()).hexdigest()[:16]
    store, place = TileStore(name, row, col, tuple(layers), chunk_shape or block_shape, key), place_of(name)
    try:
        if restart or (replace and place.exists() and _differences(place.read(IDENTITY), identity) != []):
            place.remove(aside)
        if not place.exists():
            place.create(partial(_fill, store, region), json.dumps(identity, sort_keys=True).encode(), aside)
        _check(path, _differences(place.read(IDENTITY), identity))
    except OSError as error:
        raise OutputError(f"tile store {path} cannot be written: {error.strerror or error}") from error
    return store


def _fill(store: TileStore, region: Window, group: Any) -> None:
    """Make the store's arrays in a group."""
    shape = (region.row_stop - store.origin_row, region.col_stop - store.origin_col)
    for layer in store.layers:
        group.create_array(
            layer.name,
            shape=(*layer.before, *shape),
            # A chunk a band: compressors have limits, and classes may be many.
            chunks=(*(1 for _ in layer.before), *store.chunk_shape),
            dtype=layer.dtype,
            fill_value=layer.nodata,
        )


def _differences(content: bytes | None, identity: Mapping[str, Any]) -> list[str] | None:
    """In what an identity that is there differs from the one that is wanted; None where there is no identity."""
    try:
        found = json.loads(content or b"")
    except ValueError:
        return None
    wanted = json.loads(json.dumps(identity))
    return sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))


def _check(path: Path | str, differing: list[str] | None) -> None:
    if differing is None:
        raise OutputError(f"{path} is in the way: it is not a tile store of geounet")
    if differing:
        raise OutputError(
            f"{path} holds unfinished work that differs in {', '.join(differing)}; finish it with the same options, "
            "or start anew with --overwrite"
        )
