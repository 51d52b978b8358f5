"""Finished blocks on disk (Zarr): what a crash leaves, and a resumed run reads.

A chunk lies in one block, and mostly is one, so workers never write the same object. A block
is done when its record exists, which is written last and by atomic rename.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from geounet.classes import NODATA
from geounet.errors import OutputError
from geounet.grid import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geounet.grid import Block

_IDENTITY = "identity.json"
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
    """A folder."""
    origin_row: int
    """First row of the store's arrays in scene pixels: a block starts there."""
    origin_col: int
    """First column of the store's arrays in scene pixels: a block starts there."""
    layers: tuple[Layer, ...]
    """The arrays, all of one height and width."""
    chunk_shape: tuple[int, int]
    """Height and width of a chunk."""

    def write(self, block: Block, layers: Mapping[str, NDArray[Any]], record: BlockRecord) -> None:
        """Store a finished block: its pixels, then the record that it is done."""
        self.put(block.core, layers)
        self.finish(block, record)

    def put(self, area: Window, layers: Mapping[str, NDArray[Any]]) -> None:
        """Store the pixels of an area within a block: whole chunks, but for the region's edges."""
        group = zarr.open_group(self.path, mode="r+")
        for layer in self.layers:
            group[layer.name][..., *self._slices(area)] = layers[layer.name]

    def finish(self, block: Block, record: BlockRecord) -> None:
        """Record that a block's pixels are stored."""
        place = _record_path(self.path, block)
        staged = place.with_suffix(f".{os.getpid()}")
        staged.write_text(json.dumps(asdict(record)), encoding="utf-8")
        staged.replace(place)

    def blank(self, area: Window) -> dict[str, NDArray[Any]]:
        """Arrays of nodata for :meth:`put`."""
        return {layer.name: layer.blank(area.height, area.width) for layer in self.layers}

    def read(self, area: Window, layer: str) -> NDArray[Any]:
        """The pixels (height, width) or (bands, height, width) of an area."""
        return np.asarray(zarr.open_group(self.path, mode="r")[layer][..., *self._slices(area)])

    def record(self, block: Block) -> BlockRecord | None:
        """What became of a block; None if it is not done."""
        try:
            values = json.loads(_record_path(self.path, block).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return BlockRecord(**{**values, "counts": tuple(values["counts"])})

    def pieces(self, blocks: Sequence[Block], region: Window, layer: str) -> Iterator[tuple[Window, NDArray[Any]]]:
        """The blocks' pixels (bands, height, width), chunk by chunk, each with its window relative to the region."""
        for area in (area for block in blocks for area in self._chunks(block.core)):
            place = Window(area.row - region.row, area.col - region.col, area.height, area.width)
            pixels = self.read(area, layer)
            yield place, pixels if pixels.ndim == 3 else pixels[None]  # noqa: PLR2004

    def remove(self, aside: Path) -> None:
        """Delete the folder, which is moved aside first, for half a store would be nobody's.

        Args:
            aside: a folder on the same disk, of no other process's.
        """
        if Path(self.path).exists():
            gone = Path(tempfile.mkdtemp(dir=aside))
            Path(self.path).rename(gone / "store")
            shutil.rmtree(gone, ignore_errors=True)

    def _slices(self, area: Window) -> tuple[slice, slice]:
        return area.within(Window(self.origin_row, self.origin_col, 0, 0))

    def _chunks(self, core: Window) -> Iterator[Window]:
        height, width = self.chunk_shape
        first_row = core.row - (core.row - self.origin_row) % height
        first_col = core.col - (core.col - self.origin_col) % width
        for row in range(first_row, core.row_stop, height):
            for col in range(first_col, core.col_stop, width):
                yield Window(row, col, height, width).intersection(core)


def _record_path(store: str, block: Block) -> Path:
    return Path(store, _RECORDS, f"{block.row}_{block.col}.json")


def open_store(
    path: Path,
    region: Window,
    block_shape: tuple[int, int],
    layers: Sequence[Layer],
    identity: Mapping[str, Any],
    *,
    aside: Path,
    corner: tuple[int, int] = (0, 0),
    chunk_shape: tuple[int, int] | None = None,
    restart: bool = False,
) -> TileStore:
    """Open the store of an unfinished run, or make an empty one.

    Args:
        path: the folder.
        region: what the raster covers, in scene pixels.
        block_shape: height and width of a block.
        layers: the arrays.
        identity: what the pixels depend on, as JSON; a store with another identity is refused.
        aside: a folder on the same disk, of no other process's, in which it is made ready.
        corner: row and column at which the lattice of blocks starts.
        chunk_shape: height and width of a chunk, of which a block holds a whole number; the block's by default.
        restart: delete what is there.

    Raises:
        OutputError: the store belongs to other work, or cannot be written.
    """
    height, width = block_shape
    row = (region.row - corner[0]) // height * height + corner[0]
    col = (region.col - corner[1]) // width * width + corner[1]
    store = TileStore(str(path.absolute()), row, col, tuple(layers), chunk_shape or block_shape)
    if restart:
        store.remove(aside)
    try:
        if not path.exists():
            _create(store, region, identity, aside)
        _check_identity(path, identity)
    except OSError as error:
        raise OutputError(f"tile store {path} cannot be written: {error.strerror or error}") from error
    return store


def _create(store: TileStore, region: Window, identity: Mapping[str, Any], aside: Path) -> None:
    final = Path(store.path)
    staged = Path(tempfile.mkdtemp(dir=aside), final.name)
    staged.mkdir()
    group = zarr.open_group(staged, mode="w")
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
    (staged / _RECORDS).mkdir()
    (staged / _IDENTITY).write_text(json.dumps(identity, sort_keys=True), encoding="utf-8")
    staged.replace(final)
    staged.parent.rmdir()


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    try:
        found = json.loads((path / _IDENTITY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise OutputError(f"{path} is in the way: it is not a tile store of geounet") from error
    wanted = json.loads(json.dumps(identity))
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise OutputError(
            f"{path} holds unfinished work that differs in {', '.join(differing)}; finish it with the same options, "
            "or start anew with --overwrite"
        )
