"""Where in a scene there is something to learn: valid and labelled pixels, and the classes among them, in little room.

A bit for each pixel that is valid and labelled, and for each class its pixels in cells of 16 x 16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.grid import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Mask = NDArray[np.bool_]

CELL = 16
"""Side of a cell in pixels: cells lie on a lattice from the scene's pixel (0, 0)."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """What a scene, or a rectangle of it, holds for training."""

    region: Window
    """The pixels that it is about."""
    bits: NDArray[np.uint8] = field(init=False)
    """`(rows, bytes)`: eight pixels a byte, from the cell in which the region begins."""
    cells: dict[int, NDArray[np.uint16]] = field(init=False, default_factory=dict)
    """Of each class code its useful pixels in each cell, `(rows of cells, columns of cells)`."""

    def __post_init__(self) -> None:
        rows, cols = self._shape
        object.__setattr__(self, "bits", np.zeros((rows * CELL, cols * CELL // 8), np.uint8))

    @property
    def _first(self) -> tuple[int, int]:
        """Row and column of the cell in which the region begins."""
        return self.region.row // CELL, self.region.col // CELL

    @property
    def _shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        row, col = self._first
        return -(-self.region.row_stop // CELL) - row, -(-self.region.col_stop // CELL) - col

    def add(self, window: Window, codes: Codes) -> None:
        """Count a window within the region, once for each pixel.

        Args:
            window: where.
            codes: `(height, width)`, NODATA where a pixel is invalid or not labelled.
        """
        row, col = (start - CELL * first for start, first in zip((window.row, window.col), self._first, strict=True))
        rows = slice(row, row + window.height)
        useful = np.pad(codes != NODATA, ((0, 0), (col % 8, 0)))
        packed = np.packbits(useful, axis=1)
        self.bits[rows, col // 8 : col // 8 + packed.shape[1]] |= packed
        self._count(row, col, codes)

    def _count(self, row: int, col: int, codes: Codes) -> None:
        rows, cols = self._shape
        cell_rows, cell_cols = (np.arange(n) + at for n, at in zip(codes.shape, (row, col), strict=True))
        cell = (cell_rows // CELL * cols)[:, None] + cell_cols // CELL
        for code in np.unique(codes):
            if code != NODATA:
                table = self.cells.setdefault(int(code), np.zeros((rows, cols), np.uint16))
                table += np.bincount(cell[codes == code], minlength=rows * cols).reshape(rows, cols).astype(np.uint16)

    def useful(self, window: Window) -> int:
        """Valid and labelled pixels of a window, which may reach beyond the region: there are none there."""
        inside = window.intersection(self.region)
        if not inside.pixels:
            return 0
        row, col = (start - CELL * first for start, first in zip((inside.row, inside.col), self._first, strict=True))
        some = self.bits[row : row + inside.height, col // 8 : (col + inside.width + 7) // 8]
        bits = np.unpackbits(some, axis=1).view(np.bool_)
        return int(np.count_nonzero(bits[:, col % 8 : col % 8 + inside.width]))

    def window_of(self, cell: int) -> Window:
        """The pixels of a cell, by its index in the flattened table, within the region."""
        row, col = divmod(cell, self._shape[1])
        first_row, first_col = self._first
        return Window((first_row + row) * CELL, (first_col + col) * CELL, CELL, CELL).intersection(self.region)

    def pixels(self, codes: Any) -> NDArray[np.int64]:
        """Useful pixels of some classes in each cell, flattened."""
        tables = [table.ravel() for code, table in self.cells.items() if code in codes]
        empty = np.zeros(self._shape[0] * self._shape[1], np.int64)
        return np.sum(tables, axis=0, dtype=np.int64) if tables else empty
