"""What lies beyond a raster's edge: its own pixels, mirrored about the outermost one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reflected(start: int, stop: int, size: int) -> NDArray[np.int64]:
    """Where each index of `start` to `stop` lies in `0 .. size - 1` after mirroring at both ends, as often as needed.

    As NumPy's `reflect`: the outermost pixel is not repeated, so index -1 is pixel 1. One pixel is repeated for ever.
    """
    period = max(1, 2 * (size - 1))
    folded = np.arange(start, stop, dtype=np.int64) % period
    return np.minimum(folded, period - folded) if size > 1 else np.zeros_like(folded)


def continued(values: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    """`values[..., rows[:, None], cols]`, quickly where rows and columns are all of the values and what is mirrored.

    Args:
        values: `(..., height, width)`, a part of a raster.
        rows: what :func:`reflected` gave, counted in the part.
        cols: the same of its columns.
    """
    margins = _margins(rows, values.shape[-2]), _margins(cols, values.shape[-1])
    if margins[0] is None or margins[1] is None:
        return values[..., rows[:, None], cols]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [*margins], mode="reflect")


def _margins(index: NDArray[np.int64], size: int) -> tuple[int, int] | None:
    """How many pixels an index has before and after those of a whole axis; None where they are not all in it."""
    whole = np.arange(size)
    for before in np.flatnonzero(index == 0).tolist():
        if np.array_equal(index[before : before + size], whole):
            return before, index.size - size - before
    return None
