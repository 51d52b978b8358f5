"""Shares of counts, and what becomes of them in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Scores = NDArray[np.float64]


def ratio(part: Any, whole: Any) -> Scores:
    """`part / whole`, NaN where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.equal(whole, 0), np.nan, np.true_divide(part, whole))


def mean(scores: Any) -> float:
    """Mean of those that are not NaN; NaN where none is."""
    known = np.asarray(scores, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else float("nan")


def plain(score: float) -> float | None:
    """A float for JSON, which knows neither NaN nor infinity: both are None."""
    return float(score) if np.isfinite(score) else None
