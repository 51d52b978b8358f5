"""Finished blocks on disk (Zarr): what a crash leaves, and a resumed run reads.

One chunk is one block, so workers never write the same object. A block is done when its record exists, which is
written last and by atomic rename.
"""

from __future__ import annotations

import json
import os
import shutil
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
class TileStore:
    """Where the blocks of one raster are."""

    path: str
    """A folder."""
    origin_row: int
    """First row of the store's arrays in scene pixels: a multiple of the block's height."""
    origin_col: int
    """First column of the store's arrays in scene pixels: a multiple of the block's width."""
    layers: tuple[str, ...]
    """Names of the arrays, each uint8 of the same shape."""

    def write(self, block: Block, layers: Mapping[str, NDArray[np.uint8]], record: BlockRecord) -> None:
        """Store a finished block: its pixels, then the record that it is done."""
        group = zarr.open_group(self.path, mode="r+")
        for name in self.layers:
            group[name][self._area(block.core)] = layers[name]
        place = _record_path(self.path, block)
        staged = place.with_suffix(f".{os.getpid()}")
        staged.write_text(json.dumps(asdict(record)), encoding="utf-8")
        staged.replace(place)

    def read(self, block: Block, layer: str) -> NDArray[np.uint8]:
        """The pixels (height, width) of a finished block."""
        return np.asarray(zarr.open_group(self.path, mode="r")[layer][self._area(block.core)])

    def record(self, block: Block) -> BlockRecord | None:
        """What became of a block; None if it is not done."""
        try:
            values = json.loads(_record_path(self.path, block).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return BlockRecord(**{**values, "counts": tuple(values["counts"])})

    def pieces(self, blocks: Sequence[Block], region: Window, layer: str) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """The blocks' pixels (1, height, width), each with its window relative to the region."""
        for block in blocks:
            core = block.core
            place = Window(core.row - region.row, core.col - region.col, core.height, core.width)
            yield place, self.read(block, layer)[None]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _area(self, core: Window) -> tuple[slice, slice]:
        return core.within(Window(self.origin_row, self.origin_col, 0, 0))


def _record_path(store: str, block: Block) -> Path:
    return Path(store, _RECORDS, f"{block.row}_{block.col}.json")


def open_store(
    path: Path,
    region: Window,
    block_shape: tuple[int, int],
    layers: Sequence[str],
    identity: Mapping[str, Any],
    *,
    restart: bool = False,
) -> TileStore:
    """Open the store of an unfinished run, or make an empty one.

    Args:
        path: the folder.
        region: what the raster covers, in scene pixels.
        block_shape: height and width of a block.
        layers: names of the arrays.
        identity: what the pixels depend on, as JSON; a store with another identity is refused.
        restart: delete what is there.

    Raises:
        OutputError: the store belongs to other work, or cannot be written.
    """
    height, width = block_shape
    store = TileStore(str(path.absolute()), region.row // height * height, region.col // width * width, tuple(layers))
    if restart:
        store.remove()
    try:
        if not path.exists():
            _create(store, region, block_shape, identity)
        _check_identity(path, identity)
    except OSError as error:
        raise OutputError(f"tile store {path} cannot be written: {error.strerror or error}") from error
    return store


def _create(store: TileStore, region: Window, block_shape: tuple[int, int], identity: Mapping[str, Any]) -> None:
    final = Path(store.path)
    staged = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    group = zarr.open_group(staged, mode="w")
    shape = (region.row_stop - store.origin_row, region.col_stop - store.origin_col)
    for name in store.layers:
        group.create_array(name, shape=shape, chunks=block_shape, dtype="uint8", fill_value=NODATA)
    (staged / _RECORDS).mkdir()
    (staged / _IDENTITY).write_text(json.dumps(identity, sort_keys=True), encoding="utf-8")
    staged.replace(final)


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
