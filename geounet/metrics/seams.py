"""Whether tiling shows: how often neighbouring pixels differ across tile borders, and how often elsewhere.

Pairs of neighbours are counted by their phase, which is where in a tile they lie. Pairs across a tile border have
phase 0. Without seams all phases differ equally often, so the scatter of the others says how much chance there is in
it; it holds the correlation of neighbours, which a test of independent pairs would not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geounet.classes import NODATA
from geounet.metrics.scores import plain, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.uint8]
    Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SeamQuality:
    """Pairs of neighbouring pixels that both have a class."""

    tile_size: int
    """Rows and columns of a tile, in pixels."""
    offset: int
    """Row and column of the first tile's corner, in pixels."""
    pairs: Counts
    """`(tile_size,)` by phase, pairs along rows and along columns together."""
    differing: Counts
    """`(tile_size,)`, those of two classes."""

    @property
    def at_borders(self) -> float:
        """Share of the pairs across tile borders that differ; NaN without such a pair."""
        return float(ratio(self.differing[0], self.pairs[0]))

    @property
    def elsewhere(self) -> float:
        """Share of the other pairs that differ."""
        return float(ratio(self.differing[1:].sum(), self.pairs[1:].sum()))

    @property
    def ratio(self) -> float:
        """Of the two shares: 1 without seams."""
        return float(ratio(self.at_borders, self.elsewhere))

    @property
    def z_score(self) -> float:
        """Standard deviations by which the share at borders lies above the others.

        The deviation is the greater of that between the other phases and of that of independent pairs; NaN where
        nothing differs at all, or where there are no borders.
        """
        shares = ratio(self.differing[1:], self.pairs[1:])
        shares = shares[~np.isnan(shares)]
        total = ratio(self.differing.sum(), self.pairs.sum())
        by_chance = float(ratio(total * (1 - total), self.pairs[0]))
        scatter = float(shares.var(ddof=1)) if shares.size > 1 else 0.0
        return float(ratio(self.at_borders - self.elsewhere, np.sqrt(max(by_chance, scatter))))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {
            "tile_size_px": self.tile_size,
            "offset_px": self.offset,
            "pairs_at_borders": int(self.pairs[0]),
            "pairs_elsewhere": int(self.pairs[1:].sum()),
            "differing_at_borders": plain(self.at_borders),
            "differing_elsewhere": plain(self.elsewhere),
            "ratio": plain(self.ratio),
            "z_score": plain(self.z_score),
        }


def seam_counts(codes: Codes, row: int, col: int, tile_size: int, offset: int = 0) -> Counts:
    """Count pairs of neighbours by phase.

    Args:
        codes: `(height + 1, width + 1)` uint8, 255 for nodata: the pixels whose pairs count, and one row and column
            more, of which only the pairs with the former count.
        row: of the first pixel in the raster.
        col: likewise.
        tile_size: in pixels.
        offset: row and column of the first tile's corner.

    Returns:
        `(2, tile_size)`: pairs, and pairs of two classes.
    """
    total = np.zeros((2, tile_size), np.int64)
    for one, other, first in (
        (codes[:-1, :-1], codes[1:, :-1], row),
        (codes[:-1, :-1].T, codes[:-1, 1:].T, col),
    ):
        valid = (one != NODATA) & (other != NODATA)
        # A pair belongs to the line between its pixels: the row below the first.
        phase = (np.arange(len(one)) + first + 1 - offset) % tile_size
        np.add.at(total[0], phase, valid.sum(axis=1))
        np.add.at(total[1], phase, (valid & (one != other)).sum(axis=1))
    return total
