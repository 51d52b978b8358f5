"""The states of a lattice's pixels, block by block on disk, each brought up to what the known products are.

A block's file says of which products it is made, in the order of their time. Where that is how the list of those that
it should be made of begins, the rest is added; where it is not, because one came late or is another now, the block is
made anew. So a block's bytes depend on the products alone, and whatever moment a run dies at, the next one goes on from
there.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from geounet.changes.confirmation import PixelStates
from geounet.grid import Window
from geounet.maps.layers import open_layer
from geounet.maps.placing import place, read_placed
from geounet.outputs import atomic
from geounet.raster.class_raster import stored_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import rasterio
    from numpy.typing import NDArray

    from geounet.changes.confirmation import Confirmation
    from geounet.maps.frame import Frame, Lattice
    from geounet.maps.placing import Placed
    from geounet.raster.class_raster import ReadStored

BLOCK = 512
"""Rows and columns of a block."""
_OPEN = 16
"""Products that one thread holds open."""
_MADE_OF = b"geounet"
_VERSION = 1
"""Of what is believed of a pixel: another one makes all blocks anew."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A product as blocks are made of it."""

    digest: str
    """Tells it from all others, see :class:`geounet.maps.layers.LayerOf`."""
    folder: str
    """Where it is."""
    day: int
    """Since 1970-01-01."""
    area: Window
    """Rows and columns of the lattice that it may cover."""


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """What all blocks are made by."""

    crs: rasterio.CRS
    """Of the lattice."""
    lattice: Lattice
    """The pixels."""
    rule: Confirmation
    """When a change is believed."""
    watched: NDArray[np.uint8]
    """`(256, 256)`: whether a change from one value to another counts."""

    @property
    def key(self) -> str:
        """A hash of all of it."""
        parts = [
            self.crs.to_wkt(),
            asdict(self.lattice),
            asdict(self.rule),
            self.watched.tobytes().hex(),
            BLOCK,
            _VERSION,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def lattice_key(self) -> str:
        """A hash of the lattice alone."""
        parts = [self.crs.to_wkt(), asdict(self.lattice)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def frame(self, area: Window) -> Frame:
        """Pixels of the lattice, by their rows and columns on it."""
        return self.lattice.frame(self.crs, area)


def blocks_of(area: Window) -> Iterator[tuple[int, int]]:
    """The blocks that an area of the lattice meets, by their rows and columns."""
    for row in range(area.row // BLOCK, -(-area.row_stop // BLOCK)):
        for col in range(area.col // BLOCK, -(-area.col_stop // BLOCK)):
            yield row, col


def window_of(block: tuple[int, int]) -> Window:
    """Rows and columns of the lattice that a block has."""
    return Window(block[0] * BLOCK, block[1] * BLOCK, BLOCK, BLOCK)


class BlockStore:
    """The blocks of one lattice and rule, in a folder."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        self._folder, self._watch = folder / watch.key, watch

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    def path(self, block: tuple[int, int]) -> Path:
        """A block's file."""
        return self._folder / f"{block[0]}_{block[1]}.arrow"

    def made_of(self, block: tuple[int, int]) -> list[str]:
        """Digests of the products that a block is made of, in their order; none where there is no block."""
        try:
            with pa.ipc.open_file(str(self.path(block))) as file:
                found: list[str] = json.loads(file.schema.metadata[_MADE_OF])
                return found
        except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError):
            # What is damaged is made anew.
            return []

    def read(self, block: tuple[int, int]) -> PixelStates:
        """The states of a block's pixels, row by row."""
        states = PixelStates.blank(BLOCK * BLOCK, self._watch.rule.kept)
        if self.path(block).exists():
            with pa.ipc.open_file(str(self.path(block))) as file:
                batch = file.get_batch(0)
                for name, row in _rows(states):
                    row[:] = batch.column(name).to_numpy(zero_copy_only=False)
        return states

    def write(self, block: tuple[int, int], states: PixelStates, made_of: Sequence[str]) -> None:
        """Keep a block, whole or not at all."""
        columns = [(name, pa.array(row)) for name, row in _rows(states)]
        fields = [pa.field(name, column.type) for name, column in columns]
        schema = pa.schema(fields, {_MADE_OF: json.dumps(list(made_of)).encode()})
        batch = pa.RecordBatch.from_arrays([column for _, column in columns], schema=schema)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with atomic(self.path(block)) as draft, pa.ipc.new_file(str(draft), schema, options=options) as file:
            file.write_batch(batch)

    def update(self, block: tuple[int, int], wanted: Sequence[Observation], readers: ProductReaders) -> bool:
        """Bring a block up to the products that it should be made of; whether there was anything to do."""
        known, digests = self.made_of(block), [one.digest for one in wanted]
        if known == digests:
            return False
        goes_on = digests[: len(known)] == known
        blank = PixelStates.blank(BLOCK * BLOCK, self._watch.rule.kept)
        states = self.read(block) if goes_on and known else blank
        for one in wanted[len(known) if goes_on else 0 :]:
            classes, confidence = readers.read(one, window_of(block))
            states.observe(classes.ravel(), confidence.ravel(), one.day, self._watch.rule, self._watch.watched)
        self.write(block, states, digests)
        return True


def _rows(states: PixelStates) -> Iterator[tuple[str, NDArray[Any]]]:
    """The layers of states by name, each `(pixels,)`."""
    for name in ("bytes", "days", "counts", "ring_days"):
        for place_, row in enumerate(getattr(states, name)):
            yield f"{name}_{place_}", row
    for kind, layers in zip(("class", "share"), states.ring, strict=True):
        for place_, row in enumerate(layers):
            yield f"ring_{kind}_{place_}", row


class ProductReaders:
    """Products that one thread reads, some of them open."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._open: OrderedDict[str, tuple[ExitStack, Placed, Frame, list[ReadStored]]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for stack, *_ in self._open.values():
            stack.close()

    def read(self, one: Observation, window: Window) -> NDArray[np.uint8]:
        """Classes and confidences of a product in a window of the lattice, `(2, height, width)`, 255 where it has none.

        Raises:
            SceneError: the product cannot be read.
        """
        if one.digest not in self._open:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1][0].close()
            self._open[one.digest] = self._opened(one)
        self._open.move_to_end(one.digest)
        _, placed, frame, readers = self._open[one.digest]
        moved = Window(window.row - one.area.row, window.col - one.area.col, window.height, window.width)
        return read_placed(placed, frame, moved, readers)

    def _opened(self, one: Observation) -> tuple[ExitStack, Placed, Frame, list[ReadStored]]:
        layer, frame = open_layer(one.folder), self._watch.frame(one.area)
        with ExitStack() as stack:
            scenes = [scene for scene in (layer.classes, layer.confidence) if scene is not None]
            readers = [stack.enter_context(stored_reader(scene)) for scene in scenes]
            return stack.pop_all(), place(layer, frame), frame, readers
