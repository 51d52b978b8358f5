"""Windows, tiles and blocks: integers only, on one fixed lattice of the scene.

Two sizes: the *window* is what the network sees at once, on a lattice whose origin is the scene's pixel (0, 0), or a
box's where that changes no bit;
the *block* is what a worker takes at once, a group of windows. Blocks only group windows and so cannot change a
pixel, see docs/exactness.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels in scene coordinates; it may reach beyond the scene."""

    row: int
    """First row, 0 at the scene's top, negative above it."""
    col: int
    """First column, 0 at the scene's left, negative left of it."""
    height: int
    """Rows, at least 0."""
    width: int
    """Columns, at least 0."""

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            raise ValueError(f"a window of {self.height} x {self.width} pixels: neither may be negative")

    @property
    def row_stop(self) -> int:
        """The row after the last one."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """The column after the last one."""
        return self.col + self.width

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    def padded(self, margin: int) -> Window:
        """Grown by `margin` pixels on each of the four sides."""
        return Window(self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin)

    def intersection(self, other: Window) -> Window:
        """What both hold; of height or width 0 where they do not meet."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = max(0, min(self.row_stop, other.row_stop) - row)
        width = max(0, min(self.col_stop, other.col_stop) - col)
        return Window(row, col, height, width)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices of this window in an array that holds `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


def _before(value: int, origin: int, step: int) -> int:
    """The line of a lattice that is not after `value`."""
    return (value - origin) // step * step + origin


@dataclass(frozen=True, slots=True)
class Tile:
    """One step of the lattice: what is kept and what must be read for it."""

    core: Window
    """The pixels whose result is kept: inside the region, shared with no other tile."""
    window: Window
    """Core cell and halo, always of the grid's full window shape; may reach beyond the scene."""


@dataclass(frozen=True, slots=True)
class Block:
    """A group of tiles that one task takes: a chunk of the tile store."""

    row: int
    """Row of the block in the block lattice, counted from its corner."""
    col: int
    """Column of the block in the block lattice, counted from its corner."""
    core: Window
    """The pixels of the block, clipped to the region."""
    tiles: tuple[Tile, ...]
    """Its tiles, row by row."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattice of windows over a scene.

    Cell (i, j) is the core at row `origin_row + i * core_height`, column `origin_col + j * core_width`; its window
    starts `halo` before. All are multiples of `stride`, so every window starts at one of the network's total stride.
    """

    region: Window
    """What is asked for, within the scene: the whole of it, or the pixels of a bounding box."""
    core_height: int
    """Rows kept of a window: a multiple of the stride."""
    core_width: int
    """Columns kept of a window: a multiple of the stride."""
    halo: int = 0
    """Pixels read around a core on each side and then cropped: a multiple of the stride."""
    stride: int = 1
    """Total stride of the network, in pixels."""
    origin_row: int = 0
    """Row of the lattice's corner, a multiple of the stride."""
    origin_col: int = 0
    """Column of the lattice's corner, a multiple of the stride."""

    def __post_init__(self) -> None:
        sizes = {"core_height": self.core_height, "core_width": self.core_width, "halo": self.halo}
        for name, value in sizes.items():
            if self.stride < 1 or value % self.stride or value < (name != "halo"):
                raise ValueError(f"{name} is {value}: it must be a positive multiple of the stride {self.stride}")
        if self.origin_row % self.stride or self.origin_col % self.stride:
            raise ValueError(f"the lattice starts off the stride {self.stride}: {self.origin_row}, {self.origin_col}")

    @property
    def window_height(self) -> int:
        """Rows the network sees at once."""
        return self.core_height + 2 * self.halo

    @property
    def window_width(self) -> int:
        """Columns the network sees at once."""
        return self.core_width + 2 * self.halo

    def tiles(self, within: Window | None = None) -> Iterator[Tile]:
        """The tiles that meet the region (and `within`), row by row, their cores clipped to both."""
        area = self.region if within is None else self.region.intersection(within)
        if not area.pixels:
            return
        top = _before(area.row, self.origin_row, self.core_height)
        left = _before(area.col, self.origin_col, self.core_width)
        for row in range(top, area.row_stop, self.core_height):
            for col in range(left, area.col_stop, self.core_width):
                cell = Window(row, col, self.core_height, self.core_width)
                yield Tile(cell.intersection(area), cell.padded(self.halo))

    def block_shape(self, tile_size: int) -> tuple[int, int]:
        """Height and width of a block of about `tile_size` pixels: whole cores, at least one."""
        return round_up(max(tile_size, 1), self.core_height), round_up(max(tile_size, 1), self.core_width)

    def blocks(self, tile_size: int) -> tuple[Block, ...]:
        """The plan: the blocks that meet the region, row by row, each with its tiles."""
        height, width = self.block_shape(tile_size)
        area, top, left = self.region, self.origin_row, self.origin_col
        rows = range((area.row - top) // height, -((top - area.row_stop) // height))
        cols = range((area.col - left) // width, -((left - area.col_stop) // width))
        cells = (
            (row, col, Window(top + row * height, left + col * width, height, width)) for row in rows for col in cols
        )
        return tuple(
            Block(row, col, cell.intersection(area), tuple(self.tiles(cell)))
            for row, col, cell in cells
            if cell.intersection(area).pixels
        )
